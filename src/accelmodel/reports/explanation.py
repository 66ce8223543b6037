"""An explanation as indented lines: each quantity with its value, how its parts make it, and at the ends the figures with range, kind, source and date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

from accelmodel.columns import COLUMNS, HIGH, LOW
from accelmodel.numbers import digits, percent, text
from accelmodel.reports.layout import say
from accelmodel.reports.terminal import label, print_sources

if TYPE_CHECKING:
    from accelmodel.studies.explain import Explanation
    from accelmodel.studies.terms import Term


def print_explanation(explanation: Explanation, console: Console, depth: int | None = None) -> None:
    """The tree down to `depth` levels (all where absent), and every source below."""
    for line, indent in _lines(explanation.term, 0, depth, set()):
        say("  " * indent + line, console, indent="  " * (indent + 2))
    print_sources(explanation.sources, console, limit=len(explanation.sources))


def _lines(term: Term, level: int, depth: int | None, shown: set[Term]) -> Iterator[tuple[str, int]]:
    """Lines and their levels; what stood above already is not walked down again."""
    yield _line(term), level
    if not term.parts:
        return
    if term in shown:
        yield "as above", level + 1
        return
    shown.add(term)
    if depth is not None and level >= depth:
        yield f"... {len(term.parts)} parts, see --depth", level + 1
        return
    if term.equation:
        yield f"= {term.equation}", level + 1
    for part in term.parts:
        yield from _lines(part, level + 1, depth, shown)


def _line(term: Term) -> str:
    known = term.name.removesuffix(LOW).removesuffix(HIGH) in COLUMNS
    name = label(term.name)[0] if known else term.name.replace("_usd_per_h", "").replace("_", " ")
    if known and label(term.name)[1] == "%":
        value = f"{percent(term.value)} %"
    else:
        value = text(term.value, term.unit)
    spread = "" if term.low is None or term.high is None else f" [{digits(term.low)} to {digits(term.high)}]"
    remarks = [word for word in (term.kind, term.source, term.date, None if term.parts else term.note) if word]
    if not term.parts and term.equation:
        remarks.append(term.equation)
    return f"{name}: {value}{spread}" + (f"  ({', '.join(remarks)})" if remarks else "")
