"""vLLM 0.33.0's scheduler and KV-cache manager for full attention, written to be read and not to be fast.

A second opinion for the tests: a straight translation of a description of its rules, which shares no code with the
simulator and takes none of its shortcuts. Every request is an object with the list of its tokens' names, every block
is an object, the free queue is a list, and the hash of a block is all the tokens from the first one to its last.
Time is counted in ticks of 2^-40 s.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

SECOND = 2**40

Name = tuple[Hashable, ...]
"""A token's name: two tokens are equal if their names are."""


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
    step: float = 2**-7
    per_token: float = 2**-15
    per_context_token: float = 2**-24


@dataclass(eq=False)
class Block:
    """A block of the pool; its hash is set while it is registered in the prefix cache."""

    id: int
    refs: int = 0
    hash: tuple[Name, ...] | None = None


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
    table: list[Block] = field(default_factory=list)
    registered: int = 0
    """leading blocks of the table that are in the prefix cache"""
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
        self.blocks = [Block(id) for id in range(blocks)]
        self.queue = self.blocks[1:]  # block 0 is the null block: nobody ever has it
        self.cache: dict[tuple[Name, ...], list[Block]] = {}  # the oldest of equal blocks first
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

    def register(self, block: Block, hash: tuple[Name, ...]) -> None:
        block.hash = hash
        self.cache.setdefault(hash, []).append(block)

    def free(self, table: list[Block]) -> None:
        unhashed: list[Block] = []
        hashed: list[Block] = []
        for block in reversed(table):
            block.refs -= 1
            if block.refs == 0:
                (unhashed if block.hash is None else hashed).append(block)
        self.queue = unhashed + self.queue + hashed


class Server:
    """Runs requests to their end and writes down every step."""

    def __init__(self, config: Config, lines: list[dict[str, Any]]) -> None:
        self.config = config
        self.pool = Pool(config.blocks)
        self.requests = [read(line, number) for number, line in enumerate(lines)]
        self.coming = sorted(self.requests, key=lambda request: request.arrival)
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.steps: list[dict[str, Any]] = []
        self.now = 0

    def run(self) -> list[dict[str, Any]]:
        """A record for each step: the fields of the recorded cases, and then what else there is to compare."""
        stalled = False
        while True:
            while self.coming and self.coming[0].arrival <= self.now:
                if self.accepts(request := self.coming.pop(0)):
                    self.waiting.append(request)
                    stalled = False
            if len(self.steps) == self.config.max_steps:
                return self.steps
            if (self.waiting or self.running) and not stalled:
                self.steps.append(self.step())
                stalled = "stall" in self.steps[-1]
            elif self.coming:
                self.now = self.coming[0].arrival
            else:
                return self.steps

    def accepts(self, request: Request) -> bool:
        config = self.config
        longest = min(request.prompt_len + len(request.future) - 1, config.max_model_len - 1)
        never = config.never_fits == "reject" and blocks_of(longest, config.block_size) > config.blocks - 1
        if request.prompt_len >= config.max_model_len or never:
            request.status = "rejected"
            return False
        return True

    def step(self) -> dict[str, Any]:
        """One round of schedule(), the model and update_from_output()."""
        self.pool.evicted = []
        self.budget = self.config.max_num_batched_tokens
        self.several = len(self.running) + len(self.waiting) > 1
        self.scheduled: list[tuple[Request, int, list[int]]] = []  # with the ids of the blocks to be recorded
        self.preempted: list[Request] = []
        self.schedule_running()
        ran = len(self.scheduled)
        if not self.preempted:
            self.schedule_waiting()
        admitted = [request for request, _, _ in self.scheduled[ran:]]

        start, free = self.now, self.pool.queue
        record = {
            "i": len(self.steps),
            "t": start / SECOND,
            "sched": [[request.id, n, request.computed] for request, n, _ in self.scheduled],
            "new": [request.id for request in admitted if not request.preemptions],
            "resumed": [request.id for request in admitted if request.preemptions],
            "preempted": [request.id for request in self.preempted],
            "hits": {request.id: request.computed for request in admitted},
            "evicted": len(self.pool.evicted),
            "evicted_ids": self.pool.evicted,
            "free_sched": len(free),
            "blocks": {request.id: ids for request, _, ids in self.scheduled if ids},
            "start": start,
            "waiting": len(self.waiting),
            "tables": {request.id: [block.id for block in request.table] for request in self.running},
            "queried": sum(len(request.tokens) for request in admitted),
            "idle": sum(block.hash is not None for block in free),
        }
        if not self.scheduled and not self.preempted:
            record["stall"] = True

        for request, n, _ in self.scheduled:
            request.computed += n
            request.scheduled += n
        record["stored"] = self.stored()
        self.now += self.duration()
        finished = self.update()

        queue = [block.id for block in self.pool.queue]
        return record | {
            "dt": (self.now - start) / SECOND,
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
        tokens: dict[int, int] = {}
        for request in self.running:
            for place, block in enumerate(request.table):
                filled = min(max(request.computed - place * size, 0), size)
                tokens[block.id] = max(tokens.get(block.id, 0), filled)
        return sum(tokens.values())

    def schedule_running(self) -> None:
        i = 0
        while i < len(self.running) and self.budget > 0:
            request = self.running[i]
            n = self.limited(len(request.tokens) - request.computed)
            n = min(n, self.budget, self.config.max_model_len - request.computed - 1)
            blocks = self.allocate(request, n, [], waiting=False)
            while blocks is None:
                victim = self.victim()
                i -= self.running.index(victim) < i
                self.preempt(victim)
                if victim is request:
                    break
                blocks = self.allocate(request, n, [], waiting=False)
            if blocks is not None:
                self.scheduled.append((request, n, [block.id for block in blocks]))
                self.budget -= n
                i += 1

    def schedule_waiting(self) -> None:
        while self.budget > 0 and self.waiting and len(self.running) < self.config.max_num_seqs:
            request = self.waiting[0]
            if self.config.policy == "priority":
                request = min(self.waiting, key=lambda other: (other.priority, other.arrival, other.id))
            hits = self.lookup(request)
            n = self.limited(len(request.tokens) - len(hits) * self.config.block_size)
            if n > self.budget and not self.config.chunked_prefill:
                break
            n = min(n, self.budget)
            if self.allocate(request, n, hits, waiting=True) is None:
                break
            self.waiting.remove(request)
            self.running.append(request)
            request.computed = len(hits) * self.config.block_size
            request.query_tokens += len(request.tokens)
            request.hit_total += request.computed
            if request.first_scheduled is None:
                request.first_scheduled, request.hit_first = self.now, request.computed
            self.scheduled.append((request, n, [block.id for block in request.table]))
            self.budget -= n

    def limited(self, n: int) -> int:
        """The long-prefill threshold, which holds only among others."""
        threshold = self.config.long_prefill_token_threshold
        return threshold if self.several and 0 < threshold < n else n

    def lookup(self, request: Request) -> list[Block]:
        """The cached blocks that the request begins with; at least its last token must be computed."""
        hits: list[Block] = []
        size = self.config.block_size
        while self.config.prefix_caching and len(hits) < (len(request.tokens) - 1) // size:
            equal = self.pool.cache.get(tuple(request.tokens[: (len(hits) + 1) * size]))
            if equal is None:
                break
            hits.append(equal[0])
        return hits

    def allocate(self, request: Request, n: int, hits: list[Block], waiting: bool) -> list[Block] | None:
        """Blocks for `n` more tokens after the `hits`: the new blocks, or None, and then nothing has changed."""
        config, size = self.config, self.config.block_size
        base = request.computed + len(hits) * size
        watermark = int(config.watermark * config.blocks) if waiting and self.running else 0
        beside = sum(block.refs == 0 for block in hits) + watermark
        if waiting and config.reserve_full_prompt:
            whole = blocks_of(min(len(request.tokens), config.max_model_len), size)
            if max(whole - len(hits), 0) + beside > len(self.pool.queue):
                return None
        need = blocks_of(min(base + n, config.max_model_len), size) - len(request.table) - len(hits)
        if max(need, 0) + beside > len(self.pool.queue):
            return None
        for block in hits:
            self.pool.touch(block)
        if hits:
            request.table = list(hits)
            request.registered = len(hits)
        blocks = [self.pool.take() for _ in range(need)]
        request.table += blocks
        if config.prefix_caching:
            full = min(base + n, len(request.tokens)) // size
            for k in range(request.registered, full):
                self.pool.register(request.table[k], tuple(request.tokens[: (k + 1) * size]))
            request.registered = max(request.registered, full)
        return blocks

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
        victim.preemptions += 1
        self.waiting.insert(0, victim)
        self.preempted.append(victim)

    def release(self, request: Request) -> None:
        self.pool.free(request.table)
        request.table = []
        request.registered = 0

    def update(self) -> list[str]:
        """Take the step's outputs: append tokens, end requests. Returns the ids of those that have ended."""
        finished = []
        for request, _, _ in self.scheduled:
            if request.computed < len(request.tokens):
                continue
            request.tokens.append(request.future.pop(0))
            request.token_steps.append(len(self.steps))
            if request.first_token is None:
                request.first_token = self.now
            if not request.future or len(request.tokens) >= self.config.max_model_len:
                request.status = "finished"
                request.finished = self.now
                self.release(request)
                self.running.remove(request)
                finished.append(request.id)
        return finished


def blocks_of(tokens: int, size: int) -> int:
    return -(-tokens // size)
