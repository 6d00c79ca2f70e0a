"""The documentation in the window: every page can be read offline, with its pictures, links and tables."""

from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QTextTable
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from app.desktop import reader, theme
from app.desktop.menus import commands_of
from app.desktop.reader import START, Reader, folder, pages
from app.desktop.window import MainWindow

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def book(window: MainWindow, qtbot: QtBot) -> Reader:
    window.actions_["help.read"].trigger()
    assert window.reader is not None
    qtbot.waitUntil(window.reader.isActiveWindow)
    return window.reader


def shown(book: Reader) -> str:
    return Path(book.text.source().toLocalFile()).relative_to(DOCS).as_posix()


def tables(book: Reader) -> list[QTextTable]:
    return [frame for frame in book.text.document().rootFrame().childFrames() if isinstance(frame, QTextTable)]


def test_every_page_is_there(book: Reader) -> None:
    names = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(pages()) == sorted(names)
    assert next(iter(pages())) == START
    assert book.list.count() == len(names)
    for name in names:
        book.read(name)
        assert shown(book) == name
        assert book.list.currentItem().data(Qt.ItemDataRole.UserRole) == name
        assert book.text.toPlainText().startswith(pages()[name])


def test_an_idea_has_its_picture_and_tables(book: Reader) -> None:
    book.read("ideas/pruning.md")
    assert len(tables(book)) == 2
    assert tables(book)[0].cellAt(0, 0).firstCursorPosition().block().text() == "half of the tokens stay"
    picture = book.text.loadResource(2, QUrl("../pictures/pruning.svg"))
    assert picture.width() > 600
    assert len({picture.pixelColor(x, picture.height() // 3).name() for x in range(0, picture.width(), 3)}) > 3


def test_links_lead_on_and_back(book: Reader, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    book.text.anchorClicked.emit(QUrl("ideas/pruning.md"))
    assert shown(book) == "ideas/pruning.md"
    book.text.anchorClicked.emit(QUrl("../attention.md#what-helps"))
    assert shown(book) == "attention.md"
    heading = book.text.cursorForPosition(book.text.rect().topLeft()).block()
    while not heading.text():
        heading = heading.next()
    assert heading.text() == "What helps" or heading.next().text() == "What helps"
    qtbot.mouseClick(book.back, Qt.MouseButton.LeftButton)
    assert shown(book) == "ideas/pruning.md"
    qtbot.keyClick(book, Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: shown(book) == "attention.md")
    assert not book.forward.isEnabled()
    elsewhere: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: elsewhere.append(url.toString()))
    book.text.anchorClicked.emit(QUrl("https://arxiv.org/abs/2309.06180"))
    book.text.anchorClicked.emit(QUrl("no-such-page.md"))
    assert elsewhere == ["https://arxiv.org/abs/2309.06180"]
    assert shown(book) == "attention.md"


def test_it_is_dressed_anew_in_another_theme(book: Reader) -> None:
    book.read("ideas/paging.md")
    for name in ("light", "dark"):
        theme.themes.use(name)
        assert tables(book)[0].format().borderBrush().color().name() == theme.current().border
        assert shown(book) == "ideas/paging.md"


def test_a_page_of_the_window_leads_to_its_own(window: MainWindow) -> None:
    for name in window.entries:
        page = window.show_page(name)
        assert page is not None
        assert page.guide in pages(), name
        window.about.text.linkActivated.emit(page.guide)
        assert window.reader is not None
        assert shown(window.reader) == page.guide
    assert any(command.text == "Read: Pruning" for command in commands_of(window))


def test_pages_are_found_where_they_were_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "share" / "kvscope" / "docs"
    installed.mkdir(parents=True)
    (installed / START).write_text("# Here\n", encoding="utf-8")

    class File(PurePosixPath):
        def locate(self) -> Path:
            return tmp_path / "lib" / self

    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(reader, "__file__", str(tmp_path / "lib" / "app" / "desktop" / "reader.py"))
    monkeypatch.setattr(metadata, "files", lambda _: [File("main.py"), File(f"../share/kvscope/docs/{START}")])
    assert folder.__wrapped__() == installed
    monkeypatch.setattr(metadata, "files", lambda _: None)
    assert folder.__wrapped__() is None


def test_without_pages_it_says_so(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    monkeypatch.setattr("app.desktop.window.folder", lambda: None)
    window.read()
    assert told == ["The pages did not come along; they are in the folder docs of the source."]
    assert window.reader is None
