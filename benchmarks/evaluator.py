"""Prove the evaluator with networks no one here wrote.

Every published model of ``evaluator_models.py`` gets random weights, is exported by ``torch.onnx.export``,
parsed by NVIDIA's ONNX parser into a TensorRT network and computed by :mod:`trtdsl.evaluate`; the result
is compared with the torch module itself.  Once with a fixed batch of 2, once with a dynamic batch exported
at 2 and run at 3.

    python benchmarks/evaluator.py                 all models
    python benchmarks/evaluator.py resnet18 bert   these, the other rows are kept

Writes ``evaluator.json`` and ``evaluator.md`` beside this file.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt
import torch
from evaluator_models import CASES, Case, Inputs
from torch import nn

from trtdsl.evaluate import evaluate

HERE = Path(__file__).parent
LIMIT = 1e-5
"""Largest relative L2 error in float32: some hundred roundings of 6e-8, in another order than torch's."""


def randomise(model: nn.Module, inputs: Inputs) -> nn.Module:
    """Random weights under which every parameter matters and activations neither die nor blow up.

    Norm scales, layer scales and biases are drawn at random (their defaults, 1, 1e-5 and 0, would hide a
    mistake), constant matrices too.  A batch norm divides by the root mean square of what it is given, not
    by the deviation from its mean: dividing small deviations from large means multiplies torch's own
    rounding errors a thousandfold in a deep random network, whose float32 then proves nothing.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    scales = {id(norm.weight) for norm in norms}
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if id(parameter) in scales:
                parameter.uniform_(0.3, 0.7)
            elif parameter.squeeze().dim() > 1:
                if parameter.std() == 0:
                    parameter.normal_(std=0.05)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2 if norms else 0.1)
            else:
                parameter.uniform_(0.5, 1.5)

    def settle(norm: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        square = (arguments[0] ** 2).mean([d for d in range(arguments[0].dim()) if d != 1])
        norm.running_var.copy_(square + 0.1 * square.mean())
        norm.running_mean.copy_(0.3 * square.sqrt() * torch.randn_like(square))

    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    model.eval()
    with torch.no_grad():
        model(*inputs)
    for hook in hooks:
        hook.remove()
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter logs and warns about its own passes."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def parse(path: Path) -> trt.INetworkDefinition:
    """NVIDIA's reading of an ONNX file."""
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network()
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise ValueError(f"ONNX parser: {parser.get_error(0).desc()}")
    return network


def trace(model: nn.Module, inputs: Inputs, path: Path) -> None:
    """Export with torch's older exporter, which records one run."""
    with quiet():
        torch.onnx.export(model, inputs, str(path), dynamo=False)


def export(model: nn.Module, inputs: Inputs, dynamic: bool, path: Path) -> None:
    """Export through ``torch.export``."""
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) * len(inputs)
    with quiet():
        torch.onnx.export(
            model,
            inputs,
            str(path),
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=(shapes,) if dynamic else None,
        )


def run(network: trt.INetworkDefinition, inputs: Inputs, **options: Any) -> list[torch.Tensor]:
    """Evaluate with inputs by position; results in the order of the network's outputs."""
    names = [network.get_input(i).name for i in range(network.num_inputs)]
    outputs = [network.get_output(i).name for i in range(network.num_outputs)]
    if len(names) != len(inputs):
        raise ValueError(f"the network has inputs {names}, the model {len(inputs)}")
    values = evaluate(network, dict(zip(names, inputs, strict=True)), **options)
    return [values[name] for name in outputs]


def relative_error(got: Sequence[torch.Tensor], want: Sequence[torch.Tensor]) -> float:
    """The largest relative L2 error of the outputs; refuses outputs that prove nothing."""
    if len(got) != len(want):
        raise ValueError(f"{len(got)} outputs instead of {len(want)}")
    errors: list[float] = []
    for value, expected in zip(got, want, strict=True):
        if not bool(expected.isfinite().all()) or float(expected.double().std()) == 0:
            raise ValueError("an output of the model is not finite or constant")
        difference = (value.double() - expected.double()).norm()
        errors.append(float(difference / expected.double().norm()))
    return max(errors)


def prove(case: Case, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    torch.manual_seed(0)
    model = randomise(case.build(), case.inputs(4))
    fixed, other = case.inputs(2), case.inputs(3)
    path = folder / "model.onnx"
    if case.traced:
        trace(model, fixed, path)
    else:
        export(model, fixed, False, path)
    network = parse(path)
    with torch.inference_mode():
        want = model(*fixed)
    started = time.monotonic()
    got = run(network, fixed)
    seconds = time.monotonic() - started
    kinds = collections.Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    return {
        "library": case.library,
        "model": case.name,
        "layers": dict(kinds.most_common()),
        "static": relative_error(got, want),
        "rounding": rounding(model, fixed, want),
        "spread": float(want[0].double().std(0).mean() / want[0].double().std()),
        "seconds": round(seconds, 2),
        "dynamic": _dynamic(model, fixed, other, path),
    }


def rounding(model: nn.Module, inputs: Inputs, want: Sequence[torch.Tensor]) -> float | None:
    """How far torch in float32 is from torch in float64; None for a model that has no float64."""
    doubled = tuple(each.double() if each.is_floating_point() else each for each in inputs)
    try:
        with torch.inference_mode():
            exact = copy.deepcopy(model).double()(*doubled)
    except RuntimeError:
        return None
    return relative_error(want, exact)


def _dynamic(model: nn.Module, fixed: Inputs, other: Inputs, path: Path) -> float | str:
    """The error at a batch the export has not seen, or who refused."""
    try:
        export(copy.deepcopy(model), fixed, True, path)
    except Exception as error:
        return f"not exported ({type(error).__name__})"
    try:
        network = parse(path)
    except ValueError as error:
        return f"not parsed ({error})"
    if network.get_input(0).shape[0] != -1:
        return "the exporter fixed the batch"
    with torch.inference_mode():
        want = model(*other)
    return relative_error(run(network, other), want)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown of ``evaluator.md``."""
    passed = [row for row in rows if row["static"] <= LIMIT]
    dynamic = [row for row in rows if isinstance(row["dynamic"], float)]
    kinds = collections.Counter(kind for row in rows for kind in row["layers"])
    libraries = collections.Counter(row["library"] for row in passed)
    by_library = ", ".join(f"{count} {name}" for name, count in libraries.items())
    above = [f"{row['model']} ({row['static']:.2e})" for row in rows if row["static"] > LIMIT]
    by_kind = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
    moved = f"{sum(row['dynamic'] <= LIMIT for row in dynamic)} of {len(dynamic)}"
    heading = f"""# The evaluator against torch

Each model has random weights (`torch.manual_seed(0)`, no parameter at a default that would hide a mistake),
goes through `torch.onnx.export` and NVIDIA's ONNX parser, and the TensorRT network that comes out is
computed by `trtdsl.evaluate` in float32 on the CPU. Both of torch's exporters are used: for torchvision
and timm the TorchScript tracer where the batch is static (not for alexnet, vgg11_bn and nf_resnet26, whose
operators it lacks), for all else `torch.export`.
Written by `python benchmarks/evaluator.py`.

torch {torch.__version__}, tensorrt-rtx {trt.__version__}. The error is the relative L2 distance to the torch
module in float32, the largest over all outputs; {LIMIT:g} is allowed. *Static*: batch 2. *Dynamic*: exported
at batch 2 with a dynamic batch, run at batch 3. *Spread*: how much of the first output's standard deviation
lies between the images or sentences of the batch, so that a constant output would be seen. *Torch's own*:
what float32 does to the torch module itself, its distance to the same module in float64.

**{len(passed)} of {len(rows)} models are within {LIMIT:g} with a static batch** ({by_library}), and {moved}
that the exporter and the parser took with a dynamic batch. Above the limit: {", ".join(above) or "none"}.

{len(kinds)} layer types, with the number of models: {by_kind}.

| library | model | static | dynamic | torch's own | spread | seconds | layers by type |
|---|---|---|---|---|---|---|---|"""
    lines = [heading]
    for row in rows:
        layers = ", ".join(f"{count} {kind}" for kind, count in row["layers"].items())
        moving = row["dynamic"] if isinstance(row["dynamic"], str) else f"{row['dynamic']:.1e}"
        own = "–" if row["rounding"] is None else f"{row['rounding']:.1e}"
        lines.append(
            f"| {row['library']} | {row['model']} | {row['static']:.1e} | {moving} | {own} "
            f"| {row['spread']:.2g} | {row['seconds']:.1f} | {layers} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help="names of models; all if none is given")
    wanted = set(parser.parse_args().models)
    unknown = wanted - {case.name for case in CASES}
    if unknown:
        parser.error(f"unknown models {sorted(unknown)}")
    failed = 0
    for case in CASES:
        if wanted and case.name not in wanted:
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = prove(case, Path(folder))
        except Exception as error:
            print(f"{case.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            row = None
        else:
            print(f"{case.name}: {row['static']:.1e} {row['dynamic']}", flush=True)
        failed += row is None or row["static"] > LIMIT
        store(case, row)
    return 1 if failed else 0


def store(case: Case, row: dict[str, Any] | None) -> None:
    """Put a row into the stored ones, or take it out, and write the table anew."""
    stored = HERE / "evaluator.json"
    rows = {each["model"]: each for each in json.loads(stored.read_text())} if stored.exists() else {}
    rows.pop(case.name, None)
    if row is not None:
        rows[case.name] = row
    ordered = [rows[each.name] for each in CASES if each.name in rows]
    stored.write_text(json.dumps(ordered, indent=1) + "\n")
    (HERE / "evaluator.md").write_text(table(ordered))


if __name__ == "__main__":
    raise SystemExit(main())
