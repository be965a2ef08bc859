"""What of a call is refused before any GPU is asked, and which profile is chosen."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trtdsl.diagnostics import UsageError
from trtdsl.runtime.arrays import view
from trtdsl.runtime.binding import ProfileUsers, check_shapes, choose_profile, size_of
from trtdsl.runtime.cuda import DeviceArray
from trtdsl.runtime.engine import check_arrays, not_finite
from trtdsl.trt.manifest import FORMAT, Binding, Manifest, ProfileEntry
from trtdsl.types import DType


def profile(name: str, low: int, best: int, high: int) -> ProfileEntry:
    shapes = tuple((n, 3, 8, 8) for n in (low, best, high))
    pairs = tuple((2 * n, 4) for n in (low, best, high))
    return ProfileEntry(
        name,
        {"N": (low, best, high)},
        {"image": shapes, "boxes": pairs},  # pyright: ignore[reportArgumentType]
    )


def manifest(*profiles: ProfileEntry) -> Manifest:
    return Manifest(
        format=FORMAT,
        model="m",
        size=0,
        sha256="",
        trtdsl="0",
        runtime="tensorrt_rtx",
        runtime_version="1",
        targets=(),
        precision="float32",
        tf32=True,
        tactic_sources=(),
        passes=(),
        command=(),
        inputs=(Binding("image", "float32", ("N", 3, 8, 8)), Binding("boxes", "float16", ("2 * N", 4))),
        outputs=(Binding("scores", "float32", ("N", 10)),),
        steps={},
        profiles=profiles or (profile("default", 1, 8, 32),),
        layers=(),
        weights=(),
    )


def arrays(batch: int) -> dict[str, np.ndarray]:
    return {"image": np.zeros((batch, 3, 8, 8), "f4"), "boxes": np.zeros((2 * batch, 4), "f2")}


def mistakes(**changed: object) -> list[str]:
    """What is said of a call with these arrays in place of good ones; None leaves one out."""
    given = {name: array for name, array in {**arrays(4), **changed}.items() if array is not None}
    with pytest.raises(UsageError) as error:
        check_arrays(manifest(), given)
    return [diagnostic.message for diagnostic in error.value.diagnostics]


def test_a_good_call_is_seen_as_it_is() -> None:
    given = arrays(4)
    views = check_arrays(manifest(), given)
    assert views["image"].pointer == given["image"].ctypes.data
    assert views["boxes"].shape == (8, 4)
    assert not views["boxes"].on_device


def test_unknown_and_missing_inputs_are_told_together() -> None:
    assert mistakes(image=None, imag=np.zeros(3)) == [
        "the model has no input `imag`, did you mean `image`?",
        "no value is given for the input `image`: float32[N, 3, 8, 8]",
    ]


def test_a_type_is_never_converted() -> None:
    assert mistakes(image=np.zeros((4, 3, 8, 8))) == ["input `image` is float32, but the array is float64"]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 3, 8), "it must have 4 dimensions, not 3"),
        ((4, 1, 8, 8), "dimension 1 must be 3, not 1"),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], reason: str) -> None:
    (message,) = mistakes(image=np.zeros(shape, "f4"))
    assert message.startswith("input `image` is float32[N, 3, 8, 8], but the array is 4x")
    assert message.endswith(reason)


def test_a_size_that_is_computed_from_another() -> None:
    (message,) = mistakes(boxes=np.zeros((9, 4), "f2"))
    assert (
        message
        == "input `boxes` is float16[2 * N, 4], but the array is 9x4: dimension 0, `2 * N`, must be 8, not 9"
    )


def test_a_size_of_zero_by_which_others_are_divided() -> None:
    inputs = (Binding("a", "int8", ("N",)), Binding("b", "int8", ("12 // N",)))
    divided = dataclasses.replace(manifest(), inputs=inputs)
    assert check_shapes(divided, {"a": (3,), "b": (4,)}) == {"N": 3}
    assert check_shapes(divided, {"a": (0,), "b": (4,)}) == {"N": 0}


def test_one_name_has_one_size() -> None:
    twice = dataclasses.replace(
        manifest(), inputs=(Binding("a", "int8", ("N",)), Binding("b", "int8", ("N",)))
    )
    with pytest.raises(UsageError, match=r"`N` is 3 in dimension 0 of `a` and 4 in dimension 0 of `b`"):
        check_shapes(twice, {"a": (3,), "b": (4,)})


def test_what_no_profile_holds_names_every_range() -> None:
    with pytest.raises(UsageError) as error:
        check_arrays(manifest(), arrays(100))
    assert error.value.diagnostics[0].message == (
        "the model does not accept image = 100x3x8x8, boxes = 200x4"
    )
    assert error.value.diagnostics[0].help[0] == "profile default: image from 1x3x8x8 to 32x3x8x8"


@pytest.mark.parametrize(("batch", "chosen"), [(1, 0), (2, 0), (16, 1), (40, 2), (64, 2)])
def test_the_profile_tuned_for_the_nearest_size(batch: int, chosen: int) -> None:
    made = manifest(profile("small", 1, 1, 8), profile("default", 1, 8, 32), profile("large", 1, 64, 64))
    shapes = {name: array.shape for name, array in arrays(batch).items()}
    assert choose_profile(made, shapes) == chosen


def test_of_equally_near_profiles_the_first() -> None:
    made = manifest(profile("a", 1, 8, 32), profile("b", 1, 8, 32))
    assert choose_profile(made, {name: array.shape for name, array in arrays(8).items()}) == 0


class User:
    """What is on a profile."""


def test_a_profile_is_one_contexts_at_a_time() -> None:
    users, one, two = ProfileUsers(shared=False), User(), User()
    assert users.claim(0, one) and users.claim(0, one)
    assert not users.claim(0, two)
    assert users.claim(1, two) and not users.claim(1, one)
    assert users.claim(2, one) and users.claim(0, two)  # a context leaves the profile that it was on
    assert users.claim(1, one)


def test_a_context_that_is_gone_is_on_no_profile() -> None:
    users, one, two = ProfileUsers(shared=False), User(), User()
    assert users.claim(0, one) and not users.claim(0, two)
    del one
    assert users.claim(0, two)


def test_a_shared_profile_is_everyones() -> None:
    users, one, two = ProfileUsers(shared=True), User(), User()
    assert users.claim(0, one) and users.claim(0, two) and users.claim(0, one)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("4 * N", 20),
        ("(H - 1) // 2 + 1", 5),
        ("-N + H", 5),
        ("min(N, H) % 3", 2),
        ("max(N, 7)", 7),
        ("N + M", None),
    ],
)
def test_dimensions_as_manifests_write_them(text: str, value: int | None) -> None:
    assert size_of(text, {"N": 5, "H": 10}) == value


@pytest.mark.parametrize(
    "text", ["__import__('os')", "N.real", "N ** 2", "'a'", "[N]", "N if N else 1", "4 *", "min()"]
)
def test_a_dimension_is_arithmetic_and_nothing_else(text: str) -> None:
    with pytest.raises(UsageError, match="an invalid dimension"):
        size_of(text, {"N": 5})


def test_arrays_that_are_not_numbers_are_warned_of() -> None:
    bad = np.array([1, np.nan, np.inf], "f2")
    (warning,) = not_finite({"a": bad, "b": np.ones(3), "c": np.array([1, 2])})
    assert warning.message == "`a` has 2 values of 3 that are NaN or infinite"
    assert warning.severity == "warning"


# Arrays of other libraries


def test_numpy_out_of_order_is_copied_in_order() -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3).T
    seen = view("x", array)
    assert seen.host is not None and seen.host.flags.c_contiguous
    assert seen.host.tolist() == array.tolist()


def test_numpy_in_the_other_byte_order_is_swapped() -> None:
    seen = view("x", np.array([1.5, -2.0], ">f4"))
    assert seen.host is not None and seen.dtype == "float32"
    assert seen.host.tobytes() == np.array([1.5, -2.0], "f4").tobytes()


@pytest.mark.parametrize("dtype", [torch.int16, torch.complex64, torch.float8_e4m3fn])
def test_dlpack_of_other_numbers_is_refused(dtype: torch.dtype) -> None:
    refusals = ["`x` has elements of a type that no engine accepts: DLPack type"]
    if dtype is torch.float8_e4m3fn:
        # PyTorch 2.5 does not export it.
        refusals.append("`x` cannot be read through DLPack: float8 types are not supported")
    with pytest.raises(UsageError, match="|".join(refusals)):
        view("x", torch.ones(2).to(dtype))


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.complex64).conj()],
    ids=["grad", "conj"],
)
def test_what_its_library_does_not_export_is_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="`x` cannot be read through DLPack: Can't export tensors"):
        view("x", tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6, dtype=torch.float32).reshape(2, 3),
        torch.arange(6).reshape(2, 3).t(),
        torch.arange(12, dtype=torch.float16)[::2],
        torch.ones(2, 0),
        torch.tensor(True),
        torch.arange(4, dtype=torch.uint8),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    ],
    ids=lambda tensor: str(tensor.dtype),
)
def test_dlpack_on_the_cpu(tensor: torch.Tensor) -> None:
    seen = view("x", tensor)
    assert seen.host is not None
    assert seen.dtype == str(tensor.dtype).removeprefix("torch.")
    assert seen.host.shape == tuple(tensor.shape)
    assert seen.host.astype("f8").tolist() == tensor.double().tolist()


class OnDevice:
    """What a CuPy array shows of itself."""

    def __init__(self, strides: tuple[int, ...] | None, shape: tuple[int, ...] = (2, 3)) -> None:
        data = {"shape": shape, "typestr": "<f4", "data": (4096, False), "strides": strides, "version": 3}
        self.__cuda_array_interface__ = data


@pytest.mark.parametrize("strides", [None, (12, 4)])
def test_memory_on_the_gpu_is_used_where_it_is(strides: tuple[int, ...] | None) -> None:
    seen = view("x", OnDevice(strides))
    assert (seen.pointer, seen.shape, seen.dtype, seen.on_device) == (4096, (2, 3), "float32", True)


def test_memory_on_the_gpu_must_be_in_order() -> None:
    with pytest.raises(UsageError, match="`x` is not contiguous on the GPU"):
        view("x", OnDevice((4, 8)))


def test_an_array_without_elements_is_in_order_whatever_its_strides() -> None:
    assert view("x", OnDevice((4, 4), (3, 0))).shape == (3, 0)


def test_an_engines_output_is_anothers_input() -> None:
    memory: Any = SimpleNamespace(pointer=4096, device=0)
    for dtype in (DType.BFLOAT16, DType.FLOAT32):
        seen = view("x", DeviceArray(memory, (2, 3), dtype.numpy))
        assert (seen.pointer, seen.shape, seen.dtype, seen.on_device) == (4096, (2, 3), str(dtype), True)


def test_what_is_no_array() -> None:
    with pytest.raises(UsageError, match="`x` is given a list, which is not an array"):
        view("x", [1, 2])
