"""From logits to the next token: the best one, or one drawn at random that can be drawn again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simcore.errors import InputError
from simcore.schema import shown

GREEDY_BELOW = 1e-5
"""Temperatures below this one take the best token, as in vLLM: logits divided by them would overflow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. Raises InputError for what cannot be."""

    temperature: float = 0.0
    """what logits are divided by; 0: always take the best"""
    top_k: int = 0
    """choose among that many of the best; 0: among all"""
    top_p: float = 1.0
    """choose among the best that together have at least this probability: https://arxiv.org/abs/1904.09751"""
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "temperature": (not (math.isfinite(self.temperature) and self.temperature >= 0), "a number, at least 0"),
            "top_k": (self.top_k < 0, "a whole number, at least 0"),
            "top_p": (not 0 < self.top_p <= 1, "a number above 0, at most 1"),
            "seed": (not 0 <= self.seed < 1 << 63, "a whole number from 0 to 2^63 - 1"),
        }
        for name, (is_wrong, allowed) in wrong.items():
            if is_wrong:
                raise InputError(f"{name} is {shown(getattr(self, name))}, but must be {allowed}")

    @property
    def greedy(self) -> bool:
        """Whether the best token is taken, and nothing is drawn."""
        return self.temperature < GREEDY_BELOW


class Sampler:
    """Chooses the next tokens of a batch.

    A draw is made from the seed, the sequence and the position alone: it does not depend on what else is in the batch,
    on the device, or on whether the sequence was preempted and came back.
    """

    def __init__(self, sampling: Sampling | None = None) -> None:
        self.sampling = sampling or Sampling()

    def __call__(self, logits: Tensor, sequences: Tensor | Sequence[int], positions: Tensor | Sequence[int]) -> Tensor:
        """Ids [rows] by logits [rows, vocab_size]; sequences, positions [rows]: what tells one draw from another.

        Samples of one prompt have sequences of their own, or they would be the same. Nothing waits for the device if
        all is there.
        """
        if self.sampling.greedy:
            return logits.argmax(-1)
        cumulated = self.probabilities(logits).cumsum(-1, dtype=torch.float64)
        keys = (torch.as_tensor(key, dtype=torch.int64, device=logits.device) for key in (sequences, positions))
        drawn = uniform(self.sampling.seed, *keys)
        return torch.searchsorted(cumulated, drawn[:, None] * cumulated[:, -1:], right=True).squeeze(-1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """[rows, vocab_size], of logits of that shape: what is drawn from; 0 for what top-k and top-p leave out.

        Temperature, then top-k (all that equal the last of them stay too), then top-p among what is left. Sums are not
        1 where top-p leaves something out.
        """
        best = logits.amax(-1, keepdim=True)
        scores = (logits - best).float() / self.sampling.temperature
        if 0 < self.sampling.top_k < logits.shape[-1]:
            least = scores.topk(self.sampling.top_k).values[..., -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        probabilities = scores.softmax(-1)
        if self.sampling.top_p == 1:
            return probabilities
        ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        better = ordered.cumsum(-1, dtype=torch.float64) - ordered
        kept = ordered.masked_fill(better >= self.sampling.top_p, 0)
        return torch.zeros_like(kept).scatter(-1, ids, kept)


def uniform(seed: int, sequences: Tensor, positions: Tensor) -> Tensor:
    """Float64 in [0, 1), one for each sequence and position (int64): the same on every device."""
    bits = _mix(_mix(_mix(torch.full_like(sequences, seed)) ^ sequences) ^ positions)
    return (bits >> 11 & _ones(53)).double() * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's step, which scatters neighbors over all 64 bits: https://doi.org/10.1145/2714064.2660195."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ (x >> 30 & _ones(34))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27 & _ones(37))) * _signed(0x94D049BB133111EB)
    return x ^ (x >> 31 & _ones(33))


def _ones(count: int) -> int:
    """What is left of 64 bits shifted right: torch shifts the sign in."""
    return (1 << count) - 1


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
