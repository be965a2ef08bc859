"""One statement's tokens → lines of at most :data:`WIDTH` columns.

A statement is a :data:`TokenSequence` of tokens and brackets. It stays on one line where it fits. A pipe
breaks before ``->``, its arrows one below the other; the items of a bracket stand on a line of their own
where they fit on one, else, and where the author wrote a comma after the last, each on its own::

    x = image -> conv1: Conv2d(64, 7, stride = 2) -> relu
              -> head: Head(
                classes,
                depth = 3,
              )

A comment stays beside the tokens it stood beside; what holds one never fits on a line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

WIDTH = 100
INDENT = 2
CONTINUATION = 4

_ARITHMETIC = {"PLUS", "MINUS", "TIMES", "DIVIDE", "FLOOR_DIVIDE", "MODULO", "MATMUL", "POWER"}
_BREAK_BEFORE = _ARITHMETIC | {"OR", "AND", "EQ", "NE", "LT", "LE", "GT", "GE", "IF", "ELSE", "WITH"}


@dataclass(slots=True)
class Token:
    """One token with the comments beside it."""

    kind: str
    text: str
    space: bool = False
    """whether a space stands before it on a line"""
    on_new_line: bool = False
    """whether the author began a line with it"""
    above: list[str] = field(default_factory=list)
    trailing: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        return len(self.text) + self.space

    @property
    def flat(self) -> bool:
        return not self.above and not self.trailing


@dataclass(slots=True)
class Item:
    """What stands between two commas, and the comments after it."""

    sequence: TokenSequence
    trailing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Bracket:
    """``opening`` items ``closing``; the commas are not kept but written anew."""

    opening: Token
    items: list[Item]
    closing: Token
    comma: Literal["never", "broken", "always"]
    """whether the last item has a comma: in ``(a)``, in most, and in ``(a,)``"""
    fills: bool
    """many short items to a line, as in a list of numbers"""
    applied: bool
    """whether it calls or indexes what stands before it"""
    is_table: bool = False
    """of short arguments or tuples of constants: many to a line, and no comma after the last"""
    ends_in_comma: bool = False
    """whether the author wrote a comma after the last item"""
    width: int = 0
    flat: bool = True


TokenSequence: TypeAlias = "list[Token | Bracket]"


@dataclass(slots=True)
class _Line:
    indent: int
    code: str = ""
    comment: str = ""


class Writer:
    """Collects lines. A token never follows a comment on its line."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []

    @property
    def column(self) -> int:
        line = self.lines[-1]
        return line.indent + len(line.code)

    def begin(self, indent: int) -> None:
        """A new line, unless one has just begun."""
        if (
            self.lines
            and not self.lines[-1].code
            and not self.lines[-1].comment
            and self.lines[-1].indent >= 0
        ):
            self.lines[-1].indent = indent
        else:
            self.lines.append(_Line(indent))

    def blank(self) -> None:
        self.lines.append(_Line(-1))

    def write(self, token: Token, indent: int) -> None:
        """A token; where a comment forces a line before it, that line has the given indent."""
        line = self.lines[-1]
        if token.above or line.comment:
            for comment in token.above:
                self.begin(indent)
                self.lines[-1].comment = comment
            self.begin(indent)
            line = self.lines[-1]
        line.code += f" {token.text}" if token.space and line.code else token.text
        for comment in token.trailing:
            self.comment(comment, indent)

    def ends_in(self, code: str) -> bool:
        """Whether the last line ends in this code."""
        return bool(self.lines) and self.lines[-1].code.endswith(code)

    def append(self, text: str) -> None:
        """Punctuation that stays on the line, before its comment."""
        self.lines[-1].code += text

    def comment(self, text: str, indent: int) -> None:
        """A comment at the end of the line, or on the next where the line has one."""
        if self.lines[-1].comment:
            self.begin(indent)
        self.lines[-1].comment = text

    def text(self) -> str:
        """The lines, with neighbouring comments after code one below the other."""
        columns: dict[int, int] = {}
        for number, line in enumerate(self.lines):
            if line.code and line.comment:
                group = columns.get(number - 1, number) if number - 1 in columns else number
                columns[number] = group
        widths: dict[int, int] = {}
        for number, group in columns.items():
            line = self.lines[number]
            widths[group] = max(widths.get(group, 0), line.indent + len(line.code))
        return "".join(
            _rendered(line, widths[columns[number]] if number in columns else 0)
            for number, line in enumerate(self.lines)
        )


def _rendered(line: _Line, width: int) -> str:
    code = " " * line.indent + line.code
    if line.code and line.comment:
        return f"{code:<{width}}  {line.comment}\n"
    return f"{code}{line.comment}".rstrip() + "\n"


def measure(sequence: TokenSequence) -> tuple[int, bool]:
    """The width on one line, and whether one line may hold it."""
    width, flat = 0, True
    for element in sequence:
        width += element.width
        flat = flat and element.flat
        if isinstance(element, Token) and element.kind == "ARROW" and element.on_new_line:
            flat = False
    return width, flat


def close(bracket: Bracket) -> Bracket:
    """The bracket with its width worked out, once its items are complete."""
    measured = [measure(item.sequence) for item in bracket.items]
    commas = 2 * max(0, len(measured) - 1) + (bracket.comma == "always")
    bracket.width = bracket.opening.width + sum(width for width, _ in measured) + commas + 1
    bracket.flat = (
        bracket.opening.flat
        and not bracket.closing.above
        and all(flat for _, flat in measured)
        and not any(item.trailing for item in bracket.items)
    )
    return bracket


def write_sequence(writer: Writer, sequence: TokenSequence, indent: int, tail: int) -> None:
    """Lay a sequence out from the current column; ``tail`` columns follow it on its last line."""
    width, flat = measure(sequence)
    if flat and writer.column + width + tail <= WIDTH:
        _write_flat(writer, sequence, indent)
        return
    clauses = _split_at_loops(sequence)
    if len(clauses) > 1:
        _write_comprehension(writer, clauses, indent, tail)
        return
    rows = _split_at_arrows(sequence)
    if len(rows) == 1:
        _write_filled(writer, sequence, indent, tail)
        return
    _write_pipe(writer, rows, indent, tail)


def _write_flat(writer: Writer, sequence: TokenSequence, indent: int) -> None:
    for element in sequence:
        if isinstance(element, Token):
            writer.write(element, indent)
            continue
        writer.write(element.opening, indent)
        _write_items(writer, element.items, indent)
        if element.comma == "always":
            writer.append(",")
        writer.write(element.closing, indent)


def _write_items(writer: Writer, items: list[Item], indent: int) -> None:
    for number, item in enumerate(items):
        if number:
            writer.append(", ")
        _write_flat(writer, item.sequence, indent)


def _split_at_loops(sequence: TokenSequence) -> list[TokenSequence]:
    """What a comprehension makes, then its loops; a statement is not taken apart."""
    parts: list[TokenSequence] = [[]]
    for number, element in enumerate(sequence):
        if number and isinstance(element, Token) and element.kind == "FOR":
            parts.append([])
        parts[-1].append(element)
    return parts


def _write_comprehension(writer: Writer, parts: list[TokenSequence], indent: int, tail: int) -> None:
    """The element, then each loop on lines of its own."""
    for number, part in enumerate(parts):
        if number:
            writer.begin(indent)
        write_sequence(writer, part, indent, tail if number == len(parts) - 1 else 0)


def _split_at_arrows(sequence: TokenSequence) -> list[TokenSequence]:
    rows: list[TokenSequence] = [[]]
    for element in sequence:
        if isinstance(element, Token) and element.kind == "ARROW":
            rows.append([])
        rows[-1].append(element)
    return rows


def _write_pipe(writer: Writer, rows: list[TokenSequence], indent: int, tail: int) -> None:
    """The head, then the stages, aligned under the first arrow."""
    head, *stages = rows
    _write_filled(writer, head, indent, 0)
    aligned: int | None = None
    for number, stage in enumerate(stages):
        width, flat = measure(stage)
        rest = tail if number == len(stages) - 1 else 0
        arrow = stage[0]
        fits = flat and writer.column + width + rest <= WIDTH
        broken = isinstance(arrow, Token) and arrow.on_new_line
        column = indent + CONTINUATION if aligned is None else aligned
        if aligned is None:
            broken = broken or (not fits and column + width + rest <= WIDTH)
        if broken or (aligned is not None and not fits) or writer.lines[-1].comment:
            writer.begin(column)
            aligned = column
        elif aligned is None:
            aligned = writer.column + 1
        _write_filled(writer, stage, aligned, rest)


def _write_filled(writer: Writer, sequence: TokenSequence, indent: int, tail: int) -> None:
    """As much on a line as fits, breaking before operators, after commas and inside brackets."""
    start = _after_targets(sequence)
    for number, element in enumerate(sequence):
        if isinstance(element, Bracket):
            _write_bracket(writer, element, indent, _until_break(sequence, number + 1, tail, inside=True))
            continue
        if number > start and _may_break(sequence, number):
            whole = element.width + _until_break(sequence, number + 1, tail, inside=False)
            least = element.width + _until_break(sequence, number + 1, tail, inside=True)
            fits_below = indent + CONTINUATION + whole <= WIDTH
            if writer.column + (whole if fits_below else least) > WIDTH:
                writer.begin(indent + CONTINUATION)
        writer.write(element, indent + CONTINUATION if number else indent)


def _may_break(sequence: TokenSequence, number: int) -> bool:
    """Before an operator and after a comma."""
    element, previous = sequence[number], sequence[number - 1]
    if isinstance(element, Token) and element.kind in _BREAK_BEFORE:
        return True
    return isinstance(previous, Token) and previous.kind == "COMMA"


def _after_targets(sequence: TokenSequence) -> int:
    """Where the names to the left of a statement's ``=`` end: they stay together."""
    kinds = [element.kind if isinstance(element, Token) else "" for element in sequence]
    return kinds.index("EQUAL") if "EQUAL" in kinds and kinds[0] != "SCAN" else 0


def _until_break(sequence: TokenSequence, start: int, tail: int, inside: bool) -> int:
    """The columns from an element to where the line may end: an operator, or ``inside`` a bracket."""
    width = 0
    for number in range(start, len(sequence)):
        element = sequence[number]
        if isinstance(element, Bracket):
            if inside:
                return width + element.opening.width
        elif element.kind in _BREAK_BEFORE:
            return width
        elif element.kind == "COMMA":
            return width + element.width
        width += element.width
    return width + tail


def _write_bracket(writer: Writer, bracket: Bracket, indent: int, tail: int) -> None:
    """On one line, or its items on one, or an item a line."""
    if bracket.flat and writer.column + bracket.width + tail <= WIDTH:
        _write_flat(writer, [bracket], indent)
        return
    writer.write(bracket.opening, indent)
    base = writer.lines[-1].indent
    inner = base + INDENT
    if bracket.flat and bracket.comma == "broken" and not bracket.ends_in_comma:
        width = bracket.width - bracket.opening.width - bracket.closing.width
        if inner + width <= WIDTH and bracket.items and (bracket.is_table or not bracket.fills):
            writer.begin(inner)
            _write_items(writer, bracket.items, inner)
            writer.begin(base)
            writer.write(bracket.closing, base)
            return
    for number, item in enumerate(bracket.items):
        last = number == len(bracket.items) - 1
        comma = not last or (bracket.comma != "never" and not bracket.is_table)
        width, flat = measure(item.sequence)
        if number and bracket.fills and flat and writer.column + 1 + width + comma <= WIDTH:
            writer.append(" ")
        else:
            writer.begin(inner)
        write_sequence(writer, item.sequence, inner, int(comma))
        if comma:
            writer.append(",")
        for comment in item.trailing:
            writer.comment(comment, inner)
    for comment in bracket.closing.above:
        writer.begin(inner)
        writer.comment(comment, inner)
    bracket.closing.above = []
    if bracket.items or writer.lines[-1].comment:
        writer.begin(base)
    writer.write(bracket.closing, base)
