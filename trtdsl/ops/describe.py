"""Operators in words: the table of all and the page of one, from their classes alone."""

from __future__ import annotations

import inspect
import re

import trtdsl.ops
from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ops import pytorch_names
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS, Op, Spelling
from trtdsl.ops.example_text import function_statements, statements
from trtdsl.ops.families import family, place
from trtdsl.ops.text import literal

assert trtdsl.ops.__all__, "importing the package declares the operators"


_MOST_SHOWN = 8
_SHORTEST_PART = 4
_REFERENCE = re.compile(r":\w+:`(?:\w+\.)*(\w+)`")
_NAMES = {op.__name__: op.name for op in OPERATORS.values()}


def signature(op: type[Op], spelling: Spelling | None = None) -> str:
    """``max_pool2d(input, kernel_size, stride = none)``; a module's tensors stand in a second list."""
    name = spelling.name if spelling else op.name
    if spelling and spelling.configure:
        return f"{name}({', '.join(_argument(op, spelling, each) for each in spelling.parameters)})"
    tensors = {o.name: f"{o.name} = none" if o.optional else o.name for o in op.operands}
    names = (spelling.parameters if spelling and spelling.parameters else op.order) or op.parameters
    fixed = spelling.fixed if spelling else {}
    parameters = {
        parameter: _parameter(op, spelling, parameter)
        for parameter in names
        if parameter in op.parameters and parameter not in fixed
    }
    if op.in_two_lists:
        further = {f"{op.further[:-1]} = value, …": None, **{f"{body} = none": None for body in op.bodies}}
        parameters.pop(op.further)
        return f"{name}({', '.join([*parameters.values(), *further])})({', '.join(tensors.values())})"
    if name[:1].isupper():
        behind = [text for each, text in parameters.items() if each not in op.positional()]
        before = [text for each, text in parameters.items() if each in op.positional()]
        listed = [*before, *(["*"] if behind else []), *behind]
        return f"{name}({', '.join(listed)})({', '.join(tensors.values())})"
    ordered = op.order or (*tensors, *op.bodies, *parameters)
    texts = tensors | parameters | {body: body for body in op.bodies}
    return f"{name}({', '.join(texts[each] for each in ordered)})"


def _argument(op: type[Op], spelling: Spelling, name: str) -> str:
    """A tensor or parameter of a function that takes a module's weights."""
    if name in op.parameters and name not in op.weight_slots:
        return _parameter(op, spelling, name)
    return f"{name} = {literal(spelling.defaults[name])}" if name in spelling.defaults else name


def _parameter(op: type[Op], spelling: Spelling | None, name: str) -> str:
    default = spelling.defaults.get(name, op.default(name)) if spelling else op.default(name)
    return name if default is REQUIRED else f"{name} = {literal(default)}"


def operator_table() -> str:
    """Every operator with the first line of its documentation, by family."""
    families: dict[str, list[type[Op]]] = {}
    for op in OPERATORS.values():
        families.setdefault(family(op), []).append(op)
    width = max(map(len, OPERATORS)) + 2
    lines: list[str] = []
    for name in sorted(families, key=place):
        lines += [
            f"{name}:",
            *(f"  {op.name:<{width}}{summary(op)}" for op in sorted(families[name], key=_by_name)),
            "",
        ]
    return "\n".join(lines[:-1])


def _by_name(op: type[Op]) -> str:
    return op.name


def summary(op: type[Op]) -> str:
    """The first line of an operator's documentation."""
    return _documentation(op).partition("\n")[0]


def _documentation(op: type[Op]) -> str:
    """The docstring, with references to other classes as the names that the language has for them."""
    text = inspect.cleandoc(op.__doc__ or "")
    return _REFERENCE.sub(lambda found: f"`{_NAMES.get(found[1], found[1])}`", text).replace("``", "`")


def find(name: str) -> tuple[type[Op], Spelling | None]:
    """The operator of a name, and the spelling if it is a further one; refused if there is none."""
    if name in OPERATORS:
        return OPERATORS[name], None
    if name in SPELLINGS:
        return SPELLINGS[name]
    raise UsageError(_no_operator(name))


def _no_operator(name: str) -> Diagnostic:
    """What is said of a name that no operator has: those that begin like it, or one that is near."""
    text, known = f"there is no operator `{name}`", sorted({*OPERATORS, *SPELLINGS})
    longer = [f"`{other}`" for other in known if name and other.lower().startswith(name.lower())]
    longer = longer or [f"`{other}`" for other in known if _is_part(name, other)]
    if len(longer) == 1:
        return Diagnostic(f"{text}, did you mean {longer[0]}?")
    if longer:
        more = ", …" if len(longer) > _MOST_SHOWN else ""
        return Diagnostic(text, help=(f"there are {', '.join(longer[:_MOST_SHOWN])}{more}",))
    help = pytorch_names.advice(name)
    return Diagnostic(text, help=(help,)) if help else Diagnostic(f"{text}{did_you_mean(name, known)}")


def _is_part(name: str, other: str) -> bool:
    """Whether a name is in another, as ``attention`` is in MultiheadAttention; short ones are everywhere."""
    return len(name) >= _SHORTEST_PART and name.lower() in other.lower()


def describe_operator(name: str) -> str:
    """An operator's signature, documentation, further names and examples."""
    op, spelling = find(name)
    lines = [signature(op, spelling), "", *_documentation(op).splitlines(), ""]
    equal = spelling.torch if spelling else op.torch
    lines += [f"PyTorch: {equal}"] if equal else []
    others = [signature(op)] if spelling else []
    others += [signature(op, other) for other in op.spellings if other is not spelling]
    lines += [f"also: {other}" for other in others]
    lines += _weights_in_words(op)
    return "\n".join([*lines, "examples:", *(f"  {line}".rstrip() for line in _examples(op))])


def _weights_in_words(op: type[Op]) -> list[str]:
    """A module's weights with their dimensions, where they come from, and how a computed one is given."""
    if not op.operands or not op.weight_slots:
        return []
    tensors = ", ".join(operand.name for operand in op.operands if not operand.optional)
    call = f"label: {op.name}(…)({tensors}, {op.weight_slots[0]} = …)"
    return [
        "weights, the checkpoint's or given by name:",
        *(f"  {slot}: {op.weight_shapes[slot]}" for slot in op.weight_slots),
        f"  y = {call}",
    ]


def _examples(op: type[Op]) -> list[str]:
    """The lines of all examples, with an empty one between two."""
    shown = [statements(op, example) for example in op.examples]
    shown += [function_statements(example) for spelling in op.spellings for example in spelling.examples]
    return [line for lines in shown for line in (*lines, "")][:-1]


def operator_pages() -> str:
    """Every operator as a Markdown page: signatures, meaning, examples, and a list of them all."""
    families: dict[str, list[type[Op]]] = {}
    for op in sorted(OPERATORS.values(), key=_by_name):
        families.setdefault(family(op), []).append(op)
    lines = ["# Operators", "", "Generated from the operators' classes by `make docs`.", *_CONVENTIONS, ""]
    for heading in sorted(families, key=place):
        members = families[heading]
        links = ", ".join(f"[{op.name}](#{op.name.lower()})" for op in members)
        lines.append(f"- [{heading}](#{heading.lower().replace(' ', '-')}): {links}")
    for heading in sorted(families, key=place):
        lines += ["", f"## {heading}", ""]
        lines += [line for op in families[heading] for line in _page(op)][:-1]
    return "\n".join([*lines, ""])


_CONVENTIONS = (
    "An example declares its inputs, calls the operator and says the type of the result; the model that it",
    "stands in has the dimensions N, S, H and W. What stands after `*` in a list of parameters is given by",
    "name.",
)


def _page(op: type[Op]) -> list[str]:
    names = ", ".join(f"`{other.name}`" for other in op.spellings)
    also = f" Also {names}." if names else ""
    shapes = ", ".join(f"`{slot}` `{op.weight_shapes[slot]}`" for slot in op.weight_slots if op.operands)
    return [
        f"### {op.name}",
        "",
        "```",
        signature(op),
        *(signature(op, other) for other in op.spellings),
        "```",
        "",
        f"{summary(op)}{f' (`{op.torch}`)' if op.torch else ''}{also}",
        "",
        *([f"Weights: {shapes}.", ""] if shapes else []),
        "```",
        *_examples(op),
        "```",
        "",
    ]
