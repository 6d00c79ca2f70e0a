"""Ctrl+C, a kill and a closed terminal are one: the wish that the program ends, in good order."""

import signal
import sys
import time
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in the main thread when the program is asked to end, but for signals that it was told to ignore.

    What `act` raises may be lost in compiled code that lets no exception through: then it is asked again at once.
    """

    def again(lost: "UnraisableHookArgs") -> None:
        if heard and lost.exc_type is KeyboardInterrupt:
            start_new_thread(_ask_again, (heard[0],))  # a Thread waits until it runs, and here that could be lost too
        else:
            hook(lost)

    heard = [number for number in _ENDINGS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, lambda *_: act()) for number in heard}
    hook, sys.unraisablehook = sys.unraisablehook, again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_again(number: int) -> None:
    time.sleep(0.05)
    signal.raise_signal(number)


def interrupt() -> None:
    """End whatever is under way, which tidies up on its way out."""
    raise KeyboardInterrupt
