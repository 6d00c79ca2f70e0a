"""What reports are built from: numbers, sentences, tables, and places on a disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from simcore import Comparison, InputError, Scenario, compare
from simcore.experiment import Metric
from simcore.export.folder import OutputFolder
from simcore.export.report import write
from simcore.export.report.charts import bars, file_name, forest
from simcore.export.report.numbers import MINUS, NONE, probability, share, short, signed, span, within
from simcore.export.report.page import Cell, Page, number, table
from simcore.export.report.tables import latex, markdown, tex
from simcore.export.report.verdicts import best_of, in_all, kind_of, verdict

TTFT = Metric("ttft.p99", "s", "99th percentile of the time to the first token.", "lower")
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (short(None), NONE), (short(float("nan")), NONE), (short(0), "0"), (short(1234567), "1,234,567"),
        (short(12.3456), "12.35"), (short(0.00123456), "0.001235"), (short(1.5e-7), "1.5e-07"),
        (within(1.23456, 1.2, 1.26912), "1.235 ± 0.035"), (within(1234.5, 1000, 1469), "1,234 ± 234"),
        (within(0.5, None, None), "0.5000"), (within(2.0, 2.0, 2.0), "2"), (within(None, None, None), NONE),
        (span(-0.1234, 0.0456), f"{MINUS}0.123 to +0.046"), (span(None, None), NONE),
        (signed(-0.1234, -0.2, -0.05), f"{MINUS}0.123"), (signed(0.001, -1.0, 1.0), "+0.001"),
        (signed(0.0, 0.0, 0.0), "0"), (signed(3.0), "+3"), (signed(None), NONE),
        (share(0.1234), "+12.3%"), (share(-0.5), f"{MINUS}50.0%"), (share(-1e-9), "0.0%"),
        (share(-0.00003), f"{MINUS}0.003%"), (share(float("inf")), NONE),
        (probability(0.0004), "< 0.001"), (probability(0.0312), "0.031"), (probability(None), NONE),
    ],
)  # fmt: skip
def test_numbers(said: str, wanted: str) -> None:
    assert said == wanted


def means(*values: tuple[str, float | None]) -> pl.DataFrame:
    rows = [(place, name, 3, m, 0.1, m and m - 0.1, m and m + 0.1, True) for place, (name, m) in enumerate(values)]
    return pl.DataFrame(rows, ["setting", "label", "n", "mean", "sd", "low", "high", "steady"], orient="row")


def differences(*rows: tuple[str, float, str, int | None]) -> pl.DataFrame:
    names = [
        "setting",
        "label",
        "baseline_label",
        "n",
        "difference",
        "low",
        "high",
        "p",
        "p_adjusted",
        "verdict",
        "needed",
    ]
    cells = [
        (place + 1, label, "lru", 3, amount, amount - 0.1, amount + 0.1, 0.01, 0.02, said, needed)
        for place, (label, amount, said, needed) in enumerate(rows)
    ]
    return pl.DataFrame(cells, names, orient="row")


def test_verdicts_in_words() -> None:
    intervals = means(("lru", 2.0), ("arc", 1.5), ("<b>", 2.5), ("fifo", 2.1), ("mru", 2.0))
    paired = differences(
        ("arc", -0.5, "lower", None), ("<b>", 0.5, "higher", None), ("fifo", 0.1, "too few replications to tell", 47),
        ("mru", 0.0, "same", None),
    )  # fmt: skip
    html = verdict(TTFT, intervals, paired)
    assert "Lowest on average: <b>arc</b>, 1.50 ± 0.10 s" in html
    assert f"better</span> than lru: <b>arc</b> by 0.50 ± 0.10 s ({MINUS}25.0%)" in html
    assert "worse</span> than lru: <b>&lt;b&gt;</b> by 0.50 ± 0.10 s (+25.0%)" in html
    assert "too few replications to tell</span> from lru: fifo (about 47 would do)" in html
    assert "the same</span> as lru in every replication: mru" in html
    assert in_all([TTFT], {"ttft.p99": paired}).startswith('<b>arc</b> <span class="good">better in 1</span>; <b>&lt;b')


def test_several_baselines_and_settings_without_runs() -> None:
    paired = differences(("fifo, 60", 0.5, "higher", None), ("arc, 60", 0.1, "too few replications to tell", 47))
    assert "from lru in s" in forest(TTFT, paired, 0.95, None).alt
    several = paired.with_columns(baseline_label=pl.Series(["lru, 60", "lru, 200"]))
    assert "from its baseline in s" in forest(TTFT, several, 0.95, None).alt
    none = pl.Series([3, 0])
    html = verdict(TTFT, means(("lru, 60", 2.0), ("fifo, 60", 2.5)), several.with_columns(n=none))
    assert "no runs to compare</span> with its baseline: arc, 60." in html
    assert "too few" not in html
    assert "arc" not in in_all([TTFT], {"ttft.p99": several.with_columns(n=none)})


def test_better_depends_on_the_metric() -> None:
    more = Metric("goodput.share", "1", "", "higher")
    neither = Metric("evictions", "blocks", "", None)
    assert [kind_of(metric, "lower") for metric in (TTFT, more, neither)] == ["good", "bad", "other"]
    assert [kind_of(metric, "higher") for metric in (TTFT, more, neither)] == ["bad", "good", "other"]
    assert kind_of(TTFT, "same") == "same"
    assert kind_of(TTFT, "too few replications to tell") == "unsure"
    values = means(("a", 1.0), ("b", 3.0), ("c", 3.0), ("d", None))
    assert [best_of(metric, values) for metric in (TTFT, more, neither)] == [{0}, {1, 2}, set()]
    assert best_of(TTFT, means(("a", 1.0), ("b", 1.0))) == set()


def test_words_of_others_stay_words() -> None:
    """Labels come from files: nothing in them becomes a part of the page, or of a chart's file name."""
    evil = '<script>alert("1")</script>'
    page = Page(evil, meta="")
    page.add(table([evil], [[Cell(evil)], [number(1.0)]], caption=evil))
    page.text(evil)
    page.section("x", evil)
    assert "<script>alert" not in page.html()
    assert file_name("../../etc/passwd") == "etc-passwd"
    assert file_name("…") == "x"
    chart = bars(TTFT, means((evil, 1.0), ("$x_1$ & %", 2.0)), 0, 0.95)
    assert chart.rows[0][0] == evil


def test_the_same_figure_gives_the_same_bytes() -> None:
    from simcore.export.charts import picture

    first, second = (bars(TTFT, means(("a", 1.0), ("b", 2.0)), 0, 0.95) for _ in range(2))
    for kind in ("svg", "png", "pdf"):
        assert picture(first.figure, kind, "x") == picture(second.figure, kind, "x"), kind


def test_tables_escape() -> None:
    assert tex(r"50% of a_b & {c} ~^\ #$ 1 ± 2") == (
        r"50\% of a\_b \& \{c\} \textasciitilde{}\textasciicircum{}\textbackslash{} \#\$ 1 $\pm$ 2"
    )
    assert latex("c", "l", ["a", "b"], [["x", "1"]]).count("&") == 2
    assert "| a\\|b |" in markdown("c", ["x"], [["a|b"]])
    heads = ["metric", "difference", "verdict"]
    assert "|---|---:|---|" in markdown("c", heads, [])
    assert r"\begin{tabular}{lrl}" in latex("c", "l", heads, [])


def test_bars_begin_at_0() -> None:
    """A count may have an interval that reaches below, and is not below for that."""
    few = means(("lru", 0.75)).with_columns(low=pl.lit(-1.6), high=pl.lit(3.1))
    assert bars(TTFT, few, 0, 0.95).figure.axes[0].get_xlim()[0] == 0


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(Scenario.preset("default", ["workload.requests=5"]), {"memory.blocks": [50, 60]}, 2, jobs=1)


def quickly(comparison: Comparison, place: Path, *, force: bool = False) -> Path:
    return write(comparison, place, force=force, block_maps=False, metrics=["e2e.mean"])


def test_a_folder_that_is_in_use(comparison: Comparison, tmp_path: Path) -> None:
    """Others' files stay, with force as without; those of an earlier report go with it."""
    place = quickly(comparison, tmp_path / "out")
    (place / "notes.txt").write_text("mine")
    with pytest.raises(
        InputError, match="is not empty; choose another folder, or replace the results in it with --force"
    ):
        quickly(comparison, place)
    (place / "charts" / "old.csv").write_text("of the report")
    (place / "charts" / "own.csv").write_text("mine")
    about = json.loads((place / "run.json").read_bytes())
    (tmp_path / "outside").write_text("mine")
    about["files"] += ["charts/old.csv", "../outside", str(tmp_path / "outside"), 3]
    (place / "run.json").write_text(json.dumps(about))
    assert quickly(comparison, place, force=True) == place
    assert (place / "notes.txt").read_text() == (place / "charts" / "own.csv").read_text() == "mine"
    assert (tmp_path / "outside").read_text() == "mine"
    assert not (place / "charts" / "old.csv").exists()
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == {*json.loads((place / "run.json").read_bytes())["files"], "notes.txt", "charts/own.csv"}


def test_places_that_cannot_be(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is no folder, and results need one there"):
        quickly(comparison, tmp_path / "file")
    (tmp_path / "in-use" / "charts").mkdir(parents=True)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "charts").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        quickly(comparison, tmp_path / "blocked", force=True)
    assert (tmp_path / "blocked" / "charts").read_text() == "mine"
    assert not (tmp_path / "blocked" / "run.json").exists(), "it does not pass for a whole one"


@posix_only
@pytest.mark.parametrize("limit", [100, 20_000])
def test_the_disk_is_full(limit: int, tmp_path: Path) -> None:
    """A file must not grow beyond so many bytes: nothing is left, and one sentence says why."""
    program = (
        "import resource, sys\nfrom simcore import InputError, Scenario, compare\n"
        "from simcore.export.report import write\n"
        "made = compare(Scenario.preset('default', ['workload.requests=5']), {'memory.blocks': [50, 60]}, 2, jobs=1)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n    write(made, sys.argv[1], block_maps=False, metrics=['e2e.mean'])\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "out"], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.stdout == f"{tmp_path / 'out'}: cannot be written: file too large\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_may_lie_in_folders(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with OutputFolder(tmp_path / "out", "x", ("below/a.txt", "last.txt"), force=True) as folder:
            with folder.filled() as place:
                (place / "below").mkdir()
                (place / "below" / "a.txt").write_text(text)
                (place / "last.txt").write_text(text)
            assert folder.publish() == tmp_path / "out"
        assert (tmp_path / "out" / "below" / "a.txt").read_text() == text
