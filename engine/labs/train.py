"""Train the small models: python -m engine.labs.train --out FOLDER

All variants learn side by side from the same documents, which are written while they learn, first short ones and later
longer ones: recall begins with pairs of tokens that are near. What comes out are the weights in float32, a file for
each variant, and the tokenizer; `engine.labs.publish` makes folders in Hugging Face's layout of them. It needs torch,
numpy, tokenizers and safetensors and nothing else, so that it runs on a GPU wherever there is one.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import DataLoader, Dataset

from engine.labs.accuracy import accuracy, exam
from engine.labs.small import CONTEXT, VARIANTS, small_shape
from engine.labs.tasks import TASKS
from engine.labs.tokenizer import encode, special_ids, train_tokenizer
from engine.models import CausalLM, build

LADDER = ((64, 0.0), (128, 0.06), (256, 0.12), (512, 0.22), (1024, 0.36))
"""Tokens of the longest documents, and the share of the training after which they come."""

REST = 0.1
"""Weight of the tokens that are no answers, of which only some can be foreseen."""

WARM_UP = 0.02
"""Share of the training in which the learning rate rises."""

DRAWN = 0.02
"""Deviation of the weights that models begin with, meant for a width of 2,500. Matrices so narrow as these begin with
1 / sqrt(width) instead: recall is then found in half as many steps."""

DECAY = 0.1
"""Weight decay of matrices; the rest has none."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step teaches: as many documents as fill `tokens`, of at most `size` tokens each."""

    step: int
    size: int


@dataclass(frozen=True)
class Lessons(Dataset[tuple[Tensor, Tensor]]):
    """Turns a lesson into ids [rows, size] int64, filled up with PAD, and what each of them weighs: 0 none, 1 some,
    2 an answer (uint8). The same lesson has the same documents whichever process writes them.
    """

    tokenizer: Tokenizer
    tokens: int
    """of a lesson"""
    seed: int

    def __getitem__(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        rng = Random(f"{self.seed} {lesson.step}")
        tasks = list(TASKS.values())
        rows = max(1, self.tokens // lesson.size)
        sizes = [rng.randint(lesson.size // 2, lesson.size) for _ in range(rows)]
        written = [tasks[(lesson.step + row) % len(tasks)](rng, size) for row, size in enumerate(sizes)]
        ids = np.full((rows, lesson.size), special_ids(self.tokenizer)["pad_token_id"])
        weights = np.zeros((rows, lesson.size), np.uint8)
        for row, one in enumerate(encode(self.tokenizer, written)):
            ids[row, : len(one.ids)] = one.ids
            weights[row, : len(one.ids)] = 1
            for answer in one.answers:
                weights[row, answer] = 2
        return torch.from_numpy(ids), torch.from_numpy(weights)


@dataclass
class Course:
    """How far the training is, from 0 to 1: by steps or, where there is a limit, by minutes if these go faster."""

    steps: int
    minutes: float = math.inf
    longest: int = CONTEXT
    seed: int = 0
    begun: float = field(default_factory=time.monotonic)

    def progress(self, step: int) -> float:
        """The share that is done when this step begins."""
        return max(step / self.steps, (time.monotonic() - self.begun) / 60 / self.minutes)

    def __iter__(self) -> Iterator[Lesson]:
        """Lessons, asked for a little before they are taught. Half of them have the longest size that is due."""
        rng = Random(f"{self.seed} sizes")
        for step in range(self.steps):
            progress = self.progress(step)
            if progress >= 1:
                return
            due = [size for size, since in LADDER if since <= progress and size <= self.longest]
            yield Lesson(step, rng.choice([*due, *[due[-1]] * len(due)]))


def learning_rate(progress: float, peak: float) -> float:
    """Rises in a line, falls in a half cosine to a hundredth of the peak."""
    fall = 0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return peak * min(1.0, (progress + 1e-3) / WARM_UP) * fall


@dataclass(frozen=True, slots=True)
class Rows:
    """Causal attention over sequences of equal length, one behind another. Later ones' padding is seen by none."""

    rows: int

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `engine.attention.Attend`."""
        group = q.shape[1] // k.shape[1]
        q, k, v = (x.to(v.dtype).view(self.rows, -1, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
        if group > 1:  # one copy for each query head: simple, and fused kernels differentiate it on any device
            k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1)


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter multiplies: neither a vector nor a table of embeddings."""
    return parameter.dim() > 1 and not name.startswith("embed")


class Learner:
    """A model, and how it learns: its matrices by Muon (https://arxiv.org/abs/2502.16982), the rest by AdamW.

    By AdamW alone recall is found in four times as many steps or more, and in one of three variants it was not found
    at all.
    """

    def __init__(self, variant: str, vocab_size: int, seed: int, device: torch.device) -> None:
        self.variant = variant
        self.model = build(small_shape(variant, vocab_size))
        self.model.initialize(seed)
        for name, parameter in self.model.named_parameters():
            if _is_matrix(name, parameter):
                parameter.data *= parameter.shape[1] ** -0.5 / DRAWN
        self.model.to(device)
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for name, parameter in self.model.named_parameters():
            (matrices if _is_matrix(name, parameter) else rest).append(parameter)
        self.optimizers = (
            torch.optim.Muon(matrices, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=device.type == "cuda"),
        )
        self.loss = torch.zeros(())

    def learn(self, ids: Tensor, weights: Tensor, rate: float) -> None:
        """Take one step on ids and weights [rows, size]. Nothing in it waits for the device."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        rows, size = ids.shape
        positions = torch.arange(size, device=ids.device).repeat(rows)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
            logits = self.model(ids.flatten(), positions, Rows(rows)).view(rows, size, -1)[:, :-1]
        surprise = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        answers, rest = ((weight == kind).float() for kind in (2, 1))
        answered, other = ((surprise * kind).sum() / kind.sum().clamp(min=1) for kind in (answers, rest))
        (answered + REST * other).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()  # type: ignore[no-untyped-call]
        self.loss = answered.detach()


def train(
    variants: Sequence[str],
    tokenizer: Tokenizer,
    course: Course,
    *,
    tokens: int,
    rate: float,
    device: torch.device,
    workers: int = 0,
    every: int = 500,
    out: Path | None = None,
) -> dict[str, CausalLM]:
    """Train these variants side by side, and tell how they do every so many steps.

    tokens: of a step. rate: peak of the learning rate. workers: processes that write documents; 0: this one does.
    out: the folder in which the weights are kept as they become better.
    """
    learners = [Learner(variant, tokenizer.get_vocab_size(), course.seed, device) for variant in variants]
    questions = exam(16, course.longest)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        Lessons(tokenizer, tokens, course.seed),
        batch_size=None,
        sampler=course,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        multiprocessing_context="spawn" if workers else None,  # no fork of what has threads and a device
    )

    def tell(step: int) -> None:
        for learner in learners:
            scores = accuracy(learner.model, tokenizer, questions)
            shares = "  ".join(f"{task} {score.share:6.1%}" for task, score in scores.items())
            loss = f"loss {learner.loss.item():.4f}"
            print(f"step {step:<6,} {minutes():5.1f} min  {learner.variant}  {loss}  {shares}", flush=True)
            if out is not None:
                state = {name: tensor.contiguous().cpu() for name, tensor in learner.model.state_dict().items()}
                save_file(state, out / f"{learner.variant}.safetensors")

    def minutes() -> float:
        return (time.monotonic() - course.begun) / 60

    step = 0
    for step, (ids, weights) in enumerate(loader):
        if step % every == 0:
            tell(step)
        rate_now = learning_rate(course.progress(step), rate)
        ids, weights = ids.to(device, non_blocking=True), weights.to(device, non_blocking=True)
        for learner in learners:
            learner.learn(ids, weights, rate_now)
    tell(step + 1)
    return {learner.variant: learner.model for learner in learners}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m engine.labs.train", description="Train the small models.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and the tokenizer")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end by then, whatever was reached")
    parser.add_argument("--tokens", type=int, default=16384, help="of a step, padding included")
    sizes = [size for size, _ in LADDER]
    parser.add_argument("--longest", type=int, choices=sizes, default=CONTEXT, help="tokens of the longest documents")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak of the learning rate")
    parser.add_argument("--every", type=int, default=500, help="steps between two tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=min(14, max(0, (os.cpu_count() or 1) - 2)))
    given = parser.parse_args(arguments)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are parallel
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save(str(given.out / "tokenizer.json"))
    train(
        given.variants,
        tokenizer,
        Course(given.steps, given.minutes, given.longest, given.seed),
        tokens=given.tokens,
        rate=given.rate,
        device=torch.device(given.device),
        workers=given.workers,
        every=given.every,
        out=given.out,
    )


if __name__ == "__main__":
    main()
