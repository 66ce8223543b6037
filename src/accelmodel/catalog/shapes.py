"""Shapes: how a load or a fleet goes up and down through the hours of a day or a week."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Figure, Kind, Name, Strict, of

HOURS_PER_DAY, HOURS_PER_WEEK = 24, 168


class Hours(Strict):
    """A value for each hour of a day (24) or a week (168), as published or derived, with unit and source."""

    values: tuple[Annotated[float, Field(ge=0)], ...] = Field(description="a value an hour, 24 of a day or 168 of a week, in the unit")
    unit: str
    kind: Kind
    source: str | None = None
    formula: str | None = None

    @model_validator(mode="after")
    def _is_a_day_or_a_week(self) -> Hours:
        if len(self.values) not in (HOURS_PER_DAY, HOURS_PER_WEEK):
            raise ValueError(f"needs {HOURS_PER_DAY} or {HOURS_PER_WEEK} values, one an hour, not {len(self.values)}")
        if not any(self.values):
            raise ValueError("needs a value above 0")
        if self.source is None and self.kind != "estimated":
            raise ValueError(f"{self.kind} values need a source; without one they can only be 'estimated'")
        if self.kind == "derived" and self.formula is None:
            raise ValueError("derived values need their 'formula'")
        return self

    @property
    def peak_to_mean_ratio(self) -> float:
        """The highest value over the mean."""
        return max(self.values) / (sum(self.values) / len(self.values))


class ShapeFigures(Strict):
    """Figures of a shape: `peak_to_mean` is that of its values, and carries how well it is known."""

    peak_to_mean: Annotated[Figure, of("ratio", 1.0, 168.0)]


class ShapeProfile(Strict):
    """How a load stands to its mean, hour by hour. `starts` says in words what the first hour is."""

    name: Name
    title: str
    starts: str
    aliases: tuple[str, ...] = ()
    note: str | None = None
    figures: ShapeFigures
    hours: Hours
