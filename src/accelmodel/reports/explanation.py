"""An explanation as indented lines: each quantity with its value, how its parts make it, and at the ends the figures with range, kind, source and date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

from accelmodel.columns import COLUMNS, HIGH, LOW
from accelmodel.numbers import digits, percent, text
from accelmodel.reports.layout import say
from accelmodel.reports.terminal import label, print_sources

if TYPE_CHECKING:
    from accelmodel.studies.equations import Term
    from accelmodel.studies.explain import Explanation

_LONGEST_SUM = 8  # parts that are written out
_NAME = re.compile(r"[A-Za-z_]\w*")
_UNIT = re.compile(r"_(usd|mtok|mw|w)(_per_(mtok|h|day|year))?$")


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
        yield from ((f"= {words}", level + 1) for words in _equations(term))
    if term.gives is not None:
        yield f"the parts give {text(term.gives, term.unit)}, which is not this number", level + 1
    for part in term.parts:
        yield from _lines(part, level + 1, depth, shown)


def _equations(term: Term) -> Iterator[str]:
    """The equation; one that has symbols for all of its parts in words, and with their numbers in it."""
    assert term.equation is not None
    symbols = {part.symbol: part for part in term.parts if part.symbol is not None}
    if len(symbols) < len(term.parts):
        yield term.equation
        return
    if len(symbols) > _LONGEST_SUM and term.equation == " + ".join(symbols):
        yield f"the sum of {len(symbols)} parts"
        return
    signs = term.equation.replace("**", "^").replace("*", "x").replace("8760", "8,760")
    yield _NAME.sub(lambda found: _words(found[0]) if found[0] in symbols else found[0], signs)
    if len(symbols) > 1:
        yield _NAME.sub(lambda found: _digits(symbols[found[0]].value) if found[0] in symbols else found[0], signs)


def _words(name: str) -> str:
    """A symbol in words, without its unit."""
    return label(name)[0] if name in COLUMNS else _UNIT.sub("", name).replace("_", " ")


def _digits(value: object) -> str:
    """A number in an equation."""
    shown = digits(value, 4) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
    return f"({shown})" if shown.startswith("-") else shown


def _line(term: Term) -> str:
    known = term.name.removesuffix(LOW).removesuffix(HIGH) in COLUMNS
    name = label(term.name)[0] if known else _words(term.name)
    if known and label(term.name)[1] == "%":
        value = f"{percent(term.value)} %"
    else:
        value = text(term.value, term.unit)
    spread = "" if term.low is None or term.high is None else f" [{digits(term.low)} to {digits(term.high)}]"
    remarks = [word for word in (term.kind, term.source, term.date, None if term.parts else term.note) if word]
    if not term.parts and term.equation:
        remarks.append(term.equation)
    return f"{name}: {value}{spread}" + (f"  ({', '.join(remarks)})" if remarks else "")
