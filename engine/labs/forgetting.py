"""Documents read from pages that are pruned when their context has been read, before anything is asked."""

import math

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.attention import PagedAttention
from engine.batch import Batch
from engine.kv_cache import KVCache
from engine.labs.accuracy import Reader
from engine.labs.tasks import Document
from engine.models import CausalLM
from engine.pruning import Pruner
from simcore.policies.pruning import Pruning
from simcore.serving.plan import Keep

PAGE = 16
"""Tokens of a block."""


def forgetting(model: CausalLM, tokenizer: Tokenizer, pruning: Pruning, budget: int) -> Reader:
    """Reads documents so that `budget` tokens of a context stay: see `engine.labs.accuracy.accuracy`."""

    def read(document: Document, ids: Tensor) -> Tensor:
        return pruned_logits(model, ids, len(tokenizer.encode(document.context).ids), pruning, budget)

    return read


@torch.inference_mode()
def pruned_logits(model: CausalLM, ids: Tensor, context: int, pruning: Pruning, budget: int) -> Tensor:
    """Logits [tokens, vocab_size] over a paged cache, of which `budget` tokens stay when the context has been read.

    ids [tokens], the first `context` of which are the context; what follows is not pruned.
    """
    shape, total, table = model.shape, len(ids), range(1, 1 + math.ceil(len(ids) / PAGE))
    cache = KVCache(shape.layers, 1 + len(table), PAGE, shape.kv_heads, shape.head_dim, shape.dtype, ids.device)
    pruner = Pruner(pruning, cache, shape.heads, outputs=False)
    pruner.open(0, 0, context)
    said = []
    for start, end in ((0, context), (context, total)):
        places = range(start, end)
        stored = pruner.slots([0], [start])
        batch = Batch.of([table], stored, [len(places)], ids[start:end], PAGE, ids.device, positions=places)
        attend = pruner.watch(PagedAttention(cache, batch), batch, [0], pruner.watches([0], [start]))
        said.append(model(batch.tokens, batch.positions, attend))
        if end == context > budget:
            pruner.prune(Keep(0, budget, list(table), context - budget), table, context)
    return torch.cat(said)
