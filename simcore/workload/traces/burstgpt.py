"""BurstGPT: `Timestamp` (s), `Request tokens`, `Response tokens`, and other columns that differ by release.

A failed request has 0 response tokens.

https://github.com/HPMLL/BurstGPT, CC-BY-4.0. Wang et al., BurstGPT, KDD 2025.
"""

from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.table import Parse, each_column
from simcore.workload.traces.values import counts, times

_COLUMNS: dict[str, Parse] = {"Timestamp": times, "Request tokens": counts, "Response tokens": counts}


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)
    each_column(file, bad, _COLUMNS, draft.rows)
    return draft.workload("burstgpt", file.name)


FORMAT = Format("burstgpt", frozenset(_COLUMNS), _read)
