"""Conversations: requests that share a system prompt and resend what was said before.

A prompt is a system prompt, all earlier messages and answers of its conversation in turn, and the turn's own message.
Each system prompt, message and answer is a source of tokens; the last message and the last answer of a conversation
stay private, since no other request contains them.
"""

from bisect import bisect_right

import numpy as np

from simcore.errors import InputError
from simcore.scenario.arrivals import Arrivals
from simcore.scenario.distributions import FixedTurns, GeometricTurns, Turns, UniformTurns
from simcore.scenario.workload import Conversations
from simcore.workload.arrivals import arrive, draw_times
from simcore.workload.columns import OPEN, PRIVATE, Ints, Runs, Workload
from simcore.workload.lengths import zipf
from simcore.workload.streams import Streams

MAX_RUNS = 1 << 28
"""The runs of all prompts take 8 bytes each, and grow with the square of the number of turns."""


def converse(
    conversations: Conversations, arrivals: Arrivals, message_len: Ints, output_len: Ints, streams: Streams
) -> Workload:
    """Turn messages and answers [requests] into conversations, which arrive as told.

    The requests of a conversation stand together, and each but the first waits for the one before it.
    Raises InputError where the resent history is too much to hold.
    """
    system_len = conversations.system_tokens if conversations.system_prompts else 0
    row = np.arange(len(message_len))
    said = np.concatenate(([0], np.cumsum(message_len + output_len)))
    turns = _draw_turns(conversations.turns, len(row), streams)
    first = _cut(turns, said, conversations.max_context - system_len)
    size = np.diff(first, append=len(row))
    last = first + size - 1
    opening = np.repeat(first, size)  # the row of each request's first turn
    ends = row == np.repeat(last, size)

    starts, waits = arrive(arrivals, len(first), streams.arrivals)
    arrival = draw_times(conversations.think, len(row), streams.think)
    arrival[first] = starts
    after = row - 1
    after[first] = OPEN if waits is None else np.where(waits == OPEN, OPEN, last[waits])

    system = zipf(conversations.zipf, 1, max(conversations.system_prompts, 1), len(first), streams.system)
    return Workload(
        format="synthetic",
        arrival=arrival,
        prompt_len=system_len + said[:-1] - said[opening] + message_len,
        output_len=output_len,
        category=row - opening + 1,  # which turn it is
        after=after,
        runs=_runs(conversations, np.repeat(system, size), opening, ends, np.stack((message_len, output_len), axis=1)),
        output_source=np.where(ends, PRIVATE, conversations.system_prompts + 2 * row + 2),
    )


def _draw_turns(turns: Turns, count: int, streams: Streams) -> Ints:
    """[count] turns, which is enough: a conversation has at least one."""
    match turns:
        case FixedTurns(turns=fixed):
            return np.full(count, fixed, np.int64)
        case UniformTurns(min=low, max=high):
            return streams.turns.integers(low, high, count, endpoint=True)
        case GeometricTurns(mean=mean):
            return streams.turns.geometric(1 / mean, count)


def _cut(turns: Ints, said: Ints, room: int) -> Ints:
    """The first row of each conversation; `said[i]` tokens are in the rows before i, and a conversation has `room`.

    One that is out of room ends early, and the next row begins another, with turns of its own.
    """
    first: list[int] = []
    tokens = said.tolist()
    row, rows = 0, len(tokens) - 1
    for wanted in turns.tolist():
        if row == rows:
            break
        first.append(row)
        row = bisect_right(tokens, tokens[row] + room, row + 2, min(row + wanted, rows) + 1) - 1
    return np.array(first, np.int64)


def _runs(conversations: Conversations, system: Ints, opening: Ints, ends: Ints, pieces: Ints) -> Runs:
    """The prompts' runs: a system prompt, then all pieces from the opening to the message, which is private if last.

    `system`, `opening`, `ends` are [requests], `pieces` the lengths of messages and answers [requests, 2]. Source k is
    the k-th system prompt; the pieces are the sources after those.
    """
    systems = conversations.system_prompts
    lead = min(systems, 1)
    count = lead + 2 * (np.arange(len(opening)) - opening) + 1 - ends
    offsets = np.concatenate(([0], np.cumsum(count)))
    if offsets[-1] > MAX_RUNS:
        raise InputError(
            f"workload.conversations: the requests resend {offsets[-1]} messages and answers in all, and {MAX_RUNS} "
            "are allowed; ask for fewer turns, fewer requests or a smaller max_context."
        )
    place = np.arange(offsets[-1], dtype=np.int32)
    place -= np.repeat((offsets[:-1] + lead - 2 * opening).astype(np.int32), count)
    source = place + np.int32(systems + 1)
    length = pieces.astype(np.int32).ravel()[place]
    if systems:
        source[offsets[:-1]] = system
        length[offsets[:-1]] = conversations.system_tokens
    return Runs(offsets, source, length)
