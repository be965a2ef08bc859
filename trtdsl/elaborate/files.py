"""Files: reading them and following their imports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin, Span, nearest
from trtdsl.elaborate.builtins import prelude
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.values import BlockRef, Builtin, DefRef, Names, Namespace
from trtdsl.syntax import tree
from trtdsl.syntax.parser import parse
from trtdsl.syntax.source import read_source
from trtdsl.types import DType

STANDARD_LIBRARY = Path(__file__).parent.parent / "std"
_STANDARD = "std/"
PRIVATE = "_"
"""begins the names that a file keeps to itself"""


class Program:
    """The files of one compilation; each is read once."""

    def __init__(self) -> None:
        self.names: dict[Path, Names] = {}
        """each file's blocks, defs and imports, by the name the file knows them under"""
        self.loading: list[tuple[Path, str]] = []
        """the files that import one another, outermost first, with the names a user knows them by"""
        self.notes: list[Diagnostic] = []
        """what is worth knowing of the names of the main file"""

    def main(self, file: tree.File, name: str) -> Names:
        """What the main file's blocks, defs and models see."""
        self.loading.append((_real(Path(name)), name))
        return self._scope(file)

    def _scope(self, file: tree.File) -> Names:
        """What a file's blocks, defs and models see: its imports and its own blocks and defs."""
        names = Names()
        errors: list[Diagnostic] = []
        for item in file.items:
            try:
                self._declare(item, names)
            except Mistake as error:
                errors.append(error.diagnostic)
            except DiagnosticError as error:
                errors += error.diagnostics
        if errors:
            raise DiagnosticError(*errors)
        return names

    def _declare(self, item: tree.Item, names: Names) -> None:
        match item:
            case tree.Import():
                found = self._import(item, names.models)
                new = {item.alias.text: Namespace(item.alias.text, found)} if item.alias else found
                span = item.alias.span if item.alias else item.path.span
            case tree.Block():
                _require_no_dtype(item)
                _require_distinct((*item.parameters, *item.tensors))
                new, span = {item.name.text: BlockRef(item, names)}, item.name.span
            case tree.Def():
                _require_no_dtype(item)
                _require_distinct(item.parameters)
                new, span = {item.name.text: DefRef(item, names)}, item.name.span
            case tree.Model():
                names.models.add(item.name.text)
                _require_distinct(item.parameters)
                for parameter in item.parameters:
                    if parameter.by_name:
                        text = "a model's parameters are always set by name; leave out the `*`"
                        raise mistake(text, parameter.span)
                return
            case tree.DerivedModel():
                names.models.add(item.name.text)
                return
        for name, value in new.items():
            if name in names:
                raise Mistake(_redefined(name, span, names[name]))
            if len(self.loading) == 1 and name in prelude() and not isinstance(value, Namespace):
                self.notes.append(_hides(value, span, imported=isinstance(item, tree.Import)))
            names[name] = value

    def _import(self, item: tree.Import, models: set[str]) -> dict[str, BlockRef | DefRef]:
        if any(not isinstance(part, str) for part in item.path.parts):
            raise mistake("an import's path holds no `{…}`", item.path.span)
        text = "".join(part for part in item.path.parts if isinstance(part, str))
        path, name = self._resolve(text)
        if path in [loading for loading, _ in self.loading]:
            raise self._cycle(path, item.path.span)
        if path not in self.names:
            self._load(path, name, text, item.path.span)
        own = self.names[path]
        models |= own.models
        defined = {n: b for n, b in own.items() if isinstance(b, (BlockRef, DefRef)) and b.globals is own}
        return {name: value for name, value in defined.items() if not name.startswith(PRIVATE)}

    def _resolve(self, text: str) -> tuple[Path, str]:
        """The file that an import means, and its name for a user."""
        if text.startswith(_STANDARD):
            return _real(STANDARD_LIBRARY / text.removeprefix(_STANDARD)), text
        path, name = self.loading[-1]
        return _real(path.parent / text), (Path(name).parent / text).as_posix()

    def _cycle(self, path: Path, span: Span) -> Mistake:
        paths = [loading for loading, _ in self.loading]
        names = [name for _, name in self.loading[paths.index(path) :]]
        return mistake(f"import cycle: {' → '.join([*names, names[0]])}", span)

    def _load(self, path: Path, name: str, text: str, span: Span) -> None:
        source = self._read(path, name, text, span)
        self.loading.append((path, name))
        try:
            self.names[path] = self._scope(parse(source, name))
        except DiagnosticError as error:
            raise DiagnosticError(*(_imported(d, span) for d in error.diagnostics)) from error
        finally:
            self.loading.pop()

    def _read(self, path: Path, name: str, text: str, span: Span) -> str:
        try:
            return read_source(path, name)
        except DiagnosticError as error:
            message, help = error.diagnostics[0].message, ""
            if isinstance(error.__cause__, FileNotFoundError):
                known = _standard_files() if text.startswith(_STANDARD) else self._neighbours(text)
                found = nearest(path.stem, known)
                message += f", did you mean `{known[found]}`?" if found else ""
                help = f"the standard library has {', '.join(known.values())}"
            raise mistake(message, span, "", help if text.startswith(_STANDARD) else "") from error

    def _neighbours(self, text: str) -> dict[str, str]:
        """The files that an import may have meant, as it would name them, by their stems."""
        parent = Path(text).parent
        paths = sorted((self.loading[-1][0].parent / parent).glob("*.trtnet"))
        return _standard_files() | {path.stem: (parent / path.name).as_posix() for path in paths}


def _real(path: Path) -> Path:
    """The path without links, so that a file has one; what cannot be a path stays as it is."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return path


def _standard_files() -> dict[str, str]:
    return {path.stem: f"{_STANDARD}{path.name}" for path in sorted(STANDARD_LIBRARY.glob("*.trtnet"))}


def _imported(diagnostic: Diagnostic, span: Span) -> Diagnostic:
    return replace(diagnostic, origins=(*diagnostic.origins, Origin(span, "imported here")))


def _redefined(name: str, span: Span, first: object) -> Diagnostic:
    known = isinstance(first, (BlockRef, DefRef))
    origins = (Origin(first.declared.name.span, "first here"),) if known else ()
    return Diagnostic(f"`{name}` is defined twice", span, origins=origins)


def _require_no_dtype(item: tree.Block | tree.Def) -> None:
    """A block or def named like a dtype would be no dtype where a type is read."""
    name = item.name.text
    if isinstance(prelude().get(name), DType):
        kind = type(item).__name__.lower()
        raise mistake(f"`{name}` is a dtype; call the {kind} something else", item.name.span)


def _hides(value: BlockRef | DefRef, span: Span, imported: bool) -> Diagnostic:
    """What a file's own name hides: operators are added to the language, which must not change a text."""
    known = prelude()[value.name]
    what = "function" if isinstance(known, Builtin) and known.operator is None else "operator"
    kind = "block" if isinstance(value, BlockRef) else "def"
    whose = f"the imported {kind}" if imported else f"this file's {kind}"
    return Diagnostic(f"`{value.name}` is {whose} here, not the {what} of that name", span, severity="note")


def _require_distinct(parameters: Sequence[tree.Parameter | tree.TensorParameter]) -> None:
    seen: dict[str, Span] = {}
    for name in _names_of(parameters):
        if name.text in seen:
            origins = (Origin(seen[name.text], "first here"),)
            raise Mistake(
                Diagnostic(f"parameter `{name.text}` is declared twice", name.span, origins=origins)
            )
        seen[name.text] = name.span


def _names_of(parameters: Sequence[tree.Parameter | tree.TensorParameter]) -> Iterable[tree.Name]:
    return (parameter.name for parameter in parameters)
