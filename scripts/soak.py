"""A long soak of the live window: python scripts/soak.py [MINUTES] [SECONDS BETWEEN LINES]

A run at full speed is shown in a window, and somebody looks back now and then. Its files take up to a GB of disk a
minute, and go when it ends. Printed is the memory of both processes that is their own (RssAnon) and that which is
mapped from files (the rest of RSS), which the system takes back when it needs it. The verdict is on the former: it must
not grow with the run, once both processes have warmed up. Exit code 1: it does.

What is left of each request that has ended is in the worker one number of 8 bytes, which request each sequence belongs
to (the results need it, and every plan asks it), and in the window nothing that stays: what it draws of all requests
(who is in which state, how long the first tokens took) is made anew from the files for each picture, and the memory for
it is not always given back to the system. All else has its full size from the start, or is in files.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

KEYS = [
    "memory.blocks=4001",
    "workload.arrivals.rate=12.0",  # a little less than can be served: nobody's queue is to grow
    'workload.prompt={ distribution = "lognormal", mean = 300, cv = 0.8, max = 1200 }',
    'workload.output={ distribution = "lognormal", mean = 100, cv = 0.8, max = 400 }',
]
REQUESTS_PER_S = 2_000
"""more than the worker can do, so that it does not end too soon"""
WARM = 0.4
"""of the time, until pools, caches and charts are filled"""
MOST_MB = {"window": 16, "worker": 4}
"""that a process may grow by after that, beside what is told of each request: in the window, arrays of growing size
that were freed and are kept for the next ones, until they are large enough to be given back"""
MOST_BYTES = {"window": 60, "worker": 12}
"""a request that has ended: see above"""


def main() -> int:
    """Run it; see above."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    every = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    if not Path("/proc/self/status").exists():
        print("This system does not tell what memory a process has; run it on Linux.")
        return 2
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kvscope-settings-") as home:
        os.environ["XDG_CONFIG_HOME"] = home  # a person's own window stays as it was
        return soak(minutes * 60, every)


def soak(seconds: float, every: float) -> int:
    """Print a line each `every` seconds, and the verdict."""
    from PySide6.QtWidgets import QApplication

    from app.desktop import theme
    from app.desktop.session import LiveSession, make_session
    from app.desktop.window import MainWindow
    from simcore.scenario import Scenario

    app = QApplication(["kvscope"])
    app.setStyle("Fusion")
    theme.themes.use("dark")
    window = MainWindow(make_session)
    window.resize(1480, 920)
    window.show()
    window.show_page("live")
    session = window.session
    assert isinstance(session, LiveSession)
    session.set_speed(0.0)
    requests = max(2_000, int(REQUESTS_PER_S * seconds))
    session.start(Scenario.preset("default", [*KEYS, f"workload.requests={requests}"]))
    print(
        "      s       steps     entries      ended  window MB own + mapped  worker MB own + mapped   disk MB",
        flush=True,
    )
    begun = time.monotonic()
    seen: list[tuple[float, int, float, float]] = []
    next_line, next_look = every, 1.0
    while time.monotonic() - begun < seconds and session.state not in ("ended", "failed"):
        app.processEvents()
        time.sleep(0.002)
        passed = time.monotonic() - begun
        history, live = session.history, session.live
        if history is None or live is None or live.pid is None:
            begun = time.monotonic()  # it has not begun
            continue
        if passed >= next_look:
            next_look += 1.0
            session.seek(int(session.newest * (passed * 0.37 % 1)))
            app.processEvents()
            session.follow()
        if passed >= next_line:
            next_line += every
            told = history.ended(session.newest)
            ours, theirs = memory(os.getpid()), memory(live.pid)
            seen.append((passed, told, ours[0], theirs[0]))
            print(
                f"{passed:7.0f} {len(history):11,} {len(history.entries):11,} {told:10,} "
                f"{ours[0]:12.1f} + {ours[1]:7.1f} {theirs[0]:12.1f} + {theirs[1]:7.1f} {disk():9.0f}",
                flush=True,
            )
    state, failure = session.state, session.live.failure if session.live else None
    window.document.undo.setClean()
    window.close()
    app.processEvents()
    if state == "failed":
        print(f"The run failed: {failure}")
        return 1
    return verdict(seen, seconds)


def verdict(seen: list[tuple[float, int, float, float]], seconds: float) -> int:
    """Whether memory held; 1: it did not."""
    late = [line for line in seen if line[0] >= WARM * seconds]
    if len(late) < 2:
        print("The run ended before anything could be said of its memory.")
        return 1
    first, last = late[0], late[-1]
    told = last[1] - first[1]
    grown = {name: max(line[at] for line in late) - first[at] for at, name in ((2, "window"), (3, "worker"))}
    most = {name: MOST_MB[name] + size * told / 1e6 for name, size in MOST_BYTES.items()}
    for name, by in grown.items():
        verb = "holds" if by <= most[name] else "GROWS"
        print(
            f"{name}: {verb}, at most {by:+.1f} MB of its own in {last[0] - first[0]:.0f} s and {told:,} requests; "
            f"{most[name]:.0f} MB are allowed"
        )
    return int(any(by > most[name] for name, by in grown.items()))


def memory(process: int) -> tuple[float, float]:
    """MB: of its own, and mapped from files."""
    found = {}
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Rss"):
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return found["RssAnon"], found["RssFile"] + found["RssShmem"]


def disk() -> float:
    """MB that the files of this window's runs take."""
    import tempfile

    from app.jobs.spool import PREFIX

    folders = Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*")
    return sum(file.stat().st_blocks * 512 for folder in folders for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
