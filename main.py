"""The one door: without a command the desktop, with a command the command line."""

import os
import sys

try:
    from app.cli import main as command_line
except KeyboardInterrupt:  # before anybody else listens to Ctrl+C
    sys.exit(130)


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    if len(sys.argv) > 1:
        return command_line()
    why = "There is no desktop yet" if has_screen() else "There is no screen"
    print(f"{why}: running the default scenario headless. `python main.py --help` lists the commands.", flush=True)
    return command_line(["simulate"])


def has_screen() -> bool:
    """Whether a window could be opened and seen."""
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return False
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
