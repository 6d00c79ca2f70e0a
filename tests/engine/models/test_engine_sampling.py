"""Draws come from the softmax, from the sets that top-k and top-p allow, and come again."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from engine.sampling import Sampler, Sampling, uniform
from simcore.errors import InputError

LOGITS = torch.tensor([2.0, -1.0, 0.5, 3.0, 0.4, -5.0, 1.0, 2.5])
DRAWS = 40_000


def draw(sampling: Sampling, logits: Tensor = LOGITS, sequences: int = 40) -> np.ndarray:
    """How often each token comes in many sequences and positions."""
    which = torch.arange(DRAWS)
    ids = Sampler(sampling)(logits.expand(DRAWS, -1), which % sequences, which // sequences)
    return np.bincount(ids.numpy(), minlength=len(logits))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("sequences", [1, 40, DRAWS])
def test_draws_have_the_probabilities_of_the_softmax(temperature: float, sequences: int) -> None:
    found = draw(Sampling(temperature=temperature, seed=1), sequences=sequences)
    weights = np.exp(LOGITS.double().numpy() / temperature)
    expected = weights / weights.sum() * DRAWS
    often = expected > 5
    assert found[~often].sum() < 20
    assert stats.chisquare(found[often], expected[often] * found[often].sum() / expected[often].sum()).pvalue > 0.01


def test_top_k_draws_from_the_best_alone() -> None:
    found = draw(Sampling(temperature=1, top_k=3))
    expected = np.exp([2.0, 3.0, 2.5]) / np.exp([2.0, 3.0, 2.5]).sum() * DRAWS
    assert set(np.flatnonzero(found)) == {0, 3, 7}
    assert stats.chisquare(found[[0, 3, 7]], expected).pvalue > 0.01


def test_top_p_draws_from_the_fewest_that_reach_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.125, 0.075]).log()[[3, 0, 2, 1]]
    for top_p, allowed in ((0.4, {1}), (0.51, {1, 3}), (0.79, {1, 3}), (0.81, {1, 3, 2}), (0.95, {0, 1, 2, 3})):
        found = draw(Sampling(temperature=1, top_p=top_p), logits)
        assert set(np.flatnonzero(found)) == allowed, top_p
    found = draw(Sampling(temperature=1, top_p=0.79), logits)
    assert stats.chisquare(found[[1, 3]], np.array([0.5, 0.3]) / 0.8 * DRAWS).pvalue > 0.01


def test_top_p_counts_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert set(np.flatnonzero(draw(Sampling(temperature=1, top_k=2, top_p=0.5), logits))) == {0}
    assert set(np.flatnonzero(draw(Sampling(temperature=1, top_p=0.5), logits))) == {0, 1}


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1e-4])
def test_without_temperature_the_best_is_taken(temperature: float) -> None:
    assert np.flatnonzero(draw(Sampling(temperature=temperature), LOGITS * 1000)) == [3]


def test_a_draw_does_not_depend_on_the_batch() -> None:
    sampler = Sampler(Sampling(temperature=1.3, top_k=50, top_p=0.9, seed=7))
    logits = torch.randn(64, 101, generator=torch.Generator().manual_seed(0))
    sequences, positions = torch.arange(64) // 4, torch.arange(64) % 4 + 1000
    together = sampler(logits, sequences, positions)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sampler(logits[order], sequences[order], positions[order]), together[order])
    alone = [sampler(logits[i : i + 1], [i // 4], [i % 4 + 1000]).item() for i in range(64)]
    assert together.tolist() == alone


def test_seeds_sequences_and_positions_are_drawn_apart() -> None:
    base = draws(3, 0, range(1000))
    for other in (draws(4, 0, range(1000)), draws(3, 1, range(1000)), draws(3, 0, range(1000, 2000))):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.1
    assert abs(np.corrcoef(base[1:], base[:-1])[0, 1]) < 0.1
    assert (draws(3, 0, range(1000)) == base).all()


def draws(seed: int, sequence: int, positions: range) -> np.ndarray:
    return uniform(seed, torch.full((len(positions),), sequence), torch.tensor(positions)).numpy()


def test_uniform_numbers_are_uniform_and_below_one() -> None:
    found = draws(2**63 - 1, 2**40, range(DRAWS))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert found.min() >= 0
    assert found.max() < 1


def test_uniform_numbers_are_those_of_splitmix64() -> None:
    """Its published test vector for seed 1234567: one step gives 6457827717110365317."""
    mixed = 6457827717110365317

    def step(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    assert step(1234567) == mixed
    for seed, sequence, position in ((1234567, 0, 0), (0, 5, 9), (2**62, 2**40, 12345)):
        expected = (step(step(step(seed) ^ sequence) ^ position) >> 11) * 2.0**-53
        assert uniform(seed, torch.tensor([sequence]), torch.tensor([position])).item() == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"temperature": -0.5}, "temperature is -0.5, but must be a number, at least 0"),
        ({"temperature": float("nan")}, "temperature is nan, but must be a number, at least 0"),
        ({"temperature": float("inf")}, "temperature is inf, but must be a number, at least 0"),
        ({"top_k": -1}, "top_k is -1, but must be a whole number, at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0, but must be a number above 0, at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01, but must be a number above 0, at most 1"),
        ({"seed": -1}, "seed is -1, but must be a whole number from 0 to 2^63 - 1"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Sampling(**given)  # type: ignore[arg-type]
    assert str(caught.value) == sentence
