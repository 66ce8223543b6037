"""Energy, carbon and water of a million tokens at a site."""

from __future__ import annotations

from accelmodel.economics import Values, ratio
from accelmodel.units import TOKENS_PER_MTOK

_J_PER_KWH = 3.6e6


def it_energy_kwh_per_mtok(it_power_w: Values, tokens_per_s: Values) -> Values:
    """IT energy of a million tokens: W / (tokens/s) x 10^6 / 3.6e6; power and rate are means over the same hours. NaN without tokens."""
    return ratio(it_power_w, tokens_per_s) * TOKENS_PER_MTOK / _J_PER_KWH


def site_energy_kwh_per_mtok(it_energy_kwh_per_mtok: Values, pue: Values) -> Values:
    """Energy at the meter: IT energy x PUE."""
    return it_energy_kwh_per_mtok * pue


def carbon_kg_per_mtok(site_energy_kwh_per_mtok: Values, carbon_intensity_kg_per_kwh: Values) -> Values:
    """Location-based carbon of a million tokens: energy at the meter x the grid's intensity (GHG Protocol, scope 2)."""
    return site_energy_kwh_per_mtok * carbon_intensity_kg_per_kwh


def water_l_per_mtok(it_energy_kwh_per_mtok: Values, water_usage_l_per_kwh: Values) -> Values:
    """Water used on site: IT energy x water usage effectiveness (The Green Grid: litres per kWh of IT)."""
    return it_energy_kwh_per_mtok * water_usage_l_per_kwh
