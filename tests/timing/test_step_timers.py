"""Step times by hand arithmetic, against recorded steps of vLLM's scheduler, and against known speeds."""

import timeit
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.scenario.scenario import Scenario
from simcore.timing import LinearTimer, RooflineTimer, StepTimer, make_timer

TICK = Fraction(1, 2**40)
TINY = {
    "layers": 2, "query_heads": 4, "kv_heads": 2, "head_dim": 8, "hidden_size": 32, "intermediate_size": 64,
    "vocab_size": 100, "dtype": "float16",
}  # fmt: skip
SLOW = {"memory": 1e9, "memory_bandwidth": 1e9, "peer_bandwidth": 1e8, "flops": {"float16": 1e9}}
BARE = {"model": "roofline", "compute_efficiency": 1.0, "bandwidth_efficiency": 1.0, "overhead": 0.0}


def timer(**sections: dict[str, Any]) -> StepTimer:
    return make_timer(Scenario.model_validate(sections))


def seconds(timer: StepTimer, *step: int) -> float:
    return timer.ticks(*step) / 2**40


counts = st.integers(0, 10**7)
coefficients = st.floats(0, 3600)


@given(c0=coefficients, c1=coefficients, c2=coefficients, tokens=st.integers(1, 10**7), context=counts)
def test_linear_time_rounds_its_coefficients_once(c0: float, c1: float, c2: float, tokens: int, context: int) -> None:
    rounded = [round(Fraction(c) / TICK) for c in (c0, c1, c2)]  # half to even
    assert LinearTimer(c0, c1, c2).ticks(1, tokens, context, 0) == (
        rounded[0] + rounded[1] * tokens + rounded[2] * context
    )


def test_linear_time_of_a_recorded_step() -> None:
    """Powers of two are exact in ticks: the doubles of the recorded runs come out bit for bit."""
    linear = timer(timing={"model": "linear", "step": 2**-7, "per_token": 2**-15, "per_context_token": 2**-24})
    assert seconds(linear, 1, 16, 16, 136) == 0.008301734924316406
    assert seconds(linear, 1, 1, 17, 17) == 0.007844030857086182


def test_constant_time() -> None:
    constant = timer(timing={"model": "constant", "step": 0.5})
    assert constant.ticks(3, 4, 5, 6) == constant.ticks(1, 1, 1, 1) == 2**39


def test_a_step_without_tokens_takes_no_time() -> None:
    for timing in ({"model": "constant"}, {"model": "linear"}, {"model": "roofline"}):
        assert timer(timing=timing, hardware={"preset": "a100"}).ticks(0, 0, 0, 0) == 0


LAYER = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
TABLE = 100 * 32
CACHED = 2 * 2 * 2 * 8 * 2  # bytes of a token: layers, keys and values, heads, width, float16


def test_roofline_of_layers_with_windows() -> None:
    """Of 1,000 tokens one layer reads 100, the other one all; with a window that nothing reaches, it is the same."""
    groups = [{"layers": 1, "window": 100}, {"layers": 1}]
    fast, slow = ({"float16": flops} for flops in (1e15, 1e6))
    moving = timer(model=TINY | {"layer_groups": groups}, hardware=SLOW | {"flops": fast}, timing=BARE)
    moved = 2 * (2 * LAYER + TABLE) + CACHED * (0.5 * 1000 + 0.5 * 100 + 1)
    assert seconds(moving, 1, 1, 1000, 1000) == pytest.approx(moved / 1e9, rel=1e-9)
    computing = timer(model=TINY | {"layer_groups": groups}, hardware=SLOW | {"flops": slow}, timing=BARE)
    without = timer(model=TINY, hardware=SLOW | {"flops": slow}, timing=BARE)
    saved = 4 * (sum(range(1, 201)) - 200 * 100) * 4 * 8 * 1  # pairs, heads, width, layers
    assert seconds(without, 1, 200, 200, 20_100) - seconds(computing, 1, 200, 200, 20_100) == pytest.approx(saved / 1e6)
    wide = timer(
        model=TINY | {"layer_groups": [{"layers": 2, "window": 1000}]}, hardware=SLOW | {"flops": slow}, timing=BARE
    )
    assert wide.ticks(3, 30, 3000, 29_000) == without.ticks(3, 30, 3000, 29_000)


def test_roofline_of_layers_with_states() -> None:
    """Each of three sequences reads its states and writes them again, however long it is."""
    groups = [{"layers": 1}, {"layers": 1, "attention": False, "state_bytes": 5000}]
    numbers = TINY | {"layer_groups": groups, "parameters": 2 * LAYER + 2 * TABLE}
    roofline = timer(
        model=numbers,
        hardware=SLOW | {"flops": {"float16": 1e15}},
        timing=BARE,
        memory={"blocks": 100, "prefix_caching": False},
    )
    moved = 2 * (2 * LAYER + TABLE) + CACHED / 2 * (3000 + 3) + 3 * 2 * 5000
    assert seconds(roofline, 3, 3, 3000, 3000) == pytest.approx(moved / 1e9, rel=1e-9)


def test_roofline_that_moves_bytes() -> None:
    """One token after 999: all weights but the input's table, 1,000 tokens read, one written."""
    roofline = timer(model=TINY, hardware=SLOW | {"flops": {"float16": 1e15}}, timing=BARE)
    moved = 2 * (2 * LAYER + TABLE) + CACHED * (1000 + 1)
    assert seconds(roofline, 1, 1, 1000, 1000) == pytest.approx(moved / 1e9, rel=1e-9)


def test_roofline_that_computes() -> None:
    """A prompt of 100 tokens: two operations a weight and token, one row of the output, four a pair, head and width."""
    roofline = timer(model=TINY, hardware=SLOW | {"memory_bandwidth": 1e15}, timing=BARE)
    flops = 2 * 2 * LAYER * 100 + 2 * TABLE * 1 + 4 * 5050 * 4 * 8 * 2
    assert seconds(roofline, 1, 100, 100, 5050) == pytest.approx(flops / 1e9, rel=1e-9)


def test_roofline_efficiencies_and_overhead() -> None:
    roofline = timer(
        model=TINY,
        hardware=SLOW,
        timing={"compute_efficiency": 0.5, "bandwidth_efficiency": 0.25, "overhead": 0.125},
    )
    bytes_ = 2 * (2 * LAYER + TABLE) + CACHED * 11
    flops = 2 * 2 * LAYER * 1 + 2 * TABLE + 4 * 10 * 4 * 8 * 2
    slower = max(bytes_ / 0.25e9, flops / 0.5e9)
    assert seconds(roofline, 1, 1, 10, 10) == pytest.approx(slower + 0.125, rel=1e-9)


def test_roofline_overhead_of_each_sequence() -> None:
    bare = timer(model=TINY, hardware=SLOW, timing=BARE)
    each = timer(model=TINY, hardware=SLOW, timing=BARE | {"overhead_per_seq": 0.25})
    assert seconds(each, 3, 5, 10, 10) - seconds(bare, 3, 5, 10, 10) == pytest.approx(0.75, abs=1e-9)


def test_roofline_with_tied_embeddings_reads_the_one_table() -> None:
    tied = timer(model=TINY | {"tied_embeddings": True}, hardware=SLOW, timing=BARE)
    untied = timer(model=TINY, hardware=SLOW, timing=BARE)
    assert tied.ticks(1, 1, 10, 10) == untied.ticks(1, 1, 10, 10)


def test_roofline_on_two_devices() -> None:
    """Half of everything on each, and two all-reduces a layer: each sends one half of the hidden states, twice."""
    hardware = SLOW | {"count": 2, "flops": {"float16": 1e15}}
    roofline = timer(model=TINY, hardware=hardware, timing=BARE | {"allreduce_latency": 0.001})
    moved = (2 * (2 * LAYER + TABLE) + CACHED * (1000 + 1)) / 2
    sent = 2 * 2 * (32 * 2) * 2 * (1 / 2)
    assert seconds(roofline, 1, 1, 1000, 1000) == pytest.approx(moved / 1e9 + sent / 1e8 + 4 * 0.001, rel=1e-9)


def test_roofline_reads_the_experts_that_are_touched() -> None:
    """8 experts, 2 a token: one token touches 2; four touch 8 (1 - (3/4)^4) = 5.47 on average; a thousand all."""
    model = TINY | {"experts": 8, "experts_per_token": 2}
    roofline = timer(model=model, hardware=SLOW | {"flops": {"float16": 1e15}}, timing=BARE)
    expert, rest = 3 * 32 * 64, LAYER - 3 * 32 * 64
    for tokens, touched in ((1, 2.0), (4, 8 * (1 - 0.75**4)), (1000, 8.0)):
        moved = 2 * (2 * (rest + touched * expert) + TABLE) + CACHED * (10 + tokens)
        assert seconds(roofline, 1, tokens, 10, 10) == pytest.approx(moved / 1e9, rel=1e-6)


def test_roofline_takes_the_cheaper_form_of_latent_attention() -> None:
    latent = {"layers": 1, "query_heads": 4, "head_dim": 8, "kv_lora_rank": 32, "rope_head_dim": 4, "parameters": 1.0}
    roofline = timer(model=latent | {"dtype": "float16"}, hardware=SLOW | {"memory_bandwidth": 1e15}, timing=BARE)
    decode = 2 * 4 * 1000 * (2 * 32 + 4)  # one query against 1,000 latent vectors
    assert seconds(roofline, 1, 1, 1000, 1000) == pytest.approx((decode + 2) / 1e9, rel=1e-6)
    pairs = 1000 * 1001 // 2
    prompt = 2 * 4 * (pairs * (2 * 8 + 4) + 1000 * 2 * 8 * 32)  # keys and values of 1,000 tokens expanded first
    assert seconds(roofline, 1, 1000, 1000, pairs) == pytest.approx((prompt + 2 * 1000) / 1e9, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "hardware", "count", "low", "high"),
    [
        ("llama-3-8b", "a100-80gb", 1, 8e-3, 11e-3),
        ("llama-3-8b", "h100", 1, 5e-3, 8e-3),
        ("llama-3-70b", "a100-80gb", 8, 10e-3, 20e-3),
        ("tinyllama-1.1b", "rtx-4090", 1, 2e-3, 6e-3),
        ("opt-13b", "a100-40gb", 1, 17e-3, 25e-3),
    ],
)
def test_one_sequence_decodes_as_fast_as_known(model: str, hardware: str, count: int, low: float, high: float) -> None:
    roofline = timer(model={"preset": model}, hardware={"preset": hardware, "count": count})
    assert low < seconds(roofline, 1, 1, 500, 500) < high


@given(seqs=st.integers(1, 4096), tokens=st.integers(1, 65536), context=st.integers(1, 10**8), pairs=counts)
def test_more_work_never_takes_less_time(seqs: int, tokens: int, context: int, pairs: int) -> None:
    for sections in (
        {"model": {"preset": "deepseek-v3"}, "hardware": {"preset": "h200", "count": 8}},
        {"model": {"preset": "llama-3-8b"}, "hardware": {"preset": "a100-80gb"}},
    ):
        roofline = timer(**sections)
        time = roofline.ticks(seqs, tokens, context, pairs)
        assert isinstance(time, int)
        assert time <= roofline.ticks(seqs + 1, tokens + 1, context + 1, pairs + 1)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({}, "hardware.memory_bandwidth is missing"),
        ({"hardware": {"memory_bandwidth": 1e9}}, "hardware.flops.bfloat16 is missing, .* has none$"),
        (
            {"hardware": {"preset": "gtx-1080"}},
            "flops.bfloat16 is missing, .* needs it for tinyllama-1.1b; gtx-1080 has float64, float32, float16$",
        ),
        (
            {"model": {"layers": 1, "query_heads": 1, "head_dim": 64}, "hardware": {"preset": "h100"}},
            "model.parameters is missing",
        ),
        (
            {"hardware": SLOW | {"count": 2, "peer_bandwidth": None}, "model": TINY},
            "hardware.peer_bandwidth is missing",
        ),
        ({"hardware": {"preset": "h100", "count": 3}}, "hardware.count is 3"),
    ],
)
def test_missing_numbers_are_told_in_a_sentence(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        timer(**sections)


@pytest.mark.parametrize(
    ("timing", "says"),
    [
        ({"step": 0.01}, "roofline model does not use it; it has compute_efficiency, bandwidth_efficiency, overhead"),
        ({"model": "constant", "per_token": 0.01}, "the constant model does not use it; it has step"),
        (
            {"model": "linear", "overhead": 0.0},
            "linear model does not use it; it has step, per_token, per_context_token",
        ),
        ({"model": "linear", "step": -1.0}, "greater than or equal to 0"),
        ({"model": "linear", "step": float("nan")}, "finite"),
        ({"model": "quadratic"}, "'roofline', 'linear', 'constant' or 'calibrated'"),
        ({"compute_efficiency": 1.5}, "less than or equal to 1"),
    ],
)
def test_keys_of_another_model_of_time_are_refused(timing: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Scenario.model_validate({"timing": timing})


def test_timing_reads_back_what_it_writes() -> None:
    for model in ("roofline", "linear", "constant"):
        section = Scenario.model_validate({"timing": {"model": model}}).timing
        assert type(section).model_validate(section.model_dump(exclude_none=True)) == section


def test_ticks_are_quick() -> None:
    """Called once a step: a small part of what a step costs. The bound leaves room for a slow, busy machine."""
    linear = LinearTimer(0.0079, 51e-6, 6.4e-8)
    roofline = timer(model={"preset": "mixtral-8x7b"}, hardware={"preset": "a100-80gb", "count": 2})
    assert isinstance(roofline, RooflineTimer)
    for candidate, bound in ((linear, 2e-6), (roofline, 5e-6)):
        took = min(timeit.repeat(lambda: candidate.ticks(64, 64, 64_000, 64_000), number=10_000, repeat=5))  # noqa: B023
        assert took / 10_000 < bound
