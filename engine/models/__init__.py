"""Decoders of the GPT-2 and Llama families."""

from engine.models.base import CausalLM, Source
from engine.models.gpt2 import GPT2
from engine.models.llama import Llama
from engine.models.rope import LinearScaling, Llama3Scaling, Rope
from engine.models.shape import GPT2Shape, LlamaShape, ModelShape


def build(shape: ModelShape) -> CausalLM:
    """A model of this shape, in the shape's format, with weights that mean nothing yet."""
    match shape:
        case GPT2Shape():
            return GPT2(shape).to(shape.dtype)
        case LlamaShape():
            return Llama(shape).to(shape.dtype)
    raise TypeError(f"{type(shape).__name__} is no family that is known")


__all__ = [
    "GPT2",
    "CausalLM",
    "GPT2Shape",
    "LinearScaling",
    "Llama",
    "Llama3Scaling",
    "LlamaShape",
    "ModelShape",
    "Rope",
    "Source",
    "build",
]
