"""What the Live page costs while a simulation runs at full speed beside it: `python -m app.desktop.benchmark`."""

import json
import os
import sys
import threading
import time
from typing import Any

import numpy as np

BLOCKS = 65_536
KEYS = (
    "workload.requests=40000",
    "workload.arrivals.rate=60.0",
    'workload.prompt={ distribution = "lognormal", mean = 500, cv = 0.8, max = 1800 }',
    "scheduler.max_num_seqs=2048",
    'timing={ model = "linear", step = 0.0079, per_token = 51e-6, per_context_token = 6.4e-8 }',
)
"""Requests that fill half of a pool of so many blocks within seconds, and go on for longer than is measured."""
EVERY = 0.15
"""s between two inputs"""


def measure(seconds: float, blocks: int = BLOCKS) -> dict[str, float]:
    """Milliseconds: of the processor for frames, of the wall until answers. Frames and steps a second of the wall."""
    from PySide6.QtCore import QCoreApplication, QEvent, QObject
    from PySide6.QtWidgets import QApplication

    from app.desktop import theme
    from app.desktop.pages.live import Live
    from app.desktop.session import LiveSession, make_session
    from app.desktop.window import MainWindow
    from simcore.scenario import Scenario

    app = QApplication.instance() or QApplication(["kvscope"])
    assert isinstance(app, QApplication)
    app.setStyle("Fusion")
    theme.themes.use("dark")
    window = MainWindow(make_session)
    window.resize(1480, 920)
    window.show()
    shown, session = window.show_page("live"), window.session
    assert isinstance(shown, Live)
    page: Live = shown
    assert isinstance(session, LiveSession)
    session.set_speed(0.0)
    session.start(Scenario.preset("default", [*KEYS, f"memory.blocks={blocks + 1}"]))
    grid = page.views[0].grid
    wait(app, lambda: session.history is not None and int(session.history.steps["blocks_free"][-1]) < blocks // 2, 120)

    frames: list[float] = []
    costs: list[float] = []
    answers: list[float] = []
    states: list[float] = []
    draw = page._draw_grids

    def framed() -> None:
        begun = time.process_time()  # of the processor: what else the machine does is not the window's cost
        draw()
        states.append(time.process_time() - begun)
        grid.repaint()
        costs.append(time.process_time() - begun)
        frames.append(time.perf_counter())

    class Hand(QObject):
        """Answers what a thread, as a person would, does to the window: it chooses a block, and paints it."""

        def customEvent(self, event: QEvent) -> None:  # noqa: N802
            page.choose_block(1 + len(answers) * 37 % blocks)
            grid.repaint()
            answers.append(time.perf_counter() - asked[-1])

    hand, asked = Hand(), [0.0]
    over = threading.Event()

    def ask() -> None:
        while not over.wait(EVERY):
            if len(answers) + 1 == len(asked):
                asked.append(time.perf_counter())
                QCoreApplication.postEvent(hand, QEvent(QEvent.Type.User))

    page._draw_grids = framed  # type: ignore[method-assign]
    first_step, begun, cpu = session.newest, time.perf_counter(), time.process_time()
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        wait(app, lambda: time.perf_counter() - begun > seconds or session.state in ("ended", "failed"), seconds + 5)
    finally:
        over.set()
        thread.join()
    spent, cpu = time.perf_counter() - begun, time.process_time() - cpu
    steps = session.newest - first_step
    used = int(session.history.steps["blocks_used"][-1]) if session.history else 0
    page._draw_grids = draw  # type: ignore[method-assign]
    window.document.undo.setClean()
    window.close()
    app.processEvents()
    intervals = np.diff(frames)
    return {
        "blocks": blocks,
        "blocks_used": used,
        "frames_per_s": len(frames) / spent,
        "frame_ms_p50": _ms(costs, 50),
        "frame_ms_p99": _ms(costs, 99),
        "state_ms_p50": _ms(states, 50),
        "interval_ms_p50": _ms(intervals, 50),
        "interval_ms_p99": _ms(intervals, 99),
        "input_ms_p50": _ms(answers, 50),
        "input_ms_p99": _ms(answers, 99),
        "inputs": len(answers),
        "steps_per_s": steps / spent,
        "window_cpu_share": cpu / spent,
        "seconds": spent,
    }


def wait(app: Any, until: Any, seconds: float) -> None:
    """Let the window do its work until something holds. Raises TimeoutError."""
    end = time.perf_counter() + seconds
    while not until():
        if time.perf_counter() > end:
            raise TimeoutError(f"the run did not come so far within {seconds:g} s")
        app.processEvents()
        time.sleep(0.0005)


def _ms(seconds: Any, percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1000 if len(seconds) else float("nan")


def main(argv: list[str] | None = None) -> int:
    """Print what was measured, as JSON."""
    import tempfile

    arguments = sys.argv[1:] if argv is None else argv
    with tempfile.TemporaryDirectory(prefix="kvscope-settings-") as home:
        os.environ["XDG_CONFIG_HOME"] = home  # a person's own window stays as it was
        print(json.dumps(measure(float(arguments[0]) if arguments else 10.0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
