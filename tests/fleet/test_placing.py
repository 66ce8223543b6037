"""Sites: filled in their order, whole systems only, what is short said in systems and megawatts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelmodel.errors import InputError
from accelmodel.fleet.sites import Site, place


def test_rooms_by_hand():
    # 48 kW x 1.15 = 55.2 kW a system: 10 MW feed 181.16, so 181; at 80 % of the design power at once, 226.4.
    assert Site("here", 10.0, 1.15).room(48_000.0) == 181
    assert Site("here", 10.0, 1.15).room(48_000.0, 0.8) == 226
    assert Site("here", math.inf, 1.15).room(48_000.0) == math.inf
    assert Site("here", 0.0552 * 3, 1.15).room(48_000.0) == 3  # 3 systems exactly, whatever the rounding of floats


def test_project_rainier_on_its_first_phase():
    # 7,813 UltraServers of 48 kW: 375.0 MW of IT, 431.3 at the meter; the first phase of New Carlisle, 455 MW of IT (523.25 at the meter), holds them all.
    (placed,) = place(7_813, 48_000.0, [Site("phase 1", 455 * 1.15, 1.15)])
    assert (placed.systems, round(placed.facility_power_mw, 1)) == (7_813, 431.3)


def test_sites_are_filled_in_order_and_what_is_short_is_said():
    sites = [Site("a", 1.0, 1.25), Site("b", 2.0, 1.0), Site("c", math.inf, 1.0)]
    placed = place(100, 40_000.0, sites)
    assert [(one.site, one.systems) for one in placed] == [("a", 20), ("b", 50), ("c", 30)]  # 1 / 0.05, 2 / 0.04, the rest
    with pytest.raises(InputError, match=r"feeds? 70 \(a 20, b 50\): 30 systems, 1\.2 MW at the meter, are short"):
        place(100, 40_000.0, sites[:2])
    with pytest.raises(InputError, match="power_diversity_fraction"):
        place(1, 40_000.0, sites, 0.0)
    with pytest.raises(InputError, match=r"a\.pue"):
        Site("a", 1.0, 0.9)


@given(st.integers(0, 5_000), st.floats(1e3, 1e5), st.lists(st.tuples(st.floats(0, 50), st.floats(1, 2)), min_size=1, max_size=5), st.floats(0.5, 1.0))
def test_all_systems_are_placed_and_no_site_draws_more_than_it_may(systems, it_power_w, rooms, diversity):
    sites = [Site(f"s{i}", *room) for i, room in enumerate(rooms)] + [Site("rest", math.inf, 1.1)]
    placed = place(systems, it_power_w, sites, diversity)
    assert sum(one.systems for one in placed) == systems
    assert all(one.facility_power_mw <= site.facility_power_mw * (1 + 1e-9) for one, site in zip(placed, sites, strict=True))
