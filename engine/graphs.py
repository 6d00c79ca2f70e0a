# mypy: disable-error-code="no-untyped-call"
"""Decode steps as CUDA graphs: the kernels of a step, recorded once and launched together as often as wanted.

A decode step of a model of a billion parameters is a millisecond of work in half a thousand kernels, which take several
milliseconds to launch one by one. What is recorded has fixed shapes and addresses: a graph is for a number of rows and
a width of block tables, and steps with less of both are padded. Rows of padding write nowhere and look at nothing.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.attention import PagedAttention
from engine.batch import Batch
from engine.kv_cache import KVCache
from engine.models import CausalLM

WARMUPS = 2
"""Runs before one is recorded: kernels are compiled, and libraries take their workspaces."""
NARROWEST = 16
"""Blocks: tables are made at least so wide."""


class DecodeInputs:
    """Room for the tensors of a decode step: always the same memory, brought up to date in one transfer."""

    def __init__(self, rows: int, width: int, block_size: int, device: torch.device | str) -> None:
        """For at most so many rows with tables of so many blocks."""
        words = 3 * rows + -(-(rows + rows * width) // 2)
        self._host = torch.zeros(words, dtype=torch.int64, pin_memory=torch.device(device).type == "cuda")
        self._there = torch.zeros(words, dtype=torch.int64, device=device)
        parts = [part.numpy() for part in _parts(self._host, rows, width)]
        self._tokens, self._positions, self._slots, self._lens, self._table = parts
        tokens, positions, slots, lens, table = _parts(self._there, rows, width)
        self.batch = Batch(
            tokens=tokens,
            positions=positions,
            slots=slots,
            starts=(width * block_size - 1,) * rows,
            counts=(1,) * rows,
            block_table=table,
            cu_q=torch.arange(rows + 1, dtype=torch.int32, device=device),
            lens=lens,
            block_size=block_size,
        )
        """all rows, those of padding included; `starts` bound them from above"""
        self.fill([], [], np.empty(0, np.int64))

    def fill(
        self,
        tables: Sequence[Sequence[int]],
        starts: Sequence[int],
        tokens: np.ndarray,
        positions: np.ndarray | None = None,
    ) -> Batch:
        """Rows with their block tables, the tokens stored before, and one new token each; the rest is padding.

        `positions` are those of the new tokens; without them each row goes on at its start. Returns these rows without
        the padding. What was filled in before must have been read: the host's side is overwritten at once.
        """
        rows, size = len(starts), self.batch.block_size
        old = np.asarray(starts, dtype=np.int64)
        self._table.fill(0)
        for row, blocks in enumerate(tables):
            self._table[row, : len(blocks)] = blocks
        self._tokens[:rows], self._tokens[rows:] = tokens, 0
        self._positions[:rows], self._positions[rows:] = old if positions is None else positions, 0
        self._slots[:rows] = self._table[np.arange(rows), old // size].astype(np.int64) * size + old % size
        self._slots[rows:] = -1
        self._lens[:rows], self._lens[rows:] = old + 1, 0
        self._there.copy_(self._host, non_blocking=True)
        whole = self.batch
        return Batch(
            tokens=whole.tokens[:rows],
            positions=whole.positions[:rows],
            slots=whole.slots[:rows],
            starts=tuple(starts),
            counts=(1,) * rows,
            block_table=whole.block_table[:rows],
            cu_q=whole.cu_q[: rows + 1],
            lens=whole.lens[:rows],
            block_size=size,
        )


class DecodeGraph:
    """A recorded step."""

    @torch.inference_mode()
    def __init__(self, model: CausalLM, cache: KVCache, rows: int, width: int, pool: Any) -> None:
        """`pool`: where all graphs that are never launched at the same time keep what they make."""
        device = cache.data.device
        self.inputs = DecodeInputs(rows, width, cache.block_size, device)

        def run() -> Tensor:
            batch = self.inputs.batch
            logits: Tensor = model(batch.tokens, batch.positions, PagedAttention(cache, batch, path="triton"))
            return logits

        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARMUPS):  # on padding alone, so that nothing is written
                run()
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(self._graph, pool=pool):
            self._logits = run()

    def __call__(self, rows: int) -> Tensor:
        """Logits [rows, vocab_size] of what `inputs` were filled with; good until the next call of any graph."""
        self._graph.replay()
        return self._logits[:rows]


class DecodeGraphs:
    """The graphs of one model on one cache, each recorded when it is first asked for. Needs CUDA and Triton."""

    def __init__(self, model: CausalLM, cache: KVCache) -> None:
        self.failure = ""
        """why nothing is recorded any more; empty: nothing went wrong"""
        self._model = model
        self._cache = cache
        self._graphs: dict[tuple[int, int], DecodeGraph] = {}
        self._pool: Any = None

    def __len__(self) -> int:
        """Graphs recorded so far."""
        return len(self._graphs)

    def find(self, rows: int, blocks: int) -> DecodeGraph | None:
        """The graph for so many rows whose tables have so many blocks at most; None: the step must do without.

        Recording takes a fraction of a second. Where it fails, it is not tried again.
        """
        key = bucket(rows), max(NARROWEST, 1 << (blocks - 1).bit_length())
        if key not in self._graphs and not self.failure:
            try:
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                self._graphs[key] = DecodeGraph(self._model, self._cache, *key, self._pool)
            except Exception as error:  # steps can be run kernel by kernel all the same
                self.failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return self._graphs.get(key)


def bucket(rows: int) -> int:
    """So many rows or a few more: four sizes between a power of two and the next, so that graphs remain few."""
    step = 1 << max((rows - 1).bit_length() - 3, 0)
    return -(-rows // step) * step


def _parts(words: Tensor, rows: int, width: int) -> tuple[Tensor, ...]:
    """Tokens, positions, slots [rows] int64, lens [rows] and table [rows, width] int32, one behind the other."""
    tokens, positions, slots, rest = words.split([rows, rows, rows, len(words) - 3 * rows])
    narrow = rest.view(torch.int32)
    return tokens, positions, slots, narrow[:rows], narrow[rows : rows + rows * width].view(rows, width)
