"""Work that processes share."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

_worker: Callable[[Any], Any]
"""of this process"""


def each(
    make: Callable[[Shared], Callable[[Task], Result]], shared: Shared, tasks: Sequence[Task], jobs: int
) -> Iterator[Result]:
    """The results of `make(shared)` for each task, in their order; each of `jobs` processes makes it once.

    All that goes to and from the processes has to be picklable. They end when the iterator is closed or fails.
    """
    if min(jobs, len(tasks)) <= 1:
        return map(make(shared), tasks)
    return _in_processes(make, shared, tasks, min(jobs, len(tasks)))


def _in_processes(
    make: Callable[[Shared], Callable[[Task], Result]], shared: Shared, tasks: Sequence[Task], jobs: int
) -> Iterator[Result]:
    others = set(multiprocessing.active_children())
    # A forked process may inherit a lock that a thread of polars holds; a spawned one starts afresh.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (make, shared))
    try:
        with _deaf_to_interrupts():
            results = [pool.submit(_work, task) for task in tasks]
        for result in results:
            yield result.result()
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that begin now inherit it: Ctrl+C reaches all of a terminal's, and one of them answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(make: Callable[[Shared], Callable[[Any], Any]], shared: Shared) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = make(shared)


def _work(task: Any) -> Any:
    return _worker(task)
