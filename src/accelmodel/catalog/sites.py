"""Sites: where accelerators stand, what electricity costs there and how much power there is."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from accelmodel.catalog.figures import Figure, Fraction, Name, Strict, of

_SitePower = Annotated[Figure, of("power", 0.01, 100_000, "MW")]


class Phase(Strict):
    """A phase of construction and the IT power that stands when it is complete (not what it adds)."""

    name: str
    it_power: _SitePower
    note: str | None = None


_Tariff = Annotated[Figure, of("money per energy", 0.005, 1.0, "USD/kWh")]


class HourClass(Strict):
    """Hours that a utility bills alike (on-peak, off-peak ...): their share of all hours and their tariff."""

    name: str
    hours: Fraction
    tariff: _Tariff


class SiteFigures(Strict):
    """Figures of one site: `power` is the whole draw at the meter when fully built, absent where no site but a state is meant.

    `demand_charge` is billed on the highest draw at the meter, beside the energy; `carbon_intensity` is of the electricity consumed, `water_usage` of the
    water per unit of IT energy (WUE).
    """

    tariff: _Tariff
    pue: Annotated[Figure, of("ratio", 1.0, 3.0)]
    power: _SitePower | None = None
    demand_charge: Annotated[Figure, of("money per energy", 0.0, 100.0, "USD/kW/month")] | None = None
    carbon_intensity: Annotated[Figure, of("mass per energy", 0.0, 2.0, "kg/kWh")] | None = None
    water_usage: Annotated[Figure, of("volume per energy", 0.0, 10.0, "liter/kWh")] | None = None


class Site(Strict):
    """A place with an electricity tariff, a power usage effectiveness and, where it is one campus, a limit of power."""

    name: Name
    title: str
    country: str
    state: str | None = None
    cloud_region: str | None = None
    aliases: tuple[str, ...] = ()
    note: str | None = None
    figures: SiteFigures
    phases: tuple[Phase, ...] = ()
    hour_classes: tuple[HourClass, ...] = ()

    @model_validator(mode="after")
    def _classes_are_all_hours(self) -> Site:
        if self.hour_classes and abs(sum(one.hours.si for one in self.hour_classes) - 1.0) > 1e-9:
            raise ValueError("the shares of the hour classes must sum to 1")
        return self
