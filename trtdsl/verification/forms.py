"""Layers that a module computes in a form of its own, and what tells them then.

In: what was seen of a graph beside a module.  Out: it without the layers that nothing of the module is like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from trtdsl.ir import Value
from trtdsl.verification.layers import Observation
from trtdsl.verification.oracle import Reference, TorchReference
from trtdsl.verification.seen import Comparison, Seen
from trtdsl.verification.visibility import unseen


def without_other_forms(comparison: Comparison, seen: Seen) -> tuple[Seen, Sequence[Observation]]:
    """What was seen without layers of another form, and these, where all else agrees and shows them.

    A module may compute the same in a form that nothing here is like: what is made of it tells then, unless
    that hides the layer or what it reads.
    """
    forms = [each for each in seen.layers if is_of_another_form(each, comparison.reference)]
    others = [each for each in seen.layers if each not in forms]
    if not forms or not all(each.agrees for each in (*others, *seen.outputs)):
        return seen, ()
    compared = {each.value for each in others} | {each.output.value for each in seen.outputs}
    shown = unseen(comparison.graph, compared, seen.computed).shown
    if not shown.issuperset(value for each in forms for value in _floats_of(each)):
        return seen, ()
    return dataclasses.replace(seen, layers=others), forms


def is_of_another_form(layer: Observation, reference: Reference) -> bool:
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
