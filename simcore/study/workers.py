"""Work that processes share."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, TypeVar

from simcore.errors import InputError
from simcore.policies.families import blame, load_policies

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

_worker: Callable[[Any], Any]
"""of this process"""


def each(
    make: Callable[[Shared], Callable[[Task], Result]],
    shared: Shared,
    tasks: Sequence[Task],
    jobs: int,
    policies: Sequence[Path] = (),
) -> Iterator[Result]:
    """The results of `make(shared)` for each task, in their order; each of `jobs` processes makes it once.

    All that goes to and from the processes has to be picklable; they run the files of `policies` first. They end when
    the iterator is closed or fails. Raises InputError where one of them dies.
    """
    if min(jobs, len(tasks)) <= 1:
        return map(make(shared), tasks)
    return _in_processes(make, shared, tasks, min(jobs, len(tasks)), policies)


def _in_processes(
    make: Callable[[Shared], Callable[[Task], Result]],
    shared: Shared,
    tasks: Sequence[Task],
    jobs: int,
    policies: Sequence[Path],
) -> Iterator[Result]:
    others = set(multiprocessing.active_children())
    # A forked process may inherit a lock that a thread of polars holds; a spawned one starts afresh.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (make, shared, policies))
    try:
        with interrupts_wait():
            results = [pool.submit(_work, task) for task in tasks]
        for result in results:
            yield result.result()
    except BrokenProcessPool:
        raise InputError("a worker process died, which a lack of memory can do; take fewer --jobs") from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """What begins now never hears Ctrl+C, which reaches all processes of a terminal: the first one ends the others.

    It has to be so from their first moment on, and a process takes a while to begin; this one hears it afterwards, and
    not before: torn out of starting a process, it would not know of it, and could not end it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # or the first process would start it, which unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    heard: list[int] = []
    handlers = {}
    if current_thread() is main_thread():  # other threads hear signals too, and Python handles them in this one
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if heard:
            signal.raise_signal(heard[0])


def _begin(make: Callable[[Shared], Callable[[Any], Any]], shared: Shared, policies: Sequence[Path]) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for file in policies:
        load_policies(file)
    _worker = make(shared)


def _work(task: Any) -> Any:
    try:
        return _worker(task)
    except BaseException as error:  # on the way to the other process it would lose where it came from
        if sentence := blame(error):
            raise InputError(sentence) from None
        raise
