"""LLMServingSim: one JSON object a line, `input_toks`, `output_toks`, `arrival_time_ns`, optional `input_tok_ids`.

https://github.com/casys-kaist/LLMServingSim, MIT. Cho et al., LLMServingSim, IISWC 2024.
"""

from simcore.errors import InputError
from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.records import Record, each_object

_KEYS = frozenset({"input_toks", "output_toks", "arrival_time_ns"})


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)

    def add(record: Record) -> None:
        arrival, prompt_len = record.seconds("arrival_time_ns", "ns"), record.tokens("input_toks")
        output_len = record.tokens("output_toks")
        if "input_tok_ids" in record:
            ids = record.token_ids("input_tok_ids")
            if len(ids) > prompt_len:
                raise InputError(f"input_tok_ids has {len(ids)} ids, but input_toks is {prompt_len}")
            draft.literals(ids)
        draft.add(arrival, prompt_len, output_len)

    each_object(file, bad, add)
    return draft.workload("llmservingsim", file.name)


FORMAT = Format("llmservingsim", _KEYS, _read)
