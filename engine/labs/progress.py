"""How far a lab is, for whoever waits for it."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[float, str], None]
"""Called with the share that is done, from 0 to 1, and with what comes next."""


def silent(_share: float, _next: str) -> None:
    """Nobody waits."""
