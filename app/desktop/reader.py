"""The documentation, read in a window of its own: no network, pictures and links included."""

import re
from functools import cache
from importlib import metadata
from pathlib import Path

from PySide6.QtCore import QRectF, QSize, Qt, QUrl
from PySide6.QtGui import (
    QColor,
    QDesktopServices,
    QImage,
    QKeySequence,
    QPainter,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFrame,
    QTextFrameFormat,
    QTextTable,
)
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QTextBrowser,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme

START = "README.md"
"""The page that lists all others."""

WIDTH = 960
"""Points that a page has for its text at most."""


@cache
def folder() -> Path | None:
    """Where the pages are: in the checkout, or where they were installed; None: they did not come along."""
    beside = Path(__file__).parents[2] / "docs"
    if (beside / START).is_file() and (beside / "ideas").is_dir():
        return beside
    try:
        installed = metadata.files("kvscope") or []
    except metadata.PackageNotFoundError:
        return None
    for file in installed:
        if file.as_posix().endswith(f"kvscope/docs/{START}"):
            return Path(str(file.locate())).resolve().parent
    return None


@cache
def pages() -> dict[str, str]:
    """The titles of all pages, by their places in the folder, in the order in which the first one links to them."""
    place = folder()
    if place is None:
        return {}
    linked = re.findall(r"\]\(([\w/-]+\.md)\)", (place / START).read_text(encoding="utf-8"))
    rest = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.md"))
    return {name: _title(place / name) for name in dict.fromkeys([START, *linked, *rest]) if (place / name).is_file()}


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines, path.stem).lstrip("# ").strip()


class Text(QTextBrowser):
    """A page, with its pictures as wide as there is room and its tables drawn in the theme's colours."""

    def __init__(self) -> None:
        super().__init__()
        self.setOpenLinks(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName("Page")
        self.document().setDocumentMargin(28)

    def loadResource(self, kind: int, name: QUrl | str) -> object:  # noqa: N802
        """Pictures, sharp on any screen; pages as they are."""
        url = self.source().resolved(QUrl(name))
        path = Path(url.toLocalFile())
        if kind != QTextDocument.ResourceType.ImageResource.value or not path.is_file():
            return super().loadResource(kind, url)
        return _picture(path, min(self.viewport().width(), WIDTH) - 80, self.devicePixelRatioF())

    def dress(self) -> None:
        """What Markdown leaves to the reader: tables, code, room between the lines."""
        document, paper = self.document(), QColor(theme.current().raised)
        code = QTextCharFormat()
        code.setFontFamilies(theme.font(mono=True).families())
        code.setFontPointSize(9)
        code.setBackground(paper)
        _tables(document.rootFrame())
        cursor = QTextCursor(document)
        block = document.begin()
        while block.isValid():
            cursor.setPosition(block.position())
            lines = QTextBlockFormat()
            spans, pictures = _pieces(block)
            if cursor.currentTable() is not None:
                lines.setTopMargin(0)
                lines.setBottomMargin(0)
            elif _is_code(block):
                lines.setBackground(paper)
                lines.setTopMargin(0)
                lines.setBottomMargin(0 if _is_code(block.next()) else 12)
            elif not pictures:
                lines.setLineHeight(140, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
            if block.blockFormat().headingLevel():
                lines.setTopMargin(18)
            cursor.mergeBlockFormat(lines)
            for start, end in spans:
                cursor.setPosition(start)
                cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
                cursor.mergeCharFormat(code)
            block = block.next()


def _pieces(block: QTextBlock) -> tuple[list[tuple[int, int]], bool]:
    """Where code begins and ends, and whether there is a picture."""
    spans, pictures, pieces = [], False, block.begin()
    while not pieces.atEnd():
        piece = pieces.fragment()
        pictures |= piece.charFormat().isImageFormat()
        if piece.charFormat().fontFixedPitch():
            spans.append((piece.position(), piece.position() + piece.length()))
        pieces += 1
    return spans, pictures


def _is_code(block: QTextBlock) -> bool:
    return block.blockFormat().hasProperty(QTextBlockFormat.Property.BlockCodeLanguage.value)


class Reader(QDialog):
    """Pages on the left, the page on the right."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Documentation")
        self.list = QListWidget()
        self.list.setAccessibleName("Pages of the documentation")
        self.list.setFixedWidth(270)
        self.list.setSpacing(2)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for name, title in pages().items():
            item = QListWidgetItem("The documentation" if name == START else title, self.list)
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setToolTip(title)
        self.text = Text()
        self.text.anchorClicked.connect(self._follow)
        self.back, self.forward = QToolButton(), QToolButton()
        for button, name, step in ((self.back, "Back", -1), (self.forward, "Forward", 1)):
            button.setAccessibleName(name)
            button.setShortcut("Alt+Left" if step < 0 else "Alt+Right")
            button.setToolTip(f"{name} ({button.shortcut().toString(QKeySequence.SequenceFormat.NativeText)})")
            button.clicked.connect(lambda _checked=False, step=step: self._step(step))
        self._been: list[QUrl] = []
        self._place = -1
        self.list.currentItemChanged.connect(self._chosen)
        bar = QHBoxLayout()
        bar.addWidget(self.back)
        bar.addWidget(self.forward)
        bar.addStretch(1)
        left = QVBoxLayout()
        left.addLayout(bar)
        left.addWidget(self.list, 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 10, 10, 10)
        row.addLayout(left)
        row.addWidget(self.text, 1)
        theme.themes.changed.connect(self._dress)
        self._dress()
        self.resize(270 + WIDTH + 40, 800)

    def read(self, name: str = START) -> None:
        """Show a page by its place in the folder."""
        place = folder()
        if place is not None:
            self._go(QUrl.fromLocalFile(str(place / name)))

    def _chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.read(item.data(Qt.ItemDataRole.UserRole))

    def _follow(self, link: QUrl) -> None:
        """A page of ours, a place in it, or a browser for what lies elsewhere."""
        url = self.text.source().resolved(link)
        if not url.isLocalFile():
            QDesktopServices.openUrl(url)
        elif self._name(url) in pages():
            self._go(url)

    def _go(self, url: QUrl) -> None:
        if not self._been or url != self._been[self._place]:
            self._been[self._place + 1 :] = [url]
            self._place = len(self._been) - 1
            self._show()

    def _step(self, step: int) -> None:
        self._place += step
        self._show()

    def _show(self) -> None:
        url = self._been[self._place]
        page = QUrl.fromLocalFile(url.toLocalFile())
        self.text.setSource(page, QTextDocument.ResourceType.MarkdownResource)
        self.text.dress()
        self.back.setEnabled(self._place > 0)
        self.forward.setEnabled(self._place < len(self._been) - 1)
        self._mark(self._name(page))
        if url.fragment():
            self._scroll(url.fragment())

    def _name(self, url: QUrl) -> str:
        place, path = folder(), Path(url.toLocalFile()).resolve()
        return path.relative_to(place).as_posix() if place is not None and path.is_relative_to(place) else ""

    def _mark(self, name: str) -> None:
        for row in range(self.list.count()):
            if self.list.item(row).data(Qt.ItemDataRole.UserRole) == name:
                self.list.blockSignals(True)
                self.list.setCurrentRow(row)
                self.list.blockSignals(False)

    def _scroll(self, fragment: str) -> None:
        """To a heading, by the name that its words make."""
        block = self.text.document().begin()
        while block.isValid():
            words = "".join(c for c in block.text().lower() if c.isalnum() or c in " -").replace(" ", "-")
            if block.blockFormat().headingLevel() and words == fragment:
                self.text.setTextCursor(QTextCursor(block))
                bar = self.text.verticalScrollBar()
                bar.setValue(bar.value() + self.text.cursorRect().top() - 12)
                return
            block = block.next()

    def _dress(self) -> None:
        self.back.setIcon(theme.icon("undo"))
        self.forward.setIcon(theme.icon("redo"))
        if self._been:
            self._show()


def _tables(frame: QTextFrame) -> None:
    """Lines below the rows and room between the columns."""
    for child in frame.childFrames():
        if isinstance(child, QTextTable):
            form = child.format()
            form.setBorderCollapse(True)
            form.setBorder(1)
            form.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
            form.setBorderBrush(QColor(theme.current().border))
            form.setCellPadding(5)
            form.setTopMargin(4)
            form.setBottomMargin(12)
            child.setFormat(form)
        _tables(child)


def _picture(path: Path, width: int, ratio: float) -> QImage:
    """A picture at most so many points wide."""
    if path.suffix != ".svg":
        image = QImage(str(path))
        if image.width() > width * ratio:
            image = image.scaledToWidth(round(width * ratio), Qt.TransformationMode.SmoothTransformation)
        image.setDevicePixelRatio(ratio)
        return image
    renderer = QSvgRenderer(str(path))
    size = renderer.defaultSize().scaled(QSize(round(width * ratio), 1 << 14), Qt.AspectRatioMode.KeepAspectRatio)
    image = QImage(size, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    renderer.render(painter, QRectF(image.rect()))
    painter.end()
    image.setDevicePixelRatio(ratio)
    return image
