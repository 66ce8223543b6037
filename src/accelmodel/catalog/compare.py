"""`catalog diff`: two entries of one kind, figure by figure, with the ratio of the second to the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accelmodel.catalog.entries import Entry, check_kind, figures, kinds_with, read, routed_experts
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator, AcceleratorFigures, System
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model
from accelmodel.catalog.offers import HourOffer, Snapshot, TokenOffer, newest
from accelmodel.errors import InputError

# What becomes of a price from one snapshot to the next, in the order in which it is told.
CHANGES = ("dearer", "cheaper", "new", "gone")

# Figures of a chip that add up over a system.
_ADDITIVE = tuple(AcceleratorFigures.model_fields)


@dataclass(frozen=True)
class Side:
    """One entry's value of a figure, in SI, and where it comes from; None where it is unknown."""

    value: float | None = None
    kind: str | None = None
    source: str | None = None

    @staticmethod
    def of(figure: Figure | None) -> Side:
        """A figure's side of a row."""
        return Side() if figure is None else Side(figure.si, figure.kind, figure.source)

    def times(self, count: float) -> Side:
        """The same figure for `count` of them."""
        return Side(None if self.value is None else self.value * count, self.kind, self.source)


@dataclass(frozen=True)
class Row:
    """One figure of both entries. For systems `a` and `b` are totals, `each_a` and `each_b` the figures of one accelerator."""

    name: str
    dimension: str
    a: Side
    b: Side
    each_a: Side | None = None
    each_b: Side | None = None

    @property
    def ratio(self) -> float | None:
        """Second over first; None where either is unknown or the first is 0."""
        return _ratio(self.a, self.b)

    @property
    def each_ratio(self) -> float | None:
        """Second over first, per accelerator."""
        return None if self.each_a is None or self.each_b is None else _ratio(self.each_a, self.each_b)

    @property
    def change(self) -> str:
        """What became of a price from the first to the second: one of CHANGES, or nothing where it stayed."""
        if self.a.value is None or self.b.value is None:
            return "new" if self.a.value is None else "gone"
        return "dearer" if self.b.value > self.a.value else "cheaper" if self.b.value < self.a.value else ""


@dataclass(frozen=True)
class Comparison:
    """Two entries of one kind and their rows; of two snapshots of prices only what changed, and how many prices did not."""

    kind: str
    a: Entry
    b: Entry
    rows: tuple[Row, ...]
    unchanged: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data; values in SI."""
        rows = []
        for row in self.rows:
            known: dict[str, Any] = {"figure": row.name, "dimension": row.dimension, "a": row.a.value, "b": row.b.value, "ratio": row.ratio}
            if row.each_a is not None and row.each_b is not None:
                known |= {"a_per_accelerator": row.each_a.value, "b_per_accelerator": row.each_b.value, "ratio_per_accelerator": row.each_ratio}
            if self.unchanged is not None:
                known |= {"change": row.change, "change_fraction": None if row.ratio is None else row.ratio - 1}
            rows.append(known | {"a_kind": row.a.kind, "a_source": row.a.source, "b_kind": row.b.kind, "b_source": row.b.source})
        found = {"kind": self.kind, "a": self.a.name, "b": self.b.name, "rows": rows}
        return found if self.unchanged is None else found | {"unchanged": self.unchanged}


def _ratio(a: Side, b: Side) -> float | None:
    return b.value / a.value if a.value and b.value is not None else None


def diff(a: str, b: str, library: Library | None = None, kind: str | None = None) -> Comparison:
    """Two entries of one kind by name, alias or path, compared.

    The totals of systems are accelerators x the accelerator's figure, so that a ratio of totals is exactly the ratio of counts times the
    ratio per accelerator. Raises InputError where the names are of different kinds, or of several alike.
    """
    books = library or Library()
    found = [check_kind(kind)] if kind else _common_kinds(a, b, books)
    first, second = read(found[0], a, books), read(found[0], b, books)
    rows = tuple(row for row in _rows(first, second, books) if row.a.value is not None or row.b.value is not None)
    if not isinstance(first.record, Snapshot):
        return Comparison(found[0], first, second, rows)
    changed = sorted((row for row in rows if row.change), key=_by_change)
    return Comparison(found[0], first, second, tuple(changed), len(rows) - len(changed))


def _common_kinds(a: str, b: str, library: Library) -> list[str]:
    kinds_a, kinds_b = kinds_with(a, library), kinds_with(b, library)
    for name, kinds in ((a, kinds_a), (b, kinds_b)):
        if not kinds:
            from accelmodel.catalog.entries import show

            show(name, library)  # raises, with the nearest name
    common = [kind for kind in kinds_a if kind in kinds_b]
    if not common:
        raise InputError(f"'{a}' ({', '.join(kinds_a)}) and '{b}' ({', '.join(kinds_b)}) are not of one kind", key="B", value=b)
    if len(common) > 1:
        raise InputError(f"'{a}' and '{b}' are names in several kinds: say which kind (on the command line: --kind)", key="kind", allowed=common)
    return common


def _rows(a: Entry, b: Entry, library: Library) -> Iterator[Row]:
    first, second = a.record, b.record
    if isinstance(first, System) and isinstance(second, System):
        yield from _system_rows(first, second, library)
    elif isinstance(first, Accelerator) and isinstance(second, Accelerator):
        for name in AcceleratorFigures.model_fields:
            yield _row(name, getattr(first.figures, name), getattr(second.figures, name))
    elif isinstance(first, Model) and isinstance(second, Model):
        yield from _model_rows(first, second)
    elif isinstance(first, (HourOffer, TokenOffer)) and isinstance(second, (HourOffer, TokenOffer)):
        yield from _offer_rows(first, second)
    elif isinstance(first, Snapshot) and isinstance(second, Snapshot):
        yield from _snapshot_rows(first, second)
    elif isinstance(first, Snapshot) or isinstance(second, Snapshot):
        raise InputError(f"'{a.name}' and '{b.name}' do not compare: one is a snapshot of prices, the other one price", key="B", value=b.name)
    else:
        own, other = ({row.key: row.figure for row in figures(record)} for record in (first, second))
        for name in dict.fromkeys([*own, *other]):
            yield _row(name, own.get(name), other.get(name))


def _row(name: str, a: Figure | None, b: Figure | None) -> Row:
    known = a or b
    return Row(name, known.dimension if known else "", Side.of(a), Side.of(b))


def _system_rows(a: System, b: System, library: Library) -> Iterator[Row]:
    yield Row("accelerators", "accelerators", Side(a.accelerators, "published", a.source), Side(b.accelerators, "published", b.source))
    chip_a, chip_b = (library.accelerator(system.accelerator).figures for system in (a, b))
    for name in _ADDITIVE:
        one = _row(name, getattr(chip_a, name), getattr(chip_b, name))
        yield Row(name, one.dimension, one.a.times(a.accelerators), one.b.times(b.accelerators), one.a, one.b)
    for name in ("vcpus", "host_memory", "network_bandwidth"):
        whole = _row(name, getattr(a.figures, name), getattr(b.figures, name))
        yield Row(name, whole.dimension, whole.a, whole.b, whole.a.times(1 / a.accelerators), whole.b.times(1 / b.accelerators))


def _model_rows(a: Model, b: Model) -> Iterator[Row]:
    sides = [(model.architecture, "estimated" if model.is_estimate else "published", model.config_source) for model in (a, b)]
    for name in ("parameters", "active_parameters", "layers", "hidden_size", "vocab_size", "max_context_tokens"):
        one, other = (Side(float(getattr(architecture, name)), kind, source) for architecture, kind, source in sides)
        yield Row(name, "ratio", one, other)
    for place, name in enumerate(("experts", "experts_per_token")):
        one, other = (
            Side(None if experts is None else float(experts[place]), kind, source)
            for experts, (_, kind, source) in zip((routed_experts(a), routed_experts(b)), sides, strict=True)
        )
        yield Row(name, "ratio", one, other)


def _offer_rows(a: HourOffer | TokenOffer, b: HourOffer | TokenOffer) -> Iterator[Row]:
    if type(a) is not type(b):
        raise InputError(f"'{a.id}' is in {a.unit}, '{b.id}' in {b.unit}: they do not compare", key="B", value=b.id)
    hourly = isinstance(a, HourOffer)
    names = ("price",) if hourly else ("input", "cache_read", "cache_write", "output", "batch_input", "batch_output")
    for name in names:
        one, other = (Side(getattr(offer, name), offer.kind, offer.source) for offer in (a, b))
        yield Row(name, "USD/hour" if hourly else "USD/Mtok", one, other)


def _snapshot_rows(a: Snapshot, b: Snapshot) -> Iterator[Row]:
    """Every price of two snapshots, by offer and key; of an offer with several dates the newest."""
    if (bool(a.hour), bool(a.token)) != (bool(b.hour), bool(b.token)):
        raise InputError(f"'{a.name}' is in {a.unit}, '{b.name}' in {b.unit}: they do not compare", key="B", value=b.name)
    prices_a, prices_b = _prices(a), _prices(b)
    for name in dict.fromkeys([*prices_a, *prices_b]):
        dimension = "USD/hour" if a.hour or name.endswith("_usd_per_h") else "USD/Mtok"
        yield Row(name, dimension, prices_a.get(name, Side()), prices_b.get(name, Side()))


def _prices(snapshot: Snapshot) -> dict[str, Side]:
    hours = {offer.id: Side(offer.price, offer.kind, offer.source) for offer in newest(snapshot.hour)}
    per_token = [(offer, key, price) for offer in newest(snapshot.token) for key, price in offer.prices.items()]
    return hours | {f"{offer.id} {key}": Side(price, offer.kind, offer.source) for offer, key, price in per_token}


def _by_change(row: Row) -> tuple[int, float, str]:
    """By what became of a price, the largest change first."""
    return CHANGES.index(row.change), -abs((row.ratio or 1.0) - 1), row.name
