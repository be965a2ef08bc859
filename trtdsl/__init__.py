"""Text models in, TensorRT engines out.

Each stage alone::

    tree = trtdsl.parse(text)                          # syntax
    graph = trtdsl.elaborate_file("cnn.trtnet")        # the network, checked
    weights = trtdsl.load_weights("weights.pth")
    graph = trtdsl.bind(graph, weights).graph          # with its weights
    graph = trtdsl.optimize(graph)                     # passes
    lowered = trtdsl.lower(graph)                      # a TensorRT network
    engine = trtdsl.build(lowered)                    # bytes
    trtdsl.Engine.load("cnn.engine")(data=image)       # arrays

or all of them: ``trtdsl.load("cnn.trtnet", "weights.pth")(data=image)`` runs a model, with or without a GPU;
``trtdsl.compile_file("cnn.trtnet", "weights.pth", "cnn.engine")`` writes its engine; and
``trtdsl.verify("cnn.trtnet", "weights.pth", "package.module:CNN")`` compares with PyTorch.

``Recipe.from_file("int8.toml")``, in ``CompileOptions(recipe=…)``, says in which types;
``trtdsl.calibrate_file`` finds ranges for it, ``trtdsl.explain_file`` says what becomes of each layer.

Modules become such texts: ``trtdsl.import_module(resnet18(), {"x": "float32[N, 3, 224, 224]"}).text``.

Names are imported when first used, so that neither torch nor TensorRT is loaded before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtdsl.calibrate import calibrate_file
    from trtdsl.compile import check_file, compile_file, compile_graph
    from trtdsl.diagnostics import Diagnostic, DiagnosticError
    from trtdsl.elaborate import elaborate_file, elaborate_text
    from trtdsl.explain import explain_file
    from trtdsl.exporters.script import export_file
    from trtdsl.importers.module import Imported, import_module
    from trtdsl.importers.module import import_exported as import_program
    from trtdsl.importers.onnx_import import import_onnx
    from trtdsl.ir import Graph, Node, Value, Weight, show
    from trtdsl.ir import verify as verify_graph
    from trtdsl.options import CheckOptions, CompileOptions
    from trtdsl.passes import optimize
    from trtdsl.recipe import Recipe
    from trtdsl.runner import Runner, load
    from trtdsl.runtime.engine import Engine
    from trtdsl.syntax import format_text
    from trtdsl.syntax.parser import parse
    from trtdsl.trt.build import build
    from trtdsl.trt.lower import lower
    from trtdsl.trt.manifest import Manifest
    from trtdsl.types import DType
    from trtdsl.verification import Verification, verify
    from trtdsl.weights import bind
    from trtdsl.weights import load_checkpoint as load_weights

_HOMES = {
    "CheckOptions": "trtdsl.options",
    "CompileOptions": "trtdsl.options",
    "DType": "trtdsl.types",
    "Diagnostic": "trtdsl.diagnostics",
    "DiagnosticError": "trtdsl.diagnostics",
    "Engine": "trtdsl.runtime.engine",
    "Graph": "trtdsl.ir",
    "Imported": "trtdsl.importers.module",
    "Manifest": "trtdsl.trt.manifest",
    "Node": "trtdsl.ir",
    "Recipe": "trtdsl.recipe",
    "Runner": "trtdsl.runner",
    "Value": "trtdsl.ir",
    "Verification": "trtdsl.verification",
    "Weight": "trtdsl.ir",
    "bind": "trtdsl.weights",
    "build": "trtdsl.trt.build",
    "calibrate_file": "trtdsl.calibrate",
    "check_file": "trtdsl.compile",
    "compile_file": "trtdsl.compile",
    "compile_graph": "trtdsl.compile",
    "elaborate_file": "trtdsl.elaborate",
    "elaborate_text": "trtdsl.elaborate",
    "explain_file": "trtdsl.explain",
    "export_file": "trtdsl.exporters.script",
    "format_text": "trtdsl.syntax",
    "import_module": "trtdsl.importers.module",
    "import_onnx": "trtdsl.importers.onnx_import",
    "import_program": "trtdsl.importers.module",
    "load": "trtdsl.runner",
    "load_weights": "trtdsl.weights",
    "lower": "trtdsl.trt.lower",
    "optimize": "trtdsl.passes",
    "parse": "trtdsl.syntax.parser",
    "show": "trtdsl.ir",
    "verify": "trtdsl.verification",
    "verify_graph": "trtdsl.ir",
}
_RENAMED = {
    "import_program": "import_exported",
    "load_weights": "load_checkpoint",
    "verify_graph": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `trtdsl` has no attribute `{name}`")
    value = getattr(importlib.import_module(_HOMES[name]), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)


__all__ = [
    "CheckOptions",
    "CompileOptions",
    "DType",
    "Diagnostic",
    "DiagnosticError",
    "Engine",
    "Graph",
    "Imported",
    "Manifest",
    "Node",
    "Recipe",
    "Runner",
    "Value",
    "Verification",
    "Weight",
    "bind",
    "build",
    "calibrate_file",
    "check_file",
    "compile_file",
    "compile_graph",
    "elaborate_file",
    "elaborate_text",
    "explain_file",
    "export_file",
    "format_text",
    "import_module",
    "import_onnx",
    "import_program",
    "load",
    "load_weights",
    "lower",
    "optimize",
    "parse",
    "show",
    "verify",
    "verify_graph",
]
