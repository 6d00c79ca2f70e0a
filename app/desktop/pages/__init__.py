"""The pages of the window, in the order of the rail."""

from typing import NamedTuple


class Entry(NamedTuple):
    """What the rail needs of a page, whose module is imported when it is first shown: the window is there sooner."""

    module: str
    kind: str
    """the class in it"""
    title: str
    icon: str


PAGES = {
    "home": Entry("app.desktop.pages.home", "Home", "Home", "home"),
    "live": Entry("app.desktop.pages.live", "Live", "Live", "live"),
    "workload": Entry("app.desktop.pages.workload", "WorkloadPage", "Workload", "workload"),
    "compare": Entry("app.desktop.pages.compare", "Compare", "Compare", "compare"),
    "validation": Entry("app.desktop.pages.validation", "Validation", "Validation", "validation"),
    "calculator": Entry("app.desktop.pages.calculator", "Calculator", "Calculator", "calculator"),
    "labs": Entry("app.desktop.pages.labs", "Labs", "Labs", "labs"),
    "reports": Entry("app.desktop.pages.reports", "Reports", "Reports", "reports"),
}
