"""Ctrl+C, a kill and a closed terminal are one: the wish that the program ends, in good order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in the main thread when the program is asked to end, but for signals that it was told to ignore."""
    heard = [number for number in _ENDINGS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, lambda *_: act()) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """End whatever is under way, which tidies up on its way out."""
    raise KeyboardInterrupt
