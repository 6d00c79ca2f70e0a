"""The KV cache on tensors: keys and values of all layers in the blocks of one pool."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor


class KVCache:
    """One tensor [layers, 2, blocks, block_size, kv_heads, head_dim]; 2: keys, then values. NaN where unwritten.

    A slot is block * block_size + offset and holds one token of one layer, all heads together: gathering blocks then
    copies long rows. Every number is NaN until it is written, so that whoever reads an unwritten slot is seen.
    """

    def __init__(
        self,
        layers: int,
        blocks: int,
        block_size: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = layers, 2, blocks, block_size, kv_heads, head_dim
        self.data = torch.full(shape, float("nan"), dtype=dtype, device=device)
        self._slots = self.data.view(layers, 2, blocks * block_size, kv_heads, head_dim)
        self._layers = self._slots.unbind()
        self._flat = self._slots.flatten(1, 2).unbind()
        self.halves = torch.tensor([0, blocks * block_size], device=device).view(2, 1, 1)
        """[2, 1, 1] int64: where keys and values begin in `flat`"""
        self._write = _write
        if self.data.is_cuda and find_spec("triton"):
            from engine.attention.triton_write import write

            self._write = write
        self._scratch = torch.empty(0, kv_heads, head_dim, dtype=dtype, device=device)

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return self.data.dtype

    @property
    def block_size(self) -> int:
        """Tokens in a block."""
        return self.data.shape[3]

    @property
    def slots(self) -> int:
        """Tokens in all blocks."""
        return self._slots.shape[2]

    @property
    def token_bytes(self) -> int:
        """Bytes of a token's keys and values in one layer."""
        kv_heads, head_dim = self.data.shape[-2:]
        return 2 * kv_heads * head_dim * self.data.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the pool."""
        return self.data.nbytes

    @property
    def scratch_nbytes(self) -> int:
        """Bytes of the buffer that gathering paths go through; it grows to the largest need and is kept."""
        return self._scratch.nbytes

    def layer(self, layer: int) -> Tensor:
        """A layer's keys and values by slot [2, slots, kv_heads, head_dim], a view."""
        return self._layers[layer]

    def flat(self, layer: int) -> Tensor:
        """The same as [2 * slots, kv_heads, head_dim]: keys lie at their slots, values `slots` behind them."""
        return self._flat[layer]

    def scratch(self, count: int) -> Tensor:
        """Room for [count, kv_heads, head_dim], always the same memory.

        Mapping fresh memory at every step would cost more than the copy into it.
        """
        if count > len(self._scratch):
            self._scratch = self._scratch.new_empty(0)  # free the old one first
            self._scratch = self.data.new_empty(count + count // 4, *self.data.shape[-2:])
        return self._scratch[:count]

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Keys and values [tokens, kv_heads, head_dim] of a layer into slots [tokens] int64: the only way in.

        On CUDA with Triton, what has a slot below 0 is written nowhere: padding under CUDA graphs.
        """
        self._write(self._layers[layer], slots, k, v)

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy whole blocks of all layers. All are read before any is written."""
        self.data[:, :, self._index(targets)] = self.data[:, :, self._index(sources)]

    def host(self, blocks: int) -> "HostBlocks":
        """Room on the host for so many blocks of this cache."""
        layers, two, _, *inner = self.data.shape
        return HostBlocks((blocks, layers, two, *inner), self.data.dtype, pinned=self.data.is_cuda)

    def swap_out(self, host: "HostBlocks", sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy blocks of this cache into blocks of the host; on CUDA in order with the work that is queued."""
        blocks = self.data.index_select(2, self._index(sources)).movedim(2, 0).contiguous()
        for block, target in zip(blocks, targets, strict=True):
            host.data[target].copy_(block, non_blocking=True)

    def swap_in(self, host: "HostBlocks", sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy blocks of the host back into blocks of this cache; on CUDA in order with the work that is queued."""
        layers, two, _, *inner = self.data.shape
        blocks = torch.empty((len(sources), layers, two, *inner), dtype=self.data.dtype, device=self.data.device)
        for block, source in zip(blocks, sources, strict=True):
            block.copy_(host.data[source], non_blocking=True)
        self.data.index_copy_(2, self._index(targets), blocks.movedim(0, 2))

    def slots_of(self, table: Sequence[int]) -> Tensor:
        """[blocks * block_size] int64: the slots of a block table, in order."""
        offsets = torch.arange(self.block_size, device=self.data.device)
        return (self._index(table)[:, None] * self.block_size + offsets).flatten()

    def compact(self, table: Sequence[int], target: Sequence[int], places: Tensor) -> None:
        """Each head keeps tokens of its own, packed to the front of another table; what lies behind is unwritten again.

        places: [layers, kv_heads, tokens] int64, in the slots of `table`. The tables may have blocks in common: all is
        read before anything is written. Nothing else may need the blocks of `target`; those of `table` that are not
        among them stay as they are.
        """
        old, new = self.slots_of(table), self.slots_of(target)
        layers, heads, tokens = places.shape
        layer = torch.arange(layers, device=places.device)[:, None, None]
        head = torch.arange(heads, device=places.device)[:, None]
        front, behind = new[:tokens], new[tokens:]
        self._slots[layer, :, front, head] = self._slots[layer, :, old[places], head]
        self._slots[:, :, behind] = float("nan")

    def poison(self, blocks: Sequence[int]) -> None:
        """Make blocks unwritten again."""
        self.data[:, :, self._index(blocks)] = float("nan")

    def _index(self, blocks: Sequence[int]) -> Tensor:
        return torch.tensor(blocks, dtype=torch.int64, device=self.data.device)


def _write(layer: Tensor, slots: Tensor, k: Tensor, v: Tensor) -> None:
    layer[0].index_copy_(0, slots, k)
    layer[1].index_copy_(0, slots, v)


class HostBlocks:
    """Blocks that were swapped out, on the host: a tensor [blocks, layers, 2, block_size, kv_heads, head_dim].

    Block first, unlike the cache, so that a block travels in one copy. NaN where nothing was swapped out.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, *, pinned: bool) -> None:
        """`pinned`: in page-locked memory, which a CUDA device copies from and to by itself."""
        self.data = torch.full(tuple(shape), float("nan"), dtype=dtype, pin_memory=pinned)

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self.data.nbytes
