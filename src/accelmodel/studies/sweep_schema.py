"""What a scenario file says of a sweep: which points are written, and what is made of them while they pass."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Name, Strict

POINTS_WRITTEN = 1 << 20  # points of a chunk whose rows are written: 64 MB of eight columns
POINTS_REDUCED = 1 << 22  # of one that is only reduced: a twentieth of a second, so that little is lost and nothing waits


class _Grouped(Strict):
    """A reduction, one result for each combination of the keys in `by`."""

    by: tuple[str, ...] = ()


class Top(_Grouped):
    """The points with the lowest (or highest) of a column, `count` of each group; of equal ones the first in the order of the sweep."""

    kind: Literal["top"]
    column: str
    order: Literal["lowest", "highest"] = Field(default="lowest", description="whether the lowest or the highest come first")
    count: Annotated[int, Field(ge=1, le=1000)] = 10


class Frontier(_Grouped):
    """Points that no other equals or beats in all of two or three columns; of points equal in all, the first in the order of the sweep.

    With a `resolution_fraction`, of the points of the (exact) frontier that lie in one box of that relative width in every column only the first is told.
    """

    kind: Literal["frontier"]
    minimise: tuple[str, ...] = Field(default=(), description="columns of which less is better")
    maximise: tuple[str, ...] = Field(default=(), description="columns of which more is better")
    resolution_fraction: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _two_or_three(self) -> Frontier:
        columns = (*self.minimise, *self.maximise)
        if len(columns) not in (2, 3) or len(set(columns)) < len(columns):
            raise ValueError("a frontier is of two or three different columns, in minimise and maximise")
        return self


class Quantiles(_Grouped):
    """Quantiles of columns, each within 0.1 % of the value; 0 and 1 are exact."""

    kind: Literal["quantiles"]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    quantiles: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = Field(
        default=(0.1, 0.5, 0.9), description="shares of the points that a value is not exceeded by"
    )


class Histogram(_Grouped):
    """How many points lie in each of `bins` intervals of a column, and how many below and above; a point on an edge counts to the interval above."""

    kind: Literal["histogram"]
    column: str
    first: float = Field(alias="from", description="lower edge of the first interval, in the column's unit")
    last: float = Field(alias="to", description="upper edge of the last interval, in the column's unit")
    bins: Annotated[int, Field(ge=1, le=100_000)] = 20
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _is_a_range(self) -> Histogram:
        if not self.first < self.last:
            raise ValueError("a histogram goes from a number to a larger one")
        if self.scale == "log" and self.first <= 0:
            raise ValueError("a log histogram needs both ends above 0")
        return self


Reduction = Annotated[Top | Frontier | Quantiles | Histogram, Field(discriminator="kind")]


class SweepStudy(Strict):
    """Every case at every value of the axes, however many: reduced while they pass, or written as Parquet parts (`points`), or both.

    `limits` are the largest values of columns: points beyond them are counted, and neither written nor reduced.
    What a combination of axes cannot be (heads that do not divide, a dtype that the accelerator has not, a price that nobody knows) is left out and counted,
    or refused (`illegal`).
    """

    kind: Literal["sweep"]
    cases: tuple[str, ...] = ()
    points: bool = False
    columns: tuple[str, ...] = ("time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w", "cost_usd_per_mtok")
    reductions: dict[Name, Reduction] = Field(default_factory=dict, description="tables by name that are made of the points while they pass")
    limits: dict[str, float] = Field(default_factory=dict)
    chunk_points: Annotated[int, Field(ge=1, le=1 << 26)] | None = Field(
        default=None, description="points of a chunk; 2^20 where rows are written, else 2^22, where absent"
    )
    illegal: Literal["leave-out", "refuse"] = "leave-out"

    @model_validator(mode="after")
    def _leaves_something(self) -> SweepStudy:
        if not self.points and not self.reductions:
            raise ValueError("a sweep leaves points, or reductions, or both: points = true, or [studies.NAME.reductions.NAME]")
        return self

    @property
    def chunk(self) -> int:
        """Points of a chunk: as asked, or as memory and what an interruption loses suggest."""
        return self.chunk_points or (POINTS_WRITTEN if self.points else POINTS_REDUCED)


def columns_of(reduction: Any) -> tuple[str, ...]:
    """The columns that a reduction looks at."""
    if isinstance(reduction, Frontier):
        return (*reduction.minimise, *reduction.maximise)
    return reduction.columns if isinstance(reduction, Quantiles) else (reduction.column,)
