"""How long a step takes: linear in its work, or what the hardware's bandwidth and arithmetic allow.

A timer sees a step as totals over its rows: a row of n scheduled tokens whose sequence had `computed` tokens before
adds n to `tokens`, computed + n to `context` and n * computed + n * (n + 1) / 2 to `pairs`; if n is above 1 it is a
chunk, and adds to the totals of chunks too.
"""

from bisect import bisect_right
from itertools import pairwise
from typing import NamedTuple, Protocol

from simcore.errors import InputError
from simcore.geometry import block_bytes, kv_shards, state_bytes, token_bytes
from simcore.scenario.calibration import Calibration
from simcore.scenario.hardware import Hardware
from simcore.scenario.model import DTYPE_BYTES, STATE, Model
from simcore.scenario.scenario import Scenario
from simcore.ticks import TICKS_PER_SECOND, Tick, to_ticks


class Chunks(NamedTuple):
    """What a step's chunks add up to."""

    rows: int
    tokens: int
    context: int


NO_CHUNKS = Chunks(0, 0, 0)


class StepTimer(Protocol):
    """A model of time: equal steps take equally long."""

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        """The duration of a step; 0 without tokens.

        seqs: rows; tokens: scheduled tokens; context: entries of the KV cache that are read, the new ones included;
        pairs: pairs of a query and a key; chunks: which of these belong to rows of several tokens.
        """
        ...

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        """What a step takes longer for blocks that are copied within the pool, or swapped out or in, before it."""
        ...


def make_timer(scenario: Scenario) -> StepTimer:
    """The timer that a scenario asks for. Raises InputError where numbers for it are missing."""
    timing = scenario.timing
    if timing.calibration is not None:
        return CalibratedTimer(Calibration.load(timing.calibration))
    if timing.model != "roofline":
        return LinearTimer(
            timing.step or 0.0,
            timing.per_token or 0.0,
            timing.per_context_token or 0.0,
            timing.per_copied_block or 0.0,
            timing.per_swapped_block or 0.0,
        )
    model, hardware = scenario.model.resolve(), scenario.hardware.resolve()
    preemption = scenario.scheduler.preemption
    if preemption != "recompute" and not hardware.host_bandwidth:
        raise InputError(
            f'hardware.host_bandwidth is missing, and scheduler.preemption = "{preemption}" needs it, or a preset that '
            "has it"
        )
    return RooflineTimer(
        model,
        hardware,
        block=block_bytes(model, scenario.memory.block_size, hardware.count),
        compute_efficiency=timing.compute_efficiency or 1.0,
        bandwidth_efficiency=timing.bandwidth_efficiency or 1.0,
        overhead=timing.overhead or 0.0,
        overhead_per_seq=timing.overhead_per_seq or 0.0,
        allreduce_latency=timing.allreduce_latency or 0.0,
    )


class LinearTimer:
    """step + per_token * tokens + per_context_token * context, and so much a moved block, all in whole ticks."""

    __slots__ = ("per_context_token", "per_copied_block", "per_swapped_block", "per_token", "step")

    def __init__(
        self,
        step: float,
        per_token: float = 0.0,
        per_context_token: float = 0.0,
        per_copied_block: float = 0.0,
        per_swapped_block: float = 0.0,
    ) -> None:
        """Coefficients in seconds; each is rounded to ticks here, once."""
        self.step = to_ticks(step)
        self.per_token = to_ticks(per_token)
        self.per_context_token = to_ticks(per_context_token)
        self.per_copied_block = to_ticks(per_copied_block)
        self.per_swapped_block = to_ticks(per_swapped_block)

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        """See `StepTimer.ticks`."""
        return self.step + self.per_token * tokens + self.per_context_token * context if tokens else 0

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        """See `StepTimer.move_ticks`."""
        return self.per_copied_block * copies + self.per_swapped_block * swaps


class RooflineTimer:
    """The longer of moving the bytes and doing the arithmetic, plus what every step costs: docs/timing.md.

    The model of time: https://doi.org/10.1145/1498765.1498785. A step is made of + - * / min max and a table look-up
    only, so that arrays of steps give the same ticks as single ones.
    """

    __slots__ = (
        "_body", "_cached", "_copy", "_expand", "_fixed", "_head", "_link", "_pair", "_pair_expanded", "_seq",
        "_shares", "_state", "_swap", "_weights",
    )  # fmt: skip

    def __init__(
        self,
        model: Model,
        hardware: Hardware,
        *,
        block: int = 0,
        compute_efficiency: float = 1.0,
        bandwidth_efficiency: float = 1.0,
        overhead: float = 0.0,
        overhead_per_seq: float = 0.0,
        allreduce_latency: float = 0.0,
    ) -> None:
        """Efficiencies are shares of the hardware's rates; times in seconds; `block`: bytes of one on each device.

        Raises InputError for missing numbers.
        """
        _check(model, hardware)
        count = hardware.count
        byte = TICKS_PER_SECOND / (hardware.memory_bandwidth * bandwidth_efficiency)  # in one device's memory
        flop = TICKS_PER_SECOND / (hardware.flops[model.dtype] * compute_efficiency * count)

        head = model.vocab_size * model.hidden_size
        table = 0 if model.tied_embeddings else head  # the input's: a row for each token is next to nothing
        routed = _routed_parameters(model)
        always = max(model.parameters - table - routed, 0)
        weight = model.weight_bytes / model.parameters / count * byte
        self._weights = [(always + share * routed) * weight for share in _experts_touched(model)]
        self._cached = token_bytes(model) / kv_shards(model, count) * byte
        self._state = 2 * state_bytes(model) / count * byte  # read and written
        layers = {window: number for window, number in model.layers_by_kind.items() if window != STATE}
        self._shares = [(window, number / model.attention_layers) for window, number in layers.items() if any(layers)]

        self._body = 2 * max(model.active_parameters - table - head, 0) * flop
        self._head = 2 * head * flop
        heads = 2 * model.query_heads * model.attention_layers * flop
        self._pair = heads * 2 * model.head_dim
        self._pair_expanded = self._expand = 0.0
        if model.kv_lora_rank:  # MLA: attention to the latent vectors, or to keys and values expanded from them
            self._pair = heads * (2 * model.kv_lora_rank + model.rope_head_dim)
            self._pair_expanded = heads * (2 * model.head_dim + model.rope_head_dim)
            self._expand = heads * 2 * model.head_dim * model.kv_lora_rank

        self._copy = 2 * block * byte  # read and written
        self._swap = block * TICKS_PER_SECOND / hardware.host_bandwidth if hardware.host_bandwidth else 0.0

        self._fixed, self._link = overhead * TICKS_PER_SECOND, 0.0
        self._seq = overhead_per_seq * TICKS_PER_SECOND
        if count > 1:  # a ring: each device sends and receives all but its own share, twice
            activations = 2 * model.layers * model.hidden_size * max(DTYPE_BYTES[model.dtype], 2)
            self._link = activations * 2 * (count - 1) / count * (TICKS_PER_SECOND / hardware.peer_bandwidth)
            self._fixed += 2 * model.layers * allreduce_latency * TICKS_PER_SECOND

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        """See `StepTimer.ticks`."""
        if not tokens:
            return 0
        keys, scores = self._seen(seqs, tokens, context, pairs) if self._shares else (context, pairs)
        weights = self._weights
        moving = (weights[tokens] if tokens < len(weights) else weights[-1]) + self._cached * (keys + tokens)
        moving += self._state * seqs
        attention = self._pair * scores
        if self._expand:
            attention = min(attention, self._pair_expanded * scores + self._expand * keys)
        computing = self._body * tokens + self._head * seqs + attention
        working = moving if moving > computing else computing
        return round(working + self._link * tokens + self._fixed + self._seq * seqs)

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        """See `StepTimer.move_ticks`."""
        return round(self._copy * copies + self._swap * swaps)

    def _seen(self, seqs: int, tokens: int, context: int, pairs: int) -> tuple[float, float]:
        """`context` and `pairs` of the mean layer, where some see a window only.

        As if all rows were within the window, or all beyond it: the most that it can be.
        """
        seen_context = seen_pairs = 0.0
        for window, share in self._shares:
            seen_context += share * (min(context, seqs * (window - 1) + tokens) if window else context)
            seen_pairs += share * (min(pairs, tokens * window) if window else pairs)
        return seen_context, seen_pairs


class CalibratedTimer:
    """As long as steps took on a real engine: see `Calibration`."""

    __slots__ = ("_seconds", "_slopes", "_tokens", "calibration")

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._tokens, self._seconds = calibration.tokens, calibration.seconds
        knots = list(zip(self._tokens, self._seconds, strict=True))
        self._slopes = [(upper - lower) / (more - fewer) for (fewer, lower), (more, upper) in pairwise(knots)] or [0.0]

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        """See `StepTimer.ticks`. Beyond the table its last line goes on."""
        if not tokens:
            return 0
        known = self.calibration
        place = min(bisect_right(self._tokens, tokens), len(self._slopes)) - 1
        seconds = self._seconds[place] + (tokens - self._tokens[place]) * self._slopes[place]
        decode_keys = context - chunks.context  # one query each: as many pairs
        seconds += (
            known.per_row * seqs
            + known.per_decode_key * decode_keys
            + known.per_chunk * chunks.rows
            + known.per_chunk_key * chunks.context
            + known.per_pair * (pairs - decode_keys)
        )
        return to_ticks(seconds)

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        """See `StepTimer.move_ticks`."""
        return to_ticks(self.calibration.per_copied_block * copies + self.calibration.per_swapped_block * swaps)


def _check(model: Model, hardware: Hardware) -> None:
    needed = {
        "hardware.memory_bandwidth": hardware.memory_bandwidth,
        "model.parameters": model.parameters,
    }
    if hardware.count > 1:
        needed |= {"hardware.peer_bandwidth": hardware.peer_bandwidth, "model.hidden_size": model.hidden_size}
    for name, number in needed.items():
        if not number:
            raise InputError(f'{name} is missing, and timing.model = "roofline" needs it, or a preset that has it')
    if model.dtype not in hardware.flops:
        raise InputError(
            f'hardware.flops.{model.dtype} is missing, and timing.model = "roofline" needs it for {model.name}; '
            f"{hardware.name} has {', '.join(hardware.flops) or 'none'}"
        )


def _routed_parameters(model: Model) -> float:
    """Parameters of all experts: a token meets experts_per_token / experts of them and leaves the others idle."""
    if model.experts_per_token == model.experts:
        return 0.0
    return (model.parameters - model.active_parameters) / (1 - model.experts_per_token / model.experts)


def _experts_touched(model: Model) -> list[float]:
    """The share of the experts that a step of 0, 1, 2, ... tokens is expected to touch; the last: of more tokens.

    Tokens choose independently and evenly, so one expert is missed by all t of them with (1 - k / n)^t.
    """
    shares, missed = [0.0], 1.0
    while missed > 1e-6 and model.experts_per_token < model.experts:
        missed *= 1 - model.experts_per_token / model.experts
        shares.append(1 - missed)
    return [*shares, 1.0]
