"""What a model is held against: a PyTorch module, an ONNX model, or arrays.

In: ``torchvision.models:resnet18`` and a checkpoint, or a file.  Out: a :class:`Reference`, whose ``run``
gives the expected outputs.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, did_you_mean
from trtdsl.ir import Graph
from trtdsl.reference import to_torch
from trtdsl.runtime.files import read_arrays

if TYPE_CHECKING:
    import torch
    from torch import nn

Array: TypeAlias = npt.NDArray[Any]
Named: TypeAlias = list[tuple[str, Array]]
"""Arrays in order, with the name of each or an empty one."""

UNMENTIONED = "num_batches_tracked"


class Reference(Protocol):
    """Something that computes what the model should."""

    @property
    def name(self) -> str: ...

    def run(self, inputs: Mapping[str, Array]) -> Named: ...


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in a tensor, list, tuple or dict, in order; those of a dict with their keys."""
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_of(item, str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_of(item, name)


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor's values in numpy, floating point as float64."""
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def named(value: Any) -> Named:
    """The numbers in what a module returns."""
    return [(name, numbers(tensor)) for name, tensor in tensors_of(value)]


# --- PyTorch ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TorchReference:
    """A module in eval mode, its floats all of one dtype."""

    name: str
    module: nn.Module
    dtype: torch.dtype

    def run(self, inputs: Mapping[str, Array]) -> Named:
        return named(self.call(inputs))

    def call(self, inputs: Mapping[str, Array]) -> Any:
        """What the module returns. Inputs are passed by name where all are parameters of ``forward``."""
        import torch

        tensors = {name: self._tensor(array) for name, array in inputs.items()}
        parameters = inspect.signature(self.module.forward).parameters
        with torch.no_grad():
            try:
                if all(name in parameters for name in tensors):
                    return self.module(**tensors)
                return self.module(*tensors.values())
            except Exception as error:  # the user's own code
                shapes = ", ".join(f"{name}: {list(each.shape)}" for name, each in tensors.items())
                raise DiagnosticError(
                    Diagnostic(f"{self.name} cannot be run on {shapes}: {type(error).__name__}: {error}")
                ) from error

    def _tensor(self, array: Array) -> torch.Tensor:
        tensor = to_torch(array).clone()
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


def load_module(
    against: str | nn.Module | Callable[..., nn.Module], arguments: Mapping[str, Any]
) -> tuple[str, nn.Module]:
    """The module that a path, a constructor with arguments, or a module itself stands for, and its name.

    A path is ``package.module:name``, or ``file.py:name``. Raises :class:`UsageError`.
    """
    require_torch("`--against`")
    from torch import nn

    name = against if isinstance(against, str) else getattr(against, "__name__", type(against).__name__)
    found: Any = _imported(against) if isinstance(against, str) else against
    if isinstance(found, nn.Module) and arguments:
        raise UsageError(Diagnostic(f"{name} is a module already and takes no arguments"))
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise UsageError(Diagnostic(f"{name} is neither a torch.nn.Module nor makes one"))
        try:
            found = found(**arguments)
        except Exception as error:  # the user's own code
            raise UsageError(Diagnostic(f"{name} fails: {type(error).__name__}: {error}")) from error
    if not isinstance(found, nn.Module):
        raise UsageError(Diagnostic(f"{name} makes a {type(found).__name__}, no torch.nn.Module"))
    return name, found


def require_torch(what: str) -> None:
    """Raise :class:`UsageError` where PyTorch is not installed, which ``what`` needs."""
    if importlib.util.find_spec("torch") is None:
        help = ("pip install 'trtdsl[torch]'",)
        raise UsageError(Diagnostic(f"{what} needs PyTorch, which is not installed", help=help))


def _imported(path: str) -> Any:
    where, colon, attribute = path.partition(":")
    if not colon or not attribute:
        text = f"`{path}` is no `package.module:name`, such as torchvision.models:resnet18"
        raise UsageError(Diagnostic(text))
    found = _import_module(where)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = did_you_mean(part, [each for each in dir(found) if not each.startswith("_")])
            raise UsageError(Diagnostic(f"`{where}` has no `{attribute}`{near}"))
        found = getattr(found, part)
    return found


def _import_module(where: str) -> Any:
    # A script's own folder is on the path, the folder it is called in is not.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        spec = importlib.util.spec_from_file_location(where, where)
        assert spec and spec.loader
        # Dataclasses look their module up there; by its path it hides no other.
        sys.modules[where] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # the user's own code
        raise UsageError(Diagnostic(f"cannot import `{where}`: {type(error).__name__}: {error}")) from error


def load_state(name: str, module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Give a module the checkpoint's values; raises :class:`DiagnosticError` where it lacks one it needs."""
    own = module.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith(UNMENTIONED)]
    if missing:
        near = did_you_mean(missing[0], [key for key in weights if key not in own])
        text = f"the checkpoint has no `{missing[0]}`, which {name} needs{near}"
        more = (f"and {len(missing) - 1} more are missing",) if len(missing) > 1 else ()
        raise DiagnosticError(Diagnostic(text, help=more))
    try:
        module.load_state_dict({k: to_torch(weights[k]) for k in own if k in weights}, strict=False)
    except RuntimeError as error:
        raise DiagnosticError(_misfit(name, error)) from error


def _misfit(name: str, error: RuntimeError) -> Diagnostic:
    """PyTorch's complaint without its heading, shortened to two of the lines that follow, one a key."""
    heading, *lines = [line.strip() for line in str(error).splitlines()]
    first, *others = lines or [heading]
    more = (f"and {len(others) - 1} more",) if len(others) > 1 else ()
    return Diagnostic(f"the checkpoint does not fit {name}: {first}", help=(*others[:1], *more))


def load_weights(module: nn.Module, graph: Graph) -> None:
    """Give a module the values of a bound graph's weights, which may be rounded, where the keys agree.

    What the network does not get makes no difference then.
    """
    own = module.state_dict()
    bound = {w.key: to_torch(w.data) for w in graph.weights if w.key in own and w.data is not None}
    module.load_state_dict(bound, strict=False)


def state_of(module: nn.Module) -> dict[str, Array]:
    """A reference's state dict as arrays."""
    return {key: value.detach().cpu().numpy() for key, value in module.state_dict().items()}


# --- Files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnnxReference:
    """An ONNX model, run by onnxruntime on the CPU."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def run(self, inputs: Mapping[str, Array]) -> Named:
        """Inputs are matched by name, or else by position."""
        if importlib.util.find_spec("onnxruntime") is None:
            help = ("pip install onnxruntime",)
            raise UsageError(Diagnostic("`--onnx` needs onnxruntime, which is not installed", help=help))
        import onnxruntime  # pyright: ignore[reportMissingImports]

        try:
            session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
            names = [each.name for each in session.get_inputs()]
            by_name = inputs if {*names} == {*inputs} else dict(zip(names, inputs.values(), strict=False))
            found: Any = session.run(None, dict(by_name))
        except Exception as error:  # onnxruntime's errors have no common base
            raise UsageError(Diagnostic(f"onnxruntime cannot run `{self.path}`: {error}")) from error
        outputs = [each.name for each in session.get_outputs()]
        return [(name, np.asarray(array)) for name, array in zip(outputs, found, strict=True)]


@dataclass(frozen=True)
class ArraysReference:
    """Arrays in a ``.npz`` file: expected outputs, and perhaps the inputs they were computed from."""

    path: Path
    arrays: Mapping[str, Array]

    @property
    def name(self) -> str:
        return str(self.path)

    def run(self, inputs: Mapping[str, Array]) -> Named:
        return [(name, array) for name, array in self.arrays.items() if name not in inputs]


def load_reference_arrays(path: str | Path) -> ArraysReference:
    """The arrays of a ``.npz`` file; raises :class:`UsageError`."""
    arrays = read_arrays(Path(path))
    if isinstance(arrays, np.ndarray):
        raise UsageError(
            Diagnostic(f"cannot read `{path}` as a .npz file: it holds one array without a name")
        )
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise UsageError(Diagnostic(f"`{name}` in `{path}` holds no numbers, but {array.dtype}"))
    return ArraysReference(Path(path), arrays)
