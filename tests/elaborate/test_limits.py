"""Texts that ask for too much end soon, with a diagnostic: the limits of docs/language.md."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.elaborate.bodies import graph_of, mistakes_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, elaborate_file, elaborate_text, loops
from trtdsl.ir import show
from trtdsl.syntax import parse_partial, parser, source, stuck

SECONDS = 20.0
LIST = "the list is too long: it holds more than 100000 elements"
STRING = "the string is too long: it has more than 100000 characters"


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """What is refused is refused at once, in the time of the process alone."""
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


DOUBLED = [
    ("a = [1]", "a = [a, a]", LIST),
    ("a = (1,)", "a = (a, a)", LIST),
    ("a = [1]", "a = a + a", LIST),
    ("a = [1]", "a = [a] * 2", LIST),
    ("a = [1]", "a = zip(a, a)\n  a = [a, a]", LIST),
    ('a = "ab"', 'a = "{a}{a}"', STRING),
    ('a = "a"', "a = a + a", STRING),
    ("a = 3", "a = a * a", "the result is too large"),
    ("a = 3", "a = a + a", "the result is too large"),
]


@pytest.mark.parametrize(("first", "step", "message"), DOUBLED)
@pytest.mark.parametrize("use", ['output y = x + len("{a}")', "b = a == a\n output y = x"])
def test_what_doubles_is_bounded(first: str, step: str, message: str, use: str) -> None:
    times = 5000 if step == "a = a + a" and first == "a = 3" else 60
    body = f"{first}\nfor i in range({times}) {{\n  {step}\n}}\n{use}"
    assert mistakes_of(body)[0] == message


@pytest.mark.parametrize("element", ["1", "0.5", "x", "-1e-5", "true"])
def test_a_long_list_is_not_even_read(element: str) -> None:
    assert mistakes(f"a = [{f'{element}, ' * 1_000_000}]\noutput y = relu(x)") == [LIST]
    assert mistakes(f"a = [{f'{element}, ' * 100_000}{element}]\nb = = c\noutput y = relu(x)") == [
        LIST,
        "expected an expression, found `=`",
    ]


def test_the_longest_list_and_string() -> None:
    assert not mistakes("a = list(range(100000))\noutput y = relu(x)")
    assert mistakes("a = list(range(100000)) + [1]\noutput y = relu(x)") == [LIST]
    assert mistakes("a = list(range(99999))\nb = [a, 1]\noutput y = relu(x)") == [LIST]
    assert mistakes(f'a = "{"a" * 10_000_000}"\noutput y = relu(x)') == [STRING]
    assert not mistakes(f'a = "{"a" * 100_000}"\noutput y = relu(x)')


@pytest.mark.parametrize("count", [100_000, 100_001])
def test_elements_are_counted_alike_by_the_parser(count: int) -> None:
    found = parser.TOO_LONG.search(f"[{'1, ' * count}]")
    assert (found is not None) == (count > parser.LONGEST_LIST)


def calls_to_parse(text: str) -> int:
    """The work of reading a text, as the number of Python functions called."""
    count = 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    parse_partial("model m {}")
    sys.setprofile(called)
    try:
        parse_partial(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("line", ["# a\n", "## a\n", " \n#\n"])
def test_comments_cost_next_to_nothing(line: str) -> None:
    assert calls_to_parse(line * 100_000) < 20_000


@pytest.mark.parametrize("text", ["{", " a = b\n", "(", "}", "@ "])
def test_what_stands_behind_a_mistake_is_not_read_without_end(text: str) -> None:
    assert calls_to_parse(text * 60_000) < 1.5 * calls_to_parse(text * 30_000)


def test_a_mistake_far_before_the_next_statement() -> None:
    """Nothing is said of what stands behind the part that is looked at."""
    tokens = "x " * (stuck.MOST_LOOKED_AT + 10)
    right = "model m { input x: float32[1] output y = relu(x) }\n"
    for text in (f"{tokens}\n{right}", f"model a {{ y = = {tokens}\n}}\n{right}"):
        assert len(parse_partial(text).diagnostics) == 1


def test_many_interpolations() -> None:
    text = '"' + "{1}" * 40_000 + '"'
    assert mistakes(f"a = {text}\noutput y = relu(x)") == [STRING]
    assert calls_to_parse(f"model m {{ a = {text} }}") < 20_000


def mistakes(body: str) -> list[str]:
    try:
        graph_of(body)
    except DiagnosticError as error:
        return [diagnostic.message for diagnostic in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("split(v, 1)", "split gives at most 10000 tensors, not 10000000"),
        ("chunk(v, 10000000)", "chunk gives at most 10000 tensors, not 10000000"),
        ("unbind(v)", "unbind gives at most 10000 tensors, not 10000000"),
    ],
)
def test_an_operator_has_few_results(call: str, message: str) -> None:
    text = f"model m {{\n input v: float32[10000000]\n parts = {call}\n output y = parts[0]\n}}"
    with pytest.raises(DiagnosticError) as caught:
        elaborate_text(text)
    assert caught.value.diagnostics[0].message == message


def test_a_shown_graph_of_many_operators_parses_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one of what loops and blocks make; what a text writes out is in it already."""
    monkeypatch.setattr(loops, "MOST_STATEMENTS", 50)
    graph = graph_of("for i in range(40) { x = relu(x) }\noutput y = x")
    with pytest.raises(DiagnosticError, match="takes more than 50 statements"):
        graph_of("for i in range(60) { x = relu(x) }\noutput y = x")
    for _ in range(2):
        text = show(graph)
        longer = text.replace("  output ", "".join(f"  z{i} = relu(x)\n" for i in range(60)) + "  output ")
        graph = elaborate(longer, "m", None).graph
    assert len(graph.nodes) > 100


# Files


def refused(path: Path) -> str:
    with pytest.raises(DiagnosticError) as caught:
        elaborate_file(path)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.message.replace(str(path), "FILE")


def imported(folder: Path, path: str) -> str:
    main = folder / "main.trtnet"
    main.write_text(f'import "{path}"\nmodel m {{ input x: float32[1] output y = x + 1 }}')
    with pytest.raises(DiagnosticError) as caught:
        elaborate_file(main)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.span is not None
    assert diagnostic.span.text == f'"{path}"'
    return diagnostic.message.replace(str(folder), "FOLDER")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop2")
    (tmp_path / "loop2").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "long").write_bytes(b" " * (source.MOST_BYTES + 1))
    (tmp_path / "escapes").write_bytes(b"model m { y = = 3 # \x1b[31m\n }")
    (tmp_path / "program").write_bytes(b"\x7fELF\x02\x01\x01\0\0")
    (tmp_path / "latin").write_bytes(b"model m { # \xe4\n y = = 3 }")
    return tmp_path


FILES = [
    ("zero", "it is not a file"),
    ("fifo", "it is not a file"),
    ("loop", "too many levels of symbolic links"),
    ("p" * 5000, "file name too long"),
    ("p/" * 2500, "file name too long"),
    ("long", "it is longer than 32 MiB"),
    ("program", "it is not a text, it holds zero bytes"),
    ("latin", "it is not UTF-8 text"),
]


@pytest.mark.parametrize(("name", "reason"), FILES, ids=[name[:10] for name, _ in FILES])
def test_a_file_that_is_no_text(folder: Path, name: str, reason: str) -> None:
    assert refused(folder / name) == f"cannot read `FILE`: {reason}"
    assert imported(folder, name).endswith(f"`: {reason}")


def test_a_path_with_a_character_that_none_has(folder: Path) -> None:
    with pytest.raises(DiagnosticError, match="b`: not a path"):
        elaborate(
            'import "a\0b"\nmodel m { input x: float32[1] output y = x + 1 }', str(folder / "main.trtnet")
        )


@pytest.mark.parametrize("command", ["check", "fmt", "show"])
@pytest.mark.parametrize("name", ["/dev/zero", "fifo", "program", "latin"])
def test_the_command_line_shows_no_bytes_of_it(folder: Path, command: str, name: str) -> None:
    run = [sys.executable, "-m", "trtdsl", command, name]
    done = subprocess.run(run, cwd=folder, capture_output=True, timeout=60, preexec_fn=_little_memory)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"error: cannot read `{name}`".encode())
    assert len(done.stderr) < 200
    assert not done.stdout


@pytest.mark.parametrize("command", ["check", "fmt", "show"])
def test_the_command_line_shows_no_escapes(folder: Path, command: str) -> None:
    run = [sys.executable, "-m", "trtdsl", command, "escapes"]
    done = subprocess.run(run, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"expected an expression" in done.stderr
    assert b"\x1b" not in done.stderr + done.stdout


def _little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
