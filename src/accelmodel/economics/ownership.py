"""What an accelerator-hour costs whoever owns it: capital of server, racks, network and facility, energy and its peak, upkeep, software, spares, removal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accelmodel.economics import Values, check_range
from accelmodel.economics.annuities import annuity_usd_per_year, capital_recovery_factor, sinking_fund_usd_per_year, tax_factor
from accelmodel.economics.depreciation import macrs_fractions, present_value_fraction
from accelmodel.units import HOURS_PER_YEAR

Basis = Literal["powered", "available", "sold"]
_W_PER_KW = 1e3


@dataclass(frozen=True)
class OwnershipTerms:
    """Terms that an owner's accelerators have in common.

    `network_share_fraction` is the network's part of server plus network capital; `facility_usd_per_w` is per watt of
    IT load; `spares_fraction` is spare servers per working one; `operations_fraction_per_year` (staff, software,
    insurance) and `maintenance_fraction_per_year` are of server plus network capital; `residual_fraction` is what a
    server still fetches at the end of its life.

    What follows is 0 where an owner does not say: `integration_fraction` is racks, installation and testing, as a share of
    the server, and lives as long; `decommissioning_fraction` is what taking a server out costs, as a share of it;
    `software_usd_per_year` is of one accelerator; `tax_fraction` is of profit, and makes capital return what is left
    after it. InputError where a term is out of its bounds.
    """

    cost_of_capital_fraction: Values
    server_life_years: Values
    network_life_years: Values
    facility_life_years: Values
    facility_usd_per_w: Values
    network_share_fraction: Values
    spares_fraction: Values
    operations_fraction_per_year: Values
    maintenance_fraction_per_year: Values
    residual_fraction: Values
    integration_fraction: Values = 0.0
    decommissioning_fraction: Values = 0.0
    software_usd_per_year: Values = 0.0
    tax_fraction: Values = 0.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if key.endswith("_life_years"):
                check_range(key, value, above=0)
            elif key in ("facility_usd_per_w", "software_usd_per_year"):
                check_range(key, value, at_least=0)
            elif key == "network_share_fraction":
                check_range(key, value, at_least=0, below=1)
            else:
                check_range(key, value, at_least=0, at_most=1)

    @property
    def straight_line(self) -> OwnershipTerms:
        """The same terms without interest: capital spread evenly over its life, as accounts depreciate it."""
        return dataclasses.replace(self, cost_of_capital_fraction=0.0 * np.asarray(self.cost_of_capital_fraction)[()])


@dataclass(frozen=True)
class Capital:
    """USD that one accelerator ties up, by what it is spent on."""

    server_usd: Values
    network_usd: Values
    spares_usd: Values
    facility_usd: Values
    integration_usd: Values = 0.0

    @property
    def equipment_usd(self) -> Values:
        """Servers, racks and network in service: what is bought anew with every generation."""
        return self.server_usd + self.integration_usd + self.network_usd

    @property
    def total_usd(self) -> Values:
        """All of it."""
        return self.equipment_usd + self.spares_usd + self.facility_usd


@dataclass(frozen=True)
class OwnershipCost:
    """USD per accelerator-hour, line by line. `basis` says of which hours: powered (all 8760 of a year), available, or sold."""

    server_capital_usd_per_h: Values
    network_capital_usd_per_h: Values
    facility_capital_usd_per_h: Values
    energy_usd_per_h: Values
    operations_usd_per_h: Values
    maintenance_usd_per_h: Values
    spares_usd_per_h: Values
    integration_usd_per_h: Values = 0.0
    demand_usd_per_h: Values = 0.0
    software_usd_per_h: Values = 0.0
    decommissioning_usd_per_h: Values = 0.0
    basis: Basis = "powered"

    @property
    def lines(self) -> dict[str, Values]:
        """Line -> USD per accelerator-hour."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "basis"}

    @property
    def total_usd_per_h(self) -> Values:
        """Sum of the lines."""
        return sum(self.lines.values(), start=0.0)

    @property
    def running_usd_per_h(self) -> Values:
        """What is paid as the hours go by, the capital being spent: energy and its peak, operations, maintenance, software."""
        return self.energy_usd_per_h + self.demand_usd_per_h + self.operations_usd_per_h + self.maintenance_usd_per_h + self.software_usd_per_h

    def per_available_h(self, availability_fraction: Values) -> OwnershipCost:
        """The powered hours' cost borne by those in which the accelerator is up: every line / availability."""
        check_range("availability_fraction", availability_fraction, above=0, at_most=1)
        return self._borne_by(availability_fraction, "available")

    def per_sold_h(self, availability_fraction: Values, occupancy_fraction: Values) -> OwnershipCost:
        """The powered hours' cost borne by those that a customer pays for: every line / (availability x occupancy)."""
        check_range("availability_fraction", availability_fraction, above=0, at_most=1)
        check_range("occupancy_fraction", occupancy_fraction, above=0, at_most=1)
        return self._borne_by(availability_fraction * occupancy_fraction, "sold")

    def _borne_by(self, share: Values, basis: Basis) -> OwnershipCost:
        if self.basis != "powered":
            raise ValueError(f"cost per {self.basis} hour is already divided; start from the powered hours'")
        return OwnershipCost(**{name: value / share for name, value in self.lines.items()}, basis=basis)


def mean_tariff_usd_per_kwh(tariffs_usd_per_kwh: Values, hours_fraction: Values, load: Values = 1.0) -> Values:
    """Tariff over classes of hours (last axis): sum of tariff x hours x load / sum of hours x load; an even load where none is given."""
    weight = np.asarray(hours_fraction) * load
    mean: Values = np.sum(np.asarray(tariffs_usd_per_kwh) * weight, axis=-1) / np.sum(weight, axis=-1)
    return mean


def capital_per_accelerator(terms: OwnershipTerms, purchase_usd: Values, it_power_w: Values) -> Capital:
    """Capital behind one accelerator that is bought as part of a server at `purchase_usd` and draws up to `it_power_w`.

    The purchase is the chip with its share of the server. The network is w / (1 - w) of the server where w is its
    share of both; the facility is built for the IT power, which spares on the shelf do not draw.
    """
    share = terms.network_share_fraction
    return Capital(
        server_usd=purchase_usd,
        network_usd=purchase_usd * share / (1 - share),
        spares_usd=purchase_usd * terms.spares_fraction,
        facility_usd=it_power_w * terms.facility_usd_per_w,
        integration_usd=purchase_usd * terms.integration_fraction,
    )


def cost_of_ownership(
    terms: OwnershipTerms,
    capital: Capital,
    *,
    power_w: Values,
    pue: Values,
    tariff_usd_per_kwh: Values,
    peak_power_w: Values = 0.0,
    demand_usd_per_kw_h: Values = 0.0,
) -> OwnershipCost:
    """USD per accelerator-hour powered.

    [P_server A(r, n_server, s) + P_network CRF(r, n_network) + P_facility CRF(r, n_facility) + P_spares A(r, n_server, s)
    + P_racks CRF(r, n_server) + (operations + maintenance) (P_server + P_network) + software + removal (A/F, r, n_server)] / 8760
    + PUE (kW x USD/kWh + peak kW x demand charge), A being the annuity less residual value.
    `power_w` is the average IT power at the actual load, not the power that the facility is built for; it is drawn in every powered hour.
    `demand_usd_per_kw_h` is what a utility charges for the highest draw at the meter, per hour; `peak_power_w` is that draw of the IT. Where profit is taxed,
    every CRF is multiplied by its `tax_factor`, equipment being written off by MACRS over 5 years, the facility on a straight line over its life.
    """
    rate, it_usd = terms.cost_of_capital_fraction, capital.server_usd + capital.network_usd
    taxed = tax_factor(terms.tax_fraction, present_value_fraction(macrs_fractions(5), rate))
    taxed_facility = tax_factor(terms.tax_fraction, 1.0 / (terms.facility_life_years * capital_recovery_factor(rate, terms.facility_life_years)))
    server = annuity_usd_per_year(1.0, rate, terms.server_life_years, terms.residual_fraction, taxed) / HOURS_PER_YEAR
    removal_usd = capital.server_usd * terms.decommissioning_fraction
    return OwnershipCost(
        server_capital_usd_per_h=capital.server_usd * server,
        network_capital_usd_per_h=annuity_usd_per_year(capital.network_usd, rate, terms.network_life_years, 0.0, taxed) / HOURS_PER_YEAR,
        facility_capital_usd_per_h=annuity_usd_per_year(capital.facility_usd, rate, terms.facility_life_years, 0.0, taxed_facility) / HOURS_PER_YEAR,
        energy_usd_per_h=power_w / _W_PER_KW * pue * tariff_usd_per_kwh,
        operations_usd_per_h=it_usd * terms.operations_fraction_per_year / HOURS_PER_YEAR,
        maintenance_usd_per_h=it_usd * terms.maintenance_fraction_per_year / HOURS_PER_YEAR,
        spares_usd_per_h=capital.spares_usd * server,
        integration_usd_per_h=annuity_usd_per_year(capital.integration_usd, rate, terms.server_life_years, 0.0, taxed) / HOURS_PER_YEAR,
        demand_usd_per_h=peak_power_w / _W_PER_KW * pue * demand_usd_per_kw_h,
        software_usd_per_h=terms.software_usd_per_year / HOURS_PER_YEAR,
        decommissioning_usd_per_h=sinking_fund_usd_per_year(removal_usd, rate, terms.server_life_years) / HOURS_PER_YEAR,
    )
