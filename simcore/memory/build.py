"""The memory that a scenario describes."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from simcore.errors import InputError
from simcore.geometry import GIB, as_binary, content_bytes, page_tokens
from simcore.memory.base import Memory
from simcore.memory.contiguous import ContiguousMemory
from simcore.memory.grouped import GroupedMemory
from simcore.memory.growing import GrowingMemory
from simcore.memory.keys import PRIVATE_KEYS, BlockKeys, Key
from simcore.memory.paged import PagedMemory
from simcore.memory.pool import BlockPool, HostPool
from simcore.memory.pruned import Budget, PrunedMemory
from simcore.memory.tiers import Tier, TieredMemory, TieredPool, Tiers
from simcore.memory.virtual import VirtualMemory
from simcore.policies.admission import ADMISSION
from simcore.policies.allocation import ALLOCATOR, Contiguous, Growing, Virtual
from simcore.policies.eviction import EVICTION, Setting
from simcore.policies.eviction.base import NEVER_AGAIN, by_place
from simcore.policies.eviction.leaves import LeavesFirst
from simcore.record.journal import Journal
from simcore.scenario import Scenario
from simcore.ticks import TICKS_PER_SECOND, to_ticks
from simcore.timing import NO_CHUNKS, Chunks, StepTimer
from simcore.workload import Workload


def make_memory(
    scenario: Scenario, blocks: int, workload: Workload, timer: StepTimer | None, journal: Journal | None = None
) -> Memory:
    """The memory of a server with so many blocks, empty, for a workload. Raises InputError where it cannot serve it."""
    options, scheduler = scenario.memory, scenario.scheduler
    allocator = ALLOCATOR.make(options.allocator)
    if not allocator.shares and workload.samples is not None and (workload.samples > 1).any():
        raise InputError(
            f'requests of the workload want several samples, and memory.allocator = "{allocator.name}" shares no blocks'
        )
    match allocator:
        case Contiguous():
            return ContiguousMemory(blocks, options.block_size, allocator, scenario.max_model_len, journal)
        case Growing():
            return GrowingMemory(blocks, options.block_size, allocator, journal)
        case Virtual():
            return VirtualMemory(blocks, options.block_size, _page_group(scenario, allocator, blocks), journal)
    windows, late = scenario.model.resolve().windows, scheduler.async_scheduling
    keys = BlockKeys(workload, options.block_size, len(windows)) if options.prefix_caching else None
    pool = _pool(scenario, blocks, keys, workload, timer, journal)
    if any(windows):
        return GroupedMemory(
            pool,
            options.block_size,
            keys,
            windows,
            retention=options.prefix_retention,
            max_model_len=scenario.max_model_len,
            step_tokens=scheduler.max_num_batched_tokens,
            late=late,
        )
    if isinstance(pool, TieredPool):
        assert keys is not None
        return TieredMemory(pool, options.block_size, keys)
    if scenario.pruning.on:
        return PrunedMemory(pool, options.block_size, keys, Budget(scenario.pruning, options.block_size))
    host = HostPool(options.swap_blocks or blocks) if scheduler.preemption != "recompute" else None
    return PagedMemory(pool, options.block_size, keys, host, late)


def _page_group(scenario: Scenario, allocator: Virtual, blocks: int) -> int:
    """Whole blocks whose tokens fit into a page of each tensor."""
    tokens = page_tokens(scenario.model.resolve(), allocator.page << 10, scenario.hardware.count)
    group = tokens // scenario.memory.block_size
    if not 0 < group < blocks:
        few = f"no block of {scenario.memory.block_size} fits into it" if not group else "the pool has fewer"
        raise InputError(f"memory.allocator.page is {allocator.page} KiB, which is {tokens:,} tokens, and {few}")
    return group


def _pool(
    scenario: Scenario,
    blocks: int,
    keys: BlockKeys | None,
    workload: Workload,
    timer: StepTimer | None,
    journal: Journal | None,
) -> BlockPool:
    """The pool, and the tiers below it, if there are any."""
    options = scenario.memory
    setting = _setting(scenario, blocks, keys, workload, timer)
    eviction, admission = EVICTION.make(options.eviction), ADMISSION.make(options.admission)
    if options.structure == "radix":
        eviction = LeavesFirst(eviction)
    if options.tiers:
        return TieredPool(blocks, eviction, _tiers(scenario, setting), journal, admission, setting)
    windows = any(scenario.model.resolve().windows)
    return BlockPool(blocks, eviction, journal, admission, setting, enter_private=windows)


def _setting(
    scenario: Scenario, blocks: int, keys: BlockKeys | None, workload: Workload, timer: StepTimer | None
) -> Setting:
    block_size = scenario.memory.block_size
    return Setting(
        capacity=blocks - 1,
        seed=scenario.seed,
        block_size=block_size,
        cost=by_place if timer is None else _cost(timer, block_size),
        next_use=_next_use(keys, len(workload)),
    )


def _tiers(scenario: Scenario, setting: Setting) -> Tiers:
    """The tiers that a scenario lists, empty. Raises InputError for one that has no room for a block."""
    size = content_bytes(scenario.model.resolve(), scenario.memory.block_size)
    tiers = []
    for number, tier in enumerate(scenario.memory.tiers):
        blocks = tier.blocks or int((tier.capacity or 0) * GIB) // size
        if not blocks:
            raise InputError(
                f"memory.tiers[{number}].capacity is {tier.capacity}, but must have room for a block of "
                f"{as_binary(size)}, or be given in blocks"
            )
        made = Tier(
            tier.name,
            blocks,
            EVICTION.make(tier.eviction),
            replace(setting, capacity=blocks),
            on_write=tier.offload == "on-write",
            blocking=tier.fetch == "blocking",
            latency=to_ticks(tier.latency),
            fetch_ticks=to_ticks(size / tier.bandwidth),
            write_ticks=to_ticks(size / (tier.write_bandwidth or tier.bandwidth)),
        )
        tiers.append(made)
    return Tiers(tiers)


def _cost(timer: StepTimer, block_size: int) -> Callable[[int], float]:
    """What computing a block again takes, in seconds: a chunk of its tokens, in a step that there would be anyhow."""

    def cost(place: int) -> float:
        context = (place + 1) * block_size
        pairs = place * block_size * block_size + block_size * (block_size + 1) // 2
        chunk = Chunks(1, block_size, context)
        idle = timer.ticks(1, 1, 1, 1, NO_CHUNKS)
        return max(timer.ticks(1, block_size, context, pairs, chunk) - idle, 0) / TICKS_PER_SECOND

    return cost


def _next_use(keys: BlockKeys | None, requests: int) -> Callable[[int, int], int]:
    """Which request after a given one is the next to contain a content; made when it is first asked."""
    rows: dict[Key, list[int]] = {}

    def next_use(name: Key, row: int) -> int:
        if keys is None or name >= PRIVATE_KEYS:
            return NEVER_AGAIN
        name = keys.of_all_groups(name)
        if not rows:
            for each in range(requests):
                for key in keys.of(each):
                    if key >= PRIVATE_KEYS:
                        break
                    rows.setdefault(key, []).append(each)
        later = rows.get(name, [])
        place = bisect_right(later, row)
        return later[place] if place < len(later) else NEVER_AGAIN

    return next_use
