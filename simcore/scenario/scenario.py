"""The scenario: everything that decides a run."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, field_validator, model_validator

from simcore.errors import InputError, UnsupportedError
from simcore.policies.base import section_of
from simcore.policies.queue import LongestPrefixFirst
from simcore.policies.victim import LowestPriority
from simcore.scenario.hardware import HardwareSection
from simcore.scenario.load import make_absolute, override, parse_toml, read_text
from simcore.scenario.memory import MemorySection, shares
from simcore.scenario.metrics import MetricsSection
from simcore.scenario.model import ModelSection
from simcore.scenario.presets import ABOUT, read_preset
from simcore.scenario.problems import problems, written
from simcore.scenario.pruning import PruningSection
from simcore.scenario.scheduler import SchedulerSection
from simcore.scenario.timing import TimingSection
from simcore.scenario.workload import WorkloadSection
from simcore.schema import KeyInfo, Misfit, Section, key, keys

UNLIMITED = 1_000_000_000
"""Tokens of the longest sequence where neither the scheduler nor the model has a limit."""
MOST_PROBLEMS = 20
"""So many problems are told at once."""


class Scenario(Section):
    """A model on its hardware, the rules of memory and scheduling, a workload: everything that decides a run.

    The same scenario gives the same result, to the last bit. A scenario never changes; paths in it are absolute.
    """

    name: str = key(
        "scenario",
        help="What the run is called; its folder of results is named after it.",
        pattern=r"^\w[\w .,+=()-]{0,99}$",
        allowed="text of at most 100 letters, digits, spaces and any of _ . , + = ( ) -, with a letter or digit first",
    )
    seed: int = key(0, help="Everything that is drawn at random follows from it.", ge=0, le=2**63 - 1)
    model: ModelSection = key(default_factory=ModelSection, help="The model that is served.")
    hardware: HardwareSection = key(default_factory=HardwareSection, help="What it runs on.")
    memory: MemorySection = key(default_factory=MemorySection, help="The pool of KV-cache blocks.")
    scheduler: SchedulerSection = key(default_factory=SchedulerSection, help="Who runs in the next step.")
    pruning: PruningSection = key(default_factory=PruningSection, help="What live requests forget.")
    timing: TimingSection = key(default_factory=TimingSection, help="How long a step takes.")
    workload: WorkloadSection = key(default_factory=WorkloadSection, help="The requests, read from a trace or drawn.")
    metrics: MetricsSection = key(default_factory=MetricsSection, help="What is counted, and what counts as good.")

    @property
    def max_model_len(self) -> int:
        """The longest sequence in tokens, prompt and output together; that of the model where none is asked for."""
        return self.scheduler.max_model_len or self.model.resolve().max_model_len or UNLIMITED

    @property
    def tokens_in_flight(self) -> int:
        """The most tokens that are computed at one time: the budgets of the steps in flight."""
        return self.scheduler.max_num_batched_tokens * (2 if self.scheduler.async_scheduling else 1)

    @field_validator("model")
    @classmethod
    def _can_be_simulated(cls, model: ModelSection) -> ModelSection:
        if reason := model.resolve().unsupported():
            raise UnsupportedError(reason)
        return model

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        longest, scheduler = self.max_model_len, self.scheduler
        problems = {}
        if longest < UNLIMITED and scheduler.max_num_batched_tokens < longest and not scheduler.chunked_prefill:
            problems["scheduler.max_num_batched_tokens"] = (
                f"must be at least the longest sequence, {longest} tokens, while scheduler.chunked_prefill is off"
            )
        if scheduler.long_prefill_token_threshold > longest:
            problems["scheduler.long_prefill_token_threshold"] = (
                f"must be at most the longest sequence, {longest} tokens"
            )
        if (self.workload.samples or 1) > scheduler.max_num_seqs:
            problems["workload.samples"] = (
                f"must be at most scheduler.max_num_seqs ({scheduler.max_num_seqs}): all run at one time"
            )
        by_priority = scheduler.victim_rule == LowestPriority.name
        ties = by_priority and not scheduler.reserve_full_prompt and not self.memory.prefix_caching
        if ties and not scheduler.max_steps:
            problems["scheduler.max_steps"] = (
                "must be above 0 with victims by lowest priority, reserve_full_prompt = false and "
                "memory.prefix_caching = false: two requests of equal priority and arrival can then preempt each other "
                "for ever"
            )
        model = self.model.resolve()
        windows = any(model.windows)
        layers = "state-space" if model.state_bytes else "sliding-window"
        if model.state_bytes and self.memory.prefix_caching:
            problems["memory.prefix_caching"] = (
                "must be false for a model with state-space layers: what a state was at the end of a prefix is "
                "overwritten, and keeping copies of it cannot be simulated yet"
            )
        if windows and scheduler.preemption != "recompute":
            problems["scheduler.preemption"] = f"a model with {layers} layers cannot be simulated with that yet"
        if scheduler.async_scheduling and (self.workload.samples or 1) > 1:
            problems["workload.samples"] = "scheduler.async_scheduling cannot be simulated with several samples yet"
        if windows and self.memory.structure == "radix":
            problems["memory.structure"] = f"a model with {layers} layers cannot be simulated with that yet"
        if self.memory.prefix_retention > 0 and not windows:
            problems["memory.prefix_retention"] = "no layer of the model has a sliding window: it must be -1 or 0"
        if isinstance(scheduler.policy, section_of(LongestPrefixFirst)) and not self.memory.prefix_caching:
            problems["scheduler.policy"] = "needs memory.prefix_caching = true: otherwise nothing is ever cached"
        if not shares(self.memory.allocator):
            name = self.memory.allocator.model_dump()["policy"]
            if (self.workload.samples or 1) > 1:
                problems["workload.samples"] = f'memory.allocator = "{name}" shares no blocks: it must be 1'
            if windows:
                problems["memory.allocator"] = f"a model with {layers} layers cannot be simulated with that"
            if scheduler.preemption != "recompute":
                problems["scheduler.preemption"] = f'memory.allocator = "{name}" cannot swap: it must be "recompute"'
        if scheduler.batching != "continuous" and (self.workload.samples or 1) > 1:
            problems["workload.samples"] = (
                f'scheduler.batching = "{scheduler.batching}" cannot be simulated with several'
            )
        if self.memory.tiers:
            if scheduler.preemption != "recompute":
                problems["scheduler.preemption"] = (
                    'must be "recompute" with memory.tiers, which keep what a preempted request has computed'
                )
            if windows:
                problems["memory.tiers"] = f"a model with {layers} layers cannot be simulated with them yet"
            if scheduler.async_scheduling:
                problems["scheduler.async_scheduling"] = "memory.tiers cannot be simulated with that yet"
            if scheduler.batching != "continuous":
                problems["scheduler.batching"] = 'must be "continuous" with memory.tiers'
        if self.pruning.on:
            problems |= self._not_with_pruning(f"a model with {layers} layers" if windows else "")
        if problems:
            raise Misfit(self, problems)
        return self

    def _not_with_pruning(self, model: str) -> dict[str, str]:
        """What cannot be simulated yet where live requests lose tokens; `model`: what is in the way of this one."""
        memory, scheduler = self.memory, self.scheduler
        wanted = {
            "workload.samples": ((self.workload.samples or 1) == 1, "1"),
            "scheduler.preemption": (scheduler.preemption == "recompute", '"recompute"'),
            "scheduler.async_scheduling": (not scheduler.async_scheduling, "false"),
            "memory.tiers": (not memory.tiers, "empty"),
            "memory.structure": (memory.structure == "hash", '"hash"'),
            "memory.allocator": (memory.allocator.model_dump()["policy"] == "paged", '"paged"'),
        }
        problems = {name: f"must be {good} with pruning" for name, (there, good) in wanted.items() if not there}
        if model:
            key = "pruning.budget" if self.pruning.budget else "pruning.keep"
            problems[key] = f"{model} cannot be simulated with that yet"
        return problems

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a scenario's file; relative paths in it are relative to its folder.

        Each override is a `KEY=VALUE` as in `memory.blocks=4096`; relative paths in these are relative to the working
        directory. Raises InputError that names every problem, one a line.
        """
        path = Path(path)
        return cls.from_toml(read_text(path), path.parent, overrides, source=str(path))

    @classmethod
    def preset(cls, name: str, overrides: Sequence[str] = ()) -> Self:
        """A scenario that comes with the product, by name or alias. Raises InputError as `load` does."""
        preset = read_preset("scenarios", name)
        data = {item: value for item, value in preset.items() if item == "name" or item not in ABOUT}
        return cls._build(data, overrides, source=f'preset "{preset["name"]}"')

    @classmethod
    def from_toml(cls, text: str, base: Path, overrides: Sequence[str] = (), source: str = "scenario") -> Self:
        """A scenario from TOML text; relative paths in it are relative to `base`, and errors call it `source`."""
        data = parse_toml(text, source)
        make_absolute(data, _known(), base)
        return cls._build(data, overrides, source)

    def overridden(self, overrides: Sequence[str], source: str = "scenario") -> Self:
        """The same scenario but for some keys, each `KEY=VALUE`. Raises InputError as `load` does."""
        return self._build(self.model_dump(mode="json", exclude_none=True), overrides, source)

    @classmethod
    def _build(cls, data: dict[str, Any], overrides: Iterable[str], source: str) -> Self:
        overridden = [".".join(map(written, path.split("."))) for path in override(data, overrides, _known())]
        make_absolute(data, _known(), Path())
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            found, untold = problems(error, _known(), data, MOST_PROBLEMS)
        lines = []
        for problem in found:
            place = f"{problem.path}."
            here = any(
                place.startswith((f"{path}.", f"{path}[")) or f"{path}.".startswith(place) for path in overridden
            )
            lines.append(f"{'--set' if here else source}: {problem.sentence}")
        if untold:
            lines.append(f"{source}: and {untold} more problems")
        wrong = InputError if any(not problem.unsupported for problem in found) else UnsupportedError
        raise wrong("\n".join(lines))

    def to_toml(self) -> str:
        """The complete scenario: every key that is set, with its canonical name; it loads to an equal scenario."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def refresh() -> None:
    """Build the validators anew: there are policies that were not there before."""
    for section in (MemorySection, SchedulerSection, PruningSection, Scenario):
        section.model_rebuild(force=True)
    _known.cache_clear()


@cache
def _known() -> tuple[KeyInfo, ...]:
    return tuple(keys(Scenario))
