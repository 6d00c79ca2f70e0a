"""vLLM 0.33.0's scheduler and KV-cache manager, written to be read and not to be fast.

A second opinion for the tests: a straight translation of a description of its rules, which shares no code with the
simulator and takes none of its shortcuts. Every request is an object with the list of its tokens' names, every block
is an object, the free queue is a list, and the hash of a block is all the tokens from the first one to its last.
Layers come in groups, with full attention or a sliding window each: all take their blocks from one pool, and a request
has a block table for each. With asynchronous scheduling a step is scheduled before the output of the one before it is
known. Time is counted in ticks of 2^-40 s.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

SECOND = 2**40

Name = tuple[Hashable, ...]
"""A token's name: two tokens are equal if their names are."""

Hash = tuple[int, tuple[Name, ...]]
"""A group of layers, and the tokens up to the end of a block."""


@dataclass(frozen=True)
class Config:
    """What decides a run beside its requests, named and by default as in a recorded case."""

    blocks: int
    block_size: int = 16
    prefix_caching: bool = False
    policy: str = "fcfs"
    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    max_model_len: int = 65536
    chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    watermark: float = 0.0
    reserve_full_prompt: bool = True
    never_fits: str = "wait"
    max_steps: int = 2_000_000
    async_scheduling: bool = False
    groups: tuple[int, ...] = (0,)
    """tokens in the sliding window of each group of layers, the current one included; 0: full attention"""
    retention_interval: int | None = None
    """which blocks of a window group are cached, see `Server.retained`"""
    step: float = 2**-7
    per_token: float = 2**-15
    per_context_token: float = 2**-24


@dataclass(eq=False)
class Block:
    """A block of the pool; its hash is set while it is registered in the prefix cache."""

    id: int
    refs: int = 0
    hash: Hash | None = None


@dataclass(eq=False)
class Request:
    """A request and what has become of it."""

    id: str
    arrival: int
    priority: int
    tokens: list[Name]
    """the prompt, then the outputs known so far"""
    future: list[Name]
    """the outputs still to come"""
    prompt_len: int
    computed: int = 0
    """tokens whose keys and values are computed or scheduled"""
    tables: list[list[Block]] = field(default_factory=list)
    """for each group; the null block stands for those that have left the window"""
    registered: int = 0
    """leading blocks of the tables whose turn to enter the prefix cache has passed"""
    junction: int = 0
    """leading blocks of the known prefix at which full attention could have gone on, and a window could not"""
    in_flight: int = 0
    """tokens scheduled in steps whose output is not known yet"""
    placeholders: int = 0
    """outputs not known yet"""
    stale: int = 0
    """tokens that were in flight at its preemption, and still are"""
    status: str = "unfinished"
    first_scheduled: int | None = None
    finished: int | None = None
    token_steps: list[int] = field(default_factory=list)
    """the steps that sampled a token of it"""
    first_token: int | None = None
    preemptions: int = 0
    query_tokens: int = 0
    hit_first: int | None = None
    hit_total: int = 0
    scheduled: int = 0


def read(line: dict[str, Any], number: int) -> Request:
    """A request of the native format, the `number`-th of its file."""
    tokens: list[Name]
    if "prompt_token_ids" in line:
        tokens = [("id", token) for token in line["prompt_token_ids"]]
    elif "prompt_segments" in line:
        tokens = [("segment", segment, i) for segment, n in line["prompt_segments"] for i in range(n)]
    else:
        size, prompt_len = line.get("hash_block", 16), line["prompt_len"]
        tokens = [("hash", size, hash, i) for hash in line.get("prefix_hashes", []) for i in range(size)]
        tokens = tokens[:prompt_len] + [("prompt", number, i) for i in range(len(tokens), prompt_len)]
    output = ("segment", line["output_segment"]) if "output_segment" in line else ("output", number)
    future: list[Name] = [(*output, i) for i in range(line["output_len"])]
    return Request(line["id"], ticks(line["arrival"]), line.get("priority", 0), tokens, future, len(tokens))


def ticks(seconds: float) -> int:
    return round(seconds * SECOND)


class Pool:
    """The blocks, the free queue with its head first, and the prefix cache."""

    def __init__(self, blocks: int) -> None:
        self.null, *self.blocks = (Block(id) for id in range(blocks))  # nobody ever holds the null block
        self.queue = list(self.blocks)
        self.cache: dict[Hash, list[Block]] = {}  # the oldest of equal blocks first
        self.evicted: list[int] = []

    def touch(self, block: Block) -> None:
        if block.refs == 0:
            self.queue.remove(block)
        block.refs += 1

    def take(self) -> Block:
        block = self.queue.pop(0)
        if block.hash is not None:
            self.cache[block.hash].remove(block)
            if not self.cache[block.hash]:
                del self.cache[block.hash]
            block.hash = None
            self.evicted.append(block.id)
        block.refs = 1
        return block

    def register(self, block: Block, hash: Hash) -> None:
        block.hash = hash
        self.cache.setdefault(hash, []).append(block)

    def free(self, blocks: list[Block]) -> None:
        """Free blocks of a table, given in its order; null blocks do not count."""
        unhashed: list[Block] = []
        hashed: list[Block] = []
        for block in reversed(blocks):
            if block is self.null:
                continue
            block.refs -= 1
            if block.refs == 0:
                (unhashed if block.hash is None else hashed).append(block)
        self.queue = unhashed + self.queue + hashed


@dataclass(eq=False)
class Batch:
    """A step that is scheduled, until its output is processed."""

    index: int
    rows: list[tuple[Request, int, bool]]
    """the requests, their tokens, and whether they sample one more"""
    end: int


class Server:
    """Runs requests to their end and writes down every step."""

    def __init__(self, config: Config, lines: list[dict[str, Any]]) -> None:
        self.config = config
        self.pool = Pool(config.blocks)
        self.requests = [read(line, number) for number, line in enumerate(lines)]
        for request in self.requests:
            request.tables = [[] for _ in config.groups]
        self.coming = sorted(self.requests, key=lambda request: request.arrival)
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.batches = 2 if config.async_scheduling else 1
        """how many may be in flight"""
        self.flying: list[Batch] = []
        self.steps: list[dict[str, Any]] = []
        self.now = 0
        self.busy_until = 0  # the model's time is taken up to here

    def run(self) -> list[dict[str, Any]]:
        """A record for each step: the fields of the recorded cases, and then what else there is to compare."""
        stalled = False
        while True:
            while self.coming and self.coming[0].arrival <= self.now:
                if self.accepts(request := self.coming.pop(0)):
                    self.waiting.append(request)
                    stalled = False
            may_step = len(self.steps) < self.config.max_steps
            if may_step and not stalled and (self.waiting or self.running) and len(self.flying) < self.batches:
                self.schedule()
                stalled = "stall" in self.steps[-1]
                if len(self.flying) < self.batches:
                    continue
            if self.flying:
                self.finish(self.flying.pop(0))
            elif may_step and self.coming:
                self.now = self.coming[0].arrival
            else:
                return self.steps

    def accepts(self, request: Request) -> bool:
        config = self.config
        longest = min(request.prompt_len + len(request.future) - 1, config.max_model_len - 1)
        most = sum(self.most_blocks(window, longest) for window in config.groups)
        never = config.never_fits == "reject" and most > config.blocks - 1
        if request.prompt_len >= config.max_model_len or never:
            request.status = "rejected"
            return False
        return True

    def most_blocks(self, window: int, tokens: int) -> int:
        """The most blocks of a group that `tokens` tokens of one request hold at any time."""
        config = self.config
        whole = blocks_of(tokens, config.block_size)
        if not window:
            return whole
        reach = window - 1 + config.max_num_batched_tokens * self.batches
        return min(whole, blocks_of(min(reach, config.max_model_len), config.block_size) + 1)

    def schedule(self) -> None:
        """schedule(), and the model is started."""
        self.pool.evicted = []
        self.budget = self.config.max_num_batched_tokens
        self.several = len(self.running) + len(self.waiting) > 1
        self.scheduled: list[tuple[Request, int, list[list[int]]]] = []  # with the ids of the blocks to be recorded
        self.preempted: list[Request] = []
        self.schedule_running()
        ran = len(self.scheduled)
        if not self.preempted:
            self.schedule_waiting()
        admitted = [request for request, _, _ in self.scheduled[ran:]]

        free = self.pool.queue
        record = {
            "i": len(self.steps),
            "t": self.now / SECOND,
            "sched": [[request.id, n, request.computed] for request, n, _ in self.scheduled],
            "new": [request.id for request in admitted if not request.preemptions],
            "resumed": [request.id for request in admitted if request.preemptions],
            "preempted": [request.id for request in self.preempted],
            "hits": {request.id: request.computed for request in admitted},
            "evicted": len(self.pool.evicted),
            "evicted_ids": self.pool.evicted,
            "free_sched": len(free),
            "blocks": {
                request.id: ids if len(ids) > 1 else ids[0]  # of each group, if there are several
                for request, _, ids in self.scheduled
                if any(ids)
            },
            "start": self.now,
            "waiting": len(self.waiting),
            "tables": {request.id: ids_of(request.tables) for request in self.running},
            "queried": sum(len(request.tokens) for request in admitted),
            "idle": sum(block.hash is not None for block in free),
        }
        if not self.scheduled and not self.preempted and not any(batch.rows for batch in self.flying):
            record["stall"] = True

        rows = []
        for request, n, _ in self.scheduled:
            request.computed += n
            request.scheduled += n
            request.in_flight += n
            samples = request.computed >= len(request.tokens) + request.placeholders
            request.placeholders += samples
            rows.append((request, n, samples))
        duration = self.duration()
        self.busy_until = max(self.now, self.busy_until) + duration
        self.flying.append(Batch(len(self.steps), rows, self.busy_until))
        self.steps.append(record | {"stored": self.stored(), "dt": duration / SECOND, "ticks": duration})

    def finish(self, batch: Batch) -> None:
        """The model is done: update_from_output()."""
        self.now = batch.end
        finished = self.update(batch)
        queue = [block.id for block in self.pool.queue]
        self.steps[batch.index] |= {
            "finished": finished,
            "free": len(queue),
            "used": self.config.blocks - 1 - len(queue),
            "freeq_crc": crc32(",".join(map(str, queue)).encode()),
            "end": self.now,
            "queue": queue,
            "refs": {block.id: block.refs for block in self.pool.blocks if block.refs},
            "cached": {block.id: block.hash for block in self.pool.blocks if block.hash is not None},
        }

    def duration(self) -> int:
        if not self.scheduled:
            return 0
        config = self.config
        tokens = sum(n for _, n, _ in self.scheduled)
        context = sum(request.computed for request, _, _ in self.scheduled)
        return ticks(config.step) + ticks(config.per_token) * tokens + ticks(config.per_context_token) * context

    def stored(self) -> int:
        """Tokens in the blocks that somebody holds, once the step is done; those of shared blocks once."""
        size = self.config.block_size
        tokens: dict[Block, int] = {}
        for request in self.running:
            for table in request.tables:
                for place, block in enumerate(table):
                    filled = min(max(request.computed - place * size, 0), size)
                    tokens[block] = max(tokens.get(block, 0), filled)
        tokens.pop(self.pool.null, None)
        return sum(tokens.values())

    def schedule_running(self) -> None:
        config = self.config
        i = 0
        while i < len(self.running) and self.budget > 0:
            request = self.running[i]
            n = self.limited(len(request.tokens) + request.placeholders - request.computed)
            n = min(n, self.budget, config.max_model_len - request.computed - 1)
            if self.awaits_last(request) or n == 0:
                i += 1
                continue
            nothing: list[list[Block]] = [[] for _ in config.groups]
            blocks = self.allocate(request, n, nothing, waiting=False)
            while blocks is None:
                victim = self.victim()
                i -= self.running.index(victim) < i
                self.preempt(victim)
                if victim is request:
                    break
                blocks = self.allocate(request, n, nothing, waiting=False)
            if blocks is not None:
                self.scheduled.append((request, n, ids_of(blocks)))
                self.budget -= n
                i += 1

    def awaits_last(self, request: Request) -> bool:
        """Whether all the tokens that it needs for its last output are in flight."""
        last = len(request.tokens) + len(request.future)
        return request.placeholders > 0 and request.computed + 2 - request.placeholders >= last

    def schedule_waiting(self) -> None:
        size = self.config.block_size
        while self.budget > 0 and len(self.running) < self.config.max_num_seqs:
            ready = [request for request in self.waiting if not request.stale]
            if not ready:
                break
            request = ready[0]
            if self.config.policy == "priority":
                request = min(ready, key=lambda other: (other.priority, other.arrival, other.id))
            hits = self.lookup(request)
            hit_tokens = len(hits[0]) * size
            n = self.limited(len(request.tokens) - hit_tokens)
            if n > self.budget and not self.config.chunked_prefill:
                break
            n = min(n, self.budget)
            if self.allocate(request, n, hits, waiting=True) is None:
                break
            self.waiting.remove(request)
            self.running.append(request)
            request.computed = hit_tokens
            request.query_tokens += len(request.tokens)
            request.hit_total += hit_tokens
            if request.first_scheduled is None:
                request.first_scheduled, request.hit_first = self.now, hit_tokens
            self.scheduled.append((request, n, ids_of(request.tables)))
            self.budget -= n

    def limited(self, n: int) -> int:
        """The long-prefill threshold, which holds only among others."""
        threshold = self.config.long_prefill_token_threshold
        return threshold if self.several and 0 < threshold < n else n

    def lookup(self, request: Request) -> list[list[Block]]:
        """For each group the cached blocks that the request begins with, null ones where its window has passed.

        At least the last token must be computed. All groups begin with equally many tokens: the most at which every
        group finds what it needs, which is all of them or, with a window, the last ones.
        """
        groups, size = self.config.groups, self.config.block_size
        length = (len(request.tokens) - 1) // size if self.config.prefix_caching else 0
        for group, window in enumerate(groups):
            if not window:
                length = self.longest_hit(request, group, length)
        longest = length if 0 in groups else 0
        while True:
            before = length
            for group, window in enumerate(groups):
                length = self.longest_hit(request, group, length)
                if window not in groups[group + 1 :]:  # all layers of this kind could go on from here
                    longest = max(longest, length)
            if length == before:
                break
        request.junction = longest if longest > length else 0

        hits = []
        for group, window in enumerate(groups):
            passed = self.passed(window, length * size)
            blocks = [self.cached(request, group, k) for k in range(passed, length)]
            hits.append([self.pool.null] * passed + [block for block in blocks if block is not None])
        return hits

    def longest_hit(self, request: Request, group: int, most: int) -> int:
        """The most blocks, up to `most`, after which this group could go on."""
        window = self.config.groups[group]
        if not window:
            length = 0
            while length < most and self.cached(request, group, length) is not None:
                length += 1
            return length
        run = 0
        for k in reversed(range(most)):
            run = run + 1 if self.cached(request, group, k) is not None else 0
            if run == self.tail(window):
                return k + run
        return run

    def cached(self, request: Request, group: int, k: int) -> Block | None:
        """The oldest cached block with the tokens of the request's block `k`."""
        equal = self.pool.cache.get(self.hash(request, group, k))
        return equal[0] if equal else None

    def hash(self, request: Request, group: int, k: int) -> Hash:
        return group, tuple(request.tokens[: (k + 1) * self.config.block_size])

    def tail(self, window: int) -> int:
        """The blocks before a boundary that the token behind it sees."""
        return blocks_of(window - 1, self.config.block_size)

    def passed(self, window: int, tokens: int) -> int:
        """The leading blocks that the token after the first `tokens` does not see any more."""
        return max(0, tokens - window + 1) // self.config.block_size if window else 0

    def allocate(self, request: Request, n: int, hits: list[list[Block]], waiting: bool) -> list[list[Block]] | None:
        """Blocks for `n` more tokens after the `hits`: the new blocks of each group.

        None if there are too few; then nothing has changed, but what left a window is free all the same.
        """
        config, groups = self.config, self.config.groups
        base = request.computed + len(hits[0]) * config.block_size
        watermark = int(config.watermark * config.blocks) if waiting and self.running else 0
        if waiting and config.reserve_full_prompt:
            prompt = min(len(request.tokens), config.max_model_len)
            need = 0
            for group, window in enumerate(groups):
                need += self.missing(request, group, self.most_blocks(window, prompt), base, hits[group])
            if need + watermark > len(self.pool.queue):
                return None
        for table, window in zip(request.tables, groups, strict=True):
            self.leave_window(table, self.passed(window, base - request.in_flight))
        total = blocks_of(min(base + n, config.max_model_len), config.block_size)
        need = sum(self.missing(request, group, total, base, hits[group]) for group in range(len(groups)))
        if need + watermark > len(self.pool.queue):
            return None
        for table, found in zip(request.tables, hits, strict=True):
            for block in found:
                if block is not self.pool.null:
                    self.pool.touch(block)
            table += found
        request.registered += len(hits[0])
        new = []
        for table in request.tables:
            blocks = [self.pool.take() for _ in range(total - len(table))]
            table += blocks
            new.append(blocks)
        self.register(request, min(base + n, len(request.tokens)))
        return new

    def missing(self, request: Request, group: int, total: int, base: int, hits: list[Block]) -> int:
        """The blocks that leave the free queue if a group's table is to have `total` entries, null ones included."""
        passed = self.passed(self.config.groups[group], base)
        new = max(total - max(passed, len(request.tables[group]) + len(hits)), 0)
        return new + sum(block.refs == 0 for block in hits[passed:])

    def leave_window(self, table: list[Block], passed: int) -> None:
        """Free the first `passed` blocks of the table; those before them are null already."""
        k = min(passed, len(table))
        left: list[Block] = []
        while k > 0 and table[k - 1] is not self.pool.null:
            k -= 1
            left.insert(0, table[k])
            table[k] = self.pool.null
        self.pool.free(left)

    def register(self, request: Request, tokens: int) -> None:
        """Let the blocks that the first `tokens` tokens fill enter the prefix cache."""
        if not self.config.prefix_caching:
            return
        full = tokens // self.config.block_size
        for k in range(request.registered, full):
            for group, table in enumerate(request.tables):
                if table[k] is not self.pool.null and self.retained(request, group, k):
                    self.pool.register(table[k], self.hash(request, group, k))
        request.registered = max(request.registered, full)

    def retained(self, request: Request, group: int, k: int) -> bool:
        """Whether the prefix cache takes block `k` of a group.

        With a retention interval a window group's block is only worth it if some request could go on behind it: before
        the last boundary in the prompt, before the junction of this prompt with others, and once in each interval.
        """
        interval, window, size = self.config.retention_interval, self.config.groups[group], self.config.block_size
        if interval is None or not window:
            return True
        tail = self.tail(window)
        boundaries = {(request.prompt_len - 1) // size, request.junction}
        if any(boundary - tail <= k < boundary for boundary in boundaries):
            return True
        period = interval // size
        return period > 0 and k % period >= period - tail

    def victim(self) -> Request:
        if self.config.policy == "fcfs":
            return self.running[-1]
        return max(self.running, key=lambda request: (request.priority, request.arrival))  # the first of equal ones

    def preempt(self, victim: Request) -> None:
        """Out of `running`, and out of the step if it was scheduled already; what it registered stays registered."""
        self.running.remove(victim)
        for entry in self.scheduled:
            if entry[0] is victim:
                self.budget += entry[1]
        self.scheduled = [entry for entry in self.scheduled if entry[0] is not victim]
        self.release(victim)
        victim.computed = 0
        victim.placeholders = 0
        victim.stale = victim.in_flight
        victim.preemptions += 1
        self.waiting.insert(0, victim)
        self.preempted.append(victim)

    def release(self, request: Request) -> None:
        for table in request.tables:
            self.pool.free(table)
        request.tables = [[] for _ in request.tables]
        request.registered = 0

    def update(self, batch: Batch) -> list[str]:
        """Take the batch's outputs: append tokens, end requests. Returns the ids of those that have ended."""
        finished = []
        for request, n, samples in batch.rows:
            request.in_flight -= n
            stale = request.stale > 0  # it has been preempted since
            if stale:
                request.stale -= n
            elif samples:
                request.placeholders -= 1
            if not samples:
                continue
            request.tokens.append(request.future.pop(0))
            request.token_steps.append(batch.index)
            if not stale:
                self.register(request, request.computed - request.in_flight)
            if request.first_token is None:
                request.first_token = self.now
            if not request.future or len(request.tokens) >= self.config.max_model_len:
                request.status = "finished"
                request.finished = self.now
                self.release(request)
                (self.waiting if request in self.waiting else self.running).remove(request)
                finished.append(request.id)
        return finished


def ids_of(tables: list[list[Block]]) -> list[list[int]]:
    return [[block.id for block in table] for table in tables]


def blocks_of(tokens: int, size: int) -> int:
    return -(-tokens // size)
