"""Lists that grow from layer to layer are joined step by step."""

from __future__ import annotations

from tests.importers.programs import listed, read
from trtdsl.importers.growing import with_growing_lists

DENSE = """
x: float32[N, 4, 8, 8]
with Layer("a"):
    j1 = cat((x,), 1)
    y1 = relu(j1)
with Layer("b"):
    j2: float32[N, 8, 8, 8] = cat((x, y1), 1)
    y2: float32[N, 4, 8, 8] = sigmoid(j2)
with Layer("c"):
    j3: float32[N, 12, 8, 8] = cat((x, y1, y2), 1)
    y3: float32[N, 4, 8, 8] = tanh(j3)
return y3
"""


def test_what_was_joined_before_is_joined_no_second_time() -> None:
    found = with_growing_lists(read(DENSE))
    assert listed(found) == [
        "y1 = relu(x)",
        "j2 = cat(x, y1)",
        "y2 = sigmoid(j2)",
        "j3 = cat(j2, y2)",
        "y3 = tanh(j3)",
    ]


def test_the_lists_are_joined_outside_of_the_layers() -> None:
    found = with_growing_lists(read(DENSE))
    assert [len(each.calls) for each in found.operations] == [1, 0, 1, 0, 1]


def test_layers_that_join_as_many_stay_as_they_are() -> None:
    program = read("""
x: float32[N, 4]
z: float32[N, 4]
with Layer("a"):
    a: float32[N, 8] = cat((x, z), 1)
    b = relu(a)
with Layer("b"):
    c: float32[N, 8] = cat((z, x), 1)
    d = relu(c)
return b, d
""")
    assert with_growing_lists(program) == program


def test_a_list_that_the_layer_reads_apart_stays_inside() -> None:
    program = read("""
x: float32[N, 4]
with Layer("a"):
    a: float32[N, 8] = cat((x, x), 1)
    b: float32[N, 4] = relu(x)
with Layer("b"):
    c: float32[N, 12] = cat((x, x, b), 1)
    d: float32[N, 4] = relu(b)
return a, b, c, d
""")
    assert [len(each.calls) for each in with_growing_lists(program).operations] == [1, 1, 1, 1]


def test_another_axis_is_another_list() -> None:
    program = read("""
x: float32[N, 4, 4]
a: float32[N, 8, 4] = cat((x, x), 1)
b: float32[N, 4, 12] = cat((x, x, x), 2)
return a, b
""")
    assert listed(with_growing_lists(program)) == ["a = cat(x, x)", "b = cat(x, x, x)"]
