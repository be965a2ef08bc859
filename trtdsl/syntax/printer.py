"""Text → the same text in the one layout: the formatter.

It works on tokens, not on the tree, so it cannot say anything but what was said; the tree only tells
where statements begin. Two spaces of indentation, a statement a line, 100 columns, at most one blank
line in a row. Comments stay where they are; breaks before ``->`` are the author's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from trtdsl.diagnostics import Source
from trtdsl.syntax import tree
from trtdsl.syntax.grammar import END
from trtdsl.syntax.layout import INDENT, WIDTH, Token, TokenSequence, Writer, measure, write_sequence
from trtdsl.syntax.parser import parse_whole, read_weights_map
from trtdsl.syntax.spacing import annotate, sequence_of, take_comments_after
from trtdsl.syntax.tokens import Tokens, comments_of
from trtdsl.syntax.tree import Comment


def laid_out(text: str, name: str = "<text>") -> str:
    """The text in the one layout; raises :class:`DiagnosticError` where it does not parse."""
    if _is_weights_map(text):
        source = Source(name, text)
        lines, tokens = read_weights_map(source)
        begins = {key.span.start for key, _ in lines}
        formatter = _Formatter(tokens, comments_of(source), begins)
    else:
        parsed = parse_whole(text, name)
        formatter = _Formatter(parsed.tokens, parsed.comments, {*_beginnings(parsed.tree.items)})
    formatter.run()
    return formatter.writer.text()


def _is_weights_map(text: str) -> bool:
    """Whether the first thing in a text is a string, with which only the lines of a weights map begin."""
    lines = (line.strip("\ufeff \t\r") for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "").startswith('"')


class _Formatter:
    """Goes through the tokens once, a statement at a time."""

    def __init__(self, tokens: Tokens, comments: Sequence[Comment], begins: Set[int]) -> None:
        """``begins`` are the offsets where a line of its own begins."""
        self.writer = Writer()
        self.tokens = annotate(tokens, comments)
        self.begins = [start in begins for start in tokens.starts]
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def run(self) -> None:
        while self.token.kind != END:
            if self.token.kind == "RBRACE":
                self.close_body()
            else:
                self.statement()
        self.comments_above(self.token, 0)

    def comments_above(self, token: Token, depth: int) -> None:
        """The comments and blank lines before a statement or a closing brace."""
        above = token.above
        if token.kind in (END, "RBRACE") and above and not above[-1]:
            above = above[:-1]
        for comment in above:
            if comment:
                self.writer.begin(depth * INDENT)
                self.writer.comment(comment, depth * INDENT)
            elif self.writer.lines and not self.writer.ends_in("{"):
                self.writer.blank()
        token.above = []

    def close_body(self) -> None:
        closing = self.token
        empty = self.writer.ends_in("{") and not self.writer.lines[-1].comment and not any(closing.above)
        self.comments_above(closing, self.depth)
        self.depth -= 1
        if empty:
            self.writer.append("}")
        else:
            self.writer.begin(self.depth * INDENT)
            self.writer.write(closing, self.depth * INDENT)
        for comment in closing.trailing if empty else ():
            self.writer.comment(comment, self.depth * INDENT)
        self.index += 1

    def statement(self) -> None:
        """From its first token to its last, or to the brace that opens its body."""
        first, end, indent = self.token, self._end(), self.depth * INDENT
        if first.kind == "ELSE" and not any(first.above) and not self.writer.lines[-1].comment:
            self.writer.append(" ")
        else:
            self._separate(first)
            self.comments_above(first, self.depth)
            self.writer.begin(indent)
        first.above = []
        header = sequence_of(self.tokens[self.index : end])
        opens = self.tokens[end].kind == "LBRACE"
        if opens and self._on_one_line(header, end):
            return
        comments = take_comments_after(header)
        write_sequence(self.writer, header, indent, 2 if opens else 0)
        self.index = end
        if opens:
            self.writer.append(" {")
            self.depth += 1
            self.index += 1
            comments += [comment for comment in self.tokens[end].above if comment]
            comments += self.tokens[end].trailing
        for comment in comments:
            self.writer.comment(comment, self.depth * INDENT)

    def _end(self) -> int:
        """The index after the statement's last token; an `if` after an `else` is no new statement."""
        index = self.index + 1
        while self.tokens[index].kind not in ("LBRACE", "RBRACE", END):
            if self.begins[index] and self.tokens[index - 1].kind != "ELSE":
                break
            index += 1
        return index

    def _separate(self, first: Token) -> None:
        """A blank line between blocks, defs and models, and around them; models derived from others may go
        without."""
        if self.depth or not self.writer.lines or (first.above and not first.above[0]):
            return
        derived = first.kind == "MODEL" and self.tokens[self.index + 2].kind == "EQUAL"
        begins = first.kind in ("BLOCK", "DEF", "MODEL") and not derived
        if begins or self.writer.ends_in("}"):
            first.above.insert(0, "")

    def _on_one_line(self, header: TokenSequence, opening: int) -> bool:
        """Keeps ``if c { x = y }`` on a line if the author wrote it so, it is one statement, and it fits."""
        closing = opening + 1
        while self.tokens[closing].kind not in ("LBRACE", "RBRACE"):
            closing += 1
        inside = range(opening + 1, closing)
        if (
            self.tokens[closing].kind == "LBRACE"
            or self.token.kind == "ELSE"
            or self.tokens[closing + 1].kind == "ELSE"
            or sum(self.begins[index] for index in inside) != 1
            or any(token.on_new_line for token in self.tokens[self.index + 1 : closing + 1])
        ):
            return False
        body = sequence_of([self.tokens[index] for index in inside])
        width = measure(header)[0] + measure(body)[0] + len(" {  }")
        if self.writer.column + width > WIDTH:
            return False
        write_sequence(self.writer, header, self.depth * INDENT, 0)
        self.writer.append(" { ")
        write_sequence(self.writer, body, self.depth * INDENT, 0)
        self.writer.append(" }")
        for comment in self.tokens[closing].trailing:
            self.writer.comment(comment, self.depth * INDENT)
        self.index = closing + 1
        return True


def _beginnings(nodes: Iterable[tree.Item | tree.Statement]) -> Iterator[int]:
    """The offsets where a line of its own begins."""
    for node in nodes:
        yield node.span.start
        match node:
            case tree.Block() | tree.Def() | tree.Model() | tree.For() | tree.Scan():
                yield from _beginnings(node.body)
            case tree.If():
                yield from _beginnings(node.body)
                yield from _beginnings(node.otherwise)
            case tree.Profile():
                yield from (name.span.start for name, _ in node.ranges)
            case tree.Weights():
                yield from (key.span.start for key, _ in node.entries)
            case _:
                pass
