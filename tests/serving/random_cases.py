"""Small random scenarios that reach every rule of the scheduler: little memory, shared prefixes, arrivals that tie."""

from dataclasses import replace
from random import Random
from typing import Any

from tests.serving.reference import SECOND, Config, Server, ticks

Line = dict[str, Any]
Prompt = tuple[Line, int]
"""What a line says of its prompt, and how many tokens it has."""

GRID = 2**-10
"""s; where steps last whole multiples of it and arrivals are such, many of them coincide"""


def draw_case(seed: int) -> tuple[Config, list[Line]]:
    """A configuration and the lines of a workload in the native format, not sorted by arrival."""
    rng = Random(seed)
    return draw_workload(rng, draw_config(rng))


def draw_group_case(seed: int) -> tuple[Config, list[Line]]:
    """The same with a sliding window, or with several groups of layers."""
    rng = Random(f"groups {seed}")
    return draw_workload(rng, draw_groups(rng, draw_config(rng)))


def draw_async_case(seed: int) -> tuple[Config, list[Line]]:
    """The same with asynchronous scheduling, with full attention or with other groups of layers."""
    rng = Random(f"async {seed}")
    config = replace(draw_config(rng), async_scheduling=True)
    return draw_workload(rng, draw_groups(rng, config) if rng.random() < 0.5 else config)


def draw_workload(rng: Random, config: Config) -> tuple[Config, list[Line]]:
    lines = Prompts(rng, config).lines(rng.randint(5, 20))
    spread = rng.choice((0, 3, 10, 40)) * (config.step + 8 * config.per_token + 60 * config.per_context_token)
    for line in lines:
        instant = rng.uniform(0, spread)
        line["arrival"] = instant // GRID * GRID if rng.random() < 0.7 else ticks(instant) / SECOND
    if rng.random() < 0.5:
        meet_ends_of_steps(rng, config, lines)
    rng.shuffle(lines)
    return config, lines


def draw_config(rng: Random) -> Config:
    tight = rng.random() < 0.5
    max_num_seqs = rng.randint(3, 10) if tight else rng.randint(1, 5)
    budget = max_num_seqs + rng.choice((0, rng.randint(0, 8), rng.randint(8, 50)))
    max_model_len = rng.choice((1000, 1000, rng.randint(8, 60)))
    chunked_prefill = rng.random() < 0.75
    if not chunked_prefill:
        max_model_len = rng.randint(8, 60)
        budget = max(budget, max_model_len + rng.choice((0, 5)))
    step, per_token, per_context_token = draw_timing(rng)
    return Config(
        blocks=rng.randint(4, 12 if tight else 60),
        block_size=rng.choice((1, 2, 3, 4, 4, 5, 7, 8, 11, 16)),
        prefix_caching=rng.random() < 0.75,
        policy=rng.choice(("fcfs", "priority")),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        max_model_len=max_model_len,
        chunked_prefill=chunked_prefill,
        long_prefill_token_threshold=rng.choice((0, 0, rng.randint(1, 3), rng.randint(1, 8))),
        watermark=rng.choice((0.0, 0.0, 0.1, 0.25, rng.uniform(0, 0.6))),
        reserve_full_prompt=rng.random() < 0.6,
        never_fits=rng.choice(("wait", "reject", "reject")),
        max_steps=120 if rng.random() < 0.9 else rng.randint(1, 40),
        step=step,
        per_token=per_token,
        per_context_token=per_context_token,
    )


def draw_groups(rng: Random, config: Config) -> Config:
    """The configuration with windows, and memory for about as many requests as before."""
    size = config.block_size
    first, second = (
        max(rng.choice((size * rng.randint(1, 3) + rng.randint(-1, 2), rng.randint(2, 10))), 2) for _ in range(2)
    )
    if second == first:  # layers of one kind would share a block table, or stand together
        second += 1
    window = (first,)
    hybrids = (0, first), (first, 0)
    many = (0, first, second), (first, second), (second, 0, first), (0, first, first)
    groups = rng.choice(rng.choice(((window,), hybrids, hybrids, many)))
    return replace(
        config,
        groups=groups,
        blocks=(config.blocks - 1) * len(groups) + 1,
        retention_interval=rng.choice((None, None, 0, 0, size * rng.randint(1, 6))),
    )


def draw_timing(rng: Random) -> tuple[float, float, float]:
    if rng.random() < 0.5:
        return rng.randint(0, 4) * GRID, rng.randint(0, 1) * GRID, rng.choice((0, 0, 1)) * GRID
    step, per_token, per_context_token = (rng.choice((0.0, rng.uniform(0, most))) for most in (0.02, 0.001, 0.0001))
    return step, per_token, per_context_token


def meet_ends_of_steps(rng: Random, config: Config, lines: list[Line]) -> None:
    """Let the later half arrive at the very ticks at which steps of the earlier half end."""
    lines.sort(key=lambda line: line["arrival"])
    half = len(lines) // 2
    server = Server(config, lines[:half])
    ends = [record["end"] / SECOND for record in server.run()[:20]] or [0.0]
    for line in lines[half:]:
        line["arrival"] = rng.choice(ends)


class Prompts:
    """Draws requests that share what they begin with, in all forms of the native format."""

    def __init__(self, rng: Random, config: Config) -> None:
        self.rng = rng
        self.block_size = config.block_size
        self.slots = (config.blocks - 1) // len(config.groups) * config.block_size
        self.most = min(self.slots + 1, config.max_model_len + 2, 60)
        alike, all_forms = (self.segments,), (self.segments, self.hashes, self.token_ids, self.unique)
        self.forms = rng.choice((alike, all_forms, (self.unique,)))
        self.hash_blocks = rng.choices((1, 2, 3, 4, 6, 8, 16, 20), k=2)
        self.talks: list[list[list[int]]] = []
        self.text = rng.choices(range(50), k=self.most)

    def lines(self, count: int) -> list[Line]:
        rng = self.rng
        longest_output = rng.choice((3, 12, 30))
        lines: list[Line] = []
        for id in rng.sample([f"r{i}" for i in range(count)], count):
            prompt, prompt_len = rng.choice(self.forms)()
            output_len = rng.randint(1, longest_output)
            if rng.random() < 0.98:
                output_len = min(output_len, max(self.slots + 1 - prompt_len, 1))  # so that it fits, but only just
            line: Line = {"id": id, "output_len": output_len} | prompt
            if "prompt_segments" in line:
                line["output_segment"] = rng.choice((rng.randint(100, 103), rng.randint(200, 250)))
                reply = [line["output_segment"], rng.randint(0, output_len)]
                self.talks.append([*line["prompt_segments"], reply])
            elif rng.random() < 0.3:
                line["output_segment"] = rng.randint(100, 103)
            if rng.random() < 0.8:
                line["priority"] = rng.choice((-1, 0, 2))
            lines.append(line)
        return lines

    def length(self) -> int:
        whole = self.block_size * self.rng.randint(1, 4)  # where a hit must leave a block out
        return min(self.rng.choice((whole, self.rng.randint(1, 6), self.rng.randint(1, self.most))), self.most)

    def segments(self) -> Prompt:
        """A conversation's next turn, or the first one of a new conversation."""
        rng = self.rng
        system = [[rng.randint(1, 2), rng.choice((0, self.block_size, 2 * self.block_size, rng.randint(0, 12)))]]
        before = rng.choice(self.talks) if self.talks and rng.random() < 0.6 else system
        if sum(n for _, n in before) >= self.most:
            before = []
        length = min(self.length(), self.most - sum(n for _, n in before))
        prompt = [*before, [rng.choice((rng.randint(10, 12), rng.randint(20, 90))), max(length, 1)]]
        return {"prompt_segments": prompt}, sum(n for _, n in prompt)

    def hashes(self) -> Prompt:
        """A path in a small tree of hashes, its last piece cut or a tail of its own behind it."""
        rng, length = self.rng, self.length()
        size = rng.choice(self.hash_blocks)
        path = [rng.randint(0, 1) for _ in range(min(rng.randint(0, 8), -(-length // size)))]
        return {"prompt_len": length, "prefix_hashes": path, "hash_block": size}, length

    def token_ids(self) -> Prompt:
        """The beginning of one text, and tokens that may or may not go on with it."""
        rng, length = self.rng, self.length()
        same = rng.randint(0, length)
        tail = [rng.randint(0, 2) for _ in range(length - same)]
        return {"prompt_token_ids": self.text[:same] + tail}, length

    def unique(self) -> Prompt:
        length = self.length()
        return {"prompt_len": length}, length
