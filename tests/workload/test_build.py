"""From a section to columns: window, limit, drop, arrivals and rate of a trace; what does not go together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simcore.errors import InputError
from simcore.scenario.workload import WorkloadSection
from simcore.schema import Misfit
from simcore.workload import Workload, cut_prompts, make_workload
from simcore.workload.build import drop_empty, window
from simcore.workload.columns import OPEN, Runs


def vidur(path: Path, rows: list[tuple[float, int, int]]) -> Path:
    lines = [f"{arrival},{prompt},{output}\n" for arrival, prompt, output in rows]
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Workload]:
    """Make the workload of a trace with an arrival every second, the row's number in its prompt; r2, r5 are empty."""
    rows = [(float(i), 100 + i, 0 if i in (2, 5) else 10) for i in range(8)]
    path = vidur(tmp_path / "eight.csv", rows)
    return lambda seed=0, **keys: make_workload(WorkloadSection.model_validate({"trace": str(path)} | keys), seed)


@pytest.fixture
def timeless(tmp_path: Path) -> Path:
    path = tmp_path / "timeless.csv"
    rows = "".join(f"{100 + i},10,110,10.0\n" for i in range(8))
    path.write_text("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n" + rows, encoding="utf-8")
    return path


def test_a_whole_trace_less_what_is_empty(play: Callable[..., Workload]) -> None:
    workload = play()
    assert workload.prompt_len.tolist() == [100, 101, 103, 104, 106, 107]
    assert workload.arrival.tolist() == [0, 1, 3, 4, 6, 7]
    assert [workload.id_of(row) for row in range(6)] == ["r0", "r1", "r3", "r4", "r6", "r7"]
    assert workload.dropped == 2


def test_window_then_limit_then_drop_then_rate(play: Callable[..., Workload]) -> None:
    workload = play(start=1.0, end=7.0, limit=5, rate_scale=2.0)
    assert workload.prompt_len.tolist() == [101, 103, 104]
    assert workload.arrival.tolist() == [0.0, 1.0, 1.5]
    assert workload.dropped == 2


@pytest.mark.parametrize(
    ("keys", "prompts"),
    [
        ({"start": 6.0}, [106, 107]),
        ({"start": 5.5}, [106, 107]),
        ({"end": 3.0}, [100, 101]),
        ({"start": 3.0, "end": 3.5}, [103]),
        ({"limit": 1}, [100]),
        ({"limit": 100}, [100, 101, 103, 104, 106, 107]),
    ],
)
def test_windows_and_limits(play: Callable[..., Workload], keys: dict[str, Any], prompts: list[int]) -> None:
    assert play(**keys).prompt_len.tolist() == prompts


@pytest.mark.parametrize(
    ("keys", "counts"),
    [
        ({"start": 100.0}, "8 were read, 0 of them"),
        ({"start": 2.0, "end": 2.5}, "8 were read, 1 of them"),
        ({"start": 2.0, "limit": 1}, "8 were read, 1 of them"),
    ],
)
def test_nothing_left(play: Callable[..., Workload], keys: dict[str, Any], counts: str) -> None:
    with pytest.raises(InputError, match=rf'eight\.csv" leaves no request to simulate: {counts}'):
        play(**keys)


def test_a_trace_with_arrivals_of_its_own(play: Callable[..., Workload]) -> None:
    with pytest.raises(InputError, match=r'^workload\.arrivals is given, but ".*eight\.csv" has its own'):
        play(arrivals={"process": "poisson"})


def test_a_trace_without_arrivals_needs_some(timeless: Path) -> None:
    with pytest.raises(InputError, match=r'timeless\.csv" does not say when requests arrive: give workload\.arrivals'):
        make_workload(WorkloadSection(trace=timeless), 0)


def test_a_trace_without_arrivals_has_no_window(timeless: Path) -> None:
    section = WorkloadSection.model_validate({"trace": timeless, "arrivals": {"process": "constant"}, "end": 5.0})
    with pytest.raises(InputError, match=r'^workload\.start and workload\.end need arrivals, and ".*timeless\.csv"'):
        make_workload(section, 0)


def test_arrivals_for_a_trace_that_has_none(timeless: Path) -> None:
    keys = {"trace": timeless, "limit": 5, "rate_scale": 2.0, "arrivals": {"process": "constant", "rate": 1.0}}
    workload = make_workload(WorkloadSection.model_validate(keys), 0)
    assert workload.arrival.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert workload.prompt_len.tolist() == [100, 101, 102, 103, 104]


def test_a_closed_loop_over_a_trace_keeps_its_think_times(timeless: Path) -> None:
    loop = {"process": "closed-loop", "users": 3, "think": {"distribution": "fixed", "seconds": 4.0}}
    keys = {"trace": timeless, "rate_scale": 2.0, "arrivals": loop}
    workload = make_workload(WorkloadSection.model_validate(keys), 0)
    assert workload.after is not None
    assert workload.after.tolist() == [OPEN, OPEN, OPEN, 0, 1, 2, 3, 4]
    assert workload.arrival.tolist() == [2.0] * 3 + [4.0] * 5


def test_servegen_is_sampled_within_the_window(tmp_path: Path) -> None:
    folder = tmp_path / "servegen"
    folder.mkdir()
    (folder / "chunk-0-trace.csv").write_text("0,0.5,1.0,Gamma,1.0,2.0\n600,5.0,1.0,Gamma,1.0,0.2\n", encoding="utf-8")
    tokens = '{"0": {"input_tokens": "{100: 1.0}", "output_tokens": "{10: 1.0}"}}'
    (folder / "chunk-0-dataset.json").write_text(tokens, encoding="utf-8")
    slow = make_workload(WorkloadSection(trace=folder), 0)
    fast = make_workload(WorkloadSection(trace=folder, start=600.0, end=1200.0), 0)
    assert len(slow) == pytest.approx(300, abs=5)
    assert len(fast) == pytest.approx(3000, abs=5)
    assert 0 <= fast.arrival[0] < fast.arrival[-1] < 600


def test_a_run_has_an_end() -> None:
    section = WorkloadSection.model_validate({"requests": 100, "arrivals": {"process": "constant", "rate": 1e-6}})
    with pytest.raises(InputError, match="The last request arrives after 99,000,000 s, and a run may last 8,388,608 s"):
        make_workload(section, 0)


CHAINS = st.lists(
    st.tuples(
        st.integers(-1, 7),  # waits for the row so many before it, if there is one
        st.integers(0, 50),  # quarters of a second
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=12,
)


def chained(rows: list[tuple[int, int, int, int]]) -> Workload:
    """A workload whose requests that wait for nobody are in order."""
    back = np.array([row[0] for row in rows])
    after = np.where(back > np.arange(len(rows)) - 1, OPEN, np.where(back < 0, OPEN, np.arange(len(rows)) - 1 - back))
    arrival = np.array([row[1] for row in rows]) / 4
    arrival[after == OPEN] = np.sort(arrival[after == OPEN])
    lengths = np.array([row[2:] for row in rows])
    return Workload("synthetic", arrival, lengths[:, 0], lengths[:, 1], after=after)


def at_once(workload: Workload) -> dict[str, float]:
    """When each request would arrive if all were answered at once."""
    assert workload.after is not None
    times: list[float] = []
    for row, after in enumerate(workload.after.tolist()):
        assert after < row
        times.append(workload.arrival[row] + (0.0 if after == OPEN else times[after]))
    return {workload.id_of(row): time for row, time in enumerate(times)}


@given(CHAINS)
def test_a_follower_of_a_dropped_request_waits_as_long(rows: list[tuple[int, int, int, int]]) -> None:
    whole = chained(rows)
    kept = drop_empty(whole)
    wanted = {f"r{row}" for row, (_, _, prompt, output) in enumerate(rows) if prompt and output}
    assert kept.dropped == len(rows) - len(wanted)
    assert at_once(kept) == {id: time for id, time in at_once(whole).items() if id in wanted}
    assert kept.after is not None
    assert np.all(np.diff(kept.arrival[kept.after == OPEN]) >= 0)


@given(CHAINS, st.integers(0, 12), st.integers(1, 12))
def test_a_window_takes_whole_chains(rows: list[tuple[int, int, int, int]], start: int, length: int) -> None:
    whole = chained(rows)
    part = window(whole, start, start + length)
    assert whole.after is not None
    opening: list[int] = []
    for row, after in enumerate(whole.after.tolist()):
        opening.append(row if after == OPEN else opening[after])
    wanted = {f"r{row}" for row in range(len(rows)) if start <= whole.arrival[opening[row]] < start + length}
    assert at_once(part) == {id: time - start for id, time in at_once(whole).items() if id in wanted}


def misfits(**keys: Any) -> dict[str, str]:
    """What a section says of keys that do not go together."""
    with pytest.raises(ValidationError) as caught:
        WorkloadSection.model_validate(keys)
    found: dict[str, str] = {}
    for error in caught.value.errors():
        misfit = error.get("ctx", {}).get("error")
        if isinstance(misfit, Misfit):
            found |= misfit.problems
    return found


@pytest.mark.parametrize("name", ["requests", "prompt", "output", "conversations", "samples"])
def test_what_a_trace_has_itself(name: str) -> None:
    value = {"requests": 5, "samples": 2, "conversations": {}}.get(name, {"distribution": "fixed"})
    problem = "it only applies to a synthetic workload, and workload.trace is given"
    assert misfits(trace="a.csv", **{name: value}) == {name: problem}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "azure"),
        ("start", 1.0),
        ("end", 1.0),
        ("limit", 3),
        ("rate_scale", 2.0),
        ("skip_bad_lines", False),
        ("sessions", "sequential"),
    ],
)
def test_what_only_a_trace_has(name: str, value: Any) -> None:
    assert misfits(**{name: value}) == {name: "it only applies to a trace, and workload.trace is not given"}


def test_ends_that_come_too_early() -> None:
    assert misfits(trace="a.csv", start=5.0, end=5.0) == {"end": "must be above workload.start (5.0)"}
    assert misfits(prompt={"distribution": "zipf", "min": 9, "max": 8}) == {"max": "must be at least min (9)"}
    quiet = {"process": "bursts", "base_rate": 0.0, "burst_rate": 0.01, "burst_duration": 1.0}
    assert list(misfits(arrivals=quiet)) == ["burst_duration"]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"trace": "a.csv", "arrivals": {"process": "weibull", "cv": 3.0}},
        {"conversations": {"turns": {"distribution": "uniform"}}, "arrivals": {"process": "closed-loop"}},
        {"prompt": {"distribution": "empirical", "trace": "a.csv"}, "output": {"distribution": "pareto-mixture"}},
    ],
)
def test_a_section_written_and_read_is_the_same(keys: dict[str, Any]) -> None:
    section = WorkloadSection.model_validate(keys)
    written = section.model_dump(mode="json", exclude_none=True)
    assert WorkloadSection.model_validate(written) == section


def test_prompts_are_cut_with_what_they_share() -> None:
    """Runs end where the cut prompt does; one that begins behind it is left out, and so is its source."""
    runs = Runs(
        offsets=np.array([0, 2, 2, 5]),
        source=np.array([1, 2, 1, 3, 4]),
        length=np.array([4, 4, 2, 4, 3]),
        start=np.array([0, 5, 0, 7, 0]),
    )
    workload = Workload("hand", np.zeros(3), np.array([9, 3, 9]), np.array([1, 1, 1]), runs=runs)
    cut = cut_prompts(workload, 6)
    assert cut.prompt_len.tolist() == [6, 3, 6]
    assert cut.runs is not None
    assert [cut.runs.of(row) for row in range(3)] == [[(1, 0, 4), (2, 5, 2)], [], [(1, 0, 2), (3, 7, 4)]]
    assert cut_prompts(workload, 100).prompt_len.tolist() == [9, 3, 9]
