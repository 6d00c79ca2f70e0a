"""`[pruning]`: which tokens of a live request are dropped, and when."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from simcore.policies.base import Choice, section_of
from simcore.policies.pruning import PRUNING, StreamingLLM
from simcore.schema import Misfit, Section, key


class PruningSection(Section):
    """Long sequences lose tokens while they run: less memory, and other answers. By default nothing is dropped."""

    policy: Annotated[Section, Choice(PRUNING)] = key(
        default_factory=section_of(StreamingLLM),
        help="Which tokens stay: a policy's name, or a table with its name and parameters. What it chooses matters to "
        "the answers alone: how much memory and time it takes depends on how many stay.",
    )
    budget: int = key(
        0,
        help="Tokens that a sequence keeps at most, in each head of each layer; 0: as many as pruning.keep says.",
        unit="tokens",
        ge=0,
        le=1_000_000_000,
    )
    keep: float = key(
        1.0,
        help="Share of its tokens that a sequence keeps when all that is known of it has been computed.",
        gt=0,
        le=1,
    )
    during: Literal["prompt", "outputs"] = key(
        "prompt",
        help="When tokens are dropped. prompt: once, when the prompt has been computed (after a preemption: prompt and "
        "outputs so far); outputs: then, and again whenever pruning.slack more have been stored than stay.",
    )
    slack: int = key(
        0,
        help="Tokens that are stored beyond those that stay before some are dropped again, while outputs are computed; "
        "0: a block.",
        unit="tokens",
        ge=0,
        le=1_000_000_000,
    )

    @property
    def on(self) -> bool:
        """Whether anything is ever dropped."""
        return self.budget > 0 or self.keep < 1

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        problems = {}
        if self.during == "outputs" and not self.on:
            problems["during"] = "nothing is dropped without a pruning.budget, or a pruning.keep below 1"
        if self.slack and self.during == "prompt":
            problems["slack"] = 'must be 0 with pruning.during = "prompt": tokens are dropped once'
        if problems:
            raise Misfit(self, problems)
        return self
