"""`[hardware]`: what the model runs on, by preset or by its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import field_validator

from simcore.scenario.model import Dtype
from simcore.scenario.presets import ABOUT, read_preset
from simcore.schema import Section, key


class Flops(Section):
    """Dense arithmetic, without sparsity, by the format of the numbers."""

    float64: float | None = key(None, help="In float64.", unit="FLOP/s", ge=1e6, le=1e21)
    float32: float | None = key(None, help="In float32.", unit="FLOP/s", ge=1e6, le=1e21)
    float16: float | None = key(None, help="In float16, summed in float32.", unit="FLOP/s", ge=1e6, le=1e21)
    bfloat16: float | None = key(None, help="In bfloat16, summed in float32.", unit="FLOP/s", ge=1e6, le=1e21)
    float8: float | None = key(None, help="In float8, summed in float32.", unit="FLOP/s", ge=1e6, le=1e21)


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device, and how many of them share the model. A number that was not given is 0."""

    name: str
    """the preset's, or `the hardware`"""
    count: int
    memory: float = 0
    """bytes of one device"""
    memory_bandwidth: float = 0
    """B/s"""
    host_bandwidth: float = 0
    """B/s in one direction"""
    peer_bandwidth: float = 0
    """B/s in one direction, to all peers together"""
    flops: Mapping[Dtype, float] = field(default_factory=dict)
    """dense FLOP/s, of the formats that are known"""


class HardwareSection(Section):
    """A preset and numbers that win over it, or the numbers alone; every number is that of one device.

    The section stays as it was written, with the preset's canonical name; `resolve` looks the numbers up.
    """

    preset: str | None = key(None, help="Name or alias of hardware that is known.")
    count: int = key(
        1, help="Devices that split every layer among them (tensor parallelism).", unit="devices", ge=1, le=65_536
    )
    memory: float | None = key(
        None, help="Memory that the runtime can use, somewhat less than what is sold.", unit="bytes", ge=1, le=1e18
    )
    memory_bandwidth: float | None = key(None, help="Rate of reading memory.", unit="B/s", ge=1e6, le=1e18)
    host_bandwidth: float | None = key(
        None, help="Rate of the link to the host's memory, in one direction.", unit="B/s", ge=1e3, le=1e18
    )
    peer_bandwidth: float | None = key(
        None, help="Rate of the links to the other devices together, in one direction.", unit="B/s", ge=1e3, le=1e18
    )
    flops: Flops | None = key(None, help="Dense arithmetic, without sparsity, by the format of the numbers.")

    @field_validator("preset")
    @classmethod
    def _canonical(cls, preset: str | None) -> str | None:
        return None if preset is None else str(read_preset("hardware", preset)["name"])

    def resolve(self) -> Hardware:
        """Every number: as given, else as the preset has it."""
        numbers: dict[str, Any] = {} if self.preset is None else read_preset("hardware", self.preset)
        numbers = {name: value for name, value in numbers.items() if name not in ABOUT}
        given = self.model_dump(exclude_none=True, exclude={"preset"})
        flops = numbers.get("flops", {}) | given.get("flops", {})
        return Hardware(**numbers | given | {"name": self.preset or "the hardware", "flops": flops})
