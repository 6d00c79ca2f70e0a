"""What the system says of this process's memory. Loads no torch, so that it can be asked without."""

import sys
from contextlib import suppress
from pathlib import Path

TOOL = "peak RSS"


def peak_rss() -> float:
    """The peak of this process's resident memory in bytes, code and libraries included; NaN where nobody says.

    From proc_pid_status(5) on Linux, where getrusage(2) begins with what the parent had; Windows has neither.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(int(line.split()[1]) << 10)
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak << 10)
