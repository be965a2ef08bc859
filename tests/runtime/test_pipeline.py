"""Stages that overlap: order, bounds, what is raised where. The stages of an engine need a GPU."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from trtdsl.runtime.pipeline import staged


def test_results_come_in_order_from_every_stage() -> None:
    def uneven(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return 10 * item

    assert list(staged(range(20), [uneven, str], ahead=3)) == [str(10 * item) for item in range(20)]
    assert list(staged([], [str], ahead=2)) == []
    assert list(staged([None, 0], [lambda item: item], ahead=0)) == [None, 0]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_than_so_many_are_read_ahead(ahead: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            read.append(item)
            yield item

    for done, _ in enumerate(staged(items(), [lambda item: item], ahead), 1):
        assert len(read) <= done + ahead


def test_stages_work_at_the_same_time() -> None:
    # Neither could go on alone: each waits until the other has begun.
    meeting = threading.Barrier(2, timeout=20)

    def meet(item: int) -> int:
        if 0 < item < 4:
            meeting.wait()
        return item

    def late(item: int) -> int:
        return meet(item + 1)

    assert list(staged(range(4), [meet, late], ahead=1)) == [1, 2, 3, 4]


def test_what_is_raised_comes_at_its_place() -> None:
    def refuse(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = staged(range(10), [refuse, str], ahead=3)
    assert list(islice(results, 2)) == ["0", "1"]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_what_the_items_raise_comes_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more film")

    results = staged(items(), [str], ahead=2)
    assert next(results) == "1"
    with pytest.raises(OSError, match="no more film"):
        next(results)


def test_a_caller_who_stops_leaves_no_threads() -> None:
    before = threading.active_count()
    results = staged(range(1000), [str], ahead=2)
    assert next(results) == "0"
    results.close()
    assert threading.active_count() == before


def test_an_item_that_is_being_read_is_waited_for() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            time.sleep(0.02)
            read.append(item)
            yield item

    results = staged(items(), [str], ahead=2)
    next(results)
    results.close()
    count = len(read)
    time.sleep(0.05)
    assert len(read) == count


def test_ctrl_c_does_not_wait_for_an_item_that_does_not_come() -> None:
    end = threading.Event()
    came: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        end.wait(10)
        came.append(2)

    results = staged(items(), [str], ahead=2)
    assert next(results) == "1"
    main = threading.main_thread().ident or 0
    # A process in the background may have been begun without it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(results)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not came
    end.set()
