"""Models worked on in processes of their own, whose memory goes with them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from import_models import Model, models

Work = Callable[..., dict[str, Any]]


def in_a_process(work: Work, model: Model, *arguments: str, preload: Sequence[str] = ()) -> dict[str, Any]:
    """The record that ``work(model, *arguments)`` gives, or why there is none.

    ``preload`` are modules that are imported once for all processes.
    """
    context: Any = multiprocessing.get_context("forkserver" if preload else "spawn")
    context.set_forkserver_preload(list(preload))
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(work, model.name, arguments, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return {"refused": "the process ended"}
    finally:
        process.join()


def _send(work: Work, name: str, arguments: tuple[str, ...], connection: Any) -> None:
    # A model makes its module by a function of its own, which no process can be handed.
    model = next(each for each in models() if each.name == name)
    try:
        connection.send(work(model, *arguments))
    except Exception as error:
        connection.send({"refused": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
