"""Complex tensors as two real ones.

In: an exported program.  Out: one in which what is computed of complex tensors is computed of their real and
imaginary parts, as rotary embeddings are::

    q = view_as_complex(x)      re, im = select(x, -1, 0), select(x, -1, 1)
    y = q * f              ─▶   a, b = re * f_re - im * f_im, re * f_im + im * f_re
    z = view_as_real(y)         z = stack([a, b], -1)

What is complex and none of these stays, and is what the language lacks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from trtdsl.importers.copies import with_own_graph
from trtdsl.importers.fourier import TO_REAL, TRANSFORMS, Transform, short_time, transformed
from trtdsl.importers.schemas import overload_of

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Node: TypeAlias = Any
"""A ``torch.fx.Node``, whose arguments may be anything."""
Pair: TypeAlias = tuple[Node, Node]

_BOTH = frozenset(
    {
        "view", "reshape", "unsqueeze", "squeeze", "slice", "select", "expand", "transpose", "permute",
        "clone", "contiguous", "flatten", "unflatten", "expand_as", "alias", "detach", "index_select",
        "repeat", "index",
    }
)  # fmt: skip
"""Operations that do the same to both parts."""
_COMPUTED = ("torch.float32", "torch.complex64")
"""The types in which Fourier transforms are computed."""
_REAL = frozenset({"view_as_real", "real", "imag", "abs"})


def without_complex(exported: ExportedProgram) -> ExportedProgram:
    """The program in real numbers, as far as it can be."""
    if not any(_is_complex(node) for node in exported.graph.nodes):
        return exported
    exported, module = with_own_graph(exported)
    parts = _Parts(module)
    for node in list(module.graph.nodes):
        if node.op == "call_function":
            parts.take(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return exported


def _is_complex(node: Node) -> bool:
    return getattr(getattr(node.meta.get("val"), "dtype", None), "is_complex", False)


class _Parts:
    """The real and imaginary parts of a graph's complex nodes."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._graph = module.graph
        self._found: dict[Node, Pair] = {}

    def take(self, node: Node) -> None:
        """Note a complex node's parts, or put what is made of them in the place of a real one."""
        base = overload_of(node.target).partition(".")[0]
        with self._graph.inserting_before(node):
            if _is_complex(node):
                pair = self._pair(node, base)
                if pair is not None:
                    self._found[node] = pair
            elif base in TO_REAL:
                pair = self._transformed(node, base)
                if pair is not None:
                    node.replace_all_uses_with(pair[0])
            elif base in _REAL and node.args and _is_complex(node.args[0]):
                node.replace_all_uses_with(self._real(node, base))

    def _real(self, node: Node, base: str) -> Node:
        re, im = self._of(node, node.args[0])
        match base:
            case "view_as_real":
                return self._call(node, "stack", [re, im], -1)
            case "real":
                return re
            case "imag":
                return im
            case _:
                squares = [self._call(node, "mul.Tensor", each, each) for each in (re, im)]
                return self._call(node, "sqrt", self._call(node, "add.Tensor", *squares))

    def _pair(self, node: Node, base: str) -> Pair | None:
        call = partial(self._call, node)
        first, *others = node.args or (None,)
        if any(isinstance(each, complex) for each in node.args):
            return None
        if base in TRANSFORMS:
            return self._transformed(node, base)
        if base == "stft":
            return self._short_time(node)
        if base == "view_as_complex":
            return call("select.int", first, -1, 0), call("select.int", first, -1, 1)
        if base == "polar":
            size, angle = node.args
            return call("mul.Tensor", size, call("cos", angle)), call("mul.Tensor", size, call("sin", angle))
        if base == "complex":
            return first, others[0]
        if base in ("add", "sub") and not node.kwargs:
            return self._termwise(node, base)
        if base == "mul":
            return self._product(node)
        if base in ("conj", "_conj", "conj_physical", "resolve_conj"):
            re, im = self._of(node, first)
            return re, im if base == "resolve_conj" else call("neg", im)
        if base in _BOTH and hasattr(first, "op") and _is_complex(first):
            re, im = self._of(node, first)
            return self._like(node, re), self._like(node, im)
        return None

    def _short_time(self, node: Node) -> Pair | None:
        """The parts of the transforms of a real signal's windows."""
        given = _arguments(node)
        values = [each.meta["val"] for each in (given["self"], given["window"]) if each is not None]
        numbers = [given[name] for name in ("n_fft", "hop_length", "win_length")]
        is_fixed = all(each is None or isinstance(each, int) for each in numbers)
        if not is_fixed or given["align_to_window"] or {str(each.dtype) for each in values} != {_COMPUTED[0]}:
            return None
        made = partial(self._call, node), partial(self._constant, given["self"])
        return short_time(given, values[0].ndim, *made)

    def _transformed(self, node: Node, base: str) -> Pair | None:
        """The parts of a Fourier transform, where its sizes are fixed."""
        given = {name: each for name, each in _arguments(node).items() if each is not None}
        source = given.pop("self")
        value = source.meta["val"]
        transform = Transform(base, tuple(value.shape), given)
        if not transform.is_fixed or str(value.dtype) not in _COMPUTED:
            return None
        parts = self._of(node, source) if _is_complex(source) else (source, None)
        return transformed(transform, parts, partial(self._call, node), partial(self._constant, source))

    def _constant(self, near: Node, name: str, value: torch.Tensor) -> Node:
        """A constant of the program; equal ones are there once."""
        import torch

        number = 1
        while (found := getattr(self._module, f"{name}_{number}", None)) is not None:
            if found.shape == value.shape and torch.equal(found, value):
                break
            number += 1
        self._module.register_buffer(f"{name}_{number}", value)
        made = self._graph.get_attr(f"{name}_{number}")
        made.meta["val"] = near.meta["val"].fake_mode.from_tensor(value, static_shapes=True)
        return made

    def _termwise(self, node: Node, base: str) -> Pair | None:
        if not all(hasattr(each, "op") and _is_complex(each) for each in node.args):
            return None
        left, right = (self._of(node, each) for each in node.args)
        re, im = (self._call(node, f"{base}.Tensor", *each) for each in zip(left, right, strict=True))
        return re, im

    def _product(self, node: Node) -> Pair:
        left, right = node.args
        times = partial(self._call, node, "mul.Tensor")
        if not (hasattr(right, "op") and _is_complex(right)):
            re, im = self._of(node, left)
            return times(re, right), times(im, right)
        if not (hasattr(left, "op") and _is_complex(left)):
            re, im = self._of(node, right)
            return times(left, re), times(left, im)
        (a, b), (c, d) = self._of(node, left), self._of(node, right)
        re = self._call(node, "sub.Tensor", times(a, c), times(b, d))
        return re, self._call(node, "add.Tensor", times(a, d), times(b, c))

    def _of(self, reader: Node, node: Node) -> Pair:
        """A complex node's parts; of one that is not computed here what PyTorch says they are."""
        if node not in self._found:
            self._found[node] = self._call(reader, "real", node), self._call(reader, "imag", node)
        return self._found[node]

    def _like(self, node: Node, part: Node) -> Node:
        """The node's operation on one of its operand's parts."""
        return self._made(node, node.target, (part, *node.args[1:]), node.kwargs)

    def _call(self, node: Node, name: str, *given: Any) -> Node:
        import torch

        packet, _, overload = name.partition(".")
        target = getattr(getattr(torch.ops.aten, packet), overload or "default")
        return self._made(node, target, given, {})

    def _made(self, node: Node, target: Any, given: Any, named: Any) -> Node:
        """A node in the place of another, with what is known of its value."""
        from torch.fx.node import map_arg

        made = self._graph.call_function(target, tuple(given), dict(named))
        made.meta = {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if key in node.meta}
        values = map_arg((made.args, made.kwargs), lambda each: each.meta["val"])
        modes = [value.fake_mode for value in _values(made.all_input_nodes) if hasattr(value, "fake_mode")]
        with modes[0]:
            made.meta["val"] = target(*values[0], **values[1])
        return made


def _arguments(node: Node) -> dict[str, Any]:
    """What an operation is given by name; None stands for what is left out and has no default."""
    arguments = node.target._schema.arguments
    defaults = {each.name: each.default_value for each in arguments if each.has_default_value()}
    by_place = dict(zip((each.name for each in arguments), node.args, strict=False))
    return {**defaults, **by_place, **node.kwargs}


def _values(nodes: Any) -> list[Any]:
    return [node.meta.get("val") for node in nodes]
