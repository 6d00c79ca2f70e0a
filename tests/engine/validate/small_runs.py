"""A model of two layers with weights that mean nothing, and servers that are too small for their load."""

import json
from pathlib import Path
from typing import Any

import torch

from engine.checkpoint import Checkpoint
from engine.models import LlamaShape, Rope, build
from engine.models.config import write_shape
from simcore import Scenario


def checkpoint(folder: Path, dtype: torch.dtype = torch.float64) -> Checkpoint:
    """Weights large enough for every token to have its say."""
    shape = LlamaShape(
        layers=2, heads=4, kv_heads=2, head_dim=8, hidden_size=32, intermediate_size=48, vocab_size=97,
        max_model_len=128, tied=False, eps=1e-5, dtype=dtype, rope=Rope(theta=10_000.0),
    )  # fmt: skip
    model = build(shape)
    model.initialize(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 12
    config = write_shape(shape)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder, model, None, frozenset(), config)


def scenario(**tables: dict[str, Any]) -> Scenario:
    """Two dozen requests in bursts, with two system prompts; what `tables` say wins."""
    base: dict[str, dict[str, Any]] = {
        "memory": {"blocks": 60, "block_size": 4},
        "scheduler": {"max_num_seqs": 12, "max_num_batched_tokens": 48},
        "timing": {"model": "constant"},
        "workload": {
            "requests": 24,
            "arrivals": {"process": "poisson", "rate": 2000.0},
            "prompt": {"distribution": "uniform", "min": 1, "max": 40},
            "output": {"distribution": "uniform", "min": 1, "max": 24},
        },
    }
    for name, table in tables.items():
        base[name] = base.get(name, {}) | table
    return Scenario.model_validate(base)


CONVERSATIONS = {
    "conversations": {
        "turns": {"distribution": "fixed", "turns": 3},
        "think": {"distribution": "fixed", "seconds": 0.001},
        "system_prompts": 2,
        "system_tokens": 9,
    }
}
