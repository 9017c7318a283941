"""Bodies of what a person changes about runs and phases while they are drained."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from autopack.domain.control import CHANGEABLE, MAX_CONCURRENCY, PhaseAction
from autopack.domain.models import NAME_PATTERN
from autopack.schemas import ActorBody, Count, Dollars, Flag, Id

MAX_AT_ONCE = 1000
ModelName = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=200)]


class RunChangesBody(ActorBody):
    """What is not named stays as it is; null takes away.

    Without `concurrency` each drain goes by its own flag, without `builder_model` by its own model.
    """

    token_cap: Count | None = None
    cost_cap_usd: Dollars | None = None
    max_duration_minutes: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    max_phases: Count | None = None
    concurrency: Annotated[int, Field(strict=True, ge=1, le=MAX_CONCURRENCY)] | None = None
    builder_model: ModelName | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.changes:
            raise ValueError(f"name at least one of {', '.join(CHANGEABLE)}")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=set(CHANGEABLE), exclude_unset=True)


class PauseAfterBody(ActorBody):
    """With `pause` false the wish is taken back."""

    pause: Flag = True


class PhaseActionsBody(ActorBody):
    """The same word about several phases of a run."""

    action: PhaseAction
    phase_ids: list[Id] = Field(min_length=1, max_length=MAX_AT_ONCE)
