"""The table of a report on attention's memory: its numbers against the account, and the account against torch."""

import json

import numpy as np
import pytest
import torch

from app.cli import main
from engine.attention.dense import standard
from engine.labs import attention as lab
from engine.labs.attention import (
    BATCH,
    DIMS,
    HELD,
    HELD_FORWARD,
    LENGTHS,
    PEAK,
    PEAK_FORWARD,
    REPORTED,
    REPORTED_ON,
    Size,
    backward_over_forward,
    benchmark,
    forward_terms,
    predict,
    written_out,
)

MIB = 1 << 20
SIZES = [Size(BATCH, length, dim) for dim in DIMS for length in LENGTHS]


@pytest.mark.parametrize("size", [Size(8, 256, 16), Size(3, 100, 32), Size(1, 64, 128)])
@pytest.mark.parametrize("backward", [True, False])
def test_what_torch_keeps_is_the_account_to_the_byte(size: Size, backward: bool) -> None:
    [row] = benchmark([size], backward=backward, repeats=1, seconds=0.0)
    held, peak = (HELD, PEAK) if backward else (HELD_FORWARD, PEAK_FORWARD)
    assert (row.held, row.peak) == (held.bytes(size), peak.bytes(size))
    assert row.forward is not None
    assert row.forward.median > 0
    assert (row.backward is not None) == backward


def test_it_is_attention() -> None:
    q, k, v = torch.randn(3, 2, 20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = written_out(q, k, v, torch.tril(torch.ones(20, 20)))
    expected = standard(*(x[:, :, None] for x in (q, k, v)))[:, :, 0]
    torch.testing.assert_close(found, expected)


def test_the_reports_rows_fit_and_fail_on_its_gpu() -> None:
    for row in predict(REPORTED_ON, SIZES, like_report=True):
        measured = REPORTED.get((row.size.dim, row.size.length))
        assert row.status == ("fits" if measured else "out of memory"), row
        if measured:
            assert row.held / MIB == pytest.approx(measured.held, rel=0.01)
    assert len(REPORTED) == 12


def test_the_reports_rows_have_these_terms_by_themselves() -> None:
    """A fit to its 12 numbers alone finds what the account has: 14 linear tensors, 8 x 2 + 1.25 squares, 16 MiB."""
    terms = [[lab.FLOAT * 8 * n * d / MIB, lab.FLOAT * n * n / MIB, 1.0] for d, n in REPORTED]
    found, _, _, _ = np.linalg.lstsq(np.array(terms), [row.held for row in REPORTED.values()], rcond=None)
    assert found == pytest.approx(
        [HELD.linear + lab.OTHERS, 8 * HELD.squares + HELD.mask, 2 * lab.CUBLAS / MIB], rel=0.01
    )


def test_the_reports_accounting() -> None:
    terms = forward_terms(Size(8, 8192, 16))
    assert [amount / MIB for amount in terms.values()] == [12, 2048, 2048, 4]
    assert sum(terms.values()) / MIB == 4112
    # Twice that is its estimate of forward and backward; by this account it is more, and neither fits into 7.9 GiB.
    assert 7.9 * 1024 < 2 * 4112 < PEAK.bytes(Size(8, 8192, 16)) / MIB


def test_memory_does_not_double_where_the_report_says_so() -> None:
    """It has 2.07x for four times the length at 16 elements; its rows have 4.1x and 12.4x, near 16x in the end."""
    rows = [REPORTED[16, length].held for length in (256, 1024, 4096)]
    assert rows[1] / rows[0] == pytest.approx(4.14, abs=0.01)
    assert rows[2] / rows[1] == pytest.approx(12.44, abs=0.01)
    assert HELD.bytes(Size(8, 65536, 16)) / HELD.bytes(Size(8, 16384, 16)) == pytest.approx(16, abs=0.1)


def test_the_reports_factors_are_its_growth_over_that_of_the_length() -> None:
    """Its 2.07x, 2.00x, 1.87x and 1.70x "per 4x" are means of two growths that were divided by 4 once more."""
    found = {dim: round(lab.growth(dim)[1], 2) for dim in lab.REPORTED_FACTORS}
    assert found == lab.REPORTED_FACTORS == {16: 2.07, 32: 2.00, 64: 1.87, 128: 1.70}


def test_the_longest_sequence_that_fits() -> None:
    """The report knows that 4,096 tokens fit on its GPU and 8,192 do not; the limit lies between."""
    for dim in DIMS:
        length = lab.longest(REPORTED_ON, BATCH, dim, like_report=True)
        sizes = [Size(BATCH, tokens, dim) for tokens in (length, length + 1)]
        assert [row.status for row in predict(REPORTED_ON, sizes, like_report=True)] == ["fits", "out of memory"]
        assert 4096 < length < 8192
    assert lab.longest(REPORTED_ON, BATCH, 16, like_report=True) == 6489
    assert lab.longest(REPORTED_ON, BATCH, 16, memory=0) == 0


def test_backward_is_not_consistently_3_to_4_times_as_slow_in_the_report() -> None:
    least, most = backward_over_forward([(row.forward, row.backward) for row in REPORTED.values()])
    assert (round(least, 1), round(most, 1)) == (1.8, 7.6)


def test_other_gpus_and_memories() -> None:
    [h100] = predict("h100", [Size(8, 16384, 128)])
    assert h100.status == "fits"
    assert h100.held == HELD.bytes(h100.size) + 2 * (32 << 20)
    [l4] = predict("l4", [Size(8, 16384, 128)])
    assert l4.status == "out of memory"
    assert "and 21.90 GiB are there" in l4.note
    [half] = predict("l4", [Size(8, 4096, 16)], backward=False, memory=1 << 30)
    assert half.status == "out of memory"


def test_what_would_take_too_much_is_skipped() -> None:
    rows = list(benchmark([Size(8, 64, 16), Size(8, 1 << 20, 16)], limit=100 * MIB, repeats=1, seconds=0.0))
    assert [row.status for row in rows] == ["fits", "skipped"]
    assert rows[1].note.startswith("would take ")
    assert rows[1].note.endswith(" GiB, and 100.00 MiB are allowed")
    assert lab.cpu_limit() <= lab.CPU_LIMIT


def test_no_memory_is_a_row_and_other_errors_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> None:
        def raises(*_: object) -> None:
            raise error

        monkeypatch.setattr(lab, "written_out", raises)

    fail(torch.OutOfMemoryError("CUDA out of memory"))
    [row] = benchmark([Size(1, 8, 8)])
    assert row.status == "out of memory"
    fail(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(benchmark([Size(1, 8, 8)]))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["attention", "benchmark", "--dims", "16", "--lengths", "256,1024,8192"]
    assert main([*arguments, "--predict", "nvidia-gtx-1080", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in rows] == ["fits", "fits", "out of memory"]
    assert rows[0]["reported"] == {"forward": 0.43, "backward": 3.26, "held": 22.3}
    assert rows[0]["longest"] == 6489
    assert main([*arguments, "--predict", "gtx-1080"]) == 0
    printed = capsys.readouterr().out
    assert "memory at dim 16 grows 4.1 from 256 to 1,024" in printed
    assert "12.39 GiB at most, and 7.79 GiB are there" in printed
    assert "the report's 2.07 per 4x at dim 16: the mean of its 4.14 and 12.44, over 4 again: 2.07" in printed
    assert "tokens of the longest sequences that fit: 6,489 at dim 16" in printed
    assert "4,112.0" in printed
    measured = ["attention", "benchmark", "--batch", "2", "--dims", "8", "--lengths", "32,4096", "--repeats", "2"]
    assert main([*measured, "--memory-limit", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "4,096 tokens of 8: would take" in printed
    assert "backward takes" in printed
    assert main([*measured, "--memory-limit", "0.1", "--forward", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["backward_seconds"] is None
    assert rows[0]["forward_seconds"]["runs"] == 2
    assert rows[1]["status"] == "skipped"
