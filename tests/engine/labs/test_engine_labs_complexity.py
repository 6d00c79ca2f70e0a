"""A lecture's table: each of its symbols against what a small transformer is measured to take."""

import json
from collections.abc import Sequence

import pytest
import torch

from app.cli import main
from engine.labs import complexity as lab
from engine.labs.complexity import HIDDEN, RANGES, TABLE, VOCAB, Axis, Complexity, Fit, Way, complexity, run

CPU = torch.device("cpu")
FEW: dict[Way, dict[Axis, tuple[int, Sequence[int]]]] = {
    "training": {"N": (2, (64, 128, 256)), "L": (32, (4, 16, 36))},
    "checkpointing": {"N": (2, (64, 128, 256)), "L": (32, (4, 16, 36))},
    "generation": {"N": (2, (8, 16, 32)), "L": (8, (2, 4, 8))},
    "paged": {"N": (2, (32, 64, 128)), "L": (16, (2, 4, 8))},
}


@pytest.fixture(scope="module")
def few() -> Complexity:
    return complexity(FEW, repeats=1)


def test_a_line_through_logarithms() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    cubic = Fit.of(x, [5 * each**3 for each in x])
    assert (cubic.exponent, cubic.error, cubic.last) == pytest.approx((3, 0, 3))
    mixed = Fit.of(x, [each + each**2 for each in x])
    assert 1 < mixed.exponent < mixed.last < 2
    assert mixed.error > 0
    assert Fit.of([1, 2], [3, 3]) == Fit(pytest.approx(0), 0.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("tokens", "layers"), [(40, 3), (16, 4)])
def test_operations_are_those_of_the_formula(tokens: int, layers: int) -> None:
    """A layer's weights have 12 d² elements; attention multiplies all pairs, twice forward and five times backward."""
    weights, pairs = 2 * 12 * HIDDEN**2 * layers, 2 * HIDDEN * layers
    head = 2 * HIDDEN * VOCAB
    training = run("training", tokens, layers, CPU, repeats=1).values
    assert training["attention"] == 7 * pairs * tokens**2
    assert training["flops"] == 3 * (weights + head) * tokens + training["attention"]
    kept = run("checkpointing", tokens, layers, CPU, repeats=1).values
    assert kept["attention"] == 9 * pairs * tokens**2
    assert (training["calls"], kept["calls"]) == (1, 2)
    generation = run("generation", tokens, layers, CPU, repeats=1).values
    assert generation["attention"] == 2 * pairs * sum(n * n for n in range(1, tokens + 1))
    paged = run("paged", tokens, layers, CPU, repeats=1).values
    assert paged["attention"] == 2 * pairs * sum(range(1, tokens + 1))
    assert paged["flops"] == (weights + head) * tokens + paged["attention"]
    assert generation["calls"] == paged["calls"] == tokens


def test_the_lectures_symbols(few: Complexity) -> None:
    """Memory, attention's operations and calls have the exponents of the table; all operations come near them."""
    cells = {(cell.way, cell.quantity): cell for cell in few.cells}
    assert len(cells) == 20
    for way, row in TABLE.items():
        for quantity, symbol, allowed in (
            ("attention", row["runtime"], 0.15), ("calls", row["calls"], 0.001), ("memory", row["memory"], 0.2),
        ):  # fmt: skip
            cell = cells[way, quantity]  # type: ignore[index]
            assert (cell.fits["N"].last, cell.fits["L"].last) == pytest.approx(symbol.exponents, abs=allowed)
        flops = cells[way, "flops"].fits["N"]
        assert row["runtime"].exponents[0] - 1.1 < flops.exponent < flops.last < row["runtime"].exponents[0]


def test_memory_of_checkpointing_grows_with_the_root_of_the_layers(few: Complexity) -> None:
    cells = {cell.way: cell.fits["L"].exponent for cell in few.cells if cell.quantity == "memory"}
    assert cells["checkpointing"] == pytest.approx(0.5, abs=0.1)
    assert cells["training"] == pytest.approx(1, abs=0.1)
    assert cells["generation"] == pytest.approx(0, abs=0.01)


def test_what_differs_is_explained(few: Complexity) -> None:
    """Twice the operations for checkpointing are a third more; one call in the table and two in the text are one."""
    assert few.ratio("flops") == pytest.approx(4 / 3, abs=0.06)
    why = {(cell.way, cell.quantity): " ".join(cell.why) for cell in few.cells}
    assert "Attention is not all there is" in why["training", "flops"]
    assert "and not twice" in why["checkpointing", "flops"]
    assert "The table says 1 and the lecture's text 2" in why["checkpointing", "calls"]
    for cell in few.cells:
        expected = cell.symbol.exponents
        for axis, exponent in zip(("N", "L"), expected, strict=True):
            if abs(cell.fits[axis].exponent - exponent) > lab.APART:  # type: ignore[index]
                assert cell.why, cell


def test_caching_trades_a_power_of_n_for_memory_that_grows_with_layers(few: Complexity) -> None:
    n = {(cell.way, cell.quantity): cell.fits["N"].last for cell in few.cells}
    layers = {(cell.way, cell.quantity): cell.fits["L"].last for cell in few.cells}
    assert n["generation", "attention"] - n["paged", "attention"] == pytest.approx(1, abs=0.1)
    assert layers["paged", "memory"] - layers["generation", "memory"] == pytest.approx(1, abs=0.1)


def test_a_cache_takes_more_than_training_with_checkpointing_of_deep_models_only(few: Complexity) -> None:
    """The lecture has it take more; NL passes N times the root of L with some depth."""
    shallow, deep = few.depths.values()
    assert shallow[0] < shallow[1]
    assert deep[0] > deep[1]
    [why] = [cell.why for cell in few.cells if (cell.way, cell.quantity) == ("paged", "memory")]
    assert "64 tokens take 722.05 KiB against " in why[-1]


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], few: Complexity) -> None:
    assert RANGES.keys() == FEW.keys()
    monkeypatch.setattr(lab, "complexity", lambda **_: few)
    assert main(["complexity", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["cells"]) == 20
    assert document["cells"][0]["symbol"]["text"] == "O(NL)"
    assert main(["complexity"]) == 0
    printed = capsys.readouterr().out
    assert "O(NL^1/2)" in printed
    assert "1: Attention is not all there is" in printed
    monkeypatch.undo()
    assert main(["complexity", "--device", "tpu"]) == 2
    assert 'device is "tpu"' in capsys.readouterr().err
