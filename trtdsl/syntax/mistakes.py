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
from trtdsl.syntax.grammar import END
from trtdsl.syntax.statement_mistakes import (
    misread_comprehension,
    misread_def,
    misread_derived_model,
    misread_dotted_type,
    misread_header,
    misread_import,
    misread_input_type,
    misread_input_values,
    misread_loop,
    misread_model,
    misread_output,
    misread_outputs,
    misread_range,
    misread_statement,
    misread_step,
    misread_values,
    misread_weights,
)
from trtdsl.syntax.stuck import Stuck
from trtdsl.syntax.stuck_words import (
    CLOSERS,
    COMPARISONS,
    OPERATORS,
    end_in_words,
    expected_in_words,
    found_in_words,
    open_brackets,
)
from trtdsl.syntax.tokens import ERROR

_WORD = re.compile("[A-Za-z0-9_]")


def explain(stuck: Stuck) -> Diagnostic:
    """The diagnostic for the token that does not fit."""
    for rule in _RULES:
        found = rule(stuck)
        if found is not None:
            return found
    message = (
        f"expected {expected_in_words(stuck.expected, end_in_words(stuck))}, found {found_in_words(stuck)}"
    )
    return Diagnostic(message, stuck.span(), origins=_still_open(stuck))


def _still_open(stuck: Stuck) -> tuple[Origin, ...]:
    """The bracket that was to be closed on an earlier line."""
    opened = open_brackets(stuck.tokens, stuck.index)
    if not opened or not {"RPAR", "RSQB"} & stuck.expected:
        return ()
    opening = stuck.tokens.span(opened[-1])
    return (
        (Origin(opening, f"this `{opening.text}` is still open"),) if opening.line < stuck.span().line else ()
    )


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
        return Diagnostic(f"`{text}` is not a number", span, help=(_instead_of_number(text),))
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


def _instead_of_number(text: str) -> str:
    """What may be meant by a word that begins with a digit."""
    if re.fullmatch(r"[1-9]\d*(x\d+)+", text):
        return f"sizes stand beside one another in brackets: `[{text.replace('x', ', ')}]`"
    return "integers are decimal" if text[1] in "xXbBoO" else "a name begins with a letter or `_`"


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
    opened = open_brackets(stuck.tokens, stuck.index)
    kind = stuck.kind()
    if kind not in CLOSERS and (kind != END or not opened):
        return None
    if not opened:
        return Diagnostic(f"this `{stuck.text()}` closes nothing", stuck.span())
    opening = stuck.tokens.span(opened[-1])
    if kind in CLOSERS and CLOSERS[kind] == stuck.tokens.kinds[opened[-1]]:
        return None
    if kind != END and stuck.tokens.kinds[opened[-1]] == "LBRACE":
        return Diagnostic(f"this `{stuck.text()}` closes nothing", stuck.span())
    partner = {"(": ")", "[": "]", "{": "}"}[opening.text]
    origin = Origin(opening, f"this `{opening.text}` is never closed")
    return Diagnostic(f"expected `{partner}`, found {found_in_words(stuck)}", stuck.span(), origins=(origin,))


_WANTS_MORE = {*OPERATORS, *COMPARISONS, "EQUAL", "ARROW", "NOT", "IN"}


def _missing_operand(stuck: Stuck) -> Diagnostic | None:
    """A statement ends where an operand is due, so that the next one's name was taken for it."""
    offset = 0 if stuck.kind() == END else -1 if stuck.kind() == "EQUAL" and stuck.begins_line(-1) else None
    if offset is None or stuck.kind(offset - 1) not in _WANTS_MORE:
        return None
    mark = stuck.text(offset - 1)
    what = "a layer or a function" if mark == "->" else "an expression"
    return Diagnostic(f"expected {what} after `{mark}`", stuck.span(offset - 1))


def _unclosed_body(stuck: Stuck) -> Diagnostic | None:
    """``model m(`` inside a body: a brace is missing above."""
    words = ("model", "block", "def")
    if stuck.text(-1) not in words or stuck.kind(1) != "LPAR" or not stuck.begins_line(-1):
        return None
    opened = open_brackets(stuck.tokens, stuck.index)
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
        if dot == 0 and stuck.adjacent(1) and re.fullmatch(r"\d*[fF]", stuck.text(1)):  # as in C++
            whole, fraction = stuck.text(-1), stuck.text(1)
            help = (f"write `{whole}.{fraction[:-1] or 0}`",)
            return Diagnostic(f"`{whole}.{fraction}` is not a number", stuck.span(-1, 1), help=help)
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
    compares = stuck.kind() in COMPARISONS or stuck.kind() == "IN"
    if compares and stuck.expected & {"AND", "OR"} and "IN" not in stuck.expected:
        help = ("write `a < b and b < c`",)
        return Diagnostic("comparisons do not chain", stuck.span(), help=help)
    if stuck.kind() == "EQUAL" and "EQ" in stuck.expected and "LBRACE" in stuck.expected:
        return Diagnostic("`=` gives a name to a value", stuck.span(), help=("compare with `==`",))
    return None


def _label(stuck: Stuck) -> Diagnostic | None:
    """``x -> conv1 = Conv2d(8, 3)``: a label is followed by a colon."""
    first = 0
    while stuck.kind(first - 1) in ("NAME", "INTEGER", "DOT"):
        first -= 1
    if stuck.kind() != "EQUAL" or "COLON" not in stuck.expected or stuck.kind(first - 1) != "ARROW":
        return None
    help = (f"write `{stuck.span(first, -1).text}: …`",)
    return Diagnostic("a label is followed by `:`, not by `=`", stuck.span(), help=help)


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


def _star(stuck: Stuck) -> Diagnostic | None:
    """``*args`` and ``**kwargs``, or nothing after a ``*`` in a list of parameters."""
    doubled = stuck.kind() == "POWER" and "TIMES" in stuck.expected and "NAME" in stuck.expected
    single = stuck.kind(-1) == "TIMES" and stuck.expected == frozenset(("COMMA",))
    if not doubled and not single:
        return None
    help = ("parameters that are given by name stand after a bare `*`: `(a, *, b, c = 1)`",)
    wanted = "expected `*` or a name" if doubled else "expected `,` and a parameter"
    return Diagnostic(f"{wanted}, found {found_in_words(stuck)}", stuck.span(), help=help)


def _tuple(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind() != "COMMA" or "FOR" not in stuck.expected:
        return None
    return Diagnostic("unexpected `,`", stuck.span(), help=("a tuple stands in parentheses: `(a, b)`",))


def _first_target(stuck: Stuck) -> Diagnostic | None:
    """``(h, c) = …`` and ``(h, c), y = …``, which read as a call of what stands in front."""
    begin, end = 0, -1
    if stuck.kind() == "LPAR":
        end = 1
        while stuck.kind(end) in ("NAME", "COMMA"):
            end += 1
    elif stuck.kind() in ("COMMA", "EQUAL"):
        begin = -2
        while stuck.kind(begin) in ("NAME", "COMMA"):
            begin -= 1
    closed = stuck.kind(begin) == "LPAR" and stuck.kind(end) == "RPAR"
    if not closed or not stuck.begins_line(begin) or stuck.kind(end + 1) not in ("COMMA", "EQUAL"):
        return None
    help = ("write `a, b = …`; of several targets the first must be a name: `a, (b, c) = …`",)
    return Diagnostic("a statement cannot begin with `(`", stuck.span(begin, end), help=help)


def _weakest_arrow(stuck: Stuck) -> Diagnostic | None:
    """What binds tighter than ``->`` or a label after one."""
    binds = stuck.kind() in {*OPERATORS, *COMPARISONS, "LSQB", "DOT", "LPAR"}
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


def _label_braces(stuck: Stuck) -> Diagnostic | None:
    """``layers.{i}: Linear(8)``: only a string has braces for expressions."""
    if stuck.kind() != "LBRACE" or stuck.kind(-1) != "DOT" or "INTEGER" not in stuck.expected:
        return None
    begin = -2
    while stuck.kind(begin - 1) == "DOT" and stuck.kind(begin - 2) in ("NAME", "INTEGER"):
        begin -= 2
    path = "".join(stuck.text(offset) for offset in range(begin, 0))
    inside = stuck.text(1) if stuck.kind(2) == "RBRACE" else "…"
    help = (f'a label with an expression is a string: `"{path}{{{inside}}}"`',)
    return Diagnostic(f"expected a name or an integer, found `{{` after `{path}`", stuck.span(), help=help)


def _conditional(stuck: Stuck) -> Diagnostic | None:
    if not {"ELSE", "AND"} <= stuck.expected or stuck.kind() == END:
        return None
    help = ("a choice between values is `a if condition else b`",)
    return Diagnostic(f"expected `else`, found {found_in_words(stuck)}", stuck.span(), help=help)


def _comment(stuck: Stuck) -> Diagnostic | None:
    if stuck.kind() == "FLOOR_DIVIDE" or (stuck.kind() == "DIVIDE" and stuck.kind(1) in ("TIMES", "POWER")):
        return Diagnostic(f"unexpected `{stuck.text()}`", stuck.span(), help=("a comment begins with `#`",))
    return None


_RULES: tuple[Callable[[Stuck], Diagnostic | None], ...] = (
    misread_weights,
    _unknown_character,
    _python_word,
    _unclosed_body,
    _missing_operand,
    _unclosed,
    _number,
    misread_derived_model,
    misread_comprehension,
    _comparison,
    _label,
    misread_def,
    misread_loop,
    _body,
    _weakest_arrow,
    misread_values,
    misread_input_values,
    misread_range,
    misread_dotted_type,
    misread_input_type,
    _labelled,
    _label_braces,
    misread_import,
    misread_step,
    _first_target,
    _star,
    _tuple,
    _string_prefix,
    misread_output,
    misread_outputs,
    misread_model,
    misread_header,
    _reserved_word,
    misread_statement,
    _conditional,
    _comment,
)
