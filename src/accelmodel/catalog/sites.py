"""Sites: where accelerators stand, what electricity costs there and how much power there is."""

from __future__ import annotations

from typing import Annotated

from accelmodel.catalog.figures import Figure, Name, Strict, of

_SitePower = Annotated[Figure, of("power", 0.01, 100_000, "MW")]


class Phase(Strict):
    """A phase of construction and the IT power that stands when it is complete (not what it adds)."""

    name: str
    it_power: _SitePower
    note: str | None = None


class SiteFigures(Strict):
    """Figures of one site: `power` is the whole draw at the meter when fully built, absent where no site but a state is meant."""

    tariff: Annotated[Figure, of("money per energy", 0.005, 1.0, "USD/kWh")]
    pue: Annotated[Figure, of("ratio", 1.0, 3.0)]
    power: _SitePower | None = None
    carbon_intensity: Annotated[Figure, of("mass per energy", 0.0, 2.0, "kg/kWh")] | None = None


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
