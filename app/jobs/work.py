"""One function in a process of its own, which tells how far it is and can be ended at any time."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

from app.jobs.brought import bring, brought
from simcore.errors import InputError

_SPAWN = get_context("spawn")  # a copy of a process with windows and threads would be a broken one


class Message(NamedTuple):
    """What the process says."""

    kind: Literal["progress", "done", "failed"]
    """of `failed` the content is a sentence"""
    content: Any


class Work:
    """A call of `function(tell, *arguments)`; the function stands in a module, and all that is sent can be pickled.

    What it gives to `tell` arrives as messages of progress, what it returns as the last one. An InputError is a
    sentence; a process that dies leaves one too, and neither workers nor temporary files. Policies that were brought
    can be chosen there as well.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, family: bool = False) -> None:
        """With `family`, the process may have workers of its own; all of them end with it."""
        self._family = family
        self._folder: str | None = None  # of its temporary files: a process that is killed cannot tidy up
        with contextlib.suppress(OSError):  # where there is no room, who needs some says so
            self._folder = tempfile.mkdtemp(prefix="kvscope-work-")
        self._receive, send = _SPAWN.Pipe(duplex=False)
        told = (send, self._folder, function, arguments, family, brought())
        self.process = _SPAWN.Process(target=_serve, args=told, daemon=not family)
        self.process.start()
        send.close()
        self.over = False

    def poll(self) -> list[Message]:
        """What has arrived since the last call; never waits. After `done` or `failed` it is over."""
        messages: list[Message] = []
        while not self.over:
            try:
                if not self._receive.poll():
                    break
                messages.append(self._receive.recv())
            except (EOFError, OSError):
                self.process.join()
                self._end_family()
                messages.append(Message("failed", _epitaph(self.process.exitcode)))
            if messages[-1].kind != "progress":
                self._end()
        return messages

    def cancel(self) -> None:
        """End the process now."""
        if not self.over:
            self._end_family()
            self.process.kill()
            self._end()

    def _end_family(self) -> None:
        """A group has its number for as long as anybody is in it, also when the first process is gone."""
        if self._family and hasattr(os, "killpg") and self.process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _end(self) -> None:
        self.over = True
        self.process.join()
        self.process.close()
        self._receive.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _serve(
    send: Connection,
    folder: str | None,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    family: bool,
    policies: tuple[str, ...],
) -> None:
    if folder is not None:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
    if family and hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_the_window, args=(folder, family), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the window, which then ends this

    def tell(content: Any) -> None:
        send.send(Message("progress", content))

    try:
        bring(policies)
        last = Message("done", function(tell, *arguments))
    except InputError as error:
        last = Message("failed", str(error))
    except MemoryError:
        last = Message("failed", "there is not enough memory for this")
    except BaseException as error:  # a policy may raise what is no Exception
        from simcore.policies.families import blame

        last = Message("failed", blame(error) or f"{type(error).__name__}: {error}")
    with contextlib.suppress(BrokenPipeError):  # the window is gone
        send.send(last)


def _end_with_the_window(folder: str | None, family: bool) -> None:
    """If it is killed, nobody wants the result any more, and nobody else tidies up."""
    window = parent_process()
    if window is None:
        return
    window.join()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if family and hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _epitaph(code: int | None) -> str:
    how = f"by signal {signal.Signals(-code).name}" if code and code < 0 and os.name == "posix" else f"with code {code}"
    return f"the process that worked on this was ended {how}; the system may have been short of memory"
