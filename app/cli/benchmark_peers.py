"""What others make of the same load: transformers, where it is installed. Everything here runs in its own process."""

import inspect
import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.benchmark import BLOCK_SIZE, Contender, Load

CPU_TOKENS = 512
"""Of a step of `generate_batch`, which is slower with more: its mask has a number for each of them and each slot."""


class Static:
    """transformers' `generate`: one batch of all requests, padded on the left, which ends with the last of them.

    https://huggingface.co/docs/transformers/main_classes/text_generation
    """

    way = "sdpa"

    def __init__(self, folder: Path, load: Load, device: torch.device) -> None:
        self._model = _model(folder, device)
        self._load = load
        prompts = load.prompts(self._model.config.vocab_size)
        longest = max(map(len, prompts))
        self._ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._mask = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long()

    @property
    def kept(self) -> Sequence[Tensor]:
        """See `engine.benchmark.Server`."""
        return [*self._model.parameters(), *self._model.buffers()]

    @torch.inference_mode()
    def serve(self) -> list[list[int]]:
        """See `engine.benchmark.Server`."""
        output = self._load.output
        made = self._model.generate(
            self._ids, attention_mask=self._mask, max_new_tokens=output, do_sample=False, pad_token_id=0
        )
        answers: list[list[int]] = made[:, -output:].tolist()
        return answers


class Continuous:
    """transformers' `generate_batch`: paged keys and values, continuous batching. It gets the pool that we have.

    https://huggingface.co/docs/transformers/main/en/continuous_batching
    """

    way = "sdpa"

    def __init__(self, folder: Path, load: Load, device: torch.device) -> None:
        transformers = _transformers()
        self._model = _model(folder, device)
        self._prompts = load.prompts(self._model.config.vocab_size)
        self._generation = transformers.GenerationConfig(
            max_new_tokens=load.output, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        known = inspect.signature(transformers.ContinuousBatchingConfig).parameters
        size = "page_size" if "page_size" in known else "block_size"  # as it was called before 5.24
        self._batching = transformers.ContinuousBatchingConfig(
            **{size: BLOCK_SIZE},
            num_blocks=load.blocks,
            max_batch_tokens=min(load.batched_tokens, CPU_TOKENS) if device.type == "cpu" else load.batched_tokens,
        )

    @property
    def kept(self) -> Sequence[Tensor]:
        """See `engine.benchmark.Server`."""
        return [*self._model.parameters(), *self._model.buffers()]

    def serve(self) -> list[list[int]]:
        """See `engine.benchmark.Server`."""
        done = self._model.generate_batch(
            self._prompts,
            generation_config=self._generation,
            continuous_batching_config=self._batching,
            persistent_manager=True,
        )
        answers = [answer.generated_tokens for answer in done.values()]
        if len(answers) < len(self._prompts):
            raise RuntimeError(f"only {len(answers)} of {len(self._prompts)} requests were answered")
        return answers


def _transformers() -> Any:
    """The library, silent: what it wants to say would stand between our lines."""
    transformers: Any = import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    return transformers


def _model(folder: Path, device: torch.device) -> Any:
    return _transformers().AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()


def peers() -> list[Contender]:
    """Those that can be had here."""
    if find_spec("transformers") is None:
        return []
    static = Contender("transformers generate", Static)
    return [static, Contender("transformers generate_batch", Continuous, one_thread=False)]
