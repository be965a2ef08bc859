"""Checkpoints in several files, and what can be wrong with their index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint

STATE = {
    "a.w": torch.arange(6.0).reshape(2, 3),
    "b.w": torch.ones(2, dtype=torch.bfloat16),
    "c.w": torch.tensor(3),
}
PLACES = {"a.w": 1, "c.w": 2, "b.w": 1}


def sharded(folder: Path, extension: str) -> Path:
    """A checkpoint in two shards as the Hugging Face libraries lay it out; returns its index."""
    stem = "model" if extension == "safetensors" else "pytorch_model"
    names = {number: f"{stem}-0000{number}-of-00002.{extension}" for number in (1, 2)}
    for number, name in names.items():
        part = {key: STATE[key] for key, place in PLACES.items() if place == number}
        (save_file if extension == "safetensors" else torch.save)(part, folder / name)
    weight_map = {key: names[place] for key, place in PLACES.items()}
    index = folder / f"{stem}.{extension}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": weight_map}, indent=2))
    return index


@pytest.mark.parametrize("extension", ["safetensors", "bin"])
def test_all_shards_are_one_mapping_in_the_order_of_the_index(tmp_path: Path, extension: str):
    weights = load_checkpoint(sharded(tmp_path, extension))
    assert weights.format == "sharded"
    assert list(weights) == ["a.w", "c.w", "b.w"]
    for key, tensor in STATE.items():
        np.testing.assert_array_equal(weights[key].astype(np.float32), tensor.float().numpy())


def test_the_folder_of_a_sharded_checkpoint_suggests_its_index(tmp_path: Path):
    index = sharded(tmp_path, "safetensors")
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(tmp_path)
    assert "is a directory" in str(caught.value)
    assert f"did you mean `{index}`?" in str(caught.value)


def test_every_missing_shard_is_reported(tmp_path: Path):
    index = sharded(tmp_path, "safetensors")
    for shard in tmp_path.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(index)
    assert [diagnostic.message for diagnostic in caught.value.diagnostics] == [
        f"shard `{tmp_path}/model-0000{number}-of-00002.safetensors` is missing" for number in (1, 2)
    ]


def test_a_broken_shard_is_named(tmp_path: Path):
    index = sharded(tmp_path, "safetensors")
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DiagnosticError, match=r"model-00002-of-00002\.safetensors` is a broken or truncated"):
        load_checkpoint(index)


def test_a_key_that_its_shard_lacks_is_refused(tmp_path: Path):
    index = sharded(tmp_path, "safetensors")
    text = index.read_text().replace("a.w", "z.w")
    index.write_text(text)
    with pytest.raises(DiagnosticError, match=r"places `z\.w` in shards that do not hold them"):
        load_checkpoint(index)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"weight_map": {"a": "../secret.safetensors"}}', "names the shard `../secret.safetensors`"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "names the shard `/etc/passwd`"),
        ('{"weight_map": {"a": ""}}', "names the shard ``"),
        ('{"weight_map": {"a": ".."}}', "names the shard `..`"),
        ('{"weight_map": {"a": "x\\u0000y"}}', "which is not a file beside it"),
        ('{"weight_map": {"a": 3}}', "it has no `weight_map` of keys to files"),
        ('{"weight_map": []}', "it has no `weight_map` of keys to files"),
        ('{"hidden_size": 768}', "it has no `weight_map` of keys to files"),
        ('{"weight_map": {"a": "b"}', "is neither a checkpoint nor the index of one: it is not valid JSON"),
        ('{"weight_map": {"a": "b", "a": "c"}}', "the key `a` occurs twice"),
        ('{"weight_map": {"a": "b"},\n"c": }', "it is not valid JSON from line 2, column 6 on"),
        (
            '{"a": ' * 100_000,
            "model.safetensors.index.json` is neither a checkpoint nor the index of one: its",
        ),
        ('{"a": ' + "[" * 100_000, "its JSON is nested too deeply"),
        ('{"total_size": ' + "9" * 5000 + "}", "its JSON has a number of 5000 digits"),
        ('{"weight_map": {"a": "model.safetensors.index.json"}}', "is not a checkpoint"),
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, index: str, message: str):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert message in str(caught.value)
