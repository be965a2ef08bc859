"""What a model is held against: a PyTorch module, an ONNX model, or arrays.

In: ``torchvision.models:resnet18`` and a checkpoint, or a file.  Out: a :class:`Reference`, whose ``run``
gives the expected outputs.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.array_files import read_arrays
from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, cannot_read, did_you_mean
from trtdsl.ir import Graph
from trtdsl.reference import to_torch
from trtdsl.verification.arguments import Matching, match_arguments, match_inputs
from trtdsl.verification.mixed import promoting
from trtdsl.verification.result import CannotCompute
from trtdsl.verification.returned import DTYPES, Returned, from_runtime, is_number, returned
from trtdsl.weights import Checkpoint
from trtdsl.weights.absent import prefix_help
from trtdsl.weights.arrays import as_array
from trtdsl.weights.bind import Bound

if TYPE_CHECKING:
    import torch
    from torch import nn

Array: TypeAlias = npt.NDArray[Any]
Weights: TypeAlias = Checkpoint | Mapping[str, Array]
UNMENTIONED = "num_batches_tracked"


class Reference(Protocol):
    """Something that computes what the model should."""

    @property
    def name(self) -> str: ...

    def run(self, inputs: Mapping[str, Array]) -> Returned: ...


# --- PyTorch ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TorchReference:
    """A module in eval mode, its floats all of one dtype.

    ``is_mixed``: some were of half precision before they were moved, so that ``forward`` may cast to it.
    """

    name: str
    module: nn.Module
    dtype: torch.dtype
    is_mixed: bool = False

    def run(self, inputs: Mapping[str, Array]) -> Returned:
        return self.returned(self.call(inputs), inputs)

    def returned(self, value: Any, inputs: Mapping[str, Array]) -> Returned:
        """What a call gave, with notes on it and on how the inputs were passed."""
        return returned(value, self._matching(inputs).notes)

    def _matching(self, inputs: Mapping[str, Array]) -> Matching:
        return match_arguments([*inputs], self.module.forward, self.name)

    def in_float64(self) -> TorchReference:
        """The same module, its floats in float64."""
        import torch

        if self.dtype == torch.float64:
            return self
        module = moved(copy.deepcopy(self.module), torch.float64)
        return TorchReference(self.name, module, torch.float64, self.is_mixed)

    def adds_to(self, path: str) -> bool:
        """Whether the module there is a layer of torch's, of a class with a ``forward`` of its own."""
        from torch import nn

        module = dict(self.module.named_modules(remove_duplicate=False)).get(path)
        kinds = [each for each in type(module).__mro__ if "forward" in vars(each)]
        is_torchs = [each is not nn.Module and each.__module__.startswith("torch.nn.") for each in kinds]
        return any(is_torchs) and not is_torchs[0]

    def call(self, inputs: Mapping[str, Array]) -> Any:
        """What the module returns. Inputs are passed by name where ``forward`` has such a parameter."""
        import torch

        tensors = {name: self._tensor(array) for name, array in inputs.items()}
        positional, by_name = self._matching(inputs).bound(tensors)
        with ExitStack() as contexts:
            contexts.enter_context(torch.no_grad())
            contexts.enter_context(_as_written())
            contexts.enter_context(widening(self.dtype == torch.float64))
            if self.is_mixed:
                contexts.enter_context(promoting())
            try:
                return self.module(*positional, **by_name)
            except Exception as error:  # the user's own code
                shapes = ", ".join(f"{name}: {list(each.shape)}" for name, each in tensors.items())
                raise CannotCompute(
                    Diagnostic(f"{self.name} cannot be run on {shapes}: {type(error).__name__}: {error}")
                ) from error

    def _tensor(self, array: Array) -> torch.Tensor:
        tensor = to_torch(array).clone()
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


def _as_written() -> AbstractContextManager[Any]:
    """Runs what ``torch.compile`` made as it is written: it would compile what watches the layers, too."""
    dynamo: Any = sys.modules.get("torch._dynamo")
    if dynamo is None:  # nothing is compiled, and importing the compiler takes seconds
        return nullcontext()
    stance: Any = getattr(sys.modules["torch"].compiler, "set_stance", None)
    # Before 2.6 what cannot be compiled can at least be run.
    return stance("force_eager") if stance else dynamo.config.patch(suppress_errors=True)


def widening(wanted: bool) -> AbstractContextManager[Any]:
    """Computes in float64 what a module computes in float32 though its weights are moved: ``x.float()``,
    ``dtype = torch.float32``, and what is made without a dtype. The network has only one wide type too, with
    the bounds that it was written with, float32's."""
    import torch
    from torch.overrides import TorchFunctionMode

    grouped = (getattr(torch.nn.functional, "grouped_mm", None), getattr(torch, "_grouped_mm", None))
    in_float64: Mapping[Any, Any] = {
        torch.Tensor.float: torch.Tensor.double,
        **dict.fromkeys(filter(None, grouped), _grouped_product),
    }

    finfo: Any = torch.finfo

    def narrow_finfo(dtype: Any = torch.float32) -> Any:
        return finfo(torch.float32 if dtype is torch.float64 else dtype)

    def wide(value: Any) -> Any:
        if value is torch.float32:
            return torch.float64
        return value.double() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value

    class Widening(TorchFunctionMode):
        def __enter__(self) -> Any:
            torch.finfo = narrow_finfo
            return super().__enter__()

        def __exit__(self, *failure: Any) -> None:
            super().__exit__(*failure)
            torch.finfo = finfo

        def __torch_function__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            named = {name: wide(value) for name, value in (kwargs or {}).items()}
            result = in_float64.get(func, func)(*map(wide, args), **named)
            return wide(result) if isinstance(result, torch.Tensor) else result

    return Widening() if wanted else nullcontext()


def _grouped_product(
    a: torch.Tensor, b: torch.Tensor, offs: torch.Tensor | None = None, **_: Any
) -> torch.Tensor:
    """``grouped_mm``, which PyTorch does not have in float64: a product for each group of rows, of columns or
    of what is summed. Rows behind the last group are nobody's.
    """
    import torch

    if offs is None:
        return torch.bmm(a, b)
    ends = offs.tolist()
    groups = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    if a.dim() == b.dim():
        return torch.stack([a[:, group] @ b[group] for group in groups])
    if a.dim() == 3:
        return torch.cat([each @ b[:, group] for group, each in zip(groups, a, strict=True)], 1)
    products = [a[group] @ each for group, each in zip(groups, b, strict=True)]
    return torch.cat([*products, a.new_zeros(len(a) - ends[-1], b.shape[-1])])


def moved(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module in eval mode, its floats in one dtype; complex numbers stay complex."""
    for tensor in (*module.parameters(), *module.buffers()):
        wanted = dtype.to_complex() if tensor.is_complex() else dtype
        if tensor.is_complex() or tensor.is_floating_point():
            tensor.data = tensor.data.to(wanted)
    return module.eval()


def load_state(name: str, module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Give a module the checkpoint's values; raises :class:`DiagnosticError` where it lacks one it needs."""
    own = tensors_in(module)
    needed = [key for key in own if not key.endswith(UNMENTIONED)]
    missing = [key for key in needed if key not in weights]
    if missing:
        near = did_you_mean(missing[0], [key for key in weights if key not in own])
        text = f"the checkpoint has no `{missing[0]}`, which {name} needs{near}"
        count = len(missing) - 1
        more = (f"and {count} more {'is' if count == 1 else 'are'} missing",) if count else ()
        raise DiagnosticError(Diagnostic(text, help=(*more, *prefix_help(needed, weights))))
    try:
        _load(module, {key: _tensor(key, weights[key]) for key in own if key in weights})
    except RuntimeError as error:
        raise DiagnosticError(_misfit(name, error)) from error


def _tensor(key: str, array: Array) -> torch.Tensor:
    """The array in torch, also of a dtype that only buffers have, which no network reads."""
    import torch

    if isinstance(array, torch.Tensor) or array.dtype.name in DTYPES:
        return to_torch(array)
    if array.dtype.isbuiltin != 2:  # which types of ml_dtypes are
        return torch.from_numpy(np.array(array))
    dtype = getattr(torch, array.dtype.name, None)
    if not isinstance(dtype, torch.dtype) or dtype.itemsize != array.dtype.itemsize:
        raise DiagnosticError(Diagnostic(f"PyTorch does not have the dtype {array.dtype.name} of `{key}`"))
    return torch.from_numpy(np.array(array).view(f"uint{8 * array.dtype.itemsize}")).view(dtype)


def with_ties(module: nn.Module, weights: Weights) -> Weights:
    """The checkpoint with the keys that it leaves out because the module ties them to others it has."""
    import torch

    places: dict[tuple[Any, ...], list[str]] = {}
    for key, tensor in tensors_in(module).items():
        if tensor.numel() and tensor.layout is torch.strided:
            start = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
            places.setdefault((*start, tensor.shape, tensor.stride()), []).append(key)
    ties = {
        key: next(each for each in keys if each in weights)
        for keys in places.values()
        if any(each in weights for each in keys)
        for key in keys
        if key not in weights
    }
    if not ties:
        return weights
    if isinstance(weights, Checkpoint):
        tied = {key: weights.tensors[other] for key, other in ties.items()}
        return dataclasses.replace(weights, tensors={**weights.tensors, **tied})
    return {**weights, **{key: weights[other] for key, other in ties.items()}}


def _misfit(name: str, error: RuntimeError) -> Diagnostic:
    """PyTorch's complaint without its heading, shortened to two of the lines that follow, one a key."""
    heading, *lines = [line.strip() for line in str(error).splitlines()]
    first, *others = lines or [heading]
    more = (f"and {len(others) - 1} more",) if len(others) > 1 else ()
    return Diagnostic(f"the checkpoint does not fit {name}: {first}", help=(*others[:1], *more))


def load_weights(module: nn.Module, graph: Graph, bound: Bound) -> None:
    """Give a module the values of a bound graph's weights, which may be rounded, where the keys agree.

    What a weight is made of under other keys, or by the ``weights`` section of the graph as it was written,
    is rounded to the weight's dtype. What the network does not get makes no difference then.
    """
    own = tensors_in(module)
    values: dict[str, torch.Tensor] = {}
    made = {weight.key for weight in graph.weights if weight.stored is not None}
    for weight in bound.graph.weights:
        if weight.data is None:
            continue
        array = to_torch(weight.data)
        for key in bound.keys.get(weight.key, ()):
            if key == weight.key and key in own and key not in made:
                values[key] = array
            elif key in own:
                values.setdefault(key, own[key].to(array.dtype))
    _load(module, values)


def load_constants(module: nn.Module, values: Mapping[str, Array]) -> None:
    """Give a module the values of a text's constants, as far as it has tensors of these names."""
    own = module.state_dict()
    _load(module, {key: to_torch(array) for key, array in values.items() if key in own})


def _load(module: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Give a module these values, as of the version of its state dict that it has now."""
    state: Any = OrderedDict(values)
    state._metadata = getattr(module.state_dict(), "_metadata", None)
    module.load_state_dict(state, strict=False)


def tensors_in(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's state dict without what its own code adds to it, which may be anything."""
    import torch

    return {key: value for key, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def state_of(module: nn.Module) -> dict[str, Array]:
    """A reference's state dict as arrays."""
    return {key: as_array(key, value) for key, value in tensors_in(module).items()}


# --- Files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnnxReference:
    """An ONNX model, run by onnxruntime on the CPU."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def run(self, inputs: Mapping[str, Array]) -> Returned:
        """Inputs are matched by name, or else by position."""
        if importlib.util.find_spec("onnxruntime") is None:
            help = ("pip install onnxruntime",)
            raise UsageError(Diagnostic("`--onnx` needs onnxruntime, which is not installed", help=help))
        if not self.path.is_file():
            raise cannot_read(self.path, "is a directory" if self.path.is_dir() else "no such file")
        import onnxruntime  # pyright: ignore[reportMissingImports]

        try:
            session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
            matching = match_inputs([*inputs], [each.name for each in session.get_inputs()], self.name)
            found: Any = session.run(None, matching.bound(inputs)[1])
        except UsageError:
            raise
        except Exception as error:  # onnxruntime's errors have no common base
            raise UsageError(Diagnostic(f"onnxruntime cannot run `{self.path}`: {error}")) from error
        outputs = [each.name for each in session.get_outputs()]
        return from_runtime(outputs, found, matching.notes)


@dataclass(frozen=True)
class ArraysReference:
    """Arrays in a ``.npz`` file: expected outputs, and perhaps the inputs they were computed from."""

    path: Path
    arrays: Mapping[str, Array]

    @property
    def name(self) -> str:
        return str(self.path)

    def run(self, inputs: Mapping[str, Array]) -> Returned:
        return Returned([(name, array) for name, array in self.arrays.items() if name not in inputs])


def load_reference_arrays(path: str | Path) -> ArraysReference:
    """The arrays of a ``.npz`` file; raises :class:`UsageError`."""
    arrays = read_arrays(Path(path))
    if isinstance(arrays, np.ndarray):
        raise cannot_read(path, "it holds one array without a name, where a .npz file has names")
    for name, array in arrays.items():
        if not is_number(array):
            raise UsageError(Diagnostic(f"`{name}` in `{path}` holds no numbers, but {array.dtype}"))
    return ArraysReference(Path(path), arrays)
