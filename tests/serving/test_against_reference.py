"""Thousands of small random scenarios: the simulator does what the reference does, to the last block and tick."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.serving.comparison import compare
from tests.serving.random_cases import GRID, Line, draw_case
from tests.serving.reference import Config, Request, Server

CHUNKS, CASES = 40, 50


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_scenarios(chunk: int, tmp_path: Path) -> None:
    for seed in range(chunk * CASES, (chunk + 1) * CASES):
        config, lines = draw_case(seed)
        if compare(config, lines, tmp_path):
            lines = reduced(config, lines, tmp_path)
            listing = "\n".join(map(str, lines))
            pytest.fail(f"seed {seed}: {compare(config, lines, tmp_path)}\n{config}\n{listing}")


def reduced(config: Config, lines: list[Line], folder: Path) -> list[Line]:
    """As few of the requests as it takes for some difference."""
    for line in list(lines):
        fewer = [other for other in lines if other is not line]
        if fewer and compare(config, fewer, folder):
            lines = fewer
    return lines


def test_a_victim_leaves_what_its_step_would_have_filled(tmp_path: Path) -> None:
    """X takes the place of V, whose tokens 3 and 4 would have filled a block: it is cached, and X must evict it."""
    config = Config(
        blocks=6, block_size=2, prefix_caching=True, policy="priority", long_prefill_token_threshold=1, step=GRID
    )
    lines = [
        {"id": "Z", "arrival": 0.0, "prompt_len": 1, "output_len": 4, "priority": 0},
        {"id": "V", "arrival": 0.0, "prompt_len": 5, "output_len": 1, "priority": 2},
        {"id": "X", "arrival": GRID, "prompt_len": 5, "output_len": 1, "priority": 0},
    ]
    assert Server(config, lines).run()[3]["evicted"] == 1
    problem = compare(config, lines, tmp_path)
    assert problem is None


def test_a_refused_request_never_reaches_the_scheduler(tmp_path: Path) -> None:
    """The first one fits never and blocks the others; the second is too long, and no step is taken for it."""
    config = Config(blocks=3, block_size=2, max_model_len=10, max_num_seqs=2)
    lines = [
        {"id": id, "arrival": arrival, "prompt_len": prompt_len, "output_len": 1}
        for id, arrival, prompt_len in (("fits never", 1.0, 5), ("too long", 2.0, 10), ("waits", 3.0, 1))
    ]
    steps = Server(config, lines).run()
    assert [(step["t"], step.get("stall")) for step in steps] == [(1.0, True), (3.0, True)]
    problem = compare(config, lines, tmp_path)
    assert problem is None


class Witness(Server):
    """Counts the victims that had their tokens of the step already."""

    unscheduled = 0

    def preempt(self, victim: Request) -> None:
        self.unscheduled += any(request is victim for request, _, _ in self.scheduled)
        super().preempt(victim)


def test_the_scenarios_reach_the_rules() -> None:
    """Drawn in another way they might not, and all would be equal for nothing."""
    reached: Counter[str] = Counter()
    for seed in range(300):
        server = Witness(*draw_case(seed))
        steps = server.run()
        ends = {record["end"] for record in steps}
        reached["unscheduled"] += server.unscheduled
        for request in server.requests:
            reached[request.status] += 1
            reached["arrives as a step ends"] += request.arrival in ends
            reached["cut at max_model_len"] += request.status == "finished" and bool(request.future)
        for before, record in pairwise(steps):
            reached["preempted"] += len(record["preempted"])
            reached["several preempted"] += len(record["preempted"]) > 1
            reached["evicted"] += record["evicted"]
            reached["hit when new"] += any(record["hits"][id] for id in record["new"])
            reached["hit when resumed"] += any(record["hits"][id] for id in record["resumed"])
            reached["equal blocks"] += len(set(record["cached"].values())) < len(record["cached"])
            reached["shared blocks"] += max(record["refs"].values(), default=0) > 1
            reached["stalled"] += record.get("stall", False)
            reached["takes no time"] += record["start"] == record["end"]
            reached["held back with blocks free"] += bool(before["free"] and record["waiting"])
    assert min(reached.values()) >= 20, reached
