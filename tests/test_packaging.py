"""The package: what it needs where, what is in it, and that it works in an empty environment.

The tests marked `wheels` ask the package index for the wheels of other platforms and run each Python that is
installed here. They stand outside of `make test`: an index that lacks somebody's wheel for a day is nothing
that a change of this project could mend.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from email import message_from_bytes
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.numpy import save_file

from trtdsl.elaborate import elaborate_file
from trtdsl.syntax.grammar import SERIALISED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

MODEL = ROOT / "examples" / "resnet" / "resnet.trtnet"


def output_of(*command: str | Path, cwd: Path) -> str:
    """The command's output; fails with all of it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from what git would check out."""
    folder = tmp_path_factory.mktemp("dist")
    output_of(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


# What is needed where


@dataclass(frozen=True)
class Platform:
    """A machine as environment markers see it, and the wheels that it takes."""

    name: str
    system: str
    machine: str
    tags: tuple[str, ...]
    nvidia: tuple[str, ...] = ()
    """What it gets of NVIDIA's without being asked for."""
    extras: tuple[str, ...] = field(default=())

    def environment(self, python: str) -> dict[str, str]:
        return {
            "sys_platform": self.system,
            "platform_machine": self.machine,
            "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[self.system],
            "os_name": "nt" if self.system == "win32" else "posix",
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

    def needs(self, texts: list[str], python: str, extras: tuple[str, ...] = ("",)) -> list[Requirement]:
        """The requirements of these that hold here."""
        environment = self.environment(python)
        found = map(Requirement, texts)
        return [
            need
            for need in found
            if need.marker is None
            or any(need.marker.evaluate({**environment, "extra": extra}) for extra in extras)
        ]

    def __str__(self) -> str:
        return self.name


def glibc(minor: int, machine: str) -> tuple[str, ...]:
    """The tags of Linux wheels that a system with this glibc takes."""
    return (f"manylinux2014_{machine}", *(f"manylinux_2_{n}_{machine}" for n in range(17, minor + 1)))


RTX_AND_CUDA = ("tensorrt-rtx", "cuda-bindings")
PLATFORMS = (
    Platform("Linux on x86-64", "linux", "x86_64", glibc(28, "x86_64"), RTX_AND_CUDA),
    Platform("Windows", "win32", "AMD64", ("win_amd64",), RTX_AND_CUDA),
    Platform("macOS on arm64", "darwin", "arm64", ("macosx_14_0_arm64",)),
    # JetPack 5, the oldest that Python 3.10 is at home on.
    Platform("Jetson", "linux", "aarch64", glibc(31, "aarch64"), ("cuda-bindings",)),
    Platform("Linux on aarch64 with RTX", "linux", "aarch64", glibc(35, "aarch64"), RTX_AND_CUDA, ("rtx",)),
)


def texts_of(platform: Platform) -> list[str]:
    extras = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(text for extra in platform.extras for text in extras[extra])]


@pytest.mark.parametrize("platform", PLATFORMS, ids=str)
def test_what_is_needed_of_nvidia(platform: Platform) -> None:
    needed = {need.name for need in platform.needs(texts_of(platform), "3.12")}
    assert {"lark", "numpy", "click"} <= needed
    assert needed & {*RTX_AND_CUDA, "tensorrt"} == {*platform.nvidia}


def normal(text: str) -> str:
    """A requirement in the one spelling of the `packaging` library."""
    return str(canonical(Requirement(text)))


@pytest.mark.zoo
def test_the_wheel_holds_what_the_package_reads_and_says_what_it_needs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (described,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        headers = message_from_bytes(archive.read(described))
    held = {"trtdsl/py.typed", *(f"trtdsl/grammar/{path.name}" for path in (ROOT / "grammar").iterdir())}
    held |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "trtdsl" / "std").iterdir()}
    assert held <= {*names}
    needs = [text for text in headers.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert {*map(normal, needs)} == {*map(normal, PROJECT["dependencies"])}


@pytest.mark.zoo
def test_the_wheel_ships_the_grammar_worked_out(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(f"trtdsl/grammar/{SERIALISED}").file_size > 10_000


# What the index has


def pip_report(platform: Platform, python: str, needs: list[Requirement], folder: Path) -> list[Any]:
    """What pip would install; it fails where a wheel is missing."""
    tags = [part for tag in platform.tags for part in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--target", str(folder / "nowhere"), "--only-binary=:all:", "--report", "report.json"]
    command += ["--implementation", "cp", "--python-version", python, *tags]
    # What pip evaluates markers for is the Python that runs it; ours are evaluated already.
    command += [f"{need.name}{need.specifier}" for need in needs]
    output_of(*command, cwd=folder)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))["install"]


def without_sources(need: Requirement) -> list[Requirement]:
    """A requirement by its wheels: tensorrt-rtx itself is published as a source that only names them."""
    if need.name not in {"tensorrt-rtx", "tensorrt-rtx-cu13"}:
        return [need]
    named = [canonical(Requirement(text)) for text in metadata.requires(need.name) or ()]
    return [leaf for each in named if "extra" not in str(each.marker) for leaf in without_sources(each)]


def canonical(need: Requirement) -> Requirement:
    """The requirement with its name as indices spell it."""
    return Requirement(str(need).replace(need.name, canonicalize_name(need.name), 1))


@pytest.mark.wheels
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS, ids=str)
def test_there_are_wheels_of_all_that_is_needed(platform: Platform, python: str, tmp_path: Path) -> None:
    texts = texts_of(platform)
    needs = [leaf for need in platform.needs(texts, python) for leaf in without_sources(canonical(need))]
    while True:
        found = pip_report(platform, python, needs, tmp_path)
        names = {canonicalize_name(item["metadata"]["name"]) for item in found}
        # What a package needs on that platform only, pip has not looked for.
        further = [
            canonical(need)
            for item in found
            for need in platform.needs(item["metadata"].get("requires_dist", []), python)
            if canonicalize_name(need.name) not in names
        ]
        if not further:
            break
        needs += further
    assert {"numpy", "ml-dtypes", "safetensors"} <= names
    files = [item["download_info"]["url"].rsplit("/", 1)[1] for item in found]
    assert all(re.fullmatch(r".+\.whl", name) for name in files)


# What works in an empty environment


def interpreters() -> dict[str, Path]:
    """The Pythons of this machine by version, those of pyenv included."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: dict[str, Path] = {}
    for version in PYTHONS:
        pyenv = sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
        plain = shutil.which(f"python{version}")
        # pyenv's own `python3.12` on the path may lead to a version that is not chosen.
        if plain and "shims" not in Path(plain).parts:
            found[version] = Path(plain)
        elif pyenv:
            found[version] = pyenv[-1]
    return found


def environment_with(package: Path, python: Path, folder: Path) -> Path:
    """The programs of a new virtual environment that holds the package."""
    output_of(python, "-m", "venv", folder / "venv", cwd=folder)
    binaries = folder / "venv" / "bin"
    output_of(binaries / "python", "-m", "pip", "install", "--quiet", package, cwd=folder)
    return binaries


def require_working(binaries: Path, folder: Path) -> None:
    """`check`, `fmt` and `compile` do their work there, without torch."""
    code = "import importlib.util as u; print(u.find_spec('torch'))"
    assert output_of(binaries / "python", "-c", code, cwd=folder).strip() == "None"
    shutil.copy(MODEL, folder)
    random = np.random.default_rng(0)
    weights = {
        weight.key: random.random(weight.type.shape, dtype=np.float32)
        for weight in elaborate_file(MODEL, "resnet18").weights
    }
    save_file(weights, folder / "resnet18.safetensors")
    chosen = ["resnet.trtnet", "resnet18.safetensors", "--model", "resnet18"]
    assert "69 operators" in output_of(binaries / "trtdsl", "check", *chosen, cwd=folder)
    assert output_of(binaries / "trtdsl", "fmt", "--check", "resnet.trtnet", cwd=folder) == ""
    assert "wrote resnet18.engine" in output_of(binaries / "trtdsl", "compile", *chosen, cwd=folder)
    assert (folder / "resnet18.engine").stat().st_size > 40_000_000


@pytest.mark.zoo
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_works_in_an_empty_environment(built: Path, tmp_path: Path, kind: str) -> None:
    (package,) = built.glob(kind)
    require_working(environment_with(package, Path(sys.executable), tmp_path), tmp_path)


@pytest.mark.wheels
@pytest.mark.parametrize("version", interpreters())
def test_the_wheel_works_on_every_python_that_is_installed(built: Path, tmp_path: Path, version: str) -> None:
    (wheel,) = built.glob("*.whl")
    binaries = environment_with(wheel, interpreters()[version], tmp_path)
    assert output_of(binaries / "python", "--version", cwd=tmp_path).startswith(f"Python {version}.")
    require_working(binaries, tmp_path)
