"""Azure LLM inference traces, 2023 and 2024.

`TIMESTAMP,ContextTokens,GeneratedTokens`. 2023: CRLF, times without an offset and with 7 fractional digits; 2024: 6
digits and `+00:00`. Arrivals are seconds since the earliest request, from differences of whole nanoseconds.

https://github.com/Azure/AzurePublicDataset, CC-BY-4.0. 2023: Patel et al., Splitwise, ISCA 2024; 2024: Stojkovic et
al., DynamoLLM, HPCA 2025.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from simcore.errors import InputError
from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.table import Parse, each_column
from simcore.workload.traces.values import counts, quoted

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:)([0-5]\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache
def _minute(text: str) -> int | None:
    """Seconds from 1970 to a minute, in UTC where it has no offset; None: there is no such minute."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH
    return since.days * 86_400 + since.seconds


def _nanoseconds(name: str, texts: Sequence[str]) -> list[int]:
    """Whole nanoseconds from 1970 to each time stamp."""
    instants = []
    for text in texts:
        match = _TIME.fullmatch(text.strip())
        minute = _minute(match[1] + "00" + (match[4] or "")) if match else None
        if match is None or minute is None:
            raise InputError(f"{name} must be a time like 2023-11-16 18:17:03.9799600, not {quoted(text)}")
        instants.append((minute + int(match[2])) * 10**9 + int((match[3] or "").ljust(9, "0")))
    return instants


_COLUMNS: dict[str, Parse] = {"TIMESTAMP": _nanoseconds, "ContextTokens": counts, "GeneratedTokens": counts}


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)
    each_column(file, bad, _COLUMNS, draft.rows)
    first = min(draft.arrival, default=0)
    draft.arrival = [(instant - first) / 10**9 for instant in draft.arrival]
    return draft.workload("azure", file.name)


FORMAT = Format("azure", frozenset(_COLUMNS), _read)
