"""What is written for other tools reads back as the same requests."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main
from simcore import Scenario, Workload, simulate
from simcore.errors import InputError
from simcore.memory.keys import BlockKeys
from simcore.workload.columns import Runs
from simcore.workload.traces import read_trace
from simcore.workload.traces.files import TraceFile
from simcore.workload.writers import WRITERS, left_out, write_trace

TRACES = Path(__file__).parents[1] / "data" / "traces"


def again(workload: Workload, format: str) -> Workload:
    """Written and read."""
    file = io.StringIO()
    write_trace(workload, format, file)
    return read_trace(TraceFile("written", file.getvalue().encode()), format)


def shared(workload: Workload, block: int) -> list[list[int]]:
    """The prompts' whole blocks, numbered as they first appear."""
    known: dict[int, int] = {}
    keys = BlockKeys(workload, block)
    rows = []
    for row in range(len(workload)):
        whole = list(keys.of(row))[: int(workload.prompt_len[row]) // block]
        rows.append([known.setdefault(key, len(known)) for key in whole])
    return rows


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=20))
def test_lengths_and_times(rows: list[tuple[int, int, int]]) -> None:
    """Vidur to the last bit; Azure to 100 ns from the first request; Mooncake to 1 ms."""
    microseconds, prompt, output = np.array(sorted(rows)).T
    workload = Workload("synthetic", microseconds / 1e6, prompt, output)
    for format in ("vidur", "azure", "mooncake"):
        found = again(workload, format)
        assert found.format == format
        assert found.prompt_len.tolist() == prompt.tolist()
        assert found.output_len.tolist() == output.tolist()
        if format == "vidur":
            assert found.arrival.tolist() == workload.arrival.tolist()
        elif format == "azure":
            assert found.arrival.tolist() == ((microseconds - microseconds[0]) * 1000 / 1e9).tolist()
        else:
            assert np.abs(found.arrival - workload.arrival).max() <= 0.0005


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 900)), max_size=4), st.integers(1, 700)),
        min_size=1,
        max_size=6,
    )
)
def test_mooncake_keeps_what_whole_blocks_share(prompts: list[tuple[list[tuple[int, int]], int]]) -> None:
    runs = [run for named, _ in prompts for run in named]
    source, length = np.array(runs, np.int64).reshape(-1, 2).T
    workload = Workload(
        "synthetic",
        np.arange(len(prompts)) * 1.0,
        np.array([private + sum(n for _, n in named) for named, private in prompts]),
        np.ones(len(prompts), np.int64),
        runs=Runs(np.cumsum([0, *(len(named) for named, _ in prompts)]), source, length),
    )
    assert shared(again(workload, "mooncake"), 512) == shared(workload, 512)


def test_mooncake_again() -> None:
    """Its own traces come back whole, hits of smaller blocks included."""
    workload = read_trace(TRACES / "mooncake.jsonl")
    found = again(workload, "mooncake")
    assert found.arrival.tolist() == workload.arrival.tolist()
    assert shared(found, 16) == shared(workload, 16)
    assert left_out(workload, "mooncake") == ""


def test_a_trace_without_arrivals() -> None:
    workload = read_trace(TRACES / "vidur_lengths.csv")
    found = again(workload, "vidur")
    assert np.isnan(found.arrival).all()
    assert found.prompt_len.tolist() == workload.prompt_len.tolist()
    for format in ("mooncake", "azure"):
        with pytest.raises(InputError, match=f"the format {format} needs arrivals, and these requests have none"):
            again(workload, format)


@pytest.mark.parametrize("format", WRITERS)
def test_requests_that_wait(format: str) -> None:
    workload = Workload("synthetic", np.zeros(2), np.ones(2, np.int64), np.ones(2, np.int64), after=np.array([-1, 0]))
    with pytest.raises(InputError, match=f"the format {format} has no way to say that a request waits for another one"):
        again(workload, format)


def test_what_is_left_out() -> None:
    workload = read_trace(TRACES / "kvscope.jsonl")
    assert left_out(workload, "kvscope") == ""
    assert "which tokens prompts have in common" in left_out(workload, "vidur")
    assert "whole blocks of 512 tokens" in left_out(workload, "mooncake")
    late = replace(workload, arrival=workload.arrival + 0.00015, samples=np.full(len(workload), 2))
    assert "fractions of a millisecond" in left_out(late, "mooncake")
    assert "the time before the first request" in left_out(late, "azure")
    assert "how many samples are wanted" in left_out(late, "azure")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.csv"
    assert main(["trace", "convert", str(TRACES / "mooncake.jsonl"), "--to", "azure", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.err == "3 requests; azure cannot carry which tokens prompts have in common\n"
    assert read_trace(out).prompt_len.tolist() == read_trace(TRACES / "mooncake.jsonl").prompt_len.tolist()
    assert main(["trace", "convert", str(out), "--to", "vidur"]) == 0
    assert capsys.readouterr().out.startswith("arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,")


def test_conversations_of_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their turns arrive when they did in the simulation, so that nothing else changes when they are played."""
    scenario = tmp_path / "talk.toml"
    preset = Scenario.preset("default", ["workload.requests=60"])
    scenario.write_text(preset.to_toml())
    out = tmp_path / "talk.jsonl"
    assert main(["trace", "convert", str(scenario), "--to", "kvscope", "--out", str(out)]) == 0
    assert "for the times at which they arrive" in capsys.readouterr().err
    expected = simulate(preset)
    found = simulate(Scenario.load(scenario, [f"workload.trace={json.dumps(str(out))}"]))
    for key in ("requests", "steps", "hits", "ttft", "e2e", "preemptions"):
        assert found.summary[key] == expected.summary[key]
