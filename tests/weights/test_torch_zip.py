"""What ``torch.save`` writes today, read without torch: every dtype, layout and container."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.weights.saving import WithDtype, savable
from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint
from trtdsl.weights.tensor import NUMPY_DTYPES

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel"),
    pytest.mark.filterwarnings("ignore:`torch.jit"),
]

BASE = torch.arange(24, dtype=torch.float32).reshape(4, 6)


def saved(path: Path, value: object, **options: object) -> Path:
    torch.save(value, path, **options)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("name", NUMPY_DTYPES)
def test_every_dtype_keeps_its_bits(tmp_path: Path, name: str):
    tensor = torch.tensor([0, 1, 1, 0]).to(getattr(torch, name))
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"x": savable(tensor)}))
    assert weights.dtype("x") == NUMPY_DTYPES[name] == weights["x"].dtype
    assert weights.dtype_name("x") == name
    assert weights["x"].tobytes() == bits(tensor)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_small_floats_mean_the_same_numbers(tmp_path: Path, dtype: str):
    tensor = torch.tensor([1.5, -0.25, 96.0]).to(getattr(torch, dtype))
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"x": tensor}))
    assert weights["x"].astype(np.float64).tolist() == [1.5, -0.25, 96.0]


VIEWS = {
    "contiguous": BASE,
    "transposed": BASE.t(),
    "row": BASE[2],
    "column": BASE[:, 3],
    "offset": BASE[1:],
    "steps": BASE[::2, 1::3],
    "permuted": torch.arange(120.0).reshape(2, 3, 4, 5).permute(3, 1, 0, 2),
    "channels_last": torch.arange(120.0).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
    "scalar": torch.tensor(7.5),
    "element": BASE[3, 5],
    "empty": torch.zeros(0, 3),
    "empty middle": torch.zeros(2, 0, 3),
    "one": torch.ones(1, 1, 1),
    "sliced to nothing": BASE[4:],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_with_their_strides(tmp_path: Path, name: str):
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"x": VIEWS[name]}))
    assert weights.shape("x") == tuple(VIEWS[name].shape)
    np.testing.assert_array_equal(weights["x"], VIEWS[name].numpy(), strict=True)


def test_shared_storage_is_shared(tmp_path: Path):
    weights = load_checkpoint(
        saved(tmp_path / "w.pth", {name: VIEWS[name] for name in ("contiguous", "transposed", "row")})
    )
    assert np.shares_memory(weights["contiguous"], weights["transposed"])
    assert np.shares_memory(weights["contiguous"], weights["row"])


def test_arrays_are_views_of_the_file_and_read_only(tmp_path: Path):
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"x": BASE}))
    array = weights["x"]
    assert not array.flags.owndata
    assert array.flags.aligned
    assert np.shares_memory(array, weights["x"])
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path: Path, protocol: int):
    value = {"model": OrderedDict(x=BASE, y=torch.ones(2)), "tags": {"a", "b"}, "blob": b"\0" * 300}
    weights = load_checkpoint(saved(tmp_path / "w.pth", value, pickle_protocol=protocol))
    assert list(weights) == ["x", "y"]
    np.testing.assert_array_equal(weights["x"], BASE.numpy())


def test_a_module_state_dict_with_parameters_and_buffers(tmp_path: Path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.tag = "an attribute"
    # A tensor with these two attributes is what torch.nn.Buffer makes, in releases that have it.
    buffer = BASE.clone()
    buffer.persistent = buffer._is_buffer = True
    state = {
        **dict(module.named_parameters()),
        **module.state_dict(),
        "p": parameter,
        "b": buffer,
    }
    weights = load_checkpoint(saved(tmp_path / "w.pth", OrderedDict(state)))
    assert list(weights) == list(state)
    for key, tensor in state.items():
        np.testing.assert_array_equal(weights[key], tensor.detach().numpy(), strict=True)


def test_training_state_beside_the_weights_does_not_disturb(tmp_path: Path):
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    value = {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.75),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "place": Path("x"),
        "complex": 1j,
        "big": 2**300,
        (1, 2): None,
    }
    assert list(load_checkpoint(saved(tmp_path / "w.pth", value))) == ["weight", "bias"]


UNREADABLE: dict[str, Callable[[], torch.Tensor]] = {
    "half complex": lambda: torch.ones(2, dtype=torch.complex32),
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
    "negated": lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
    "sparse": lambda: torch.eye(2).to_sparse(),
    "csr": lambda: torch.eye(2).to_sparse_csr(),
    "meta": lambda: torch.ones(2, 2, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "per channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_what_cannot_be_read_is_refused_only_when_asked_for(tmp_path: Path, name: str):
    tensor = UNREADABLE[name]()
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"bad": tensor, "good": BASE}))
    assert list(weights) == ["bad", "good"]
    assert weights.shape("bad") == tuple(tensor.shape)
    assert weights["good"].shape == (4, 6)
    with pytest.raises(DiagnosticError, match="tensor `bad` that cannot be read: it is"):
        weights["bad"]
    with pytest.raises(DiagnosticError, match="cannot be read"):
        weights.dtype("bad")


@pytest.mark.parametrize("dtype", ["float4_e2m1fn_x2", "float8_e8m0fnu", "bits8"])
def test_dtypes_that_numpy_lacks_are_refused_only_when_asked_for(tmp_path: Path, dtype: str):
    """Written with another dtype's name in its place, as not every release of torch has these."""
    stand_in = WithDtype(torch.zeros(2, dtype=torch.uint8), torch.float8_e5m2)
    path = saved(tmp_path / "w.pth", {"bad": stand_in, "good": BASE})
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    assert pickled.count(b"float8_e5m2") == 1
    repacked(path, data__pkl=pickled.replace(b"float8_e5m2", dtype.encode()))
    weights = load_checkpoint(path)
    assert list(weights) == ["bad", "good"]
    assert weights.shape("bad") == (2,)
    assert weights["good"].shape == (4, 6)
    with pytest.raises(DiagnosticError, match=f"tensor `bad` that cannot be read: it is of dtype `{dtype}`"):
        weights["bad"]
    with pytest.raises(DiagnosticError, match="cannot be read"):
        weights.dtype("bad")


def test_tensors_with_a_dtype_are_written_as_by_torch(tmp_path: Path):
    tensor = torch.arange(6.0).reshape(2, 3).t().to(torch.float8_e5m2)
    written = [saved(tmp_path / "w.pth", value).read_bytes() for value in (tensor, WithDtype(tensor))]
    assert written[0] == written[1]


def repacked(path: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes | None) -> Path:
    """The archive written again with some records replaced, or left out where None."""
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    records.update({name.replace("__", "."): data for name, data in changes.items()})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            if data is not None:
                archive.writestr(f"archive/{name}", data)
    return path


def test_a_compressed_archive_is_read(tmp_path: Path):
    path = repacked(saved(tmp_path / "w.pth", {"x": torch.zeros(1000), "y": BASE.t()}), zipfile.ZIP_DEFLATED)
    weights = load_checkpoint(path)
    np.testing.assert_array_equal(weights["y"], BASE.t().numpy())
    assert not weights["x"].any()


def test_records_that_are_not_aligned_are_copied(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": BASE})
    for padding in range(1, 4):
        repacked(path, pad=b"-" * padding)
        array = load_checkpoint(path)["x"]
        assert array.flags.aligned
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, BASE.numpy())


def test_a_big_endian_archive_is_refused(tmp_path: Path):
    path = repacked(saved(tmp_path / "w.pth", {"x": BASE}), byteorder=b"big")
    with pytest.raises(DiagnosticError, match="not saved on a little-endian machine"):
        load_checkpoint(path)


def test_an_archive_without_the_newer_records_is_read(tmp_path: Path):
    path = repacked(saved(tmp_path / "w.pth", {"x": BASE}), byteorder=None, __format_version=None)
    np.testing.assert_array_equal(load_checkpoint(path)["x"], BASE.numpy())


def test_a_large_directory_with_64_bit_fields_is_read(tmp_path: Path):
    buffer = io.BytesIO()
    torch.save({"x": BASE}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "w.pth", "w") as target:
        for name in source.namelist():
            with target.open(name, "w", force_zip64=True) as record:
                record.write(source.read(name))
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "w.pth")["x"], BASE.numpy())


def test_more_records_than_16_bits_count_need_the_64_bit_directory(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": BASE})
    with zipfile.ZipFile(path, "a") as archive:
        for index in range(65_600):
            archive.writestr(zipfile.ZipInfo(f"w/pad/{index}"), b"")
    np.testing.assert_array_equal(load_checkpoint(path)["x"], BASE.numpy())


def broken(path: Path, message: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert message in str(caught.value)


def test_a_missing_or_short_storage_is_refused(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": BASE})
    broken(repacked(path, **{"data/0": b"1234"}), "storage `0` should hold `float32` × 24, but has 4 bytes")
    broken(repacked(path, **{"data/0": None}), "the data of storage `0` is missing")


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.1, 0.01])
def test_truncation_is_noticed_at_once(tmp_path: Path, kept: float):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    broken(path, "truncated")


def test_other_zip_archives_are_named(tmp_path: Path):
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "script.pt")
    broken(tmp_path / "script.pt", "is a TorchScript archive")
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    broken(tmp_path / "arrays.npz", "is a numpy .npz archive")
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    broken(tmp_path / "text.zip", "is a zip archive, but not a checkpoint")
    exported = torch.export.export(torch.nn.ReLU(), (torch.ones(1),))
    torch.export.save(exported, tmp_path / "program.pt2")
    broken(tmp_path / "program.pt2", "is an exported program")


PROBE = """
import sys
from trtdsl.weights import load_checkpoint
def total():
    return sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = total()
weights = load_checkpoint(sys.argv[1])
arrays = [weights[key] for key in weights]
opened = total()
arrays[0].sum()
print(opened - before, total() - opened, "torch" in sys.modules)
"""


def test_nothing_is_read_before_it_is_touched(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(8_000_000)})
    result = subprocess.run([sys.executable, "-c", PROBE, path], check=True, capture_output=True, text=True)
    opened, touched, torch_imported = result.stdout.split()
    # kB of 32 MB. A view reads the header before its data, and the kernel maps up to 2 MB around that.
    assert int(opened) < 5_000
    assert int(touched) > 25_000
    assert torch_imported == "False"
