"""Files: reading them, following their imports, choosing a model and elaborating it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin, Span, UsageError, did_you_mean
from trtdsl.elaborate.calls import bind
from trtdsl.elaborate.expressions import Namespace, Scope
from trtdsl.elaborate.statements import Elaboration, Returned
from trtdsl.elaborate.values import Argument, BlockRef, Mistake, Poisoned
from trtdsl.ir import Graph
from trtdsl.syntax import tree
from trtdsl.syntax.parser import parse

STANDARD_LIBRARY = Path(__file__).parent.parent / "std"


@dataclass(frozen=True)
class Elaborated:
    """A model's graph and what was worth a warning."""

    graph: Graph
    warnings: tuple[Diagnostic, ...]


@dataclass
class Program:
    """The files of one compilation; each is read once."""

    names: dict[Path, dict[str, Any]] = field(default_factory=dict[Path, dict[str, Any]])
    """each file's blocks and imports, by the name the file knows them under"""
    loading: list[Path] = field(default_factory=list[Path])

    def file_scope(self, file: tree.File, folder: Path) -> dict[str, Any]:
        """What a file's blocks and models see: its imports and its own blocks."""
        names: dict[str, Any] = {}
        errors: list[Diagnostic] = []
        for item in file.items:
            try:
                self._declare(item, names, folder)
            except Mistake as error:
                errors.append(error.diagnostic)
            except DiagnosticError as error:
                errors += error.diagnostics
        if errors:
            raise DiagnosticError(*errors)
        return names

    def _declare(self, item: tree.Item, names: dict[str, Any], folder: Path) -> None:
        if isinstance(item, tree.Import):
            blocks = self._import(item, folder)
            new = {item.alias.text: Namespace(blocks)} if item.alias else blocks
            span = item.alias.span if item.alias else item.path.span
        elif isinstance(item, tree.Block):
            new = {item.name.text: BlockRef(item, names)}
            span = item.name.span
        else:
            return
        for name, value in new.items():
            if name in names:
                raise Mistake(_redefined(name, span, names[name]))
            names[name] = value

    def _import(self, item: tree.Import, folder: Path) -> dict[str, BlockRef]:
        if any(not isinstance(part, str) for part in item.path.parts):
            raise Mistake(Diagnostic("an import path holds no `{…}`", item.path.span))
        text = "".join(part for part in item.path.parts if isinstance(part, str))
        path = resolve_import(text, folder)
        if path in self.loading:
            cycle = " → ".join(p.name for p in (*self.loading[self.loading.index(path) :], path))
            raise Mistake(Diagnostic(f"import cycle: {cycle}", item.path.span))
        if path not in self.names:
            self._load(path, text, item.path.span)
        return {
            n: b
            for n, b in self.names[path].items()
            if isinstance(b, BlockRef) and b.globals is self.names[path]
        }

    def _load(self, path: Path, text: str, span: Span) -> None:
        source = _read(path, text, span)
        self.loading.append(path)
        try:
            self.names[path] = self.file_scope(parse(source, text), path.parent)
        finally:
            self.loading.pop()


def _redefined(name: str, span: Span, first: object) -> Diagnostic:
    origins = (Origin(first.block.name.span, "first here"),) if isinstance(first, BlockRef) else ()
    return Diagnostic(f"`{name}` is defined twice", span, origins=origins)


def resolve_import(text: str, folder: Path) -> Path:
    """The file an import means: `std/…` is the standard library, all else relative to the importing file."""
    if text.startswith("std/"):
        return (STANDARD_LIBRARY / text.removeprefix("std/")).resolve()
    return (folder / text).resolve()


def _read(path: Path, text: str, span: Span) -> str:
    try:
        return read_source(path, text)
    except DiagnosticError as error:
        known = sorted(f"std/{p.name}" for p in STANDARD_LIBRARY.glob("*.trtnet"))
        help = (f"the standard library has {', '.join(known)}",) if text.startswith("std") else ()
        message = error.diagnostics[0].message
        guess = did_you_mean(text, known)
        raise Mistake(Diagnostic(f"{message}{guess}", span, help=help)) from error


def read_source(path: Path, name: str) -> str:
    """A `.trtnet` file's text; raises a diagnostic where there is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        )
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: {reason}")) from error
    except ValueError as error:
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: not a path")) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: it is not UTF-8 text")) from error


def elaborate_file(
    path: str | Path, model: str | None = None, defines: Mapping[str, Any] | None = None
) -> Graph:
    """The graph of a model in a `.trtnet` file; raises :class:`DiagnosticError`."""
    return elaborate(read_source(Path(path), str(path)), str(path), model, defines).graph


def elaborate_text(
    text: str, name: str = "<text>", model: str | None = None, defines: Mapping[str, Any] | None = None
) -> Graph:
    """The graph of a model in a text; raises :class:`DiagnosticError`."""
    return elaborate(text, name, model, defines).graph


def elaborate(
    text: str, name: str, model: str | None = None, defines: Mapping[str, Any] | None = None
) -> Elaborated:
    """The graph of one model of a text, with warnings.

    ``name`` is the file's path, from which imports are resolved; ``model`` may be left out where the
    text has one model or one named like the file; ``defines`` sets the model's parameters.
    Raises :class:`DiagnosticError` with every mistake found.
    """
    file = parse(text, name)
    program = Program(loading=[Path(name).resolve()])
    names = program.file_scope(file, Path(name).resolve().parent)
    return _run(_choose(file, name, model), names, defines or {})


def evaluate_define(text: str, option: str = "-D") -> tuple[str, Any]:
    """``"classes=100"`` as a parameter's name and compile-time value; raises :class:`DiagnosticError`.

    ``option`` is how the command line calls what is set.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise UsageError(Diagnostic(f"`{option} {text}`: a parameter is set as `{option} name=value`"))
    file = parse(f"model define() {{ {name.strip()} = {value} }}", f"{option} {text}")
    (statement,) = file.items[0].body if isinstance(file.items[0], tree.Model) else ()
    run = Elaboration()
    try:
        return name.strip(), run.expressions.value(statement.value, Scope({}))  # pyright: ignore
    except Mistake as error:
        raise UsageError(error.diagnostic) from error


def models(text: str, name: str) -> tuple[str, ...]:
    """The names of a text's models, in order."""
    return tuple(item.name.text for item in parse(text, name).items if isinstance(item, tree.Model))


def _choose(file: tree.File, name: str, wanted: str | None) -> tree.Model:
    found = [item for item in file.items if isinstance(item, tree.Model)]
    names = [model.name.text for model in found]
    twice = next((m for i, m in enumerate(found) if m.name.text in names[:i]), None)
    if twice is not None:
        raise DiagnosticError(Diagnostic(f"model `{twice.name.text}` is defined twice", twice.name.span))
    if not found:
        raise DiagnosticError(Diagnostic(f"`{name}` holds no model"))
    if wanted is None:
        stem = Path(name).stem
        if len(found) > 1 and stem not in names:
            raise DiagnosticError(
                Diagnostic(
                    f"`{name}` holds several models, choose one: {', '.join(names)}",
                    help=("use `--model NAME`",),
                )
            )
        wanted = stem if stem in names else names[0]
    if wanted not in names:
        help = (f"its models are {', '.join(names)}",)
        raise DiagnosticError(
            Diagnostic(f"`{name}` has no model `{wanted}`{did_you_mean(wanted, names)}", help=help)
        )
    return found[names.index(wanted)]


def _run(model: tree.Model, names: Mapping[str, Any], defines: Mapping[str, Any]) -> Elaborated:
    run = Elaboration()
    scope = Scope(names)
    try:
        _bind_model(run, model, scope, defines)
        run.declare_profiles(model.body)
        run.run(model.body, scope, model=True)
    except Mistake as error:
        run.report(error.diagnostic, scope.place)
    except (Poisoned, Returned) as error:
        raise AssertionError("a statement let its own signal out") from error
    return Elaborated(run.graph(model), tuple(run.builder.warnings))


def _bind_model(run: Elaboration, model: tree.Model, scope: Scope, defines: Mapping[str, Any]) -> None:
    order: Sequence[str] = [parameter.name.text for parameter in model.parameters]
    span = model.name.span
    given = bind(
        model.name.text,
        order,
        None,
        [Argument(value, span, name) for name, value in defines.items()],
        span,
        "parameter",
    )
    for parameter in model.parameters:
        name = parameter.name.text
        if name in given:
            scope.names[name] = given[name].value
        elif parameter.default is not None:
            scope.names[name] = run.expressions.value(parameter.default, scope)
        else:
            raise Mistake(
                Diagnostic(
                    f"model `{model.name.text}` needs `{name}`",
                    parameter.span,
                    help=(f"set it: -D {name}=…",),
                )
            )
