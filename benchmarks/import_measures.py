"""One model imported, and what is measured of it.

In: a model.  Out: a record for the table: lines, errors, time and memory beyond torch.export's own, whether
importing again gives the same bytes and whether the flat text elaborates to the same graph.
"""

from __future__ import annotations

import gc
import hashlib
import re
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from import_models import Model

SIZES = {"N": 3, "S": 10, "H": 160, "W": 224}
"""What the dimensions are when values are compared; the import had others."""

MIB = 2**20


def made(model: Model) -> tuple[Any, Any]:
    """The module with values that hide nothing, and what its modules were constructed with."""
    import torch

    from trtdsl.importers.constructed import recording

    torch.manual_seed(0)
    torch.set_num_threads(1)
    with recording() as constructed:
        module = model.make().eval()
    randomize(module)
    return module, constructed


def measured(model: Model) -> dict[str, Any]:
    """The record of an import."""
    from trtdsl.elaborate import elaborate_text
    from trtdsl.importers.module import checked_import
    from trtdsl.ir.alike import difference
    from trtdsl.syntax import format_text
    from trtdsl.verification.oracle import state_of

    module, constructed = made(model)
    gc.collect()  # what making the module left is nobody's time
    with _exporting() as exports:
        begin = time.process_time()
        captured = _captured(module, constructed, model)
        found = checked_import(captured, state_of(module), False)
        seconds = time.process_time() - begin
        extra = exports.peak()
    error, outputs = _error(module, model, found)
    weights = sum(each.nbytes for each in [*module.parameters(), *module.buffers()])
    flat = checked_import(captured, state_of(module), True)
    return {
        "lines": len(found.text.splitlines()),
        "constants": len(found.constants),
        "seconds": round(seconds, 1),
        "beyond": round(seconds - exports.seconds, 2),
        "weights": round(weights / MIB, 1),
        "memory": round(extra / MIB, 1),
        "error": error,
        "outputs": outputs,
        "text": digest(found.text),
        "laid_out": format_text(found.text) == found.text,
        "flat": difference(elaborate_text(found.text), elaborate_text(flat.text)) or "same",
    }


def imported_again(model: Model) -> dict[str, Any]:
    """The text of an import in a process of its own, to compare."""
    from trtdsl.importers.module import checked_import
    from trtdsl.verification.oracle import state_of

    module, constructed = made(model)
    found = checked_import(_captured(module, constructed, model), state_of(module), False)
    return {"text": digest(found.text)}


def digest(text: str) -> str:
    """A short word for a text's bytes."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _captured(module: Any, constructed: Any, model: Model) -> Any:
    from trtdsl.importers.capture import capture
    from trtdsl.importers.inputs import read_inputs
    from trtdsl.ir.names import identifier

    inputs = read_inputs(model.inputs, model.dims)
    return capture(module, identifier(model.name), inputs, "", constructed)


class _Exports:
    """What torch.export takes by itself while this is watching."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._resident = 0

    def done(self, seconds: float) -> None:
        """Note one export's time; the peak of memory is counted from here."""
        self.seconds += seconds
        Path("/proc/self/clear_refs").write_text("5")
        self._resident = _status("VmRSS")

    def peak(self) -> int:
        """Bytes that the process held at most beyond those that it held after the export."""
        return _status("VmHWM") - self._resident


@contextmanager
def _exporting() -> Generator[_Exports]:
    import torch

    torch.export.Dim("N")  # the first of a process loads what torch's dimensions are made of
    found, real = _Exports(), torch.export.export

    def timed(*arguments: Any, **named: Any) -> Any:
        begin = time.process_time()
        try:
            return real(*arguments, **named)
        finally:
            found.done(time.process_time() - begin)

    torch.export.export = timed
    try:
        yield found
    finally:
        torch.export.export = real


def _status(name: str) -> int:
    """A number of bytes that Linux knows of this process."""
    match = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def engine_of(model: Model) -> dict[str, Any]:
    """An engine of the model built by TensorRT-RTX: seconds, layers, size."""
    from trtdsl.compile import compile_graph
    from trtdsl.importers.module import checked_import
    from trtdsl.verification.oracle import state_of

    module, constructed = made(model)
    graph = checked_import(_captured(module, constructed, model), state_of(module), False).graph
    assert graph
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.engine"
        begin = time.process_time()
        compiled = compile_graph(graph, path)
        seconds = time.process_time() - begin
        size = path.stat().st_size / MIB
    return {"seconds": round(seconds, 1), "layers": len(compiled.manifest.layers), "size": round(size, 1)}


def randomize(module: Any) -> None:
    """Statistics as training leaves them, and no weight that hides what is after it."""
    import torch

    for each in module.modules():
        if getattr(each, "running_mean", None) is not None:
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.8, 1.2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() and not parameter.any():
                parameter.normal_(0, 0.02)


def _error(module: Any, model: Model, found: Any) -> tuple[float, int]:
    """The largest relative L2 error of an output, at other sizes than the import had."""
    import torch

    from trtdsl.reference import run

    values = dict(values_of(model, SIZES))
    state = {**module.state_dict(), **found.constants}
    with torch.no_grad():
        named = "x" not in values
        wanted = list(_tensors(module(**values) if named else module(values["x"])))
        computed = list(run(found.graph, values, state).values())
    if len(wanted) != len(computed) or not wanted:
        raise ValueError(f"{len(computed)} outputs, and the module has {len(wanted)}")
    errors: list[float] = []
    for ours, theirs in zip(computed, wanted, strict=True):
        size = theirs.double().norm()
        if not size.isfinite() or size == 0:
            raise ValueError("an output of the module is zero throughout, or not finite")
        errors.append(float((ours.double() - theirs.double()).norm() / size))
    return max(errors), len(errors)


def values_of(model: Model, sizes: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    """Random values of a model's inputs by name, at these sizes of its dimensions."""
    import torch

    for name, text in model.inputs.items():
        dtype, _, shape = text.partition("[")
        dims = [sizes.get(each.strip()) or int(each) for each in shape.rstrip("]").split(",")]
        if dtype == "float32":
            yield name, torch.randn(dims)
        elif name == "attention_mask":
            mask = torch.ones(dims, dtype=torch.int64)
            mask[1, -3:] = 0
            yield name, mask
        else:
            yield name, torch.randint(2, 90, dims)


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(each)
