"""A server's request log, one JSON object a line, turned into the native format with its text hashed away.

A line has a time, a prompt and an output, at its top or in the objects that servers and proxies put them into
(`request` or `body`, `response`):

- time: `time`, `timestamp`, `arrival`, `created` or `created_at`; seconds, or ISO 8601;
- prompt: `prompt_token_ids`, `messages` as OpenAI has them, or `prompt`, a text or token ids;
- output: `output_token_ids`, `output` or `choices` (text), `output_len`, or `usage.completion_tokens`.

What is written are names of tokens and their numbers. A name is a hash, keyed with the salt, of its tokens and all
before them, so it says nothing about the text to somebody without the salt, and equal beginnings have equal names.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.records import Record, each_object
from simcore.workload.traces.values import MAX_SECONDS, MAX_TOKENS, listed, listing, quoted, real, whole

Ids = NDArray[np.int32]

TIMES = ("time", "timestamp", "arrival", "created", "created_at")
PROMPTS = ("prompt_token_ids", "messages", "prompt")
OUTPUTS = ("output_token_ids", "output", "choices", "output_len", "usage")
_INSIDE = ("request", "body", "response")


class Tokenizer(Protocol):
    """What turns text into token ids."""

    def text(self, text: str) -> list[int]:
        """The ids of a prompt, with the special tokens that the tokenizer puts around one."""
        ...

    def chat(self, messages: list[Any], tools: Any) -> list[int]:
        """The ids of a conversation up to where the model is to answer. Raises InputError."""
        ...

    def output(self, text: str) -> list[int]:
        """The ids of a text that a model has written, without special tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Logged:
    """A request of a log."""

    time: float
    """s, since whenever"""
    prompt: Ids
    """[prompt tokens]"""
    output: Ids
    """[output tokens], or none if only their number is known"""
    output_len: int
    row: int
    """its place in the log"""


def read_log(file: TraceFile, tokenizer: Tokenizer | None, *, skip_bad_lines: bool = False) -> tuple[list[Logged], int]:
    """The requests of a log by time, and how many broken lines were passed over.

    Without a tokenizer the log must have token ids. Requests without an output are kept, with a length of 0. Anything
    wrong is an InputError of one sentence that names file and line.
    """
    bad = BadLines(skip_bad_lines)
    found: list[Logged] = []

    def add(record: Record) -> None:
        time, prompt = _time(record), _prompt(record, tokenizer)
        if not len(prompt):
            raise InputError("its prompt has no tokens")
        output, output_len = _output(record, tokenizer)
        found.append(Logged(time, prompt, output, output_len, len(found) + bad.count))

    each_object(file, bad, add)
    if not found:
        why = f"all its lines are broken, the first is {bad.first}" if bad.count else "it has no lines"
        raise InputError(f"{file.name}: holds no request, {why}")
    return sorted(found, key=lambda request: request.time), bad.count


def hashed(
    requests: Sequence[Logged], salt: str | None = None, hash_block: int | None = None
) -> Iterator[dict[str, Any]]:
    """The lines of the native format, without a token of what was asked or answered.

    Prompts and outputs become segments: two requests have as many first tokens in common as in the log, whatever the
    size of a block that they are simulated with; of outputs that begin alike, only equal ones are one segment. With
    `hash_block` prompts become hashes of so many tokens each, as block studies read them, and outputs are nobody
    else's. Without a salt a random one is used, and forgotten. Requests without an output are left out.
    """
    key = sha256(salt.encode()).digest() if salt is not None else secrets.token_bytes(32)
    served = [request for request in requests if request.output_len]
    if not served:
        raise InputError("no request of the log has an output")
    named: Callable[[Logged], dict[str, Any]] = (
        _Segments(key).named if hash_block is None else _Blocks(key, hash_block).named
    )
    first = served[0].time
    for request in served:
        line = {"id": f"r{request.row}", "arrival": round(request.time - first, 9), "output_len": request.output_len}
        yield line | named(request)


class _Names:
    """Names of tokens by what they are and what stands before them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, before: str, tokens: Ids, kind: str = "") -> str:
        return blake2b(kind.encode() + before.encode() + tokens.tobytes(), digest_size=8, key=self._key).hexdigest()


class _Blocks(_Names):
    """Prompts as chained hashes of blocks, the last of which may be shorter."""

    def __init__(self, key: bytes, size: int) -> None:
        super().__init__(key)
        self._size = size

    def named(self, request: Logged) -> dict[str, Any]:
        names, before = [], ""
        for start in range(0, len(request.prompt), self._size):
            before = self.of(before, request.prompt[start : start + self._size])
            names.append(before)
        return {"prompt_len": len(request.prompt), "prefix_hashes": names, "hash_block": self._size}


class _Segments(_Names):
    """Prompts as the first tokens of segments: a tree, in which a segment hangs at a place of another one.

    A new request follows the segments as far as it is the same, and hangs what is left where it parts from them.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._tokens: dict[str, Ids] = {}
        self._next: dict[tuple[str, int, int], list[str]] = {}
        """which segments hang at a place of a segment, by their first token; several: outputs"""

    def named(self, request: Logged) -> dict[str, Any]:
        pieces = self._follow(request.prompt)
        line: dict[str, Any] = {"prompt_segments": [list(piece) for piece in pieces]}
        if len(request.output):
            line["output_segment"] = self._hang(*pieces[-1], request.output, "output")
        return line

    def _follow(self, tokens: Ids) -> list[tuple[str, int]]:
        pieces: list[tuple[str, int]] = []
        segment, place = "", 0
        while len(tokens):
            found = self._next.get((segment, place, int(tokens[0])), ())
            common, best = max(((_common(self._tokens[name], tokens), name) for name in found), default=(0, ""))
            if not common:
                common, best = len(tokens), self._hang(segment, place, tokens)
            pieces.append((best, common))
            tokens, segment, place = tokens[common:], best, common
        return pieces

    def _hang(self, segment: str, place: int, tokens: Ids, kind: str = "") -> str:
        name = self.of(f"{segment} {place} ", tokens, kind)
        if name not in self._tokens:
            self._tokens[name] = tokens
            self._next.setdefault((segment, place, int(tokens[0])), []).append(name)
        return name


def _common(known: Ids, tokens: Ids) -> int:
    """How many first tokens are the same."""
    length = min(len(known), len(tokens))
    differ = known[:length] != tokens[:length]
    return int(differ.argmax()) if differ.any() else length


def _found(record: Record, names: Iterable[str]) -> tuple[str, Any]:
    """The first of some keys that a line has, at its top or inside; null is as good as missing."""
    names = tuple(names)
    places: list[Mapping[str, Any]] = [record, *(record[key] for key in _INSIDE if isinstance(record.get(key), dict))]
    for name in names:
        for place in places:
            if place.get(name) is not None:
                return name, place[name]
    raise InputError(f"it has none of {', '.join(names)}, its keys are {listing(record)}")


def _time(record: Record) -> float:
    name, value = _found(record, TIMES)
    if not isinstance(value, str):
        return real(name, value, 0, MAX_SECONDS, "s")
    try:
        instant = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InputError(f"{name} must be seconds or a time like 2026-01-31T12:00:00.5Z, not {quoted(value)}") from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _prompt(record: Record, tokenizer: Tokenizer | None) -> Ids:
    name, value = _found(record, PROMPTS)
    if name == "messages":
        messages = listed(name, value, {dict}, "objects")
        return _ids(name, _needed(tokenizer, name).chat(messages, _tools(record)))
    if isinstance(value, str):
        return _ids(name, _needed(tokenizer, name).text(value))
    return _ids(name, value)


def _tools(record: Record) -> Any:
    try:
        return _found(record, ("tools",))[1]
    except InputError:
        return None


def _output(record: Record, tokenizer: Tokenizer | None) -> tuple[Ids, int]:
    name, value = _found(record, OUTPUTS)
    none = np.zeros(0, np.int32)
    if name == "usage":
        if not isinstance(value, dict) or "completion_tokens" not in value:
            raise InputError(f"usage must be an object with completion_tokens, not {quoted(value)}")
        return none, whole("usage.completion_tokens", value["completion_tokens"])
    if name == "output_len":
        return none, whole(name, value)
    if name == "choices":
        value = _chosen(value)
    if value is None or (isinstance(value, str) and tokenizer is None):
        return none, _counted(record)
    output = _ids(name, tokenizer.output(value) if isinstance(value, str) and tokenizer else value)
    return output, len(output)


def _counted(record: Record) -> int:
    """The length of an output whose tokens cannot be had: there is no tokenizer, or it is the call of a tool."""
    try:
        name, value = _found(record, ("output_len", "usage"))
    except InputError:
        raise InputError("the tokens of its output need a text and the folder of a tokenizer, or usage") from None
    return whole(name, value.get("completion_tokens") if isinstance(value, dict) else value)


def _chosen(choices: Any) -> str | None:
    """The text of the first of an answer's choices, of either of OpenAI's forms; None: it has no text."""
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        message = first.get("message")
        text = message.get("content") if isinstance(message, dict) else first.get("text")
        if text is None or isinstance(text, str):
            return text
    raise InputError(f"choices must be a list of objects with a text or a message, not {quoted(choices)}")


def _needed(tokenizer: Tokenizer | None, name: str) -> Tokenizer:
    if tokenizer is None:
        raise InputError(f"{name} is a text, which needs the folder of a tokenizer")
    return tokenizer


def _ids(name: str, value: Any) -> Ids:
    ids = listed(name, value, {int}, "token ids, or a text")
    if ids and not 0 <= min(ids) <= max(ids) <= MAX_TOKENS:
        raise InputError(f"{name} must have ids from 0 to {MAX_TOKENS}, not from {min(ids)} to {max(ids)}")
    return np.array(ids, np.int32)
