"""Object hits and usable hits are what their definitions say, for every policy, order, capacity and worker."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from simcore import InputError, hits
from simcore.policies.admission import Admission
from simcore.policies.base import parameter
from simcore.policies.eviction import EVICTION, FIFO, LRU, Eviction, Name, Setting, Use
from simcore.policies.eviction.base import NEVER_AGAIN
from simcore.study import FORWARD, ORDERS, TAIL_FIRST, Stream, choose, label, read_stream, stream_of, study
from simcore.study.play import next_uses
from simcore.study.workers import each
from tests.study.streams import objects_by_definition, random_stream, requests_of, usable_by_definition

TRACES = (
    ("SYNTHETIC_qwen_bailian_format_seed0.first600s.jsonl.gz", "sequential"),
    ("mooncake_conversation_trace.first2400s.jsonl.gz", "sequential"),
    ("kv_cache_tester_traces0001-0063.jsonl.gz", "sequential"),
    ("kv_cache_tester_traces0001-0063.jsonl.gz", "stagger60"),
)


@pytest.mark.parametrize(("name", "sessions"), TRACES[:3])
def test_lru_on_published_traces(name: str, sessions: str, shared: Path) -> None:
    known = json.loads((shared / "traces" / "REFERENCE.json").read_text(encoding="utf-8"))[name]
    counts = known.get("sim") or known[f"sim_{sessions}"]
    stream = read_stream(shared / "traces" / name, sessions=sessions)
    assert (stream.requests, len(stream.names)) == (counts["requests"], counts["blocks"])
    capacities = [int(capacity) for capacity in counts["lru"]]
    if counts["blocks"] > 1_000_000:  # the curves check all of them, more quickly
        capacities = capacities[1:2]
    for row in study(stream, [LRU()], capacities):
        expected = counts["lru"][str(row.capacity)]
        assert row.prefix_hits == expected["prefix_fwd" if row.order == FORWARD else "prefix_rev"]
        if row.order == FORWARD:
            assert row.object_hits == expected["classic"]


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_lru_by_definition(seed: int, repeats: bool) -> None:
    stream = random_stream(seed, repeats=repeats)
    for row in study(stream, [LRU()], [1, 2, 5, 11, 40]):  # some requests are longer than the cache
        assert row.object_hits == objects_by_definition(stream, row.capacity, row.order)
        assert row.prefix_hits == usable_by_definition(stream, row.capacity, row.order)


@dataclass
class Spy(Eviction):
    """Evict what was touched least recently, and note what is heard."""

    name = "spy"
    foresees: ClassVar[bool] = True

    def start(self, setting: Setting) -> None:
        self.order: dict[Name, None] = {}

    def insert(self, block: int, name: Name, use: Use) -> None:
        self.order[block] = None
        HEARD.append(("insert", block, use.place, use.before, use.next))

    def hit(self, block: int, use: Use) -> None:
        del self.order[block]
        self.order[block] = None
        HEARD.append(("hit", block, use.place, use.before, use.next))

    def release(self, block: int, use: Use) -> None:
        HEARD.append(("release", block, use.place, use.before, 0))

    def victim(self) -> int:
        block = next(iter(self.order))
        del self.order[block]
        return block

    def remove(self, block: int) -> None:
        del self.order[block]


HEARD: list[tuple[Any, ...]] = []


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_policy_of_single_blocks_is_touched_in_the_order_too(seed: int, repeats: bool) -> None:
    """The same policy as LRU, spoken to block by block, finds the same."""
    stream = random_stream(seed, repeats=repeats)
    pairs = zip(study(stream, [Spy()], [1, 4, 20]), study(stream, [LRU()], [1, 4, 20]), strict=True)
    for ours, lru in pairs:
        assert (ours.object_hits, ours.prefix_hits) == (lru.object_hits, lru.prefix_hits)


def test_what_a_policy_is_told() -> None:
    """A request of which the middle is cached: hits and insertions take turns, in the order, with their places."""
    stream = Stream("mooncake", np.array([2, 1, 2, 3]), np.array([0, 1, 4]), 512, np.array([0.0, 1.0]))
    for order, places in ((FORWARD, (0, 1, 2)), (TAIL_FIRST, (2, 1, 0))):
        (row,) = study(stream, [Spy()], [9], [order])
        told = {
            0: ("insert", 1, 0, 0, NEVER_AGAIN),
            1: ("hit", 2, 1, 1, NEVER_AGAIN),
            2: ("insert", 3, 2, 2, NEVER_AGAIN),
        }
        assert row.prefix_hits == 0
        last = HEARD[-8:]
        assert last[:2] == [("insert", 2, 0, 0, 2), ("release", 2, 0, 0, 0)]
        assert last[2:5] == [told[place] for place in places]
        assert [(kind, block) for kind, block, *_ in last[5:]] == [("release", told[place][1]) for place in places]


def test_fifo_by_hand() -> None:
    stream = Stream("mooncake", np.array([1, 2, 1, 3, 1, 2]), np.array([0, 2, 4, 6]), 512, np.zeros(3))
    found = {(row.order): (row.object_hits, row.prefix_hits) for row in study(stream, [FIFO()], [2])}
    # forward, as objects: 1 2 [1] 3(-1) 1(-2) 2(-3); as requests: [1 2], [1] 3 evicts 1, miss
    assert found[FORWARD] == (1, 1)
    # tail-first, as objects: 2 1, 3(-2) [1], 2(-1) 1(-3); as requests: 2 1; [1], 3 evicts 2; [1]
    assert found[TAIL_FIRST] == (1, 2)


@pytest.mark.parametrize("seed", range(10))
def test_next_uses(seed: int) -> None:
    stream = random_stream(seed, repeats=True)
    names = stream.names.tolist()
    later = next_uses(stream.names).tolist()
    for access, name in enumerate(names):
        assert later[access] == next((i for i in range(access + 1, len(names)) if names[i] == name), NEVER_AGAIN)
    assert stream.offsets is not None
    later = next_uses(stream.names, stream.offsets).tolist()
    end = 0
    for blocks in requests_of(stream):
        start, end = end, end + len(blocks)
        for access in range(start, end):
            expected = next((i for i in range(end, len(names)) if names[i] == names[access]), NEVER_AGAIN)
            assert later[access] == expected


@dataclass
class OddOnes(Admission):
    """Refuse a content with an even name."""

    name = "odd-ones"

    def admits(self, name: Name, use: Use) -> bool:
        return name % 2 == 1


def test_admission_refuses_a_block_and_what_follows_it() -> None:
    stream = Stream("mooncake", np.array([1, 2, 3, 1, 2, 3, 3]), np.array([0, 3, 6, 7]), 512, np.zeros(3))
    for order in ORDERS:
        (everything,) = study(stream, [LRU()], [9], [order])
        (some,) = study(stream, [LRU()], [9], [order], admission=OddOnes())
        assert (everything.prefix_hits, some.prefix_hits) == (4, 1)
        assert everything.object_hits == some.object_hits == 4


def test_all_policies_find_something_and_nothing_too_much() -> None:
    stream = random_stream(3)
    assert stream.offsets is not None
    rows = list(study(stream, choose(EVICTION, "all"), [1, 7, 1000]))
    assert len(rows) == 3 * 2 * len(EVICTION)
    best = usable_by_definition(stream, 1000, FORWARD)
    for row in rows:
        assert row.prefix_hits is not None
        assert 0 <= row.prefix_hits <= best
        if row.capacity == 1000 and row.policy == "lru":
            assert row.prefix_hits == best


def test_workers_change_nothing() -> None:
    stream = random_stream(1)
    alone, shared = (hits(stream, [3, 9], [LRU(), FIFO()], jobs=jobs) for jobs in (1, 2))
    assert alone.equals(shared)
    assert alone.columns == ["policy", "capacity", "order", "requests", "accesses", "object_hits", "prefix_hits"]


def _deadly(_: None) -> Callable[[int], None]:
    return lambda status: os._exit(status)


def test_a_worker_that_dies_is_told_of() -> None:
    with pytest.raises(InputError, match="a worker process died"):
        list(each(_deadly, None, [9, 9], 2))


def test_from_python(tmp_path: Path) -> None:
    frame = hits([1, 2, 1, 1], [1, 2, 2], orders=["tail-first"])
    assert frame.rows() == [("lru", 1, FORWARD, 4, 4, 1, None), ("lru", 2, FORWARD, 4, 4, 2, None)]
    path = tmp_path / "ids"
    path.write_text("b\na\n\nb\r\nb\n", encoding="utf-8")
    assert hits(path, 2).equals(hits(np.array([7, 0, 7, 7]), 2))
    with pytest.raises(InputError, match="from 1 to 1,000,000,000, not 0"):
        hits([1], 0)
    with pytest.raises(InputError, match="at least one id"):
        hits([], 1)


def test_hashes_of_the_native_format_are_chained(tmp_path: Path) -> None:
    """There, a hash names tokens at any place; a block can be used only behind the same blocks."""
    path = tmp_path / "native.jsonl"
    prompts = [["a", "b"], ["b"], ["c", "b"], ["a", "b", "b"]]
    lines = [
        {"id": str(row), "arrival": row, "output_len": 1, "prompt_len": 16 * len(hashes), "prefix_hashes": hashes}
        for row, hashes in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    stream = read_stream(path)
    assert requests_of(stream) == [[1, 2], [3], [4, 5], [1, 2, 6]]
    assert stream.block == 16


@dataclass
class Tunable(FIFO):
    """Has parameters."""

    name = "tunable"
    small: float = parameter(0.1, help="A share.", gt=0, lt=1)
    queues: int = parameter(2, help="A number.", ge=1)


def test_policies_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVICTION._members, "tunable", Tunable)
    chosen = choose(EVICTION, "lru, tunable:small=0.2:queues=3,tunable:small=0.1,lru")
    assert [label(policy) for policy in chosen] == ["lru", "tunable(small=0.2, queues=3)", "tunable"]
    for line, says in {
        "lur": 'no eviction policy is called "lur"; did you mean lru?',
        "": "there are lru, fifo",
        "tunable:smal=1": 'tunable has no parameter "smal"; did you mean small?',
        "lru:small=1": 'lru has no parameter "small"; it has none',
        "tunable:small": 'a parameter is written tunable:NAME=VALUE, not "small"',
        "tunable:small=2": "tunable: small is 2",
        "tunable:small=much": 'tunable: small is "much"',
    }.items():
        with pytest.raises(InputError) as error:
            choose(EVICTION, line)
        assert says in str(error.value)


def test_streams_of_any_kind_are_one(tmp_path: Path) -> None:
    ids = np.array([5, 3, 5, 9, 3])
    np.save(tmp_path / "ids.npy", ids.astype(np.uint16))
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)), encoding="utf-8")
    for path in (tmp_path / "ids.npy", tmp_path / "ids.txt"):
        assert read_stream(path).names.tolist() == stream_of(ids).names.tolist() == [1, 2, 1, 3, 2]
