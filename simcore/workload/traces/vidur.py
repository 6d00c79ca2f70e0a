"""Vidur: `arrived_at` (s), `num_prefill_tokens`, `num_decode_tokens`; some of its files have lengths without arrivals.

Where there are no arrivals they are NaN.

https://github.com/microsoft/vidur, MIT. Agrawal et al., Vidur, MLSys 2024.
"""

import math
from collections.abc import Sequence

from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.table import Parse, each_column, header
from simcore.workload.traces.values import counts, times

_LENGTHS: dict[str, Parse] = {"num_prefill_tokens": counts, "num_decode_tokens": counts}
_TIMED: dict[str, Parse] = {"arrived_at": times, **_LENGTHS}


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)

    def untimed(prompt_len: Sequence[int], output_len: Sequence[int]) -> None:
        draft.rows([math.nan] * len(prompt_len), prompt_len, output_len)

    if "arrived_at" in header(file)[1]:
        each_column(file, bad, _TIMED, draft.rows)
    else:
        each_column(file, bad, _LENGTHS, untimed)
    return draft.workload("vidur", file.name)


FORMAT = Format("vidur", frozenset(_LENGTHS), _read)
