"""Where the parser got stuck → what is said about it.

In: the tokens, the index of the one that does not fit, and the terminals that would have. The rules
below are tried in order; each knows one mistake and says how to mend it. Where none applies, the
diagnostic says what was found and what was expected, in words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from trtdsl.diagnostics import Diagnostic, Origin, Span
from trtdsl.syntax.grammar import END, marks
from trtdsl.syntax.stuck import Stuck
from trtdsl.syntax.tokens import ERROR, Tokens

_WORD = re.compile("[A-Za-z0-9_]")
_OPERATORS = {"PLUS", "MINUS", "TIMES", "DIVIDE", "FLOOR_DIVIDE", "MODULO", "MATMUL", "POWER", "AND", "OR"}
_COMPARISONS = {"EQ", "NE", "LT", "LE", "GT", "GE"}
_CLOSERS = {"RPAR": "LPAR", "RSQB": "LSQB", "RBRACE": "LBRACE"}
_STATEMENTS = {"DIM", "PROFILE", "INPUT", "OUTPUT", "EMIT", "SCAN", "WEIGHTS", "FOR", "RETURN", "ASSERT"}
_AFTER_OPERAND = {*_OPERATORS, *_COMPARISONS, "IN", "NOT", "ARROW", "DOT", "LPAR", "LSQB", "IF", "FOR"}


def explain(stuck: Stuck) -> Diagnostic:
    """The diagnostic for the token that does not fit."""
    for rule in _RULES:
        found = rule(stuck)
        if found is not None:
            return found
    message = f"expected {_in_words(stuck.expected, _end(stuck))}, found {_found(stuck)}"
    return Diagnostic(message, stuck.span(), origins=_still_open(stuck))


def _end(stuck: Stuck) -> str:
    return "`}`" if stuck.start == "expr" else "the end of the text"


def _found(stuck: Stuck) -> str:
    return _end(stuck) if stuck.kind() == END else _shown(stuck.text())


def _shown(text: str) -> str:
    return f"`{text if len(text) <= 40 else text[:37] + '…'}`"


def _still_open(stuck: Stuck) -> tuple[Origin, ...]:
    """The bracket that was to be closed on an earlier line."""
    opened = _open_brackets(stuck.tokens, stuck.index)
    if not opened or not {"RPAR", "RSQB"} & stuck.expected:
        return ()
    opening = stuck.tokens.span(opened[-1])
    return (
        (Origin(opening, f"this `{opening.text}` is still open"),) if opening.line < stuck.span().line else ()
    )


# What was expected, in words


def _in_words(expected: frozenset[str], end: str) -> str:
    """The terminals as a person would list them; operators go without saying where a mark can stand too."""
    left = set(expected)
    words: list[str] = []
    if "INTEGER" in left and "LPAR" in left and "NAME" in left:
        words.append("an expression")
        left -= {
            "INTEGER",
            "DECIMAL",
            "SCIENTIFIC",
            "STRING",
            "NAME",
            "LPAR",
            "LSQB",
            "MINUS",
            "NOT",
            "TRUE",
            "FALSE",
            "NONE",
        }
        left -= {"ELLIPSIS", "COLON"}
    if {"FOR", "RETURN"} <= left:
        words.append("a statement")
        left -= {*_STATEMENTS, "NAME", "IF", "IN", "AS", "WITH", "IMPORT", "BLOCK", "MODEL"}
    if {"IMPORT", "MODEL"} <= left:
        words.append("`import`, `block`, `def` or `model`")
        left -= {"IMPORT", "MODEL", "BLOCK", "DEF", END}
    if "PLUS" in left or "ARROW" in left or {"LPAR", "LSQB"} <= left:
        left -= _AFTER_OPERAND
        left -= {"COLON", "EQUAL"} if {"RPAR", "RSQB", "LBRACE", END} & left else set()
    named = {
        "NAME": "a name",
        "WORD": "a name",
        "INTEGER": "an integer",
        "DECIMAL": "a number",
        "STRING": "a string",
        END: end,
    }
    words += sorted({named.get(kind) or f"`{marks()[kind]}`" for kind in left})
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


# The rules


def _unknown_character(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind() != ERROR:
        return None
    text, span = stuck.text(), stuck.span()
    if text[0] == '"':
        help = ('a string ends on the line where it begins; a `"` inside is written `\\"`',)
        return Diagnostic(
            "this string is never closed", Span(span.source, span.start, span.start + 1), help=help
        )
    if text[0] == "'":
        return Diagnostic("strings stand in double quotes", _to_next_quote(span), help=('write `"…"`',))
    if text[0].isdigit() and len(text) > 1:
        hexadecimal = text[1] in "xXbBoO"
        advice = "integers are decimal" if hexadecimal else "a name begins with a letter or `_`"
        return Diagnostic(f"`{text}` is not a number", span, help=(advice,))
    if text in _CHARACTERS:
        return Diagnostic(f"`{text}` is not part of the language", span, help=(_CHARACTERS[text],))
    name = unicodedata.name(text, f"U+{ord(text):04X}")
    shown = f"`{text}` ({name})" if text.isprintable() else name
    advice = "names are made of the letters a-z and A-Z, digits and `_`" if text.isalpha() else ""
    if text.isspace() or unicodedata.category(text) in ("Zs", "Cf"):
        advice = "write a plain space"
    return Diagnostic(
        f"the character {shown} is not part of the language", span, help=(advice,) if advice else ()
    )


_CHARACTERS = {
    ";": "statements need no `;`: one ends where the next begins",
    "!": "write `not`",
    "~": "write `not`",
    "&": "write `and`",
    "|": "write `or`",
    "^": "a power is written `**`, either but not both of two bools `logical_xor(a, b)`",
    "\\": "a line may be broken anywhere without a mark",
    "`": 'a string is written `"…"`',
    "“": 'a string is written `"…"`',
    "”": 'a string is written `"…"`',
    "→": "a pipe is written `->`",
    "×": "a product is written `*`",
    "−": "minus is written `-`",
    "–": "minus is written `-`",
}


def _to_next_quote(span: Span) -> Span:
    text = span.source.text
    line_end = text.find("\n", span.start)
    closing = text.find("'", span.end, line_end if line_end >= 0 else len(text))
    return Span(span.source, span.start, closing + 1) if closing >= 0 else span


def _unclosed(stuck: Stuck) -> Diagnostic | None:
    """The end, or a bracket of another sort, where a bracket is still open."""
    opened = _open_brackets(stuck.tokens, stuck.index)
    kind = stuck.kind()
    if kind not in _CLOSERS and (kind != END or not opened):
        return None
    if not opened:
        return Diagnostic(f"this `{stuck.text()}` closes nothing", stuck.span())
    opening = stuck.tokens.span(opened[-1])
    if kind in _CLOSERS and _CLOSERS[kind] == stuck.tokens.kinds[opened[-1]]:
        return None
    if kind != END and stuck.tokens.kinds[opened[-1]] == "LBRACE":
        return Diagnostic(f"this `{stuck.text()}` closes nothing", stuck.span())
    partner = {"(": ")", "[": "]", "{": "}"}[opening.text]
    origin = Origin(opening, f"this `{opening.text}` is never closed")
    return Diagnostic(f"expected `{partner}`, found {_found(stuck)}", stuck.span(), origins=(origin,))


_WANTS_MORE = {*_OPERATORS, *_COMPARISONS, "EQUAL", "ARROW", "NOT"}


def _missing_operand(stuck: Stuck) -> Diagnostic | None:
    """A statement ends where an operand is due, so that the next one's name was taken for it."""
    offset = 0 if stuck.kind() == END else -1 if stuck.kind() == "EQUAL" and stuck.begins_line(-1) else None
    if offset is None or stuck.kind(offset - 1) not in _WANTS_MORE:
        return None
    mark = stuck.text(offset - 1)
    what = "a layer or a function" if mark == "->" else "an expression"
    return Diagnostic(f"expected {what} after `{mark}`", stuck.span(offset - 1))


def _open_brackets(tokens: Tokens, index: int) -> list[int]:
    """The brackets open before a token."""
    opened: list[int] = []
    for number in range(index):
        kind = tokens.kinds[number]
        if kind in _CLOSERS.values():
            opened.append(number)
        elif kind in _CLOSERS and opened:
            opened.pop()
    return opened


def _unclosed_body(stuck: Stuck) -> Diagnostic | None:
    """``model m(`` inside a body: a brace is missing above."""
    words = ("model", "block", "def")
    if stuck.text(-1) not in words or stuck.kind(1) != "LPAR" or not stuck.begins_line(-1):
        return None
    opened = _open_brackets(stuck.tokens, stuck.index)
    if not opened:
        return None
    opening = stuck.tokens.span(opened[-1])
    origin = Origin(opening, f"this `{opening.text}` is never closed")
    message = f"a {stuck.text(-1)} cannot begin here, inside another"
    return Diagnostic(message, stuck.span(-1), origins=(origin,))


_PYTHON_WORDS = {
    "True": "write `true`",
    "False": "write `false`",
    "None": "write `none`",
    "elif": "write `else if`",
    "class": "a module is written `block Name(parameters)(tensors) { … }`",
    "while": "loops are over lists, `for x in range(3) { … }`; the runtime loop is `scan`",
    "pass": "an empty body is written `{}`",
    "is": "write `==`",
    "lambda": "a function is written `def name(x) { return … }`, beside the blocks and models",
    "from": 'write `import "path/to/file.trtnet"`',
}


def _python_word(stuck: Stuck) -> Diagnostic | None:
    text = stuck.text()
    if stuck.kind() not in ("NAME", "WORD") or text not in _PYTHON_WORDS:
        return None
    return Diagnostic(f"`{text}` is Python's", stuck.span(), help=(_PYTHON_WORDS[text],))


_RESERVED = ("IF", "ELSE", "FOR", "RETURN", "ASSERT", "AND", "OR", "NOT", "IN", "TRUE", "FALSE", "NONE")


def _reserved_word(stuck: Stuck) -> Diagnostic | None:
    """A keyword where a name belongs: ``for = 3``, ``x.append = true``."""
    for offset in (0, -1):
        word, kind = stuck.text(offset), stuck.kind(offset)
        if kind not in _RESERVED or not (offset or "NAME" in stuck.expected):
            continue
        if offset == 0 and stuck.begins_line() and kind in _RESERVED[:5]:
            continue
        if offset == -1 and stuck.kind() not in ("EQUAL", "DOT", "COLON"):
            continue
        labels = stuck.kind(offset + 1) in ("COLON", "DOT")
        help = (f'in a label write it as a string, `"{word}…"`',) if labels else ()
        return Diagnostic(f"`{word}` is a keyword and cannot be a name", stuck.span(offset), help=help)
    return None


def _number(stuck: Stuck) -> Diagnostic | None:
    """``1.`` reads as the begin of a label like ``1.weight``: the parser may get stuck after it."""
    for dot in (0, -1, -2):
        begins = stuck.kind(dot - 1) == "INTEGER" and stuck.kind(dot - 2) != "DOT"
        if not (begins and stuck.kind(dot) == "DOT" and stuck.adjacent(dot)):
            continue
        if not (stuck.adjacent(dot + 1) and _WORD.match(stuck.text(dot + 1))):
            digits = stuck.text(dot - 1)
            return Diagnostic(
                f"`{digits}.` is not a number", stuck.span(dot - 1, dot), help=(f"write `{digits}.0`",)
            )
    if stuck.kind() == "DOT" and stuck.kind(1) == "INTEGER" and "INTEGER" in stuck.expected:
        digits = stuck.text(1)
        return Diagnostic(f"`.{digits}` is not a number", stuck.span(0, 1), help=(f"write `0.{digits}`",))
    return None


def _comparison(stuck: Stuck) -> Diagnostic | None:
    compares = stuck.kind() in _COMPARISONS or stuck.kind() == "IN"
    if compares and stuck.expected & {"AND", "OR"} and "IN" not in stuck.expected:
        help = ("write `a < b and b < c`",)
        return Diagnostic("comparisons do not chain", stuck.span(), help=help)
    if stuck.kind() == "EQUAL" and "EQ" in stuck.expected and "LBRACE" in stuck.expected:
        return Diagnostic("`=` gives a name to a value", stuck.span(), help=("compare with `==`",))
    return None


def _body(stuck: Stuck) -> Diagnostic | None:
    if "LBRACE" not in stuck.expected:
        return None
    if stuck.kind() == "COLON":
        return Diagnostic(
            "expected `{`, found `:`", stuck.span(), help=("a body stands between `{` and `}`",)
        )
    if stuck.kind(-2) == "COLON" and stuck.begins_line(-1):
        return Diagnostic(
            "expected `{`, found `:`", stuck.span(-2), help=("a body stands between `{` and `}`",)
        )
    return None


def _string_prefix(stuck: Stuck) -> Diagnostic | None:
    prefix = stuck.text(-1)
    if stuck.kind() != "STRING" or not stuck.adjacent() or prefix.lower() not in ("f", "r", "b", "u"):
        return None
    help = (f"drop the `{prefix}`: every string takes `{{expression}}`",)
    return Diagnostic("a string has no prefix", stuck.span(-1), help=help)


def _output(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-2) != "OUTPUT" or not {"FOR", "EQUAL"} <= stuck.expected:
        return None
    name, mark = stuck.text(-1), stuck.text()
    if stuck.kind() in _OPERATORS and stuck.kind(1) == "EQUAL":
        help = (f"an output is a value with a name: `output {name} = …`",)
        return Diagnostic(f"there is no `{mark}=`", stuck.span(0, 1), help=help)
    own = "z" if name == "y" else "y"
    value = f"{name}{mark}…" if stuck.kind() in ("LSQB", "DOT", "LPAR") else f"{name} {mark} …"
    help = ("write `=`",) if stuck.kind() == "EQ" else (f"give the output a name: `output {own} = {value}`",)
    return Diagnostic(f"expected `=`, found {_found(stuck)}", stuck.span(), help=help)


def _weights(stuck: Stuck) -> Diagnostic | None:
    """What is not a line of a `weights` section."""
    brackets = _open_brackets(stuck.tokens, stuck.index)
    of_map = stuck.start == "weights_map"
    inside = not brackets if of_map else brackets and stuck.tokens.kinds[brackets[-1] - 1] == "WEIGHTS"
    begins = {"STRING", END if of_map else "RBRACE"} <= stuck.expected or {*stuck.expected} == {"EQUAL"}
    if not inside or not begins or stuck.kind() == END or stuck.text() == "'":
        return None
    help = ('a line of a `weights` section is `"key of the model" = "key of the checkpoint"`',)
    if of_map and stuck.kind() == "WEIGHTS":
        help = ("the lines stand in this file by themselves, without `weights { … }` around them",)
    return Diagnostic(f"expected a line of `weights`, found {_found(stuck)}", stuck.span(), help=help)


def _def(stuck: Stuck) -> Diagnostic | None:
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


def _derived_model(stuck: Stuck) -> Diagnostic | None:
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
        return Diagnostic(f"expected {wanted}, found {_found(stuck)}", stuck.span(), help=(form,))
    return None


_COMPREHENSION = "a list comprehension is `[x -> f for x in xs if c]`, in brackets"


def _comprehension(stuck: Stuck) -> Diagnostic | None:
    """Python's other comprehensions, and what a list comprehension lacks."""
    kinds, kind = stuck.tokens.kinds, stuck.kind()
    opened = _open_brackets(stuck.tokens, stuck.index)
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


def _loop(stuck: Stuck) -> Diagnostic | None:
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


def _header(stuck: Stuck) -> Diagnostic | None:
    expected = stuck.expected - {"EQUAL"}
    if expected not in (frozenset(("LPAR",)), frozenset(("LPAR", "LBRACE"))):
        return None
    lists = "block Name(parameters)(tensors) { … }"
    if stuck.kind(-2) == "DEF":
        lists = "def name(parameters) { … }"
    if "LBRACE" in stuck.expected:
        lists = "model name { … }` or `model name(parameters) { … }"
    message = f"expected {_in_words(expected, _end(stuck))}, found {_found(stuck)}"
    return Diagnostic(message, stuck.span(), help=(f"write `{lists}`",))


def _statement(stuck: Stuck) -> Diagnostic | None:
    """A name begins a statement, but what follows is neither ``=`` nor ``,``."""
    if stuck.expected != frozenset(("EQUAL", "COMMA")):
        return None
    name, kind = stuck.text(-1), stuck.kind()
    if not stuck.begins_line(-1) and stuck.kind(-2) not in ("LBRACE", "RBRACE"):
        label = "a statement begins here, but `=` does not follow"
        help = (f"is something missing between `{stuck.text(-2)}` and `{name}`?",)
        return Diagnostic(f"unexpected {_shown(name)}", stuck.span(-1), label, help=help)
    if kind in _OPERATORS and stuck.kind(1) == "EQUAL":
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
    return None


def _step(stuck: Stuck) -> Diagnostic | None:
    """``dim S = 128, step = 32``: what is fixed has no steps."""
    if stuck.kind() != "COMMA" or stuck.text(1) != "step" or stuck.kind(2) != "EQUAL":
        return None
    help = ("write `dim name = min .. opt .. max, step = …`; a fixed size has none",)
    return Diagnostic("a step belongs to a range", stuck.span(1), help=help)


def _tuple(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind() != "COMMA" or "FOR" not in stuck.expected:
        return None
    return Diagnostic("unexpected `,`", stuck.span(), help=("a tuple stands in parentheses: `(a, b)`",))


def _nested_names(stuck: Stuck) -> Diagnostic | None:
    """``y, (h, c) = …``, as PyTorch's LSTM is called."""
    if stuck.kind() != "LPAR" or stuck.kind(-1) != "COMMA":
        return None
    offset = 1
    while stuck.kind(offset) in ("NAME", "COMMA"):
        offset += 1
    if stuck.kind(offset) != "RPAR" or stuck.kind(offset + 1) != "EQUAL":
        return None
    help = ("modules give their results side by side: `y, h, c = …`",)
    return Diagnostic("the names on the left of `=` do not nest", stuck.span(0, offset), help=help)


def _weakest_arrow(stuck: Stuck) -> Diagnostic | None:
    """What binds tighter than ``->`` or a label after one."""
    binds = stuck.kind() in {*_OPERATORS, *_COMPARISONS, "LSQB", "DOT", "LPAR"}
    if not binds or "ARROW" not in stuck.expected or "PLUS" in stuck.expected:
        return None
    help = ("put what stands before it, from the pipe's or label's beginning, in parentheses",)
    return Diagnostic(f"`{stuck.text()}` cannot follow a pipe or a labelled layer", stuck.span(), help=help)


def _labelled(stuck: Stuck) -> Diagnostic | None:
    """After a label stands a layer; in a list of arguments, `=` may be meant."""
    if stuck.kind(-1) != "COLON" or stuck.expected != frozenset(("NAME",)):
        return None
    name = stuck.text(-2)
    argument = stuck.kind(-3) in ("LPAR", "COMMA")
    help = (f"an argument is named by `=`: `{name} = {stuck.text()}`",) if argument else ()
    return Diagnostic(f"expected a layer after the label `{name}`", stuck.span(), help=help)


def _import(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-1) != "IMPORT" or stuck.expected != frozenset(("STRING",)):
        return None
    help = ('an import names a file: `import "path/to/file.trtnet"`',)
    return Diagnostic(f"expected a string, found {_found(stuck)}", stuck.span(), help=help)


def _input_type(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind(-3) != "INPUT" or stuck.kind(-1) != "COLON":
        return None
    help = (f"write `input {stuck.text(-2)}: float32[…]`",)
    return Diagnostic(f"expected a dtype, found {_found(stuck)}", stuck.span(), help=help)


def _values(stuck: Stuck) -> Diagnostic | None:
    """``input ids: int64[N] in [0, 1]`` and ``in 0 .. 1 .. 2``: the values of an input have two ends."""
    kinds = stuck.tokens.kinds[: stuck.index]
    behind = kinds[max((at for at, kind in enumerate(kinds) if kind == "INPUT"), default=len(kinds)) :]
    declares = behind[2:3] == ["COLON"] and "IN" in behind and not _BEGINNINGS.intersection(behind)
    if not declares or not (stuck.kind() == "RANGE" or "RANGE" in stuck.expected):
        return None
    help = ("the values of an input are told by the lowest and the highest: `in 0 .. 255`",)
    message = "unexpected `..`" if stuck.kind() == "RANGE" else f"expected `..`, found {_found(stuck)}"
    return Diagnostic(message, stuck.span(), help=help)


_BEGINNINGS = frozenset(("EQUAL", "LBRACE", "RBRACE", "FOR", "ASSERT", "RETURN"))


def _range(stuck: Stuck) -> Diagnostic | None:
    if "RANGE" in stuck.expected and "RANGE" in (stuck.kind(-2), stuck.kind(-3)):
        help = ("a range is `minimum .. optimum .. maximum`",)
        return Diagnostic(f"expected `..`, found {_shown(stuck.text())}", stuck.span(), help=help)
    if stuck.kind() == "RANGE":
        help = ("ranges belong to `dim` and `profile`; numbers to loop over are `range(a, b)`",)
        return Diagnostic("unexpected `..`", stuck.span(), help=help)
    return None


def _conditional(stuck: Stuck) -> Diagnostic | None:
    if not {"ELSE", "AND"} <= stuck.expected or stuck.kind() == END:
        return None
    help = ("a choice between values is `a if condition else b`",)
    return Diagnostic(f"expected `else`, found {_found(stuck)}", stuck.span(), help=help)


def _comment(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind() == "FLOOR_DIVIDE" or (stuck.kind() == "DIVIDE" and stuck.kind(1) in ("TIMES", "POWER")):
        return Diagnostic(f"unexpected `{stuck.text()}`", stuck.span(), help=("a comment begins with `#`",))
    return None


_RULES: tuple[Callable[[Stuck], Diagnostic | None], ...] = (
    _weights,
    _unknown_character,
    _python_word,
    _unclosed_body,
    _missing_operand,
    _unclosed,
    _number,
    _derived_model,
    _comprehension,
    _comparison,
    _def,
    _loop,
    _body,
    _weakest_arrow,
    _values,
    _range,
    _input_type,
    _labelled,
    _import,
    _step,
    _tuple,
    _nested_names,
    _string_prefix,
    _output,
    _header,
    _reserved_word,
    _statement,
    _conditional,
    _comment,
)
