"""The zoo as two tables of `examples/README.md`: what each text is, and what was measured of each network."""

from __future__ import annotations

import io
import re
import shlex
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.zoo_entries import EXAMPLES, Entry
from trtdsl.ops.text import literal

BEGIN = "<!-- The tables from here to the next comment are written by `make zoo`. -->"
END = "<!-- The end of what `make zoo` writes. -->"
NOT_RUN = "not run"
FEW_MODELS = 4

Records = Mapping[str, Mapping[str, Mapping[str, Any]]]

TENSORRTX: Mapping[str, int] = {
    "alexnet": 969,
    "arcface": 1697,
    "centernet": 1755,
    "crnn": 453,
    "csrnet": 592,
    "dbnet": 5857,
    "densenet": 697,
    "detr": 1512,
    "efficientad": 837,
    "efficientnet": 547,
    "esrgan": 1972,
    "googlenet": 781,
    "hrnet": 3155,
    "ibnnet": 899,
    "inception_v3": 1303,
    "lenet": 883,
    "lprnet": 897,
    "mnasnet": 788,
    "mobilenet_v2": 1596,
    "mobilenet_v3": 1596,
    "psenet": 826,
    "refinedet": 1292,
    "repvgg": 391,
    "resnet": 2380,
    "retinaface": 1840,
    "senet": 375,
    "shufflenet_v2": 861,
    "squeezenet": 695,
    "superpoint": 348,
    "tsm": 1211,
    "ufld": 667,
    "unet": 451,
    "vgg": 289,
    "vit": 1199,
    "yolo11": 7572,
    "yolo26": 3434,
    "yolop": 1772,
    "yolov10": 3511,
    "yolov12": 2940,
    "yolov13": 3434,
    "yolov3": 1624,
    "yolov4": 1482,
    "yolov5": 4267,
    "yolov7": 4060,
    "yolov8": 9488,
    "yolov9": 4967,
}
"""By the text's name, all lines of C++, CUDA and Python of the directory for it in wang-xinyu/tensorrtx at
3ff22bb, less ``logging.h``."""


def page(text: str, entries: Sequence[Entry], records: Records, about: Mapping[str, str]) -> str:
    """A page with the tables between its two comments written anew; ValueError where it lacks them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page does not have the comments {BEGIN} and {END}")
    tables = [*_families(entries, records), "", *_commands(entries), "", *_measured(entries, records, about)]
    made = "\n".join(tables)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


# Texts


def _families(entries: Sequence[Entry], records: Records) -> Iterator[str]:
    yield "| text | models | lines | of PyTorch | of tensorrtx | |"
    yield "|---|---|--:|--:|--:|---|"
    for path in sorted(EXAMPLES.glob("*/*.trtnet")):
        file = path.relative_to(EXAMPLES).as_posix()
        source = path.read_text(encoding="utf-8")
        members = [records.get(entry.name, {}).get("numbers", {}) for entry in entries if entry.file == file]
        pytorch = max((each.get("pytorch") or 0 for each in members), default=0)
        cells = [
            f"[`{file}`]({file})",
            _models(source),
            str(text_lines(source)),
            str(pytorch or ""),
            str(TENSORRTX.get(path.stem, "")),
            _about(source),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "Lines are those of code, without comments, documentation and empty ones; of PyTorch, the file that "
        "the original's class stands in; of tensorrtx, all lines of the directory with what else it holds: "
        "weights, plug-ins, pre- and postprocessing."
    )


def _models(source: str) -> str:
    names = [f"`{name}`" for name in re.findall(r"^model (\w+)", source, re.MULTILINE)]
    if len(names) <= FEW_MODELS:
        return ", ".join(names)
    return f"{', '.join(names[: FEW_MODELS - 1])} … {names[-1]} ({len(names)})"


def _about(source: str) -> str:
    """The first sentence of the comment that a text begins with."""
    lines: list[str] = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    sentence = re.split(r"(?<=[^.][.])\s+(?=[A-Z`])", " ".join(lines), maxsplit=1)[0]
    return sentence.replace("|", "\\|").rstrip(".")


def text_lines(source: str) -> int:
    """Code lines of a `.trtnet` text."""
    return sum(1 for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#"))


_BEGINS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
"""What a statement may follow."""
_SILENT = {*_BEGINS, tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}


def python_lines(source: str) -> int:
    """Code lines of a Python source, without its docstrings."""
    counted: set[int] = set()
    begins = True  # a statement, and a string that is one is a docstring
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type in _SILENT:
            begins = begins or token.type in _BEGINS
            continue
        is_docstring = begins and token.type == tokenize.STRING and after.type == tokenize.NEWLINE
        begins = False
        if not is_docstring:
            counted |= {*range(token.start[0], token.end[0] + 1)}
    return len(counted)


# Commands


def representatives(entries: Sequence[Entry]) -> list[Entry]:
    """The first entry of each text that is compared in seconds."""
    by_file: dict[str, Entry] = {}
    for entry in entries:
        if entry.tier == "quick":
            by_file.setdefault(entry.file, entry)
    return [by_file[file] for file in sorted(by_file)]


def verify_command(entry: Entry) -> str:
    """The line that compares an entry with its original, in a checkout."""
    words = ["trtdsl", "verify", f"examples/{entry.file}", "--model", entry.model]
    for name, value in entry.defines.items():
        words += ["-D", f"{name}={literal(value)}"]
    is_file = entry.oracle.partition(":")[0].endswith(".py")
    words += ["--against", f"examples/{entry.oracle}" if is_file else entry.oracle]
    for name, value in entry.arguments.items():
        words += ["--arg", f"{name}={_argument(value)}"]
    return shlex.join([*words, "--randomize", "--at", "min"])


def _argument(value: Any) -> str:
    """A value as `--arg` takes it: a word as it is, strings within others in quotes that a shell leaves."""
    return value if isinstance(value, str) else repr(value).replace("'", '"')


def _commands(entries: Sequence[Entry]) -> Iterator[str]:
    yield (
        "These take seconds in a checkout: a small network of a text, held against its original, layer by "
        "layer, with the same random weights on both sides and the least sizes of its dims."
    )
    yield ""
    yield "```"
    yield from map(verify_command, representatives(entries))
    yield "```"


# Measures


def _measured(entries: Sequence[Entry], records: Records, about: Mapping[str, str]) -> Iterator[str]:
    done = sum(any("points" in each for each in records.get(entry.name, {}).values()) for entry in entries)
    dates = [stage["date"] for record in records.values() for stage in record.values() if "date" in stage]
    software = ", ".join(f"{name} {value}" for name, value in about.items() if name != "machine")
    yield (
        f"{done} of {len(entries)} networks were compared, {software} ({about['machine']}; the last on "
        f"{max(dates, default='no day')}). The error is the largest relative L2 distance of an output of the "
        "TensorRT network, computed by the evaluator, from the original in float64, over the smallest, best "
        "and largest sizes (of large inputs the smallest and one more); beside it PyTorch's own in float32. "
        "Engines have made-up weights: CPU seconds to build, and MiB."
    )
    yield ""
    yield "| network | original | parameters | error | PyTorch's | float32 | float16 | int8 |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    failures: list[str] = []
    for entry in entries:
        record = records.get(entry.name, {})
        found = record.get("numbers", {})
        cells = [
            f"`{entry.name}`",
            f"`{entry.oracle.partition(':')[0].removesuffix('.py')}`",
            _parameters(found),
            *(_largest(found, what) for what in ("error", "own")),
            *(_engine(record.get(precision)) for precision in ("float32", "float16")),
            _engine(record.get("int8")) if entry.int8 else "",
        ]
        yield f"| {' | '.join(cells)} |"
        failures += [
            f"- `{entry.name}` {stage}: {each['failed']}"
            for stage, each in record.items()
            if "failed" in each
        ]
    if failures:
        yield ""
        yield "Failed:"
        yield ""
        yield from failures


def _parameters(found: Mapping[str, Any]) -> str:
    count = found.get("parameters")
    if count is None:
        return ""
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def _largest(found: Mapping[str, Any], what: str) -> str:
    if "failed" in found:
        return "failed"
    return f"{max(each[what] for each in found['points']):.1e}" if found else NOT_RUN


def _engine(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOT_RUN
    return "failed" if "failed" in found else f"{found['cpu_seconds']:g} s, {found['mib']:.1f}"
