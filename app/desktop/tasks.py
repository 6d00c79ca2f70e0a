"""Work in processes of its own, told to the window by signals."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.jobs.work import Work

POLL_MS = 40


class Task(QObject):
    """One piece of work. After `done` or `failed`, or when it was cancelled, nothing more comes of it."""

    progressed = Signal(object)
    done = Signal(object)
    failed = Signal(str)

    def __init__(self, work: Work) -> None:
        super().__init__()  # who started it may hold it longer than the work lasts
        self.work = work

    def cancel(self) -> None:
        """End it now; it says nothing more."""
        self.work.cancel()
        self.blockSignals(True)

    def poll(self) -> None:
        """Hand on what its process has said."""
        for message in self.work.poll():
            match message.kind:
                case "progress":
                    self.progressed.emit(message.content)
                case "done":
                    self.done.emit(message.content)
                case _:
                    self.failed.emit(message.content)


class Tasks(QObject):
    """All work that is under way; one timer asks their processes, and only while there are any."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._tasks: list[Task] = []
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    def start(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Call `function(tell, *arguments)` in a process of its own; see `Work`."""
        task = Task(Work(function, *arguments))
        self._tasks.append(task)
        self._timer.start()
        return task

    def shut_down(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._timer.stop()

    def _poll(self) -> None:
        for task in list(self._tasks):  # what is told of one may start another
            task.poll()
        self._tasks = [task for task in self._tasks if not task.work.over]
        if not self._tasks:
            self._timer.stop()
