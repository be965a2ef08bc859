"""Monomials: products of atoms as tuples, sorted by the atoms' keys, an atom repeated for a power.

In: ``(H, H, W)`` and ``(H,)``.  Out: their product ``(H, H, H, W)``, their quotient ``(H, W)``, and the order
that polynomial division relies on. An atom is anything hashable with a ``key`` that sorts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, TypeVar


class Keyed(Protocol):
    """An atom, as far as monomials know it."""

    @cached_property
    def key(self) -> tuple[int, str]: ...


A = TypeVar("A", bound=Keyed)


def atom_key(atom: Keyed) -> tuple[int, str]:
    """What atoms are sorted by."""
    return atom.key


def monomial_order(monomial: Sequence[Keyed]) -> tuple[int, list[tuple[int, str]]]:
    """Sorts leading terms first.

    By degree, then lexicographically: a monomial order, which polynomial division relies on.
    """
    return -len(monomial), [atom.key for atom in monomial]


def monomial_product(left: tuple[A, ...], right: tuple[A, ...]) -> tuple[A, ...]:
    """The product, 1 being the empty tuple."""
    if not left or not right:
        return left or right
    return tuple(sorted(left + right, key=atom_key))


def monomial_quotient(dividend: tuple[A, ...], divisor: tuple[A, ...]) -> tuple[A, ...] | None:
    """The exact quotient, or None where the divisor is not a factor."""
    rest = list(dividend)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def common_factor(monomials: Sequence[tuple[A, ...]]) -> tuple[A, ...]:
    """The largest monomial that divides them all."""
    common = monomials[0]
    for monomial in monomials[1:]:
        left = list(monomial)
        shared: list[A] = []
        for atom in common:
            if atom in left:
                left.remove(atom)
                shared.append(atom)
        common = tuple(shared)
    return common
