"""Models without a checkpoint: what they leave out, what they are trained by, in which format they compute."""

import pytest
import torch

from engine.attention import DenseAttention
from engine.models import CausalLM, GPT2Shape, LlamaShape, ModelShape, Rope, build
from engine.sampling import Sampler, Sampling, uniform

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


def test_no_tokens_have_no_logits(model: CausalLM) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert model(none, none, lambda layer, q, k, v: q).shape == (0, 61)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
class TestOnCuda:
    """Attention is left out where it is not looked at: it has tests of its own."""

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    def test_logits_are_those_of_the_cpu(self, model: CausalLM, dtype: torch.dtype) -> None:
        expected = model(TOKENS, POSITIONS, DenseAttention(COUNTS))
        model = model.to("cuda", dtype)
        logits = model(TOKENS.cuda(), POSITIONS.cuda(), DenseAttention(COUNTS))
        assert logits.dtype is dtype
        near = max(8 * torch.finfo(dtype).eps, 1e-5)
        torch.testing.assert_close(logits.float().cpu(), expected, rtol=0, atol=near)

    def test_a_captured_step_can_be_replayed(self, model: CausalLM) -> None:
        model = model.cuda()
        tokens, positions, wanted = TOKENS.cuda(), POSITIONS.cuda(), torch.tensor([3, 11], device="cuda")

        def step() -> torch.Tensor:
            logits = model(tokens, positions, lambda layer, q, k, v: q + k[:, :1] * v[:, :1], wanted)
            return sampler(logits, wanted, wanted)

        sampler = Sampler(Sampling(temperature=1.0, top_k=20, top_p=0.9, seed=3))
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            step()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                drawn = step()
            for seed in range(5):
                tokens.copy_(torch.randint(61, (20,), generator=torch.Generator().manual_seed(seed)))
                positions.copy_((POSITIONS + seed) % 64)
                graph.replay()
                assert torch.equal(drawn, step())

    def test_draws_are_those_of_the_cpu(self) -> None:
        logits = torch.randn(500, 61, generator=torch.Generator().manual_seed(0))
        sampler = Sampler(Sampling(temperature=0.9, top_p=0.8, seed=3))
        assert torch.equal(
            sampler(logits.cuda(), range(500), range(500)).cpu(), sampler(logits, range(500), range(500))
        )
        keys = torch.arange(500)
        assert torch.equal(uniform(7, keys.cuda(), keys.cuda()).cpu(), uniform(7, keys, keys))
