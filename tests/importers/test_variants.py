"""Calls that leave out parts of the longest one are told from others."""

from __future__ import annotations

import pytest

from tests.importers.programs import read, statements
from trtdsl.importers.module import import_program
from trtdsl.importers.program import Ref
from trtdsl.importers.variants import ANYTHING, MOST_OPTIONS, Alignment, Option, Part, align, options

LONGEST = "a = cos(x)\nb = sin(a)\nc = exp(b)\nd = add.Tensor(c, x)\nreturn d"
STAND_IN = "a = cos(x)\nb = exp(a)\nc = add.Tensor(b, x)\nreturn c"


def part(text: str) -> Part:
    program, items = statements(f"x: float32[N, 4]\n{text}")
    results = [value.value for _, value in program.outputs if isinstance(value, Ref)]
    return Part(items, ["x"], results)


def aligned(longest: str, other: str) -> Alignment | None:
    return align(part(longest), part(other))


def found_options(longest: str, *others: str) -> list[Option] | None:
    alignments = [aligned(longest, each) for each in (longest, *others)]
    assert all(alignments)
    return options(part(longest), [each for each in alignments if each])


def test_an_equal_one_leaves_nothing_out() -> None:
    found = aligned(LONGEST, LONGEST.replace("b", "other"))
    assert found and found.kept == [True] * 4
    assert found.stands_for == {}


def test_what_is_left_out_is_stood_for_by_what_it_was_given() -> None:
    found = aligned(LONGEST, STAND_IN)
    assert found and found.kept == [True, False, True, True]
    assert found.stands_for == {"b": "a"}


def test_numbers_that_are_left_out_are_anything() -> None:
    longest = "a = softmax.int(x, 1)\nb = softmax.int(a, 0)\nreturn b"
    found = aligned(longest, "a = softmax.int(x, 1)\nreturn a")
    assert found and found.holes[0] == [1, None]
    assert found.holes[1] == [ANYTHING, ANYTHING]


@pytest.mark.parametrize(
    "other",
    [
        "a = cos(x)\nb = floor(a)\nc = exp(b)\nd = add.Tensor(c, x)\nreturn d",
        "a = cos(x)\nb = sin(x)\nc = exp(b)\nd = add.Tensor(c, x)\nreturn d",
        "a = cos(x)\nb = sin(a)\nc = exp(b)\nd = add.Tensor(c, a)\nreturn d",
        "a = cos(x)\nb = exp(x)\nc = add.Tensor(b, a)\nreturn c",
        "a = cos(x)\nb = sin(a)\nc = exp(b)\nd = add.Tensor(c, x)\nreturn d, a",
    ],
    ids=["another function", "another operand", "another end", "two stand-ins", "more results"],
)
def test_another_one_is_told_apart(other: str) -> None:
    assert aligned(LONGEST, other) is None


def chain(length: int) -> str:
    lines = [f"v{number + 1} = cos(v{number})" for number in range(length)]
    return "\n".join(["v0 = sin(x)", *lines, f"return v{length}"])


@pytest.mark.parametrize(("length", "other", "is_found"), [(8, 0, True), (9, 0, False), (20, 10, True)])
def test_what_leaves_out_most_of_a_long_one_is_another(length: int, other: int, is_found: bool) -> None:
    assert (aligned(chain(length), chain(other)) is not None) == is_found


def test_a_run_that_is_left_out_is_one_option() -> None:
    (option,) = found_options(LONGEST, STAND_IN) or []
    assert (option.start, option.stop, option.has) == (1, 2, (True, False))
    assert option.merges == (("b", "a"),)


def test_runs_that_are_left_out_together_count_once() -> None:
    functions = ["floor", "ceil", "cos", "sin", "exp", "log", "abs", "neg", "sqrt"]

    def chain(used: list[str]) -> str:
        lines = [f"v{n + 1} = {name}({f'v{n}' if n else 'x'})" for n, name in enumerate(used)]
        return "\n".join([*lines, f"return v{len(used)}"])

    longest = chain(functions)
    together = found_options(longest, chain([each for n, each in enumerate(functions) if n % 2 == 0]))
    assert together is not None
    assert {each.has for each in together} == {(True, False)}
    assert len(together) == 4
    left_out = range(1, 2 * (MOST_OPTIONS + 1), 2)
    apart = [chain([each for n, each in enumerate(functions) if n != without]) for without in left_out]
    assert found_options(longest, *apart) is None
    assert found_options(longest, *apart[:MOST_OPTIONS]) is not None


def test_a_part_of_a_numbered_row_is_no_option() -> None:
    longest = """
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(a, w("layers.1.weight", 4, 4))
return b"""
    shorter = 'a = linear(x, w("layers.0.weight", 4, 4))\nreturn a'
    assert found_options(longest, shorter) is None


def test_an_option_is_a_branch_of_the_block() -> None:
    program = read("""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = layer_norm(a, (4,), w("norm.weight", 4), w("norm.bias", 4))
    c = relu(b)
with Layer("second"):
    d = linear(c, w("fc.weight", 4, 4))
    e = relu(d)
return e
""")
    assert import_program(program).text.startswith("""\
## Layer.
block Layer(norm = true)(x) {
  a = x -> fc: Linear(4, bias = false)
  if norm {
    a = a -> norm: LayerNorm(4)
  }
  return relu(a)
}
""")
    assert "x -> first: Layer -> second: Layer(norm = false)" in import_program(program).text
