"""Reports: a page that explains itself, and beside it every number and chart for a paper."""

from simcore.export.report.folder import ReportFolder, write

__all__ = ["ReportFolder", "write"]
