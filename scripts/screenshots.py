"""Save a picture of every page of the window in every theme: `python scripts/screenshots.py [FOLDER]`.

It needs no screen. Every page does its work first, so that there is something to see: a run, a comparison, and, where
torch is installed, a validation and two of the labs.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

SIZE = (1440, 900)
PATIENCE = 240.0
"""Seconds within which each page's work has to come to its end."""
SETTLED = 1.0
"""Seconds for what moves by itself."""


def size(text: str) -> tuple[int, int]:
    """Width and height of `1440x900`."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/screenshots"))
    parser.add_argument("--run-for", type=float, default=12.0, help="seconds that the run goes on before its pictures")
    parser.add_argument("--size", type=size, action="append", help="of the window, as 1440x900; may be given again")
    parser.add_argument("--only", action="append", help="a page; may be given again")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication

    from app.desktop import settings, theme
    from app.desktop.session import make_session
    from app.desktop.window import MainWindow
    from simcore.export.folder import ResultsFolder
    from simcore.scenario import Scenario
    from simcore.simulation import simulate

    app = QApplication(["kvscope"])
    app.setStyle("Fusion")

    def wait(seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            app.processEvents()
            time.sleep(0.01)

    torch = find_spec("torch") is not None

    def live(page: Any) -> None:
        window.begin()
        window.transport.speed.setCurrentText("3x")
        wait(arguments.run_for)
        wait(arguments.run_for, lambda: page.state is not None and page.state.refs[1:].max() > 1)
        window.session.pause()
        wait(SETTLED)
        page.choose_block(int(page.state.refs[1:].argmax()) + 1)  # the one that most requests share

    def compare(page: Any) -> None:
        page.replications.setValue(12)
        page.keep.setChecked(False)
        page.toggle()
        wait(PATIENCE, lambda: page.comparison is not None)

    def validation(page: Any) -> None:
        page.requests.setValue(24)
        page.times.setChecked(True)
        if torch:
            page.toggle()
            wait(PATIENCE, lambda: page.verdict is not None)

    def calculator(page: Any) -> None:
        page.model.setCurrentText("llama-3-8b")
        page.hardware.setCurrentText("a100-80gb")
        page.longest.put(8192)
        page.tokens.put(3000)
        page.batch.put(64)

    def attention(page: Any) -> None:
        page.tabs.setCurrentWidget(page.attention)
        page.toggle()
        wait(PATIENCE, lambda: page.attention.task is None)

    def heads(page: Any) -> None:
        page.tabs.setCurrentWidget(page.heads)
        if torch:
            page.toggle()
            wait(PATIENCE, lambda: page.heads.result is not None)

    def training(page: Any) -> None:
        page.tabs.setCurrentWidget(page.training)
        wait(PATIENCE, lambda: bool(page.training.rows))

    def documents(page: Any) -> None:
        page.tabs.setCurrentWidget(page.documents)

    def reports(page: Any) -> None:
        page.open_path(run)

    def nothing(page: Any) -> None:
        pass

    views: dict[str, tuple[tuple[str, Callable[[Any], None]], ...]] = {
        "live": (("live", live),),
        "compare": (("compare", compare),),
        "validation": (("validation", validation),),
        "calculator": (("calculator", calculator),),
        "labs": (
            ("labs-attention", attention),
            ("labs-pages", heads),
            ("labs-training", training),
            ("labs-documents", documents),
        ),
        "reports": (("reports", reports),),
    }

    with TemporaryDirectory() as place:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, place)
        settings.set_flag("tour", True)
        theme.themes.use("dark")
        run = Path(place) / "results" / "default-1"
        run.parent.mkdir()
        with ResultsFolder(run, "default") as results:
            results.write(simulate(Scenario.preset("default")))
        window = MainWindow(make_session)
        sizes = arguments.size or [SIZE]
        window.resize(*sizes[0])
        window.show_page("home")
        window.show()
        for name in arguments.only or window.entries:
            window.show_page(name)
            page = window.pages[name]
            for view, prepare in views.get(name, ((name, nothing),)):
                prepare(page)
                for place_of, (width, height) in enumerate(sizes):
                    window.resize(width, height)
                    wait(SETTLED)
                    for shown in theme.THEMES:
                        theme.themes.use(shown)
                        wait(SETTLED / 2)
                        ending = f"-{width}x{height}" if place_of else ""
                        path = arguments.folder / f"{view}-{shown}{ending}.png"
                        if not window.grab().save(str(path)):
                            sys.exit(f"{path}: cannot be written")
                        print(path, flush=True)
        window.document.undo.setClean()
        window.close()


if __name__ == "__main__":
    main()
