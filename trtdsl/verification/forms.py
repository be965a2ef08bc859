"""Layers that a module computes in a form of its own, and what tells them then.

In: what was seen of a graph beside a module.  Out: it without the layers that nothing of the module is like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from trtdsl.ir import Graph, Value
from trtdsl.verification.layers import Observation
from trtdsl.verification.oracle import Reference, TorchReference
from trtdsl.verification.seen import Seen
from trtdsl.verification.visibility import unseen


def without_other_forms(
    seen: Seen, reference: Reference, are_told: Callable[[Seen, Sequence[Observation]], bool]
) -> tuple[Seen, Sequence[Observation]]:
    """What was seen without layers of another form, and these, where all else agrees and they ``are_told``.

    A module may compute the same in a form that nothing here is like: what is made of it tells then.
    """
    forms = [each for each in seen.layers if _is_of_another_form(each, reference)]
    others = dataclasses.replace(seen, layers=[each for each in seen.layers if each not in forms])
    agrees = all(each.agrees for each in (*others.layers, *seen.outputs))
    return (others, forms) if forms and agrees and are_told(others, forms) else (seen, ())


def are_shown(graph: Graph, seen: Seen, forms: Sequence[Observation]) -> bool:
    """Whether an error of layers, or of what they read, would show in the others that were seen."""
    compared = {each.value for each in seen.layers} | {each.output.value for each in seen.outputs}
    shown = unseen(graph, compared, seen.computed).shown
    return shown.issuperset(value for each in forms for value in _floats_of(each))


def _is_of_another_form(layer: Observation, reference: Reference) -> bool:
    """Whether it has another shape, or is beside a layer of torch's that does something of its own too and
    does not agree: an embedding that scales what it looks up.
    """
    if layer.measure is None:
        return True
    return not layer.agrees and isinstance(reference, TorchReference) and reference.adds_to(layer.point.path)


def notes_on_forms(forms: Sequence[Observation]) -> Iterator[str]:
    """That layers were left out."""
    if forms:
        listed = ", ".join(f"`{each.point.path}`" for each in forms[:5]) + (" …" if len(forms) > 5 else "")
        yield f"not compared on their own, because the reference has them in another form: {listed}"


def _floats_of(layer: Observation) -> Iterator[Value]:
    """What a layer computes, and reads, of floats."""
    yield layer.value
    if layer.point.operand is not None and layer.point.operand.type.dtype.is_floating:
        yield layer.point.operand
