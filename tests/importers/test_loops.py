"""Rows of numbered layers become loops, where that is easier to read than they are."""

from __future__ import annotations

from tests.importers.programs import statements, text_of
from trtdsl.importers.loops import with_loops


def looped(text: str, read_behind: str = "") -> list[str]:
    program, items = statements(text)
    returned = {value.value for _, value in program.outputs if hasattr(value, "value")}  # pyright: ignore
    return text_of(program, with_loops(items, frozenset({*returned, *read_behind.split()})))


def test_three_layers_in_a_row() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(a, w("layers.1.weight", 4, 4))
c = linear(b, w("layers.2.weight", 4, 4))
return c
"""
    assert looped(text) == [
        "for i in range(3) {",
        'x = x -> "layers.{i}": Linear(4, bias = false)',
        "}",
        "output out_c = x",
    ]


def test_two_layers_stay_as_they_are() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(a, w("layers.1.weight", 4, 4))
return b
"""
    assert looped(text) == [
        "output out_b = x -> layers.0: Linear(4, bias = false) -> layers.1: Linear(4, bias = false)"
    ]


def test_numbers_that_do_not_begin_with_zero() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("fc2.weight", 4, 4))
b = linear(a, w("fc3.weight", 4, 4))
c = linear(b, w("fc4.weight", 4, 4))
return c
"""
    assert looped(text)[:2] == ["for i in range(2, 3 + 2) {", 'x = x -> "fc{i}": Linear(4, bias = false)']


def test_what_varies_is_a_table() -> None:
    text = """
x: float32[N, 4]
a: float32[N, 8] = linear(x, w("layers.0.weight", 8, 4))
b: float32[N, 6] = linear(a, w("layers.1.weight", 6, 8))
c: float32[N, 9] = linear(b, w("layers.2.weight", 9, 6))
return c
"""
    assert looped(text)[0] == "for i, out_features in enumerate([8, 6, 9]) {"
    assert looped(text)[1] == 'x = x -> "layers.{i}": Linear(out_features, bias = false)'


def test_several_statements_are_one_iteration() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.fc.weight", 4, 4))
b = relu(a)
c = linear(b, w("layers.1.fc.weight", 4, 4))
d = relu(c)
e = linear(d, w("layers.2.fc.weight", 4, 4))
f = relu(e)
return f
"""
    assert looped(text)[:2] == [
        "for i in range(3) {",
        'x = x -> "layers.{i}.fc": Linear(4, bias = false) -> relu',
    ]


def test_a_number_that_is_skipped_ends_the_row() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(a, w("layers.1.weight", 4, 4))
c = linear(b, w("layers.3.weight", 4, 4))
return c
"""
    assert not any(line.startswith("for") for line in looped(text))


def test_what_is_read_behind_is_not_hidden_in_an_iteration() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(a, w("layers.1.weight", 4, 4))
c = linear(b, w("layers.2.weight", 4, 4))
d = add.Tensor(c, b)
return d
"""
    assert not any(line.startswith("for") for line in looped(text))


def test_layers_that_do_not_read_each_other_are_not_a_row() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(x, w("layers.1.weight", 4, 4))
c = linear(x, w("layers.2.weight", 4, 4))
return c, b, a
"""
    assert not any(line.startswith("for") for line in looped(text))


def test_an_invariant_is_read_in_every_iteration() -> None:
    text = """
x: float32[N, 4]
mask: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = mul.Tensor(a, mask)
c = linear(b, w("layers.1.weight", 4, 4))
d = mul.Tensor(c, mask)
e = linear(d, w("layers.2.weight", 4, 4))
f = mul.Tensor(e, mask)
return f
"""
    assert looped(text)[:3] == [
        "for i in range(3) {",
        'a = x -> "layers.{i}": Linear(4, bias = false)',
        "x = a * mask",
    ]
