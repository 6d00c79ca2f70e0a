"""What policies do with arrays of NumPy and of torch alike, on whatever device they lie."""

from typing import Any

from array_api_compat import array_namespace, device

Array = Any
"""An array of NumPy or of torch; `array_api_compat.array_namespace` has functions for either."""


def numbers(count: int, like: Array) -> Array:
    """[count] int64: 0, 1, 2, ... where `like` lies."""
    xp = array_namespace(like)
    return xp.arange(count, dtype=xp.int64, device=device(like))


def widened(x: Array) -> Array:
    """The same in float32 at least: in half formats many scores would be equal."""
    xp = array_namespace(x)
    return xp.astype(x, xp.result_type(x.dtype, xp.float32), copy=False)


def norm(x: Array) -> Array:
    """[..., head_dim] -> [...]: Euclidean lengths, in float32 at least."""
    xp = array_namespace(x)
    return xp.linalg.vector_norm(widened(x), axis=-1)


def softmax(x: Array) -> Array:
    """Over the last axis."""
    xp = array_namespace(x)
    powers = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def chunk_sums(x: Array, size: int) -> Array:
    """[..., tokens]: in the place of each token the sum of its chunk, of `size` tokens but for the last one."""
    xp = array_namespace(x)
    tokens = x.shape[-1]
    whole = tokens - tokens % size
    sums = xp.sum(xp.reshape(x[..., :whole], (*x.shape[:-1], whole // size, size)), axis=-1)
    last = xp.sum(x[..., whole:], axis=-1, keepdims=True)
    return xp.concat([xp.repeat(sums, size, axis=-1), xp.repeat(last, tokens - whole, axis=-1)], axis=-1)
