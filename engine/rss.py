"""What the system says of this process's memory. Loads no torch, so that it can be asked without."""

import sys

TOOL = "peak RSS"


def peak_rss() -> float:
    """The peak of this process's resident memory in bytes, code and libraries included; NaN where nobody says.

    From getrusage(2), which Windows does not have.
    """
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak << 10)
