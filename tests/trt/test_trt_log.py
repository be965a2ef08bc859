"""What TensorRT says is read by the thread that made it say it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from trtdsl.trt.dialect import load_runtime

LOG = load_runtime("tensorrt_rtx").log
ERROR = load_runtime("tensorrt_rtx").trt.ILogger.Severity.ERROR
WARNING = load_runtime("tensorrt_rtx").trt.ILogger.Severity.WARNING


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def refused_layer() -> str:
    """TensorRT's words for a convolution that it refuses, which name its number of dimensions."""
    dialect = load_runtime("tensorrt_rtx")
    builder = dialect.create_builder()
    network = dialect.create_network(builder)
    x = network.add_input("x", dialect.trt.float32, (1, 2, 3))
    dialect.log.clear()
    assert network.add_pooling_nd(x, dialect.trt.PoolingType.MAX, (0, 2)) is None
    (line,) = dialect.log.take()
    return line


def test_threads_do_not_read_each_others_lines() -> None:
    LOG.clear()
    LOG.logger.log(ERROR, "of this thread")
    others: list[str] = []
    in_thread(lambda: others.append(refused_layer()))
    assert "addPoolingNd" in others[0]
    assert LOG.take() == ("of this thread",)


def test_another_thread_clears_its_own_lines_only() -> None:
    LOG.clear()
    LOG.logger.log(ERROR, "of this thread")
    in_thread(LOG.clear)
    assert LOG.take() == ("of this thread",)


def test_a_thread_that_speaks_for_another() -> None:
    LOG.clear()
    here = LOG.owner

    def build() -> None:
        LOG.speak_for(here)
        LOG.logger.log(ERROR, "of the build")

    in_thread(build)
    in_thread(LOG.clear)
    assert LOG.take() == ("of the build",)


def test_lines_of_tensorrts_own_threads_go_to_whoever_asks() -> None:
    LOG.clear()
    in_thread(lambda: LOG.logger.log(ERROR, "of a worker"))
    assert LOG.take() == ("of a worker",)
    assert LOG.take() == ()


def test_warnings_stand_where_there_are_no_errors() -> None:
    LOG.clear()
    for severity, line in ((WARNING, "warning"), (ERROR, "error"), (ERROR, "error")):
        LOG.logger.log(severity, line)
    assert LOG.take() == ("error",)
    LOG.logger.log(WARNING, "warning")
    assert LOG.take() == ("warning",)
