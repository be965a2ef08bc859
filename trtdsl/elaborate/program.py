"""One model of a text, chosen, set up and elaborated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from keyword import iskeyword
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from trtdsl.collection import without_collection
from trtdsl.diagnostics import Diagnostic, DiagnosticError, Source, UsageError
from trtdsl.elaborate.choice import Chosen, are_complete, choose, names_of_models
from trtdsl.elaborate.files import Program
from trtdsl.elaborate.mistakes import Mistake, Poisoned
from trtdsl.elaborate.recorder import Recorder
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.section import Section
from trtdsl.elaborate.statements import Elaboration
from trtdsl.elaborate.unread import unread_in
from trtdsl.elaborate.unused import mistakes_in
from trtdsl.ir import Graph
from trtdsl.syntax import tree
from trtdsl.syntax.parser import parse, parse_weights_map
from trtdsl.syntax.source import read_source


class Elaborated(msgspec.Struct, frozen=True):
    """A model's graph, what was worth a warning, and the values of the parameters that can be set."""

    graph: Graph
    warnings: tuple[Diagnostic, ...]
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


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


@without_collection()
def elaborate(
    text: str,
    name: str,
    model: str | None = None,
    defines: Mapping[str, Any] | None = None,
    recorder: Recorder | None = None,
    *,
    weights_map: Source | None = None,
) -> Elaborated:
    """The graph of one model of a text, with warnings.

    ``name`` is the file's path, from which imports are resolved; ``model`` may be left out where the
    text has one model or one named like the file; ``defines`` sets the model's parameters;
    a ``recorder`` is told what each piece of the texts stands for; ``weights_map`` has lines of a `weights`
    section, which stand before the model's own.
    Raises :class:`DiagnosticError` with every mistake found, the warnings before them; UsageError for a
    model or a parameter that there is none of.
    """
    file = parse(text, name)
    chosen = choose(file, name, model)
    lines = () if weights_map is None else parse_weights_map(weights_map)
    program = Program()
    names = program.main(file, name)
    return _elaborated(file, chosen, names, program.notes, defines or {}, recorder, lines)


def elaborate_models(text: str, name: str) -> Iterator[Elaborated]:
    """The graph of each model of a text that is right, in order; not of one that others must complete. Of a
    warning that several have, the first has it.

    Raises :class:`DiagnosticError` in the end, with what is wrong with the others: each mistake once, where
    several models have it from one block.
    """
    file = parse(text, name)
    program = Program()
    names = program.main(file, name)
    told: dict[tuple[object, ...], Diagnostic] = {}
    failed: dict[tuple[object, ...], Diagnostic] = {}
    for model in are_complete(file) or [None]:
        try:
            found = _elaborated(file, choose(file, name, model), names, program.notes, {}, None)
            warnings = {(each.message, str(each.span)): each for each in found.warnings}
            yield replace(found, warnings=tuple(w for key, w in warnings.items() if key not in told))
            told |= warnings
        except DiagnosticError as error:
            for diagnostic in error.diagnostics:
                failed.setdefault((diagnostic.message, str(diagnostic.span)), diagnostic)
    if failed:
        raise DiagnosticError(*failed.values())


def _elaborated(
    file: tree.File,
    chosen: Chosen,
    names: Mapping[str, Any],
    notes: Sequence[Diagnostic],
    defines: Mapping[str, Any],
    recorder: Recorder | None,
    weights_map: Sequence[tree.Line] = (),
) -> Elaborated:
    """One model's graph; ``names`` are what the file's models see, ``notes`` warnings of the file."""
    chosen.require_parameters(defines)
    run = Elaboration(chosen.model, recorder)
    parameters = _run(run, chosen, names, defines)
    for item in file.items:
        if isinstance(item, (tree.Block, tree.Def)) and id(item) not in run.blocks.entered:
            for diagnostic in mistakes_in(item, names):
                run.report.add(diagnostic)
    graph = _with_sections(run, weights_map, parameters)
    _warn_of_unread(file, run, notes)
    return Elaborated(
        graph,
        (*notes, *run.report.warnings),
        {name: parameters.names[name] for name in chosen.parameters},
    )


def _warn_of_unread(file: tree.File, run: Elaboration, notes: Sequence[Diagnostic]) -> None:
    """Warn of what the model, and the blocks and defs of its file, bind and do not read; a line of which
    something else is said is left out."""
    told = [each.span for each in (*notes, *run.report.warnings) if each.span is not None]
    called = [item for item in file.items if isinstance(item, (tree.Block, tree.Def))]
    for item in (run.model, *called):
        for warning in unread_in(item, told):
            run.report.warn(warning)


def evaluate_define(text: str) -> tuple[str, Any]:
    """``"classes=100"`` as a parameter's name and compile-time value; raises :class:`DiagnosticError`."""
    name, equals, value = text.partition("=")
    if not equals or not value.strip() or not name.strip().isidentifier():
        raise UsageError(Diagnostic(f"`-D {text}`: a parameter is set as `-D name=value`"))
    if iskeyword(name.strip()):
        raise UsageError(Diagnostic(f"`-D {text}`: no parameter can be called `{name.strip()}`"))
    try:
        # The value is read as a parameter's default.
        file = parse(f"model define({name.strip()} = {value}) {{}}", f"-D {text}")
    except DiagnosticError as error:
        help = error.diagnostics[0].help
        raise UsageError(Diagnostic(f"`-D {text}`: `{value}` is not a value", help=help)) from error
    match file.items:
        case (tree.Model(parameters=(tree.Parameter(default=expr),), body=()) as model,) if expr:
            return name.strip(), _value(expr, model, f"-D {text}")
        case _:
            raise UsageError(Diagnostic(f"`-D {text}`: a parameter has one value"))


def _value(expr: tree.Expr, model: tree.Model, typed: str) -> Any:
    """The value of an expression in the command; what is wrong with it is said without the text around it."""
    try:
        return Elaboration(model).expressions.value(expr, Scope({}))
    except Mistake as error:
        mistake = error.diagnostic
    except DiagnosticError as error:
        mistake = error.diagnostics[0]
    help = mistake.help
    if isinstance(expr, tree.Path) and not help:
        help = (
            f'a string stands in quotes, `"{expr.span.text}"`',
            f"a block or def is given in the text: `model mine = other({typed.removeprefix('-D ')})`",
        )
    raise UsageError(Diagnostic(f"`{typed}`: {mistake.message}", help=help))


def models(text: str, name: str) -> tuple[str, ...]:
    """The names of a text's models, in order."""
    return names_of_models(parse(text, name))


def _run(run: Elaboration, chosen: Chosen, names: Mapping[str, Any], defines: Mapping[str, Any]) -> Scope:
    """Run the model's statements; what is wrong with one of them is kept for later.

    Out comes what is known before the first of them: the file's names and the model's parameters.
    """
    model, scope, parameters = run.model, Scope(names), Scope(names)
    try:
        _bind_parameters(run, chosen, scope, defines)
        parameters.names.update(scope.names)
        run.run(model.body, scope, model=True)
    except Mistake as error:
        run.report.add_last(error.diagnostic)
    except Poisoned:
        run.report.raise_errors()
    except RecursionError:
        help = ("split it into blocks, or make its lists flatter",)
        run.report.add_last(Diagnostic("the model nests too deeply", model.name.span, help=help))
    return parameters


def _with_sections(run: Elaboration, weights_map: Sequence[tree.Line], parameters: Scope) -> Graph:
    """The finished graph, whose weights know where the `weights` sections and the map say that they are."""
    section = Section(run.expressions)
    for statement, scope in run.sections:
        section.add(statement.entries, scope)
    section.add(weights_map, parameters, rank=1)
    try:
        graph = run.declarations.graph()
    except DiagnosticError as error:
        raise DiagnosticError(*error.diagnostics, *section.report.errors) from error
    graph = section.applied(graph)
    if section.report:
        raise DiagnosticError(*run.report.warnings, *section.report.errors)
    return graph


def _bind_parameters(run: Elaboration, chosen: Chosen, scope: Scope, defines: Mapping[str, Any]) -> None:
    """Bind what the command line sets, what a derived model sets, and the defaults."""
    model = chosen.model
    given = {
        name: run.expressions.value(argument.value, Scope(scope.globals))
        for name, argument in chosen.given.items()
    }
    for parameter in model.parameters:
        name = parameter.name.text
        if name in defines:
            found = defines[name]
            # A number of numpy's as Python's; numpy itself is not imported for a text.
            scope.names[name] = found.item() if hasattr(found, "item") else found
        elif name in given:
            scope.names[name] = given[name]
        elif parameter.default is not None:
            scope.names[name] = run.expressions.value(parameter.default, scope)
        else:
            text = f"model `{model.name.text}` needs `{name}`"
            raise Mistake(Diagnostic(text, parameter.span, help=_settings(name, chosen.derived)))


def _settings(parameter: str, derived: tuple[str, ...]) -> tuple[str, ...]:
    """How a parameter without a default is set."""
    advice = f"set it: -D {parameter}=…"
    return (
        (advice, f"or choose a model that is derived from this one: {', '.join(derived)}")
        if derived
        else (advice,)
    )
