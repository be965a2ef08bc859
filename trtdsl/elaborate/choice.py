"""Which model of a text is meant, and what it is derived from.

In: a file's tree and a name.  Out: a :class:`Chosen`. ``model resnet18 = resnet(layers = [2, 2, 2, 2])`` is
the model `resnet` under the name `resnet18`, with the expression that it sets `layers` to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin, UsageError, did_you_mean
from trtdsl.elaborate.arguments import match_arguments
from trtdsl.elaborate.mistakes import Mistake, mistake, mistake_with
from trtdsl.elaborate.values import Argument
from trtdsl.syntax import tree

AnyModel: TypeAlias = tree.Model | tree.DerivedModel


class Chosen(msgspec.Struct, frozen=True):
    """A model to elaborate, with the name and documentation of the one that was asked for."""

    model: tree.Model
    given: Mapping[str, Argument]
    """the parameters that it sets itself, with their expressions"""
    derived: tuple[str, ...] = ()
    """the models that are derived from it"""

    @property
    def parameters(self) -> Sequence[str]:
        """The names of those that can be set."""
        return [p.name.text for p in self.model.parameters if p.name.text not in self.given]

    def require_parameters(self, defines: Mapping[str, Any]) -> None:
        """Refuse what is set and is not a parameter of the model; raises :class:`UsageError`."""
        known = self.parameters
        mistakes = [self._unknown(*define, known) for define in defines.items() if define[0] not in known]
        if mistakes:
            raise UsageError(*mistakes)

    def _unknown(self, define: str, value: object, known: Sequence[str]) -> Diagnostic:
        name, span = self.model.name.text, self.model.name.span
        text = f"model `{name}` has no parameter `{define}`{did_you_mean(define, known)}"
        origins: tuple[Origin, ...] = ()
        if define in self.given:
            text = f"model `{name}` sets `{define}` itself"
            origins = (Origin(self.given[define].head, "here"),)
        for dim in self.model.body:
            if isinstance(dim, tree.Dim) and dim.name.text == define:
                origins = (Origin(dim.name.span, "here"),)
                fixed = f"its range stands in the text; one number there fixes it: `dim {define} = {value}`"
                return Diagnostic(f"`{define}` is a dimension, not a parameter", span, "", origins, (fixed,))
        listed = f"its parameters are {', '.join(known)}" if known else "it has no parameters"
        return Diagnostic(text, span, origins=origins, help=(listed,))


def names_of_models(file: tree.File) -> tuple[str, ...]:
    """Of a file, in order."""
    return tuple(model.name.text for model in _models(file))


def are_complete(file: tree.File) -> tuple[str, ...]:
    """The models of a file that can be elaborated as they are.

    One that others are derived from may need parameters that only those set.
    """
    found = {model.name.text: model for model in _models(file)}
    bases = {model.base.span.text for model in found.values() if isinstance(model, tree.DerivedModel)}
    return tuple(name for name in found if name not in bases or not _lacks(found[name], found))


def _lacks(model: AnyModel, found: Mapping[str, AnyModel]) -> bool:
    """Whether a parameter has no value in a model; one that is derived wrongly lacks nothing."""
    try:
        chosen = _derived(model, found)
    except Mistake:
        return False
    return any(p.default is None and p.name.text not in chosen.given for p in chosen.model.parameters)


def choose(file: tree.File, name: str, wanted: str | None) -> Chosen:
    """The model of that name, or the one that a file of this name surely means.

    Raises :class:`DiagnosticError` where that is derived wrongly, or, if none is asked for by its name, any
    model of the file.
    """
    found: dict[str, AnyModel] = {}
    for item in _models(file):
        word = item.name
        if word.text in found:
            origins = (Origin(found[word.text].name.span, "first here"),)
            raise DiagnosticError(
                Diagnostic(f"model `{word.text}` is defined twice", word.span, origins=origins)
            )
        found[word.text] = item
    if wanted is None:
        _require_derived_rightly(found)
    choice = found[_choice(tuple(found), name, wanted)]
    try:
        return _derived(choice, found)
    except Mistake as error:
        raise DiagnosticError(error.diagnostic) from error


def _require_derived_rightly(found: Mapping[str, AnyModel]) -> None:
    mistakes: list[Diagnostic] = []
    for model in found.values():
        try:
            _derived(model, found)
        except Mistake as error:
            mistakes.append(error.diagnostic)
    if mistakes:
        raise DiagnosticError(*mistakes)


def _models(file: tree.File) -> Iterator[AnyModel]:
    for item in file.items:
        if isinstance(item, (tree.Model, tree.DerivedModel)):
            yield item


def _choice(found: tuple[str, ...], name: str, wanted: str | None) -> str:
    if not found:
        raise DiagnosticError(Diagnostic(f"`{name}` holds no model"))
    names = ", ".join(found)
    if wanted is None:
        stem = Path(name).stem
        wanted = stem if stem in found else found[0]
        if len(found) > 1 and stem not in found:
            text = f"`{name}` holds several models, choose one: {names}"
            raise UsageError(Diagnostic(text, help=("use `--model NAME`",)))
    if wanted not in found:
        text = f"`{name}` has no model `{wanted}`{did_you_mean(wanted, found)}"
        raise UsageError(Diagnostic(text, help=(f"its models are {names}",)))
    return wanted


def _derived(model: AnyModel, found: Mapping[str, AnyModel]) -> Chosen:
    """A model with all that it and those it is derived from set; raises :class:`Mistake`."""
    chain: list[tree.DerivedModel] = []
    base = model
    while isinstance(base, tree.DerivedModel):
        if base in chain:
            names = [each.name.text for each in chain[chain.index(base) :]]
            shown = " → ".join([*names, names[0]])
            raise mistake(f"a model cannot be derived from itself: {shown}", base.name.span)
        chain.append(base)
        base = _base_of(base, found)
    given: dict[str, Argument] = {}
    for each in reversed(chain):
        given |= _given(each, base, given)
    renamed = replace(base, name=model.name, documentation=model.documentation or base.documentation)
    others = tuple(name for name, each in found.items() if _is_derived_from(each, model))
    return Chosen(renamed, given, others)


def _is_derived_from(model: AnyModel, base: AnyModel) -> bool:
    return isinstance(model, tree.DerivedModel) and model.base.span.text == base.name.text


def _base_of(model: tree.DerivedModel, found: Mapping[str, AnyModel]) -> AnyModel:
    path = model.base
    if len(path.parts) == 1 and path.parts[0].text in found:
        return found[path.parts[0].text]
    text = path.span.text
    if len(path.parts) > 1:
        raise mistake(f"`{text}` is not a model of this file: models are not imported", path.span)
    raise mistake(f"there is no model `{text}`{did_you_mean(text, found)}", path.span)


def _given(
    model: tree.DerivedModel, base: tree.Model, before: Mapping[str, Argument]
) -> Mapping[str, Argument]:
    """What a derived model sets, by the names of the parameters that are left to it."""
    arguments = [
        Argument(a.value, a.value.span, a.name and a.name.text, a.name and a.name.span)
        for a in model.arguments
    ]
    for argument in arguments:
        if argument.name is not None and argument.name in before:
            text, first = f"`{argument.name}` is set already", before[argument.name]
            raise mistake_with(text, argument.head, "", first.head, "here")
    left = [parameter.name.text for parameter in base.parameters if parameter.name.text not in before]
    return match_arguments(model.base.span.text, left, arguments, model.base.span)
