"""What stands where it is used, and what is a block of its own; options that are short as expressions."""

from __future__ import annotations

import msgspec
import pytest

from tests.importers.programs import read
from trtdsl.elaborate import elaborate_text
from trtdsl.importers.given import with_given
from trtdsl.importers.holes import Function
from trtdsl.importers.module import import_program
from trtdsl.importers.sketch import (
    Apply,
    Branch,
    Expression,
    Item,
    Literal,
    Loop,
    Statement,
    Text,
    Use,
)
from trtdsl.ir.alike import difference


def imported(text: str) -> str:
    """The text of a program, which means the same as the flat one."""
    program = read(text)
    found, flat = (import_program(program, is_flat=is_flat).text for is_flat in (False, True))
    assert not difference(elaborate_text(found), elaborate_text(flat))
    return found


def test_a_short_option_is_an_expression() -> None:
    text = imported("""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = linear(a, w("up.weight", 4, 4))
    c = add(b, x)
with Layer("second"):
    d = linear(c, w("fc.weight", 4, 4))
    e = linear(d, w("up.weight", 4, 4))
return e
""")
    assert "b = x -> fc: Linear(4, bias = false) -> up: Linear(4, bias = false)" in text
    assert "return b + x if residual else b\n}" in text


def test_an_option_with_weights_is_a_branch() -> None:
    text = imported("""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = linear(a, w("up.weight", 4, 4))
    c = linear(b, w("more.weight", 4, 4))
with Layer("second"):
    d = linear(c, w("fc.weight", 4, 4))
    e = linear(d, w("up.weight", 4, 4))
return e
""")
    assert "  if more {\n" in text


CHAIN = """
x: float32[N, 4]
with Whole("whole"):
    with Chain("whole.chain"):
        a = linear(x, w("one.weight", 4, 4))
        b = relu(a)
        c = linear(b, w("two.weight", 4, 4))
        d = relu(c)
        e = linear(d, w("three.weight", 4, 4))
        f = relu(e)
    g = add(f, x)
    h = mul(g, x)
    i = add(h, g)
    j = mul(i, h)
    k = add(j, i)
l = relu(k)
with Whole("other"):
    with Chain("other.chain"):
        a2 = linear(l, w("one.weight", 4, 4))
        b2 = relu(a2)
        c2 = linear(b2, w("two.weight", 4, 4))
        d2 = relu(c2)
        e2 = linear(d2, w("three.weight", 4, 4))
        f2 = relu(e2)
    g2 = add(f2, l)
    h2 = mul(g2, l)
    i2 = add(h2, g2)
    j2 = mul(i2, h2)
    k2 = add(j2, i2)
return k2
"""


def test_layers_in_a_row_stand_where_they_are_used_once() -> None:
    text = imported(CHAIN)
    assert "block Chain" not in text
    assert "x -> chain.one: Linear(4, bias = false) -> relu -> chain.two: Linear(4, bias = false)" in text
    assert "block Whole()(x) {" in text


def test_a_parameter_is_what_the_one_use_gives() -> None:
    text = imported("""
x: float32[N, 4]
with Whole("first"):
    with Feed("first.feed", width=8):
        a: float32[N, 8] = linear(x, w("up.weight", 8, 4))
        b: float32[N, 4] = linear(a, w("down.weight", 4, 8))
    c = add(b, x)
    d = mul(c, x)
    e = add(d, c)
    f = mul(e, d)
    g = add(f, e)
with Whole("second"):
    with Feed("second.feed", width=16):
        a2: float32[N, 16] = linear(g, w("up.weight", 16, 4))
        b2: float32[N, 4] = linear(a2, w("down.weight", 4, 16))
    c2 = add(b2, g)
    d2 = mul(c2, g)
    e2 = add(d2, c2)
    f2 = mul(e2, d2)
    g2 = add(f2, e2)
return g2
""")
    assert "block Feed" not in text
    assert "block Whole(width = 8)(x) {" in text
    assert "x -> feed.up: Linear(width, bias = false) -> feed.down: Linear(4, bias = false)" in text


def test_a_multiple_of_a_parameter_is_one_of_what_is_given() -> None:
    text = imported(FEEDS)
    assert "block Feed" not in text
    assert "feed.up: Linear(dim, bias = false) -> feed.down: Linear(4 * dim, bias = false)" in text


FEEDS = """
x: float32[N, 6]
with Whole("first", dim=4):
    with Feed("first.feed", size=4):
        a: float32[N, 4] = linear(x, w("up.weight", 4, 6))
        b: float32[N, 16] = linear(a, w("down.weight", 16, 4))
    c = add(b, b)
    d = mul(c, b)
    e = add(d, c)
    f = mul(e, d)
    g: float32[N, 6] = linear(f, w("last.weight", 6, 16))
with Whole("second", dim=8):
    with Feed("second.feed", size=8):
        a2: float32[N, 8] = linear(g, w("up.weight", 8, 6))
        b2: float32[N, 32] = linear(a2, w("down.weight", 32, 8))
    c2 = add(b2, b2)
    d2 = mul(c2, b2)
    e2 = add(d2, c2)
    f2 = mul(e2, d2)
    g2: float32[N, 6] = linear(f2, w("last.weight", 6, 32))
return g2
"""


STEPS = ("add", "mul", "maximum", "minimum", "atan2", "add", "minimum", "mul")
"""Of which no run is repeated."""


def framed(layers: int) -> str:
    """A model that calls one part and a layer; the part computes ``layers`` times with what it is given."""
    inner = "\n".join(f"    a{number + 1} = {STEPS[number]}(a{number}, x)" for number in range(layers))
    return f"""
x: float32[N, 4]
with Body("body"):
    a0 = linear(x, w("fc.weight", 4, 4))
{inner}
b: float32[N, 2] = linear(a{layers}, w("head.weight", 2, 4))
return b
"""


def test_a_model_that_only_calls_its_part_is_that() -> None:
    text = imported(framed(8))
    assert "block" not in text
    assert "x -> body.fc: Linear(4, bias = false)" in text


def test_sizes_of_a_part_are_the_models() -> None:
    text = imported("""
x: float32[N, S]
with Body("body"):
    a: float32[N, 2, S] = stack((x, x), 1)
    b: float32[N, S, 2] = view(a, (N, S, 2))
    c: float32[N, S, 4] = linear(b, w("fc.weight", 4, 2))
    d = add(c, c)
    e = exp(d)
    f = relu(e)
g = relu(f)
return g
""")
    assert "block" not in text
    assert "reshape(N, S, 2)" in text


def test_a_part_among_many_statements_is_a_block() -> None:
    program = framed(8).replace(
        "return b",
        "c0 = add(b, b)\n" + "\n".join(f"c{n + 1} = {STEPS[n]}(c{n}, b)" for n in range(7)) + "\nreturn c7",
    )
    assert "block Body()(x) {" in imported(program)


@pytest.mark.parametrize(("more", "is_stage"), [("", True), ("        d2 = exp(d2)\n", False)])
def test_a_layer_with_its_function_is_no_block(more: str, is_stage: bool) -> None:
    text = imported(f"""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = relu(a)
with Layer("second"):
    c = linear(b, w("fc.weight", 4, 4))
    d2 = relu(c)
{more.removeprefix("    ")}
with Layer("third"):
    e = linear(d2, w("fc.weight", 4, 4))
    f = relu(e)
g = add(f, x)
return g
""")
    assert ("block Layer" not in text) == is_stage


def test_what_a_use_gives_stands_in_the_place_of_a_parameter() -> None:
    def given(item: Item, **expressions: Expression) -> Item:
        found = with_given([item], expressions)
        assert found
        return found[0]

    linear = Statement(("y",), Apply("Linear", (("", Text("4 * dim")),), 1, True, "fc", (Use("x"),)))
    for dim, wanted in (
        (Literal(384), Literal(1536)),
        (Text("planes"), Text("4 * planes")),
        (Text("planes // 2"), Text("4 * (planes // 2)")),
    ):
        statement = given(linear, dim=dim)
        assert isinstance(statement, Statement)
        assert statement.expression == msgspec.structs.replace(linear.expression, arguments=(("", wanted),))
    branch = Branch("stride != 1 or C != planes", (linear,), ())
    changed = given(branch, stride=Literal(2), planes=Text("dim"), dim=Text("dim"))
    assert isinstance(changed, Branch)
    assert changed.condition == "2 != 1 or C != dim"
    activated = Statement(("y",), Apply("activation", (("input", Use("x")),), 1))
    assert given(activated, activation=Literal(Function("relu"))) == Statement(
        ("y",), Apply("relu", (("input", Use("x")),), 1)
    )


def test_a_name_that_a_loop_binds_is_not_another() -> None:
    body = Statement(("y",), Apply("Linear", (("", Text("dim")),), 1, True, "fc", (Use("x"),)))
    loop = Loop("i, dim", Text("dims"), (body,), ())
    assert with_given([loop], {"dims": Text("dim")}) is None
    assert with_given([loop], {"dims": Text("widths")}) is not None


def test_an_option_that_leaves_a_value_to_be_read_needs_no_line_for_it() -> None:
    text = imported("""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = linear(a, w("more.weight", 4, 4))
    c = add(b, a)
    d = exp(c)
with Layer("second"):
    e = linear(d, w("fc.weight", 4, 4))
    f = add(e, e)
    g = exp(f)
return g
""")
    assert "b = (a -> more: Linear(4, bias = false)) if more else a\n" in text


def test_a_function_that_some_uses_leave_out_is_none_in_them() -> None:
    text = imported("""
x: float32[N, 4]
with Layer("first"):
    a = linear(x, w("fc.weight", 4, 4))
    b = linear(a, w("up.weight", 4, 4))
    c = relu(b)
with Layer("second"):
    d = linear(c, w("fc.weight", 4, 4))
    e = linear(d, w("up.weight", 4, 4))
    f = sigmoid(e)
with Layer("third"):
    g = linear(f, w("fc.weight", 4, 4))
    h = linear(g, w("up.weight", 4, 4))
return h
""")
    assert "block Layer(activation = relu)(x) {" in text
    assert "return activation(b) if activation != none else b" in text
    assert "second: Layer(activation = sigmoid)\n" in text
    assert "third: Layer(activation = none)\n" in text


def test_a_result_that_nobody_reads_makes_no_block_of_its_own() -> None:
    layer = """
with Layer("layer{0}"):
    a{1} = linear(a{0}, w("one.weight", 4, 4))
    b{1} = linear(b{0}, w("two.weight", 4, 4))
    c{1} = mul(b{1}, a{1})
    d{1} = exp(c{1})
    b{1}1 = sin(d{1})
"""
    text = imported(
        "x: float32[N, 4]\na0 = sin(x)\nb0 = cos(x)\n"
        + layer.format(0, 1)
        + layer.format(1, 2).replace("linear(b1,", "linear(b11,")
        + "return b21"
    )
    assert "_, layer1 = (layer0, layer02) -> layer1: Layer" in text
    assert text.count("block Layer") == 1


def test_a_loop_stays_in_its_block_where_a_loop_calls_that() -> None:
    """Both count as ``i``."""
    lines = ["x: float32[N, 4]", "v = relu(x)"]
    before = "v"
    for layer in range(3):
        lines.append(f'with Layer("layers.{layer}"):')
        value = before
        for part in range(3):
            name = f"v{layer}{part}"
            lines.append(f"    r{layer}{part} = relu({value})")
            lines.append(f'    {name} = linear(r{layer}{part}, w("fc{part}.weight", 4, 4))')
            value = name
        lines.append(f"    s{layer} = add({value}, {before})")
        before = f"s{layer}"
    text = imported("\n".join([*lines, f"return {before}", ""]))
    assert '"layers.{i}": Layer' in text and '"fc{i}": Linear(4, bias = false)' in text
