"""The native format: one JSON object a line.

`id`, `arrival` (s), `output_len` (at least 1), optional `priority` (smaller is sooner), optional `category` (what kind
of request it is, a name or a number), optional `output_segment` (generated token j is token j of that segment), and
one form of prompt, at least one token long:

- `prompt_token_ids`: tokens of the vocabulary;
- `prompt_len`, optional `prefix_hashes` and `hash_block` (16): piece k of the prompt, of `hash_block` tokens, is named
  by hash k, and the rest is private; a hash names the same tokens at whatever position;
- `prompt_segments`: a list of [segment, n], the first n tokens of each named segment, joined.
"""

from collections.abc import Callable

from simcore.errors import InputError
from simcore.workload.columns import PRIVATE, Workload
from simcore.workload.traces.draft import Draft, Scope
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines
from simcore.workload.traces.records import Record, each_object
from simcore.workload.traces.values import MAX_TOKENS, label, listed, listing, quoted, whole

_NEEDED = frozenset({"id", "arrival", "output_len"})
_ALWAYS = _NEEDED | {"priority", "category", "output_segment"}
_HASH_BLOCK = 16


class _Reader:
    """Adds native requests to a draft."""

    def __init__(self, bad: BadLines) -> None:
        self.draft = Draft(bad)
        self._lines: dict[str, int] = {}
        self._prompts = {
            "prompt_token_ids": (self._token_ids, _ALWAYS | {"prompt_token_ids"}),
            "prompt_len": (self._hashed, _ALWAYS | {"prompt_len", "prefix_hashes", "hash_block"}),
            "prompt_segments": (self._segmented, _ALWAYS | {"prompt_segments"}),
        }
        self._segments = self.draft.scope()
        self._hashes: dict[int, Scope] = {}
        self._pieces: set[int | None] = set()

    def add(self, record: Record) -> None:
        """Check everything of a request, then add it."""
        prompt = self._prompt(record)
        id = str(label("id", record["id"]))
        if id in self._lines:
            raise InputError(f"the id {quoted(id)} is taken by line {self._lines[id]}")
        arrival, output_len = record.seconds("arrival"), record.tokens("output_len", least=1)
        priority = whole("priority", record.get("priority", 0), -MAX_TOKENS, MAX_TOKENS)
        category = label("category", record["category"]) if "category" in record else None
        output = PRIVATE
        if "output_segment" in record:
            output = self._segments[label("output_segment", record["output_segment"])]
        prompt_len = prompt(record)
        self._lines[id] = record.line
        self.draft.add_native(arrival, prompt_len, output_len, id, priority, output, category)

    def workload(self, name: str) -> Workload:
        """The columns; they have a `block` if hashes of one block size name all that is named."""
        block = self._pieces.pop() if len(self._pieces) == 1 else None
        return self.draft.workload("kvscope", name, block)

    def _prompt(self, record: Record) -> Callable[[Record], int]:
        """The function that adds a prompt's runs and returns its length."""
        forms = [form for form in self._prompts if form in record]
        if len(forms) != 1:
            found = " and ".join(forms) or "none"
            raise InputError(f"it must have one of {', '.join(self._prompts)}, and has {found}")
        prompt, known = self._prompts[forms[0]]
        if unknown := record.keys() - known:
            raise InputError(f"{listing(unknown)} has no meaning beside {forms[0]}")
        return prompt

    def _token_ids(self, record: Record) -> int:
        ids = record.token_ids("prompt_token_ids")
        prompt_len = whole("the number of prompt_token_ids", len(ids), least=1)
        self.draft.literals(ids)
        self._pieces.add(None)
        return prompt_len

    def _hashed(self, record: Record) -> int:
        prompt_len = record.tokens("prompt_len", least=1)
        if "prefix_hashes" in record:
            block = whole("hash_block", record.get("hash_block", _HASH_BLOCK), least=1)
            hashes = record.hashes("prefix_hashes", prompt_len, block)
            scope = self._hashes.setdefault(block, self.draft.scope())
            self.draft.blocks(scope, hashes, prompt_len, block)
            self._pieces.add(block)
        return prompt_len

    def _segmented(self, record: Record) -> int:
        key = "prompt_segments"
        pieces = []
        for piece in listed(key, record[key], {list}, "pairs [segment, tokens]"):
            if len(piece) != 2:
                raise InputError(f"{key} must be a list of pairs [segment, tokens], not {quoted(piece)}")
            pieces.append((label(f"a segment of {key}", piece[0]), whole(f"a length in {key}", piece[1])))
        prompt_len = whole(f"the sum of {key}", sum(length for _, length in pieces), least=1)
        for segment, length in pieces:
            if length:
                self.draft.run(self._segments[segment], 0, length)
        self._pieces.add(None)
        return prompt_len


def _read(file: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    reader = _Reader(bad)
    each_object(file, bad, reader.add)
    return reader.workload(file.name)


FORMAT = Format("kvscope", _NEEDED, _read)
