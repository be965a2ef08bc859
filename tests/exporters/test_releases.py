"""Scripts call what each release of TensorRT has, by its name and its signature.

Of three releases `api/` has all signatures, and of every release since when, and until when, there is each
method, member and enum member. A script is run over a TensorRT that has what the release has and answers as
TensorRT-RTX; every use is written down and looked up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorrt_rtx

from benchmarks.zoo_entries import Entry
from tests.exporters.models import alive
from tests.trt.recording import RecordingDialect, Use
from tests.trt.releases import API, api, facts
from tests.trt.test_trt_signatures import EXAMPLES, accepted, models, part_problem, signatures, with_zeros
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_file
from trtdsl.exporters.script import Exported, export_graph
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.trt.facts import Facts
from trtdsl.trt.releases import VERSIONS, release_facts

trt: Any = tensorrt_rtx
ROOT = Path(__file__).resolve().parents[2]


@cache
def history() -> dict[str, Any]:
    return json.loads((API / "history.json").read_text())


@cache
def there(kind: str, version: str) -> frozenset[str]:
    """What a release has of a kind: ``add_methods``, ``layer_members``, ``builder_flags`` …"""
    place = VERSIONS.index(version)
    found: set[str] = set()
    for span, names in history()[kind].items():
        first, _, last = span.partition("-")
        if VERSIONS.index(first) <= place <= VERSIONS.index(last or VERSIONS[-1]):
            found |= {*names.split()}
    return frozenset(found)


def stated_by(version: str, method: str) -> list[str]:
    """The releases with all signatures that say how a method of another release is called.

    What changed between 8.5.3 and 10.13 changed with TensorRT 10, whose layers are told their types; what
    changed later must fit before and after.
    """
    if version.startswith("8."):
        return ["8.5.3"] if method in api("8.5.3")["add_methods"] else ["10.13"]
    if VERSIONS.index(version) <= VERSIONS.index("10.13"):
        return ["10.13"]
    return [each for each in ("10.13", "11.4") if method in api(each)["add_methods"]]


def problem(version: str, use: Use) -> str | None:
    """Why a release does not have what was used, or None."""
    for argument in use.arguments:
        enum, _, member = argument.partition(".")
        known = there("datatypes" if enum == "DataType" else "enum_members", version)
        if member and (member if enum == "DataType" else argument) not in known:
            return f"no {argument}"
    if use.owner in ("ILoop", "IIfConditional"):
        return part_problem(use)
    if use.member.startswith("add_"):
        if use.member not in there("add_methods", version):
            return "no such method"
        stated = [signatures(release, use.member) for release in stated_by(version, use.member)]
        fits = all(any(accepted(one, use.arguments) for one in overloads) for overloads in stated)
        return None if fits else f"takes {stated}"
    return None if use.member in _members(version, use.owner) else "no such member"


@cache
def _members(version: str, owner: str) -> set[str]:
    """The members of networks, tensors and layers."""
    near = api("8.5.3" if version.startswith("8.") else "10.13" if version.startswith("10.") else "11.4")
    if owner == "INetworkDefinition":
        return {*near["network_members"]}
    if owner == "ITensor":
        return {*near["tensor_members"], "shape", "dtype"}
    if owner == "IAttention":
        return {*vars(trt.IAttention)}
    base = {*near["ilayer_base"], *near["layer_methods"].get(owner, ())} - {"metadata"}
    since = {"metadata"} if release_facts(f"TensorRT {version}").metadata else set()
    of_layer = {
        each.partition(".")[2] for each in there("layer_members", version) if each.startswith(f"{owner}.")
    }
    return base | since | of_layer


class Module:
    """TensorRT's module, as far as a release has it."""

    def __init__(self, known: Facts) -> None:
        self._facts = known

    def __getattr__(self, name: str) -> Any:
        if name in self._facts.enums:
            members = {member: getattr(getattr(trt, name), member) for member in self._both(name)}
            return SimpleNamespace(**members)
        if name == "Weights":
            return trt.Weights
        raise AttributeError(name)

    def _both(self, enum: str) -> Iterator[str]:
        """The members that the release and TensorRT-RTX have: no script may use others."""
        return (each for each in self._facts.enums[enum] if hasattr(getattr(trt, enum, None), each))


def kinds_of_releases() -> dict[tuple[bool, bool], list[str]]:
    """The releases by what a script looks at."""
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for version in VERSIONS:
        known = release_facts(f"TensorRT {version}")
        kinds.setdefault((known.strongly_typed, known.metadata), []).append(version)
    return kinds


def problems(exporteds: Iterable[Exported], since: str) -> list[str]:
    """What scripts ask of the releases that they are for and that do not have it."""
    scripts = [alive(exported) for exported in exporteds]
    found: list[str] = []
    for versions in kinds_of_releases().values():
        meant = [each for each in versions if VERSIONS.index(each) >= VERSIONS.index(since)]
        if meant:
            uses = {use for script in scripts for use in uses_of(script, meant[0])}
            found += [
                f"{version}: {use.owner}.{use.member}{use.arguments}: {reason}"
                for version in meant
                for use in sorted(uses)
                if (reason := problem(version, use))
            ]
    return found


def uses_of(script: Any, version: str) -> set[Use]:
    """What a script does with a release's TensorRT."""
    known = release_facts(f"TensorRT {version}")
    dialect = RecordingDialect(known)
    script.trt = Module(known)
    script.net = dialect.create_network(dialect.create_builder())
    script.define()
    return dialect.uses


@pytest.mark.parametrize("entry", models())
def test_scripts_use_what_every_release_has(entry: Entry) -> None:
    graph = with_zeros(elaborate_file(entry.path, model=entry.model, defines=entry.defines))
    assert problems([export_graph(graph)], "8.5") == []
    half = CompileOptions(precision="float16")
    assert problems([export_graph(graph, half, release="10.0")], "10.0") == []


@pytest.mark.zoo
def test_operators_use_what_every_release_has() -> None:
    scripts: list[Exported] = []
    for example in EXAMPLES:
        # What 8.5 lacks is said, as the tests of lowering hold.
        with suppress(DiagnosticError):
            scripts.append(export_graph(example.graph(), CompileOptions(only=())))
    assert problems(scripts, "8.5") == []
    assert len(scripts) > 0.9 * len(EXAMPLES)


def test_the_releases_are_those_of_the_history() -> None:
    assert tuple(history()["releases"].split()) == VERSIONS
    for version in VERSIONS:
        known = release_facts(f"TensorRT {version}")
        assert {f"add_{layer}" for layer in known.layers} == there("add_methods", version)
        members = {f"{enum}.{member}" for enum, members in known.enums.items() for member in members}
        assert members == there("enum_members", version)
        assert known.strongly_typed == ("STRONGLY_TYPED" in there("network_flags", version))
        assert known.progress == ("progress_monitor" in there("builder_config", version))
        assert known.quantize_names_dtype == ("IQuantizeLayer.to_type" in there("layer_members", version))


@pytest.mark.parametrize("version", VERSIONS)
def test_configuring_asks_for_what_the_release_has(version: str) -> None:
    known = release_facts(f"TensorRT {version}")
    script = alive(export_graph(with_zeros(elaborate_file(ROOT / "examples/cnn/cnn.trtnet", model="cnn"))))
    dialect = RecordingDialect(known)
    flags = {name: name for name in there("builder_flags", version)}
    names = {name: SimpleNamespace(**dict.fromkeys(known.enums[name], 0)) for name in ("TacticSource",)}
    pools = SimpleNamespace(**{name: name for name in known.enums["MemoryPoolType"]})
    network_flags = SimpleNamespace(**dict.fromkeys(there("network_flags", version), 0))
    script.trt = SimpleNamespace(
        BuilderFlag=SimpleNamespace(**flags),
        MemoryPoolType=pools,
        NetworkDefinitionCreationFlag=network_flags,
        **names,
    )
    script.USES_FLOAT16 = script.USES_INT8 = True
    found: dict[str, set[str]] = {"flags": set(), "members": set()}
    config = dialect.config(found)
    builder = SimpleNamespace(
        create_builder_config=lambda: config, create_optimization_profile=lambda: dialect.config({**found})
    )
    script.configure(
        builder, SimpleNamespace(tf32=False, workspace=1, tactics=min(known.enums["TacticSource"]))
    )
    assert found["members"] - {"set_shape"} <= there("builder_config", version)
    assert ("FP16" in found["flags"]) == version.startswith("8.")


@pytest.mark.parametrize(
    ("version", "use", "reason"),
    [
        (
            "8.5",
            Use("INetworkDefinition", "add_cast", "call", ("ITensor", "DataType.HALF")),
            "no such method",
        ),
        ("11.0", Use("INetworkDefinition", "add_quantize", "call", ("ITensor", "ITensor")), "takes"),
        ("10.3", Use("INetworkDefinition", "add_squeeze", "call", ("ITensor", "ITensor")), "no such method"),
        (
            "8.6",
            Use("IUnaryLayer", "set_output_type", "call", ("int", "DataType.INT64")),
            "no DataType.INT64",
        ),
        ("8.5", Use("IUnaryLayer", "metadata", "set", ("str",)), "no such member"),
        ("11.4", Use("IUnaryLayer", "precision", "set", ("DataType.HALF",)), "no such member"),
        ("10.13", Use("ITopKLayer", "indices_type", "set", ("DataType.INT32",)), "no such member"),
    ],
)
def test_what_a_release_lacks_is_found(version: str, use: Use, reason: str) -> None:
    assert reason in str(problem(version, use))


def test_what_a_newer_script_needs_is_not_in_every_release() -> None:
    graph = optimize(
        with_zeros(elaborate_file(ROOT / "examples/vit/vit.trtnet", model="vit_tiny_patch16_224"))
    )
    exported = export_graph(graph, release="11.4")
    assert problems([exported], "11.4") == []
    with pytest.raises(AttributeError, match="AttentionNormalizationOp"):
        uses_of(alive(exported), "10.13")


def test_facts_are_those_of_the_signatures() -> None:
    for version, release in (("8.5", "8.5.3"), ("10.13", "10.13"), ("11.4", "11.4")):
        assert release_facts(f"TensorRT {version}") == facts(release)
