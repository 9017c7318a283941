"""Bodies about telemetry: estimates, calibrations, daily caps, cursors of exports, and triage."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    model_validator,
)

from autopack.domain.calibrate import MIN_SAMPLES, TARGET, Present
from autopack.domain.estimate import NO_REASONING, Coefficients, Features
from autopack.domain.estimators import NewVersion
from autopack.domain.phases import JsonObject
from autopack.domain.storable import MAX_INTEGER
from autopack.domain.telemetry import ExportCursor
from autopack.domain.triage import Before as TriageBefore
from autopack.domain.triage import Options as TriageOptions
from autopack.domain.triage import Trial as TriageTrial
from autopack.schemas import Body, Count, Digest, Dollars, Flag, Id, PersonName, Text, WorkerName

_FileClass = Annotated[str, StringConstraints(min_length=1, max_length=40)]


class FeaturesBody(Body):
    task_category: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    complexity: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    reasoning_level: Annotated[str, StringConstraints(min_length=1, max_length=20)] = NO_REASONING
    files: tuple[tuple[Literal["new", "mod", "del"], _FileClass], ...] = Field(max_length=10_000)

    def to_domain(self) -> Features:
        return Features(
            task_category=self.task_category, complexity=self.complexity, reasoning_level=self.reasoning_level, files=self.files
        )  # fmt: skip


class EstimateBody(Body):
    """`output_limit` is the most that the model may be asked for, `target` the rate at which an answer may be cut."""

    features: FeaturesBody
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    output_limit: Count
    target: Annotated[float, Field(ge=0.001, le=0.5)]


VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


class PresentBody(Body):
    """A version in force elsewhere, where the events lie in a database of their own."""

    coefficients: JsonObject
    data_hash: Digest | None = None

    def to_domain(self) -> Present:
        return Present(coefficients=Coefficients.from_json(self.coefficients), data_hash=self.data_hash)


class CalibrateBody(Body):
    """`present` is what to begin with; None: the version that is in force in this database."""

    target: Annotated[float, Field(strict=True, ge=0.001, le=0.5)] = TARGET
    min_samples: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = MIN_SAMPLES
    present: PresentBody | None = None


class EstimatorVersionBody(Body):
    """What a calibration proposed, to be in force instead of `parent`. Its name is in the coefficients."""

    parent: VersionName
    coefficients: JsonObject
    data_hash: Digest
    metrics: JsonObject = {}
    by: PersonName = "a person"
    reason: Text | None = None

    def to_domain(self) -> NewVersion:
        coefficients = Coefficients.from_json(self.coefficients)
        return NewVersion(
            parent=self.parent, coefficients=coefficients, data_hash=self.data_hash, metrics=self.metrics
        )


class DailyCapsBody(Body):
    """What is not named stays as it is; null is no cap."""

    token_cap: Count | None = None
    cost_cap_usd: Dollars | None = None
    by: PersonName = "a person"
    reason: Text | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.caps:
            raise ValueError("name token_cap, cost_cap_usd or both")
        return self

    @property
    def caps(self) -> dict[str, float | None]:
        return self.model_dump(include={"token_cap", "cost_cap_usd"}, exclude_unset=True)


class TelemetryCounts(BaseModel):
    llm_usage_events: int
    token_estimation_v2_events: int


_Position = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]


class CursorBody(Body):
    """Moves an export's cursor from `expected`; None where there is none yet."""

    name: PersonName
    expected: _Position | None
    position: _Position
    mapping_version: Annotated[str, StringConstraints(min_length=1, max_length=40)]


class CursorAnswer(BaseModel):
    """`cursor` is None while nothing was exported under that name."""

    cursor: ExportCursor | None


def _bounded_options(options: TriageOptions) -> TriageOptions:
    for name, value in vars(options).items():
        if isinstance(value, (int, float)) and not 0 < value <= MAX_INTEGER:
            raise ValueError(f"{name} is not a number above 0")
    return options


class TriageSessionBody(Body):
    """`session_id` is made by the sender: a repeat goes on with the same session."""

    session_id: Annotated[Id, StringConstraints(max_length=32)]
    options: Annotated[TriageOptions, AfterValidator(_bounded_options)]


class TriageItemBody(Body):
    position: Count
    run_id: Id
    phase_id: Id
    worker: WorkerName
    before: TriageBefore


class TriageResultBody(Body):
    result: TriageTrial


class TriageStopBody(Body):
    """`ended`: nothing is left to try."""

    reason: Text
    ended: Flag = False
