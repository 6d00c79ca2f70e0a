"""Mooncake, and the like: a prompt's blocks are named by `hash_ids`, the last one even if it is not full.

One JSON object a line: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` of 512 tokens each. A hash names
a block together with all before it, so equal hashes are equal tokens.

https://github.com/kvcache-ai/Mooncake, Apache-2.0. Qin et al., Mooncake, FAST 2025.
"""

from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.records import Record, each_object
from simcore.workload.traces.values import Unit, label

KEYS = frozenset({"timestamp", "input_length", "output_length", "hash_ids"})


def read_hash_ids(
    file: TraceFile, options: Options, format: str, unit: Unit, block: int, categories: tuple[str, ...] = ()
) -> Workload:
    """A trace with `KEYS`: `timestamp` in `unit`, hashes of `block` tokens, and keys that together say its category."""
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)
    names = draft.scope()

    def add(record: Record) -> None:
        arrival, prompt_len = record.seconds("timestamp", unit), record.tokens("input_length")
        output_len = record.tokens("output_length")
        category = tuple(label(key, record[key]) for key in categories if key in record) or None
        draft.blocks(names, record.hashes("hash_ids", prompt_len, block), prompt_len, block)
        draft.add(arrival, prompt_len, output_len, category)

    each_object(file, bad, add)
    return draft.workload(format, file.name, block)


def _read(file: TraceFile, options: Options) -> Workload:
    return read_hash_ids(file, options, "mooncake", "ms", 512)


FORMAT = Format("mooncake", KEYS, _read)
