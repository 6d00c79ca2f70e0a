"""Serving a load from beginning to end: this engine and others side by side, on the same weights and prompts.

Every contender has a process of its own, so that its peak of memory is its own, and all take turns, so that what else
happens on the machine happens to all of them.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine import checkpoint, rss
from engine.device import find_device
from engine.executor import EngineExecutor
from engine.meter import CudaMeter, Stopwatch, StorageMeter
from engine.models import GPT2Shape, LlamaShape, ModelShape, Rope, build
from engine.tokens import TokenIds
from simcore import Scenario, Simulation, Workload
from simcore.errors import InputError

Clock = Literal["wall", "cpu"]

BLOCK_SIZE = 16
"""Tokens of a block."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that arrive all at once, with prompts of random length and tokens; all are answered in full."""

    requests: int
    shortest: int
    """tokens of a prompt"""
    longest: int
    output: int
    """tokens of an answer"""
    batched_tokens: int
    """of a step at most, prompts and answers together"""

    @property
    def workload(self) -> Workload:
        """The requests as the scheduler knows them."""
        lengths = np.random.default_rng(0).integers(self.shortest, self.longest, self.requests, endpoint=True)
        return Workload("benchmark", np.zeros(self.requests), lengths, np.full(self.requests, self.output))

    def prompts(self, vocab_size: int) -> list[list[int]]:
        """The ids of all prompts."""
        ids = TokenIds(self.workload, vocab_size)
        return [ids.prompt(row).tolist() for row in range(self.requests)]

    @property
    def blocks(self) -> int:
        """Of a pool in which all of it finds room, the null block included."""
        return 1 + int((-(-(self.workload.prompt_len + self.output) // BLOCK_SIZE)).sum())


# Vocabulary and feed-forward networks of the small models are chosen; the rest is a table's that this one repeats.
_SMALL: dict[str, Any] = {
    "layers": 4,
    "heads": 4,
    "head_dim": 64,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "vocab_size": 1024,
    "max_model_len": 512,
    "eps": 1e-5,
    "dtype": torch.float32,
}
_TINY_LLAMA = LlamaShape(  # https://arxiv.org/abs/2401.02385
    layers=22,
    heads=32,
    kv_heads=4,
    head_dim=64,
    hidden_size=2048,
    intermediate_size=5632,
    vocab_size=32_000,
    max_model_len=2048,
    tied=False,
    eps=1e-5,
    dtype=torch.bfloat16,
    rope=Rope(10_000.0),
)
CASES: dict[str, tuple[dict[str, ModelShape], Load]] = {
    "cpu": (
        {
            "GPT-2": GPT2Shape(**_SMALL, kv_heads=4, tied=True),
            "Llama, 2 KV heads": LlamaShape(**_SMALL, kv_heads=2, tied=False, rope=Rope(10_000.0)),
        },
        Load(requests=32, shortest=64, longest=256, output=64, batched_tokens=1024),
    ),
    "cuda": (
        {"Llama of 1.1 G": _TINY_LLAMA},
        Load(requests=128, shortest=64, longest=1024, output=128, batched_tokens=8192),
    ),
}
"""The models that serve, and what, by the device."""


class Server(Protocol):
    """Somebody who serves a load, with a model that is in memory already."""

    @property
    def way(self) -> str:
        """How it reads keys and values."""
        ...

    @property
    def kept(self) -> Sequence[Tensor]:
        """What it keeps between loads: weights, perhaps a cache."""
        ...

    def serve(self) -> list[list[int]]:
        """The ids of all answers [requests][output], always the best one."""
        ...


Make = Callable[[Path, Load, torch.device], Server]
"""From a folder in Hugging Face's layout. It can be imported, so that another process can call it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server by its name."""

    name: str
    make: Make
    one_thread: bool = True
    """it makes its tensors in the thread that calls it, where storage tracking sees them"""


class Engine:
    """This engine, driven by the scheduler."""

    def __init__(self, folder: Path, load: Load, device: torch.device, *, graphs: bool = True) -> None:
        """`graphs`: launch decode steps as CUDA graphs where there is CUDA."""
        self._model = checkpoint.load(folder, device=str(device)).model
        self._load = load
        self._workload = load.workload
        self._ids = TokenIds(self._workload, self._model.shape.vocab_size)
        self._executor = EngineExecutor(
            self._model,
            self._workload,
            self._ids,
            blocks=load.blocks,
            block_size=BLOCK_SIZE,
            generate=True,
            graphs=graphs and device.type == "cuda",
            tune_threads=device.type == "cpu",
        )

    @property
    def way(self) -> str:
        """See `Server`."""
        path, graphs = self._executor.path, self._executor.graphs
        if graphs is None:
            return path
        if graphs.failure:
            return f"{path}, kernel by kernel, since CUDA graphs failed: {graphs.failure}"
        return f"{path}, decode steps as {len(graphs)} CUDA graphs"

    @property
    def kept(self) -> Sequence[Tensor]:
        """See `Server`."""
        cache = self._executor.cache
        return [*self._model.parameters(), cache.data, cache.scratch(0)]

    def serve(self) -> list[list[int]]:
        """See `Server`."""
        load, executor = self._load, self._executor
        scenario = {
            "memory": {"blocks": load.blocks, "block_size": BLOCK_SIZE},
            "scheduler": {
                "max_model_len": self._model.shape.max_model_len,
                "max_num_batched_tokens": load.batched_tokens,
                "max_num_seqs": load.requests,
            },
            "timing": {"model": "constant"},
        }
        executor.begin(self._workload, self._ids)
        Simulation(Scenario.model_validate(scenario), workload=self._workload, executor=executor).run()
        return [executor.texts[row, 0].drawn for row in range(load.requests)]


ENGINE = Contender("engine", Engine)
KERNEL_BY_KERNEL = Contender("engine without graphs", partial(Engine, graphs=False))


@dataclass(frozen=True, slots=True)
class Run:
    """What serving the load once took."""

    wall: float  # s
    cpu: float  # s of all cores
    answers: list[list[int]]


@dataclass(frozen=True, slots=True)
class Result:
    """A contender's runs, in the order of the rounds."""

    name: str
    way: str
    runs: list[Run]
    peak: float
    """bytes, of the whole process or of what torch's allocator took on the GPU"""
    peak_tool: str
    tensors: int | None
    """bytes of tensors at most, by storage tracking; None: not measured"""
    machine: str

    def rates(self, clock: Clock) -> list[float]:
        """New tokens a second, run by run: of the wall's clock, or of what all cores worked."""
        return [sum(map(len, run.answers)) / (run.wall if clock == "wall" else run.cpu) for run in self.runs]


def serving(
    shape: ModelShape,
    load: Load,
    peers: Sequence[Contender] = (),
    *,
    device: str = "cpu",
    threads: int = 2,
    runs: int = 5,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[Result]:
    """This engine's result and its peers', on the same random weights, after a warm-up that does not count.

    threads: of torch on the CPU. A peer that fails is left out, and `note` is told why. Raises InputError where the
    device is missing.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or threads that wait take the time of those that work
    with TemporaryDirectory() as folder, ExitStack() as stack:
        model = build(shape)
        model.initialize(0)
        checkpoint.save(model, Path(folder), {"bos_token_id": None, "eos_token_id": None})
        del model
        rooms = [stack.enter_context(_Room(contender)) for contender in (ENGINE, *peers)]

        def all_do(work: Callable[[_Room], None], first: int = 0) -> None:
            for room in rooms[first:] + rooms[:first]:
                try:
                    work(room)
                except Exception as error:  # whatever the code of others raises
                    if room is rooms[0]:
                        raise
                    note(f"{room.name} is left out: {error}")
                    rooms.remove(room)

        all_do(lambda room: room.open(Path(folder), load, device, threads))
        for turn in range(runs):
            all_do(_Room.serve, turn % len(rooms))
        return [room.result() for room in rooms]


T = TypeVar("T")


class _Room:
    """A contender's own process."""

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._contender = contender
        self._runs: list[Run] = []
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        if kind is not None:
            for process in active_children():  # otherwise what they do would be waited for
                process.kill()
        self._pool.shutdown()

    def open(self, folder: Path, load: Load, device: str, threads: int) -> None:
        """Read the model, and serve once without counting."""
        self._do(_open, self._contender.make, folder, load, device, threads)
        self._do(_serve)

    def serve(self) -> None:
        """Serve once more, and count."""
        self._runs.append(self._do(_serve))

    def result(self) -> Result:
        """Of all that was served."""
        way, peak, tool, machine = self._do(_about)
        tracked = self._contender.one_thread and tool == rss.TOOL
        tensors = self._do(_tensors) if tracked else None
        return Result(self.name, way, self._runs, peak, tool, tensors, machine)

    def _do(self, work: Callable[..., T], *args: object) -> T:
        try:
            return self._pool.submit(work, *args).result()
        except BrokenProcessPool:
            raise InputError(f"{self.name} was killed, perhaps for want of memory") from None


# What follows runs in the process of a contender, which has one server.
_servers: list[tuple[Server, torch.device]] = []


def _open(make: Make, folder: Path, load: Load, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    found = find_device(device)
    _servers.append((make(folder, load, found), found))


def _serve() -> Run:
    [(server, device)] = _servers
    with Stopwatch(device) as watch:
        answers = server.serve()
    return Run(watch.wall, watch.cpu, answers)


def _about() -> tuple[str, float, str, str]:
    [(server, device)] = _servers
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return server.way, torch.cuda.max_memory_allocated(device), CudaMeter.tool, name
    return server.way, rss.peak_rss(), rss.TOOL, f"{torch.get_num_threads()} threads"


def _tensors() -> int:
    [(server, _)] = _servers
    meter = StorageMeter(server.kept)
    with meter:
        server.serve()
    return meter.peak
