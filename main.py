"""The one door: the desktop without a command or with `desktop`, otherwise the command line."""

import os
import sys

try:
    from app.cli import main as command_line
except KeyboardInterrupt:  # before anybody else listens to Ctrl+C
    sys.exit(130)


def main() -> int:
    """Open the window or run what the command line asks for, and return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["desktop"] or (not arguments and has_screen()):
        from app.desktop.application import main as desktop

        return desktop(arguments[1:])
    if arguments:
        return command_line()
    print(
        "There is no screen: running the default scenario headless. `python main.py --help` lists the commands.",
        flush=True,
    )
    return command_line(["simulate"])


def has_screen() -> bool:
    """Whether a window could be opened and seen."""
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return False
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
