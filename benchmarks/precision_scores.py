"""How far a quantised model's outputs are from the model's own, in the words that its task has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from precision_models import Subject

Scores = dict[str, float]
CERTAIN = 0.7
"""A face is one from this probability on."""


def scores(subject: Subject, exact: list[torch.Tensor], found: list[torch.Tensor]) -> Scores:
    """The relative L2 error of the first output, and what it does to the task."""
    first, other = exact[0].double(), found[0].double()
    error = {"error": float((other - first).norm() / first.norm())}
    worst = max(
        float((b.double() - a.double()).norm() / a.double().norm()) for a, b in zip(exact, found, strict=True)
    )
    error["worst output"] = worst
    if subject.labels is not None:
        return {**error, "accuracy": float((other.argmax(1).numpy() == subject.labels).mean())}
    if subject.name == "minilm":
        return {**error, **_of_embeddings(first, other)}
    decisions = [each[-1][:, 1] > CERTAIN for each in (exact, found)]
    return {**error, "decisions": float((decisions[0] == decisions[1]).double().mean())}


def _of_embeddings(exact: torch.Tensor, found: torch.Tensor) -> Scores:
    """Cosines, how alike the similarities of all pairs are in order, and the share of nearest kept."""
    cosines = torch.nn.functional.cosine_similarity(exact, found, dim=1)
    pairs = [(each @ each.T).numpy() for each in (exact, found)]
    upper = np.triu_indices(len(exact), 1)
    ranks = [np.argsort(np.argsort(each[upper])).astype(float) for each in pairs]
    nearest = [_nearest(each) for each in pairs]
    kept = [len(a & b) / 10 for a, b in zip(*nearest, strict=True)]
    return {
        "cosine": float(cosines.mean()),
        "worst cosine": float(cosines.min()),
        "worst sample": float(cosines.argmin()),
        "Spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
        "top 10": float(np.mean(kept)),
    }


def _nearest(pairs: np.ndarray[Any, Any]) -> list[set[int]]:
    without = pairs - 10 * np.eye(len(pairs))
    return [{*map(int, np.argsort(-row)[:10])} for row in without]
