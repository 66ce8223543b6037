"""Scenarios of future prices: hand-worked powers, the cut of June 2025, and what holds for every path."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import Offers
from accelmodel.catalog.price_paths import PricePath, Step, price_at
from accelmodel.errors import InputError

DAYS = st.dates(datetime.date(2023, 1, 1), datetime.date(2035, 12, 31))
EROSIONS = st.floats(-0.5, 0.9)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2026-01-01", 100.0),
        ("2027-01-01", 80.0),
        ("2028-01-01", 64.0),
        ("2028-12-31", 51.2),  # 1095 days, of which one is 29 February: three years of 365 days
        ("2026-07-02", 100 * 0.8 ** (182 / 365)),
    ],
)
def test_erosion_compounds(date: str, expected: float) -> None:
    assert price_at(100.0, "2026", date, erosion_fraction_per_year=0.2) == pytest.approx(expected, rel=1e-12)


def test_a_step_holds_from_its_day_on() -> None:
    cut = [("2025-06-23", -0.44)]
    assert price_at(98.32, "2025-03-31", "2025-06-22", steps=cut) == 98.32
    assert price_at(98.32, "2025-03-31", "2025-06-23", steps=cut) == pytest.approx(98.32 * 0.56)
    # It is in the price already.
    assert price_at(55.04, "2025-06-23", "2026-06-23", steps=cut) == 55.04


def test_the_cut_of_june_2025_as_a_path_meets_the_price_list() -> None:
    offers = Offers(Library())
    before, after = (offers.find(f"p5.48xlarge:on-demand:us-east-1@{date}").prices["price"] for date in ("2025-06-22", "2025-06-23"))
    path = PricePath(steps=(Step(date="2025-06-23", change_fraction=55.04 / 98.32 - 1),))
    assert before * path.factor("2025-06-22", "2025-06-23") == pytest.approx(after, rel=1e-12)


def test_steps_and_erosion_multiply() -> None:
    steps = [("2027-01-01", -0.5), ("2027-06", 0.1)]
    assert price_at(100.0, "2026-01-01", "2028-01-01", 0.1, steps) == pytest.approx(100 * 0.81 * 0.5 * 1.1)


@given(first=DAYS, middle=DAYS, last=DAYS, erosion=EROSIONS, step=DAYS, change=st.floats(-0.9, 1.0))
def test_a_path_goes_by_way_of_any_day_between(
    first: datetime.date, middle: datetime.date, last: datetime.date, erosion: float, step: datetime.date, change: float
) -> None:
    first, middle, last = sorted((first, middle, last))
    path = PricePath(erosion_fraction_per_year=erosion, steps=(Step(date=step.isoformat(), change_fraction=change),))
    assert path.factor(first, middle) * path.factor(middle, last) == pytest.approx(path.factor(first, last), rel=1e-9)
    assert path.factor(first, first) == 1.0


@pytest.mark.parametrize("date", ["next year", "2026-13", "2026-02-30", "26"])
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(InputError, match="is not a date such as"):
        price_at(1.0, "2026", date)


def test_a_path_does_not_lead_back() -> None:
    with pytest.raises(InputError, match="says nothing of 2025-01-01"):
        price_at(1.0, "2026-01-01", "2025-01-01")
