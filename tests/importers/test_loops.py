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


def test_layers_of_which_each_has_an_input_of_its_own_are_not_a_row() -> None:
    text = """
x: float32[N, 4]
y: float32[N, 4]
z: float32[N, 4]
a = linear(x, w("layers.0.weight", 4, 4))
b = linear(y, w("layers.1.weight", 4, 4))
c = linear(z, w("layers.2.weight", 4, 4))
return c
"""
    assert not any(line.startswith("for") for line in looped(text))


def test_an_iteration_that_reads_another_of_its_values_ends_the_row() -> None:
    text = """
x: float32[N, 4]
a1 = linear(x, w("layers.0.weight", 4, 4))
b1 = cos(a1)
c1 = exp(b1)
a2 = linear(c1, w("layers.1.weight", 4, 4))
b2 = cos(a2)
c2 = exp(b2)
a3 = linear(c2, w("layers.2.weight", 4, 4))
b3 = cos(a3)
c3 = exp(a3)
return c3
"""
    assert not any(line.startswith("for") for line in looped(text))
    assert any(line.startswith("for") for line in looped(text.replace("exp(a3)", "exp(b3)")))


def test_a_table_of_numbers_that_do_not_begin_with_zero() -> None:
    text = """
x: float32[N, 4]
a: float32[N, 8] = linear(x, w("fc2.weight", 8, 4))
b: float32[N, 6] = linear(a, w("fc3.weight", 6, 8))
c: float32[N, 9] = linear(b, w("fc4.weight", 9, 6))
return c
"""
    assert looped(text)[0] == "for i, out_features in enumerate([8, 6, 9], 2) {"


def test_a_short_row_in_which_most_varies_is_easier_to_read_as_it_is() -> None:
    def row(*kernels: int) -> str:
        lines = ["x: float32[N, 4, 8, 8]"]
        for number, kernel in enumerate(kernels):
            planes, before = 4 + 2 * number, f"x{number}" if number else "x"
            weight = f'w("layers.{number}.weight", {planes}, 4, {kernel}, {kernel})'
            sizes = f"(1, 1), ({number % 2}, {number % 2})"
            lines.append(
                f"x{number + 1}: float32[N, {planes}, 8, 8] = conv2d({before}, {weight}, None, {sizes})"
            )
        return "\n".join([*lines, f"return x{len(kernels)}"])

    assert not any(line.startswith("for") for line in looped(row(3, 5, 7)))
    assert (
        looped(row(3, 3, 3))[0] == "for i, (out_channels, padding) in enumerate([(4, 0), (6, 1), (8, 0)]) {"
    )


def test_a_column_and_a_tensor_have_different_names() -> None:
    """A tensor that the source calls as the table's column is called."""
    text = """
x: float32[N, 4]
out_features = cos(x)
a: float32[N, 8] = linear(out_features, w("layers.0.weight", 8, 4))
b: float32[N, 6] = linear(a, w("layers.1.weight", 6, 8))
c: float32[N, 9] = linear(b, w("layers.2.weight", 9, 6))
return c
"""
    assert looped(text)[:3] == [
        "out_features2 = cos(x)",
        "for i, out_features in enumerate([8, 6, 9]) {",
        'out_features2 = out_features2 -> "layers.{i}": Linear(out_features, bias = false)',
    ]


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


def test_a_layer_that_is_called_again_is_not_numbered() -> None:
    text = """
x: float32[N, 4]
a = linear(x, w("layer.weight", 4, 4))
b = linear(a, w("layer.weight", 4, 4))
c = linear(b, w("layer.weight", 4, 4))
return c
"""
    assert looped(text) == [
        "for _ in range(3) {",
        "x = x -> layer: Linear(4, bias = false)",
        "}",
        "output out_c = x",
    ]
    assert not any(line.startswith("for") for line in looped(text.replace('"layer.w', '"other.w', 1)))


def test_what_varies_between_the_calls_of_a_layer_is_a_table() -> None:
    def row(*negatives: float) -> str:
        lines = ["x: float32[N, 4]"]
        for number, negative in enumerate(negatives, 1):
            lines.append(
                f'a{number} = linear({"x" if number == 1 else f"b{number - 1}"}, w("fc.weight", 4, 4))'
            )
            lines.append(f"b{number} = leaky_relu(a{number}, {negative})")
        return "\n".join([*lines, f"return b{len(negatives)}"])

    assert looped(row(0.5, 0.25, 0.75))[:2] == [
        "for negative_slope in [0.5, 0.25, 0.75] {",
        "x = x -> fc: Linear(4, bias = false) -> leaky_relu(negative_slope = negative_slope)",
    ]
    assert looped(row(0, 1, 2))[0] == "for i in range(3) {"


def test_steps_without_weights_are_a_loop_where_one_is_not_a_chain() -> None:
    def steps(factors: list[float]) -> str:
        lines = ["x0: float32[N, 4]"]
        for number, factor in enumerate(factors):
            lines += [f"a{number} = cos(x{number})", f"x{number + 1} = add.Tensor(a{number}, {factor})"]
        return "\n".join([*lines, f"return x{len(factors)}"])

    assert looped(steps([2, 2, 2]))[:3] == ["for _ in range(3) {", "a0 = cos(x0)", "x0 = a0 + 2"]
    assert not any(line.startswith("for") for line in looped(steps([2, 2])))
    assert not any(line.startswith("for") for line in looped(steps([2, 3, 4])))
    products = "x: float32[N, 4]\na = mul.Tensor(x, x)\nb = mul.Tensor(a, x)\nc = mul.Tensor(b, x)\n"
    assert not any(line.startswith("for") for line in looped(f"{products}return c"))
    assert looped(f"{products}d = mul.Tensor(c, x)\nreturn d")[1:3] == ["for _ in range(3) {", "a = a * x"]
    chain = "x: float32[N, 4]\na = cos(x)\nb = cos(a)\nc = cos(b)\nreturn c"
    assert looped(chain) == ["output out_c = x -> cos -> cos -> cos"]


def test_two_values_that_begin_as_one_are_told_apart() -> None:
    lines, value, total = ["x: float32[N, 4]"], "x", "x"
    for number in range(4):
        lines.append(f'y{number} = linear({value}, w("layer.weight", 4, 4))')
        lines.append(f"t{number} = sub.Tensor({total}, y{number})")
        value, total = f"y{number}", f"t{number}"
    text = "\n".join([*lines, f"return {total}"])
    assert looped(text) == [
        "y1 = x",
        "for _ in range(4) {",
        "y1 = y1 -> layer: Linear(4, bias = false)",
        "x = x - y1",
        "}",
        "output out_t3 = x",
    ]
