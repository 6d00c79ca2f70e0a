"""From the command line to the window."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from app.desktop.pages import PAGES

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from app.desktop.window import MainWindow

WRONG_INPUT = 2
ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a program to end."""


def main(argv: Sequence[str]) -> int:
    """Open the window, and the file that is named; returns when it is closed."""
    parser = argparse.ArgumentParser(prog="kvscope desktop", description="Open the window.")
    parser.add_argument("file", nargs="?", type=Path, help="a scenario, a trace, or a folder of results to open")
    parser.add_argument(
        "--policy",
        action="append",
        type=Path,
        metavar="FILE.py",
        help="run this Python file, so that the window can choose the policies in it; give only what you would run",
    )
    parser.add_argument("--theme", choices=("system", "dark", "light", "contrast"), help="colours, this time and later")
    parser.add_argument("--page", choices=tuple(PAGES), default="home", help="the page to begin with")
    arguments = parser.parse_args(argv)
    if problem := unfit(qt_version(), sys.version_info[:2]) or no_screen():
        print(f"kvscope: {problem}", file=sys.stderr)
        return WRONG_INPUT
    from app.jobs.brought import bring
    from simcore.errors import InputError

    try:
        bring(arguments.policy or ())
    except InputError as error:
        print(f"kvscope: {error}", file=sys.stderr)
        return WRONG_INPUT
    return _run(arguments.file, arguments.theme, arguments.page)


def qt_version() -> str:
    """Of PySide6 as it is installed; empty: it is not."""
    for package in ("PySide6-Essentials", "PySide6"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def unfit(qt: str, python: tuple[int, ...]) -> str:
    """A sentence on why this PySide6 will not do with this Python; empty: it will."""
    remedy = 'install what fits: pip install "PySide6-Essentials>=6.10.3,<6.11"'
    if not qt:
        return f"the window needs PySide6, which is not installed; {remedy}"
    numbers = tuple(int(part) for part in qt.split(".")[:2] if part.isdigit())
    if numbers >= (6, 12) and python < (3, 12):
        ours = ".".join(map(str, python))
        return f"PySide6 {qt} on Python {ours} kills the process within seconds of a live chart; {remedy}"
    if numbers >= (6, 11):
        return f"pyqtgraph 0.14 does not work with PySide6 {qt}; {remedy}"
    if numbers < (6, 10):
        return f"PySide6 {qt} is too old; {remedy}"
    return ""


def no_screen() -> str:
    """A sentence where Qt would end the process because it finds no screen; empty: it finds one."""
    given = os.environ.get("QT_QPA_PLATFORM") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or given:
        return ""
    return "there is no screen to open a window on; QT_QPA_PLATFORM=offscreen opens one that nobody sees"


def tell_of_errors(window: "QWidget") -> None:
    """From now on an error that nobody foresaw is told in a box, and the window goes on."""
    from app.desktop.dialogs import complain

    telling = False

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        nonlocal telling
        sys.__excepthook__(kind, error, trace)
        if telling or not isinstance(error, Exception):
            return
        telling = True
        try:
            sentence = f"This should not have happened, and the window goes on.\n\n{kind.__name__}: {error}"
            complain(window, "An error of the program", sentence)
        finally:
            telling = False

    sys.excepthook = tell


def _run(file: Path | None, theme_name: str | None, page: str) -> int:
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtGui import QGuiApplication
    from PySide6.QtWidgets import QApplication

    from app.desktop import settings, theme
    from app.desktop.session import make_session
    from app.desktop.window import MainWindow

    heard: list[int] = []  # what is heard while the window is made waits until it can be closed as a whole
    for number in ENDINGS:
        signal.signal(number, lambda number, _frame: heard.append(number))
    QGuiApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.PassThrough)
    app = QApplication(["kvscope"])
    app.setStyle("Fusion")
    app.setApplicationName("KVScope")
    theme.themes.use(theme_name or str(settings.settings().value("theme", theme.SYSTEM)))
    app.setWindowIcon(theme.icon("live", "accent"))
    app.styleHints().colorSchemeChanged.connect(lambda _scheme: theme.themes.follow())
    window = MainWindow(make_session)
    tell_of_errors(window)
    if theme_name:
        window.use_theme(theme_name)
    window.show_page(page) or window.show_page("home")
    window.show()
    window.activateWindow()  # where no window manager does, keys would go nowhere
    # Python sees a signal only when it runs, and this lets it run ten times a second.
    waker = QTimer(window)
    waker.timeout.connect(lambda: _obey(window, heard))
    waker.start(100)
    if file is not None:
        QTimer.singleShot(0, window, lambda: window.open_path(file))
    elif window.restore_edits():
        pass  # who works here already needs no tour
    elif not settings.flag("tour"):
        QTimer.singleShot(400, window, window.tour)
    return app.exec()


def _obey(window: "MainWindow", heard: list[int]) -> None:
    """Close the window as the signals that were heard want it: Ctrl+C may ask, the others will not wait."""
    from PySide6.QtCore import QCoreApplication

    while heard:
        number = heard.pop()
        if number == signal.SIGINT:
            window.close()
        else:
            window.end()
            QCoreApplication.exit(128 + number)
