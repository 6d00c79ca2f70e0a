"""Nothing is lost, and nothing counted twice: tokens, blocks and requests."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simcore import Scenario, Workload, simulate
from simcore.record.recorder import FINISHED
from tests.theory.random_runs import scenarios, workloads

Run = tuple[Scenario, Workload]


def runs(ends: bool = False) -> st.SearchStrategy[Run]:
    """Everything that there is, in so far as it goes together."""
    return st.one_of(
        st.tuples(scenarios(ends=ends, swaps=True, windows=True), workloads(forks=True)),
        st.tuples(scenarios(ends=ends, swaps=True, windows=True, late=True), workloads()),
        st.tuples(scenarios(ends=ends, states=True), workloads(forks=True)),
        st.tuples(scenarios(ends=ends, states=True, late=True), workloads()),
        st.tuples(scenarios(ends=ends, prunes=True), workloads()),
    )


@given(runs())
def test_tokens(run: Run) -> None:
    scenario, workload = run
    results = simulate(scenario, workload=workload)
    requests, summary = results.record.requests, results.summary
    computed, hit = requests["computed_tokens"], requests["hit_tokens"]
    assert computed.sum() == results.record.steps["scheduled_tokens"].sum() == summary["tokens"]["scheduled"]
    assert (computed >= 0).all()
    assert hit.sum() == results.record.steps["hit_tokens"].sum() == summary["hits"]["hit_tokens"]
    assert (hit % scenario.memory.block_size == 0).all()

    length = np.minimum(workload.prompt_len + workload.output_len, scenario.max_model_len)
    finished = requests["status"] == FINISHED
    samples = np.ones(len(workload), int) if workload.samples is None else workload.samples
    outputs = samples * (length - workload.prompt_len)
    assert (requests["output_tokens"][finished] == outputs[finished]).all()
    needed = workload.prompt_len + outputs - samples  # the last token is sampled, but never computed
    undisturbed = finished & (requests["preemptions"] == 0)
    assert (hit + computed == needed)[undisturbed].all()
    if scenario.scheduler.preemption != "recompute":
        return  # what is fetched from the host is neither hit nor computed
    # by priority, a hit may be on blocks that were taken back half computed
    if scenario.scheduler.victim_rule != "lowest-priority" or not scenario.memory.keep_unwritten:
        assert (hit + computed >= needed)[finished].all()


@given(runs())
def test_blocks(run: Run) -> None:
    scenario, workload = run
    results = simulate(scenario, workload=workload)
    usable, size = (scenario.memory.blocks or 0) - 1, scenario.memory.block_size
    steps = results.record.steps
    used, cached, free = steps["blocks_used"], steps["blocks_cached"], steps["blocks_free"]
    assert (used + cached + free == usable).all()
    assert (np.minimum(np.minimum(used, cached), free) >= 0).all()
    stored = steps["tokens_stored"]
    assert (stored <= used * size).all()
    # while a sequence is packed it holds its new blocks too
    assert (stored >= used)[steps["prunings"] == 0].all(), "a block is held for a token at least"
    if not scenario.memory.prefix_caching:
        assert not cached.any()
        assert not steps["evictions"].any()
        assert not steps["hit_tokens"].any()


@given(runs(ends=True))
def test_requests_and_time(run: Run) -> None:
    scenario, workload = run
    results = simulate(scenario, workload=workload)
    counts = results.summary["requests"]
    assert counts["finished"] + counts["rejected"] == counts["total"] == len(workload)
    requests, steps = results.record.requests, results.record.steps
    assert requests["preemptions"].sum() == steps["preemptions"].sum()
    finished = requests["status"] == FINISHED
    instants = np.stack([requests[name] for name in ("arrival", "first_scheduled", "first_token", "finished")])
    assert (np.diff(instants[:, finished], axis=0) >= 0).all()
    assert (steps["dt"] >= 0).all()
    assert (steps["t"][1:] >= (steps["t"] + steps["dt"])[:-1]).all(), "steps do not overlap"
    assert (steps["running"] <= scenario.scheduler.max_num_seqs).all()
    assert (steps["scheduled_tokens"] <= scenario.scheduler.max_num_batched_tokens).all()


@given(runs(ends=True))
def test_all_blocks_are_free_in_the_end(run: Run) -> None:
    """The null block was never among them: it would be freed once for each window that it stood in."""
    scenario, workload = run
    journal = simulate(scenario, workload=workload, journal=True).journal
    assert journal is not None
    holders: Counter[int] = Counter()
    for entry in journal.since(0):
        assert 0 < entry.block < (scenario.memory.blocks or 0)
        holders[entry.block] = entry.refs
    assert not +holders
