"""What is said of statements, headers and lines of sections that do not parse, a rule for each mistake."""

from __future__ import annotations

from trtdsl.diagnostics import Diagnostic
from trtdsl.syntax.grammar import END
from trtdsl.syntax.stuck import Stuck
from trtdsl.syntax.stuck_words import (
    OPERATORS,
    end_in_words,
    expected_in_words,
    found_in_words,
    open_brackets,
    shown_text,
)


def misread_outputs(stuck: Stuck) -> Diagnostic | None:
    """``output y, i = topk(x, 5)``: a value is given to one output."""
    first = -1
    while stuck.kind(first - 1) == "COMMA":
        first -= 2
    if stuck.kind() != "EQUAL" or first == -1 or stuck.kind(first - 1) != "OUTPUT":
        return None
    names = ", ".join(stuck.text(at) for at in range(first, 0, 2))
    help = (f"bind them first, `{names} = …`, then write `output {names}`",)
    return Diagnostic("several outputs cannot be bound at once", stuck.span(), help=help)


def misread_output(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-2) != "OUTPUT" or not {"FOR", "EQUAL"} <= stuck.expected:
        return None
    name, mark = stuck.text(-1), stuck.text()
    if stuck.kind() in OPERATORS and stuck.kind(1) == "EQUAL":
        help = (f"an output is a value with a name: `output {name} = …`",)
        return Diagnostic(f"there is no `{mark}=`", stuck.span(0, 1), help=help)
    if stuck.kind() == "COLON":
        help = (f"an output has the type of its value: `output {name} = …`",)
        return Diagnostic("expected `=`, found `:`", stuck.span(), help=help)
    own = "z" if name == "y" else "y"
    value = f"{name}{mark}…" if stuck.kind() in ("LSQB", "DOT", "LPAR") else f"{name} {mark} …"
    help = ("write `=`",) if stuck.kind() == "EQ" else (f"give the output a name: `output {own} = {value}`",)
    return Diagnostic(f"expected `=`, found {found_in_words(stuck)}", stuck.span(), help=help)


def misread_weights(stuck: Stuck) -> Diagnostic | None:
    """What is not a line of a `weights` section."""
    brackets = open_brackets(stuck.tokens, stuck.index)
    of_map = stuck.start == "weights_map"
    inside = not brackets if of_map else brackets and stuck.tokens.kinds[brackets[-1] - 1] == "WEIGHTS"
    begins = {"STRING", END if of_map else "RBRACE"} <= stuck.expected or {*stuck.expected} == {"EQUAL"}
    if not inside or not begins or stuck.kind() == END or stuck.text() == "'":
        return None
    help = ('a line of a `weights` section is `"key of the model" = "key of the checkpoint"`',)
    if of_map and stuck.kind() == "WEIGHTS":
        help = ("the lines stand in this file by themselves, without `weights { … }` around them",)
    return Diagnostic(f"expected a line of `weights`, found {found_in_words(stuck)}", stuck.span(), help=help)


def misread_def(stuck: Stuck) -> Diagnostic | None:
    """A def in a body, with a second list, or with types."""
    if stuck.kind() == "DEF" and "FOR" in stuck.expected:
        help = ("write it beside the blocks and models, and call it here",)
        return Diagnostic("a def stands at the top level of a file", stuck.span(), help=help)
    kinds = stuck.tokens.kinds[: stuck.index]
    opening = next((n for n in reversed(range(len(kinds))) if kinds[n] == "LPAR"), 0)
    if kinds[opening - 2 : opening - 1] != ["DEF"]:
        return None
    if stuck.kind() == "LPAR" and stuck.expected == frozenset(("LBRACE",)):
        help = ("a def takes tensors and other values in one list; a `block` has two",)
        return Diagnostic("a def has one list of parameters", stuck.span(), help=help)
    if stuck.kind() == "COLON" and {"COMMA", "EQUAL"} <= stuck.expected:
        help = ("leave the type out; the tensors of a `block` may say theirs",)
        return Diagnostic("a def's parameters have no types", stuck.span(-1, 0), help=help)
    return None


def _model_header(stuck: Stuck) -> list[str]:
    """The kinds of the tokens from the last ``model`` on, where no body has begun since."""
    before = stuck.tokens.kinds[: stuck.index]
    since = next((n for n in reversed(range(len(before))) if before[n] in ("MODEL", "LBRACE")), len(before))
    return before[since:] if before[since : since + 1] == ["MODEL"] else []


def misread_derived_model(stuck: Stuck) -> Diagnostic | None:
    """``model a = b`` without a list, or with one of its own, or with a body."""
    header = _model_header(stuck)
    if len(header) < 2:
        return None
    name = stuck.text(1 - len(header))
    form = f"write `model {name} = other(parameter = value)`"
    if stuck.kind() == "EQUAL" and stuck.expected == frozenset(("LBRACE",)):
        text = "a model that is derived from another has no list of parameters"
        return Diagnostic(text, stuck.span(), help=(form, "further parameters pass through to the other"))
    if header[2:3] != ["EQUAL"]:
        return None
    if stuck.kind() == "LBRACE" and "MODEL" in stuck.expected:
        return Diagnostic("a model that is derived from another has no body", stuck.span(), help=(form,))
    if len(header) == 3 or (len(header) == 4 and "LPAR" in stuck.expected):
        wanted = "the name of a model" if len(header) == 3 else "`(`"
        return Diagnostic(f"expected {wanted}, found {found_in_words(stuck)}", stuck.span(), help=(form,))
    return None


_COMPREHENSION = "a list comprehension is `[x -> f for x in xs if c]`, in brackets"


def misread_comprehension(stuck: Stuck) -> Diagnostic | None:
    """Python's other comprehensions, and what a list comprehension lacks."""
    kinds, kind = stuck.tokens.kinds, stuck.kind()
    opened = open_brackets(stuck.tokens, stuck.index)
    inside = kinds[opened[-1] + 1 : stuck.index] if opened else []
    in_list = bool(opened) and kinds[opened[-1]] == "LSQB"
    if kind == "FOR" and not in_list and opened and kinds[opened[-1]] == "LPAR":
        return Diagnostic("unexpected `for`", stuck.span(), help=(_COMPREHENSION,))
    if kind == "FOR" and in_list and "ELSE" in stuck.expected:
        help = ("a filter stands at the end: `[x for x in xs if c]`",)
        return Diagnostic("expected `else`, found `for`", stuck.span(), help=help)
    if kind == "FOR" and in_list and "COMMA" in inside:
        help = ("a tuple stands in parentheses: `[(a, b) for a, b in xs]`",)
        return Diagnostic("unexpected `for`", stuck.span(), help=help)
    if kind == "ELSE" and in_list and "FOR" in inside:
        help = ("a choice of what is looped over stands in parentheses: `for x in (a if c else b)`",)
        return Diagnostic("unexpected `else`", stuck.span(), help=help)
    if kind == "COMMA" and in_list and "FOR" in inside:
        help = ("it is a whole list: join two with `+`",)
        return Diagnostic("unexpected `,` after a comprehension", stuck.span(), help=help)
    return None


def misread_loop(stuck: Stuck) -> Diagnostic | None:
    """``x = a for a in xs``: a comprehension without brackets reads as the begin of a loop."""
    kinds, first = stuck.tokens.kinds[: stuck.index], stuck.index
    while first > 0 and kinds[first - 1] not in ("LBRACE", "RBRACE"):
        first -= 1
        if kinds[first] == "FOR":
            break
    if kinds[first : first + 1] != ["FOR"] or "LBRACE" not in stuck.expected:
        return None
    offset = first - stuck.index
    if stuck.begins_line(offset) or stuck.kind(offset - 1) in ("LBRACE", "RBRACE"):
        return None
    return Diagnostic("unexpected `for`", stuck.span(offset), help=(_COMPREHENSION,))


def misread_header(stuck: Stuck) -> Diagnostic | None:
    expected = stuck.expected - {"EQUAL"}
    if expected not in (frozenset(("LPAR",)), frozenset(("LPAR", "LBRACE"))):
        return None
    lists = "block Name(parameters)(tensors) { … }"
    if stuck.kind(-2) == "DEF":
        lists = "def name(parameters) { … }"
    if "LBRACE" in stuck.expected:
        lists = "model name { … }` or `model name(parameters) { … }"
    message = f"expected {expected_in_words(expected, end_in_words(stuck))}, found {found_in_words(stuck)}"
    return Diagnostic(message, stuck.span(), help=(f"write `{lists}`",))


def misread_model(stuck: Stuck) -> Diagnostic | None:
    """``model { … }``, and ``model m()(x) { … }`` as a block has its tensors."""
    found = found_in_words(stuck)
    if stuck.kind() == "LBRACE" and stuck.kind(-1) == "MODEL":
        help = ("write `model name { … }`",)
        return Diagnostic(f"expected a name, found {found}", stuck.span(), help=help)
    kinds = stuck.tokens.kinds[: stuck.index]
    opens = max((at for at, kind in enumerate(kinds) if kind == "LPAR"), default=0)
    heads = kinds[max(0, opens - 2) : opens] == ["MODEL", "NAME"]
    if heads and stuck.kind(-1) == "RPAR" and stuck.kind() == "LPAR":
        help = ("a model declares its tensors inside: `input x: float32[…]`",)
        return Diagnostic("a model has one list, of its parameters", stuck.span(), help=help)
    if heads and stuck.kind() == "COLON" and "RPAR" in stuck.expected:
        help = ("a parameter has no type; a default is written `name = value`",)
        return Diagnostic(f"expected `)`, `,` or `=`, found {found}", stuck.span(), help=help)
    return None


def misread_statement(stuck: Stuck) -> Diagnostic | None:
    """A name begins a statement, but what follows is neither ``=`` nor ``,``."""
    if stuck.expected != frozenset(("EQUAL", "COMMA")):
        return None
    name, kind = stuck.text(-1), stuck.kind()
    if not stuck.begins_line(-1) and stuck.kind(-2) not in ("LBRACE", "RBRACE"):
        label = "a statement begins here, but `=` does not follow"
        help = (f"is something missing between `{stuck.text(-2)}` and `{name}`?",)
        return Diagnostic(f"unexpected {shown_text(name)}", stuck.span(-1), label, help=help)
    if kind in OPERATORS and stuck.kind(1) == "EQUAL":
        help = (f"write `{name} = {name} {stuck.text()} …`",)
        if kind == "PLUS" and stuck.kind(2) == "LSQB":
            help = (*help, f"or build the list at once: {_COMPREHENSION}")
        return Diagnostic(f"there is no `{stuck.text()}=`", stuck.span(0, 1), help=help)
    if kind in ("LSQB", "DOT"):
        help = ("a value is never changed in place: bind a new one",)
        if stuck.text(1) in ("append", "extend"):
            added = f"`{name} = {name} + {'[…]' if stuck.text(1) == 'append' else '…'}`"
            help = (f"{help[0]}, {added}", f"or all at once: {_COMPREHENSION}")
        return Diagnostic(
            f"only a name can be bound, found `{name}{stuck.text()}`", stuck.span(-1, 0), help=help
        )
    if kind == "LPAR":
        return Diagnostic(
            "a call alone does nothing", stuck.span(-1), help=(f"bind its value: `y = {name}(…)`",)
        )
    if kind == "COLON":
        help = (
            f"a label stands before a layer: `y = {name}: Conv2d(…)`",
            f"an input is declared by `input {name}: …`",
        )
        return Diagnostic(f"expected `=`, found `:` after `{name}`", stuck.span(), help=help)
    if kind == "ARROW":
        return Diagnostic(
            "a pipe alone does nothing", stuck.span(-1), help=(f"bind its value: `{name} = {name} -> …`",)
        )
    return None


def misread_step(stuck: Stuck) -> Diagnostic | None:
    """``dim S = 128, step = 32``: what is fixed has no steps."""
    if stuck.kind() != "COMMA" or stuck.text(1) != "step" or stuck.kind(2) != "EQUAL":
        return None
    help = ("write `dim name = min .. opt .. max, step = …`; a fixed size has none",)
    return Diagnostic("a step belongs to a range", stuck.span(1), help=help)


def misread_import(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-1) != "IMPORT" or stuck.expected != frozenset(("STRING",)):
        return None
    help = ('an import names a file: `import "path/to/file.trtnet"`',)
    return Diagnostic(f"expected a string, found {found_in_words(stuck)}", stuck.span(), help=help)


def misread_input_type(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-3) != "INPUT" or stuck.kind(-1) != "COLON":
        return None
    help = (f"write `input {stuck.text(-2)}: float32[…]`",)
    return Diagnostic(f"expected a dtype, found {found_in_words(stuck)}", stuck.span(), help=help)


def misread_dotted_type(stuck: Stuck) -> Diagnostic | None:
    """``x: torch.float32[N]``, as Python names a dtype."""
    if stuck.kind() != "DOT" or stuck.expected != frozenset(("LSQB",)) or stuck.kind(-2) != "COLON":
        return None
    help = (f"write `{stuck.text(1)}[…]`, without `{stuck.text(-1)}.`",)
    return Diagnostic("a dtype's name has no dot", stuck.span(-1, 1), help=help)


def misread_values(stuck: Stuck) -> Diagnostic | None:
    """``input ids: int64[N] in [0, 1]`` and ``in 0 .. 1 .. 2``: the values of an input have two ends."""
    kinds = stuck.tokens.kinds[: stuck.index]
    behind = kinds[max((at for at, kind in enumerate(kinds) if kind == "INPUT"), default=len(kinds)) :]
    declares = behind[2:3] == ["COLON"] and "IN" in behind and not _BEGINNINGS.intersection(behind)
    if not declares or not (stuck.kind() == "RANGE" or "RANGE" in stuck.expected):
        return None
    help = ("the values of an input are told by the lowest and the highest: `in 0 .. 255`",)
    message = (
        "unexpected `..`" if stuck.kind() == "RANGE" else f"expected `..`, found {found_in_words(stuck)}"
    )
    return Diagnostic(message, stuck.span(), help=help)


def misread_input_values(stuck: Stuck) -> Diagnostic | None:
    """``input ids: int64[N] 0 .. 1``, the values without ``in``."""
    follows = stuck.kind(2 if stuck.kind() == "MINUS" else 1) == "RANGE"
    if stuck.kind(-1) != "RSQB" or "IN" not in stuck.expected or not follows:
        return None
    help = ("the values of an input stand after `in`: `input ids: int64[N] in 0 .. 255`",)
    return Diagnostic(f"expected `in`, found {found_in_words(stuck)}", stuck.span(), help=help)


_BEGINNINGS = frozenset(("EQUAL", "LBRACE", "RBRACE", "FOR", "ASSERT", "RETURN"))


def misread_range(stuck: Stuck) -> Diagnostic | None:
    if "RANGE" in stuck.expected and "RANGE" in (stuck.kind(-2), stuck.kind(-3)):
        help = ("a range is `minimum .. optimum .. maximum`",)
        return Diagnostic(f"expected `..`, found {shown_text(stuck.text())}", stuck.span(), help=help)
    if stuck.kind() == "RANGE":
        help = ("ranges belong to `dim` and `profile`; numbers to loop over are `range(a, b)`",)
        return Diagnostic("unexpected `..`", stuck.span(), help=help)
    return None
