"""Reports: a page that explains itself, and beside it every number and chart for a paper.

What is named here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simcore.experiment.saved import load
    from simcore.export.report.folder import ReportFolder, write
    from simcore.export.report.single import OneRun, run_page
    from simcore.export.report.stored import is_comparison

__all__ = ["OneRun", "ReportFolder", "is_comparison", "load", "run_page", "write"]

_HOMES = {
    "OneRun": "simcore.export.report.single",
    "ReportFolder": "simcore.export.report.folder",
    "is_comparison": "simcore.export.report.stored",
    "load": "simcore.experiment.saved",  # it stands above the reports, and knows what a comparison is made of
    "run_page": "simcore.export.report.single",
    "write": "simcore.export.report.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simcore.export.report' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
