"""Texts to try the compiler on: plausible programs, and real ones with something changed.

Every text is a function of a ``random.Random``, so a seed names it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from tests.fuzz.sections import keys_of, lines
from tests.fuzz.valid import program
from trtdsl.elaborate.builtins import FUNCTIONS
from trtdsl.ops.base import OPERATORS, SPELLINGS
from trtdsl.syntax.grammar import language, marks
from trtdsl.syntax.tokens import scan

Text: TypeAlias = tuple[str, Path, str | None]
"""A text, the folder that its imports are relative to, and the lines of a weights map."""

ROOT = Path(__file__).parents[2]


@lru_cache(maxsize=1)
def corpus() -> tuple[tuple[str, Path], ...]:
    """Real texts with the folder that their imports are relative to."""
    folders = ("examples", "trtdsl/std", "tests/errors", "tests/syntax")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.trtnet"))
    texts = ((path.read_bytes().decode("utf-8", "replace"), path.parent) for path in paths)
    return tuple((text, folder) for text, folder in texts if len(text) < 12_000)


# Real programs, changed


def mutated(rng: random.Random) -> Text:
    """A text of the corpus with one to four changes."""
    text, folder = rng.choice(corpus())
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        text = rng.choice(_MUTATIONS)(rng, text)
    return text, folder, None


def _tokens(text: str) -> list[tuple[int, int]]:
    found = ((token.start_pos or 0, len(token)) for token in scan(language(), text))
    return [(start, start + length) for start, length in found]


def _one_token(edit: Callable[[random.Random, str], str]) -> Callable[[random.Random, str], str]:
    def change(rng: random.Random, text: str) -> str:
        tokens = _tokens(text)
        if not tokens:
            return text
        start, end = rng.choice(tokens)
        return text[:start] + edit(rng, text[start:end]) + text[end:]

    return change


def _two_tokens(rng: random.Random, text: str) -> str:
    """Two tokens in each other's places."""
    tokens = _tokens(text)
    if len(tokens) < 2:
        return text
    (a, b), (c, d) = sorted(rng.sample(tokens, 2))
    return text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]


def _run_of_tokens(rng: random.Random, text: str) -> str:
    """Some neighbouring tokens once more, somewhere else."""
    tokens = _tokens(text)
    if not tokens:
        return text
    first = rng.randrange(len(tokens))
    last = min(first + rng.randint(0, 12), len(tokens) - 1)
    place = rng.choice(tokens)[0]
    return f"{text[:place]} {text[tokens[first][0] : tokens[last][1]]} {text[place:]}"


def _line(rng: random.Random, text: str) -> str:
    """A line gone, twice, or moved."""
    lines = text.split("\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.choice((0, 1, 2))):
        lines.insert(rng.randint(0, len(lines)), line)
    return "\n".join(lines)


def _characters(rng: random.Random, text: str) -> str:
    place = rng.randint(0, len(text))
    new = "".join(rng.choice(_CHARACTERS) for _ in range(rng.randint(0, 3)))
    return text[:place] + new + text[place + rng.randint(0, 3) :]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randint(0, len(text))]


_CHARACTERS = 'abxN019_.,:;=+-*/%<>()[]{}"#@!\\ \n\t→é\x00'


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Tokens that mean something somewhere."""
    literals = (
        "0",
        "1",
        "2",
        "3",
        "7",
        "64",
        "-1",
        "1.5",
        "1e-5",
        "1e308",
        '""',
        '"same"',
        '"layer{i}"',
        '"{N}"',
    )
    names = ("x", "y", "N", "H", "C", "i", "self", "_", *OPERATORS, *SPELLINGS, *FUNCTIONS)
    suffixes = (".shape", ".shape[1]", ".rank", ".dtype", "[0]", "[:, 1:]", "[..., none]")
    return (*marks().values(), *literals, *names, *suffixes)


_MUTATIONS: Sequence[Callable[[random.Random, str], str]] = (
    _one_token(lambda rng, token: ""),
    _one_token(lambda rng, token: f"{token} {token}"),
    _one_token(lambda rng, token: f" {rng.choice(words())} "),
    _one_token(lambda rng, token: f" {rng.choice(words())} {token} "),
    _one_token(lambda rng, token: f"({token} + {rng.choice((-1, 1, 7))})" if token.isdigit() else token),
    _two_tokens,
    _run_of_tokens,
    _line,
    _characters,
    _cut,
)


# Plausible programs


@dataclass
class _Writer:
    """Writes a program whose names exist and whose values are mostly of the kind that is wanted."""

    rng: random.Random
    tensors: list[str] = field(default_factory=lambda: ["x", "y"])
    numbers: list[str] = field(default_factory=lambda: ["N", "H", "width"])
    lists: list[str] = field(default_factory=lambda: ["sizes"])
    blocks: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    defs: list[str] = field(default_factory=list[str])
    """of a tensor and a number; those of numbers alone are called `n…`"""
    count: int = 0
    labels: list[str] = field(default_factory=list[str])
    """those that were written, without what is computed in them"""

    def pick(self, *options: Callable[[], str]) -> str:
        return self.rng.choice(options)()

    def name(self, kind: list[str]) -> str:
        self.count += 1
        name = f"v{self.count}" if self.rng.random() < 0.8 else self.rng.choice((*kind, "relu", "sum", "dim"))
        kind.append(name)
        return name

    # Expressions

    def number(self, depth: int = 2) -> str:
        rng = self.rng
        leaf = [str(rng.choice((0, 1, 2, 3, 4, 8, 16, 31, 64, -1))), rng.choice(self.numbers)]
        if depth == 0:
            return rng.choice(leaf)
        return rng.choice((
            *leaf,
            *leaf,
            f"{self.number(depth - 1)} {rng.choice(_ARITHMETIC)} {self.number(0)}",
            f"{rng.choice(self.tensors)}.shape[{rng.randint(-3, 4)}]",
            f"len({self.list(depth - 1)})",
            f"{rng.choice(('min', 'max', 'sum', 'abs', 'floor', 'ceil'))}({self.number(depth - 1)})",
            f"({self.number(depth - 1)} if {self.condition(depth - 1)} else {self.number(depth - 1)})",
            f"{self.list(depth - 1)}[{self.number(0)}]",
            *(f"{name}({self.number(0)}, {self.number(0)})" for name in self.defs if name[0] == "n"),
        ))  # fmt: skip

    def list(self, depth: int = 1) -> str:
        rng = self.rng
        items = ", ".join(self.number(0) for _ in range(rng.randint(0, 3)))
        return rng.choice((
            rng.choice(self.lists),
            f"[{items}]",
            f"range({rng.randint(0, 4)})",
            f"list(enumerate([{items}]))",
            f"[{items}] + {rng.choice(self.lists)}",
            *([self.comprehension(lambda: self.number(depth - 1))] if depth else []),
            f"{rng.choice(self.tensors)}.shape",
        ))  # fmt: skip

    def comprehension(self, element: Callable[[], str]) -> str:
        """A list of what ``element`` writes, with a target that it may read."""
        rng = self.rng
        source = self.list(0)
        name = f"i{rng.randint(0, 2)}"
        self.numbers.append(name)
        targets = rng.choice((name, name, f"j, {name}", f"(j, {name})", f"{name}, (j, k)"))
        if targets != name:
            source = rng.choice(
                (f"enumerate({source})", f"zip({source}, {source})", f"{source} -> enumerate")
            )
        condition = f" if {self.condition(0)}" if rng.random() < 0.3 else ""
        again = f" for k in {self.list(0)}" if rng.random() < 0.1 else ""
        found = f"[{element()} for {targets} in {source}{condition}{again}]"
        self.numbers.remove(name)
        return found

    def condition(self, depth: int = 1) -> str:
        left, right = self.number(depth), self.number(0)
        return self.rng.choice((
            f"{left} {self.rng.choice(('==', '!=', '<', '<=', '>', '>='))} {right}",
            f"not {left} == {right}",
            f"{left} > 0 and {right} > 0",
            f"{right} {self.rng.choice(('in', 'not in'))} {self.rng.choice(self.lists)}",
            "true",
        ))  # fmt: skip

    def tensor(self, depth: int = 2) -> str:
        rng = self.rng
        if depth == 0:
            return rng.choice(self.tensors)
        return self.pick(
            lambda: rng.choice(self.tensors),
            lambda: f" {rng.choice('+-*/@>')} ".join((self.tensor(depth - 1), self.operand(depth))),
            lambda: f"({self.tensor(depth - 1)}{''.join(self.stage() for _ in range(rng.randint(1, 3)))})",
            lambda: f"{rng.choice(_FUNCTIONS)}({self.tensor(depth - 1)}{self.arguments()})",
            lambda: f"cat([{self.tensor(0)}, {self.tensor(depth - 1)}], {self.number(0)})",
            lambda: f"cond(sum({self.tensor(0)}) > 0, {self.branch()}, {self.branch()}, ({self.tensor(0)},))",
            lambda: f"cat({self.comprehension(lambda: self.tensor(depth - 1))}, {self.number(0)})",
            lambda: f"{rng.choice(self.tensors)}[{self.subscripts()}]",
            lambda: f"({self.label()}: Parameter({self.number(0)}, {self.number(0)}))",
            lambda: (
                f"({self.label()}: Constant({self.number(0)}, dtype = {rng.choice(('float32', 'bool'))}))"
            ),
        )

    def branch(self) -> str:
        name = self.rng.choice([*_FUNCTIONS, "relu", "exp", *(name for name, _ in self.blocks)])
        return self.rng.choice((name, "relu", f"{self.label()}: Linear(4)"))

    def operand(self, depth: int) -> str:
        return self.pick(lambda: self.tensor(depth - 1), lambda: self.rng.choice(("2", "0.5", "true", "H")))

    def subscripts(self) -> str:
        rng = self.rng
        options = (":", "0", "-1", "...", "none", "1:", ":2", "::2", "N - 1:", rng.choice(self.tensors))
        return ", ".join(rng.choice(options) for _ in range(rng.randint(1, 4)))

    def label(self) -> str:
        self.count += 1
        text = f'"b{{{self.number(1)}}}"'
        label = self.rng.choice((f"l{self.count}", f"a.{self.count}", text, "tied", "_", "x.y"))
        self.labels.append(label.strip('"'))
        return label

    def arguments(self) -> str:
        rng = self.rng
        if rng.random() < 0.3:
            return ""
        values = [self.pick(self.number, self.list, lambda: "none", lambda: '"same"', self.operand_text)]
        if rng.random() < 0.4:
            values.append(f"{rng.choice(_PARAMETERS)} = {self.pick(self.number, self.list, lambda: 'true')}")
        return ", " + ", ".join(values)

    def operand_text(self) -> str:
        return self.rng.choice(self.tensors)

    def stage(self) -> str:
        rng = self.rng
        if self.blocks and rng.random() < 0.3:
            name, parameters = rng.choice(self.blocks)
            given = ", ".join(self.number(1) for _ in range(parameters + (rng.random() < 0.1)))
            return f" -> {self.label()}: {name}({given})"
        if self.defs and rng.random() < 0.2:
            by_name = rng.choice(("", "a = "))
            return f" -> {rng.choice(self.defs)}({by_name}{self.number(1)})"
        module = rng.choice(_MODULES)
        if rng.random() < 0.5:
            return f" -> {self.label()}: {module}({self.arguments()[2:]})"
        return f" -> {rng.choice(_FUNCTIONS)}({self.arguments()[2:]})"

    # Statements

    def statement(self, depth: int, ends: str) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            value = self.tensor() + "".join(self.stage() for _ in range(rng.randint(0, 2)))
            return f"{self.name(self.tensors)} = {value}"
        if kind < 0.6:
            value = self.number()
            return f"{self.name(self.numbers)} = {value}"
        if kind < 0.68:
            value = self.list()
            return f"{self.name(self.lists)} = {value}"
        if kind < 0.73:
            value = f"chunk({self.tensor(1)}, 2, {rng.randint(0, 3)})"
            return f"{self.name(self.tensors)}, {self.name(self.tensors)} = {value}"
        if kind < 0.78:
            return f'assert {self.condition()}, "width {{{self.number(1)}}}"'
        if kind < 0.9 and depth:
            body = self.body(depth - 1, ends)
            otherwise = f" else {{ {self.body(depth - 1, ends)} }}" if rng.random() < 0.5 else ""
            return f"if {self.condition()} {{ {body} }}{otherwise}"
        if depth and kind < 0.94:
            return self.scan(depth, ends)
        if depth:
            self.numbers.append("i")
            if rng.random() < 0.2:
                source = f"enumerate(zip({self.list()}, sizes))"
                return f"for j, (i, k) in {source} {{ {self.body(depth - 1, ends)} }}"
            return f"for i in {self.list()} {{ {self.body(depth - 1, ends)} }}"
        return f"{ends} {self.tensor()}" if ends == "return" else f"output o{self.count} = {self.tensor()}"

    def scan(self, depth: int, ends: str) -> str:
        """A recurrence, with whatever else stands in a body."""
        rng = self.rng
        self.count += 1
        sequences = [self.tensor(0) for _ in range(rng.choice((1, 1, 1, 2)))]
        targets = ", ".join(f"e{self.count}_{n}" for n in range(len(sequences)))
        options = rng.choice(("", "", f", dim = {self.number(0)}", ", reverse = true"))
        carried = f"h{self.count}"
        outer = list(self.tensors)
        self.tensors += [*targets.split(", "), carried]
        step = rng.choice((f"{carried} = {carried} * 2", f"{carried} = {self.tensor()}"))
        body = self.body(depth - 1, ends) if rng.random() < 0.2 else step
        body += f"\nemit s{self.count} = {self.tensor(rng.randint(0, 1))}" if rng.random() < 0.9 else ""
        self.tensors = [*outer, carried, f"s{self.count}"]
        begin = f" with {carried} = {rng.choice(outer)}" if rng.random() < 0.8 else ""
        return f"scan {targets} in {', '.join(sequences)}{options}{begin} {{ {body} }}"

    def body(self, depth: int, ends: str) -> str:
        return "\n".join(self.statement(depth, ends) for _ in range(self.rng.randint(1, 3)))

    def block(self, number: int) -> str:
        inner = _Writer(
            self.rng, ["x"], ["a", "C"], ["[1, 2]"], list(self.blocks), list(self.defs), 100 * number
        )
        header = self.rng.choice(("x", "x: [B, C]", "x: [B, C, H, W]", "x: float32[B, a]", "x, y = none"))
        body = "\n".join(inner.statement(1, "return") for _ in range(self.rng.randint(1, 3)))
        self.blocks.append((f"B{number}", 1))
        body += f"\nreturn {inner.tensor(1)}"
        return f"block B{number}(a = {self.rng.randint(1, 8)})({header}) {{\n{body}\n}}\n"

    def definition(self, number: int) -> str:
        """A def of a tensor and a number, or of two numbers."""
        inner = _Writer(self.rng, ["x"], ["a"], ["[a, 2]"], list(self.blocks), list(self.defs), 1000 * number)
        body = "\n".join(inner.statement(1, "return") for _ in range(self.rng.randint(0, 2)))
        numeric = self.rng.random() < 0.3
        name = f"{'n' if numeric else 'f'}{number}"
        self.defs.append(name)
        result = inner.number() if numeric else inner.tensor(1)
        return f"def {name}(x, a = {self.rng.randint(0, 4)}) {{\n{body}\nreturn {result}\n}}\n"

    def program(self) -> str:
        rng = self.rng
        defs = "".join(self.definition(number) for number in range(rng.randint(0, 2)))
        blocks = "".join(self.block(number) for number in range(rng.randint(0, 3)))
        dtype = rng.choice(("float32", "float32", "float16", "int64", "bool"))
        shape = rng.choice(("N, 3, H, 8", "N, 8", "2, 3, 8, 8", "N, H, 4", "N, 4 * H", ""))
        profile = "profile p { N = 2 .. 3 .. 99 }" if rng.random() < 0.2 else ""
        body = "\n".join(self.statement(2, "output") for _ in range(rng.randint(1, 6)))
        items = defs + blocks
        step = rng.choice(("", "", ", step = 2", ", step = 3"))
        dims = f"dim N = 1 .. 2 .. 64\ndim H = 6 .. 12 .. 36{step}\n"
        head = f"{items}model m(width = {rng.randint(1, 9)}) {{\n{dims}"
        values = rng.choice(("", "", " in 0 .. 3", " in -1 .. width", " in 0.5 .. 1.0"))
        inputs = f"input x: {dtype}[{shape}]{values}\ninput y: float32[N, H] in -2 .. 2\n"
        output = f"output result = {rng.choice(self.tensors)}\n"
        if rng.random() < 0.3:
            output += f"weights {{ {lines(rng, keys_of(rng, self.labels))} }}\n"
        derived = f"model n = m(width = {self.number(0)})\n" if rng.random() < 0.2 else ""
        return f"{head}{profile}\nsizes = [1, 2]\n{inputs}{body}\n{output}}}\n{derived}"


_ARITHMETIC = ("+", "-", "*", "//", "%", "/", "**")
_FUNCTIONS = tuple(sorted(name for name in (*OPERATORS, *SPELLINGS) if name[:1].islower()))
_MODULES = tuple(sorted(name for name in (*OPERATORS, *SPELLINGS) if name[:1].isupper()))
_PARAMETERS = tuple(sorted({name for op in OPERATORS.values() for name in op.parameters}))


def plausible(rng: random.Random) -> Text:
    """A program out of the language's constructs, wrong here and there."""
    return _Writer(rng).program(), ROOT, None


_LAYERS = {
    "fc": "Linear(width)",
    "l.0": "Linear(8)",
    "l.1": "LayerNorm(8)",
    "out": "Linear(8, bias = false)",
    "body": "Body",
}


def valid(rng: random.Random) -> Text:
    """A program that is accepted."""
    return program(rng), ROOT, None


def mapped(rng: random.Random) -> Text:
    """A small program of layers, with a weights map for it, sometimes a broken one."""
    used = rng.sample(sorted(_LAYERS), rng.randint(1, 4))
    stages = "".join(f" -> {label}: {_LAYERS[label]}" for label in used)
    names = {"out": ("weight",), "body": ("norm.weight", "norm.bias")}
    keys = [f"{label}.{name}" for label in used for name in names.get(label, ("weight", "bias"))]
    section = f"weights {{ {lines(rng, keys)} }}\n" if rng.random() < 0.4 else ""
    head = "block Body()(x) { return x -> norm: LayerNorm(8) }\n"
    text = f"{head}model m(width = 8) {{\ninput x: float32[4, 8]\noutput y = x{stages}\n{section}}}\n"
    found = lines(rng, keys)
    return text, ROOT, rng.choice(_MUTATIONS)(rng, found) if rng.random() < 0.3 else found
