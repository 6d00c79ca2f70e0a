"""The journal of blocks: told from its beginning, it gives the state of the pool in every step."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from simcore import Scenario, Workload, simulate
from simcore.scenario.timing import TimingSection
from tests.theory.random_runs import scenarios, workloads


class Pool:
    """Who holds which block, and what is cached where, from the lines of blocks.parquet alone."""

    def __init__(self, blocks: int) -> None:
        self.usable = range(1, blocks)
        self.host: dict[int, str] = {}
        """whose content a block of the host was given last; what is not fetched again is given up without a word"""
        self.holders: dict[int, Counter[str]] = {block: Counter() for block in self.usable}
        self.cached: dict[int, int] = {}
        """the key of each block that has one"""

    def tell(self, event: str, block: int, request: str | None, key: int | None, refs: int, other: int | None) -> None:
        holders = self.holders[block]
        match event:
            case "allocate":
                assert not holders
                assert block not in self.cached
                holders[str(request)] = 1
            case "hit":
                assert self.cached.get(block) == key  # a fork shares what is not cached too
                assert holders or key is not None
                holders[str(request)] += 1
            case "register":
                assert holders == {request: 1}
                assert key is not None
                self.cached[block] = key
            case "free":
                assert key in (self.cached.get(block), None)
                if key is None:  # a victim of the step that would have filled it
                    self.cached.pop(block, None)
                holders[str(request)] -= 1
                self.holders[block] = +holders
            case "evict":
                assert not holders
                assert request is None
                del self.cached[block]
            case "copy":
                assert holders == {request: 1}
                assert other is not None
                assert self.holders[other].total() > 1
                assert self.holders[other][str(request)]
            case "swap_out":
                assert holders[str(request)]
                assert other is not None
                self.host[other] = str(request)
            case "swap_in":
                assert holders == {request: 1}
                assert other is not None
                assert self.host.pop(other) == request
            case "prune":
                assert holders == {request: 1}
                assert key is None
                self.cached.pop(block, None)  # its claim on the cache was given up
            case _:
                raise AssertionError(event)
        assert refs == self.holders[block].total()

    @property
    def usage(self) -> tuple[int, int, int]:
        """Blocks used, cached and free."""
        used = sum(bool(holders) for holders in self.holders.values())
        cached = sum(not self.holders[block] for block in self.cached)
        return used, cached, len(self.usable) - used - cached


@given(
    st.one_of(
        st.tuples(
            scenarios(ends=False, swaps=True, windows=True) | scenarios(ends=False, states=True), workloads(forks=True)
        ),
        st.tuples(scenarios(ends=False, prunes=True), workloads()),
    )
)
def test_the_journal_tells_it_all(run: tuple[Scenario, Workload]) -> None:
    scenario, workload = run
    steady = scenario.model_copy(update={"timing": TimingSection(model="constant", step=0.25)})
    results = simulate(steady, workload=workload, journal=True)
    pool, lines = Pool(scenario.memory.blocks or 0), deque(results.blocks.drop("sequence").iter_rows())

    def play(step: int, t: float) -> None:
        while lines and lines[0][:2] == (step, t):
            pool.tell(*lines.popleft()[2:])

    for row in results.timeline.iter_rows(named=True):
        play(row["step"], row["t"])
        assert pool.usage == (row["blocks_used"], row["blocks_cached"], row["blocks_free"])
        play(row["step"], row["t"] + row["dt"])
    assert not lines
    if not results.unfinished:
        assert pool.usage[0] == 0, "all is given back"
