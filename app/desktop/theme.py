"""Colours, fonts and icons: three themes on Qt's Fusion style, and one place that says which of them is shown."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

SYSTEM = "system"
"""The choice that follows the system: dark or light as it says, high contrast where it asks for that."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Every colour that is drawn, as `#rrggbb`. Text has a contrast of at least 4.5 to 1 on what it stands on."""

    name: str
    dark: bool
    window: str
    """behind everything"""
    surface: str
    """cards, charts, fields"""
    raised: str
    """what is hovered, headers of tables, buttons"""
    border: str
    text: str
    muted: str
    """text of second rank: units, helps, axes"""
    accent: str
    """what is chosen, focused, or done first"""
    on_accent: str
    """text on `accent`"""
    good: str
    warn: str
    bad: str
    grid: str
    """lines behind data"""
    series: tuple[str, ...]
    """of Okabe and Ito, told apart by all kinds of eyes, in the order of use"""
    stored: str
    """slots of the pool that hold tokens"""
    internal: str
    """slots at the end of blocks that are not filled yet"""
    reserved: str
    """what belongs to a request and will never or not yet be used"""
    cached: str
    """idle blocks that can be hit"""
    free: str
    traditional: str = "#6b7280"
    paged: str = "#a855f7"
    shared: str = "#ec4899"
    saved: str = "#22c55e"


DARK = Theme(
    name="dark",
    dark=True,
    window="#0e1217",
    surface="#161b22",
    raised="#212933",
    border="#2c3642",
    text="#e8edf4",
    muted="#9aa7b8",
    accent="#58b6ee",
    on_accent="#06121c",
    good="#3fc08a",
    warn="#e8a93a",
    bad="#ff7a6b",
    grid="#262f3a",
    series=("#56b4e9", "#e69f00", "#1fb58a", "#cc79a7", "#f0e442", "#e0672b", "#5a8fd6", "#b8c0cc"),
    stored="#0f82c4",
    internal="#e69f00",
    reserved="#cc79a7",
    cached="#3a9d7c",
    free="#2a333e",
)
LIGHT = Theme(
    name="light",
    dark=False,
    window="#f2f4f8",
    surface="#ffffff",
    raised="#e9edf3",
    border="#d3dae3",
    text="#15202c",
    muted="#556273",
    accent="#0b6bb3",
    on_accent="#ffffff",
    good="#117a52",
    warn="#8f5b00",
    bad="#b3261e",
    grid="#e4e8ee",
    series=("#0072b2", "#d55e00", "#009e73", "#b0467f", "#c98a00", "#3d9bd6", "#6b4fb3", "#4b5563"),
    stored="#2f8fcb",
    internal="#e69f00",
    reserved="#cc79a7",
    cached="#5cbf9d",
    free="#dfe4eb",
)
CONTRAST = Theme(
    name="contrast",
    dark=True,
    window="#000000",
    surface="#000000",
    raised="#1c1c1c",
    border="#ffffff",
    text="#ffffff",
    muted="#e6e6e6",
    accent="#ffd60a",
    on_accent="#000000",
    good="#5dff9b",
    warn="#ffd60a",
    bad="#ff8a80",
    grid="#5a5a5a",
    series=("#56b4e9", "#ffd60a", "#00e0a4", "#ff9ad2", "#ffffff", "#ff8c42", "#7fb0ff", "#c0c0c0"),
    stored="#1e9be8",
    internal="#ffb000",
    reserved="#ff9ad2",
    cached="#00c48c",
    free="#3a3a3a",
    traditional="#9ca3af",
    paged="#c084fc",
)
THEMES = {theme.name: theme for theme in (DARK, LIGHT, CONTRAST)}

FAMILIES = ["Inter", "Segoe UI", "SF Pro Text", "Helvetica Neue", "Cantarell", "Noto Sans", "DejaVu Sans"]
MONO = ["JetBrains Mono", "Cascadia Mono", "SF Mono", "Menlo", "Consolas", "Noto Sans Mono", "DejaVu Sans Mono"]


class _Themes(QObject):
    """The theme that is shown; `changed` comes after palette and style sheet are new."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.choice = SYSTEM
        self.shown = DARK

    def use(self, choice: str) -> None:
        """Show a theme by name, or SYSTEM; a name that is none is taken for SYSTEM."""
        self.choice = choice if choice in THEMES else SYSTEM
        self.shown = THEMES.get(self.choice) or _of_system()
        app = QApplication.instance()
        if isinstance(app, QApplication):
            _dress(app, self.shown)
        self.changed.emit()

    def follow(self) -> None:
        """The system has changed its mind."""
        if self.choice == SYSTEM and self.shown != _of_system():
            self.use(SYSTEM)


themes = _Themes()
"""The one instance: `themes.use("light")`, `themes.changed.connect(...)`."""


def current() -> Theme:
    """The theme that is shown."""
    return themes.shown


def colour(name: str, alpha: float = 1.0) -> QColor:
    """A colour of the current theme by its field's name, or any `#rrggbb`; `alpha` from 0 to 1."""
    chosen = QColor(name if name.startswith("#") else getattr(themes.shown, name))
    chosen.setAlphaF(alpha)
    return chosen


def font(points: float = 10.0, *, bold: bool = False, mono: bool = False) -> QFont:
    """A font of the families that look best here; `points` are those of a window of normal size."""
    known = set(QFontDatabase.families())
    chosen = QFont()
    chosen.setFamilies([name for name in (MONO if mono else FAMILIES) if name in known] or ["Sans Serif"])
    chosen.setPointSizeF(points)
    if bold:
        chosen.setWeight(QFont.Weight.DemiBold)
    return chosen


def icon(name: str, tint: str = "text") -> QIcon:
    """An icon of assets/icons, drawn in the theme's colour `tint`, grey where it is disabled. Make it anew when the
    theme changes.
    """
    made = QIcon()
    for mode, field in ((QIcon.Mode.Normal, tint), (QIcon.Mode.Disabled, "border")):
        for size in (16, 20, 24, 32, 48, 64):
            made.addPixmap(pixmap(name, size, colour(field).name()), mode)
    return made


def pixmap(name: str, size: int, hue: str, ratio: float = 1.0) -> QPixmap:
    """An icon as a picture of `size` x `size` points in the colour `hue`, for a screen of `ratio` pixels a point."""
    renderer = QSvgRenderer(QByteArray(_svg(name).replace("currentColor", hue).encode()))
    picture = QPixmap(QSize(round(size * ratio), round(size * ratio)))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    renderer.render(painter, QRectF(0, 0, size * ratio, size * ratio))
    painter.end()
    picture.setDevicePixelRatio(ratio)
    return picture


@cache
def _svg(name: str) -> str:
    return files("assets").joinpath("icons", f"{name}.svg").read_text("utf-8")


def _of_system() -> Theme:
    hints = QGuiApplication.styleHints()
    accessibility = getattr(hints, "accessibility", None)  # Qt 6.10 and later
    preference = accessibility().contrastPreference() if accessibility else None
    if preference is not None and preference.name == "HighContrast":
        return CONTRAST
    return LIGHT if hints.colorScheme() == Qt.ColorScheme.Light else DARK


def _dress(app: QApplication, theme: Theme) -> None:
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, name in (
        (roles.Window, theme.window),
        (roles.WindowText, theme.text),
        (roles.Base, theme.surface),
        (roles.AlternateBase, theme.raised),
        (roles.Text, theme.text),
        (roles.PlaceholderText, theme.muted),
        (roles.Button, theme.raised),
        (roles.ButtonText, theme.text),
        (roles.BrightText, theme.bad),
        (roles.ToolTipBase, theme.raised),
        (roles.ToolTipText, theme.text),
        (roles.Highlight, theme.accent),
        (roles.HighlightedText, theme.on_accent),
        (roles.Link, theme.accent),
        (roles.LinkVisited, theme.accent),
        (roles.Accent, theme.accent),
        (roles.Light, theme.raised),
        (roles.Midlight, theme.border),
        (roles.Mid, theme.border),
        (roles.Dark, theme.border),
        (roles.Shadow, theme.window),
    ):
        palette.setColor(role, QColor(name))
    off = QColor(theme.muted)
    off.setAlphaF(0.6)
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, off)
    app.setPalette(palette)
    app.setFont(font())
    colours = {name: getattr(theme, name) for name in _NAMES}
    app.setStyleSheet(_SHEET.format(**colours, check=_file("good", theme.on_accent), down=_file("down", theme.muted)))


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="kvscope-icons-")


@cache
def _file(name: str, hue: str) -> str:
    """An icon as a file, which is how a style sheet wants it; it is gone when the program ends."""
    path = Path(_folder().name) / f"{name}-{hue[1:]}.svg"
    path.write_text(_svg(name).replace("currentColor", hue), encoding="utf-8")
    return path.as_posix()


_NAMES = ("window", "surface", "raised", "border", "text", "muted", "accent", "on_accent", "good", "warn", "bad")
_SHEET = """
* {{ outline: none; }}
QMainWindow::separator {{ background: {border}; width: 1px; height: 1px; }}
QToolTip {{ background: {raised}; color: {text}; border: 1px solid {border}; padding: 5px 8px; }}
QLabel[role="title"] {{ font-size: 18pt; font-weight: 600; }}
QLabel[role="heading"] {{ font-size: 11pt; font-weight: 600; }}
QLabel[role="muted"], QLabel[role="unit"] {{ color: {muted}; }}
QLabel[role="small"] {{ color: {muted}; font-size: 9pt; }}
QLabel[role="value"] {{ font-size: 17pt; font-weight: 600; }}
QLabel[role="bad"] {{ color: {bad}; }}
QLabel[role="warn"] {{ color: {warn}; }}
QLabel[role="good"] {{ color: {good}; }}
QLabel[role="key"] {{
  background: {raised}; border: 1px solid {border}; border-radius: 4px; padding: 1px 6px; font-size: 9pt;
}}
QFrame[role="card"] {{ background: {surface}; border: 1px solid {border}; border-radius: 8px; }}
QFrame[role="card"]:focus {{ border: 1px solid {accent}; }}
QFrame[role="strip"] {{ background: {surface}; border: none; border-bottom: 1px solid {border}; }}
QScrollArea, QScrollArea[role="clear"] > QWidget > QWidget {{ background: transparent; border: none; }}
QPushButton {{
  background: {raised}; border: 1px solid {border}; border-radius: 6px; padding: 6px 14px; min-height: 18px;
}}
QPushButton:hover, QToolButton:hover {{ border-color: {accent}; }}
QPushButton:focus, QToolButton:focus {{ border: 1px solid {accent}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {border}; }}
QPushButton[role="primary"] {{
  background: {accent}; color: {on_accent}; border-color: {accent}; font-weight: 600;
}}
QPushButton[role="primary"]:focus {{ border: 2px solid {text}; padding: 5px 13px; }}
QPushButton[role="segment"] {{ border-radius: 0; }}
QPushButton[role="segment"]:checked {{ background: {accent}; color: {on_accent}; border-color: {accent}; }}
QPushButton[role="link"] {{
  background: transparent; border: 1px solid transparent; text-align: left; padding: 5px 4px;
}}
QPushButton[role="link"]:hover, QPushButton[role="link"]:focus {{ border: 1px solid {accent}; }}
QPushButton:disabled, QPushButton[role="primary"]:disabled {{
  background: {raised}; color: {muted}; border-color: {border};
}}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 6px; padding: 5px; }}
QToolButton[role="field"] {{ background: {raised}; border: 1px solid {border}; padding: 5px 7px; }}
QToolButton:checked {{ background: {raised}; }}
QToolButton::menu-indicator {{ image: none; }}
QLineEdit, QComboBox, QAbstractSpinBox, QPlainTextEdit {{
  background: {surface}; border: 1px solid {border}; border-radius: 6px; padding: 4px 8px; min-height: 20px;
  selection-background-color: {accent}; selection-color: {on_accent};
}}
QLineEdit:focus, QComboBox:focus, QAbstractSpinBox:focus, QPlainTextEdit:focus {{ border: 1px solid {accent}; }}
QLineEdit[wrong="true"], QComboBox[wrong="true"] {{ border: 1px solid {bad}; }}
QLineEdit:disabled, QComboBox:disabled {{ color: {muted}; }}
QComboBox::drop-down {{ border: none; width: 22px; }}
QComboBox QAbstractItemView {{
  background: {surface}; border: 1px solid {border}; padding: 4px;
  selection-background-color: {accent}; selection-color: {on_accent};
}}
QMenuBar {{ background: {window}; padding: 2px 6px; }}
QMenuBar::item {{ padding: 4px 10px; border-radius: 5px; background: transparent; }}
QMenuBar::item:selected {{ background: {raised}; }}
QMenu {{ background: {surface}; border: 1px solid {border}; padding: 5px; }}
QMenu::item {{ padding: 6px 24px 6px 12px; border-radius: 5px; }}
QMenu::item:selected {{ background: {raised}; }}
QMenu::item:disabled {{ color: {muted}; }}
QMenu::separator {{ height: 1px; background: {border}; margin: 5px 8px; }}
QMenu::icon {{ padding-left: 8px; }}
QStatusBar {{ background: {window}; border-top: 1px solid {border}; color: {muted}; }}
QStatusBar::item {{ border: none; }}
QStatusBar QLabel {{ padding: 2px 8px; color: {muted}; }}
QDockWidget {{ titlebar-close-icon: none; }}
QTabBar::tab {{
  padding: 7px 12px; border: none; border-bottom: 2px solid transparent; color: {muted}; background: transparent;
}}
QTabBar::tab:selected {{ color: {text}; border-bottom: 2px solid {accent}; }}
QTabBar::tab:focus {{ color: {accent}; }}
QTabWidget::pane {{ border: none; }}
QTableView, QTreeView, QListView {{
  background: {surface}; border: 1px solid {border}; border-radius: 6px; gridline-color: {border};
  selection-background-color: {accent}; selection-color: {on_accent}; alternate-background-color: {window};
}}
QTableView:focus, QTreeView:focus, QListView:focus {{ border: 1px solid {accent}; }}
QListView::item:selected {{ background: {raised}; color: {text}; border-left: 3px solid {accent}; }}
QFrame[role="rail"] {{ background: {window}; border: none; border-right: 1px solid {border}; }}
QFrame[role="rail"] QToolButton {{
  border-radius: 8px; padding: 7px 2px 5px 2px; color: {muted}; font-size: 8.5pt; min-width: 72px;
}}
QFrame[role="rail"] QToolButton:checked {{ background: {raised}; color: {text}; border-left: 3px solid {accent}; }}
QFrame[role="hot"] {{ background: {surface}; border: 1px solid {border}; border-radius: 8px; }}
QFrame[role="hot"]:hover, QFrame[role="hot"]:focus {{ border: 1px solid {accent}; }}
QFrame[role="drop"] {{ border: 2px dashed {border}; border-radius: 8px; }}
QFrame[role="drop"]:focus {{ border-color: {accent}; }}
QFrame[role="drop"][over="true"] {{ border-color: {accent}; background: {raised}; }}
QFrame[role="problem"] {{ background: {surface}; border: 1px solid {bad}; border-radius: 6px; }}
QToolButton[role="section"] {{ font-weight: 600; padding: 6px 4px; text-align: left; }}
QToolButton[role="more"] {{ color: {accent}; padding: 3px 4px; }}
QCheckBox {{ spacing: 8px; padding: 3px; }}
QCheckBox:focus {{ color: {accent}; }}
QCheckBox::indicator {{
  width: 16px; height: 16px; border: 1px solid {muted}; border-radius: 4px; background: {surface};
}}
QCheckBox::indicator:checked {{ background: {accent}; border-color: {accent}; image: url({check}); }}
QCheckBox::indicator:focus {{ border: 2px solid {text}; }}
QComboBox::down-arrow {{ image: url({down}); width: 12px; height: 12px; }}
QHeaderView {{ background: {surface}; border: none; }}
QHeaderView::section {{
  background: {surface}; color: {muted}; border: none; border-bottom: 1px solid {border}; padding: 6px 11px;
}}
QTableView::item {{ padding: 3px 8px; }}
QHeaderView::section:vertical {{ border: none; }}
QTableCornerButton::section {{ background: {surface}; border: none; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {border}; border-radius: 4px; min-height: 28px; min-width: 28px; margin: 1px; }}
QScrollBar::handle:hover {{ background: {muted}; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
  background: none; border: none; height: 0; width: 0;
}}
QSlider::groove:horizontal {{ height: 4px; background: {border}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{
  background: {text}; border: 2px solid {window}; width: 14px; height: 14px; margin: -7px 0; border-radius: 9px;
}}
QSlider::handle:horizontal:focus {{ background: {accent}; }}
QProgressBar {{ background: {raised}; border: none; border-radius: 3px; height: 6px; color: transparent; }}
QProgressBar::chunk {{ background: {accent}; border-radius: 3px; }}
QSplitter::handle {{ background: transparent; }}
QSplitter::handle:hover {{ background: {accent}; }}
"""
