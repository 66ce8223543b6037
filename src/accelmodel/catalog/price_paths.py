"""Scenarios of future prices: a steady erosion per year, and dated cuts such as EC2's of June 2025."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from accelmodel.catalog.figures import Strict
from accelmodel.errors import InputError

# A year as every cost table of this trade has it: 8760 hours.
_DAYS_PER_YEAR = 365.0


class Step(Strict):
    """A change of price from one day on; -0.44 is a cut of 44 %."""

    date: str
    change_fraction: Annotated[float, Field(gt=-1)]


class PricePath(Strict):
    """How a price moves: it erodes by a fraction per year, compounding by the day, and changes by steps on their days.

    A negative erosion is a price that rises.
    """

    erosion_fraction_per_year: Annotated[float, Field(lt=1)] = 0.0
    steps: tuple[Step, ...] = ()

    def factor(self, start: str | datetime.date, date: str | datetime.date) -> float:
        """The price of `date` over that of `start`; steps after `start` and up to `date` are in it."""
        first, last = day(start), day(date)
        if last < first:
            raise InputError(f"a price of {first} says nothing of {last}, which is before it", key="date", value=str(date))
        factor = math.pow(1.0 - self.erosion_fraction_per_year, (last - first).days / _DAYS_PER_YEAR)
        for step in self.steps:
            if first < day(step.date) <= last:
                factor *= 1.0 + step.change_fraction
        return factor


def price_at(
    price: float, start: str | datetime.date, date: str | datetime.date, erosion_fraction_per_year: float = 0.0, steps: Sequence[tuple[str, float]] = ()
) -> float:
    """A price known at `start` as it is at a later `date`, by erosion per year and dated steps `(date, change_fraction)`.

    >>> price_at(100.0, "2026-01-01", "2028-01-01", 0.1)
    81.0
    >>> round(price_at(98.32, "2025-01-01", "2025-07-01", steps=[("2025-06-23", -0.44)]), 2)
    55.06
    """
    path = PricePath(erosion_fraction_per_year=erosion_fraction_per_year, steps=tuple(Step(date=date, change_fraction=change) for date, change in steps))
    return price * path.factor(start, date)


def day(date: str | datetime.date) -> datetime.date:
    """A date, of which month and day may be left out, as the first day that it names; InputError where it is none."""
    if isinstance(date, datetime.date):
        return date
    if re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", date):
        try:
            return datetime.date.fromisoformat(date + "-01" * (2 - date.count("-")))
        except ValueError:
            pass
    raise InputError(f"'{date}' is not a date such as 2026-06-23, 2026-06 or 2026", key="date", value=date)
