"""The tokenizer of the small models: byte-level BPE (https://arxiv.org/abs/1508.07909), trained on the tasks' texts.

Any text is encoded and comes back as it was, because every byte is a token. Each word of the tasks is one token too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from engine.labs.tasks import TASKS, Document

VOCABULARY = 512
"""Tokens at most."""

BOS, EOS, PAD = SPECIAL = ("<bos>", "<eos>", "<pad>")


def train_tokenizer(seed: int = 0, texts: int = 600) -> Tokenizer:
    """Learn the merges from that many texts, the same from the same. What it encodes begins with BOS."""
    rng = Random(seed)
    tasks = list(TASKS.values())
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((tasks[index % len(tasks)](rng, 256).text for index in range(texts)), trainer)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of the special tokens, by their keys in a `config.json`."""
    vocabulary = tokenizer.get_vocab()
    return {f"{name.strip('<>')}_token_id": vocabulary[name] for name in SPECIAL}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as ids, from BOS to EOS, and where among them the answers to its questions are."""

    ids: NDArray[np.int64]
    answers: tuple[slice, ...]


def encode(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[Encoded]:
    """Documents as the models are trained and tested on them."""
    encodings = tokenizer.encode_batch([document.text + EOS for document in documents])
    return [_encoded(document, encoding) for document, encoding in zip(documents, encodings, strict=True)]


def _encoded(document: Document, encoding: Any) -> Encoded:
    starts = np.fromiter((start for start, _ in encoding.offsets), np.int64)
    edges, at = [], len(document.context)
    for question in document.questions:
        at += len(question.ask)
        edges += [at, at := at + len(question.answer)]
    indices = np.searchsorted(starts, edges).tolist()
    answers = tuple(slice(*pair) for pair in zip(indices[::2], indices[1::2], strict=True))
    return Encoded(np.array(encoding.ids), answers)
