"""Memories below the pool: runs whose every instant can be worked out on paper, and random ones that never leak.

By hand: a block is 4 tokens of 256 bytes, 1 KiB; at 4 KiB/s it takes 1/4 s, and every transfer takes 1 s besides. So
takes every step. What is not said otherwise is a pool of 4 blocks.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Results, Scenario, Simulation, Workload, simulate
from simcore.memory.tiers import TieredMemory
from simcore.policies.eviction import EVICTION
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.ticks import TICKS_PER_SECOND, Tick
from simcore.workload.columns import PRIVATE, Runs
from tests.theory.random_runs import scenarios, workloads

MODEL = {"layers": 1, "query_heads": 1, "kv_heads": 1, "head_dim": 64, "dtype": "float16"}
HOST = {"name": "host", "blocks": 100, "bandwidth": 4096.0, "latency": 1.0}
DISK = {"name": "disk", "blocks": 100, "bandwidth": 1024.0, "latency": 2.0}


def run(
    *requests: tuple[float, int, int],
    tiers: tuple[dict[str, Any], ...] = (HOST,),
    blocks: int = 5,
    scheduler: dict[str, Any] | None = None,
    step: float = 1.0,
    **options: Any,
) -> Results:
    """Requests are (arrival, source of its prompt, prompt) and want one token; with source 0 nobody shares theirs."""
    arrival, source, prompt_len = (np.array(column) for column in zip(*requests, strict=True))
    scenario = Scenario.model_validate(
        {
            "model": MODEL,
            "memory": {"blocks": blocks, "block_size": 4, "tiers": tiers},
            "scheduler": {"max_model_len": 1000} | (scheduler or {}),
            "timing": {"model": "constant", "step": step},
        }
    )
    named = source > 0
    workload = Workload(
        format="synthetic",
        arrival=arrival.astype(float),
        prompt_len=prompt_len,
        output_len=np.ones_like(prompt_len),
        runs=Runs(np.concatenate(([0], np.cumsum(named))), source[named], prompt_len[named]),
        output_source=np.full(len(prompt_len), PRIVATE),
    )
    return simulate(scenario, workload=workload, **options)


def seconds(results: Results, name: str) -> list[float]:
    return results.requests[name].to_list()


def moves(results: Results) -> list[tuple[int, int, int, float, float, float]]:
    """(tier, fetch, blocks, asked, began, ended) of each transfer in s, in the order of arrival."""
    *what, asked, began, ended = (column.tolist() for column in results.record.transfers.values())
    times = ([instant / TICKS_PER_SECOND for instant in column] for column in (asked, began, ended))
    return list(zip(*what, *times, strict=True))


PUSHED_OUT = ((0, 1, 12), (10, 2, 16))
"""Three blocks of source 1, which the second request evicts at 10 s."""


def test_who_waits_for_its_blocks_is_admitted_when_they_are_there() -> None:
    results = run(*PUSHED_OUT, (20, 1, 13))
    assert moves(results) == [
        (0, 0, 3, 10, 10, 11.75),
        (0, 1, 3, 20, 20, 21.75),
        (0, 0, 4, 20, 20, 22),  # what made room for them, in the other direction
    ]
    assert seconds(results, "queue") == [0, 0, 1.75]
    assert seconds(results, "ttft") == [1, 1, 2.75]
    assert seconds(results, "tier_hit_tokens") == [0, 0, 12]
    assert seconds(results, "computed_tokens") == [12, 16, 1]
    assert results.record.requests["first_token"][2] == 22.75 * TICKS_PER_SECOND
    (host,) = results.summary["tiers"]
    assert host == {
        "name": "host",
        "blocks": 100,
        "hits": 3,
        "hit_tokens": 12,
        "fetched": 3,
        "offloaded": 7,
        "evicted": 0,
        "skipped": 0,
        "bytes_fetched": 3 * 1024,
        "bytes_offloaded": 7 * 1024,
        "fetch_busy_share": 1.75 / 22.75,
        "offload_busy_share": 3.75 / 22.75,
        "used_mean": pytest.approx((3 * 10 + 7 * 2.75) / 22.75),
    }
    assert results.timeline["fetching"].to_list() == [0, 0, 1, 0]
    assert results.timeline["tier_host_fetching"].to_list() == [0, 0, 3, 0]
    assert results.timeline["tier_host_writing"].to_list() == [0, 3, 4, 4]
    assert results.timeline["tier_host_hits"].to_list() == [0, 0, 3, 0]
    assert results.timeline["tokens_stored"].to_list() == [12, 16, 12, 13]
    assert results.timeline["dt"].to_list() == [1, 1, 0, 1]


def test_who_does_not_wait_runs_a_step_that_lasts_until_they_are_there() -> None:
    results = run(*PUSHED_OUT, (20, 1, 13), tiers=(HOST | {"fetch": "overlapped"},))
    assert seconds(results, "queue") == [0, 0, 0]
    assert seconds(results, "ttft") == [1, 1, 1.75]
    assert results.timeline["dt"].to_list() == [1, 1, 1.75]
    fast = run(*PUSHED_OUT, (20, 1, 13), tiers=(HOST | {"fetch": "overlapped", "latency": 0.0},))
    assert seconds(fast, "ttft") == [1, 1, 1], "a transfer of 0.75 s hides behind the step"


TWO = ((0, 1, 12), (0, 2, 12), (10, 3, 32), (20, 1, 13), (20, 2, 13))


def test_two_transfers_queue_for_the_link() -> None:
    results = run(*TWO, blocks=9)
    assert [move for move in moves(results) if move[1]] == [(0, 1, 3, 20, 20, 21.75), (0, 1, 3, 20, 21.75, 23.5)]
    assert seconds(results, "ttft") == [1, 1, 1, 2.75, 4.5]
    overlapped = run(*TWO, blocks=9, tiers=(HOST | {"fetch": "overlapped"},))
    assert seconds(overlapped, "ttft") == [1, 1, 1, 3.5, 3.5], "both are in the step, which waits for the later one"
    # A tier has a link of its own; but the second tier gets nothing before the first is full.
    assert run(*TWO, blocks=9, tiers=(HOST, DISK)).summary["ttft"] == results.summary["ttft"]


def test_others_run_while_one_waits_and_it_takes_no_seat() -> None:
    requests = ((0, 1, 12), (10, 2, 16), (20, 1, 9), (20.25, 0, 4))
    results = run(*requests, scheduler={"max_num_seqs": 1})
    # Two blocks are fetched until 21.5. The other arrives at 20.25, runs until 21.25, and nobody is in the way then.
    assert seconds(results, "ttft") == [1, 1, 2.5, 1]
    later = run(*requests[:3], (20.75, 0, 4), scheduler={"max_num_seqs": 1})
    assert seconds(later, "ttft") == [1, 1, 2.75, 1], "there is one seat, and it is taken until 21.75"


def test_who_gives_way_to_nobody_waits_for_the_transfer_that_holds_the_blocks() -> None:
    """Four of eight blocks are fetched into, and the other request needs five, though it is admitted for the first.

    Steps take no time: tried again at once, it would be preempted and admitted for ever.
    """
    scheduler = {"max_num_seqs": 2, "max_num_batched_tokens": 4, "reserve_full_prompt": False}
    requests = ((0, 1, 12), (10, 2, 32), (20, 1, 13), (20, 0, 20))
    results = run(*requests, blocks=9, step=0.0, scheduler=scheduler)
    assert seconds(results, "ttft") == [0, 0, 1.75, 1.75]
    assert seconds(results, "preemptions") == [0, 0, 0, 1]


def test_a_write_through_begins_when_the_step_is_done() -> None:
    results = run((0, 1, 12), (1.5, 2, 16), (20, 1, 13), tiers=(HOST | {"offload": "on-write"},))
    assert moves(results)[:3] == [(0, 0, 3, 1, 1, 2.75), (0, 0, 4, 2.5, 2.75, 4.75), (0, 1, 3, 20, 20, 21.75)]
    assert len(moves(results)) == 3, "what is evicted, or fetched, is in the tier already"


def test_what_has_not_arrived_is_not_found() -> None:
    for arrival, hits in ((11.625, 0), (11.75, 12)):
        assert seconds(run(*PUSHED_OUT, (arrival, 1, 13)), "tier_hit_tokens")[2] == hits


def test_the_host_evicts_to_the_disk() -> None:
    tiers = (HOST | {"blocks": 3}, DISK | {"fetch": "overlapped"})
    results = run((0, 1, 12), (10, 2, 16), (20, 3, 16), (30, 1, 13), tiers=tiers, journal=True)
    # At 20 and at 30, four blocks leave the pool: three take the place of three, the fourth finds none that may go.
    host, disk = results.summary["tiers"]
    assert (host["offloaded"], host["evicted"], host["skipped"], host["hits"]) == (9, 6, 2, 0)
    assert (disk["offloaded"], disk["evicted"], disk["skipped"], disk["hits"]) == (6, 0, 0, 3)
    assert seconds(results, "ttft") == [1, 1, 1, 5], "2 s and three times 1 s"
    moved = results.blocks.filter(results.blocks["event"].is_in(["swap_out", "swap_in"]))
    assert moved["event"].to_list() == ["swap_out"] * 9 + ["swap_in"] * 3
    assert moved["other"].to_list() == [1] * 9 + [2] * 3
    assert moved["request"].to_list() == [None] * 9 + ["r3"] * 3
    first = results.blocks.filter(results.blocks["event"] == "register")["key"].to_list()[:3]
    assert moved["key"].to_list()[-3:] == first


def test_the_tail_of_a_chain_goes_first() -> None:
    """The host holds six: four more push the third block of source 1 out, and after its next use the second one."""
    host = HOST | {"blocks": 6, "offload": "on-write"}
    results = run((0, 1, 12), (10, 2, 16), (20, 1, 13), (30, 3, 16), (40, 1, 13), tiers=(host,))
    assert seconds(results, "tier_hit_tokens") == [0, 0, 8, 0, 4]


def test_a_hit_goes_on_from_the_pool_to_the_tiers() -> None:
    """The first block of source 1 is used again and stays, the two behind it are evicted."""
    results = run((0, 1, 12), (5, 1, 5), (10, 2, 12), (20, 1, 13))
    assert seconds(results, "hit_tokens") == [0, 4, 0, 4]
    assert seconds(results, "tier_hit_tokens") == [0, 0, 0, 8]
    assert seconds(results, "ttft") == [1, 1, 1, 2.5]


def test_a_slower_link_costs_time_and_no_hits() -> None:
    """Three users in turn, whose prompts grow, one at a time: what is found does not depend on the link."""
    requests = [(200 * turn, 1 + turn % 3, 12 + 4 * (turn // 3)) for turn in range(15)]
    runs = [
        run(*requests, blocks=9, tiers=(HOST | {"bandwidth": bandwidth},)) for bandwidth in (2.0**20, 4096.0, 1024.0)
    ]
    hits = [seconds(each, "tier_hit_tokens") for each in runs]
    assert hits[0] == hits[1] == hits[2]
    assert sum(hits[0]) > 0
    fast, middle, slow = (each.summary["ttft"]["mean"] for each in runs)
    assert fast < middle < slow
    moved = [each.summary["tiers"][0]["fetched"] for each in runs]
    per_block = [4 * 256 / bandwidth for bandwidth in (2.0**20, 4096.0, 1024.0)]
    assert slow - fast == pytest.approx(moved[0] * (per_block[2] - per_block[0]) / 15)


tiers = st.fixed_dictionaries(
    {
        "blocks": st.sampled_from([1, 3, 10, 200]),
        "bandwidth": st.sampled_from([1e4, 1e5, 1e12]),
        "latency": st.sampled_from([0.0, 0.125, 5.0]),
        "offload": st.sampled_from(["on-evict", "on-write"]),
        "fetch": st.sampled_from(["blocking", "overlapped"]),
        "eviction": st.sampled_from(sorted(EVICTION)).map(lambda name: {"policy": name}),
    }
)


class Watch:
    """No tier and no pool ever holds more than it can, or knows of a transfer that is not under way."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None

    @property
    def memory(self) -> TieredMemory:
        assert self.simulation is not None
        memory = self.simulation._world.server.scheduler.memory
        assert isinstance(memory, TieredMemory)
        return memory

    def arrived(self, request: Request, accepted: bool) -> None:
        self.check()

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        self.check()

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        self.check()

    def check(self) -> None:
        pool = self.memory.pool
        assert 0 <= pool.idle <= pool.free <= pool.blocks - 1
        for tier in self.memory.tiers:
            assert len(tier) <= tier.blocks
            assert 0 <= len(tier._coming) <= len(tier._pins) <= len(tier)
            assert len(tier._coming) == tier.writing


def test_nothing_leaks_whatever_happens() -> None:
    reached = dict.fromkeys(("hits", "evicted", "skipped", "preempted", "waited", "both"), 0)

    @settings(max_examples=300)
    @given(scenarios(), workloads(forks=True), st.lists(tiers, min_size=1, max_size=3))
    def check(scenario: Scenario, workload: Workload, drawn: list[dict[str, Any]]) -> None:
        data = scenario.model_dump(exclude_none=True)
        data["memory"] |= {"prefix_caching": True}
        data["memory"]["tiers"] = [tier | {"name": f"t{number}"} for number, tier in enumerate(drawn)]
        data["scheduler"]["batching"] = "continuous"
        data["model"] = MODEL
        scenario = Scenario.model_validate(data)
        watch = Watch()
        watch.simulation = Simulation(scenario, workload=workload, observers=[watch])
        results = watch.simulation.run()
        memory, requests = watch.memory, results.record.requests

        assert not results.unfinished
        assert memory.pool.free == memory.pool.blocks - 1
        assert (memory._coming, memory._hits, memory._away) == ({}, {}, 0)
        for tier in memory.tiers:
            assert tier.fetching == tier.writing == 0
            assert not tier._pins
            assert not tier._coming
            assert sorted(tier.eviction) == sorted(tier)
        ours = (requests["status"] == 0) & (requests["preemptions"] == 0) & (requests["samples"] == 1)
        known = requests["hit_tokens"] + requests["tier_hit_tokens"] + requests["computed_tokens"]
        assert (known == workload.prompt_len + requests["output_tokens"] - 1)[ours].all()
        assert (results.record.steps["tokens_stored"] >= 0).all()
        assert (results.timeline["internal_tokens"] >= 0).all()

        summary = results.summary["tiers"]
        for tier in summary:
            assert tier["hits"] == tier["fetched"]
        assert sum(tier["hit_tokens"] for tier in summary) == requests["tier_hit_tokens"].sum()

        again = simulate(scenario, workload=workload, journal=True)
        assert again.summary == results.summary
        assert again.timeline.select(results.timeline.columns).equals(results.timeline), "a journal adds columns"
        assert again.requests.equals(results.requests)

        reached["hits"] += sum(tier["hits"] for tier in summary) > 0
        reached["both"] += sum(tier["hits"] > 0 for tier in summary) > 1
        reached["evicted"] += sum(tier["evicted"] for tier in summary) > 0
        reached["skipped"] += sum(tier["skipped"] for tier in summary) > 0
        reached["preempted"] += results.summary["preemptions"] > 0
        fetching = results.record.fetching
        reached["waited"] += fetching is not None and bool((fetching > 1).any())

    check()
    assert min(reached.values()) >= 3, reached


@settings(max_examples=100)
@given(workloads(), st.integers(1, 8), st.sampled_from(["on-evict", "on-write"]), st.integers(0, 2))
def test_a_pool_with_room_below_it_finds_what_a_pool_of_that_size_would(
    workload: Workload, block_size: int, offload: str, waiting: int
) -> None:
    """One request at a time, and links that take no time: what has left the pool is in one of the tiers."""
    alone = replace(workload, arrival=np.arange(len(workload)) * 100.0, after=None)
    tier = {"blocks": 10_000, "bandwidth": 1e18, "offload": offload}
    fetch = ["overlapped", "blocking", "blocking"][waiting]
    options = {"model": MODEL, "timing": {"model": "constant", "step": 0.01}, "scheduler": {"max_model_len": 100}}
    small = {"blocks": 1 + -(-60 // block_size), "tiers": [tier | {"name": "host", "fetch": fetch}]}
    if waiting == 2:  # a small tier hands on what it evicts
        small["tiers"].insert(0, tier | {"name": "near", "blocks": 60, "offload": "on-evict"})
    large = {"blocks": 10_000}
    below, all_in_one = (
        simulate(
            Scenario.model_validate(options | {"memory": memory | {"block_size": block_size}}), workload=alone
        ).record.requests
        for memory in (small, large)
    )
    assert (below["hit_tokens"] + below["tier_hit_tokens"] == all_in_one["hit_tokens"]).all()


def test_no_tiers_are_no_tiers() -> None:
    results = run(*TWO, blocks=9, tiers=())
    assert "tiers" not in results.summary
    columns = results.timeline.columns + results.requests.columns
    assert not [name for name in columns if "tier" in name or name == "fetching"]
