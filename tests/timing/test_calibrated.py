"""A calibration's file, and the timer that reads it."""

from pathlib import Path

import pytest

from simcore import InputError, Scenario
from simcore.scenario.calibration import Calibration
from simcore.ticks import to_ticks
from simcore.timing import CalibratedTimer, Chunks, make_timer

TABLE = {"model": "m", "device": "cpu", "block_size": 16, "tokens": [1, 4, 16], "seconds": [1.0, 1.5, 4.5]}


def timer(**more: float) -> CalibratedTimer:
    return CalibratedTimer(Calibration.model_validate(TABLE | more))


def test_tokens_are_looked_up_between_the_rows_of_the_table() -> None:
    table = timer()
    seconds = {0: 0.0, 1: 1.0, 2: 1 + 0.5 / 3, 4: 1.5, 10: 3.0, 16: 4.5, 20: 5.5}
    for tokens, expected in seconds.items():
        assert table.ticks(1, tokens, 1, 1) == pytest.approx(to_ticks(expected), abs=2)


def test_a_table_of_one_row_is_the_same_for_all() -> None:
    one = CalibratedTimer(Calibration.model_validate(TABLE | {"tokens": [1], "seconds": [2.0]}))
    assert one.ticks(5, 700, 1, 1) == to_ticks(2.0)


def test_what_a_step_adds() -> None:
    """Decode rows at 10 and 20 keys, and a chunk of 4 behind 8: 4 * 8 + 10 pairs."""
    full = timer(per_row=0.5, per_decode_key=0.25, per_chunk=2.0, per_chunk_key=0.125, per_pair=0.0625)
    expected = 2.0 + 0.5 * 3 + 0.25 * 30 + 2.0 + 0.125 * 12 + 0.0625 * 42
    assert full.ticks(3, 6, 42, 72, Chunks(1, 4, 12)) == to_ticks(expected)
    assert timer(per_copied_block=0.5, per_swapped_block=0.25).move_ticks(3, 2) == to_ticks(2.0)


def test_a_scenario_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "calibration.toml"
    file.write_text(Calibration.model_validate(TABLE).to_toml(), encoding="utf-8")
    scenario = Scenario.from_toml('timing = { model = "calibrated", calibration = "calibration.toml" }', tmp_path)
    assert make_timer(scenario).ticks(1, 16, 16, 16) == to_ticks(4.5)
    again = Scenario.from_toml(scenario.to_toml(), Path("/"))
    assert again.timing == scenario.timing


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tokens = [2, 4, 16]", "tokens is a list, but the numbers must rise from 1"),
        ("tokens = [1, 4, 4]", "tokens is a list, but the numbers must rise from 1"),
        ("seconds = [1.0]", "seconds is a list, but there must be 3 numbers from 0 to 3600, as in `tokens`"),
        ("seconds = [1.0, -1.0, 2.0]", "seconds is a list, but there must be 3 numbers from 0 to 3600, as in `tokens`"),
        ("per_row = -1.0", "per_row is -1.0, but must be a number from 0 to 3,600 (s)"),
        ("per_token = 1.0", "per_token"),
        ("model = 3", "model is 3, but must be text"),
        ("x = [", "not TOML"),
    ],
)
def test_a_bad_file_is_a_sentence(line: str, sentence: str, tmp_path: Path) -> None:
    name = line.split(" ")[0]
    kept = [text for text in Calibration.model_validate(TABLE).to_toml().splitlines() if not text.startswith(name)]
    text = "\n".join([line, *kept]) if name not in ("tokens", "seconds") else line + "\n" + _without(name)
    file = tmp_path / "calibration.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Calibration.load(file)
    assert str(refused.value).startswith(str(file))
    assert sentence in str(refused.value)


def _without(name: str) -> str:
    import tomli_w

    return tomli_w.dumps({key: value for key, value in TABLE.items() if key != name})
