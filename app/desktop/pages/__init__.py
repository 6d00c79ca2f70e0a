"""The pages of the window, in the order of the rail. One that is not there yet is left out of the rail."""

PAGES: dict[str, tuple[str, str]] = {
    "home": ("app.desktop.pages.home", "Home"),
    "live": ("app.desktop.pages.live", "Live"),
    "workload": ("app.desktop.pages.workload", "WorkloadPage"),
    "compare": ("app.desktop.pages.compare", "Compare"),
    "validation": ("app.desktop.pages.validation", "Validation"),
    "calculator": ("app.desktop.pages.calculator", "Calculator"),
    "labs": ("app.desktop.pages.labs", "Labs"),
    "reports": ("app.desktop.pages.reports", "Reports"),
}
"""id -> module and class; the module is imported when the window opens, so it imports what is heavy later"""
