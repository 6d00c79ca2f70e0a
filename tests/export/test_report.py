"""The report of a comparison: every number can be traced and repeated, and the page stands by itself."""

import csv
import json
import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

import app
from app.cli import main
from simcore import Comparison, InputError, Scenario, compare
from simcore.experiment import METRICS
from simcore.export.report import load, write
from simcore.export.report.folder import PICTURES

METRICS_SHOWN = ("ttft.p99", "hits.hit_share", "preemptions")
SMALL = ["workload.requests=40", "memory.blocks=400", "workload.arrivals.rate=4.0"]
COMMAND = "kvscope compare chat --vary memory.eviction=lru,fifo,random"
ALWAYS = {
    "report.html", "run.json", "experiment.toml", "scenario.toml", "results.parquet", "results.csv", "metrics.csv",
    "intervals.csv", "paired.csv", "pooled.csv", "samples.parquet", "latencies.parquet", "tables.md", "tables.tex",
}  # fmt: skip
MAGIC = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    scenario = Scenario.preset("chat", SMALL)
    return compare(scenario, {"memory.eviction": ["lru", "fifo", "random"]}, replications=3, jobs=1)


@pytest.fixture(scope="module")
def folder(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(comparison, tmp_path_factory.mktemp("report") / "out", command=COMMAND, metrics=METRICS_SHOWN)


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Document(HTMLParser):
    """Elements with their attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_what_is_there(folder: Path) -> None:
    found = files_in(folder)
    charts = {Path(name).stem for name in found if name.startswith("charts/")}
    scenarios = {f"scenarios/{name}.toml" for name in ("lru", "fifo", "random")}
    pictures = {f"charts/{name}.{ending}" for name in charts for ending in ("csv", *PICTURES)}
    assert found == ALWAYS | scenarios | pictures
    kinds = {name.partition("-")[0] for name in charts}
    assert kinds == {"bars", "paired", "pareto", "cdf", "waste", "blocks"}
    assert {"cdf-ttft", "cdf-tpot", "cdf-e2e", "bars-ttft-p99", "paired-ttft-p99"} <= charts
    for name in pictures:
        content = (folder / name).read_bytes()
        assert content.startswith(MAGIC.get(Path(name).suffix[1:], content[:1])), name
        assert len(content) > 40, name
    about = json.loads((folder / "run.json").read_bytes())
    assert set(about["files"]) == found
    assert about["command"] == COMMAND
    assert about["packages"]["numpy"] == np.__version__
    assert sum((folder / name).stat().st_size for name in found) < 8_000_000


def test_intervals_are_those_of_the_runs(folder: Path) -> None:
    """Computed again from results.csv alone, by SciPy."""
    runs, intervals = rows_of(folder / "results.csv"), rows_of(folder / "intervals.csv")
    for name in ("ttft.p99", "e2e.mean", "hits.hit_share", "memory.used_mean"):
        for label in ("lru", "fifo", "random"):
            values = [float(row[name]) for row in runs if row["label"] == label]
            (row,) = [row for row in intervals if (row["metric"], row["label"]) == (name, label)]
            low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            assert float(row["mean"]) == pytest.approx(np.mean(values))
            assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
            assert row["unit"] == next(metric.unit for metric in METRICS if metric.name == name)


def test_a_chart_shows_what_its_files_say(folder: Path) -> None:
    """From the CSV beside a chart to the table of intervals and of differences, and to the words in the picture."""
    for chart, table, column in (("bars", "intervals", "mean"), ("paired", "paired", "difference")):
        whole = {(row["metric"], row["label"]): row for row in rows_of(folder / f"{table}.csv")}
        beside = rows_of(folder / "charts" / f"{chart}-ttft-p99.csv")
        assert beside
        for row in beside:
            for name in (column, "low", "high"):
                assert float(row[name]) == pytest.approx(float(whole["ttft.p99", row["label"]][name]))
        svg = (folder / "charts" / f"{chart}-ttft-p99.svg").read_text(encoding="utf-8")
        assert all(f">{row['label']}</text>" in svg for row in beside)
    shares = rows_of(folder / "charts" / "waste.csv")
    assert len(shares) == 3
    for row in shares:
        assert sum(float(row[part]) for part in row if part != "label") == pytest.approx(1)


def test_distributions_are_those_of_the_requests(folder: Path, comparison: Comparison) -> None:
    for row in rows_of(folder / "charts" / "cdf-ttft.csv"):
        setting = next(each for each in comparison.experiment.settings if each.label == row["label"])
        known = comparison.samples.filter(setting=setting.index, metric="ttft")
        assert float(row["value_s"]) in known["value"].to_list()


def test_percentiles_are_those_of_all_requests(folder: Path, comparison: Comparison, html: str) -> None:
    """Runs of 40 requests are kept whole, so that their sketches are all there is."""
    rows = [row for row in rows_of(folder / "pooled.csv") if row["metric"] == "ttft.p99"]
    assert [row["label"] for row in rows] == ["lru", "fifo", "random"]
    for row in rows:
        own = comparison.latencies.filter(pl.col("metric") == "ttft", pl.col("setting") == int(row["setting"]))
        waits = own["values"].explode().to_numpy()
        assert int(row["n"]) == len(waits) > 100  # a warm-up is left out
        assert float(row["value"]) == pytest.approx(np.quantile(waits, 0.99), rel=1e-9)
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert {row["metric"] for row in rows_of(folder / "pooled.csv")} == {"ttft.p99"}, "of those shown"
    assert "Percentiles of all requests together" in html


def test_a_run_is_repeated_by_the_command_in_its_row(
    folder: Path, html: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = re.findall(r"<code>(kvscope simulate scenarios/[^<]+)</code>", html)
    assert len(commands) == 9
    row = rows_of(folder / "results.csv")[4]
    words = shlex.split(commands[4])
    assert words[2] == f"scenarios/{row['label']}.toml"
    monkeypatch.chdir(folder)
    assert main([*words[1:], "--out", str(tmp_path / "again"), "--json"]) == 0
    summary = json.loads((tmp_path / "again" / "summary.json").read_bytes())
    for name in ("ttft.p99", "e2e.mean", "memory.used_peak", "throughput.output_tokens_per_s"):
        group, _, leaf = name.partition(".")
        assert float(row[name]) == summary[group][leaf], name
    assert float(row["preemptions"]) == summary["preemptions"]


def test_the_warm_up_is_part_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario.preset("chat", SMALL)
    comparison = compare(scenario, {"memory.block_size": [8, 16]}, replications=2, warmup=2.0, jobs=1)
    place = write(comparison, tmp_path / "out", block_maps=False, metrics=METRICS_SHOWN[:1])
    html = (place / "report.html").read_text(encoding="utf-8")
    row = rows_of(place / "results.csv")[3]
    monkeypatch.chdir(place)
    words = shlex.split(re.findall(r"<code>(kvscope simulate scenarios/[^<]+)</code>", html)[3])
    assert main([*words[1:], "--out", str(tmp_path / "again"), "--json"]) == 0
    summary = json.loads((tmp_path / "again" / "summary.json").read_bytes())
    assert float(row["warmup"]) == 2.0
    assert float(row["ttft.mean"]) == summary["ttft"]["mean"]


def test_it_comes_back(folder: Path, comparison: Comparison) -> None:
    again = load(folder)
    assert_frame_equal(again.runs, comparison.runs)
    assert_frame_equal(again.samples, comparison.samples)
    for metric in comparison.metrics():
        assert_frame_equal(again.paired(metric), comparison.paired(metric))
        assert_frame_equal(again.intervals(metric), comparison.intervals(metric))
    assert_frame_equal(again.pooled("ttft.p99"), comparison.pooled("ttft.p99"))
    assert again.experiment.scenario == comparison.experiment.scenario
    assert [run.key for run in again.experiment.runs()] == [run.key for run in comparison.experiment.runs()]
    assert Comparison.load(folder).metrics() == comparison.metrics()


def test_a_report_is_made_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same to the last byte, but for the list of files: when and where the runs were made stays."""
    assert main(["report", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out == f"report in {tmp_path / 'again' / 'report.html'}\n"
    assert files_in(tmp_path / "again") == files_in(folder)
    for name in files_in(folder):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_page_stands_by_itself(html: str, folder: Path) -> None:
    page = Document(html)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/png;base64,")) or (folder / target).is_file(), target
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', html))
    assert used <= set(ids)
    assert len(html) < 3_000_000


def test_the_page_is_for_all_eyes(html: str) -> None:
    """Each chart is told in words and as a table, and follows the theme."""
    page = Document(html)
    figures, pictures = page.all("figure"), [each for each in page.all("svg") if each.get("role") == "img"]
    assert len(figures) == len(pictures) == html.count("<summary>Table of figure") == 13
    assert all(len(each["aria-label"] or "") > 30 for each in pictures)
    assert page.all("html")[0]["lang"] == "en"
    assert "prefers-color-scheme:dark" in html
    assert "@media print" in html
    inside = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", inside)) <= {"#414487", "#21918c", "#fde725"}
    assert {"var(--ink)", "var(--c0)", "var(--c1)"} <= set(re.findall(r"var\(--\w+\)", inside))
    assert all(each.get("scope") == "col" for each in page.all("th"))


def test_the_page_says_how_it_was_done(html: str, comparison: Comparison) -> None:
    text = " ".join(Document(html).words)
    for words in ("What changes on", "llama-3-8b", "Student's t", "Holm", COMMAND, "kvscope report .", "roofline"):
        assert words in text, words
    for seed in comparison.runs["seed"].unique().to_list():
        assert str(seed) in text


def test_verdicts_are_those_of_the_comparison(html: str, comparison: Comparison) -> None:
    """The sentences of one metric, against the table they are made from."""
    (item,) = re.findall(r"<li><p><code>hits.hit_share</code>.*?</li>", html, re.DOTALL)
    words = {"lower": "worse", "higher": "better", "same": "the same"}
    for row in comparison.paired("hits.hit_share").iter_rows(named=True):
        tag = words.get(row["verdict"], row["verdict"])
        (line,) = [part for part in item.split("</p>") if f">{tag}<" in part]
        assert row["label"] in line


def test_tables_for_a_paper(folder: Path) -> None:
    markdown, tex = (folder / "tables.md").read_text("utf-8"), (folder / "tables.tex").read_text("utf-8")
    lines = [line for line in markdown.splitlines() if line.startswith("| ttft.p99 (s)")]
    assert len(lines) == 1
    assert lines[0].count("±") == 3
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == tex.count(r"\toprule") == 2
    body = [line for line in tex.splitlines() if line.endswith(r"\\") and "&" in line]
    assert {line.count(" & ") for line in body} == {3, 5}
    assert r"hits.hit\_share" in tex
    assert not re.search(r"(?<!\\)[_%#]", tex.replace("% needs", "").replace("tab:", ""))


def test_one_setting_alone(tmp_path: Path) -> None:
    """Nothing to compare, and one replication: no intervals, no verdicts, and no failure."""
    place = write(
        compare(Scenario.preset("chat", SMALL), replications=1, jobs=1), tmp_path / "out", metrics=METRICS_SHOWN
    )
    text = " ".join(Document((place / "report.html").read_text(encoding="utf-8")).words)
    assert "One replication: there are no intervals" in text
    assert not list(place.glob("charts/paired-*"))
    assert len(load(place).runs) == 1


def test_runs_that_fail_are_told(tmp_path: Path) -> None:
    scenario = Scenario.preset("chat", [*SMALL, "scheduler.never_fits=wait"])
    comparison = compare(scenario, {"memory.blocks": [400, 20]}, replications=2, jobs=1)
    assert set(comparison.runs["status"].to_list()) == {"done", "stalled"}
    place = write(comparison, tmp_path / "out", metrics=METRICS_SHOWN[:1])
    text = " ".join(Document((place / "report.html").read_text(encoding="utf-8")).words)
    assert "2 of 4 runs could not end and are left out: 20: it could not go on" in text


def test_a_trace_that_is_gone(tmp_path: Path) -> None:
    """The report is made again all the same, but for what has to be played."""
    trace = tmp_path / "trace.jsonl"
    requests = [{"id": str(i), "arrival": i / 10, "prompt_len": 40, "output_len": 5} for i in range(20)]
    trace.write_text("".join(f"{json.dumps(request)}\n" for request in requests), encoding="utf-8")
    scenario = Scenario.preset("default", [f"workload.trace={json.dumps(str(trace))}"])
    place = write(compare(scenario, {"memory.blocks": [50, 60]}, 2, jobs=1), tmp_path / "out", metrics=["e2e.mean"])
    assert (place / "charts" / "blocks.csv").exists()
    trace.unlink()
    assert main(["report", str(place)]) == 0
    assert not (place / "charts" / "blocks.csv").exists()
    text = " ".join(Document((place / "report.html").read_text(encoding="utf-8")).words)
    assert "Cannot be shown" in text
    assert "trace.jsonl" in text


def test_the_command_line_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that was typed; and the folder repeats itself."""
    words = ["compare", "default", "--set", "workload.requests=5", "--vary", "memory.blocks=50,60", "--replications"]
    words += ["2", "--metric", "e2e.mean", "--no-store", "--jobs", "1", "--out", "out"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kvscope", *words])
    assert main(words) == 0
    assert "report in out/report.html" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["command"] == shlex.join(["kvscope", *words])
    again = ["sweep", "out/experiment.toml", "--no-store", "--jobs", "1", "--out", "again", "--metric", "e2e.mean"]
    assert main(again) == 0
    for name in ("results.csv", "intervals.csv", "paired.csv", "charts/bars-e2e-mean.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_a_rate_gives_curves(tmp_path: Path) -> None:
    factors = {"workload.arrivals.rate": [1.0, 2.0, 4.0], "memory.eviction": ["lru", "fifo"]}
    place = write(
        compare(Scenario.preset("chat", SMALL), factors, 2, jobs=1),
        tmp_path / "out",
        block_maps=False,
        metrics=METRICS_SHOWN[:1],
    )
    rows = rows_of(place / "charts" / "curve-goodput-requests_per_s-workload-arrivals-rate.csv")
    assert [(row["line"], float(row["workload.arrivals.rate"])) for row in rows] == [
        (line, rate) for line in ("lru", "fifo") for rate in (1.0, 2.0, 4.0)
    ]
    known = pl.read_csv(place / "intervals.csv").filter(metric="goodput.requests_per_s")["mean"].to_list()
    assert sorted(float(row["goodput.requests_per_s"]) for row in rows) == pytest.approx(sorted(known))


@pytest.mark.parametrize(
    "name", ["experiment.toml", "scenario.toml", "results.parquet", "samples.parquet", "latencies.parquet"]
)
def test_files_that_are_missing(name: str, folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    (copy / name).unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        load(copy)
    if name.endswith(".parquet"):
        (copy / name).write_bytes(b"PAR1 broken")
        with pytest.raises(InputError, match=f"{re.escape(name)}: is no Parquet file"):
            load(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (pl.col("label").str.replace("fifo", "lfu"), "has a setting 'lfu', which experiment.toml does not have"),
        (pl.col("seed").alias("sead"), "has no column seed, so its runs are not those of experiment.toml"),
        (pl.col("ttft.p99").alias("x"), "has no column ttft.p99: it was written by another version"),
    ],
)
def test_results_of_something_else(change: pl.Expr, sentence: str, folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    runs = pl.read_parquet(copy / "results.parquet")
    name = change.meta.output_name()
    changed = runs.with_columns(change) if name in runs.columns else runs.rename({change.meta.root_names()[0]: name})
    changed.write_parquet(copy / "results.parquet")
    with pytest.raises(InputError, match=re.escape(sentence)):
        load(copy)


def copy_of(folder: Path, place: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, place / "copy", ignore=shutil.ignore_patterns("charts")))


POLICY = '''"""A policy of one's own."""

from dataclasses import dataclass

from simcore.policies.eviction.lru import LRU


@dataclass
class Mine(LRU):
    """Evict as I like."""

    name = "mine-for-a-report"
'''


def test_a_policy_of_ones_own_goes_with_the_report(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(POLICY, encoding="utf-8")
    out = tmp_path / "out"
    words = ["compare", "chat", *(word for each in SMALL for word in ("--set", each)), "--replications", "2"]
    words += ["--vary", "memory.eviction=lru,mine-for-a-report", "--policy", str(file), "--jobs", "1", "--no-store"]
    assert main([*words, "--out", str(out)]) == 0
    file.unlink()  # the folder has its own
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "Evict as I like." in html
    row = next(row for row in rows_of(out / "results.csv") if row["label"] == "mine-for-a-report")
    (command,) = re.findall(rf"<code>(kvscope simulate scenarios/mine[^<]*--set seed={row['seed']} [^<]*)</code>", html)
    assert "kvscope report . --policy policies/mine.py" in html
    summary = json.loads(
        in_another_process(*shlex.split(unescape(command))[1:], "--json", "--out", "../again", folder=out)
    )
    assert summary["ttft"]["p99"] == float(row["ttft.p99"])
    in_another_process("report", ".", "--policy", "policies/mine.py", "--no-blocks", folder=out)
    assert (out / "policies" / "mine.py").read_text(encoding="utf-8") == POLICY


def in_another_process(*words: str, folder: Path) -> str:
    """What the command line prints; a process cannot have two files of one policy."""
    command = [sys.executable, str(Path(app.__file__).parents[1] / "main.py"), *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
