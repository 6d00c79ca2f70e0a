"""Who does the runs: this process, processes of this machine, or a cluster. The outcomes are the same."""

import logging
import re
import socket
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Self

from simcore.errors import InputError
from simcore.experiment.play import FAILED, Outcome, Task, play
from simcore.experiment.progress import Watcher
from simcore.schema import shown
from simcore.study.workers import interrupts_wait

DEATHS = "its worker process died, which a lack of memory can do"
CONNECT_S = 10


class Workers:
    """Who does runs while the block lasts: this process, `jobs` processes, or the workers of a cluster.

    Processes begin with the first runs and stay for those that follow.
    """

    def __init__(self, jobs: int | None = None, cluster: str | None = None) -> None:
        """`jobs`: None: one for each core; `cluster`: the address of a Dask scheduler."""
        self._jobs = jobs
        self._cluster = cluster
        self._pool: Any = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end(kill=False)

    def outcomes(self, tasks: Sequence[Task], watcher: Watcher | None = None) -> Iterator[Outcome]:
        """What comes of the tasks, as they are done, in any order.

        A worker that dies takes no outcome with it: its run is done again. Close the iterator to cancel what is left.
        """
        if self._cluster is not None:
            return _on_cluster(tasks, self._cluster)
        jobs = min(self._jobs or cores(), len(tasks))
        return map(play, tasks) if jobs <= 1 else self._in_processes(tasks, jobs, watcher)

    def _in_processes(self, tasks: Sequence[Task], jobs: int, watcher: Watcher | None) -> Iterator[Outcome]:
        """Runs that were under way when a worker died are begun again, a second time alone: so it shows who kills."""
        with tempfile.TemporaryDirectory(prefix="kvscope-runs-") as folder:
            begun = Path(folder)
            left = {task.key: task for task in tasks}
            deaths = dict.fromkeys(left, 0)
            while left:
                alone = [task for task in left.values() if deaths[task.key] > 1]
                together = [task for task in left.values() if deaths[task.key] <= 1]
                batch = together or alone[:1]
                with closing(self._batch(batch, min(jobs, len(batch)), begun)) as done:
                    for outcome in done:
                        del left[outcome.key]
                        yield outcome
                suspects = [task for task in batch if task.key in left and (begun / task.key).exists()]
                for task in suspects:
                    deaths[task.key] += 1
                    (begun / task.key).unlink()
                    if deaths[task.key] > 2 + (len(batch) > 1):
                        del left[task.key]
                        yield Outcome(task.key, FAILED, DEATHS)
                if suspects and watcher is not None:
                    watcher.retried(sum(task.key in left for task in suspects))

    def _batch(self, tasks: Sequence[Task], jobs: int, begun: Path) -> Generator[Outcome, None, None]:
        """The outcomes until all are there or a worker dies.

        No more are handed over than loky passes on at once: what it holds back, it trips over when it is ended early.
        """
        from joblib.externals.loky import wait
        from joblib.externals.loky.process_executor import BrokenProcessPool

        pool = self._processes(jobs)
        left, ended = iter(tasks), False
        futures: set[Any] = set()
        try:
            while True:
                with interrupts_wait():  # it is this process that ends the workers
                    for task in islice(left, 2 * jobs - len(futures)):
                        futures.add(pool.submit(_mark_and_play, task, begun / task.key))
                if not futures:
                    break
                done, futures = wait(futures, return_when="FIRST_COMPLETED")
                for future in done:
                    yield future.result()
            ended = True
        except BrokenProcessPool:
            pass
        finally:
            if not ended:
                self._end(kill=True)

    def _processes(self, jobs: int) -> Any:
        """A pool of that many processes or more."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self._size < jobs:
            self._end(kill=False)
            self._pool, self._size = ProcessPoolExecutor(jobs, env={"OMP_NUM_THREADS": "1"}), jobs
        return self._pool

    def _end(self, *, kill: bool) -> None:
        pool, self._pool, self._size = self._pool, None, 0
        if pool is None:
            return
        if kill:  # loky can end them too, but its thread may then trip over a run that has just ended
            for process in list(pool._processes.values()):
                process.terminate()
        pool.shutdown(wait=True)


def cores() -> int:
    """The cores that this process may use."""
    from joblib import cpu_count

    return int(cpu_count())


def _mark_and_play(task: Task, mark: Path) -> Outcome:
    mark.touch()
    outcome = play(task)
    mark.unlink()
    return outcome


def _on_cluster(tasks: Sequence[Task], address: str) -> Iterator[Outcome]:
    """Through the scheduler of a Dask cluster, which does again what a lost worker had, three times at most."""
    try:
        from distributed import Client, KilledWorker
        from distributed import as_completed as completed
    except ImportError:
        raise InputError("a cluster needs the package distributed: pip install 'kvscope[cluster]'") from None

    _ring(address)
    try:
        client: Any = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no scheduler of a Dask cluster answers at {address}: {error}") from None
    futures: dict[Any, str] = {}
    # What a worker had done but not handed over when it died is done again, which the client calls a warning.
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        futures = {client.submit(play, task, key=f"kvscope-{task.key}", pure=False): task.key for task in tasks}
        for future in completed(list(futures), loop=client.loop):
            try:
                yield future.result()
            except KilledWorker:
                yield Outcome(futures[future], FAILED, DEATHS)
            except Exception as error:  # what its worker could not even begin, as where KVScope is not installed
                yield Outcome(futures[future], FAILED, f"{type(error).__name__}: {error}")
            future.release()
    finally:
        client.cancel(list(futures))
        client.close()
        log.setLevel(level)


def _ring(address: str) -> None:
    """Raises InputError where nobody is: a client that has failed to connect complains in its own words for long."""
    match = re.fullmatch(r"(?:tcp|tls)://(?:\[([0-9a-fA-F:]+)\]|([^:/\[\]]+)):(\d{1,5})", address)
    if match is None:
        raise InputError(f"cluster is {shown(address)}, but must be like tcp://host:8786")
    try:
        socket.create_connection((match[1] or match[2], int(match[3])), CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(f"no scheduler of a Dask cluster answers at {address}: {said.lower()}") from None
