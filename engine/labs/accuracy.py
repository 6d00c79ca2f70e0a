"""How often a model answers exactly right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.attention import Attend, DenseAttention
from engine.labs.tasks import TASKS, Document, documents
from engine.labs.tokenizer import encode
from engine.models import CausalLM
from simcore.errors import InputError

SEED = 1_000_003
"""Of the documents that models are tested on; training draws its own from other seeds."""

LONGEST, SHORTEST = 1024, 64
"""Tokens of the documents that models are tested on."""

Reader = Callable[[Document, Tensor], Tensor]
"""Reads a document, whose ids [tokens] are given, in its own way: logits [tokens, vocab_size]."""


@dataclass(frozen=True, slots=True)
class Score:
    """Questions that were asked, and those whose answer was right to the last token."""

    asked: int
    right: int

    @property
    def share(self) -> float:
        """Right among asked."""
        return self.right / self.asked


def exam(each: int, longest: int, seed: int = SEED) -> list[Document]:
    """As many documents of each task, their sizes (tokens) spread evenly from short ones to the longest."""
    sizes = np.linspace(longest, min(SHORTEST, longest), each).round().astype(int).tolist()[::-1]
    return [document for task in TASKS for document in documents(task, sizes, seed)]


@torch.inference_mode()
def accuracy(
    model: CausalLM,
    tokenizer: Tokenizer,
    questions: Sequence[Document],
    *,
    attention: Callable[[Sequence[int]], Attend] = DenseAttention,
    batch: int = 8,
    read: Reader | None = None,
) -> dict[str, Score]:
    """The score in each task, where every question is asked after those before it and their right answers.

    An answer is right if each of its tokens is the likeliest one, so it is what greedy decoding would say. Documents
    are run `batch` at a time; `attention` is given how many tokens each of them has. With `read` each is read by
    itself. Raises InputError where the model is too small for a document.
    """
    device = next(model.parameters()).device
    counted = {document.task: [0, 0] for document in questions}
    encoded = encode(tokenizer, questions)
    expect_room(model, max(len(one.ids) for one in encoded), max(int(one.ids.max()) for one in encoded))
    for first in range(0, len(encoded), batch):
        part, asked = encoded[first : first + batch], questions[first : first + batch]
        counts = [len(one.ids) for one in part]
        tokens = torch.from_numpy(np.concatenate([one.ids for one in part])).to(device)
        positions = torch.cat([torch.arange(count) for count in counts]).to(device)
        if read is None:
            likeliest = model(tokens, positions, attention(counts)).argmax(-1)
        else:
            pairs = zip(asked, torch.split(tokens, counts), strict=True)
            likeliest = torch.cat([read(document, ids).argmax(-1) for document, ids in pairs])
        right = torch.split((likeliest[:-1] == tokens[1:]).cpu(), [*counts[:-1], counts[-1] - 1])
        for document, one, good in zip(asked, part, right, strict=True):
            counted[document.task][0] += len(one.answers)
            counted[document.task][1] += sum(
                bool(good[answer.start - 1 : answer.stop - 1].all()) for answer in one.answers
            )
    return {task: Score(asked, good) for task, (asked, good) in counted.items()}


def expect_room(model: CausalLM, tokens: int, largest: int) -> None:
    """Raises InputError where a document has more tokens than the model takes, or one with an id that it lacks."""
    shape = model.shape
    if tokens > shape.max_model_len:
        raise InputError(
            f"a document has {tokens:,} tokens, but the model takes {shape.max_model_len:,}; ask it about shorter ones"
        )
    if largest >= shape.vocab_size:
        raise InputError(f"the tokenizer has an id {largest:,}, but the model only knows {shape.vocab_size:,} tokens")
