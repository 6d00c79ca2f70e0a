"""Small runs whose every number can be worked out on paper. A step takes 1 s unless a test says otherwise."""

from typing import Any

import numpy as np
import pytest

from simcore import Results, Scenario, Workload, simulate

NOTHING = {"mean": None, "p50": None, "p90": None, "p99": None}


def run(
    *requests: tuple[float, int, int],
    scheduler: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    timing: dict[str, Any] | None = None,
    blocks: int = 11,
    block_size: int = 4,
    **options: Any,
) -> Results:
    """Requests are (arrival, prompt, output)."""
    arrival, prompt_len, output_len = (np.array(column) for column in zip(*requests, strict=True))
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": blocks, "block_size": block_size, "prefix_caching": False},
            "scheduler": {"max_model_len": 10_000_000, **(scheduler or {})},
            "timing": timing or {"model": "constant", "step": 1.0},
            "metrics": metrics or {},
        }
    )
    workload = Workload(format="synthetic", arrival=arrival.astype(float), prompt_len=prompt_len, output_len=output_len)
    return simulate(scenario, workload=workload, **options)


def column(results: Results, name: str) -> list[Any]:
    return results.requests[name].to_list()


def test_one_request() -> None:
    """10 tokens fill 3 blocks of 4, the two tokens that are computed after them go into the third."""
    results = run((2.0, 10, 3))
    (request,) = results.requests.to_dicts()
    assert request == {
        "id": "r0",
        "arrival": 2.0,
        "prompt_len": 10,
        "output_len": 3,
        "status": "finished",
        "queue": 0.0,
        "ttft": 1.0,
        "tpot": 1.0,
        "itl_mean": 1.0,
        "itl_p99": 1.0,
        "e2e": 3.0,
        "preemptions": 0,
        "hit_tokens_first": 0,
        "hit_tokens": 0,
        "computed_tokens": 12,
        "output_tokens": 3,
    }
    assert results.timeline["tokens_stored"].to_list() == [10, 11, 12]
    assert results.timeline["blocks_free"].to_list() == [7, 7, 7]
    summary = results.summary
    assert (summary["steps"], summary["end_time"]) == (3, 5.0)
    assert summary["tokens"] == {"prompt": 10, "output": 3, "scheduled": 12}
    assert summary["throughput"] == {"requests_per_s": 1 / 5, "output_tokens_per_s": 3 / 5}
    assert summary["memory"] == {
        "blocks": 11,
        "used_mean": 3 * 3 / 5,
        "used_peak": 3,
        "stored_share": (10 + 11 + 12) / 5 / 40,
        "internal_share": 0.0,
        "reserved_share": pytest.approx((2 + 1 + 0) / 5 / 40),
        "external_share": 0.0,
        "saved_share": 0.0,
    }
    assert "goodput" not in summary


def test_one_token_outputs_have_no_gaps() -> None:
    results = run((0.0, 3, 1), (0.0, 5, 1), metrics={"slo": {"tpot": 1e-9, "itl": 1e-9, "ttft": 1.0}})
    for name in ("tpot", "itl_mean", "itl_p99"):
        assert column(results, name) == [None, None]
    assert results.summary["tpot"] == results.summary["itl"] == NOTHING
    assert results.summary["goodput"]["share"] == 1, "what there is not of is within any limit"


def test_percentiles_are_linear() -> None:
    """Ten requests, one at a time: they wait 0, 1, ..., 9 s."""
    summary = run(*[(0.0, 1, 1)] * 10, scheduler={"max_num_seqs": 1}).summary
    assert summary["queue"] == {"mean": 4.5, "p50": 4.5, "p90": pytest.approx(8.1), "p99": pytest.approx(8.91)}


def test_a_preempted_request_waits_between_two_tokens() -> None:
    """Three blocks of four: when the first needs its second block, the other gives way until the first is done.

    It has computed 6 tokens then, and two outputs, at 1 s and 2 s. The 7 tokens it knows are computed from 7 s to 8 s.
    """
    results = run((0.0, 3, 7), (0.0, 5, 4), blocks=4, metrics={"slo": {"itl": 5.9}})
    assert column(results, "preemptions") == [0, 1]
    first, other = results.requests.to_dicts()
    assert (first["ttft"], first["e2e"], first["itl_p99"]) == (1, 7, 1)
    assert other["ttft"] == 1
    gaps = [1, 6, 1]
    assert (other["e2e"], other["itl_mean"]) == (9, pytest.approx(8 / 3))
    assert other["itl_p99"] == pytest.approx(np.quantile(gaps, 0.99))
    assert other["computed_tokens"] == 6 + 7 + 1
    assert results.summary["itl"]["mean"] == pytest.approx((6 * 1 + sum(gaps)) / 9)
    assert results.summary["goodput"]["share"] == 1 / 2


def test_the_warmup_is_left_out() -> None:
    """Two requests, one after another; the warm-up of 4 s ends while the first is still served."""
    requests, slo = ((0.0, 4, 5), (6.0, 1, 2)), {"e2e": 2.0}
    summary = run(*requests, metrics={"warmup": 4.0, "slo": slo}).summary
    assert summary["end_time"] == 8
    assert summary["e2e"]["mean"] == 2
    assert summary["ttft"]["mean"] == summary["itl"]["mean"] == 1
    assert summary["throughput"]["requests_per_s"] == 2 / 4, "both ended after it"
    assert summary["goodput"] == {"requests_per_s": 1 / 4, "share": 1.0}
    assert summary["memory"]["used_mean"] == (2 * 1 + 0 * 1 + 1 * 2) / 4
    assert summary["requests"]["finished"] == 2, "counts are of the whole run"
    longer = run(*requests, metrics={"warmup": 5.0, "slo": slo}).summary
    assert longer["throughput"]["requests_per_s"] == 2 / 3, "the first ends in the instant in which it is over"
    assert longer["memory"]["used_peak"] == 1


def test_a_warmup_longer_than_the_run_leaves_nothing() -> None:
    summary = run((0.0, 4, 5), metrics={"warmup": 100.0, "slo": {"e2e": 2.0}}).summary
    assert summary["throughput"] == {"requests_per_s": None, "output_tokens_per_s": None}
    assert summary["goodput"] == {"requests_per_s": None, "share": None}
    assert summary["e2e"] == summary["itl"] == NOTHING
    assert summary["memory"]["used_mean"] is None
    assert summary["memory"]["used_peak"] == 0


def test_nothing_finished() -> None:
    results = run((0.0, 4, 9), (0.0, 4, 9), (5.0, 4, 9), scheduler={"max_num_seqs": 1, "max_steps": 1})
    summary = results.summary
    assert summary["requests"] == {
        "total": 3, "finished": 0, "rejected": 0, "unfinished": 3, "dropped": 0, "skipped": 0
    }  # fmt: skip
    assert summary["throughput"] == {"requests_per_s": 0, "output_tokens_per_s": 1}
    assert summary["e2e"] == summary["tpot"] == summary["itl"] == NOTHING
    assert summary["ttft"]["mean"] == 1
    assert summary["tokens"] == {"prompt": 4, "output": 1, "scheduled": 4}
    assert column(results, "arrival") == [0, 0, None]
    assert column(results, "queue") == [0, None, None]
    assert column(results, "output_tokens") == [1, 0, 0]
    assert results.stalled
    assert results.unfinished == ["r0", "r1", "r2"]


def test_an_unfinished_request_has_the_gaps_so_far() -> None:
    """It waits for the other's end, as above, and the run ends in the step that gives it its third token."""
    results = run((0.0, 3, 7), (0.0, 5, 4), blocks=4, scheduler={"max_steps": 8})
    finished, unfinished = results.requests.to_dicts()
    assert (finished["itl_mean"], finished["itl_p99"], finished["tpot"]) == (1, 1, 1)
    assert unfinished["output_tokens"] == 3
    assert unfinished["itl_mean"] == (1 + 6) / 2
    assert unfinished["itl_p99"] == pytest.approx(np.quantile([1, 6], 0.99))
    assert unfinished["tpot"] is unfinished["e2e"] is None


def test_a_rejected_request_is_not_good() -> None:
    results = run((0.0, 4, 2), (0.0, 400, 1), metrics={"slo": {"ttft": 1.0}})
    assert column(results, "status") == ["finished", "rejected"]
    assert results.summary["goodput"] == {"requests_per_s": 1 / 2, "share": 1 / 2}


def test_all_are_rejected() -> None:
    results = run((0.0, 400, 1), (1.0, 41, 1), metrics={"slo": {"ttft": 1.0}})
    summary = results.summary
    assert column(results, "status") == ["rejected", "rejected"]
    assert column(results, "arrival") == [0, 1]
    assert column(results, "queue") == [None, None]
    assert (summary["steps"], summary["end_time"]) == (0, 0)
    assert summary["throughput"] == {"requests_per_s": None, "output_tokens_per_s": None}
    assert summary["goodput"]["share"] == 0
    assert len(results.timeline) == 0
    assert not results.stalled


def test_the_longest_sequence_cuts_an_output_short() -> None:
    results = run((0.0, 4, 9), scheduler={"max_model_len": 7})
    assert (column(results, "output_len"), column(results, "output_tokens")) == ([9], [3])
    assert column(results, "status") == ["finished"]
    assert results.summary["tokens"]["output"] == 3


@pytest.mark.parametrize(
    ("slo", "share"),
    [
        ({"ttft": 1.0}, 0.5),
        ({"e2e": 3.0}, 0.5),
        ({"e2e": 2.999}, 0),
        ({"tpot": 1.0, "itl": 1.0}, 1),
        ({"itl": 0.999}, 0),
        ({"ttft": 3.0, "e2e": 100.0}, 0.5),
    ],
)
def test_goodput(slo: dict[str, float], share: float) -> None:
    """One at a time: the first is answered in 3 s, the second waits as long; a limit is kept by what equals it."""
    summary = run((0.0, 1, 3), (0.0, 1, 3), scheduler={"max_num_seqs": 1}, metrics={"slo": slo}).summary
    assert summary["goodput"] == {"requests_per_s": 2 * share / 6, "share": share}


def test_sums_beyond_64_bits() -> None:
    """A million blocks for five steps of an hour are 2 * 10^22 block-ticks."""
    timing = {"model": "constant", "step": 3600.0}
    scheduler = {"max_num_batched_tokens": 10_000_000}
    summary = run((0.0, 999_996, 5), blocks=1_000_001, block_size=1, timing=timing, scheduler=scheduler).summary
    assert summary["memory"]["used_mean"] == 999_998
    assert summary["memory"]["stored_share"] == 0.999998
    assert summary["itl"]["mean"] == 3600


def test_what_a_run_says_of_itself() -> None:
    results = run((0.0, 4, 2))
    assert not results.stalled
    assert not results.interrupted
    assert results.unfinished == []
    with pytest.raises(ValueError, match="journal=True"):
        _ = results.blocks


def test_samples_of_one_request() -> None:
    """Three answers of 4 tokens: 3 tokens in each of the steps 0 to 3, and every gap is a second."""
    workload = Workload("hand", np.array([1.0]), np.array([6]), np.array([4]), samples=np.array([3]))
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": 20, "block_size": 4, "prefix_caching": False},
            "scheduler": {"max_model_len": 100},
            "timing": {"model": "constant", "step": 1.0},
        }
    )
    results = simulate(scenario, workload=workload)
    (request,) = results.requests.to_dicts()
    expected = {"ttft": 1.0, "tpot": 1.0, "itl_mean": 1.0, "itl_p99": 1.0, "e2e": 4.0, "output_tokens": 12}
    assert {name: request[name] for name in expected} == expected
    assert request["computed_tokens"] == 6 + 3 * 3
    assert results.summary["itl"]["mean"] == 1.0
    assert results.summary["moves"] == {"copies": 2, "swaps_out": 0, "swaps_in": 0}
    assert results.summary["tokens"] == {"prompt": 6, "output": 12, "scheduled": 15}
    assert results.summary["throughput"]["output_tokens_per_s"] == 12 / 5
    assert results.timeline["running"].to_list() == [1, 3, 3, 3]


def test_a_sample_that_had_to_wait_has_a_longer_gap() -> None:
    """Two answers of 4 tokens behind a prompt of 7, in 3 blocks of 4: the second sample waits for the first one's end.

    Step 0 computes the prompt. In step 1 the first sample copies the half full block and both write. In step 2 both
    need another block and there is none: the second gives way. It comes back in step 4, with 9 tokens to compute.
    """
    workload = Workload("hand", np.array([0.0]), np.array([7]), np.array([4]), samples=np.array([2]))
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": 4, "block_size": 4, "prefix_caching": False},
            "scheduler": {"max_model_len": 100},
            "timing": {"model": "constant", "step": 1.0},
        }
    )
    results = simulate(scenario, workload=workload)
    assert results.timeline["running"].to_list() == [1, 2, 1, 1, 1, 1]
    assert results.timeline["preemptions"].to_list() == [0, 0, 1, 0, 0, 0]
    (request,) = results.requests.to_dicts()
    assert request["preemptions"] == 1
    assert request["e2e"] == 6.0
    assert request["output_tokens"] == 8
    gaps = [1.0, 1.0, 1.0, 1.0, 3.0, 1.0]  # of the first sample, then of the second
    assert request["itl_p99"] == pytest.approx(np.quantile(gaps, 0.99))
    assert results.summary["itl"]["mean"] == pytest.approx(np.mean(gaps))
