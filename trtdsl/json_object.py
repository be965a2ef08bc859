"""JSON from files that nobody vouches for.

In: bytes.  Out: the object that they write, or :class:`NotAnObject`, which says in words why there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_MOST_DIGITS = 300  # as many as a float's; converting more takes time that grows with their square

Pairs = list[tuple[str, Any]]


class NotAnObject(ValueError):
    """What is wrong with the bytes: "it is not valid JSON …"."""


def json_object(text: bytes, of_pairs: Callable[[Pairs], Any] = dict) -> dict[str, Any]:
    """The JSON object in a text; ``of_pairs`` makes each object of its keys and values."""
    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=of_pairs, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise NotAnObject(f"it is not valid JSON: byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotAnObject(f"it is not valid JSON from {place} on") from None
    except RecursionError:
        raise NotAnObject("its JSON is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise NotAnObject("it is not a JSON object")
    return parsed


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise NotAnObject(f"its JSON has a number of {len(digits)} digits")
    return int(digits)
