"""The module that a user names.

In: ``torchvision.models:resnet18`` or ``file.py:Net``, with arguments.  Out: the ``torch.nn.Module``, or in
words why there is none.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read, did_you_mean
from trtdsl.reference import require_torch

if TYPE_CHECKING:
    from torch import nn

OLDEST_EXPORT = (2, 14)
"""The oldest release of PyTorch whose torch.export the importer reads."""


def load_module(
    against: str | nn.Module | Callable[..., nn.Module],
    arguments: Mapping[str, Any],
    what: str = "`--against`",
    *,
    name: str = "",
) -> tuple[str, nn.Module]:
    """The module that a path, a constructor with arguments, or a module itself stands for, and its name.

    A path is ``package.module:name``, or ``file.py:name``; ``what`` asks for it, ``name`` is what messages
    call it. Raises :class:`UsageError`.
    """
    require_torch(what)
    from torch import nn

    if not name:
        name = against if isinstance(against, str) else getattr(against, "__name__", type(against).__name__)
    found: Any = object_at(against) if isinstance(against, str) else against
    if isinstance(found, nn.Module) and arguments:
        raise UsageError(Diagnostic(f"{name} is a module already and does not take arguments"))
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise UsageError(Diagnostic(f"{name} is neither a torch.nn.Module nor makes one"))
        _require_arguments(name, found, arguments)
        try:
            found = found(**arguments)
        except Exception as error:  # the user's own code
            raise UsageError(Diagnostic(f"{name} fails: {type(error).__name__}: {error}")) from error
    if not isinstance(found, nn.Module):
        kind = type(found).__name__
        raise UsageError(Diagnostic(f"{name} makes `{kind}`, which is not a torch.nn.Module"))
    return name, found


def _require_arguments(name: str, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that a maker does not take, and a call without those that it needs."""
    try:
        parameters = inspect.signature(maker).parameters
    except (TypeError, ValueError):  # of what is not written in Python
        return
    kinds = {each.kind for each in parameters.values()}
    unknown = [each for each in arguments if each not in parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        near = did_you_mean(unknown[0], list(parameters))
        raise UsageError(Diagnostic(f"{name} got an unexpected keyword argument '{unknown[0]}'{near}"))
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [
        key
        for key, each in parameters.items()
        if each.default is inspect.Parameter.empty and each.kind not in variadic and key not in arguments
    ]
    if needed:
        names = ", ".join(f"`{each}`" for each in needed)
        options = " ".join(f"--arg {each}=VALUE" for each in needed)
        plural = "arguments" if len(needed) > 1 else "an argument"
        raise UsageError(Diagnostic(f"{name} needs {plural}: {names}", help=(f"`{options}`",)))


def require_export(what: str) -> None:
    """Raise :class:`UsageError` where PyTorch is missing or older than what the importer was written for."""
    require_torch(what, extra="import")
    import torch

    version = torch.__version__.partition("+")[0]
    if tuple(int(each) for each in re.findall(r"\d+", version)[:2]) < OLDEST_EXPORT:
        oldest = ".".join(map(str, OLDEST_EXPORT))
        help = ("pip install 'trtdsl[import]'",)
        raise UsageError(
            Diagnostic(f"{what} needs PyTorch {oldest} or newer, and {version} is installed", help=help)
        )


def object_at(path: str) -> Any:
    """What stands at ``package.module:name`` or ``file.py:name``; raises :class:`UsageError`."""
    where, colon, attribute = path.partition(":")
    if not colon or not attribute:
        text = f"`{path}` is not a `package.module:name`, such as torchvision.models:resnet18"
        raise UsageError(Diagnostic(text, help=_likely(where)))
    found = _imported(where)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = did_you_mean(part, [each for each in dir(found) if not each.startswith("_")])
            raise UsageError(Diagnostic(f"`{where}` has no `{attribute}`{near}"))
        found = getattr(found, part)
    return found


def _likely(where: str) -> tuple[str, ...]:
    """What may be meant by a path without a name."""
    if where.endswith(".py"):
        named = [f"`{where}:{name}`" for name in _modules_in(Path(where))]
        return (f"it may be {' or '.join(named)}",) if named else ()
    package, _, name = where.rpartition(".")
    is_dotted = package and all(each.isidentifier() for each in where.split("."))
    return (f"it may be `{package}:{name}`",) if is_dotted and not Path(where).exists() else ()


def _modules_in(path: Path) -> list[str]:
    """The last few classes of modules in a script, which is not run: those above are their parts."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return []
    classes = [each for each in body if isinstance(each, ast.ClassDef)]
    return [each.name for each in classes if any("Module" in ast.unparse(base) for base in each.bases)][-3:]


def _imported(where: str) -> Any:
    # A script's own folder is on the path, the folder it is called in is not.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    is_script = where.endswith(".py")
    if is_script and not Path(where).is_file():
        raise cannot_read(where, "no such file")
    try:
        return _run(where) if is_script else importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise UsageError(_not_found(where, error.name or where)) from error
    except SyntaxError as error:
        place = f"line {error.lineno} of {error.filename}"
        raise UsageError(Diagnostic(f"cannot import `{where}`: {error.msg}, {place}")) from error
    except Exception as error:  # the user's own code
        raise UsageError(Diagnostic(f"cannot import `{where}`: {type(error).__name__}: {error}")) from error


def _run(script: str) -> Any:
    spec = importlib.util.spec_from_file_location(script, script)
    assert spec and spec.loader
    # Dataclasses look their module up there; by its path it hides no other.
    sys.modules[script] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _not_found(where: str, missing: str) -> Diagnostic:
    if missing != where and not where.startswith(f"{missing}."):
        help = f"install what provides it beside trtdsl, for {sys.executable}"
        return Diagnostic(f"`{where}` imports `{missing}`, which is not installed", help=(help,))
    help = f"looked for in this folder and among what is installed for {sys.executable}"
    return Diagnostic(f"cannot import `{where}`: No module named '{missing}'", help=(help,))
