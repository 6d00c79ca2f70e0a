"""Qwen-Bailian usage traces: as Mooncake's, but `timestamp` in s and hashes of 16 tokens.

Besides: `chat_id`, `parent_chat_id` (-1: the first turn), `type`, `turn`. The turns of a chat arrive at their recorded
times; what they share is in the hashes. A request's category is its `type` and `turn`, as in the paper.

https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon, Apache-2.0. Wang et al., KVCache Cache in the Wild, ATC
2025.
"""

from simcore.workload.columns import Workload
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.mooncake import KEYS, read_hash_ids


def _read(file: TraceFile, options: Options) -> Workload:
    return read_hash_ids(file, options, "bailian", "s", 16, ("type", "turn"))


FORMAT = Format("bailian", KEYS | {"chat_id", "parent_chat_id"}, _read)
