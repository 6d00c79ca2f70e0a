"""A calibration: how long steps took on a real engine, as a file that `kvscope calibrate` writes."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from simcore.errors import InputError
from simcore.scenario.load import parse_toml, read_text
from simcore.scenario.problems import problems
from simcore.schema import Misfit, Section, key, keys


def _seconds(help: str) -> Any:
    return key(0.0, help=help, unit="s", ge=0, le=3600)


class Calibration(Section):
    """A step takes what its tokens take, by a table, and something more for each chunk, key and block.

    Decode rows have one new token; a chunk is a row with more. Coefficients are at least 0.
    """

    model: str = key(help="The model that ran.")
    device: str = key(help="What it ran on.")
    software: str = key("", help="Versions, and which path decode took.")
    block_size: int = key(help="Tokens of a block of its cache.", unit="tokens", ge=1, le=65_536)
    blocks: int | None = key(
        None,
        help="Blocks of the pool of the server that was measured, the null block included: the pool of a scenario that "
        "uses the calibration and does not give memory.blocks.",
        unit="blocks",
        ge=2,
        le=1_000_000_000,
    )
    tokens: list[int] = key(help="Rising numbers of tokens in a step, from 1.", unit="tokens")
    seconds: list[float] = key(help="What a step of so many tokens takes; straight lines between.", unit="s")
    delay: float = _seconds("Between client and server, there and back: clients measured it, no simulation has it.")
    per_row: float = _seconds("For each sequence of the step.")
    per_decode_key: float = _seconds("For each key that a decode row looks at.")
    per_chunk: float = _seconds("For each chunk.")
    per_chunk_key: float = _seconds("For each key that a chunk looks at.")
    per_pair: float = _seconds("For each pair of a query and a key in chunks.")
    per_copied_block: float = _seconds("For each block copied within the pool.")
    per_swapped_block: float = _seconds("For each block swapped out or in.")

    @model_validator(mode="after")
    def _is_table(self) -> Self:
        rises = all(fewer < more for fewer, more in pairwise(self.tokens))
        if not self.tokens or self.tokens[0] != 1 or not rises:
            raise Misfit(self, {"tokens": "the numbers must rise from 1"})
        if len(self.seconds) != len(self.tokens) or not all(0 <= second <= 3600 for second in self.seconds):
            raise Misfit(self, {"seconds": f"there must be {len(self.tokens)} numbers from 0 to 3600, as in `tokens`"})
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Raises InputError that names every problem, one a line."""
        data = parse_toml(read_text(path), str(path))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            found, _ = problems(error, tuple(keys(cls)), data, 10)
        raise InputError("\n".join(f"{path}: {problem.sentence}" for problem in found))

    def to_toml(self) -> str:
        """As `load` reads it."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
