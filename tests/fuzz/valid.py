"""Programs that are right: every tensor is a ``float32[N, 8]``, so that what is written fits together.

What `tests/fuzz/programs.py` writes is wrong for the most part; these are accepted, and so reach what comes
after: printing, parsing back, verifying and binding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_UNARY = ("relu", "tanh", "sin", "sigmoid", "gelu", "silu", "abs", "neg")
_HIDDEN = ("softsign", "erf", "flip")
"""Operators in whose place a def may stand."""


_LAYERS = {
    "Linear(8)": {"weight": "8, 8", "bias": "8"},
    "Linear(8, bias = false)": {"weight": "8, 8"},
    "LayerNorm(8)": {"weight": "8", "bias": "8"},
    "PReLU": {"weight": "1"},
}
"""Layers with the shapes of their weights."""


@dataclass
class Careful:
    """Writes expressions and statements over the names that are bound; ``size`` is the batch's."""

    rng: random.Random
    tensors: list[str] = field(default_factory=lambda: ["x"])
    numbers: list[str] = field(default_factory=lambda: ["width"])
    callees: list[str] = field(default_factory=list[str])
    """stages that may be written behind ``->``; ``LABEL`` in one stands for a label of its own"""
    size: str = "N"
    prefix: str = "l"
    count: int = 0
    keys: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """weights of layers that were written, each with its shape"""

    def fresh(self, prefix: str = "v") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def label(self, weights: dict[str, str]) -> str:
        """A label that nothing else has, for a layer with these weights by name."""
        path = self.fresh(self.prefix) + self.rng.choice(("", ".0", ".inner"))
        self.keys += [(f"{path}.{name}".removesuffix("."), shape) for name, shape in weights.items()]
        return f'"{path}"' if self.rng.random() < 0.2 else path

    def number(self) -> str:
        rng = self.rng
        return rng.choice(
            ("2", "0.5", "-1", rng.choice(self.numbers), f"len([1, {rng.choice(self.numbers)}])")
        )

    # Expressions

    def tensor(self, depth: int = 2) -> str:
        rng = self.rng
        if depth == 0 or rng.random() < 0.15:
            return rng.choice(self.tensors)
        if rng.random() < 0.05:
            inner = self.unsure(lambda: self.tensor(depth - 1))
            return f"({inner} if {rng.choice(self.numbers)} in [1, 2, 3] else {self.tensor(0)})"
        inner = self.tensor(depth - 1)
        options: Sequence[Callable[[], str]] = (
            lambda: f"{rng.choice(_UNARY)}({inner})",
            lambda: f"({inner} {rng.choice('+-*')} {self.tensor(depth - 1)})",
            lambda: f"({inner} {rng.choice('+*')} {self.number()})",
            lambda: f"({inner}{''.join(self.stage() for _ in range(rng.randint(1, 3)))})",
            lambda: f"where(x > 0.1, {inner} * {self.tensor(0)}, {self.number()})",
            lambda: f"({inner})[:, 0:8]",
            lambda: f"cat([{inner}, {self.tensor(0)}], 1)[..., ::2]",
            lambda: f"({inner} + ({self.label({'': '8'})}: Parameter(8)))",
            lambda: f"({inner} * ({self.fresh('c')}: Constant(8)))",
            lambda: f"linear({inner}, ({self.label({'': '8, 8'})}: Parameter(8, 8)))",
            lambda: f"cond(amax(x) > 0.1, {self.branch()}, {self.branch()}, ({inner},))",
            lambda: f"sum(stack([{self.tensor(0)} * i{self.filter()}], 0), 0)",
            *[lambda: self.written_out(inner)] * 3,
            lambda: self.moved(inner),
        )
        return rng.choice(options)()

    def written_out(self, inner: str) -> str:
        """What passes know: arithmetic that changes nothing, and operators in terms of others."""
        rng = self.rng
        again = f"({inner} -> {rng.choice(('tanh', 'sin'))} -> mul(2))"
        width = rng.choice((2, 4))
        heads = f"reshape({again}, ({self.size}, 1, {width}, {8 // width}))"
        spread = f"rsqrt(mean({again} ** 2, -1, keepdim = true) + 0.25)"
        options: Sequence[Callable[[], str]] = (
            lambda: f"({again} * 1)",
            lambda: f"(0 + {again})",
            lambda: f"(-(-{again}))",
            lambda: f"({again} * sigmoid({again}))",
            lambda: f"({again} * 0.5 * (1 + erf({again} / 1.4142135623730951)))",
            lambda: f"(0.5 * {again} * (1 + tanh(0.7978845608028654 * ({again} + 0.044715 * {again} ** 3))))",
            lambda: f"({again} * {spread})",
            lambda: f"(({again} * {spread}) * {self.parameter('8')})",
            lambda: f"({again} @ {self.parameter('8, 8')} + {self.parameter('8')})",
            lambda: f"(({again} -> {self.linear()}) * {self.parameter('8')})",
            lambda: f"reshape({self.branches(again)}, ({self.size}, 8))",
            lambda: f"reshape({self.mixed(again)}, ({self.size}, 8))",
            lambda: f"reshape({self.patches(again)}, ({self.size}, 8))",
            lambda: f"pad(reshape({self.shifted(again)}, ({self.size}, 4)), (0, 4))",
            lambda: f"({again} * exp(full((8,), 0.5)) + exp(full((8,), 0.5)))",
            lambda: self.pieces(again),
            lambda: f"({again} / expand(amax(abs({again}), 1, keepdim = true) + 1, ({self.size}, 8)))",
            lambda: f"reshape({self.turned(again)}, ({self.size}, 8))",
            lambda: (
                f"reshape(softmax({heads} @ transpose({heads}, -2, -1) / 2, -1) @ {heads}, ({self.size}, 8))"
            ),
        )
        return self.unsure(rng.choice(options))

    def linear(self) -> str:
        return f"{self.label({'weight': '8, 8', 'bias': '8'})}: Linear(8)"

    def norm(self, channels: int) -> str:
        """A label for a normalisation of these channels."""
        return self.label(dict.fromkeys(("weight", "bias", "running_mean", "running_var"), str(channels)))

    def parameter(self, shape: str) -> str:
        return f"({self.label({'': shape})}: Parameter({shape}))"

    def branches(self, inner: str) -> str:
        """Two convolutions of one image, perhaps one with a normalisation behind it, added."""
        image = f"reshape({inner}, ({self.size}, 2, 2, 2))"
        wide = self.label({"weight": "2, 2, 3, 3", "bias": "2"})
        narrow = self.label({"weight": "2, 2, 1, 1", "bias": "2"})
        left = f"{image} -> {wide}: Conv2d(2, 3, padding = 1)"
        if self.rng.random() < 0.5:
            left += f" -> {self.norm(2)}: BatchNorm2d"
        right = f"{image} -> {narrow}: Conv2d(2, 1)"
        one, other = self.rng.sample((left, right), 2)
        return f"(({one}) + ({other}))"

    def patches(self, inner: str) -> str:
        """A convolution that steps by its kernel, its output as tokens."""
        image = f"reshape({inner}, ({self.size}, 1, 2, 4))"
        label = self.label({"weight": "4, 1, 2, 2", "bias": "4"})
        return f"({image} -> {label}: Conv2d(4, 2, stride = 2) -> permute(0, 2, 3, 1))"

    def shifted(self, inner: str) -> str:
        """A convolution of points, some of whose channels were changed."""
        image = f"reshape({inner}, ({self.size}, 4, 2))"
        label, count = self.label({"weight": "2, 4, 1", "bias": "2"}), self.rng.choice((1, 2))
        parts = f"-{image}[:, :{count}], {image}[:, {count}:]"
        return f"(cat([{parts}], 1) -> {label}: Conv1d(2, 1))"

    def mixed(self, inner: str) -> str:
        """A convolution that makes many channels of an image, and one that makes few of these."""
        wide = self.label({"weight": "8, 2, 3, 3", "bias": "8"})
        narrow = self.label({"weight": "2, 8, 1, 1", "bias": "2"})
        layers = f"{wide}: Conv2d(8, 3, padding = 1)"
        if self.rng.random() < 0.5:
            layers += f" -> {self.norm(8)}: BatchNorm2d"
        layers += f" -> {narrow}: Conv2d(2, 1)"
        return f"(reshape({inner}, ({self.size}, 2, 2, 2)) -> {layers})"

    def pieces(self, inner: str) -> str:
        """Slices of slices and of what was joined, joined again."""
        first = f"cat([{inner}[:, 1:][:, ::2], {inner}[:, 0:3]], 1)"
        return f"cat([{first}, cat([{inner}, {inner}], 1)[:, 9:10]], 1)"

    def turned(self, inner: str) -> str:
        """Every pair of a head's numbers turned by an angle."""
        head = f"reshape({inner}, ({self.size}, 1, 2, 4))"
        angles = f"cat([{head}[..., 1:3], {head}[..., 1:3]], -1)"
        return f"({head} * cos({angles}) + cat([-{head}[..., 2:], {head}[..., :2]], -1) * sin({angles}))"

    def moved(self, inner: str) -> str:
        """Elements moved there, and perhaps back, or out at one end."""
        steps = [f"reshape({self.size}, 2, 4)", "transpose(1, 2)"]
        steps += self.rng.choice(
            (
                ("transpose(1, 2)", "flatten(1)"),
                ("flatten(1)",),
                ("unsqueeze(1)", "transpose(1, 2)", "squeeze(2)", "flatten(1)"),
                (f"reshape({self.size}, 2, 4)", "permute(0, 2, 1)", f"reshape({self.size}, 8)"),
                ("relu", "transpose(-1, 1)", f"reshape({self.size}, 8)"),
                ("flatten(1)", "slice(1, 1)", "pad((0, 1))"),
                ("flatten(1)", "pad((2, 1))", "slice(1, 1, 9)"),
            )
        )
        return f"({inner} -> {' -> '.join(steps)})"

    def filter(self) -> str:
        return self.rng.choice(
            (" for i in [1, 2]", " for j, (i, k) in enumerate([(1, 2), (3, 4)]) if j >= 0")
        )

    def branch(self) -> str:
        if self.rng.random() < 0.3:
            return f"{self.label({'weight': '8, 8', 'bias': '8'})}: Linear(8)"
        return self.rng.choice((*_UNARY, "Identity()"))

    def stage(self) -> str:
        rng = self.rng
        chance = rng.random()
        if chance < 0.3:
            return f" -> {rng.choice(_UNARY)}"
        if chance < 0.4:
            return f" -> mul({self.number()})"
        if chance < 0.6 and self.callees:
            return f" -> {rng.choice(self.callees).replace('LABEL', self.fresh(self.prefix))}"
        layer = rng.choice(sorted(_LAYERS))
        return f" -> {self.label(_LAYERS[layer])}: {layer}"

    def unsure(self, write: Callable[[], str]) -> str:
        """What is perhaps not taken, so that its layers may be missing."""
        before = len(self.keys)
        text = write()
        del self.keys[before:]
        return text

    # Statements

    def statement(self, depth: int = 1) -> str:
        rng = self.rng
        kinds = [
            self.plain,
            self.plain,
            self.plain,
            self.nested,
            self.halves,
            self.recurrence,
            self.number_name,
        ]
        kinds += [self.loop, self.choice, self.scan] if depth else []
        return rng.choice(kinds)()

    def bound(self, count: int) -> list[str]:
        """New names, or those of tensors that are bound already."""
        names = [self.fresh() for _ in range(count)]
        if count == 1 and self.rng.random() < 0.3:
            names = [self.rng.choice(self.tensors)]
        return names

    def plain(self) -> str:
        value = self.tensor()
        (name,) = self.bound(1)
        self.tensors.append(name)
        return f"{name} = {value}"

    def number_name(self) -> str:
        value = f"{self.rng.choice(self.numbers)} {self.rng.choice(('+', '*', '//'))} 2"
        name = self.fresh("n")
        self.numbers.append(name)
        return f"{name} = {value}"

    def nested(self) -> str:
        values = f"({self.tensor()}, ({self.tensor(1)}, [{self.tensor(0)}]))"
        a, b, c = self.bound(3)
        self.tensors += [a, b, c]
        return f"{a}, ({b}, ({c},)) = {values}"

    def halves(self) -> str:
        value = f"chunk(cat([{self.tensor(1)}, {self.tensor(0)}], 1), 2, 1)"
        a, b = self.bound(2)
        self.tensors += [a, b]
        return f"{a}, {b} = {value}"

    def recurrence(self) -> str:
        weights = {"weight_ih_l0": "32, 8", "weight_hh_l0": "32, 8", "bias_ih_l0": "32", "bias_hh_l0": "32"}
        value = f"({self.tensor(1)})[none] -> {self.label(weights)}: LSTM(8)"
        y, h, c = self.bound(3)
        self.tensors += [y, h, c]
        targets = self.rng.choice((f"{y}, ({h}, {c})", f"{y}, {h}, {c}"))
        return f"{targets} = {value}\n{y} = {y}[0]\n{h} = squeeze({h}, 0)\n{c} = {c}[-1]"

    def loop(self) -> str:
        (name,) = [self.rng.choice(self.tensors)]
        outer = list(self.numbers)
        self.numbers += ["i", "k"]
        step = f"{name} = {self.tensor(1)} * k"
        self.numbers = outer
        # A layer in a loop is one layer, used again.
        return f"for i, (j, k) in enumerate([(1, 2), (3, 4)]) {{ {step} }}"

    def choice(self) -> str:
        number = self.rng.choice(self.numbers)
        name = self.fresh()
        then, otherwise = (self.unsure(lambda: self.tensor(1)) for _ in range(2))
        self.tensors.append(name)
        return f"if {number} > 3 {{ {name} = {then} }} else {{ {name} = {otherwise} }}"

    def scan(self) -> str:
        rng = self.rng
        over = self.tensor(1)
        t, h, s = self.fresh("t"), self.fresh("h"), self.fresh("s")
        begin = f"({rng.choice(self.tensors)})[:, 0]"
        step = f"{h} = {rng.choice(('tanh', 'relu'))}({h} + {t}) * {self.number()}"
        self.tensors.append(s)
        reverse = rng.choice(("", ", reverse = true"))
        return f"scan {t} in {over}, dim = 1{reverse} with {h} = {begin} {{ {step} emit {s} = {h} - {t} }}"

    def body(self, count: int) -> str:
        return "\n".join(self.statement() for _ in range(self.rng.randint(1, count)))


def program(rng: random.Random) -> str:
    """Defs, blocks, a model, perhaps its `weights` section and a model derived from it."""
    callees: list[str] = []
    items: list[str] = []
    for number in range(rng.randint(0, 2)):
        name = rng.choice((f"f{number}", f"_f{number}", _HIDDEN[number]))
        inner = Careful(rng, numbers=["k"], callees=list(callees), size="x.shape[0]", prefix=f"d{number}_")
        layers = rng.random() < 0.3
        items.append(
            f"def {name}(x, *, k = 2) {{\n{inner.body(2) if layers else ''}\nreturn {_cheap(inner)}\n}}"
        )
        if not layers:
            callees.append(rng.choice((name, f"{name}(k = 1)")))
    for number in range(rng.randint(0, 2)):
        inner = Careful(rng, numbers=["a"], callees=list(callees), size="x.shape[0]", prefix="b")
        header = rng.choice(("x", "x: [M, C]", "x: float32[M, 8]", "x, y = none"))
        body = f"{inner.body(2)}\nreturn {inner.tensor(1)}"
        items.append(f"block B{number}(a, *, b = 1)({header}) {{\n{body}\n}}")
        callees.append(f"LABEL: B{number}({rng.randint(1, 4)}{rng.choice(('', ', b = 2'))})")
    model = Careful(rng, callees=callees)
    body = model.body(5)
    step = rng.choice(("", ", step = 2"))
    head = f"model m(width = {rng.randint(1, 6)}) {{\ndim N = 2 .. 4 .. 64{step}\ninput x: float32[N, 8]"
    items.append(f"{head}\n{body}\noutput y = {model.tensor(1)}\n{_section(rng, model.keys)}}}")
    if rng.random() < 0.3:
        items.append(f"model n = m(width = {rng.randint(1, 6)})")
    return "\n\n".join(items)


def _cheap(inner: Careful) -> str:
    """An expression without layers, which a def may repeat wherever it is called."""
    return f"{inner.rng.choice(_UNARY)}({inner.rng.choice(inner.tensors)}) * k"


def _section(rng: random.Random, keys: Sequence[tuple[str, str]]) -> str:
    """Lines about some weights, each of entries that have its shape."""
    lines: list[str] = []
    for key, shape in rng.sample(keys, min(len(keys), rng.choice((0, 0, 1, 2)))):
        entry = f'"s{shape}"'
        square = (f'transpose("s{shape}", 0, 1)', 'cat(["s4, 8", "s4, 8"], dim = 0)', '"s8, 8" @ "s8, 8"')
        others = square if shape == "8, 8" else (f'"s{shape}" + "s{shape}"', f'("s{shape}" -> to(float32))')
        lines.append(f'"{key}" = {rng.choice((entry, *others))}')
    return f"weights {{\n{chr(10).join(lines)}\n}}\n" if lines else ""


def attention(rng: random.Random) -> str:
    """A model of one attention, whose queries, keys and values are cut from one product or made by layers, as
    passes leave it or as it is written first.
    """
    heads, width = rng.choice(((1, 8), (2, 4), (4, 2)))
    form, y = (
        (
            f"shuffle((0, 1, 2), (N, S, {heads}, {width}), (0, 2, 1, 3))",
            "softmax(q @ transpose(k, -2, -1), -1) @ v",
        )
        if rng.random() < 0.5
        else (f"reshape(N, S, {heads}, {width}) -> transpose(1, 2)", "scaled_dot_product_attention(q, k, v)")
    )
    if rng.random() < 0.5:
        lines = ["q, k, v = x -> layer: Linear(24) -> chunk(3, -1)"]
    else:
        bias = rng.choice(("true", "false"))
        lines = [f"{each} = x -> layer_{each}: Linear(8, bias = {bias})" for each in "qkv"]
    lines += [f"{each} = {each} -> {form}" for each in "qkv"]
    lines.append(f"output y = {y}")
    dims = ("dim N = 1 .. 2 .. 4", "dim S = 1 .. 3 .. 8", "input x: float32[N, S, 8]")
    return "\n".join(["model m {", *dims, *lines, "}"])
