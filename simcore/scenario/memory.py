"""`[memory]`: the pool of KV-cache blocks, and the tiers below it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Strict, model_validator

from simcore.errors import InputError
from simcore.policies.admission import ADMISSION, Everything
from simcore.policies.allocation import ALLOCATOR, Paged
from simcore.policies.base import Choice, section_of
from simcore.policies.eviction import EVICTION, LRU
from simcore.schema import Misfit, Section, key, shown


def _utilization(section: dict[str, Any]) -> float | None:
    """Without a number of blocks the pool is derived, as a server does it."""
    return 0.9 if section.get("blocks") is None else None


def _caching(section: dict[str, Any]) -> bool:
    """What shares nothing finds nothing."""
    allocator = section.get("allocator")
    return not isinstance(allocator, Section) or shares(allocator)


def shares(allocator: Section) -> bool:
    """Whether blocks can belong to several sequences; see `Allocator`."""
    return ALLOCATOR[allocator.model_dump()["policy"]].shares


class TierSection(Section):
    """A memory below the pool that keeps what leaves it, and the link between the two. Bytes are those of all layers
    and all devices together.
    """

    name: str = key(
        help="What the tier is called, in results too.",
        pattern=r"^[a-z][a-z0-9_-]{0,39}$",
        allowed="text of at most 40 lower-case letters, digits, - and _, a letter first",
    )
    blocks: int | None = key(
        None, help="Its size in blocks; this or `capacity`.", unit="blocks", ge=1, le=1_000_000_000_000
    )
    capacity: float | None = key(
        None, help="Its size in bytes, of which whole blocks are used; this or `blocks`.", unit="GiB", gt=0, le=1e9
    )
    bandwidth: float = key(help="Rate of fetching blocks from it.", unit="B/s", ge=1e3, le=1e18)
    write_bandwidth: float | None = key(
        None, help="Rate of writing blocks to it; by default that of fetching.", unit="B/s", ge=1e3, le=1e18
    )
    latency: float = key(0.0, help="What every transfer takes besides, in either direction.", unit="s", ge=0, le=3600)
    offload: Literal["on-evict", "on-write"] = key(
        "on-evict",
        help="When a block is copied into it. on-evict: when the tier above evicts it, the pool for the first tier; "
        "on-write: when the step is done in which it was filled.",
    )
    fetch: Literal["blocking", "overlapped"] = key(
        "blocking",
        help="What a request does while its blocks are fetched. blocking: it waits with its blocks taken, and others "
        "run; overlapped: it runs at once, and its first step lasts at least until they are there.",
    )
    eviction: Annotated[Section, Choice(EVICTION)] = key(
        default_factory=section_of(LRU),
        help="Which block makes room when the tier is full: a policy's name, or a table with its name and parameters.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.blocks is None and self.capacity is None:
            raise Misfit(self, {"blocks": "it or capacity must say how large the tier is"})
        if self.blocks is not None and self.capacity is not None:
            raise Misfit(self, {"capacity": "blocks gives the tier's size already; leave one of them out"})
        return self


class MemorySection(Section):
    """The pool's size, given in blocks or derived from the hardware, and what happens to blocks in it."""

    blocks: int | None = key(
        None,
        help="Blocks in the pool, the null block 0 included, so that one less is usable; without it the pool is what "
        "the hardware leaves beside the weights and the activations.",
        unit="blocks",
        ge=2,
        le=1_000_000_000,
    )
    utilization: float | None = key(
        default_factory=_utilization,
        help="Share of the hardware's memory that the server may fill; it stands only where `blocks` is not given.",
        gt=0,
        le=1,
    )
    block_size: int = key(16, help="Tokens that one block holds.", unit="tokens", ge=1, le=65_536)
    allocator: Annotated[Section, Choice(ALLOCATOR)] = key(
        default_factory=section_of(Paged),
        help="How sequences lie in the pool: a policy's name, or a table with its name and parameters. All but paged "
        "share nothing: no prefix caching, no parallel samples, no swapping.",
    )
    prefix_caching: bool = key(
        default_factory=_caching,
        help="Keep the full blocks of earlier requests so that a prompt with the same beginning can use them; only "
        'allocator = "paged" can, and does so by default.',
    )
    swap_blocks: int = key(
        0,
        help='Blocks of host memory for requests that are preempted with scheduler.preemption = "swap" or "cheaper"; '
        "0: as many as the pool has.",
        unit="blocks",
        ge=0,
        le=1_000_000_000,
    )
    keep_unwritten: bool = key(
        True,
        help="As in vLLM: blocks that a step would have filled for a request that had to give way in this very step "
        "stay in the prefix cache, though they are never computed. It happens to victims by lowest priority only; a "
        "real engine would serve garbage from them.",
    )
    prefix_retention: int = key(
        -1,
        help="Which blocks of sliding-window layers stay cached: -1 all; 0 only the last ones of a prompt, as many as "
        "the window needs, and of a prefix that was found to be shared, as in vLLM; above 0, a multiple of "
        "memory.block_size, also as many at the end of every so many tokens. Layers with full attention ignore it.",
        unit="tokens",
        ge=-1,
        le=1_000_000_000,
    )
    structure: Literal["hash", "radix"] = key(
        "hash",
        help="What cached blocks lie in. hash: a flat map, from which any of them may be evicted, as in vLLM; radix: a "
        "tree, of which only leaves are evicted, as in SGLang.",
    )
    eviction: Annotated[Section, Choice(EVICTION)] = key(
        default_factory=section_of(LRU),
        help="Which idle cached block makes room when no other block is free: a policy's name, or a table with its "
        "name and parameters.",
    )

    admission: Annotated[Section, Choice(ADMISSION)] = key(
        default_factory=section_of(Everything),
        help="Which full blocks the prefix cache keeps at all: a policy's name, or a table with its name and "
        "parameters.",
    )

    tiers: Annotated[tuple[TierSection, ...], Strict(False)] = key(
        (), help="Memories below the pool, from near to far, which keep the prefix cache's blocks that it evicts."
    )

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.blocks is not None and self.utilization is not None:
            raise Misfit(self, {"utilization": "memory.blocks gives the pool's size already; leave one of them out"})
        if self.prefix_retention > 0 and self.prefix_retention % self.block_size:
            raise Misfit(self, {"prefix_retention": f"must be a multiple of memory.block_size ({self.block_size})"})
        if self.prefix_caching and not shares(self.allocator):
            name = self.allocator.model_dump()["policy"]
            raise Misfit(self, {"prefix_caching": f'memory.allocator = "{name}" shares no blocks: it must be false'})
        try:
            ALLOCATOR.make(self.allocator)
        except InputError as error:
            raise Misfit(self, {"allocator": str(error)}) from None
        return self

    @model_validator(mode="after")
    def _tiers_fit(self) -> Self:
        names = [tier.name for tier in self.tiers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise Misfit(self, {"tiers": f"two of its tiers have the name {shown(twice)}"})
        if self.tiers and not self.prefix_caching:
            raise Misfit(
                self, {"prefix_caching": "must be true with memory.tiers: what they keep is found by its content"}
            )
        return self
