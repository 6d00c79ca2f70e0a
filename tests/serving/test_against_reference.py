"""Thousands of small random scenarios: the simulator does what the reference does, to the last block and tick."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.serving.comparison import compare, leak
from tests.serving.random_cases import GRID, Line, draw_async_case, draw_case, draw_group_case
from tests.serving.reference import Batch, Block, Config, Request, Server

CHUNKS, CASES = 40, 50

Draw = Callable[[int], tuple[Config, list[Line]]]


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("draw", [draw_case, draw_group_case, draw_async_case])
def test_random_scenarios(draw: Draw, chunk: int, tmp_path: Path) -> None:
    for seed in range(chunk * CASES, (chunk + 1) * CASES):
        config, lines = draw(seed)
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


def test_a_shorter_hit_is_too_short_for_the_group_that_agreed_before(tmp_path: Path) -> None:
    """One window goes on only after more tokens, the other only after fewer: they agree on none in the third round."""
    config = Config(
        blocks=59,
        block_size=2,
        prefix_caching=True,
        policy="priority",
        max_num_seqs=5,
        max_num_batched_tokens=35,
        groups=(6, 2),
        retention_interval=6,
        step=GRID,
        per_token=GRID,
        per_context_token=0.0,
    )
    prompts = {
        "A": (0.0, 2, [[1, 2], [11, 42]]),
        "B": (0.0, 1, [[1, 4], [12, 1]]),
        "C": (113 * GRID, 1, [[1, 4], [12, 1], [216, 1], [31, 6], [68, 1], [12, 4], [103, 1], [12, 41]]),
        "D": (147 * GRID, 1, [[1, 2], [11, 42], [222, 1], [67, 5]]),
    }
    lines = [
        {"id": id, "arrival": arrival, "output_len": output_len, "prompt_segments": segments, "priority": -(id == "B")}
        for id, (arrival, output_len, segments) in prompts.items()
    ]
    server = Witness(config, lines)
    assert server.run()[-1]["finished"] == ["D"]
    assert server.reached["hit cut, then again"] == 1
    problem = compare(config, lines, tmp_path)
    assert problem is None


class Witness(Server):
    """Counts what the steps do not tell."""

    def __init__(self, config: Config, lines: list[Line]) -> None:
        super().__init__(config, lines)
        self.reached: Counter[str] = Counter()
        self.updating = False

    def preempt(self, victim: Request) -> None:
        self.reached["unscheduled"] += any(request is victim for request, _, _ in self.scheduled)
        self.reached["preempted with output in flight"] += victim.placeholders > 0
        self.reached["preempted with a chunk in flight"] += victim.in_flight > victim.placeholders
        super().preempt(victim)

    def schedule(self) -> None:
        self.reached["scheduled with another in flight"] += bool(self.flying)
        super().schedule()
        self.reached["nothing to schedule but another in flight"] += len(self.flying) > 1 and not self.scheduled

    def awaits_last(self, request: Request) -> bool:
        awaits = super().awaits_last(request)
        self.reached["skipped for its last output"] += awaits
        full = request.computed == self.config.max_model_len - 1
        self.reached["skipped at max_model_len"] += full and not awaits
        return awaits

    def lookup(self, request: Request) -> list[list[Block]]:
        self.rounds = 0
        hits = super().lookup(request)
        found = len(hits[0])
        self.reached["hit cut by a window"] += request.junction > 0
        self.reached["hit cut to nothing"] += request.junction > 0 and not found
        self.reached["hit cut, then again"] += self.rounds > 2 * len(hits) + self.config.groups.count(0)
        for window, blocks in zip(self.config.groups, hits, strict=True):
            self.reached["hit behind nulls"] += blocks.count(self.pool.null) > 0
            self.reached["hit within the first window"] += 0 < found < self.tail(window)
        return hits

    def longest_hit(self, request: Request, group: int, most: int) -> int:
        self.rounds += 1
        return super().longest_hit(request, group, most)

    def most_blocks(self, window: int, tokens: int) -> int:
        most = super().most_blocks(window, tokens)
        self.reached["required blocks capped"] += most < super().most_blocks(0, tokens)
        return most

    def allocate(self, request: Request, n: int, hits: list[list[Block]], waiting: bool) -> list[list[Block]] | None:
        before = sum(table.count(self.pool.null) for table in request.tables)
        blocks = super().allocate(request, n, hits, waiting)
        left = sum(table.count(self.pool.null) for table in request.tables) - before if not waiting else 0
        self.reached["left the window"] += left > 0
        self.reached["left the window, still too few"] += left > 0 and blocks is None
        return blocks

    def retained(self, request: Request, group: int, k: int) -> bool:
        retained, junction = super().retained(request, group, k), request.junction
        request.junction = 0
        self.reached["not registered"] += not retained
        self.reached["registered for a junction"] += retained and not super().retained(request, group, k)
        self.reached["registered for an interval"] += retained and bool(self.config.retention_interval)
        request.junction = junction
        return retained

    def register(self, request: Request, tokens: int) -> None:
        before = request.registered
        super().register(request, tokens)
        self.reached["registered at output"] += self.updating and request.registered > before

    def update(self, batch: Batch) -> list[str]:
        preempted = {request.id for request in self.waiting}
        self.updating = True
        finished = super().update(batch)
        self.updating = False
        self.reached["finished while waiting"] += len(preempted.intersection(finished))
        return finished


ALWAYS = {
    "unscheduled", "finished", "rejected", "unfinished", "arrives as a step ends", "cut at max_model_len", "preempted",
    "several preempted", "evicted", "hit when new", "hit when resumed", "equal blocks", "shared blocks", "stalled",
    "takes no time", "held back with blocks free",
}  # fmt: skip
WINDOWS = {
    "hit cut by a window", "hit cut to nothing", "hit behind nulls", "hit within the first window",
    "required blocks capped", "left the window", "left the window, still too few",
    "not registered", "registered for a junction", "registered for an interval",
}  # fmt: skip
ASYNCHRONOUS = {
    "preempted with output in flight", "preempted with a chunk in flight", "scheduled with another in flight",
    "nothing to schedule but another in flight", "skipped for its last output", "skipped at max_model_len",
    "finished while waiting", "registered at output",
}  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "rules"),
    [
        (draw_case, ALWAYS),
        (draw_group_case, ALWAYS | WINDOWS),
        (draw_async_case, ALWAYS | WINDOWS | ASYNCHRONOUS),
    ],
)
def test_the_scenarios_reach_the_rules(draw: Draw, rules: set[str]) -> None:
    """Drawn in another way they might not, and all would be equal for nothing."""
    reached: Counter[str] = Counter()
    for seed in range(400):
        server = Witness(*draw(seed))
        steps = server.run()
        lost = leak(server.config, server, steps)
        assert lost is None, seed
        ends = {record["end"] for record in steps}
        reached += server.reached
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
    assert {rule: reached[rule] for rule in rules if reached[rule] < 20} == {}
