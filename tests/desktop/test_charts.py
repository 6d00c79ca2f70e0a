"""Charts: what they show, and what they give away."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QFontMetricsF, QGuiApplication, QImage, QPainter
from pytestqt.qtbot import QtBot

from app.desktop import theme
from app.desktop.charts import EXPORT_SCALE, Chart, number
from app.desktop.figure import Figure
from simcore.errors import InputError


@pytest.fixture
def chart(qtbot: QtBot) -> Chart:
    chart = Chart("Memory of the pool", "time", "blocks", x_unit="s")
    chart.resize(480, 320)
    qtbot.addWidget(chart)
    chart.show()
    return chart


def test_series_with_equal_x_share_a_table(chart: Chart) -> None:
    x = np.arange(3.0)
    chart.line("running").set(x, [1, 2, 3])
    chart.line("waiting").set(x, [4, 5, 6])
    chart.scatter("other").set([9], [8])
    assert chart.csv() == "time,running,waiting\n0.0,1.0,4.0\n1.0,2.0,5.0\n2.0,3.0,6.0\n\ntime,other\n9.0,8.0\n"


def test_every_kind_is_exported_in_every_format(chart: Chart, tmp_path: Path, qtbot: QtBot) -> None:
    other = Chart("Other", "policy", "hit rate")
    third = Chart("Heat", "key", "query")
    for each in (other, third):
        qtbot.addWidget(each)
        each.resize(400, 300)
    chart.stack(("stored", "free"), ("stored", "free")).set(np.arange(10), np.ones((2, 10)))
    chart.histogram("lengths").set([0, 1, 2], [5, 6])
    other.bars("lru").set(["a", "b"], [0.3, 0.4], [0.2, 0.3], [0.4, 0.5])
    third.heatmap("weight").set(np.eye(4))
    for each in (chart, other, third):
        for kind in ("png", "svg", "pdf", "csv"):
            each.save(tmp_path / f"{each.title}.{kind}")
        picture = QImage(str(tmp_path / f"{each.title}.png"))
        assert picture.size() == each.size() * EXPORT_SCALE
        assert (
            len({picture.pixel(x, y) for x in range(0, picture.width(), 7) for y in range(0, picture.height(), 7)}) > 3
        )
        svg = (tmp_path / f"{each.title}.svg").read_text()
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert each.title in svg
        assert (tmp_path / f"{each.title}.pdf").read_bytes().startswith(b"%PDF")
    assert "lru low" in other.csv()
    assert chart.csv().startswith("time,stored,free\n")
    assert third.csv().splitlines()[1:3] == ["0,0,1.0", "1,0,0.0"]


def test_bad_places_are_sentences(chart: Chart, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.gif"):
        chart.save(tmp_path / "a.gif")
    with pytest.raises(InputError, match="cannot be written"):
        chart.save(tmp_path / "no" / "a.png")


def test_copies_are_in_the_clipboard(chart: Chart) -> None:
    chart.line("a").set([0, 1], [2, 3])
    chart.copy_data()
    assert QGuiApplication.clipboard().text() == chart.csv()
    chart.copy_picture()
    assert QGuiApplication.clipboard().image().size() == chart.size() * EXPORT_SCALE


def test_lines_are_thinned_out_on_the_plot(chart: Chart, qtbot: QtBot) -> None:
    line = chart.line("a")
    line.set(np.arange(200_000), np.random.default_rng(0).random(200_000))
    qtbot.waitUntil(lambda: len(line.item.getData()[0]) < 20_000)
    assert line.item.opts["pen"].width() == 1


def test_a_stack_has_no_more_columns_than_pixels(chart: Chart) -> None:
    stack = chart.stack(("a", "b", "c"))
    stack.set(np.arange(100_000), np.ones((3, 100_000)))
    assert all(len(item.getData()[0]) <= 480 for item in stack.items)
    assert [item.getData()[1][0] for item in stack.items] == [1, 2, 3]


def test_what_is_never_negative_stands_on_zero(chart: Chart) -> None:
    line = chart.line("a")
    line.set([0, 1], [5, 6])
    assert chart.plot.getViewBox().state["limits"]["yLimits"][0] == 0
    line.set([0, 1], [-5, 6])
    assert chart.plot.getViewBox().state["limits"]["yLimits"][0] != 0


def test_ticks_have_thousands_apart_their_unit_and_zero(chart: Chart, qtbot: QtBot) -> None:
    axis = chart.axes["left"]
    assert axis.tickStrings([0.0, 5000.0, 10000.0], 1.0, 5000.0) == ["0", "5,000", "10,000"]
    assert axis.tickStrings([0.0, 0.5], 1.0, 0.5) == ["0.0", "0.5"]
    axis.suffix = " s"
    assert axis.tickStrings([5.0], 1.0, 5.0) == ["5 s"]
    chart.line("a", fill=True).set([0, 1], [0, 6000])
    qtbot.waitUntil(lambda: chart.plot.getViewBox().viewRange()[1][1] > 6000)
    painted = QImage(chart.size(), QImage.Format.Format_RGB32)
    painter = QPainter(painted)
    *_, texts = axis.generateDrawSpecs(painter)
    painter.end()
    assert texts[0][2] == "0 s"


def test_the_legend_has_the_signs_of_the_points(chart: Chart) -> None:
    for name in "abc":
        chart.scatter(name).set([1], [1])
    assert [swatch for *_, swatch, _ in chart.key.entries()] == ["o", "s", "t"]


def test_only_short_lines_are_thick(chart: Chart) -> None:
    line = chart.line("a")
    for count, width in ((5, 2), (5000, 1), (5, 2)):
        line.set(np.arange(count), np.arange(count))
        assert line.item.opts["pen"].width() == width


@pytest.mark.parametrize("width", [75, 300])
def test_a_number_is_never_cut(width: int, qtbot: QtBot) -> None:
    figure = Figure("Reserved", "What is kept.")
    qtbot.addWidget(figure)
    figure.tell("64.00 MiB", "1 x 2,048 tokens")
    figure.resize(width + 22, 60)
    figure.show()
    font = figure.value.shown_font()
    assert QFontMetricsF(font).horizontalAdvance(figure.value.text()) <= figure.value.width()
    assert "1 x 2,048 tokens" in figure.accessibleDescription()


def test_a_range_is_selected_and_moved(chart: Chart) -> None:
    chart.line("a").set([0, 10], [5, 6])
    told: list[object] = []
    chart.region_changed.connect(told.append)
    chart.select(2, 4)
    assert chart.region is not None
    chart.region.setRegion((3, 5))
    chart.unselect()
    assert told == [(2.0, 4.0), (3.0, 5.0), None]


def test_linked_charts_show_the_same_range(chart: Chart, qtbot: QtBot) -> None:
    other = Chart("Other", "time")
    qtbot.addWidget(other)
    other.resize(480, 320)
    other.show()
    chart.line("a").set([0, 100], [0, 1])
    other.line("b").set([0, 100], [0, 1])
    other.link_x(chart)
    chart.plot.setXRange(20, 30, padding=0)
    qtbot.waitUntil(lambda: abs(other.plot.getViewBox().viewRange()[0][0] - 20) < 1)


def test_the_readout_follows_the_mouse(chart: Chart, qtbot: QtBot) -> None:
    chart.line("running").set([0, 10], [5, 6])
    qtbot.waitUntil(lambda: chart.plot.getViewBox().viewRange()[0] == pytest.approx([0, 10], abs=0.1))
    center = chart.view.mapFromScene(chart.plot.getViewBox().sceneBoundingRect().center())
    qtbot.mouseMove(chart.view.viewport(), QPoint(center.x() - 4, center.y()))
    qtbot.mouseMove(chart.view.viewport(), center)
    qtbot.waitUntil(lambda: "running 5" in chart.readout.text())
    assert chart.readout.text().startswith("time ")


def test_colours_follow_the_theme(chart: Chart) -> None:
    line = chart.line("a")
    theme.themes.use("light")
    assert line.item.opts["pen"].color().name() == theme.LIGHT.series[0]
    theme.themes.use("dark")
    assert line.item.opts["pen"].color().name() == theme.DARK.series[0]


def test_lines_differ_in_more_than_colour(chart: Chart) -> None:
    styles = [chart.line(name).item.opts["pen"].style() for name in "abc"]
    assert styles == [Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine]


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (1234567.0, "1,234,567"), (0.123456, "0.1235"), (1234.56, "1,234.6"), (np.nan, "-")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_keys_do_what_the_mouse_does(chart: Chart, qtbot: QtBot) -> None:
    chart.line("a").set([0, 100], [0, 1])
    box = chart.plot.getViewBox()
    qtbot.waitUntil(lambda: box.viewRange()[0] == pytest.approx([0, 100], abs=1))
    qtbot.keyClicks(chart, "+")
    left, right = box.viewRange()[0]
    assert right - left == pytest.approx(80, rel=0.05)
    qtbot.keyClick(chart, Qt.Key.Key_Right)
    assert box.viewRange()[0][0] == pytest.approx(left + 8, rel=0.05)
    qtbot.keyClicks(chart, "-")
    assert box.viewRange()[0][1] - box.viewRange()[0][0] == pytest.approx(100, rel=0.05)
    qtbot.keyClicks(chart, "0")
    qtbot.waitUntil(lambda: box.viewRange()[0] == pytest.approx([0, 100], abs=1))


def test_a_chart_says_what_it_waits_for_and_exports_nothing_before(qtbot: QtBot) -> None:
    chart = Chart("Waiting", "x", "y", empty="Press the button.")
    qtbot.addWidget(chart)
    line = chart.line("a")
    chart.resize(400, 300)
    chart.show()
    menu = chart.button.menu()
    menu.aboutToShow.emit()
    assert chart.hint.isVisible()
    assert not any(action.isEnabled() for action in menu.actions())
    line.set([1, 2], [3, 4])
    menu.aboutToShow.emit()
    assert not chart.hint.isVisible()
    assert all(action.isEnabled() for action in menu.actions())


def test_points_and_ticks_of_axes_in_powers_of_ten(qtbot: QtBot) -> None:
    chart = Chart("Powers", "x", "y")
    qtbot.addWidget(chart)
    chart.logarithmic(x=True, y=True)
    points = chart.scatter("a")
    points.set([10, 1000], [1, 100])
    assert points.item.getData()[0] == pytest.approx([1, 3])
    assert "10.0,1.0" in chart.csv(), "what is exported is not the logarithm"
    axis = chart.plot.getAxis("bottom")
    ((_, ticks),) = axis.tickValues(1.0, 3.0, 400)
    assert axis.tickStrings(ticks, 1, 1) == ["10", "20", "50", "100", "200", "500", "1,000"]


def test_a_legend_without_room_takes_more_lines(qtbot: QtBot) -> None:
    chart = Chart("Narrow", "x", "y")
    qtbot.addWidget(chart)
    for place in range(6):
        chart.line(f"a rather long name {place}")
    chart.resize(300, 300)
    chart.show()
    assert chart.key.height() > 40
    chart.resize(1600, 300)
    assert chart.key.height() == 24
