"""Tokens → what the layout works on: tokens with their comments, spaces and brackets."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.syntax.layout import Bracket, Item, Token, TokenSequence, close, measure
from trtdsl.syntax.tokens import Tokens
from trtdsl.syntax.tree import Comment

SHORT = 30
"""Columns of an argument that shares its line with others where a call is broken."""

_CALLABLE = {"NAME", "WORD", "INTEGER", "STRING", "RPAR", "RSQB"}
_COMMAS = {"COMMA", "TARGET_COMMA"}
_OPERAND_ENDS = {*_CALLABLE, "DECIMAL", "SCIENTIFIC", "TRUE", "FALSE", "NONE", "ELLIPSIS"}
_LITERALS = {"INTEGER", "DECIMAL", "SCIENTIFIC", "NEGATE", "STRING", "TRUE", "FALSE", "NONE"}
_PATH = {"NAME", "WORD", "INTEGER", "DECIMAL", "DOT"}


def annotate(tokens: Tokens, comments: Sequence[Comment]) -> list[Token]:
    """Every token with the comments beside it; ``""`` among those above stands for a blank line."""
    text = tokens.source.text
    annotated: list[Token] = []
    waiting = list(reversed(comments))
    end = 0
    for index, kind in enumerate(tokens.kinds):
        start = tokens.starts[index] if kind != "$END" else len(text)
        above: list[str] = []
        begins_line = not annotated or "\n" in text[end:start]
        while waiting and waiting[-1].span.start < start:
            comment = waiting.pop()
            if comment.trailing and annotated:
                annotated[-1].trailing.append(comment.text)
            else:
                above += [*_blank(text, end, comment.span.start), comment.text]
            end = comment.span.end
        above += _blank(text, end, start)
        negates = kind == "MINUS" and not (annotated and annotated[-1].kind in _OPERAND_ENDS)
        shown = tokens.text(index)
        annotated.append(Token("NEGATE" if negates else kind, shown, on_new_line=begins_line, above=above))
        end = tokens.ends[index]
    return annotated


def _blank(text: str, start: int, end: int) -> list[str]:
    return [""] if text.count("\n", start, end) > 1 else []


def sequence_of(tokens: list[Token]) -> TokenSequence:
    """The tokens of one statement with its brackets matched and its spaces set."""
    for token in tokens:
        token.above = [comment for comment in token.above if comment]
    return _Reader(_without_empty_calls(tokens)).sequence(None)


def _without_empty_calls(tokens: list[Token]) -> list[Token]:
    """A stage ``f()`` is written ``f``, and ``model m()`` so too; comments of the brackets move after the
    name, or above what follows."""
    kept: list[Token] = []
    moved: list[str] = []
    for number, token in enumerate(tokens):
        is_empty = token.kind == "RPAR" and tokens[number - 1].kind == "LPAR"
        if is_empty and not _is_called(tokens[number + 1 :]) and _needs_no_list(kept[:-1]):
            opening = kept.pop()
            moved += [*opening.above, *opening.trailing, *token.above, *token.trailing]
            if moved and not kept[-1].trailing:
                kept[-1].trailing.append(moved.pop(0))
            continue
        token.above[:0] = moved
        moved = []
        kept.append(token)
    kept[-1].trailing += moved
    return kept


def _is_called(behind: list[Token]) -> bool:
    """Whether a second list follows, which would become the first."""
    return bool(behind) and behind[0].kind == "LPAR"


def _needs_no_list(tokens: list[Token]) -> bool:
    return [token.kind for token in tokens] == ["MODEL", "NAME"] or _ends_stage(tokens)


def _ends_stage(tokens: list[Token]) -> bool:
    """Whether the tokens end in ``-> path`` or ``-> label: path``."""
    index = _before_path(tokens, len(tokens))
    if index > 0 and tokens[index - 1].kind == "COLON":
        label = index - 2
        index = label if tokens[label].kind == "STRING" else _before_path(tokens, label + 1)
    return index > 0 and tokens[index - 1].kind == "ARROW"


def _before_path(tokens: list[Token], index: int) -> int:
    while index > 0 and tokens[index - 1].kind in _PATH:
        index -= 1
    return index


class _Reader:
    """Reads tokens into nested brackets."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.index = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.index].kind if self.index < len(self.tokens) else "$END"

    def sequence(self, bracket: Bracket | None) -> TokenSequence:
        """Up to the comma or bracket that ends an item, or to the end of the statement."""
        sequence: TokenSequence = []
        previous: Token | None = None
        ends = ("RPAR", "RSQB", "$END", "COMMA" if bracket and not _loops(bracket) else "$END")
        while self.kind not in ends:
            token = self.tokens[self.index]
            token.space = previous is not None and _spaced(previous.kind, token.kind, bracket)
            if token.kind in ("LPAR", "LSQB"):
                read = self.bracket(applied=previous is not None and previous.kind in _CALLABLE)
                sequence.append(read)
                previous = read.closing
                continue
            if token.kind == "COMMA" and bracket:
                token.kind = "TARGET_COMMA"
            sequence.append(token)
            previous = token
            self.index += 1
        return sequence

    def _loops(self) -> bool:
        """Whether a `for` stands in the brackets that open here, in no brackets of its own."""
        depth = 0
        for token in self.tokens[self.index :]:
            depth += (token.kind in ("LPAR", "LSQB")) - (token.kind in ("RPAR", "RSQB"))
            if depth == 0:
                return False
            if depth == 1 and token.kind == "FOR":
                return True
        return False

    def bracket(self, applied: bool) -> Bracket:
        opening = self.tokens[self.index]
        bracket = Bracket(opening, [], opening, comma="broken", fills=False, applied=applied)
        commas = 0
        if self._loops():
            bracket.comma = "never"
        self.index += 1
        while self.kind not in ("RPAR", "RSQB"):
            item = Item(self.sequence(bracket))
            item.trailing = take_comments_after(item.sequence)
            bracket.items.append(item)
            if self.kind == "COMMA":
                comma = self.tokens[self.index]
                item.trailing += [*comma.above, *comma.trailing]
                commas += 1
                self.index += 1
        bracket.ends_in_comma = commas == len(bracket.items) > 0
        bracket.closing = self.tokens[self.index]
        self.index += 1
        if opening.kind == "LPAR" and not applied and len(bracket.items) == 1:
            bracket.comma = "always" if commas else "never"
        bracket.fills = not applied and all(
            isinstance(element, Token) and element.kind in _LITERALS
            for item in bracket.items
            for element in item.sequence
        )
        bracket.is_table = _is_table(bracket)
        bracket.fills = bracket.fills or bracket.is_table
        close(bracket)
        # Many short arguments too stand several to a line, unless the author wrote a comma after the last.
        if applied and bracket.comma == "broken" and not bracket.ends_in_comma:
            bracket.fills = bracket.is_table = all(_is_short(item) for item in bracket.items)
        return bracket


def _is_short(item: Item) -> bool:
    width, is_flat = measure(item.sequence)
    return is_flat and not item.trailing and width < SHORT


def _is_table(bracket: Bracket) -> bool:
    """Whether it lists tuples of constants or names, with no comma after the last."""
    rows = [item.sequence[0] for item in bracket.items if len(item.sequence) == 1]
    if bracket.applied or bracket.ends_in_comma or len(rows) < max(len(bracket.items), 2):
        return False
    return all(isinstance(row, Bracket) and not row.applied and _is_row(row) for row in rows)


def _is_row(bracket: Bracket) -> bool:
    elements = [element for item in bracket.items for element in item.sequence]
    return all(
        _is_row(element) if isinstance(element, Bracket) else element.kind in {*_LITERALS, "NAME"}
        for element in elements
    )


def _loops(bracket: Bracket) -> bool:
    """Whether it is a comprehension: commas inside stand between targets, none ends it."""
    return bracket.opening.kind == "LSQB" and bracket.comma == "never"


def take_comments_after(sequence: TokenSequence) -> list[str]:
    """The comments after the last token, which loses them."""
    last = sequence[-1]
    token = last if isinstance(last, Token) else last.closing
    comments, token.trailing = token.trailing, []
    return comments


def _spaced(previous: str, kind: str, bracket: Bracket | None) -> bool:
    """Whether a space stands between two tokens of one line."""
    if previous in ("NEGATE", "DOT") or kind in ("DOT", "COLON") or kind in _COMMAS:
        return False
    if kind in ("LPAR", "LSQB") and previous in _CALLABLE:
        return False
    in_index = bracket is not None and bracket.applied and bracket.opening.kind == "LSQB"
    return not (previous == "COLON" and in_index)
