"""Arrays from files and into files, for running an engine from the command line.

In: ``data=x.npy``, or a picture.  Out: arrays of the engine's own types and shapes::

    arrays = load_arrays(["data=cat.jpg"], manifest, Normalization.parse("0.5,0.25"))
    save_arrays("out.npz", engine(**arrays))
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtdsl.array_files import read_arrays
from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read
from trtdsl.flags import by_name
from trtdsl.ops.lowering import Array
from trtdsl.output import require_writable
from trtdsl.runtime.binding import show_binding, size_of
from trtdsl.trt.manifest import Binding, Manifest
from trtdsl.types import DType

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Normalization:
    """``(picture / 255 - mean) / std``, one number for all channels or one each."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def parse(cls, text: str) -> Normalization:
        """``mean,std`` or ``m,m,m,s,s,s``: the first half are means; raises UsageError."""
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        half = len(numbers) // 2
        if not numbers or len(numbers) % 2 or any(not np.isfinite(n) for n in numbers) or 0 in numbers[half:]:
            advice = "for example 0.485,0.456,0.406,0.229,0.224,0.225"
            raise UsageError(
                Diagnostic(
                    f"`--normalize {text}`: give the means, then as many standard deviations", help=(advice,)
                )
            )
        return cls(tuple(numbers[:half]), tuple(numbers[half:]))


def load_arrays(
    texts: Sequence[str], manifest: Manifest, normalization: Normalization | None = None
) -> dict[str, Array]:
    """An array for each ``name=file``; of an engine with one input the name may be left out.

    Pictures are scaled to the input's size. Raises UsageError.
    """
    known = {binding.name: binding for binding in manifest.inputs}

    def pair(text: str) -> tuple[str, str]:
        name, equals, path = text.partition("=")
        if not equals and len(known) == 1:
            return next(iter(known)), text
        if not equals:
            raise UsageError(Diagnostic(f"`--input {text}`: write it as `--input name=file.npy`"))
        return name, path

    found: dict[str, Array] = {}
    for name, path in by_name("--input", map(pair, texts)).items():
        if Path(path).suffix.lower() in _PICTURES and name in known:
            found[name] = read_picture(Path(path), known[name], normalization or Normalization())
        else:
            found[name] = read_array(Path(path), name)
    return found


def read_array(path: Path, name: str) -> Array:
    """A ``.npy`` file's array; of a ``.npz`` file the only one, or the one so called; raises UsageError."""
    found = read_arrays(path)
    if isinstance(found, np.ndarray):
        return found
    if len(found) != 1 and name not in found:
        held = f"`{path}` holds {len(found)} arrays, none of which is called `{name}`"
        raise UsageError(Diagnostic(held, help=(f"it holds {', '.join(found)}",) if found else ()))
    return found.get(name, next(iter(found.values())))


def read_picture(path: Path, binding: Binding, normalization: Normalization) -> Array:
    """A picture as ``[1, C, H, W]`` of the input's type: scaled to its size, 0..255 if that is uint8."""
    channels, height, width = _picture_size(path, binding)
    pixels = _pixels(path, channels, height, width)
    if binding.dtype == "uint8":
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    if not {len(normalization.mean), len(normalization.std)} <= {1, channels}:
        count = len(normalization.mean)
        raise UsageError(
            Diagnostic(f"`--normalize` has {count} means for the {channels} channels of `{path}`")
        )
    mean, std = (np.array(numbers, dtype=np.float32) for numbers in (normalization.mean, normalization.std))
    scaled = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None].astype(DType(binding.dtype).numpy))


def _picture_size(path: Path, binding: Binding) -> tuple[int, int, int]:
    sizes = [size if isinstance(size, int) else size_of(size, {}) for size in binding.shape]
    wanted = sizes[1:] if len(sizes) == 4 else []
    if len(wanted) != 3 or None in wanted or wanted[0] not in (1, 3) or not _holds_pixels(binding):
        text = f"`{path}` is an image, but input `{binding.name}` is {show_binding(binding)}"
        raise UsageError(Diagnostic(text, help=("an image needs an input such as float32[N, 3, 224, 224]",)))
    channels, height, width = (size or 0 for size in wanted)
    return channels, height, width


def _holds_pixels(binding: Binding) -> bool:
    return binding.dtype == "uint8" or DType(binding.dtype).is_floating


def _pixels(path: Path, channels: int, height: int, width: int) -> Array:
    """``[H, W, C]`` in 0..255."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        advice = "`pip install pillow`, or give the input as a .npy file"
        raise UsageError(Diagnostic(f"reading `{path}` needs Pillow", help=(advice,))) from error
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        # SyntaxError is Pillow's word for a broken PNG.
        raise cannot_read(path, error) from error
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, channels)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a ``.npz`` with every array, or a ``.npy`` where there is one; raises UsageError."""
    from trtdsl.output import write_atomically

    require_savable(path, len(arrays))
    # numpy's files cannot hold bfloat16: it is kept as float32, which holds it exactly.
    plain = {name: a.astype(np.float32) if a.dtype.kind == "V" else a for name, a in arrays.items()}
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, next(iter(plain.values())))
    else:
        _write_archive(buffer, plain)
    write_atomically(path, buffer.getvalue())


def _write_archive(buffer: io.BytesIO, arrays: Mapping[str, Array]) -> None:
    """What ``np.savez`` writes, which takes the name ``file`` for its own parameter."""
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def require_savable(path: Path, count: int) -> None:
    """Refuse, before the work, a file that so many arrays cannot be saved to."""
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(Diagnostic(f"`{path}`: outputs are written to .npz, a single one also to .npy"))
    if path.suffix == ".npy" and count != 1:
        raise UsageError(Diagnostic(f"`{path}`: the engine has {count} outputs, write them to a .npz file"))
    require_writable(path)
