"""Units at the edge: a figure's unit string becomes a factor to SI and a dimension, once; the core sees bare SI numbers.

SI here: byte, FLOP, second, watt, joule, token, accelerator, USD. FLOP, token, accelerator and currency are dimensions of their own, so that
TFLOP/s is never taken for TB/s, nor USD/Mtok for USD/h.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accelmodel.errors import InputError

if TYPE_CHECKING:
    import pint

# What Pint lacks or holds to be dimensionless (a bit). OP is an integer operation, which shares the tensor engine's clock with FLOP; a year has 8760 h,
# as in every cost table of this trade.
_DEFINITIONS = """
bit = [information]
year = 8760 * hour
FLOP = [operation]
OP = FLOP
token = [token] = tok
accelerator = [accelerator] = chip
USD = [currency]
request = [request]
"""

HOURS_PER_YEAR = 8760.0
SECONDS_PER_HOUR = 3600.0
SECONDS_PER_DAY = 86_400.0
TOKENS_PER_MTOK = 1e6


@dataclass(frozen=True)
class Unit:
    """A unit as written, its factor to SI and its dimension.

    `factor` times a value in this unit is the value in SI (byte, FLOP, s, W, J, token, accelerator, USD).
    """

    text: str
    factor: float
    dimension: str


@functools.cache
def registry() -> pint.UnitRegistry[float]:
    """The Pint registry with the trade's own units."""
    import pint

    reg: pint.UnitRegistry[float] = pint.UnitRegistry(cache_folder=":auto:", on_redefinition="ignore")
    for line in _DEFINITIONS.strip().splitlines():
        reg.define(line)
    reg._build_cache()  # what Pint worked out before knows bits and bytes as numbers without a dimension
    return reg


# A base expression per dimension that a figure may have; the name is what messages print.
_DIMENSIONS = {
    "ratio": "",
    "time": "s",
    "frequency": "1/s",
    "memory": "byte",
    "bandwidth": "byte/s",
    "compute": "FLOP/s",
    "power": "W",
    "energy": "J",
    "money": "USD",
    "money per time": "USD/s",
    "money per token": "USD/token",
    "money per energy": "USD/J",
    "money per power": "USD/W",
    "money per accelerator": "USD/accelerator",
    "money per accelerator and time": "USD/accelerator/s",
    "accelerators": "accelerator",
    "tokens": "token",
    "tokens per second": "token/s",
    "requests per second": "request/s",
    "mass per energy": "kg/J",
    "volume per energy": "m^3/J",
    "area": "m^2",
}

# The units in which figures of a dimension are printed, for editors to offer; others that Pint can read are read too.
CUSTOMARY = {
    "ratio": ("1", "%"),
    "time": ("us", "ms", "s", "minute", "hour", "day", "year"),
    "frequency": ("1/s", "1/hour", "1/year"),
    "memory": ("byte", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "PB", "PiB"),
    "bandwidth": ("MB/s", "GB/s", "GiB/s", "TB/s", "TiB/s", "PB/s", "Gbit/s", "Tbit/s"),
    "compute": ("GFLOP/s", "TFLOP/s", "PFLOP/s", "EFLOP/s", "TOP/s", "POP/s"),
    "power": ("W", "kW", "MW", "GW"),
    "energy": ("J", "kJ", "kWh", "MWh"),
    "money": ("USD",),
    "money per time": ("USD/hour", "USD/day", "USD/month", "USD/year"),
    "money per token": ("USD/token", "USD/ktok", "USD/Mtok"),
    "money per energy": ("USD/kWh", "USD/MWh", "USD/kW/month"),
    "money per power": ("USD/W", "USD/kW", "USD/MW"),
    "money per accelerator": ("USD/accelerator",),
    "money per accelerator and time": ("USD/accelerator/hour", "USD/accelerator/month", "USD/accelerator/year"),
    "accelerators": ("accelerator",),
    "tokens": ("token", "ktok", "Mtok"),
    "tokens per second": ("token/s",),
    "requests per second": ("request/s", "request/minute"),
    "mass per energy": ("kg/kWh", "g/kWh"),
    "volume per energy": ("liter/kWh",),
    "area": ("acre", "m^2", "km^2"),
}


def si_unit(dimension: str) -> str:
    """The SI unit of a dimension by name, `1` of a ratio.

    >>> si_unit("bandwidth"), si_unit("ratio")
    ('byte/s', '1')
    """
    return _DIMENSIONS[dimension] or "1"


@functools.cache
def _dimension_names() -> dict[object, str]:
    reg = registry()
    return {reg.parse_units(expression).dimensionality: name for name, expression in _DIMENSIONS.items()}


@functools.cache
def unit(text: str) -> Unit:
    """A unit string (`TB/s`, `GiB`, `TFLOP/s`, `USD/kWh`, `USD/Mtok`, `1`, `%`) as factor and dimension.

    Raises InputError for a unit that cannot be read or has no use here.

    >>> unit("GiB")
    Unit(text='GiB', factor=1073741824.0, dimension='memory')
    >>> unit("USD/Mtok").factor
    1e-06
    """
    import pint

    reg = registry()
    try:
        parsed = reg.parse_units("" if text == "1" else "percent" if text == "%" else text)
        base = reg.Quantity(1.0, parsed)
        dimension = _dimension_names().get(base.dimensionality)
        if dimension is None:
            raise InputError(f"unit '{text}' has no use here", value=text, allowed=_DIMENSIONS)
        factor = float(base.to(_DIMENSIONS[dimension] or "dimensionless").magnitude)
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"unit '{text}' cannot be read",
            value=text,
            allowed=["1", "%", "TFLOP/s", "GB", "GiB", "TB/s", "Gbit/s", "W", "kW", "us", "USD", "USD/hour", "USD/Mtok", "USD/kWh", "year"],
        ) from None
    return Unit(text, factor, dimension)
