"""The one door: without a command the desktop, with a command the command line."""

import sys

from app.cli import main as command_line


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    if len(sys.argv) > 1:
        return command_line()
    print("There is no desktop yet: running the default scenario without it.", flush=True)
    return command_line(["simulate"])


if __name__ == "__main__":
    sys.exit(main())
