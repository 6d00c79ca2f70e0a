"""The calculator: what a batch keeps of a model, in one piece or in pages, with the formula and the numbers put in."""

from typing import Any

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.actions import Action
from app.desktop.charts import Chart
from app.desktop.dialogs import complain
from app.desktop.figure import Figure
from app.desktop.fillgrid import FillGrid
from app.desktop.pages.base import Context, Page
from app.desktop.tasks import Task
from app.jobs.validation import SHIPPED, Begun, Seen, Verdict, Wanted, validate
from simcore.calculator import Question, blocks_held, calculate, hardware_of, model_of, reserved_bytes
from simcore.errors import InputError
from simcore.geometry import MIB, block_bytes, sequence_bytes
from simcore.scenario import Scenario
from simcore.scenario.model import Model
from simcore.scenario.presets import preset_names

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MAXIMA = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
BLOCK_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FORMATS = ("as the model has it", "float32", "float16", "bfloat16", "float8", "int4")
NO_GPU = "no GPU: 1,024 blocks"
FIRST_MODEL = "tinyllama-1.1b"
LIKE = (
    "tinyllama-1.1b", "gpt2", "llama-2-7b", "llama-3-8b", "mistral-7b", "qwen2.5-7b", "gpt-oss-20b", "deepseek-v3",
    "jamba-v0.1", "mamba-2.8b",
)  # fmt: skip
"""Models that are shown beside the chosen one, as far as there are presets."""
SETTLE_MS = 60
POINTS = 128
LIVE_TOKENS = 600
"""The small model's longest sequence here."""


class Slide(QWidget):
    """A named slider over some values, with the value beside it."""

    def __init__(self, name: str, values: tuple[int, ...] | None, start: int, unit: str = "", help: str = "") -> None:
        super().__init__()
        self.values = values
        self.unit = unit
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName(name)
        self.slider.setToolTip(help)
        self.shown = QLabel()
        self.shown.setAlignment(Qt.AlignmentFlag.AlignRight)
        label = QLabel(name)
        label.setProperty("role", "muted")
        label.setBuddy(self.slider)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.addWidget(label, 0, 0)
        grid.addWidget(self.shown, 0, 1)
        grid.addWidget(self.slider, 1, 0, 1, 2)
        if values is not None:
            self.slider.setRange(0, len(values) - 1)
            self.slider.setPageStep(1)
        self.put(start)
        self.slider.valueChanged.connect(self._tell)
        self._tell()

    @property
    def value(self) -> int:
        """What is chosen."""
        return self.values[self.slider.value()] if self.values is not None else self.slider.value()

    def put(self, value: int) -> None:
        """Choose a value, or the nearest one below."""
        if self.values is None:
            self.slider.setValue(value)
        else:
            self.slider.setValue(max(place for place, each in enumerate(self.values) if each <= value or place == 0))

    def _tell(self) -> None:
        unit = self.unit.removesuffix("s") if self.value == 1 else self.unit
        self.shown.setText(f"<b>{self.value:,}</b> {unit}".strip())


class Calculator(Page):
    """See the module."""

    id = "calculator"
    title = "Calculator"
    icon = "calculator"
    guide = "calculator.md"
    about = (
        "What a batch of sequences keeps in memory: reserved for its longest possible length, as before paging, or in "
        "pages as it grows. Move the sliders; every number is the formula below with these numbers put in."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.task: Task | None = None
        self.result: dict[str, Any] = {}
        self._columns: list[dict[str, np.ndarray[Any, Any]]] = []
        self._bytes = (1, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self.calculate)

        self.divide(self._controls(), self._answers(), 290)
        theme.themes.changed.connect(self.calculate)
        self.calculate()

    # What is asked

    def _controls(self) -> QWidget:
        inner = QWidget()
        box = QVBoxLayout(inner)
        box.setContentsMargins(0, 0, 6, 0)
        box.setSpacing(12)
        self.model = self._combo(box, "Model", preset_names("models"), FIRST_MODEL)
        self.format = self._combo(box, "Keys and values as", FORMATS, FORMATS[0])
        self.batch = Slide("Batch", BATCHES, 1, "sequences", "Sequences that are served at once")
        self.tokens = Slide("Tokens", None, 128, "each", "Tokens that each sequence has now, prompt and output")
        self.longest = Slide("Longest", MAXIMA, 2048, "tokens", "What is reserved for each sequence without pages")
        self.block = Slide("Block", BLOCK_SIZES, 16, "tokens", "Tokens in a block, or page")
        self.tokens.slider.setRange(1, self.longest.value)
        self.tokens.put(128)
        for slide in (self.batch, self.tokens, self.longest, self.block):
            box.addWidget(slide)
            slide.slider.valueChanged.connect(lambda _value: self._timer.start())
        self.longest.slider.valueChanged.connect(self._bound)
        self.hardware = self._combo(box, "Hardware", (NO_GPU, *preset_names("hardware")), NO_GPU)
        self.count = Slide("Devices", (1, 2, 4, 8), 1, "", "Devices that share the model, by tensor parallelism")
        self.count.slider.valueChanged.connect(lambda _value: self._timer.start())
        box.addWidget(self.count)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setProperty("role", "bad")
        self.problem.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        box.addWidget(self.problem)
        box.addStretch(1)
        self.send = QPushButton("Send to Live")
        self.send.setProperty("role", "primary")
        self.send.setToolTip("Serve this batch, all at once, in the simulator")
        self.send.clicked.connect(self.send_to_live)
        self.theory = QPushButton("Live against theory")
        self.theory.setToolTip("A small model generates; the bytes that it really holds follow the line of the formula")
        self.theory.clicked.connect(self.toggle)
        area = QScrollArea()
        area.setAccessibleName("What is asked")
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # its fields take the focus
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        for surface in (inner, area):
            surface.setStyleSheet("background: transparent;")
        card = self.card = QFrame()
        card.setProperty("role", "card")
        card.setMinimumWidth(270)
        column = QVBoxLayout(card)
        column.setContentsMargins(14, 12, 8, 14)
        column.setSpacing(10)
        column.addWidget(area, 1)
        buttons = QVBoxLayout()
        buttons.setContentsMargins(0, 0, 6, 0)
        buttons.addWidget(self.theory)
        buttons.addWidget(self.send)
        column.addLayout(buttons)
        return card

    def _combo(self, box: QVBoxLayout, name: str, values: tuple[str, ...] | list[str], start: str) -> QComboBox:
        label = QLabel(name)
        label.setProperty("role", "muted")
        combo = QComboBox()
        combo.addItems(list(values))
        combo.setCurrentText(start)
        combo.setAccessibleName(name)
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        label.setBuddy(combo)
        combo.currentIndexChanged.connect(lambda _index: self._timer.start())
        column = QVBoxLayout()
        column.setSpacing(3)
        column.addWidget(label)
        column.addWidget(combo)
        box.addLayout(column)
        return combo

    def _bound(self) -> None:
        self.tokens.slider.setRange(1, self.longest.value)
        self.tokens._tell()

    @property
    def question(self) -> Question:
        """What is asked of the chosen model."""
        name = self.hardware.currentText()
        hardware = None if name == NO_GPU else hardware_of(name, self.count.value)
        return Question(
            lengths=(self.tokens.value,) * self.batch.value,
            max_tokens=self.longest.value,
            block_size=self.block.value,
            blocks=None if hardware else self._blocks_without_gpu(),
            hardware=hardware,
        )

    def _blocks_without_gpu(self) -> int:
        """1,024, or more where the batch needs more."""
        used = self.batch.value * blocks_held(self._chosen(), self.tokens.value, self.block.value)
        return max(1024, 1 << (used - 1).bit_length())

    def _section(self, name: str | None = None) -> Any:
        dtype = self.format.currentText()
        return model_of(name or self.model.currentText(), kv_dtype=None if dtype == FORMATS[0] else dtype)

    def _chosen(self) -> Model:
        return self._section().resolve()  # type: ignore[no-any-return]

    # The answers

    def _answers(self) -> QWidget:
        names = ("Reserved", "In pages", "Saved", "Blocks", "Page waste", "Users held")
        self.figures = {name: Figure(name) for name in names}
        cards = QHBoxLayout()
        cards.setSpacing(10)
        for figure in self.figures.values():
            cards.addWidget(figure, 1)
        self.grid = FillGrid()
        self.grid_caption = QLabel()
        self.grid_caption.setProperty("role", "small")
        pages = QFrame()
        pages.setProperty("role", "card")
        pages.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        inside = QVBoxLayout(pages)
        inside.setContentsMargins(12, 8, 12, 10)
        inside.setSpacing(6)
        head = QHBoxLayout()
        title = QLabel("Pages of the pool")
        title.setProperty("role", "heading")
        head.addWidget(title)
        head.addStretch(1)
        head.addWidget(self.grid_caption)
        inside.addLayout(head)
        inside.addWidget(self.grid)
        self.formula = QLabel()
        self.formula.setTextFormat(Qt.TextFormat.RichText)
        self.formula.setWordWrap(True)
        self.formula.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QFrame()
        words.setProperty("role", "card")
        column = QVBoxLayout(words)
        column.setContentsMargins(12, 8, 12, 10)
        column.addWidget(self.formula)

        self.bar = Chart("Used and wasted", "", "MiB", about="What holds tokens, and what nobody can use.")
        self.used_bars = self.bar.bars("holds tokens", "saved")
        self.wasted_bars = self.bar.bars("wasted", "bad")
        self.curve = Chart("Saved, by length", "tokens", "saved (%)", about="Paging saves what never comes.")
        self.curve_line = self.curve.line("", "paged", fill=True)
        self.curve_here = self.curve.scatter("here", "text", size=9)
        self.variants = Chart("Shared heads", "", "MiB in pages", about="The same model with other attention.")
        self.variant_bars = self.variants.bars("", "paged")
        self.models = Chart("Model against model", "", "KiB a token", about="Keys and values of one token, all layers.")
        self.model_bars = self.models.bars("", "stored")
        self.fits = Chart(
            "Batch against what fits", "sequences", "GiB",
            about="Both axes in powers of ten; the pool's line needs a GPU.",
        )  # fmt: skip
        self.fits.logarithmic(x=True, y=True)
        self.fits_reserved = self.fits.line("reserved", "traditional")
        self.fits_paged = self.fits.line("in pages", "paged")
        self.fits_pool = self.fits.line("the pool", "bad")
        self.live = Chart(
            "Live against theory", "step", "MiB",
            about="Bytes of a real engine, and the formula's line.",
            empty="Press Live against theory: a small model generates such a batch, and its bytes are drawn here.",
            from_zero=True,
        )  # fmt: skip
        self.live.whole("bottom")
        self.live_held = self.live.line("engine: blocks", "paged", step=True, dash=False)
        self.live_stored = self.live.line("engine: tokens", "saved", step=True, dash=False)
        self.live_theory = self.live.line("formula", "text", step=True)
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Charts")
        self.tabs.tabBar().setAccessibleName("Charts")
        for name, chart in (
            ("Saved", self.curve),
            ("Heads", self.variants),
            ("Models", self.models),
            ("Batch", self.fits),
            ("Live", self.live),
        ):
            self.tabs.addTab(chart, name)
        for chart in (self.bar, self.curve, self.variants, self.models, self.fits, self.live):
            chart.view.setMinimumHeight(130)  # the pages above them are smaller first
        low = QHBoxLayout()
        low.setSpacing(10)
        low.addWidget(self.bar, 2)
        low.addWidget(self.tabs, 3)
        whole = QWidget()
        box = QVBoxLayout(whole)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(10)
        box.addLayout(cards)
        box.addWidget(pages)
        box.addWidget(words)
        box.addLayout(low, 1)
        return whole

    def calculate(self) -> None:
        """Everything anew, from what the sliders say."""
        self._timer.stop()
        try:
            question = self.question
            self.result = result = calculate(self._section(), question)
        except InputError as error:
            self.problem.setText(str(error))
            return
        served = result["hardware"]
        self.problem.setText(served["reason"] if served and served["reason"] else "")
        saved, batch = result["memory_saved_percent"], result["batch"]
        self.figures["Reserved"].tell(
            _mib(result["traditional_memory_mb"]), f"{batch:,} x {question.max_tokens:,} tokens"
        )
        self.figures["In pages"].tell(_mib(result["paged_memory_mb"]), f"{batch:,} x {self.tokens.value:,} tokens")
        self.figures["Saved"].tell(f"{saved:.2f}%", _mib(result["memory_saved_mb"]))
        used, blocks = result["blocks_used"], result["num_blocks"]
        self.figures["Blocks"].tell(f"{used:,}", f"of {blocks:,}: {result['utilization_percent']:.2f}%")
        waste = result["requests"][0]
        self.figures["Page waste"].tell(f"{waste['wasted_percent']:.1f}%", f"{waste['wasted_tokens']} tokens each")
        users = served["users"] if served else None
        self.figures["Users held"].tell(
            "-" if users is None else f"{users:,}",
            "choose a GPU" if served is None else f"{served['users_traditional'] or 0:,} if reserved",
        )
        self.grid.tell(used, blocks)
        self.grid_caption.setText(
            f"{used:,} used, {result['blocks_free']:,} free; {result['block_size']} tokens a block"
        )
        self.formula.setText(_formula(result, question.max_tokens, self.tokens.value))
        self._draw(question)

    def _draw(self, question: Question) -> None:
        result, model = self.result, self._chosen()
        needed = result["needed_memory_mb"]
        self.used_bars.set(("reserved", "in pages"), (needed, needed))
        self.wasted_bars.set(("reserved", "in pages"), (result["traditional_waste_mb"], result["paged_waste_mb"]))
        size, longest, batch = result["block_size"], question.max_tokens, result["batch"]
        lengths = np.unique(np.linspace(1, longest, POINTS).astype(int))
        block, reserved = block_bytes(model, size), reserved_bytes(model, longest)
        saved = [100 * (1 - blocks_held(model, int(tokens), size) * block / reserved) for tokens in lengths]
        self.curve_line.set(lengths, saved)
        self.curve_here.set([self.tokens.value], [result["memory_saved_percent"]])
        variants = result["attention_variants"]
        self.variant_bars.set(
            [f"{_variant(each)}{' ◂' if each['own'] else ''}" for each in variants],
            [each["paged_memory_mb"] for each in variants],
        )
        chosen = self.model.currentText()
        names = [name for name in dict.fromkeys((chosen, *LIKE)) if self.model.findText(name) >= 0]
        sizes = [sequence_bytes(self._section(name).resolve(), longest) / longest / 1024 for name in names]
        self.model_bars.set(names, sizes)
        served = result["hardware"]
        pool = served["pool_mb"] * served["count"] if served and served["fits"] else None
        most = max(2 * batch, 8)
        if pool is not None:
            most = max(most, min(int(1.2 * pool * MIB / max(result["paged_memory_mb"] * MIB / batch, 1)), 100_000))
        counts = np.unique(np.geomspace(1, most, 60).astype(int))
        self.fits_reserved.set(counts, counts * result["traditional_memory_mb"] / batch / 1024)
        self.fits_paged.set(counts, counts * result["paged_memory_mb"] / batch / 1024)
        self.fits_pool.set(
            counts if pool is not None else [], np.full(len(counts), pool / 1024) if pool is not None else []
        )

    # From here

    def actions_of(self) -> list[Action]:
        """Send it on."""
        return [
            Action(
                "run.send",
                "Send the batch to Live",
                self.send_to_live,
                (),
                "Serve it all at once.",
                "live",
            )
        ]

    def scenario(self) -> dict[str, Any]:
        """The batch as a scenario, as TOML has it: it arrives all at once. Raises InputError."""
        question, tokens, dtype = self.question, self.tokens.value, self.format.currentText()
        prompt = max(tokens // 2, 1)
        data: dict[str, Any] = {
            "name": "calculator",
            "model": {"preset": self.model.currentText()} | ({} if dtype == FORMATS[0] else {"kv_dtype": dtype}),
            "memory": {"block_size": self.result["block_size"], "blocks": self.result["num_blocks"] + 1},
            "scheduler": {"max_model_len": question.max_tokens, "max_num_seqs": max(self.batch.value, 8)},
            "workload": {
                "requests": self.batch.value,
                "arrivals": {"process": "all-at-once"},
                "prompt": {"distribution": "fixed", "tokens": prompt},
                "output": {"distribution": "fixed", "tokens": max(tokens - prompt, 1)},
            },
        }
        hardware = self.hardware.currentText()  # the simulator wants one for its step times
        data["hardware"] = {"preset": "h100" if hardware == NO_GPU else hardware, "count": self.count.value}
        return data

    def send_to_live(self) -> None:
        """Make it the scenario, as an edit that can be undone, and run it."""
        try:
            data = self.scenario()
        except InputError as error:
            complain(self, "This batch cannot be served", str(error))
            return
        self.context.document.replace(data, "send from the calculator")
        self.context.window.begin()

    def toggle(self) -> None:
        """Let a small model generate a batch like this one, or stop it."""
        if self.task is not None:
            self._over()
            return
        tokens = min(self.tokens.value, LIVE_TOKENS)
        prompt = max(tokens // 4, 1)
        batch = min(self.batch.value, 16)
        scenario = Scenario.model_validate(
            {
                "name": "live against theory",
                "hardware": {"preset": "h100"},
                "memory": {"block_size": min(self.block.value, 64), "blocks": 4096, "prefix_caching": False},
                "workload": {
                    "requests": batch,
                    "arrivals": {"process": "all-at-once"},
                    "prompt": {"distribution": "fixed", "tokens": prompt},
                    "output": {"distribution": "fixed", "tokens": max(tokens - prompt, 2)},
                },
            }
        )
        self._columns = []
        self.tabs.setCurrentWidget(self.live)
        self.theory.setText("Stop the engine")
        self.live.rename(f"Live against theory: {SHIPPED[0]}, {batch} x {tokens} tokens")
        self._shape = (batch, prompt, scenario.memory.block_size)
        self.task = self.context.tasks.start(validate, Wanted(scenario.to_toml(), times=False))
        self.task.progressed.connect(self._progress)
        self.task.done.connect(self._done)
        self.task.failed.connect(self._failed)

    def _progress(self, news: object) -> None:
        if isinstance(news, Begun):
            self._bytes = news.block_bytes, news.token_bytes
        elif isinstance(news, Seen):
            self._columns.append(news.columns)
            block, token = self._bytes
            columns = {name: np.concatenate([part[name] for part in self._columns]) for name in news.columns}
            step = columns["step"]
            self.live_held.set(step, columns["blocks"] * block / MIB)
            self.live_stored.set(step, columns["tokens"] * token / MIB)
            self.live_theory.set(step, self.predicted(columns["tokens"]) * block / MIB)

    def predicted(self, tokens: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """[steps] blocks of sequences of equal length that hold so many tokens together: the formula's ceiling."""
        batch, _, size = self._shape
        length = tokens / batch
        return batch * np.ceil(length / size)

    def _done(self, verdict: Verdict) -> None:
        self._over()
        words = "every check agrees" if verdict.ok else "something disagrees: see Validation"
        self.context.window.say(f"the engine is done; {words}")

    def _failed(self, sentence: str) -> None:
        self._over()
        complain(self, "The engine could not run it", sentence)

    def _over(self) -> None:
        self.close_down()
        self.theory.setText("Live against theory")

    def close_down(self) -> None:
        """End the engine."""
        if self.task is not None:
            self.task.cancel()
            self.task = None


def _mib(value: float) -> str:
    if value >= 10 * 1024:
        return f"{value / 1024:,.1f} GiB"
    if value >= 1024:
        return f"{value / 1024:,.2f} GiB"
    return f"{value:,.2f} MiB" if value < 100 else f"{value:,.0f} MiB"


def _variant(each: dict[str, Any]) -> str:
    heads = each["kv_heads"]
    return f"{each['attention']} {heads}" if heads > 1 and each["attention"] == "GQA" else str(each["attention"])


def _formula(result: dict[str, Any], longest: int, tokens: int) -> str:
    batch, layers, heads, width = (result[name] for name in ("batch", "layers", "kv_heads", "head_dim"))
    number_bytes = {"float32": "4", "float16": "2", "bfloat16": "2", "float8": "1", "int4": "0.5"}.get(
        result["kv_dtype"], "?"
    )
    muted = theme.current().muted
    if result["attention"] in ("MLA", "none") or result["state_bytes"]:
        return (
            f"A token takes <b>{result['token_bytes']:,} B</b> and a sequence's fixed state "
            f"<b>{result['state_bytes']:,} B</b>; reserved: {batch} x {longest:,} tokens; in pages: "
            f"{result['blocks_used']:,} blocks of {result['block_bytes']:,} B."
        )
    same = f"{layers} x 2 x <b>{{}}</b> x {heads} x {width} x {number_bytes} B"
    reserved = same.format(f"{longest:,}")
    paged = same.format(result["block_size"])
    grey = f"<span style='color:{muted}'>"
    return (
        f"{grey}reserved = batch x layers x 2 x longest x KV heads x head width x bytes</span><br>"
        f"{batch} x {reserved} = <b>{result['traditional_memory_mb']:,.2f} MiB</b><br>"
        f"{grey}in pages = batch x ⌈tokens / block⌉ x layers x 2 x block x KV heads x head width x bytes</span><br>"
        f"{batch} x ⌈{tokens:,} / {result['block_size']}⌉ x {paged} = "
        f"<b>{result['paged_memory_mb']:,.2f} MiB</b>"
    )
