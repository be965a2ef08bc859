"""`make zoo` without the hours: one small network measured, kept, and written as tables."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import zoo, zoo_table
from benchmarks.zoo_entries import read_zoo
from tests.command import trtdsl
from trtdsl.cli.call_arguments import call_arguments
from trtdsl.cli.options import assignments

EMPTY = f"# Title\n\n{zoo_table.BEGIN}\nstale words\n{zoo_table.END}\n\nbelow\n"
ABOUT = {"machine": "a machine", "PyTorch": "2.14"}


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
    return zoo.main()


def test_a_network_is_measured_kept_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, readme = tmp_path / "zoo.json", tmp_path / "README.md"
    readme.write_text(EMPTY)
    places = ("--results", results, "--readme", readme)
    asked = ("--stages", "numbers,float32", *places)
    assert main(monkeypatch, "--only", "lenet", *asked) == 0
    record = json.loads(results.read_text())["lenet"]
    assert record["numbers"]["parameters"] == 61706
    assert {tuple(each["sizes"]) for each in record["numbers"]["points"]} == {("N",)}
    assert all(0 < each["error"] < 1e-6 for each in record["numbers"]["points"])
    assert record["float32"]["mib"] > 0.2 and record["float32"]["layers"] > 5
    page = readme.read_text()
    assert page.startswith("# Title") and page.endswith("below\n") and "stale words" not in page
    (row,) = (line for line in page.splitlines() if line.startswith("| `lenet`"))
    assert "61.7 k" in row and row.count("not run") == 1
    assert "| `cnn` | `cnn/cnn` |  | not run |" in page
    # What has a result is not run again.
    monkeypatch.setattr(zoo, "read_zoo", lambda: {"lenet": read_zoo()["lenet"]})
    monkeypatch.setattr(zoo, "in_a_process", lambda *_: pytest.fail("was run again"))
    assert main(monkeypatch, *asked) == 0


def test_a_network_that_fails_is_a_row_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, readme = tmp_path / "zoo.json", tmp_path / "README.md"
    readme.write_text(EMPTY)
    options = ("--results", results, "--readme", readme, "--stages", "float32")
    assert main(monkeypatch, "--only", "lenet", "cnn", "--minutes", 0.0001, *options) == 1
    assert set(json.loads(results.read_text())) == {"lenet", "cnn"}
    assert "- `cnn` float32: took more than 0.0001 minutes" in readme.read_text()


def test_a_wrong_network_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(zoo.STAGES, "numbers", lambda entry: {"broken": 1 // 0})
    zoo.work("lenet", "numbers")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"].startswith("ZeroDivisionError")


def test_every_text_and_every_network_has_a_row() -> None:
    entries = list(read_zoo().values())
    made = zoo_table.page(EMPTY, entries, {}, ABOUT)
    for entry in entries:
        assert f"[`{entry.file}`]({entry.file})" in made
        assert f"| `{entry.name}` |" in made


def test_a_page_without_the_comments_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have the comments"):
        zoo_table.page("# Title", [], {}, ABOUT)


PYTHON = '''"""Module."""

import x  # why

class A:
    """Several
    lines."""

    def f(self):
        y = """not a
        docstring"""
        # comment
        return (
            y
        )
'''


def test_lines_of_code_are_counted_without_words() -> None:
    assert zoo_table.python_lines(PYTHON) == 8
    assert zoo_table.text_lines("# head\n\n## doc\nmodel m {\n  # why\n  input x: float32[2]\n}\n") == 3


def test_lines_give_what_the_entries_say() -> None:
    for entry in read_zoo().values():
        words = shlex.split(zoo_table.verify_command(entry))
        given = [(option, word) for option, word in itertools.pairwise(words) if option in ("-D", "--arg")]
        assert call_arguments([word for option, word in given if option == "--arg"]) == entry.arguments
        assert assignments([word for option, word in given if option == "-D"]) == entry.defines


@pytest.mark.parametrize("name", ["gpt2", "albert", "llama", "lenet"])
def test_a_line_of_the_page_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (zoo_table.EXAMPLES / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"trtdsl verify examples/{name}/"))
    monkeypatch.chdir(zoo_table.EXAMPLES.parent)
    assert trtdsl(*shlex.split(line)[1:]) == 0
    assert "equal: no relative error above" in capsys.readouterr().out
