"""`[timing]`: how long a step takes."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import model_validator

from simcore.schema import FilePath, Misfit, Section, key


def _used_by(*models: str, default: float) -> Callable[[dict[str, Any]], float | None]:
    """The default of a key that only some of the models of time have."""
    return lambda section: default if section.get("model", models[0]) in models else None


class TimingSection(Section):
    """The model of time and its own keys; a key of another model is an error."""

    model: Literal["roofline", "linear", "constant", "calibrated"] = key(
        "roofline",
        help="How a step's duration follows from its work. roofline: from the bytes it moves and the arithmetic it "
        "does on the hardware; linear: step + per_token x scheduled tokens + per_context_token x tokens attended to; "
        "constant: always step; calibrated: as a file says that `kvscope calibrate` has written.",
    )
    calibration: FilePath | None = key(None, help="The file of a calibration, which calibrated needs (calibrated).")
    step: float | None = key(
        default_factory=_used_by("linear", "constant", default=0.01),
        help="What every step takes (linear, constant).",
        unit="s",
        ge=0,
        le=3600,
    )
    per_token: float | None = key(
        default_factory=_used_by("linear", default=0.0),
        help="What each scheduled token adds to its step (linear).",
        unit="s",
        ge=0,
        le=3600,
    )
    per_context_token: float | None = key(
        default_factory=_used_by("linear", default=0.0),
        help="What each token that a sequence of the step has, the scheduled ones included, adds to it (linear).",
        unit="s",
        ge=0,
        le=3600,
    )
    per_copied_block: float | None = key(
        default_factory=_used_by("linear", default=0.0),
        help="What each block adds to a step that is copied before it, so that a branch can write (linear).",
        unit="s",
        ge=0,
        le=3600,
    )
    per_swapped_block: float | None = key(
        default_factory=_used_by("linear", default=0.0),
        help="What each block adds to a step that is swapped out to the host or in from there (linear).",
        unit="s",
        ge=0,
        le=3600,
    )
    compute_efficiency: float | None = key(
        default_factory=_used_by("roofline", default=0.6),
        help="Share of hardware.flops that is reached (roofline).",
        ge=0.001,
        le=1,
    )
    bandwidth_efficiency: float | None = key(
        default_factory=_used_by("roofline", default=0.85),
        help="Share of hardware.memory_bandwidth that is reached (roofline).",
        ge=0.001,
        le=1,
    )
    overhead: float | None = key(
        default_factory=_used_by("roofline", default=0.001),
        help="What every step takes for scheduling and launching (roofline).",
        unit="s",
        ge=0,
        le=3600,
    )
    overhead_per_seq: float | None = key(
        default_factory=_used_by("roofline", default=0.0),
        help="What each sequence of a step adds to that, for sampling and bookkeeping one by one (roofline).",
        unit="s",
        ge=0,
        le=3600,
    )
    allreduce_latency: float | None = key(
        default_factory=_used_by("roofline", default=10e-6),
        help="Start of one of the two all-reduces of a layer where several devices share the model (roofline).",
        unit="s",
        ge=0,
        le=3600,
    )

    @model_validator(mode="after")
    def _own_keys(self) -> Self:
        defaults = {
            name: field.get_default(call_default_factory=True, validated_data={"model": self.model})
            for name, field in type(self).model_fields.items()
        }
        own = ", ".join(name for name, default in defaults.items() if default is not None and name != "model")
        defaults["calibration"] = None if self.model != "calibrated" else self.calibration
        problems = {
            name: f"the {self.model} model does not use it; it has {own or 'calibration'}"
            for name, default in defaults.items()
            if default is None and getattr(self, name) is not None
        }
        if self.model == "calibrated" and self.calibration is None:
            problems["calibration"] = "timing.model is calibrated, which needs the file of a calibration"
        if problems:
            raise Misfit(self, problems)
        return self
