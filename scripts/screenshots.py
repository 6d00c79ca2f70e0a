"""Save a picture of every page of the window in every theme: `python scripts/screenshots.py [FOLDER]`.

It needs no screen. The default scenario is run, so that there is something to see.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

WIDTH, HEIGHT = 1440, 900


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/screenshots"))
    parser.add_argument("--run-for", type=float, default=12.0, help="seconds that the run goes on before its pictures")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication

    from app.desktop import settings, theme
    from app.desktop.application import session_maker
    from app.desktop.window import MainWindow
    from simcore.export.folder import ResultsFolder
    from simcore.scenario import Scenario
    from simcore.simulation import simulate

    app = QApplication(["kvscope"])
    app.setStyle("Fusion")

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            app.processEvents()
            time.sleep(0.01)

    with TemporaryDirectory() as place:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, place)
        settings.set_flag("tour", True)
        theme.themes.use("dark")
        run = Path(place) / "results" / "default-1"
        run.parent.mkdir()
        with ResultsFolder(run, "default") as results:
            results.write(simulate(Scenario.preset("default")))
        window = MainWindow(session_maker())
        window.resize(WIDTH, HEIGHT)
        window.show_page("home")
        window.show()
        if window.session is not None:
            window.begin()
            wait(arguments.run_for)
            window.session.pause()
        window.pages["home"].enter()
        for name in window.entries:
            window.show_page(name)
            page = window.pages[name]
            if name == "reports":
                page.open_path(run)
            wait(3.0)
            for shown in theme.THEMES:
                theme.themes.use(shown)
                wait(0.5)
                path = arguments.folder / f"{name}-{shown}.png"
                if not window.grab().save(str(path)):
                    sys.exit(f"{path}: cannot be written")
                print(path)
        window.document.undo.setClean()
        window.close()


if __name__ == "__main__":
    main()
