"""Why a server hits fewer blocks than a cache that keeps all it has ever seen: every block accounted for.

    python examples/hit_accounting.py TRACE [sequential | stagger60] [KEY=VALUE ...]

The trace must name its blocks (mooncake, bailian, kv-cache-tester). The pool has blocks of the trace's own size, and so
many that none is ever evicted; what makes a difference then are the rules of the server.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from simcore import Scenario, Simulation, Workload
from simcore.serving.executor import TimedExecutor
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request
from simcore.timing import make_timer
from simcore.workload.build import drop_empty
from simcore.workload.traces import read_trace

SERVER = """
memory = { blocks = 1_000_000_000 }
scheduler = { max_num_seqs = 1024, max_num_batched_tokens = 16_384, max_model_len = 10_000_000 }
timing = { model = "linear", step = 0.05, per_token = 2e-5 }
"""


def names_of(workload: Workload, row: int) -> list[int]:
    """What the trace calls the blocks of a prompt, in order."""
    runs = workload.runs
    if runs is None:
        raise SystemExit("the trace does not name its blocks")
    names: list[int] = runs.source[runs.offsets[row] : runs.offsets[row + 1]].tolist()
    return names


def leading(names: Sequence[int], known: set[int]) -> int:
    """How many blocks are known, up to the first that is not."""
    return len(list(takewhile(known.__contains__, names)))


class Ledger:
    """Watches a run: which blocks were filled already, or in the same step before it, when a request was admitted."""

    def __init__(self, workload: Workload, block: int) -> None:
        self.found = np.zeros(len(workload), np.int64)
        """[requests] leading blocks that were there, up to the one with the last token, which has to be computed"""
        self._workload, self._block = workload, block
        self._prefilling: dict[int, int] = {}
        """the row of each sequence whose prompt is not done"""
        self._filled: set[int] = set()

    def arrived(self, request: Request, accepted: bool) -> None:
        """What counts is when it is admitted."""

    def planned(self, plan: StepPlan, start: int, ticks: int) -> None:
        reached = {seq: begin + count for seq, begin, count in zip(plan.seqs, plan.starts, plan.counts, strict=True)}
        for seq, row in self._prefilling.items():
            self._fill(row, reached.get(seq, 0))
        prompt_len = self._workload.prompt_len
        for seq, opening in plan.opened.items():
            row = opening.request
            usable = (prompt_len[row] - 1) // self._block
            self.found[row] = leading(names_of(self._workload, row)[:usable], self._filled)
            self._fill(row, reached[seq])
            self._prefilling[seq] = row
        self._prefilling = {seq: row for seq, row in self._prefilling.items() if reached.get(seq, 0) < prompt_len[row]}

    def committed(self, plan: StepPlan, ended: Iterable[object]) -> None:
        """Nothing is evicted, so it does not matter who has ended."""

    def _fill(self, row: int, reached: int) -> None:
        whole = min(reached, self._workload.prompt_len[row]) // self._block
        self._filled.update(names_of(self._workload, row)[:whole])


def account(recorded: Workload, overrides: Sequence[str] = ()) -> dict[str, int]:
    """Numbers of blocks: what an infinite cache hits, what is lost of it and why, and what the simulator hits."""
    block = recorded.block or 1
    workload = drop_empty(recorded)
    ledger = Ledger(workload, block)
    scenario = Scenario.from_toml(SERVER, Path(), [f"memory.block_size={block}", *overrides])
    executor = TimedExecutor(make_timer(scenario))  # given one, a plan lists who computes how much
    results = Simulation(scenario, workload=workload, executor=executor, observers=[ledger]).run()
    hits = results.requests["hit_tokens"].to_numpy() // block

    infinite = dropped = brought = partial = last = 0
    seen: set[int] = set()  # by all requests so far
    met: set[int] = set()  # by those that were served
    whole: set[int] = set()  # the same, without the blocks that a prompt filled only in part
    for row, prompt_len in enumerate(recorded.prompt_len.tolist()):
        names = names_of(recorded, row)
        ideal = leading(names, seen)
        infinite += ideal
        seen.update(names)
        if not recorded.output_len[row]:
            dropped += ideal
            continue
        served, filled = leading(names, met), leading(names[: prompt_len // block], whole)
        brought += ideal - served
        partial += served - filled
        last += filled - min(filled, (prompt_len - 1) // block)
        met.update(names)
        whole.update(names[: prompt_len // block])

    usable = infinite - dropped - brought - partial - last
    return {
        "hits of an infinite cache": infinite,
        "- by requests without output, which are dropped": dropped,
        "- on blocks that only those had brought": brought,
        "- on partial blocks, which are never cached": partial,
        "- on the block of a prompt's last token, which is computed again": last,
        "- on blocks that were not filled yet": usable - int(ledger.found.sum()),
        "hits of the simulator": int(hits.sum()),
        "unexplained, request by request": int(np.abs(hits - ledger.found).sum()),
    }


if __name__ == "__main__":
    file, *options = sys.argv[1:] or sys.exit(__doc__)
    (sessions,) = [option for option in options if "=" not in option] or ["sequential"]
    trace = read_trace(Path(file), sessions=sessions)
    for label, count in account(trace, [option for option in options if "=" in option]).items():
        print(f"{count:>12,}  {label}")
