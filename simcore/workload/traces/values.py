"""The one careful reading of numbers and names, for every format: what is not exactly right is an InputError."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from simcore.errors import InputError
from simcore.schema import shown

MAX_TOKENS = 2**31 - 1
MAX_SECONDS = 10**10

Unit = Literal["s", "ms", "ns"]
_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 10**3, "ns": 10**9}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half a character: JSON can spell it, but no file can hold it."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)


def number(text: str) -> int | float | str:
    """The number that a field of a CSV line stands for; what is no number stays text, which no limit allows."""
    text = text.strip()
    if text.isdecimal() and text.isascii() and len(text) < 20:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def counts(name: str, texts: Sequence[str]) -> list[int]:
    """A CSV column of numbers of tokens."""
    if "".join(texts).isdecimal() and 0 < min(map(len, texts)) <= max(map(len, texts)) < 10:
        return list(map(int, texts))
    return [whole(name, number(text)) for text in texts]


def times(name: str, texts: Sequence[str]) -> list[float]:
    """A CSV column of times in s."""
    return [seconds(name, number(text)) for text in texts]


def whole(name: str, value: Any, least: int = 0, most: int = MAX_TOKENS) -> int:
    """A whole number, by default of tokens; 12.0 is whole, True, "12" and NaN are not numbers at all."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, not {quoted(value)}")
    return value


def real(name: str, value: Any, least: float, most: float, unit: str = "") -> float:
    """A finite number within limits."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise InputError(f"{name} must be a number from {least} to {most}{unit and ' ' + unit}, not {quoted(value)}")
    return float(value)


def seconds(name: str, value: Any, unit: Unit = "s") -> float:
    """An instant or a duration, given in `unit`."""
    scale = _PER_SECOND[unit]
    real(name, value, 0, MAX_SECONDS * scale, unit)
    return float(value / scale)  # of the value itself: an integer of ns may be longer than a double's 53 bits


def listed(name: str, value: Any, kinds: set[type], what: str) -> list[Any]:
    """A list whose every item is exactly of one of some kinds."""
    if not isinstance(value, list) or not kinds.issuperset(map(type, value)):
        raise InputError(f"{name} must be a list of {what}, not {quoted(value)}")
    return value


def label(name: str, value: Any) -> int | str:
    """A name: an integer or a text."""
    if type(value) is int or (isinstance(value, str) and not _SURROGATE.search(value)):
        return value
    raise InputError(f"{name} must be a whole number or a text, not {quoted(value)}")


def listing(words: Iterable[str]) -> str:
    """Some names as a message lists them: sorted, the first few."""
    return ", ".join(quoted(word) for word in sorted(words)[:8]) or "none"


def quoted(value: Any) -> str:
    """A value as a message shows it, short and on one line."""
    return "null" if value is None else shown(value)
