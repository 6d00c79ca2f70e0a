"""What the engine said against dense attention without a cache, each request alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from engine.attention import PrunedAttention
from engine.executor import Branch, EngineExecutor
from engine.models import CausalLM
from engine.validate.report import Row
from engine.validate.witness import Life, Witness

BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far logits may differ, in parts of the largest logit of the answer or of 1."""
TOKENS = 200_000
"""So many go through the model again; answers to requests that met with something come first."""


@dataclass(slots=True)
class Compared:
    """A group of answers."""

    answers: int = 0
    error: float = 0.0
    """largest difference of two logits, in parts of the largest"""
    others: int = 0
    """greedy tokens that are other ones, though no second came near"""
    ties: int = 0
    """tokens whose two best logits lie within the bound: either may be chosen"""


@torch.inference_mode()
def compare_answers(
    model: CausalLM, executor: EngineExecutor, witness: Witness, prompt_len: dict[int, int]
) -> list[Row]:
    """Rows for all answers that were kept, and for those that were shared, forked, swapped and recomputed."""
    bound = BOUNDS[model.shape.dtype]
    shared = {branch for branch in witness.logits if witness.hits.get(branch[0])}
    groups = {
        "with shared prefixes": shared,
        "of parallel samples": witness.copied,
        "swapped out and in": witness.swapped,
        "preempted and recomputed": witness.recomputed,
        "of pruned sequences": {branch for branch, lives in witness.lives.items() if any(life.kept for life in lives)},
    }
    special = set().union(*groups.values())
    order = sorted(witness.logits, key=lambda branch: (branch not in special, branch))
    results: dict[Branch, Compared] = {}
    left = TOKENS
    for branch in order:
        length = executor.texts[branch].length
        if left < length and results:
            continue
        left -= length
        results[branch] = _compare(model, executor, witness, branch, prompt_len[branch[0]], bound)

    rows = []
    for name, members in {"": set(results), **groups}.items():
        found = [results[branch] for branch in members if branch in results]
        if not found and name:
            continue
        error = max((one.error for one in found), default=float("nan"))
        label = f"logits of {len(found)} answers {name}".rstrip()
        rows.append(Row(f"{label} against dense attention", "answers", 0.0, error, "of the largest", error, bound))
    every = list(results.values())
    others, ties = sum(one.others for one in every), sum(one.ties for one in every)
    rows.append(Row(f"greedy tokens that differ ({ties} near ties aside)", "answers", 0, others, "tokens", others, 0))
    return rows


def _compare(
    model: CausalLM, executor: EngineExecutor, witness: Witness, branch: Branch, prompt_len: int, bound: float
) -> Compared:
    ours = torch.stack(witness.logits[branch])
    ids = torch.from_numpy(executor.texts[branch].ids[: prompt_len + len(ours) - 1])
    lives = witness.lives.get(branch, [])
    if not any(life.kept for life in lives):
        lives = [Life(0)]
    dense = _dense(model, ids, prompt_len, lives).to("cpu", ours.dtype)
    scale = max(float(dense.abs().max()), 1.0)
    best = dense.topk(2).values if dense.shape[-1] > 1 else torch.cat((dense, dense - scale), -1)
    near = (best[:, 0] - best[:, 1]) <= bound * scale
    other = (dense.argmax(-1) != ours.argmax(-1)) & ~near
    error = float((dense - ours).abs().max()) / scale
    return Compared(1, error if error == error else float("inf"), int(other.sum()), int(near.sum()))


def _dense(model: CausalLM, ids: Tensor, prompt_len: int, lives: Sequence[Life]) -> Tensor:
    """Logits [answers, vocab_size] without a cache: in each life the heads forget what they forgot then."""
    device = model.embed.weight.device
    ids, positions = ids.to(device), torch.arange(len(ids), device=device)
    parts = []
    for life, last in zip_longest(lives, [life.first for life in lives[1:]]):
        attend = PrunedAttention(len(ids), {end: kept.to(device) for end, kept in life.kept.items()})
        wanted = positions[prompt_len - 1 :][life.first : last]
        if len(wanted):
            parts.append(model(ids, positions, attend, wanted))
    return torch.cat(parts)
