"""The records of imported models as a page."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from import_models import Model

Records = Mapping[str, Mapping[str, Any]]

_TITLES = {
    "": "Models that the importer was written with",
    "held out": "Held out",
    "dynamic": "Height and width dynamic",
    "depth": "Deeper ones of a family",
}
_ABOUT = {
    "held out": "Families that the importer was not written for, with their results at first and now.",
    "dynamic": "Imported with `float32[N, 3, H, W]`, compared at 160 x 224.",
    "depth": "A text is to be as long as that of a shallower network.",
}
_DEPTHS = (("resnet50", "resnet152"), ("densenet121", "densenet201"), ("llama", "llama-32-layers"))
_SLOW, _HEAVY, _SMALLEST = 0.5, 1.2, 20.0
"""Seconds beyond torch.export's, memory by weights, and the MiB of weights from which on that is asked."""


def table(records: Records, models: Sequence[Model], today: datetime.date) -> str:
    """All records as a page."""
    lines = ["# Imported models", "", *_summary(records, models, today)]
    for group, title in _TITLES.items():
        members = [each for each in models if each.group == group and each.name in records]
        if members:
            lines += ["", f"## {title}", "", *_section(group, members, records)]
    return "\n".join([*lines, ""])


def _summary(records: Records, models: Sequence[Model], today: datetime.date) -> Iterator[str]:
    groups = {each.name: each.group for each in models}
    done = {name: each["import"] for name, each in records.items() if "error" in each.get("import", {})}
    yield f"`make import-zoo`, {today.isoformat()}, with random weights."
    yield ""
    if done:
        worst = max(each["error"] for each in done.values())
        lengths = [
            statistics.median([each["lines"] for name, each in done.items() if groups[name] == group] or [0])
            for group in ("", "held out")
        ]
        yield f"- {len(done)} of {len(models)} models are imported, checked and equal at other sizes than the"
        yield f"  import had; the largest relative L2 error is {worst:.1e}."
        yield f"- The text has {lengths[0]:g} lines in the median of the models that the importer was"
        yield f"  written with, {lengths[1]:g} in that of those held out."
        older = sum("beyond" not in each for each in done.values())
        if older:
            yield f"- {older} records, those without a time beyond export, are of an importer whose texts"
            yield "  were longer, and are to be made anew."
        yield from _costs(list(done.values()))
    again = [name for name, each in records.items() if "text" in each.get("again", {}) and name in done]
    same = sum(records[name]["again"]["text"] == done[name]["text"] for name in again)
    yield f"- Imported again in another process, {same} of {len(again)} give the same bytes."
    asked = [each for each in done.values() if "flat" in each]
    laid_out = sum(each["laid_out"] for each in asked)
    flat = sum(each["flat"] == "same" for each in asked)
    yield f"- `fmt` leaves {laid_out} of {len(asked)} texts as they are; {flat} elaborate to the"
    yield "  graph of the text with `--flat`."
    engines = [each["engine"] for each in records.values() if "engine" in each]
    built = sum("layers" in each for each in engines)
    yield f"- TensorRT-RTX builds an engine of {built} of {len(engines)} tried."
    for shallow, deep in _DEPTHS:
        if shallow in done and deep in done:
            yield f"- {deep} has {done[deep]['lines']} lines, {shallow} {done[shallow]['lines']}."
    for name, each in records.items():
        for stage, what in (("import", "imported"), ("engine", "built")):
            if "refused" in each.get(stage, {}):
                yield f"- `{name}` is not {what}: {each[stage]['refused']}"


def _costs(done: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What an import takes beyond torch.export."""
    done = [each for each in done if "beyond" in each]
    if not done:
        return
    slow = [each["beyond"] for each in done]
    over = sum(each > _SLOW for each in slow)
    yield f"- CPU time beyond torch.export's own: {statistics.median(slow):.2f} s in the median,"
    yield f"  {max(slow):.2f} s at most; {over} of {len(slow)} take more than {_SLOW} s."
    heavy = [each["memory"] / each["weights"] for each in done if each["weights"] >= _SMALLEST]
    if heavy:
        over = sum(each > _HEAVY for each in heavy)
        yield f"- Memory beyond what is held after torch.export, where the weights have {_SMALLEST:g} MiB or"
        middle, most = statistics.median(heavy), max(heavy)
        yield f"  more: {middle:.2f} times the weights in the median, {most:.2f} times at most,"
        yield f"  {over} of {len(heavy)} more than {_HEAVY} times."


def _section(group: str, members: Sequence[Model], records: Records) -> Iterator[str]:
    if group in _ABOUT:
        yield _ABOUT[group]
        yield ""
    if group == "held out":
        firsts = [records[each.name]["first"] for each in members]
        passed = sum("error" in each for each in firsts)
        yield f"At first sight {passed} of {len(firsts)} were imported and equal."
        for model, first in zip(members, firsts, strict=True):
            if "refused" in first:
                yield f"- `{model.name}` was refused at first: {first['refused']}"
        yield ""
    yield "| model | from | lines | constants beside it | error | CPU s in all | beyond export | engine |"
    yield "|---|---|--:|--:|--:|--:|--:|---|"
    for model in members:
        record = records[model.name].get("import", {})
        if "error" in record:
            yield (
                f"| {model.name} | {model.family} | {record['lines']} | {record['constants']} |"
                f" {record['error']:.1e} | {record['seconds']} | {record.get('beyond', '')} |"
                f" {_engine(records[model.name])} |"
            )


def _engine(record: Mapping[str, Any]) -> str:
    engine = record.get("engine")
    if engine is None:
        return ""
    return f"{engine['layers']} layers, {engine['seconds']} s" if "layers" in engine else "refused"
