"""Conversations: what they share, when they ask, and where they end."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.scenario.workload import WorkloadSection
from simcore.workload import Workload, conversations, make_workload
from simcore.workload.columns import OPEN, PRIVATE


def talk(seed: int = 0, requests: int = 300, **keys: Any) -> Workload:
    """A workload of conversations; keys of the section, or else of its conversations."""
    top = {name: keys.pop(name) for name in ("arrivals", "prompt", "output") if name in keys}
    return make_workload(WorkloadSection.model_validate({"requests": requests, "conversations": keys} | top), seed)


def chains(workload: Workload) -> list[list[int]]:
    """The rows of each conversation of an open workload."""
    assert workload.after is not None
    found: list[list[int]] = []
    for row, after in enumerate(workload.after.tolist()):
        if after == OPEN:
            found.append([row])
        else:
            assert after == found[-1][-1]
            found[-1].append(row)
    return found


def test_a_conversation_by_hand() -> None:
    fixed = {"distribution": "fixed"}
    workload = talk(
        requests=5,
        turns=fixed | {"turns": 3},
        think=fixed | {"seconds": 2.0},
        system_tokens=100,
        arrivals={"process": "constant", "rate": 0.5},
        prompt=fixed | {"tokens": 10},
        output=fixed | {"tokens": 7},
    )
    assert workload.after is not None
    assert workload.runs is not None
    assert workload.output_source is not None
    assert workload.arrival.tolist() == [0.0, 2.0, 2.0, 2.0, 2.0]
    assert workload.after.tolist() == [OPEN, 0, 1, OPEN, 3]
    assert workload.prompt_len.tolist() == [110, 127, 144, 110, 127]
    system, said = (1, 0, 100), [(2 + i, 0, (10, 7)[i % 2]) for i in range(10)]
    assert [workload.runs.of(row) for row in range(5)] == [
        [system, said[0]],
        [system, *said[:3]],
        [system, *said[:4]],
        [system, said[6]],
        [system, said[6], said[7]],
    ]
    assert workload.output_source.tolist() == [said[1][0], said[3][0], PRIVATE, said[7][0], PRIVATE]


TURNS = st.one_of(
    st.fixed_dictionaries({"distribution": st.just("fixed"), "turns": st.integers(1, 12)}),
    st.fixed_dictionaries({"distribution": st.just("uniform"), "max": st.integers(1, 12)}),
    st.fixed_dictionaries({"distribution": st.just("geometric"), "mean": st.floats(1, 12)}),
)
ARRIVALS = st.one_of(
    st.just({"process": "poisson"}),
    st.just({"process": "all-at-once"}),
    st.fixed_dictionaries({"process": st.just("closed-loop"), "users": st.integers(2, 20)}),  # of one user, all wait
)


@given(
    requests=st.integers(1, 120),
    turns=TURNS,
    arrivals=ARRIVALS,
    system_prompts=st.integers(0, 4),
    max_context=st.integers(1, 5000),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_every_turn_resends_what_was_said(max_context: int, system_prompts: int, **keys: Any) -> None:
    workload = talk(
        max_context=max_context,
        system_prompts=system_prompts,
        prompt={"distribution": "lognormal", "mean": 100.0},
        output={"distribution": "exponential", "mean": 50.0},
        **keys,
    )
    runs, after, source = workload.runs, workload.after, workload.output_source
    assert runs is not None
    assert after is not None
    assert source is not None
    assert len(workload) == keys["requests"]
    assert runs.offsets.tolist() == np.cumsum([0, *(len(runs.of(row)) for row in range(len(workload)))]).tolist()
    assert np.all(after < np.arange(len(workload)))
    assert np.all(workload.arrival >= 0)
    assert np.all(np.diff(workload.arrival[after == OPEN]) >= 0)

    seen: dict[int, int] = {}
    for row in range(len(workload)):
        named = runs.of(row)
        assert all(start == 0 and length > 0 for _, start, length in named)
        rest = workload.prompt_len[row] - sum(length for _, _, length in named)
        goes_on = row + 1 < len(workload) and after[row + 1] == row
        assert (rest > 0) == (not goes_on)
        assert (source[row] == PRIVATE) == (not goes_on)
        system = [run for run in named if run[0] <= system_prompts]
        assert system == named[: min(system_prompts, 1)]
        if goes_on:
            so_far = [*named, (int(source[row]), 0, int(workload.output_len[row]))]
            assert runs.of(row + 1)[: len(so_far)] == so_far
        if row and after[row] == row - 1:
            assert workload.prompt_len[row] + workload.output_len[row] <= max_context
        else:
            for name, _, _ in named[len(system) :]:
                assert seen.setdefault(name, row) == row, "a conversation's words are its own"


def test_a_conversation_ends_when_it_is_out_of_room() -> None:
    fixed = {"distribution": "fixed", "tokens": 10}
    workload = talk(
        turns={"distribution": "fixed", "turns": 100}, prompt=fixed, output=fixed, system_tokens=40, max_context=100
    )
    assert {len(rows) for rows in chains(workload)} == {3}
    assert workload.prompt_len[:3].tolist() == [50, 70, 90]


def test_a_first_turn_is_asked_at_any_length() -> None:
    workload = talk(prompt={"distribution": "fixed", "tokens": 10_000}, max_context=100, system_prompts=0)
    assert len(chains(workload)) == 300
    assert set(workload.prompt_len.tolist()) == {10_000}
    assert workload.runs is not None
    assert not len(workload.runs.source)


@pytest.mark.parametrize(
    ("turns", "mean", "deviation"),
    [
        ({"distribution": "fixed", "turns": 4}, 4.0, 0.0),
        ({"distribution": "uniform", "min": 2, "max": 4}, 3.0, np.sqrt(2 / 3)),
        ({"distribution": "geometric", "mean": 5.0}, 5.0, np.sqrt(20)),
    ],
)
def test_turns_have_the_mean_and_the_deviation(turns: dict[str, Any], mean: float, deviation: float) -> None:
    workload = talk(requests=100_000, turns=turns, max_context=10_000_000)
    lengths = [len(rows) for rows in chains(workload)][:-1]
    assert np.mean(lengths) == pytest.approx(mean, abs=3 * deviation / np.sqrt(len(lengths)))
    assert np.std(lengths) == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize("exponent", [0.0, 1.2])
def test_system_prompts_are_popular_by_zipf(exponent: float) -> None:
    workload = talk(
        requests=50_000, turns={"distribution": "fixed", "turns": 1}, system_prompts=20, zipf=exponent, system_tokens=64
    )
    assert workload.runs is not None
    assert np.all(workload.runs.length == 64)
    weight = np.arange(1.0, 21.0) ** -exponent
    expected = 50_000 * weight / weight.sum()
    assert np.all(np.abs(np.bincount(workload.runs.source)[1:] - expected) < 4 * np.sqrt(expected))


def test_rate_is_that_of_first_turns_and_thinking_is_between_turns() -> None:
    workload = talk(
        requests=60_000,
        arrivals={"process": "poisson", "rate": 4.0},
        think={"distribution": "exponential", "mean": 9.0},
    )
    assert workload.after is not None
    first = workload.arrival[workload.after == OPEN]
    assert len(first) / first[-1] == pytest.approx(4.0, rel=3 / np.sqrt(len(first)))
    think = workload.arrival[workload.after != OPEN]
    assert think.mean() == pytest.approx(9.0, rel=3 / np.sqrt(len(think)))


@pytest.mark.parametrize(
    ("users", "after"),
    [
        (1, [OPEN, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (2, [OPEN, 0, 1, OPEN, 3, 4, 2, 6, 7, 5, 9, 10]),
        (9, [OPEN, 0, 1, OPEN, 3, 4, OPEN, 6, 7, OPEN, 9, 10]),
    ],
)
def test_a_user_of_a_closed_loop_has_one_conversation_after_the_other(users: int, after: list[int]) -> None:
    workload = talk(
        requests=12,
        turns={"distribution": "fixed", "turns": 3},
        arrivals={"process": "closed-loop", "users": users},
        max_context=10_000_000,
    )
    assert workload.after is not None
    assert workload.after.tolist() == after


def test_too_much_history_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_RUNS", 1000)
    with pytest.raises(InputError, match=r"^workload\.conversations: the requests resend \d+ messages"):
        talk(requests=200, turns={"distribution": "fixed", "turns": 50}, max_context=10_000_000)
