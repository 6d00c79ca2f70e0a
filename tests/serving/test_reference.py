"""The reference does what vLLM's own tests of windows and asynchronous scheduling assert, recorded or not."""

from collections.abc import Sequence

import pytest

from tests.serving.random_cases import Line
from tests.serving.reference import Block, Config, Server

TEXT = list(range(1000))


def prompt(id: str, arrival: float, length: int, output_len: int = 1) -> Line:
    """The beginning of one text."""
    return {"id": id, "arrival": arrival, "output_len": output_len, "prompt_token_ids": TEXT[:length]}


def server_of(groups: tuple[int, ...], block_size: int, cached: Sequence[set[int]]) -> Server:
    """A server that has these blocks of `TEXT` cached for each group."""
    config = Config(blocks=200, block_size=block_size, prefix_caching=True, groups=groups)
    server = Server(config, [prompt("r", 0.0, 12 * block_size + 1)])
    for group, blocks in enumerate(cached):
        for k in sorted(blocks):
            server.pool.register(server.pool.take(), server.hash(server.requests[0], group, k))
    return server


@pytest.mark.parametrize(
    ("cached", "hits"),
    [
        (set(), 0),
        ({0}, 1),
        ({0, 1}, 2),
        ({0, 1, 2}, 3),
        ({1}, 0),
        ({0, 2, 3, 5, 6, 7, 9, 10, 11}, 12),
        ({0, 2, 3, 5, 6, 7, 9, 11}, 8),
    ],
)
def test_a_window_needs_only_the_blocks_that_it_sees(cached: set[int], hits: int) -> None:
    server = server_of((4,), 2, [cached])
    (found,) = server.lookup(server.requests[0])
    assert len(found) == hits
    assert [block is server.pool.null for block in found] == [True] * (hits - 2) + [False] * min(hits, 2)


@pytest.mark.parametrize(
    ("lost", "hits"),
    [
        ((), 12),
        (((1, 0), (2, 0), (1, 9)), 12),
        (((0, 0),), 0),
        (((0, 11),), 11),
        (((1, 11),), 11),
        (((2, 11),), 11),
        (((1, 11), (2, 10)), 10),
        (((0, 8), (1, 7), (2, 6)), 6),
    ],
)
def test_all_groups_hit_as_much_as_the_shortest(lost: tuple[tuple[int, int], ...], hits: int) -> None:
    """Out-of-window blocks do not shorten a hit; losing the last block of any group does."""
    groups = (0, 17, 17)  # which sees one block before its own
    server = server_of(groups, 16, [set(range(12)) - {k for other, k in lost if other == g} for g in range(3)])
    found = server.lookup(server.requests[0])
    assert [len(blocks) for blocks in found] == [hits] * 3
    assert [blocks.count(server.pool.null) for blocks in found] == [0, max(hits - 1, 0), max(hits - 1, 0)]


def test_blocks_leave_the_window_from_the_last_one_on() -> None:
    server = Server(Config(blocks=11, block_size=2, groups=(4,)), [])
    table = [server.pool.take() for _ in range(8)]
    freed = []
    for computed in (4, 5, 6, 7, 11):
        free = len(server.pool.queue)
        server.leave_window(table, server.passed(4, computed))
        freed.append([block.id for block in server.pool.queue[: len(server.pool.queue) - free]])
    assert freed == [[], [1], [], [2], [4, 3]]
    assert [block.id for block in table] == [0, 0, 0, 0, 5, 6, 7, 8]


def test_idle_hits_are_counted_and_null_ones_are_not() -> None:
    """20 blocks with 10 idle hits: 20 leave the queue; with 5 nulls before 5 idle hits: 15."""
    server = Server(Config(blocks=40, block_size=2, groups=(11,)), [prompt("r", 0.0, 40)])
    idle = [Block(100 + k) for k in range(10)]
    assert server.missing(server.requests[0], 0, 20, base=10, hits=idle) == 20
    assert server.missing(server.requests[0], 0, 20, base=20, hits=[server.pool.null] * 5 + idle[5:]) == 15


@pytest.mark.parametrize(("interval", "kept"), [(64, {3, 7, 11, 14, 15}), (0, {14}), (None, set(range(16)))])
def test_what_is_retained_is_what_a_resend_hits(interval: int | None, kept: set[int]) -> None:
    config = Config(
        blocks=100, prefix_caching=True, max_num_batched_tokens=256, groups=(0, 16), retention_interval=interval
    )
    steps = Server(config, [prompt("first", 0.0, 256), prompt("again", 1.0, 256)]).run()
    cached = list(steps[0]["cached"].values())
    assert {len(tokens) // 16 - 1 for group, tokens in cached if group == 1} == kept
    assert {len(tokens) // 16 - 1 for group, tokens in cached if group == 0} == set(range(16))
    assert steps[1]["hits"] == {"again": 240}


def test_a_junction_is_kept_for_those_who_come_after() -> None:
    """A kept its own end only; B finds that they part in block 2, and stores what C can go on from."""
    config = Config(blocks=100, block_size=4, prefix_caching=True, groups=(0, 4), retention_interval=0)
    tails = {"A": 600, "B": 700, "C": 800}
    lines = [
        prompt(id, float(arrival), 8) | {"prompt_token_ids": TEXT[:8] + TEXT[tail : tail + 13]}
        for arrival, (id, tail) in enumerate(tails.items())
    ]
    steps = Server(config, lines).run()
    assert [step["hits"] for step in steps] == [{"A": 0}, {"B": 0}, {"C": 8}]


@pytest.mark.parametrize("groups", [(0,), (5,), (0, 5)])
def test_no_token_is_scheduled_for_nothing(groups: tuple[int, ...]) -> None:
    """A step ahead of its outputs, each request still computes its tokens but the last, once."""
    config = Config(blocks=300, block_size=4, max_num_batched_tokens=30, async_scheduling=True, groups=groups)
    server = Server(config, [prompt(f"r{i}", 0.0, 5 + 9 * i, output_len=1 + 4 * i) for i in range(6)])
    steps = server.run()
    assert all(request.status == "finished" for request in server.requests)
    assert [request.scheduled for request in server.requests] == [5 + 9 * i + 4 * i for i in range(6)]
    assert steps[-1]["used"] == 0


def test_what_is_in_flight_keeps_its_window() -> None:
    """A step ahead, the blocks that the step before still reads stay one step longer."""
    tables = {}
    for ahead in (False, True):
        config = Config(blocks=50, block_size=2, groups=(4,), async_scheduling=ahead)
        steps = Server(config, [prompt("r", 0.0, 8, output_len=6)]).run()
        tables[ahead] = [step["tables"]["r"][0].count(0) for step in steps if step["sched"]]
    assert tables == {False: [0, 2, 3, 3, 4, 4], True: [0, 0, 2, 3, 3, 4]}
