"""One step as tensors: what is pushed through a model, where it is written, and what each row may look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one step as the engine's tensors: all that attention and a model need to know.

    A row is a sequence. `starts` of its tokens are in the cache, `counts` are new; its slots 0 ... lens - 1 lie in the
    blocks of its table. Positions are not slots: a pruned sequence has fewer slots than its tokens have positions.
    `starts` and `counts` are what the host knows, so that nothing has to wait for the device.

    A CUDA graph reads tensors where they were when it was captured. There, a batch of so many rows is captured with the
    largest starts that there will be, and `copy_` brings in every step's rows, padded to so many.
    """

    tokens: Tensor  # [tokens] int64: ids to push through the model
    positions: Tensor  # [tokens] int64: for position embeddings, never slots
    slots: Tensor  # [tokens] int64: where the K and V of each new token go: block * block_size + offset
    starts: tuple[int, ...]  # [rows] tokens that were stored before
    counts: tuple[int, ...]  # [rows] new tokens
    block_table: Tensor  # [rows, width] int32, unused entries 0 (the null block)
    cu_q: Tensor  # [rows + 1] int32: prefix sums of counts
    lens: Tensor  # [rows] int32: starts + counts
    block_size: int  # tokens

    @classmethod
    def of(
        cls,
        tables: Sequence[Sequence[int]],
        starts: Sequence[int],
        counts: Sequence[int],
        tokens: Sequence[int] | Tensor,
        block_size: int,
        device: torch.device | str = "cpu",
        *,
        positions: Sequence[int] | np.ndarray | None = None,
        width: int = 0,
    ) -> Self:
        """Rows with their block tables, lengths in tokens, and the new tokens of all rows, one row behind the other.

        `positions` are those of the new tokens; without them each row goes on at its start. A table may be longer than
        its row needs, not shorter (ValueError); together they are made at least `width` blocks wide. A row with start
        -1 and one new token is padding: it is written nowhere (slot -1), sees nothing, and only CUDA with Triton knows
        it. Two device transfers in all, whatever the rows.
        """
        old, new = np.asarray(starts, dtype=np.int64), np.asarray(counts, dtype=np.int64)
        lens, cu_q = old + new, np.concatenate(([0], np.cumsum(new)))
        needed = -(-lens // block_size)
        table = np.zeros((len(tables), int(needed.max(initial=width))), dtype=np.int64)
        for row, (blocks, need) in enumerate(zip(tables, needed.tolist(), strict=True)):
            if len(blocks) < need:
                raise ValueError(f"row {row} has {len(blocks)} blocks of {block_size} tokens for {lens[row]} tokens")
            table[row, :need] = blocks[:need]
        rows = np.repeat(np.arange(len(new)), new)
        places = np.arange(len(rows)) - np.repeat(cu_q[:-1] - old, new)  # the new tokens' slots within their rows
        positions = np.maximum(places, 0) if positions is None else np.asarray(positions, dtype=np.int64)
        slots = table[rows, places // block_size] * block_size + places % block_size
        slots[places < 0] = -1
        wide = [slots, positions]
        if not isinstance(tokens, Tensor):
            wide.append(np.asarray(tokens, dtype=np.int64))
        on_slots, on_positions, *on_tokens = _send(np.concatenate(wide), [len(part) for part in wide], device)
        narrow = np.concatenate((table.ravel(), cu_q, lens)).astype(np.int32)
        on_table, on_cu_q, on_lens = _send(narrow, [table.size, len(cu_q), len(lens)], device)
        return cls(
            tokens=tokens.to(device) if isinstance(tokens, Tensor) else on_tokens[0],
            positions=on_positions,
            slots=on_slots,
            starts=tuple(starts),
            counts=tuple(counts),
            block_table=on_table.view(table.shape),
            cu_q=on_cu_q,
            lens=on_lens,
            block_size=block_size,
        )

    def copy_(self, other: "Batch") -> None:
        """Bring in the tensors of a batch of equal shapes; the host's `starts` and `counts` stay what they are."""
        for name in ("tokens", "positions", "slots", "block_table", "cu_q", "lens"):
            getattr(self, name).copy_(getattr(other, name))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.slots.device

    @property
    def ends(self) -> tuple[int, ...]:
        """[rows] tokens that are stored once the step is done: what the host knows of `lens`."""
        return tuple(map(sum, zip(self.starts, self.counts, strict=True)))

    @property
    def kv_indptr(self) -> Tensor:
        """[rows + 1] int32: where each row's blocks begin in `kv_indices`, as FlashInfer has it.

        https://docs.flashinfer.ai/tutorials/kv_layout.html#page-table-layout
        """
        return torch.tensor([0, *accumulate(self._used())], dtype=torch.int32, device=self.device)

    @property
    def kv_indices(self) -> Tensor:
        """[blocks] int32: the blocks of all rows, one row behind the other."""
        used = torch.tensor(self._used(), device=self.device)
        return self.block_table[torch.arange(self.block_table.shape[1], device=self.device) < used[:, None]]

    @property
    def kv_last_page_len(self) -> Tensor:
        """[rows] int32: tokens in each row's last block, 1 ... block_size."""
        return (self.lens - 1) % self.block_size + 1

    def _used(self) -> list[int]:
        return [-(-end // self.block_size) for end in self.ends]


def _send(data: np.ndarray, sizes: list[int], device: torch.device | str) -> tuple[Tensor, ...]:
    """Several arrays in one transfer, which does not hold up the host."""
    tensor = torch.from_numpy(data)
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return torch.split(tensor, sizes)
