"""Who is admitted next, who gives way, and who shares a step: small cases worked out by hand, and what always holds."""

import json
from collections import Counter
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import InputError, Results, Scenario, Simulation, Workload, simulate
from simcore.policies.queue import QueueSetting, ShortestFirst
from simcore.policies.victim import VICTIM
from simcore.record.recorder import FINISHED
from simcore.scenario.hardware import HardwareSection
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.timing import make_timer
from simcore.workload.columns import Runs
from tests.serving.symbolic import SymbolicExecutor
from tests.theory.random_runs import queues, workloads

Column = list[int] | list[float]


def scenario_of(memory: dict[str, Any] | None = None, **scheduler: Any) -> Scenario:
    """Steps of one second, blocks of four tokens; one request at a time unless it is said otherwise."""
    return Scenario.model_validate(
        {
            "memory": {"blocks": 100, "block_size": 4} | (memory or {}),
            "scheduler": {"max_model_len": 1000, "max_num_seqs": 1} | scheduler,
            "timing": {"model": "linear", "step": 1.0},
        }
    )


def workload_of(arrival: Column, prompt_len: Column, output_len: Column, **columns: Any) -> Workload:
    named = {name: np.array(column) if isinstance(column, list) else column for name, column in columns.items()}
    return Workload("test", np.array(arrival, float), np.array(prompt_len), np.array(output_len), **named)


class Diary:
    """Who was admitted and who gave way, in this order; and how many tokens of whom each step computed."""

    def __init__(self) -> None:
        self.admitted: list[int] = []
        self.preempted: list[int] = []
        self.steps: list[dict[int, int]] = []
        self.rows: dict[int, int] = {}

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: int, ticks: int) -> None:
        for seq, opening in plan.opened.items():
            self.rows[seq] = opening.request
            self.admitted.append(opening.request)
        self.preempted += [self.rows[seq] for seq in plan.preempted]
        self.steps.append({self.rows[seq]: count for seq, count in zip(plan.seqs, plan.counts, strict=True)})

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        pass


def played(scenario: Scenario, workload: Workload) -> Diary:
    """A run to its end, carried out on names."""
    diary = Diary()
    executor = SymbolicExecutor(workload, scenario.memory.block_size, make_timer(scenario))
    results = Simulation(scenario, workload=workload, executor=executor, observers=[diary]).run()
    assert not results.unfinished
    return diary


# Queues. While request 0 computes, the others arrive; they are served one after another.


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("fcfs", [0, 1, 2, 3]),
        ("priority", [0, 3, 1, 2]),
        ("shortest-first", [0, 2, 3, 1]),
        ({"policy": "shortest-first", "know": "predicted", "noise": 0.0}, [0, 2, 3, 1]),
        # lengths 6, 2, 4 at 0.1, 0.2 and 0.3 s: with 50 tokens for a second they count 11, 12, 19
        ({"policy": "shortest-first", "ageing": 50.0}, [0, 1, 2, 3]),
    ],
)
def test_order_of_admission(policy: str | dict[str, Any], order: list[int]) -> None:
    workload = workload_of([0, 0.1, 0.2, 0.3], [4] * 4, [3, 6, 2, 4], priority=[0, 2, 2, 1])
    assert played(scenario_of(policy=policy), workload).admitted == order


def test_predictions_are_wrong_by_a_factor_that_hangs_on_the_seed_alone() -> None:
    workload = workload_of([0.0] * 400, [4] * 400, [8] * 400)
    policy = {"policy": "shortest-first", "know": "predicted", "noise": 0.7}
    scenario = scenario_of(policy=policy)
    orders = [played(scenario.model_copy(update={"seed": seed}), workload).admitted for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(400))
    queue = ShortestFirst(know="predicted", noise=0.7)
    queue.start(QueueSetting(seed=1))
    factors = [queue.length(Sequence(row, Request(row, "", 0, 4, 8), 100)) / 8 for row in range(4000)]
    assert np.median(factors) == pytest.approx(1, abs=0.05)
    assert np.std(np.log(factors)) == pytest.approx(0.7, abs=0.03)


def test_the_longest_cached_prefix_is_first() -> None:
    """Request 0 leaves 8 tokens of source 1 in the cache; request 3 has 8 of them, request 2 has 4, request 1 none."""
    runs = Runs(np.array([0, 1, 1, 2, 3]), np.array([1, 1, 1]), np.array([8, 4, 8]))
    workload = workload_of([0, 0.1, 0.2, 0.3], [9] * 4, [2] * 4, runs=runs)
    policy = {"policy": "longest-prefix-first", "most": 3}
    assert played(scenario_of(policy=policy), workload).admitted == [0, 3, 2, 1]
    policy["most"] = 2  # with three waiting first comes first; the last two are looked up
    assert played(scenario_of(policy=policy), workload).admitted == [0, 1, 3, 2]


def test_fair_counters_by_hand() -> None:
    """Client 1 asks four times at once, client 2 twice later; all prompts have 4 tokens, all outputs 3: 4 + 2 * 3 each.

    When request 0 ends client 1 has had 10, client 2, which is lifted to client 1's counter at the start, 0. It is
    served until it has had as much; then it is client 1's turn, for it has the smaller number, and so on.
    """
    workload = workload_of([0, 0, 0, 0, 0.1, 0.1], [4] * 6, [3] * 6, category=[1, 1, 1, 1, 2, 2])
    assert played(scenario_of(policy="fcfs"), workload).admitted == [0, 1, 2, 3, 4, 5]
    assert played(scenario_of(policy="fair"), workload).admitted == [0, 4, 1, 5, 2, 3]


def test_nobody_saves_up_service_by_being_away() -> None:
    """Client 1 is served alone for a while; client 2 comes and is lifted: they take turns, and it has no credit."""
    workload = workload_of([0, 0, 0, 0, 0, 6.5, 6.5, 6.5], [4] * 8, [3] * 8, category=[1] * 5 + [2] * 3)
    assert played(scenario_of(policy="fair"), workload).admitted == [0, 1, 2, 5, 3, 6, 4, 7]


@pytest.mark.parametrize("seed", range(5))
def test_two_backlogged_clients_are_served_alike(seed: int) -> None:
    """VTC's bound while both wait: services differ by at most 2 max(w_p * longest prompt, w_q * batch tokens)."""
    rng = np.random.default_rng(seed)
    count = 300
    category = np.where(rng.random(count) < 0.8, 1, 2)
    prompt_len = np.where(category == 1, rng.integers(1, 60, count), rng.integers(20, 120, count))
    workload = workload_of([0] * count, prompt_len.tolist(), rng.integers(1, 40, count).tolist(), category=category)
    pool = 60 * 4
    bound = 2 * max(1.0 * int(prompt_len.max()), 2.0 * pool)
    apart = {}
    for policy in ("fair", "fcfs"):
        scenario = scenario_of({"blocks": 61}, policy=policy, max_num_seqs=16, max_num_batched_tokens=64)
        results = simulate(scenario, workload=workload)
        apart[policy] = largest_gap(results, category)
    assert apart["fair"] <= bound < apart["fcfs"], (apart, bound)


def largest_gap(results: Results, category: np.ndarray[Any, Any]) -> float:
    """Between the services that clients 1 and 2 have had, for as long as both have somebody who waits."""
    requests, steps = results.record.requests, len(results.record.steps["t"])
    admitted = np.searchsorted(results.record.steps["t"], requests["first_scheduled"])
    service = {client: np.zeros(steps + 1) for client in (1, 2)}
    for row, client in enumerate(category.tolist()):
        service[client][admitted[row]] += results.workload.prompt_len[row]
    for row, _, first, length in results.record.streaks.tolist():
        service[int(category[row])][first : first + length] += 2
    both_wait = min(int(admitted[category == client].max()) for client in (1, 2))
    gap = np.cumsum(service[1] - service[2])[:both_wait]
    return float(gap.max() - gap.min())


# Victims. Blocks of one token; all arrive at once, and decode side by side until the pool is full.


@pytest.mark.parametrize(
    ("victim", "first"),
    [
        ("by-queue", 3),
        ("last-admitted", 3),
        ("lowest-priority", 1),
        ("most-blocks", 2),
        ("least-progress", 3),  # all have had as many: among equals the last admitted
        ("closest-to-end", 3),
        ("furthest-from-end", 1),
    ],
)
def test_who_gives_way_first(victim: str, first: int) -> None:
    """Prompts of 4, 2, 6 and 3 tokens; 23 blocks are full after two more tokens each, and 15 + 4 * 2 = 23."""
    workload = workload_of([0] * 4, [4, 2, 6, 3], [8, 9, 6, 5], priority=[1, 3, 2, 2])
    memory = {"blocks": 24, "block_size": 1, "prefix_caching": False}
    assert played(scenario_of(memory, victim=victim, max_num_seqs=4), workload).preempted[0] == first


def test_least_progress_spares_who_was_served_longest() -> None:
    """Request 1 has decoded for a while when request 2 comes: last admitted and least progress agree, until it is 1's
    turn to have had less, after it was preempted: then request 2 goes on."""
    workload = workload_of([0, 0, 3.5], [4, 4, 2], [14, 10, 10])
    memory = {"blocks": 20, "block_size": 1, "prefix_caching": False}
    diary = played(scenario_of(memory, victim="least-progress", max_num_seqs=3), workload)
    assert diary.preempted[0] == 2


@pytest.mark.parametrize(("per_swap", "swaps"), [(0.4, True), (0.6, False)])
def test_the_cheaper_of_recomputing_and_swapping(per_swap: float, swaps: bool) -> None:
    """A victim of 12 tokens in 3 blocks: 12 tokens of computing less the one there is anyhow, 11 * 0.25 s = 2.75 s, or
    6 blocks to move: 2.4 s or 3.6 s."""
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": 7, "block_size": 4, "prefix_caching": False},
            "timing": {"model": "linear", "step": 1.0, "per_token": 0.25, "per_swapped_block": per_swap},
            "scheduler": {"preemption": "cheaper", "max_model_len": 24},
        }
    )
    results = simulate(scenario, workload=workload_of([0, 0], [8, 8], [12, 12]))
    assert results.summary["preemptions"] == 1
    assert results.record.steps["swaps_out"].sum() == (3 if swaps else 0)


# Batching.


def test_prompts_first_lets_outputs_wait() -> None:
    """Request 1 comes while request 0 decodes: its prompt of two chunks has two steps to itself."""
    workload = workload_of([0, 1.5], [4, 12], [5, 2])
    for batching, steps in (
        ("continuous", [{0: 4}, {0: 1}, {0: 1, 1: 7}, {0: 1, 1: 5}, {0: 1, 1: 1}]),
        ("prefill-first", [{0: 4}, {0: 1}, {1: 8}, {1: 4}, {0: 1, 1: 1}, {0: 1}, {0: 1}]),
    ):
        scenario = scenario_of(batching=batching, max_num_seqs=2, max_num_batched_tokens=8)
        assert played(scenario, workload).steps == steps
    results = simulate(scenario, workload=workload)
    assert results.record.requests["finished"].tolist() == [7 * 2**40, 5 * 2**40]
    assert results.requests["itl_mean"].to_list() == [1.5, 1.0]  # of request 0: 1, 3, 1, 1 s


def test_a_static_batch_lets_nobody_join() -> None:
    """Two slots: requests 0 and 1 run to the end of both before 2 and 3 begin; a batch has two steps of prompts."""
    workload = workload_of([0] * 4, [4, 6, 4, 4], [4, 2, 2, 2])
    scenario = scenario_of(batching="static", max_num_seqs=2, max_num_batched_tokens=8)
    assert played(scenario, workload).steps == [
        {0: 4, 1: 4},
        {1: 2},
        {0: 1, 1: 1},
        {0: 1},
        {0: 1},
        {2: 4, 3: 4},
        {2: 1, 3: 1},
    ]


def test_prompts_first_makes_outputs_stutter_and_answers_begin_sooner() -> None:
    """The same load at the same rate: the longest gaps are longer than with continuous batching."""
    summary = {}
    for batching in ("continuous", "prefill-first", "static"):
        overrides = ["workload.requests=300", f"scheduler.batching={batching}", "memory.blocks=4000"]
        summary[batching] = simulate(Scenario.preset("chat", overrides)).summary
    itl = {name: each["itl"]["p99"] for name, each in summary.items()}
    ttft = {name: each["ttft"]["mean"] for name, each in summary.items()}
    assert itl["prefill-first"] > itl["continuous"]
    assert ttft["static"] > 2 * ttft["continuous"]


# What holds with all of them.


@st.composite
def servers(draw: st.DrawFn, victim: str, ties: bool) -> Scenario:
    """Tiny pools, everything chosen at random; requests may be equal in all but for vLLM's rule by priority."""
    caching = draw(st.booleans())
    chunked = draw(st.booleans())
    return Scenario.model_validate(
        {
            "memory": {
                "blocks": 1 + draw(st.integers(56, 80)) // (size := draw(st.integers(1, 5))),
                "block_size": size,
                "prefix_caching": caching,
                "swap_blocks": draw(st.sampled_from([0, 6])),
            },
            "scheduler": {
                "policy": draw(queues(caching)),
                "victim": victim,
                "batching": draw(st.sampled_from(["continuous", "prefill-first", "static"])),
                "preemption": draw(st.sampled_from(["recompute", "swap", "cheaper"])),
                "max_num_seqs": draw(st.sampled_from([8, 4])),
                "max_num_batched_tokens": draw(st.integers(8, 30)) if chunked else 60,
                "max_model_len": 60,
                "chunked_prefill": chunked,
                "long_prefill_token_threshold": draw(st.integers(0, 3)),
                "reserve_full_prompt": draw(st.booleans()) or not ties,
                "watermark": draw(st.sampled_from([0.0, 0.2])),
                "max_steps": 50_000,
            },
            "timing": {
                "model": "linear",
                "step": 0.25,
                "per_token": 0.0625,
                "per_swapped_block": draw(st.sampled_from([0.0, 0.125])),
            },
        }
    )


@pytest.mark.parametrize("victim", VICTIM)
def test_every_run_ends_and_every_row_reads_what_was_computed_for_it(victim: str) -> None:
    """With priorities that are all different, which vLLM's rule needs, and else with those that are all alike."""
    ties = victim not in ("by-queue", "lowest-priority")
    reached: Counter[str] = Counter()

    @settings(max_examples=30)
    @given(servers(victim, ties), workloads(forks=True))
    def check(scenario: Scenario, workload: Workload) -> None:
        if ties:
            workload = replace(workload, priority=None)
        executor = SymbolicExecutor(workload, scenario.memory.block_size, make_timer(scenario))
        memory = scenario.memory.model_copy(update={"keep_unwritten": False})
        scenario = scenario.model_copy(update={"memory": memory})
        results = Simulation(scenario, workload=workload, executor=executor).run()
        requests, steps = results.record.requests, results.record.steps
        counts = results.summary["requests"]
        assert counts["finished"] + counts["rejected"] == len(workload)
        assert executor.count["written"] == steps["scheduled_tokens"].sum() == requests["computed_tokens"].sum()
        finished = requests["status"] == FINISHED
        length = np.minimum(workload.prompt_len + workload.output_len, scenario.max_model_len)
        assert workload.samples is not None
        outputs = workload.samples * (length - workload.prompt_len)
        assert (requests["output_tokens"][finished] == outputs[finished]).all()
        assert results.record.streaks[:, 3].sum() == requests["output_tokens"].sum()

        log = StringIO()
        timed = simulate(scenario, workload=workload, step_log=log)
        assert all(json.loads(line)["used"] == 0 for line in log.getvalue().splitlines()[-1:])
        assert timed.summary == results.summary
        assert timed.requests.equals(results.requests)
        if steps["preemptions"].any():
            reached[scenario.scheduler.batching] += 1

    check()
    assert min(reached[batching] for batching in ("continuous", "prefill-first", "static")) > 0, reached


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs memory\.prefix_caching = true"):
        scenario_of({"prefix_caching": False}, policy="longest-prefix-first")
    with pytest.raises(ValueError, match="victims by lowest priority"):
        scenario_of({"prefix_caching": False}, victim="lowest-priority", reserve_full_prompt=False)
    hardware = {"memory": 1e10, "memory_bandwidth": 1e12, "flops": {"bfloat16": 1e14}}
    scenario = Scenario.preset("default", ["scheduler.preemption=cheaper"])
    scenario = scenario.model_copy(update={"hardware": HardwareSection.model_validate(hardware)})
    with pytest.raises(InputError, match='preemption = "cheaper" needs it'):
        Simulation(scenario)
