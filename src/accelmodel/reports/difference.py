"""Two runs compared, as text: the changed inputs, numbered, and a line for each number that changed, with the part of each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from accelmodel.columns import column
from accelmodel.numbers import UNKNOWN, digits, number
from accelmodel.reports.layout import Column, heading, print_columns, say
from accelmodel.reports.terminal import cell, label
from accelmodel.studies.changes import ABSENT, is_figure
from accelmodel.studies.decomposition import ORDERS

if TYPE_CHECKING:
    from accelmodel.studies.changes import Change, Input
    from accelmodel.studies.diff import Difference, NumberChange, StudyChange

NUMBERS_SHOWN = 40
CHANGES_SHOWN = 12
_NAMES_OF_ROWS = 4

_SPLIT = {
    "sequential": "Parts are of the inputs put in one after the other, in the order of their numbers; the interaction (what all do together less what each "
    "does alone) is in the parts of the later ones.",
    "shapley": "Parts are Shapley values: the mean over all orders of the inputs, which shares out the interaction (what all do together less what each does "
    "alone) evenly.",
    "shapley-sampled": f"Parts are Shapley values estimated from {ORDERS} orders drawn at random, with their standard errors.",
}


def print_difference(found: Difference, console: Console) -> None:
    """What changed in the inputs, in the rows, and in the numbers."""
    heading(f"From A, {found.a.where}, to B, {found.b.where}", console)
    if found.is_empty:
        say("Nothing differs: neither inputs nor results.", console)
        return
    _print_inputs(found, console)
    places = _places(found)
    for name, study in found.studies.items():
        _print_study(name, study, places, console)
    for side in "ab":
        if found.studies_of(side):
            say(f"Only {side.upper()} has: {', '.join(found.studies_of(side))}.", console)
    _print_words(found, console)


def _places(found: Difference) -> dict[str, str]:
    """The number of each input."""
    return {one.name: str(place) for place, one in enumerate(found.inputs, 1)}


def _print_inputs(found: Difference, console: Console) -> None:
    versions = {run.document["version"] for run in (found.a, found.b)}
    if len(versions) > 1:
        say(f"Program version: {found.a.document['version']} to {found.b.document['version']}.", console)
    if not found.inputs:
        say("No input that a number could follow from differs.", console)
    else:
        console.print()
        heading("Changed inputs, in the order in which they are put in", console)
        for place, one in enumerate(found.inputs, 1):
            _print_input(place, one, console)
    if found.idle:
        shown = [f"{change.where} {change.key}" if change.key != "file" else _read_by(change) for change in found.idle[:CHANGES_SHOWN]]
        more = f" and {len(found.idle) - CHANGES_SHOWN} more" if len(found.idle) > CHANGES_SHOWN else ""
        say(f"Without effect on numbers (words, sources, files that another input names): {', '.join(shown)}{more}.", console, indent="  ")


def _read_by(change: Change) -> str:
    return f"{change.where} (read by {'B' if change.before is ABSENT else 'A'} only)"


def _print_input(place: int, one: Input, console: Console) -> None:
    if len(one.changes) == 1:
        say(f"{place}. {one.name}: {_from_to(one.changes[0])}", console, indent="   ")
        return
    say(f"{place}. {one.name}: {len(one.changes)} changes", console)
    for change in one.changes[:CHANGES_SHOWN]:
        said = f"{change.where} {'comes' if change.before is ABSENT else 'goes'}" if change.key == "file" else f"{change.key}: {_from_to(change)}"
        say(f"   {said}", console, indent="      ")
    if len(one.changes) > CHANGES_SHOWN:
        say(f"   and {len(one.changes) - CHANGES_SHOWN} more: --format json lists them", console)


def _from_to(change: Change) -> str:
    if change.key == "file":
        return f"{change.where} {'comes' if change.before is ABSENT else 'goes'}"
    before, after = (
        _text(value) + (" (set)" if overridden else "") for value, overridden in ((change.before, change.set_before), (change.after, change.set_after))
    )
    return f"{before} to {after}"


def _text(value: Any) -> str:
    """A value of an input: a figure with unit and source, whatever else as JSON would say it."""
    if value is ABSENT:
        return "not given"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if is_figure(value):
        spread = f" [{digits(value['low'])}, {digits(value['high'])}]" if value.get("low") is not None and value.get("high") is not None else ""
        remarks = ", ".join(str(value[key]) for key in ("kind", "source", "date") if value.get(key) is not None)
        return f"{value['value']:g} {value['unit']}{spread}" + (f" ({remarks})" if remarks else "")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_text(one)}" for key, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_study(name: str, study: StudyChange, places: Mapping[str, str], console: Console) -> None:
    console.print()
    heading(f"{name} ({study.kind})", console)
    for word, rows in (("new in B", study.added), ("gone from A", study.removed)):
        if rows:
            named = "; ".join(_row(row) for row in rows[:_NAMES_OF_ROWS])
            say(f"{len(rows)} rows {word}: {named}{'; ...' if len(rows) > _NAMES_OF_ROWS else ''}.", console, indent="  ")
    split = [one for one in study.numbers if one.change is not None]
    for one in [one for one in study.numbers if one.change is None][:CHANGES_SHOWN]:
        say(f"{_row(one.row)}: {label(one.column)[0]} {cell(one.column, one.a)} to {cell(one.column, one.b)}", console, indent="  ")
    if split:
        _print_numbers(split, study.identified_by, places, console)
    elif not study.numbers:
        say(f"No number differs in {study.matched} rows.", console)


def _row(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{label(name)[0]} {cell(name, value)}" if name != "row" else f"row {value}" for name, value in row.items()) or "the row"


def _print_numbers(numbers: Sequence[NumberChange], identified_by: Sequence[str], places: Mapping[str, str], console: Console) -> None:
    kept = sorted(range(len(numbers)), key=lambda place: -_relative(numbers[place]))[:NUMBERS_SHOWN]
    shown = [numbers[place] for place in sorted(kept)]
    names = [name for name in identified_by if len({one.row.get(name) for one in shown}) > 1 or name == "case"]
    columns = [Column(label(name)[0], "", [cell(name, one.row.get(name)) for one in shown], column(name).type in ("float", "integer")) for name in names]
    if any("row" in one.row for one in shown):
        columns.append(Column("row", "", [str(one.row.get("row", 0)) for one in shown]))
    columns.append(Column("number", "", [_quantity(one.column) for one in shown], numeric=False))
    columns += [Column(side.upper(), "", [cell(one.column, getattr(one, side)) for one in shown]) for side in "ab"]
    columns.append(Column("change", "", [_signed(one.column, one.change) for one in shown]))
    columns += _part_columns(shown, places)
    print_columns(columns, console, keep=len(names) + 1)
    if len(numbers) > len(shown):
        say(f"The {len(shown)} of {len(numbers)} numbers that changed most, relative to A; --format json has all, --column picks.", console)


def _part_columns(shown: Sequence[NumberChange], places: Mapping[str, str]) -> list[Column]:
    """A column for each input, or inputs together, that has a part in any of the numbers; then version and interaction."""
    heads = {part.inputs: " + ".join(places[name] for name in part.inputs) for one in shown for part in one.parts if part.change or part.standard_error}
    found = []
    for inputs, head in sorted(heads.items(), key=lambda item: [int(place) for place in item[1].split(" + ")]):
        parts = [next((part for part in one.parts if part.inputs == inputs), None) for one in shown]
        cells = [
            "" if part is None else _signed(one.column, part.change) + (f" +- {cell(one.column, part.standard_error)}" if part.standard_error else "")
            for one, part in zip(shown, parts, strict=True)
        ]
        found.append(Column(f"by {head}", "", cells))
    if any(one.program_version for one in shown):
        found.append(Column("by version", "", [_signed(one.column, one.program_version) for one in shown]))
    if any(one.interaction for one in shown):
        found.append(Column("interaction", "", [_signed(one.column, one.interaction) for one in shown]))
    return found


def _relative(one: NumberChange) -> float:
    return abs(one.change or 0.0) / abs(one.a) if one.a else float("inf")


def _quantity(name: str) -> str:
    words, unit = label(name)
    return f"{words}, {unit}" if unit else words


def _signed(name: str, value: float | None) -> str:
    shown = cell(name, value)
    return shown if value is None or value <= 0 or shown == UNKNOWN else f"+{shown}"


def _print_words(found: Difference, console: Console) -> None:
    """How to read the parts, and what else is to be known."""
    numbers = [one for study in found.studies.values() for one in study.numbers]
    methods = {one.method for one in numbers if one.method is not None}
    console.print()
    if len(found.inputs) > 1:
        for method in [name for name in _SPLIT if name in methods]:
            say(_SPLIT[method], console)
    if any(len(part.inputs) > 1 for one in numbers for part in one.parts):
        say("Inputs joined by + have one part together: with some of them but not the others the number cannot be had.", console)
    if any(one.program_version for one in numbers):
        say("By version: what the stored numbers differ from the same inputs run again by this program; code of two versions cannot be mixed.", console)
    silent = [place for name, place in _places(found).items() if not any(part.change for one in numbers for part in one.parts if name in part.inputs)]
    if silent and numbers:
        say(f"No number shown follows from {'input' if len(silent) == 1 else 'inputs'} {', '.join(silent)}.", console)
    for note in found.notes:
        say(f"Note: {note}", console, indent="  ")
    say(f"The scenario ran {number(found.reruns)} times for this.", console)
