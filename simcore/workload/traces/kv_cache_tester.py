"""kv-cache-tester: recorded sessions of coding agents, one JSON object a line.

`requests` of a session: `t` (s from its start), `in` and `out` (tokens), and `hash_ids` of `block_size` (64) tokens,
full blocks only, local to the session. `type` "n" and "s" (streamed) are requests, "subagent" has `requests` of its
own, whose `t` starts at the sub-agent's `t`.

Sessions are played "sequential", one after another and each in the order of its list: a session begins with the last
request of the one before, and a request that its list has too late (sub-agents work side by side) waits for the one
before it. Or "stagger60": the session on line i, from 0 on, begins at 60 i s, and requests are ordered by time, then
line, then place in the list.

https://github.com/callanjfox/kv-cache-tester, Apache-2.0.
"""

from collections.abc import Iterator

from simcore.errors import InputError
from simcore.workload.columns import Workload
from simcore.workload.traces.draft import Draft
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.records import Record, each_object
from simcore.workload.traces.values import listed, quoted

_STAGGER = 60.0
"""s between the starts of two sessions"""


def _requests(session: Record, block: int, start: float = 0.0) -> Iterator[tuple[float, int, int, list[int | str]]]:
    """Time from the session's start, input, output and hashes of every request of a session or of its sub-agent."""
    for item in listed("requests", session["requests"], {dict}, "objects"):
        record = Record(session.line, item)
        time = start + record.seconds("t")
        if record["type"] == "subagent":
            yield from _requests(record, block, time)
        elif record["type"] in ("n", "s"):
            prompt_len, output_len = record.tokens("in"), record.tokens("out")
            yield time, prompt_len, output_len, record.hashes("hash_ids", prompt_len, block, partial=False)
        else:
            raise InputError(f"type must be 'n', 's' or 'subagent', not {quoted(record['type'])}")


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    draft = Draft(bad)
    block: int | None = None
    end = 0.0

    def add(session: Record) -> None:
        nonlocal block, end
        size = session.tokens("block_size", least=1)
        if block not in (None, size):
            raise InputError(f"block_size is {size}, but {block} on the lines before")
        if (scope := session.get("hash_id_scope", "local")) != "local":
            raise InputError(f"hash_id_scope must be 'local', not {quoted(scope)}")
        requests = list(_requests(session, size))
        block = size
        names = draft.scope()
        start = end if options.sessions == "sequential" else _STAGGER * (session.line - 1)
        for time, prompt_len, output_len, hashes in requests:
            arrival = start + time
            end = max(end, arrival)
            draft.blocks(names, hashes, prompt_len, size)
            draft.add(end if options.sessions == "sequential" else arrival, prompt_len, output_len)

    each_object(file, bad, add)
    return draft.workload("kv-cache-tester", file.name, block)


FORMAT = Format("kv-cache-tester", frozenset({"block_size", "requests"}), _read)
