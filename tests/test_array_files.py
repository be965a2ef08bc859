"""Arrays that stay in numpy's files."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtdsl.array_files import map_arrays, read_arrays
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.precision.batches import RecipeData
from trtdsl.precision.ranges import digest
from trtdsl.recipe import Recipe
from trtdsl.types.value_range import ValueRange

ARRAYS: dict[str, Any] = {
    "x": np.random.default_rng(0).normal(size=(7, 3, 5)).astype(np.float32),
    "turned": np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    "none": np.empty((0, 4), np.float16),
    "number": np.array(3, np.int8),
    "flags": np.array([True, False]),
}
WRITERS: dict[str, Callable[..., None]] = {"stored": np.savez, "compressed": np.savez_compressed}


@pytest.mark.parametrize("writer", WRITERS)
def test_they_are_what_is_read(tmp_path: Path, writer: str) -> None:
    WRITERS[writer](tmp_path / "d.npz", **ARRAYS)
    found, read = map_arrays(tmp_path / "d.npz"), read_arrays(tmp_path / "d.npz")
    assert isinstance(found, dict) and isinstance(read, dict) and [*found] == [*read]
    for name, array in found.items():
        assert array.dtype == read[name].dtype and not (array.size and array.flags.writeable)
        np.testing.assert_array_equal(array, read[name])
    assert digest(found) == digest(ARRAYS)


def test_of_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", ARRAYS["x"])
    found = map_arrays(tmp_path / "d.npy")
    assert isinstance(found, np.ndarray) and not found.flags.writeable
    np.testing.assert_array_equal(found, ARRAYS["x"])


@pytest.mark.parametrize("writer", WRITERS)
def test_calibration_data_are_not_in_memory(tmp_path: Path, writer: str) -> None:
    size = 2**21
    WRITERS[writer](tmp_path / "d.npz", x=np.zeros((16, size), np.float32))
    graph = elaborate_text(f"model m {{\n  input x: float32[1, {size}] in -1 .. 1\n  output y = relu(x)\n}}")
    data = RecipeData(graph, Recipe(precision="int8", calibrate=tmp_path / "d.npz"))
    tracemalloc.start()
    try:
        batches = data.batches(graph)
        assert batches is not None and data.arrays is not None
        assert sum(batch["x"].shape[1] for batch in batches) == 16 * size
        assert digest(data.arrays).startswith("sha256:")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * size * 4 / 3


def test_a_value_out_of_range_is_found_far_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtdsl.types.value_range._AT_ONCE", 8)
    array = np.zeros((9, 4), np.int64)
    array[7, 2] = 5
    assert ValueRange(0, 3).stray(array) == (7, 2)
    assert ValueRange(0, 5).stray(array) is None
    assert ValueRange(0, 3).stray(np.array(4)) == ()


def changed(path: Path, change: Callable[[bytearray], Any]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("writer", WRITERS)
def test_a_changed_byte_is_found(tmp_path: Path, writer: str) -> None:
    WRITERS[writer](tmp_path / "d.npz", x=ARRAYS["x"])

    def change(data: bytearray) -> None:
        data[300] ^= 1

    with pytest.raises(UsageError, match=r"cannot read `.*d\.npz`"):
        map_arrays(changed(tmp_path / "d.npz", change))


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", ARRAYS["x"])
    with pytest.raises(UsageError, match=r"it has 416 bytes of the 420 of float32\[7, 3, 5\]"):
        map_arrays(changed(tmp_path / "d.npy", lambda data: data.__delitem__(slice(-4, None))))
    np.savez(tmp_path / "d.npz", **ARRAYS)
    with pytest.raises(UsageError, match=r"cannot read"):
        map_arrays(changed(tmp_path / "d.npz", lambda data: data.__delitem__(slice(-40, None))))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_is_longer_than_its_file_does_not_read_the_next_one(
    tmp_path: Path, compression: int
) -> None:
    file = io.BytesIO()
    np.save(file, ARRAYS["x"])
    with zipfile.ZipFile(tmp_path / "d.npz", "w", compression) as archive:
        archive.writestr("x.npy", file.getvalue()[:-8])
        archive.writestr("y.npy", file.getvalue())
    with pytest.raises(UsageError, match=r"it has 412 bytes of the 420"):
        map_arrays(tmp_path / "d.npz")


def test_what_is_not_an_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", b"nothing of numpy's")
    with pytest.raises(UsageError, match=r"`x` in it is not an array"):
        map_arrays(tmp_path / "d.npz")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"Python's objects"):
        map_arrays(tmp_path / "o.npy")
