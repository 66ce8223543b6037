"""Numbers as people read them: three significant figures, thousands separators, SI and money prefixes."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"

# SI units that take a prefix, and how they are printed.
_SI = {"byte": "B", "byte/s": "B/s", "FLOP/s": "FLOP/s", "W": "W", "J": "J", "s": "s"}
_UP = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18))
_DOWN = (("m", 1e-3), ("u", 1e-6), ("n", 1e-9))
_COUNTS = (("", 1.0), ("M", 1e6), ("B", 1e9), ("T", 1e12))


def digits(value: float, significant: int = 3) -> str:
    """A number with at least `significant` figures, thousands separators and no digit before the point rounded away; a whole number has no decimals.

    >>> digits(0.026964), digits(7.0465), digits(1174.77), digits(32.0), digits(2.5e-7)
    ('0.0270', '7.05', '1,175', '32', '2.50e-07')
    """
    if value == int(value):
        return f"{int(value):,}"
    magnitude = abs(value)
    if magnitude < 1e-4:
        return f"{value:.{significant - 1}e}"
    # Rounding can carry into a new digit (9.996 -> 10.0), so the rounded number says how many decimals it takes.
    rounded = float(f"{value:.{significant - 1}e}")
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}"


def number(value: object) -> str:
    """A value without its unit, for a column whose header has it; millions and above take M, B, T.

    >>> number(None), number(float("nan")), number(True), number(7813), number(1_000_000), number(25.93e9), number("memory")
    ('–', '–', 'yes', '7,813', '1,000,000', '25.9 B', 'memory')
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return UNKNOWN if math.isnan(value) else str(value)
    if isinstance(value, int) and abs(value) < 1e8:
        return f"{value:,}"
    return _prefixed(value, _COUNTS) if abs(value) >= 999_999.5 else digits(value)


def _prefixed(value: float, prefixes: Sequence[tuple[str, float]]) -> str:
    """Number and prefix: the largest that leaves at least one (after rounding) before the point."""
    fitting = [(prefix, factor) for prefix, factor in prefixes if float(f"{abs(value):.2e}") >= factor]
    prefix, factor = max(fitting or [prefixes[0]], key=lambda pair: pair[1])
    scaled = value / factor
    # Three figures, zeros too: 3.00 ms stands beside 3.14 ms. A number that needs no prefix is shown as everywhere.
    shown = digits(scaled) if factor == 1.0 or abs(scaled) >= 999.5 else f"{scaled:#.3g}".rstrip(".")
    return f"{shown} {prefix}".rstrip()


def text(value: object, unit: str = "1") -> str:
    """A value with its unit: SI prefixes on bytes, FLOP/s, W, J and seconds, M, B and T on money and counts.

    >>> text(0.026964, "s"), text(5_128_060_928, "byte"), text(1.299e15, "FLOP/s"), text(8e6, "USD"), text(7.046, "USD/Mtok"), text(None, "s")
    ('27.0 ms', '5.13 GB', '1.30 PFLOP/s', '8.00 M USD', '7.05 USD/Mtok', '–')
    """
    shown = number(value)
    if unit in ("", "1") or shown == UNKNOWN or isinstance(value, (bool, str)) or not isinstance(value, (int, float)):
        return shown
    if unit not in _SI:
        return f"{shown} {unit}"
    # Seconds are never thousands of seconds, nor small watts long numbers.
    prefixes = [*_DOWN, *(_UP[:1] if unit == "s" else _UP)]
    shown = _prefixed(float(value), prefixes) if value and math.isfinite(value) else shown
    return f"{shown}{_SI[unit]}" if shown[-1].isalpha() else f"{shown} {_SI[unit]}"


def percent(value: object) -> str:
    """A fraction in percent, without the sign, for a column whose header has it.

    >>> percent(0.8445), percent(-0.05), percent(1.0), percent(None)
    ('84.5', '-5', '100', '–')
    """
    return number(round(float(value) * 100, 9) if isinstance(value, (int, float)) else value)


def is_share(name: str, *values: float | None) -> bool:
    """Whether a quantity without a unit is said in percent: what is called a fraction, or never goes beyond 1, its range included; a ratio such as PUE is not.

    >>> is_share("sites.here.pue", 1.15, 1.1), is_share("ownership.us.occupancy", 0.6, 0.4, 0.8), is_share("growth_fraction_per_year", 1.5)
    (False, True, True)
    """
    return "_fraction" in name or all(abs(value) <= 1.0 for value in values if value is not None)


def measured(value: object, unit: str, *, as_share: bool) -> str:
    """A value with its unit; without a unit in percent where it is a share.

    >>> measured(1.15, "1", as_share=False), measured(0.6, "1", as_share=True), measured(29_500, "USD", as_share=False)
    ('1.15', '60 %', '29,500 USD')
    """
    return f"{percent(value)} %" if as_share and unit == "1" and value is not None else text(value, unit)


def ratio(value: float | None) -> str:
    """A ratio: two decimals, three near one, all of it where it is exact with three.

    >>> ratio(4.359699), ratio(3.375), ratio(1.005997), ratio(1.5), ratio(12345.6)
    ('4.36', '3.375', '1.006', '1.5', '12,346')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if math.isclose(value, round(value, 3), rel_tol=1e-9):
        return f"{round(value, 3):g}"
    return f"{value:.3f}" if abs(value - 1) < 0.05 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
