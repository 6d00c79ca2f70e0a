"""Models without a checkpoint: what they leave out, what they are trained by, in which format they compute."""

import pytest
import torch

from engine.attention import DenseAttention
from engine.models import CausalLM, GPT2Shape, LlamaShape, ModelShape, Rope, build

SIZES = {"layers": 2, "heads": 4, "hidden_size": 32, "intermediate_size": 48, "vocab_size": 61, "max_model_len": 64}
GPT2 = GPT2Shape(**SIZES, kv_heads=4, head_dim=8, tied=True, eps=1e-5, dtype=torch.float32)
LLAMA = LlamaShape(
    **SIZES, kv_heads=2, head_dim=16, tied=False, eps=1e-6, dtype=torch.float32, rope=Rope(1e4), qk_norm=True
)
COUNTS = (12, 8)
TOKENS = torch.arange(20) * 7 % 61
POSITIONS = torch.cat([torch.arange(count) for count in COUNTS])


@pytest.fixture(params=[GPT2, LLAMA], ids=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> CausalLM:
    built = build(request.param)
    built.initialize(seed=0)
    return built


def test_wanted_tokens_get_the_logits_that_they_have_among_all(model: CausalLM) -> None:
    wanted = torch.tensor([19, 3, 11])
    everything = model(TOKENS, POSITIONS, DenseAttention(COUNTS))
    some = model(TOKENS, POSITIONS, DenseAttention(COUNTS), wanted)
    assert everything.shape == (20, 61)
    torch.testing.assert_close(some, everything[wanted])


def test_every_parameter_is_trained(model: CausalLM) -> None:
    model(TOKENS, POSITIONS, DenseAttention(COUNTS)).logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_inference_mode_gives_the_same(model: CausalLM) -> None:
    expected = model(TOKENS, POSITIONS, DenseAttention(COUNTS))
    with torch.inference_mode():
        assert torch.equal(model(TOKENS, POSITIONS, DenseAttention(COUNTS)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_formats_compute_about_the_same(model: CausalLM, dtype: torch.dtype) -> None:
    expected = model(TOKENS, POSITIONS, DenseAttention(COUNTS))
    logits = model.to(dtype)(TOKENS, POSITIONS, DenseAttention(COUNTS))
    assert logits.dtype is dtype
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_angles_stay_float32_in_a_model_of_any_format() -> None:
    model = build(LLAMA).to(torch.bfloat16)
    frequencies = dict(model.named_buffers())["rotary.frequencies"]
    assert torch.equal(frequencies, Rope(1e4).frequencies(16))
    assert frequencies.dtype is torch.float32


def test_initial_weights_come_from_the_seed(model: CausalLM) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.initialize(seed=1)
    assert not torch.equal(model.embed.weight, before["embed.weight"])
    model.initialize(seed=0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize(("shape", "expected"), [(GPT2, 2 * 2 * 4 * 8 * 4), (LLAMA, 2 * 2 * 2 * 16 * 4)])
def test_bytes_of_a_token(shape: ModelShape, expected: int) -> None:
    assert shape.token_bytes == expected
