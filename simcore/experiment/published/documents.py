"""Figures of documents on paged attention that geometry, or a sequence on an empty server, can give.

The documents are the project's first sources. Where one contradicts itself, both readings are rows, and the one that
is wrong decides nothing.
"""

from collections.abc import Callable

from simcore.experiment.published.rows import Row
from simcore.geometry import MIB, attention_workspace, block_bytes, sequence_bytes, token_bytes
from simcore.scenario import Scenario
from simcore.scenario.hardware import HardwareSection
from simcore.scenario.model import DTYPE_BYTES, Model, ModelSection
from simcore.simulation import simulate

TINY_LLAMA = {"preset": "tinyllama-1.1b", "dtype": "float16"}


class Document:
    """The rows of one document."""

    runs = (None,)

    def __init__(self, title: str, rows: Callable[[], list[Row]]) -> None:
        self.title = title
        self._rows = rows

    def play(self, jobs: int, done: Callable[[], None]) -> list[Row]:
        """See `ServingTable.play`."""
        rows = self._rows()
        done()
        return rows


def _exact(
    name: str, published: float, ours: float, unit: str, *assumptions: str, half: float = 0.0, shown: bool = False
) -> Row:
    """A row of what can be computed; `half`: half of the last digit that was printed."""
    return Row(name, published, ours, None if shown else half, unit, assumptions=assumptions)


def held(allocator: str | dict[str, str], block_size: int, prompt: int, longest: int) -> tuple[int, int]:
    """Blocks that one sequence of TinyLlama takes on an empty server with room for 16,384 tokens, and their bytes."""
    scenario = Scenario.model_validate(
        {
            "model": TINY_LLAMA,
            "memory": {
                "blocks": 16_384 // block_size + 1,
                "block_size": block_size,
                "allocator": allocator,
                "prefix_caching": False,
            },
            "scheduler": {"max_model_len": longest},
            "timing": {"model": "constant"},
            "workload": {
                "requests": 1,
                "prompt": {"distribution": "fixed", "tokens": prompt},
                "output": {"distribution": "fixed", "tokens": 1},
            },
        }
    )
    used: int = simulate(scenario).summary["memory"]["used_peak"]
    return used, used * block_bytes(scenario.model.resolve(), block_size)


def helix() -> list[Row]:
    """TinyLlama's cache of 128 tokens: allocated for the longest sequence, and in blocks of 16."""
    blocks, paged = held("paged", 16, 128, 2048)
    contiguous = {"policy": "contiguous", "reserve": "max"}
    short, long = (held(contiguous, 1, 128, longest)[1] for longest in (1024, 2048))
    formula = 22 * 2 * 2048 * 4 * 64 * 2 / MIB
    units = "its MB are MiB: bytes over 1,048,576"
    slip = (
        "the document says 2,048 tokens, but its own formula gives 44.00 for them, and so 93.75 % saved; "
        "22.00 and 87.5 % are those of 1,024"
    )
    return [
        _exact("blocks of 16 for 128 tokens", 8, blocks, "blocks"),
        _exact("paged", 2.75, paged / MIB, "MiB", units),
        _exact("share of 1,024 blocks in use", 0.008, blocks / 1024, "share", half=0.0005),
        _exact("allocated for 1,024 tokens", 22.0, short / MIB, "MiB", units),
        _exact("saved, of 1,024 tokens", 19.25, (short - paged) / MIB, "MiB", units),
        _exact("share saved, of 1,024 tokens", 0.875, 1 - paged / short, "share"),
        _exact("allocated for 2,048 tokens, by the document's formula", formula, long / MIB, "MiB", units),
        _exact("share saved, of 2,048 tokens, by it", 1 - 2.75 / formula, 1 - paged / long, "share"),
        _exact("allocated for 2,048 tokens, as printed", 22.0, long / MIB, "MiB", units, slip, shown=True),
        _exact("share saved, of 2,048 tokens, as printed", 0.875, 1 - paged / long, "share", slip, shown=True),
    ]


def lecture() -> list[Row]:
    """What grouped, multi-query and state-space layers keep, and how a cache grows."""

    def model(layers: int = 8, kv_heads: int = 8) -> Model:
        numbers = {"layers": layers, "query_heads": 8, "kv_heads": kv_heads, "head_dim": 64, "dtype": "float16"}
        return ModelSection.model_validate(numbers).resolve()

    def cache(tokens: int, layers: int = 8) -> int:
        return sequence_bytes(model(layers), tokens)

    mamba = ModelSection(preset="mamba-2.8b").resolve()
    full = token_bytes(model())
    slip = (
        "it says that the cache shrinks by the size of a group, and calls that 4 with 4 groups; 8 heads in 4 groups "
        "are groups of 2, so it is 2"
    )
    heads = "8 query heads of 64, as in its picture; the ratio hangs on the number of heads alone"
    return [
        _exact("cache of twice the tokens", 2, cache(2048) / cache(1024), "times", "the document: O(NL)"),
        _exact("cache of twice the layers", 2, cache(1024, 16) / cache(1024), "times", "the document: O(NL)"),
        _exact("8 heads in 4 groups, by the size of a group", 2, full / token_bytes(model(kv_heads=4)), "times", heads),
        _exact("8 heads in 4 groups, as printed", 4, full / token_bytes(model(kv_heads=4)), "times", slip, shown=True),
        _exact("8 heads, multi-query", 8, full / token_bytes(model(kv_heads=1)), "times", heads),
        _exact(
            "state-space model, state after 100,000 tokens over that after 1",
            1,
            sequence_bytes(mamba, 100_000) / sequence_bytes(mamba, 1),
            "times",
            "Mamba 2.8B stands for state-space models",
        ),
    ]


def benchmark() -> list[Row]:
    """Standard attention's tensors of 8 sequences of 8,192 tokens, one head of 16, and what a GPU has room for."""
    room = HardwareSection(preset="gtx-1080").resolve().memory

    def tensor(tokens: int) -> int:
        """Queries, keys, values or outputs."""
        return 8 * tokens * 16 * DTYPE_BYTES["float32"]

    def square(tokens: int) -> int:
        return attention_workspace(8, 1, tokens, tokens, "float32")

    def forward(tokens: int) -> int:
        return 4 * tensor(tokens) + 2 * square(tokens)

    tokens = 8192
    longest = max(n for n in (256, 1024, 4096, 8192, 16_384) if 2 * forward(n) <= room)
    units = "float32; its MB are MiB: bytes over 1,048,576"
    twice = "forward and backward take twice what forward takes, as the document counts"
    return [
        _exact("queries, keys and values", 12, 3 * tensor(tokens) / MIB, "MiB", units),
        _exact("attention scores", 2048, square(tokens) / MIB, "MiB", units),
        _exact("attention weights", 2048, square(tokens) / MIB, "MiB", units),
        _exact("output", 4, tensor(tokens) / MIB, "MiB", units),
        _exact("total of forward", 4112, forward(tokens) / MIB, "MiB", units),
        _exact("quadratic part", 4096, 2 * square(tokens) / MIB, "MiB", units),
        _exact("linear part", 16, 4 * tensor(tokens) / MIB, "MiB", units),
        _exact("forward and backward", 8224, 2 * forward(tokens) / MIB, "MiB", units, twice),
        _exact("longest that fits on a GTX 1080", 4096, longest, "tokens", twice, "of those that it measures"),
    ]
