"""The command line: what is printed, what is written, and with which exit code it ends."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.command import trtdsl
from trtdsl import compile as compilation
from trtdsl.cli.program import COMMANDS, Argument, program
from trtdsl.flags import flags
from trtdsl.ops.convolution import Conv2d
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.passes import PIPELINE

TEXT = """model tiny(classes = 4) {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 3, 8, 8]
  x = x -> conv: Conv2d(8, 3) -> bn: BatchNorm2d -> relu -> mean((2, 3))
  output logits = x -> fc: Linear(classes)
}
"""

FILES = ("tiny.trtnet", "tiny.safetensors")
AGAINST = ("--against", "torch.nn:Identity")
MANIFEST = '{\n "format": 1,\n "model": "old"\n}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small model and a checkpoint that fits, and being in it."""
    random = np.random.default_rng(0)
    shapes = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (4, 8), "fc.bias": (4,)}
    shapes |= {f"bn.{name}": (8,) for name in ("weight", "bias", "running_mean", "running_var")}
    arrays = {key: random.random(shape, dtype=np.float32) for key, shape in shapes.items()}
    save_file(arrays, tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.trtnet").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_engine_is_called_after_the_file(folder: Path) -> None:
    (folder / "tiny.trtnet").rename(folder / "other.trtnet")
    assert trtdsl("compile", "other.trtnet", "tiny.safetensors") == 0
    assert (folder / "other.engine").exists()
    assert trtdsl("compile", "other.trtnet", "tiny.safetensors", "--model", "tiny") == 0
    assert (folder / "tiny.engine").exists()


def test_check_says_what_the_model_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("check", "tiny.trtnet", "tiny.safetensors") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "tiny: 5 operators, 8 weights with 292 values"
    assert printed.err == ""


def test_a_prefix_of_the_keys_is_proposed_and_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {f"model.{key}": array for key, array in load_file("tiny.safetensors").items()}
    save_file(arrays, "lightning.safetensors")
    assert trtdsl("check", "tiny.trtnet", "lightning.safetensors") == 1
    assert "all of them are there below `model.`: `--weights-prefix model.`" in capsys.readouterr().err
    assert trtdsl("check", "tiny.trtnet", "lightning.safetensors", "--weights-prefix", "model.") == 0
    assert capsys.readouterr().err == ""
    assert trtdsl("check", "tiny.trtnet", "lightning.safetensors", "--weights-prefix", "net.") == 1
    assert "has no key that begins with `net.`" in capsys.readouterr().err


def test_check_takes_all_models_of_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "two.trtnet").write_text(TEXT + TEXT.replace("tiny", "small"))
    for options in ([], ["--section", "ema"]):
        assert trtdsl("check", "two.trtnet", *options) == 0
        found = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
        assert found[::2] == ["tiny", "small"]
    assert trtdsl("check", "two.trtnet", "-m", "small") == 0
    assert capsys.readouterr().out.startswith("small: ")


def test_a_path_that_leads_to_no_model_is_a_mistake_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "two.trtnet").write_text(TEXT + TEXT.replace("tiny", "small"))
    (folder / "bytes.trtnet").write_bytes(b"\xff\xfe\x00")
    for path, code in (("missing.trtnet", 2), (".", 2), ("two.trtnet", 2), ("bytes.trtnet", 1)):
        assert trtdsl("show", path) == code
    capsys.readouterr()
    assert trtdsl("fmt", "missing.trtnet") == 2
    assert trtdsl("fmt", "missing.trtnet", "bytes.trtnet") == 1
    said = capsys.readouterr().err
    assert "`missing.trtnet`: no such file" in said and "`bytes.trtnet`: it is not UTF-8 text" in said


def test_compile_writes_engine_and_manifest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors") == 0
    manifest = json.loads((folder / "tiny.engine.json").read_text())
    assert (folder / "tiny.engine").stat().st_size == manifest["size"]
    out = capsys.readouterr().out
    assert "BatchNorm2d                    1       -" in out
    assert "profile default: N = 1 .. 2 .. 4" in out


@pytest.mark.parametrize(
    ("options", "precision", "tf32"),
    [([], "float32", True), (["--no-tf32"], "float32", False), (["--precision", "float16"], "float16", True)],
)
def test_the_manifest_records_the_precision(
    folder: Path, options: list[str], precision: str, tf32: bool
) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-q", *options) == 0
    manifest = json.loads((folder / "tiny.engine.json").read_text())
    assert (manifest["precision"], manifest["tf32"]) == (precision, tf32)


def test_a_float16_input_does_not_make_the_precision(folder: Path) -> None:
    (folder / "half.trtnet").write_text(TEXT.replace("x: float32", "x: float16"))
    options = ["--weights-dtype", "model", "-m", "tiny", "-o", "half.engine", "-q"]
    for precision, recorded in (("float32", "float32"), (None, "float16")):
        chosen = ["--precision", precision] if precision else []
        assert trtdsl("compile", "half.trtnet", "tiny.safetensors", *options, *chosen) == 0
        manifest = json.loads((folder / "half.engine.json").read_text())
        assert manifest["precision"] == recorded
        assert manifest["inputs"][0]["dtype"] == "float16"


def test_two_builds_are_identical(folder: Path) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-o", "a.engine", "-q") == 0
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-o", "b.engine", "-q") == 0
    assert (folder / "a.engine").read_bytes() == (folder / "b.engine").read_bytes()
    assert (folder / "a.engine.json").read_text() == (folder / "b.engine.json").read_text()


def test_skipped_and_only_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "--skip", "fold_batch_norm") == 0
    assert "BatchNorm2d                    1       1" in capsys.readouterr().out
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "--only", "fold_batch_norm") == 0
    assert json.loads((folder / "tiny.engine.json").read_text())["passes"] == ["fold_batch_norm"]


def test_several_passes_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "fold_batch_norm, fold_constants", "--only", "remove_identities"]
    after = ["--print-after", "remove_identities,fold_batch_norm"]
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-q", *only, *after) == 0
    passes = ["remove_identities", "fold_constants", "fold_batch_norm"]
    assert json.loads((folder / "tiny.engine.json").read_text())["passes"] == passes
    assert capsys.readouterr().out.count("# after ") == 2
    assert trtdsl("show", "tiny.trtnet", "tiny.safetensors", "--skip", "fold_batch_norm,fold_constants") == 0
    assert "BatchNorm2d" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["compile", "show"])
def test_help_names_the_passes_once(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert trtdsl(command, "--help") == 0
    words = capsys.readouterr().out.split()
    for name in (step.name for step in PIPELINE):
        assert sum(word.strip(",.;") == name for word in words) == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("--version") == 0
    versions = dict(line.split(" ") for line in capsys.readouterr().out.splitlines())
    assert versions["trtdsl"] == metadata.version("trtdsl")
    assert versions["tensorrt_rtx"] == metadata.version("tensorrt_rtx")


def test_help_still_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("--help") == 0
    assert "Text models in, TensorRT engines out." in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_and_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl(command, "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(f"Usage: trtdsl {command} [OPTIONS]")
    found = program.get_command(click.Context(program), command)
    assert found and found.params
    for param in found.params:
        words = param.explanation if isinstance(param, Argument) else getattr(param, "help", None)
        assert words, param.name
        # Longer words are broken where a line ends.
        assert " ".join(words.split()[:2]) in printed


@pytest.mark.parametrize("kind", [CheckOptions, CompileOptions])
def test_every_option_of_the_library_is_a_flag(
    kind: type[CheckOptions | CompileOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    assert trtdsl("compile", "--help") == 0
    help = capsys.readouterr().out
    for flag in flags(kind).values():
        assert all(name in help for part in flag.names for name in part.split("/"))


def test_no_arguments_print_the_help_and_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl() == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_command_that_there_is_none_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("chek", "tiny.trtnet") == 2
    assert "No such command 'chek'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "choice"), [("check_file", ["--model", "tiny"]), ("check_models", [])])
def test_an_interrupted_command_is_not_a_wrong_model(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    choice: list[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compilation, name, interrupted)
    assert trtdsl("check", "tiny.trtnet", *choice) == 130
    assert capsys.readouterr().err.endswith("cancelled; nothing was written\n")


LIBRARIES = ("numpy", "lark", "rich", "networkx", "torch", "tensorrt_rtx", "trtdsl.ops", "trtdsl.ir")
"""What takes long to import."""


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("--help", (*LIBRARIES, "trtdsl.syntax", "trtdsl.types")),
        ("--version", ("numpy", "torch", "tensorrt_rtx")),
        ("check --help", (*LIBRARIES, "trtdsl.syntax", "trtdsl.types", "trtdsl.cli.compile")),
        ("fmt --check tiny.trtnet", ("numpy", "trtdsl.ops", "trtdsl.ir", "trtdsl.trt", "trtdsl.cli.check")),
        (
            "check tiny.trtnet",
            ("numpy", "networkx", "torch", "tensorrt_rtx", "rich", "trtdsl.passes", "trtdsl.weights"),
        ),
        ("check tiny.trtnet tiny.safetensors", ("torch", "tensorrt_rtx", "rich", "trtdsl.trt")),
        ("show tiny.trtnet", ("numpy", "torch", "tensorrt_rtx", "rich", "trtdsl.passes", "trtdsl.trt")),
        ("ops Conv2d", ("numpy", "torch", "tensorrt_rtx", "rich", "trtdsl.trt", "trtdsl.weights")),
    ],
)
def test_a_command_imports_no_more_than_it_needs(
    folder: Path, command: str, unneeded: tuple[str, ...]
) -> None:
    code = (
        "import atexit, sys; from trtdsl import cli; sys.argv = ['trtdsl', *sys.argv[1:]];"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trtdsl.cli" in done.stderr.split()
    assert not {*unneeded} & {*done.stderr.split()}


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("check tiny.trtnet tiny.safetensors", 0, "tiny: 5 operators"),
        ("fmt --check tiny.trtnet", 0, ""),
        ("show tiny.trtnet tiny.safetensors", 0, "conv+bn"),
        ("ops Conv2d", 0, "Conv2d("),
        ("compile tiny.trtnet tiny.safetensors", 3, "install 'trtdsl[rtx]'"),
        ("run tiny.engine", 2, "cannot read `tiny.engine`"),
    ],
)
def test_what_works_without_tensorrt_cuda_and_torch(folder: Path, command: str, code: int, says: str) -> None:
    # None in sys.modules makes an import fail as that of a missing module does.
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['tensorrt_rtx', 'tensorrt', 'cuda', 'torch']));"
        "from trtdsl import cli; sys.argv = ['trtdsl', *sys.argv[1:]]; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *command.split()], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr


def test_print_after_prints_the_graph(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "--print-after", "fold_batch_norm", "-q") == 0
    out = capsys.readouterr().out
    assert out.startswith("# after fold_batch_norm\nmodel tiny() {")
    assert '"conv+bn": Conv2d(8, 3)' in out


def test_print_after_prints_the_converted_graph(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--print-after", "convert_precision", "--precision", "float16"]
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-q", *wanted) == 0
    out = capsys.readouterr().out
    assert out.startswith("# after convert_precision\nmodel tiny() {")
    assert "x_float16 = to(x, float16)" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tiny.safetensors", "--skip", "convert_precision"], 2, "leave out `--precision`"),
        (["tiny.safetensors", "--only", "convert_precision"], 2, "give `--precision`"),
        (["tiny.safetensors", "--print-after", "convert_precision"], 2, "give `--precision`"),
        (["tiny.safetensors", "--print-after", "nonsense"], 2, "unknown pass `nonsense`"),
        (
            ["tiny.safetensors", "--skip", "fold_bn"],
            2,
            "unknown pass `fold_bn`, did you mean `fold_batch_norm`?",
        ),
        (["tiny.safetensors", "--target", "sm00"], 2, "sm00"),
        (["tiny.safetensors", "--runtime", "tensorflow"], 2, "tensorflow"),
        (["tiny.safetensors", "-o", "no/such/x.engine"], 2, "the folder `no/such` does not exist"),
        (["tiny.safetensors", "-o", "."], 2, "it is a folder"),
        (["tiny.safetensors", "-o", "a" * 300], 2, "file name too long"),
        (["tiny.safetensors", "-o", "pipe"], 2, "it is not a regular file"),
        (["tiny.safetensors", "-D", "classes"], 2, "`-D name=value`"),
        (["tiny.safetensors", "-D", "clases=5"], 2, "no parameter `clases`, did you mean `classes`?"),
        (["tiny.safetensors", "-D", "foo=3"], 2, "its parameters are classes"),
        (["tiny.safetensors", "-m", "large"], 2, "its models are tiny"),
        (["tiny.safetensors", "-D", "classes=5"], 1, "`fc.weight` is [4, 8], not [5, 8]"),
        (["tiny.safetensors", "--weights-dtype", "float64"], 2, "choose one of model"),
        (["tiny.safetensors", "--precision", "uint8"], 2, "choose one of float32, float16, bfloat16"),
        (["tiny.safetensors", "--precision", "int8"], 2, "int8 needs the ranges of the model's tensors"),
        (["missing.pth"], 2, "missing.pth"),
        (["folder"], 2, "is a directory"),
        (["empty.pth"], 1, "is empty"),
        ([], 2, "has 8 weights, the first is `conv.weight`"),
        (["--nonsense"], 2, "--nonsense"),
    ],
)
def test_a_wrong_command_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "empty.pth").touch()
    assert trtdsl("compile", "tiny.trtnet", *arguments) == code
    assert says in capsys.readouterr().err
    assert not list(folder.glob("**/*.engine*"))


def test_an_old_engine_survives_a_failure(folder: Path) -> None:
    (folder / "tiny.engine").write_bytes(b"old")
    assert trtdsl("compile", "tiny.trtnet", "missing.pth") == 2
    assert (folder / "tiny.engine").read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_engine_and_its_manifest(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors") == 0
    before = {path.name: path.read_bytes() for path in folder.glob("tiny.engine*")}
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith(".tiny.engine.") and "json" not in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "--precision", "float16") == 2
    assert "cannot write `tiny.engine`: no space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.glob("*tiny.engine*")} == before


def test_a_place_for_the_manifest_is_looked_for_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny.engine.json").mkdir()
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors") == 2
    assert "cannot write `tiny.engine.json`: it is a folder" in capsys.readouterr().err
    assert not (folder / "tiny.engine").exists()


def test_a_target_that_cannot_run_the_model_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # TensorRT-RTX has no float32 matrix products for compute capability 7.5.
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "--target", "sm75") == 3
    error = capsys.readouterr().err
    assert "cannot build this model for sm75" in error
    assert "FP32 GEMM is not supported" in error


def test_a_bug_says_what_to_send(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr(Conv2d, "lower", broken)
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors") == 70
    assert "This is a bug in trtdsl. Please report it" in capsys.readouterr().err


def test_a_crash_says_where_it_was() -> None:
    """As one within TensorRT, which ends the process with nothing said."""
    lines = (
        "import os",
        "from trtdsl import cli",
        "def crashes(**_): os.abort()",
        "cli.program.main = crashes",
        "cli.main()",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode
    assert "Fatal Python error: Aborted" in done.stderr and "in crashes" in done.stderr


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("tiny.trtnet", "cannot write `tiny.trtnet`: the engine is made from it"),
        ("link.trtnet", "cannot write `link.trtnet`: the engine is made from it"),
        ("sub/../tiny.safetensors", "the engine is made from it"),
        ("other.trtnet", "cannot write `other.trtnet`: it already exists and is not an engine of trtdsl"),
        ("old.engine.json", "cannot write `old.engine.json`: names that end in `.json` are for manifests"),
        ("new.engine.json", "names that end in `.json` are for manifests"),
        ("config", "cannot write `config.json`: it already exists and is not a manifest"),
    ],
)
def test_only_engines_are_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str], output: str, says: str
) -> None:
    (folder / "sub").mkdir()
    (folder / "link.trtnet").symlink_to("tiny.trtnet")
    (folder / "other.trtnet").write_text(TEXT)
    (folder / "config.json").write_text("{}")
    # A manifest beside a source, as an earlier accident leaves it.
    (folder / "tiny.trtnet.json").write_text(MANIFEST)
    (folder / "old.engine").write_bytes(b"old")
    (folder / "old.engine.json").write_text(MANIFEST)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-o", output) == 2
    assert says in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("manifest", [MANIFEST, '{"format": 1', ""], ids=["whole", "broken off", "empty"])
def test_an_engine_is_overwritten(folder: Path, manifest: str) -> None:
    (folder / "tiny.engine").write_bytes(b"old")
    (folder / "tiny.engine.json").write_text(manifest)
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-q") == 0
    assert (folder / "tiny.engine").stat().st_size > 1000


def test_an_empty_file_may_become_an_engine(folder: Path) -> None:
    (folder / "x.engine").touch()
    assert trtdsl("compile", "tiny.trtnet", "tiny.safetensors", "-q", "-o", "x.engine") == 0


def test_fmt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "tiny.trtnet"
    path.write_text(TEXT.replace("classes = 4", "classes=4"))
    assert trtdsl("fmt", "--check", "tiny.trtnet") == 1
    assert trtdsl("fmt", "--diff", "tiny.trtnet") == 1
    assert "+model tiny(classes = 4) {" in capsys.readouterr().out
    assert path.read_text() != TEXT
    assert trtdsl("fmt", "tiny.trtnet") == 0
    assert path.read_text() == TEXT
    assert trtdsl("fmt", "--check", "tiny.trtnet") == 0


def test_fmt_lays_out_a_weights_map(folder: Path) -> None:
    path = folder / "hub.map"
    path.write_text(
        '# hub\n"*"="encoder.*" # all\n\n\n"a" = transpose( "b",0 , 1)   "c"="d"\n'
        '"long" = cat([' + ", ".join(f'"layers.{i}.weight"' for i in range(6)) + "], dim = 0)\n"
    )
    assert trtdsl("fmt", "--check", "hub.map") == 1
    assert trtdsl("fmt", "hub.map") == 0
    keys = "    " + ", ".join(f'"layers.{i}.weight"' for i in range(5)) + ',\n    "layers.5.weight",\n'
    laid_out = '# hub\n"*" = "encoder.*"  # all\n\n"a" = transpose("b", 0, 1)\n"c" = "d"\n"long" = cat(\n'
    assert path.read_text() == f"{laid_out}  [\n{keys}  ],\n  dim = 0,\n)\n"
    assert trtdsl("fmt", "--check", "hub.map") == 0
    path.write_text('"a" = "b" extra\n')
    assert trtdsl("fmt", "hub.map") == 1


def test_fmt_keeps_links_and_permissions(folder: Path) -> None:
    path, link = folder / "tiny.trtnet", folder / "link.trtnet"
    path.write_text(TEXT.replace("classes = 4", "classes=4"))
    path.chmod(0o640)
    link.symlink_to("tiny.trtnet")
    assert trtdsl("fmt", "link.trtnet") == 0
    assert (path.read_text(), link.is_symlink()) == (TEXT, True)
    assert path.stat().st_mode & 0o777 == 0o640


def test_show_prints_a_model_that_elaborates_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("show", "tiny.trtnet") == 0
    (folder / "flat.trtnet").write_text(capsys.readouterr().out)
    assert trtdsl("check", "flat.trtnet", "tiny.safetensors") == 0


def test_show_prints_a_model_at_other_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("show", "tiny.trtnet", "--profile", "N=3") == 0
    text = capsys.readouterr().out
    assert "dim N" not in text and "float32[3, " in text
    (folder / "flat.trtnet").write_text(text)
    assert trtdsl("check", "flat.trtnet", "tiny.safetensors") == 0
    assert trtdsl("show", "tiny.trtnet", "--profile", "M=3") == 2
    assert "`M`, which is not a dynamic dimension" in capsys.readouterr().err


def test_show_prints_a_model_in_another_precision(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("show", "tiny.trtnet", "--only", "convert_precision") == 2
    assert "give `--precision`" in capsys.readouterr().err
    assert trtdsl("show", "tiny.trtnet", "--precision", "float16") == 0
    assert "x_float16 = to(x, float16)" in capsys.readouterr().out


def test_the_package_runs_as_a_module(folder: Path) -> None:
    command = [sys.executable, "-m", "trtdsl", "check", "missing.trtnet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot read `missing.trtnet`" in done.stderr


def test_ops_describes_an_operator(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("ops", "Conv2d") == 0
    assert capsys.readouterr().out.startswith("Conv2d(out_channels, kernel_size, *, stride = 1")
    assert trtdsl("ops", "Conv2") == 2


@pytest.mark.parametrize(
    ("arguments", "twice"),
    [
        (("check", "tiny.trtnet", "-D", "a=1", "-D", "a=2"), "-D a"),
        (("verify", *FILES, *AGAINST, "--arg", "a=1", "--arg", "a=2"), "--arg a"),
        (("verify", *FILES, *AGAINST, "--input", "x=a.npy", "--input", "x=b.npy"), "--input x"),
        (("run", "tiny.engine", "--input", "x=a.npy", "--input", "x=b.npy"), "--input x"),
        (("bench", "tiny.engine", "--shape", "x=1x2", "--shape", "x=2x1"), "--shape x"),
    ],
)
def test_nothing_is_given_twice(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], twice: str
) -> None:
    assert trtdsl("compile", *FILES, "--quiet") == 0
    assert trtdsl(*arguments) == 2
    assert capsys.readouterr().err == f"error: `{twice}` is given twice\n"
