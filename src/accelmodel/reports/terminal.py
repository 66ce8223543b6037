"""What the terminal shows of each kind of thing: runs, points, catalogue entries, comparisons, findings."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from accelmodel.catalog.compare import CHANGES
from accelmodel.columns import HIGH, LOW, OF_INPUTS, column
from accelmodel.reports.layout import Column, fits, heading, print_columns, say
from accelmodel.reports.numbers import UNKNOWN, number, percent, ratio, text

if TYPE_CHECKING:
    from accelmodel.catalog.checks import Finding
    from accelmodel.catalog.compare import Comparison, Side
    from accelmodel.catalog.entries import Entry
    from accelmodel.catalog.figures import Figure, Source
    from accelmodel.catalog.library import Library
    from accelmodel.core.replica import Replica
    from accelmodel.studies.assumptions import Assumption
    from accelmodel.studies.points import Point
    from accelmodel.studies.run import Run, StudyResult

ASSUMPTIONS_SHOWN = 3
SOURCES_SHOWN = 8
# The part of a column's name that says its unit, by unit; what remains is its label.
_UNIT_IN_NAME = {
    "s": "s",
    "W": "w",
    "J": "j",
    "MW": "mw",
    "EFLOP/s": "eflop_per_s",
    "USD": "usd",
    "USD/h": "usd_per_h",
    "USD/Mtok": "usd_per_mtok",
    "USD/year": "usd",
    "USD/day": "usd_per_day",
    "MWh/day": "mwh_per_day",
    "h/day": "hours_per_day",
    "request/day": "per_day",
    "byte": "bytes",
    "token/s": "per_s",
    "request/s": "per_s",
    "token/day": "per_day",
    "USD/accelerator/h": "usd_per_accelerator_h",
    "USD/MW/year": "usd_per_mw_year",
    "Mtok": "mtok",
    "Mtok/day": "mtok_per_day",
    "Mtok/MWh": "mtok_per_mwh",
    "Mtok/accelerator/h": "mtok_per_accelerator_h",
    "kWh/Mtok": "kwh_per_mtok",
    "kg/Mtok": "kg_per_mtok",
    "l/Mtok": "l_per_mtok",
    "year": "years",
}
_CAPITALS = {"bf16", "dma", "fp32", "fp4", "fp8", "hbm", "int8", "it", "kv", "sram", "tdp", "vcpus"}


def in_words(name: str) -> str:
    """A name in words, what is always capitalised in capitals.

    >>> in_words("peak_fp8"), in_words("it_power")
    ('peak FP8', 'IT power')
    """
    return " ".join(word.upper() if word in _CAPITALS else word for word in name.strip("_").split("_"))


@functools.cache
def label(name: str) -> tuple[str, str]:
    """Label and unit of a column of the dictionary: a fraction is in percent.

    >>> label("time_to_first_token_s"), label("cost_usd_per_mtok_output"), label("margin_fraction")
    (('time to first token', 's'), ('cost output', 'USD/Mtok'), ('margin', '%'))
    """
    for suffix, word in {LOW: "low", HIGH: "high", **{suffix: suffix.strip("_").replace("_", " ") for suffix in OF_INPUTS}}.items():
        if name.endswith(suffix) and column(name.removesuffix(suffix)):
            words, unit = label(name.removesuffix(suffix))
            return f"{words} {word}", unit
    unit = column(name).unit
    if name.endswith("_fraction") and unit == "1":
        return in_words(name.removesuffix("_fraction")), "%"
    tag = _UNIT_IN_NAME.get(unit)
    words = f"_{name}_".replace(f"_{tag}_", "_", 1) if tag else name
    return in_words(words), "" if unit in ("1", "accelerator", "request", "token") else unit


def cell(name: str, value: object) -> str:
    """A value of a column of the dictionary, without its unit."""
    return percent(value) if label(name)[1] == "%" else number(value)


# A run's tables


# What a narrow terminal does without, before anything else, where the rows can be told apart without it; the rest goes from the end.
_LEAST = ("accelerators", "system", "binding", "stranded_accelerators", "replicas", "concurrency", "output_tokens_per_s_per_accelerator", "output_tokens_per_s")


_TELLING = ("accelerators", "concurrency", "input tokens", "output tokens", "requests", "prefix hit", "in house", "vendor price shock", "fleet accelerators")


# Columns whose values stand in the unit of their row.
_MIXED = ("value", "published", "input_low", "input_value", "input_high", "break_even_value", "searched_low", "searched_high")


def table_columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Column]:
    """Columns of the dictionary from rows; a table of mixed units (column `unit`) writes each value with its own."""
    mixed = "unit" in names
    found = []
    for name in names:
        values = [row.get(name) for row in rows]
        words, unit = label(name)
        numeric = column(name).type in ("float", "integer")
        if mixed and name in _MIXED:
            cells = [_mixed(value, str(row["unit"])) for value, row in zip(values, rows, strict=True)]
        elif unit == "s" and all(value is None or value < 1.0 for value in values):
            unit, cells = "ms", [number(None if value is None else value * 1e3) for value in values]
        else:
            cells = [cell(name, value) for value in values]
        if not (mixed and name == "unit"):
            found.append(Column(words, unit, cells, numeric))
    return found


def _mixed(value: object, unit: str) -> str:
    return f"{percent(value)} %" if unit == "1" and value is not None else text(value, unit)


def print_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str], console: Console) -> None:
    """Rows as a table. Where it is too wide: a line per quantity if the rows fit as columns; else what all rows share is said once, and what
    still does not fit is left out, the least important first, and named."""
    columns = table_columns(rows, names)
    turned = _turned(columns) if rows else columns
    if fits(columns, console.width):
        shown = print_columns(columns, console)
    elif fits(turned, console.width):
        print_columns(turned, console)
        shown = list(turned[0].cells)
    else:
        shown = _print_squeezed(columns, console)
    bounds = {label(name)[0] for name in names if name.endswith((LOW, HIGH))}
    if any(words.split(",")[0] in bounds for words in shown):
        say("Low and high bound the central 90 % of what the engine believes.", console)


def _print_squeezed(columns: Sequence[Column], console: Console) -> list[str]:
    shared = [one for one in columns[1:] if len(one.cells) > 1 and len(set(one.cells)) == 1]
    if shared:
        say(f"In every row: {', '.join(f'{one.label} {one.cells[0]} {one.unit}'.strip() for one in shared)}.", console, indent="  ")
    kept = [one for one in columns if one not in shared]
    for name in _LEAST:
        if not fits(kept, console.width):
            kept = _without(kept, label(name)[0])
    return print_columns(kept, console, left_out=[one.label for one in columns if one not in shared and one not in kept])


def _without(columns: Sequence[Column], words: str) -> list[Column]:
    """The columns without one, if rows can still be told apart: by names alone where it is a name, by names and loads where it is a number."""
    rest = [one for one in columns if one.label != words]
    names_only = any(one.label == words and not one.numeric for one in columns)

    def distinct(among: Sequence[Column]) -> int:
        telling = [one.cells for one in among if not one.numeric or (one.label in _TELLING and not names_only)]
        return len(set(zip(*telling, strict=True)))

    return rest if distinct(rest) == distinct(columns) else list(columns)


def _turned(columns: Sequence[Column]) -> list[Column]:
    """A column per row under the row's first cell, a line per quantity."""
    first, rest = columns[0], columns[1:]
    labels = [f"{one.label}, {one.unit}" if one.unit else one.label for one in rest]
    return [Column(first.label, first.unit, labels, numeric=False)] + [
        Column(name, "", [one.cells[place] for one in rest]) for place, name in enumerate(first.cells)
    ]


# A run


def print_run(run: Run, console: Console) -> None:
    """A run: its question, every study's table and notes, then what it rests on."""
    heading(run.title, console)
    if run.description:
        say(run.description, console)
    for name, study in run.studies.items():
        console.print()
        heading(f"{name} ({study.kind})" if len(run.studies) > 1 else name, console)
        _print_study(study, console)
    print_basis(run.assumptions, {key: run.catalog.sources[key] for key in run.sources}, console)


def _print_study(study: StudyResult, console: Console) -> None:
    rows = study.table.slice(0, study.rows_to_show).to_pylist()
    names = list(study.columns_to_show or study.table.column_names)
    if "case" not in names and len({row.get("case") for row in rows}) > 1 and study.kind == "fleet":
        names.insert(0, "case")  # fleets of equal size differ by it alone
    print_rows(rows, names, console)
    if len(rows) < study.table.num_rows:
        say(f"and {study.table.num_rows - len(rows):,} rows more, in the table that is written", console, indent="  ")
    for note in study.notes:
        say(f"Note: {note}", console, indent="  ")
    _print_reproduced(study.summary.get("reproduced") or [], console)


def _print_reproduced(checks: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Computed beside the figures of a reference, published or derived."""
    if not checks:
        return
    console.print()
    columns = [
        Column("against a reference", "", [in_words(str(check["quantity"])) for check in checks], numeric=False),
        Column("computed", "", [number(check["computed"]) for check in checks]),
        Column("reference", "", [number(check["published"]) for check in checks]),
        Column("kind", "", [str(check["kind"]) for check in checks], numeric=False),
        Column("source", "", [str(check["source"]) for check in checks], numeric=False),
    ]
    print_columns(columns, console)


def print_basis(assumptions: Sequence[Assumption], sources: Mapping[str, Source], console: Console) -> None:
    """The assumptions that matter most, and the sources: those of these assumptions first."""
    if assumptions:
        console.print()
        heading("Assumptions that matter most", console)
    for place, assumption in enumerate(assumptions[:ASSUMPTIONS_SHOWN], 1):
        origin = f" [{assumption.source}]" if assumption.source else " [no source]"
        say(f"{place}. {assumption.text}{origin}", console, indent="   ")
    if len(assumptions) > ASSUMPTIONS_SHOWN:
        say(f"   and {len(assumptions) - ASSUMPTIONS_SHOWN} more: --format json lists them", console)
    first = [key for assumption in assumptions[:ASSUMPTIONS_SHOWN] for key in (assumption.source or "").split(", ")]
    print_sources({key: sources[key] for key in (*first, *sources) if key in sources}, console)


def print_sources(sources: Mapping[str, Source], console: Console, limit: int = SOURCES_SHOWN) -> None:
    """Sources by key with title and confidence."""
    if not sources:
        return
    console.print()
    heading("Sources", console)
    for key, source in list(sources.items())[:limit]:
        say(f"{key}: {source.title} ({source.confidence})", console, indent="  ")
    if len(sources) > limit:
        say(f"and {len(sources) - limit} more: --format json lists them, `accelmodel catalog show KEY` shows one", console)


# A point

_POINT_ROWS = (
    *("time_to_first_token_s", "time_per_output_token_s", "request_latency_s", "output_tokens_per_s", "output_tokens_per_s_per_user"),
    *("output_tokens_per_s_per_accelerator", "running_requests", "waiting_requests", "binding", "kv_capacity_tokens", "weight_bytes_per_accelerator"),
    *("power_w", "energy_j_per_output_token", "replica_cost_usd_per_h", "cost_usd_per_mtok_input", "cost_usd_per_mtok_cached_input"),
    *("cost_usd_per_mtok_output", "cost_usd_per_mtok", "cost_basis", "revenue_usd_per_h", "margin_fraction"),
)


def print_point(point: Point, replica: Replica, assumptions: Sequence[Assumption], console: Console, sources: Mapping[str, Source] | None = None) -> None:
    """An operating point: the replica in words, a line per column with its central 90 %, what it rests on."""
    values = point.to_dict()
    heading(replica_in_words(replica), console)
    if {"input_tokens", "output_tokens", "concurrency"} <= values.keys():
        load = f"{number(values['concurrency'])} requests at a time" if values["concurrency"] is not None else "no load"
        say(f"{number(values['input_tokens'])} tokens in, {number(values['output_tokens'])} out, {load}", console)
    if replica.model.is_estimate:
        say(f"The model is an estimate: no architecture of '{replica.model.title}' is published.", console)
    if replica.is_extrapolated:
        say(f"The engine is extrapolated: nothing measured on {replica.accelerator.title} went into it.", console)
    names = [name for name in _POINT_ROWS if name in values] if "fits" in values else [name for name in values if not name.endswith((LOW, HIGH))]
    shown = [name for name in names if values[name] is not None]
    if shown:
        console.print()
        print_columns(_point_columns(values, shown, console.width), console, keep=2)
    print_basis(assumptions, sources or {}, console)


def _point_columns(values: Mapping[str, Any], names: Sequence[str], width: int) -> list[Column]:
    labels = [label(name)[0] for name in names]
    found = [Column("", "", labels, numeric=False), Column("", "", [with_unit(name, values[name]) for name in names])]
    spans = [span(name, values) for name in names]
    if any(spans):
        found.append(Column("90 % within", "", spans, numeric=False))
    meaning = Column("", "", [column(name).description for name in names], numeric=False)
    return [*found, meaning] if fits([*found, meaning], width, squeeze=False) else found


def with_unit(name: str, value: object) -> str:
    """A value of a column of the dictionary with its unit; counts of tokens, requests and accelerators without."""
    unit = column(name).unit
    if label(name)[1] == "%":
        return f"{percent(value)} %"
    return text(value, "" if unit in ("token", "request", "accelerator") else unit)


def span(name: str, values: Mapping[str, Any]) -> str:
    """The central 90 % of a column of the dictionary, as `low to high unit`; empty where it is not known."""
    low, high = values.get(name + LOW), values.get(name + HIGH)
    if low is None or high is None:
        return ""
    (least, unit), most = with_unit(name, low).rsplit(" ", 1), with_unit(name, high)
    return f"{least} to {most}" if most.endswith(f" {unit}") else f"{least} {unit} to {most}"


def replica_in_words(replica: Replica) -> str:
    """One line: model, system, how many accelerators, how cut, in which precision, on which engine."""
    parts = replica.parallelism
    cut = {"tensor": parts.tensor, "pipeline": parts.pipeline, "expert": parts.expert, "attention data": parts.attention_data, "context": parts.context}
    shape = ", ".join(f"{way} parallel {ranks}" for way, ranks in cut.items() if ranks > 1 or way == "tensor")
    precision = f"weights {replica.weight_dtype('expert')}, KV {replica.kv_dtype}"
    served = "" if replica.serving.mode == "continuous" else f", {replica.serving.mode}"
    hardware = f"{replica.accelerators} x {replica.accelerator.title} ({replica.system.name})"
    return f"{replica.model.title} on {hardware}, {shape}, {precision}, {replica.engine}{served}"


def why_not(values: Mapping[str, Any], replica: Replica) -> str:
    """Why a point cannot run: weights, room for one request, or latency targets."""
    memory, ranks = replica.memory, replica.accelerators * replica.accelerator.ranks
    reserve_bytes = memory.usable_bytes - memory.weight_bytes - memory.pool_bytes
    weights, usable, reserve = (text(each * ranks, "byte") for each in (memory.weight_bytes, memory.usable_bytes, reserve_bytes))
    several = replica.accelerators > 1
    held = f"{replica.accelerators} accelerator{'s hold' if several else ' holds'} {usable} less {reserve} for activations and the runtime"
    if memory.pool_bytes <= 0:
        return f"It does not fit: weights {weights}; {held}."
    if values.get("concurrency") is None:
        return "It cannot run: no concurrency carries this rate or meets these latency targets."
    return f"It does not fit: beside weights of {weights} the KV pool has no room for one request ({held})."


# The catalogue

# How key figures are listed: label, unit, and that unit in SI.
_LISTED_AS = {
    "peak_bf16_flop_per_s": ("BF16 dense", "TFLOP/s", 1e12),
    "peak_fp8_flop_per_s": ("FP8 dense", "TFLOP/s", 1e12),
    "peak_fp4_flop_per_s": ("FP4 dense", "TFLOP/s", 1e12),
    "memory_bytes": ("memory", "GB", 1e9),
    "hbm_bandwidth_byte_per_s": ("HBM bandwidth", "TB/s", 1e12),
    "tdp_w": ("TDP", "W", 1.0),
    "price_usd_per_h": ("price", "USD/h", 1.0),
    "input_usd_per_mtok": ("input", "USD/Mtok", 1.0),
    "cache_read_usd_per_mtok": ("cached", "USD/Mtok", 1.0),
    "output_usd_per_mtok": ("output", "USD/Mtok", 1.0),
    "tariff_usd_per_kwh": ("tariff", "USD/kWh", 1.0),
    "power_w": ("power", "MW", 1e6),
}
_TITLED_FROM = 120
_LIST_TEXT = ("name", "title", "accelerator", "scale_up", "model", "date", "price_kind", "basis", "starts", "publisher", "confidence")


def print_catalog_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Entries by kind: name and key figures first, the title where there is room."""
    for kind in dict.fromkeys(str(row["kind"]) for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        for part in _alike(of_kind):
            heading(kind, console)
            # The title is what a narrow terminal can do without, except where it is all that there is.
            keys = [key for key in part[0] if key not in ("kind", "title")]
            keys = ["name", "title", *keys[1:]] if console.width >= _TITLED_FROM or len(keys) == 1 else [*keys, "title"]
            print_columns([_listed(key, part) for key in keys if key in part[0]], console)
            console.print()


def _alike(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows with the same keys together: offers by the hour, offers by the token."""
    for keys in dict.fromkeys(tuple(row) for row in rows):
        yield [row for row in rows if tuple(row) == keys]


def _listed(key: str, rows: Sequence[Mapping[str, Any]]) -> Column:
    words, unit, factor = _LISTED_AS.get(key, (key.replace("_", " "), "", 1.0))
    values = [row[key] for row in rows]
    cells = [number(value / factor if unit and value is not None else value) for value in values]
    return Column(words, unit, cells, numeric=key not in _LIST_TEXT)


def print_entry(entry: Entry, library: Library, console: Console) -> None:
    """One entry: what it says of itself, every figure with range, kind and source, then the sources with where to find them."""
    from accelmodel.catalog.entries import figures, sources_of

    heading(f"{entry.title} ({entry.kind})", console)
    for key, value in _plain_fields(entry):
        say(f"{key}: {value}", console, indent="  ")
    rows = list(figures(entry.record))
    if rows:
        console.print()
        columns = [
            Column("figure", "", [row.key for row in rows], numeric=False),
            Column("value", "", [f"{row.figure.value:,.15g} {row.figure.unit}" for row in rows]),
            Column("range", "", [_range(row.figure) for row in rows], numeric=False),
            Column("kind", "", [row.figure.kind for row in rows], numeric=False),
            Column("source", "", [row.figure.source or UNKNOWN for row in rows], numeric=False),
        ]
        print_columns(columns, console, keep=4)
        for row in rows:
            remarks = list(_remarks(row.figure, with_source=not fits(columns, console.width)))
            if remarks:
                say(f"{row.key}: {'; '.join(remarks)}", console, indent="  ")
    print_located(sources_of(entry, library), console)


def _plain_fields(entry: Entry) -> Iterator[tuple[str, str]]:
    """What an entry says besides figures and parts: text, numbers, names."""
    yield "name", entry.name
    if entry.file is not None:
        yield "file", str(entry.file)
    for key, value in entry.record:
        if key in ("name", "title", "figures") or value is None or value == () or value is False:
            continue
        if key == "scale_up":
            yield "scale-up", "; ".join(f"{level.topology} of {level.accelerators}" for level in value)
        elif isinstance(value, (str, int, float)):
            yield key.replace("_", " "), f"{value:,}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        elif isinstance(value, tuple) and all(isinstance(part, str) for part in value):
            yield key.replace("_", " "), ", ".join(value)
        elif key == "hours":
            yield "hours", f"{', '.join(number(hour) for hour in value.values)} ({value.unit}, {value.kind}{f': {value.formula}' if value.formula else ''})"
        elif key == "architecture":
            kinds = ", ".join(f"{count} {kind}" for kind, count in value.kind_counts.items())
            yield "architecture", f"{value.layers} layers ({kinds}), hidden size {value.hidden_size:,}, {number(float(value.parameters))} parameters"
        elif key in ("hour", "token"):
            yield "offers", f"{len(value)} by the {key}"


def _range(figure: Figure) -> str:
    return "" if figure.low is None and figure.high is None else f"[{figure.si_text(figure.low)} .. {figure.si_text(figure.high)}]"


def _remarks(figure: Figure, *, with_source: bool) -> Iterator[str]:
    """What does not fit into a figure's row: formula, note, other published values, and the source where its column was left out."""
    if with_source and figure.source:
        yield figure.source
    if figure.formula:
        yield f"= {figure.formula}"
    if figure.note:
        yield " ".join(figure.note.split()).rstrip(".")
    for other in figure.alternatives:
        yield f"also {other.value:,.15g} {other.unit} ({', '.join(filter(None, (other.source, other.note)))})"


def print_located(sources: Mapping[str, Source], console: Console) -> None:
    """Sources with title, confidence and where they are found."""
    if sources:
        console.print()
        heading("Sources", console)
    for key, source in sources.items():
        dated = f", {source.date}" if source.date else ""
        say(f"{key}: {source.title}, {source.publisher}{dated} ({source.confidence}); {source.url or source.locator}", console, indent="  ")


_SI_OF = {
    "memory": "byte",
    "bandwidth": "byte/s",
    "compute": "FLOP/s",
    "power": "W",
    "energy": "J",
    "time": "s",
    "USD/hour": "USD/hour",
    "USD/Mtok": "USD/Mtok",
    "money per accelerator": "USD",
}


def print_comparison(found: Comparison, console: Console) -> None:
    """Two entries side by side with the ratio of the second to the first; of systems totals, then one accelerator of each."""
    if found.unchanged is not None:
        _print_changes(found, found.unchanged, console)
        return
    heading(f"{found.b.title} against {found.a.title} ({found.kind})", console)
    units = [_SI_OF.get(row.dimension, "") for row in found.rows]

    def sides(values: Iterable[Side | None]) -> list[str]:
        return ["" if side is None else text(side.value, unit) for side, unit in zip(values, units, strict=True)]

    whole = "total " if found.kind == "systems" else ""
    columns = [
        Column("figure", "", [in_words(row.name) for row in found.rows], numeric=False),
        Column(f"{whole}A", "", sides(row.a for row in found.rows)),
        Column(f"{whole}B", "", sides(row.b for row in found.rows)),
        Column("B/A", "", [ratio(row.ratio) for row in found.rows]),
    ]
    if found.kind == "systems":
        each = [
            Column("A per accelerator", "", sides(row.each_a for row in found.rows)),
            Column("B per accelerator", "", sides(row.each_b for row in found.rows)),
        ]
        columns += [Column("B/A per accelerator", "", ["" if row.each_a is None else ratio(row.each_ratio) for row in found.rows]), *each]
    else:
        origins = {"source A": [row.a.source for row in found.rows], "source B": [row.b.source for row in found.rows]}
        columns += [Column(words, "", [key or UNKNOWN for key in keys], numeric=False) for words, keys in origins.items()]
    say(f"A = {found.a.name}, B = {found.b.name}" + ("; totals = accelerators x the accelerator's figure" if whole else ""), console)
    console.print()
    print_columns(columns, console, keep=5 if whole else 4)


def _print_changes(found: Comparison, unchanged: int, console: Console) -> None:
    """What changed between two snapshots of prices, the largest change first; and how many prices became what."""
    heading(f"{found.b.name} against {found.a.name} (prices)", console)
    counts = Counter(row.change for row in found.rows)
    told = [f"{counts[change]} {change}" for change in CHANGES if counts[change]]
    say(f"A = {found.a.name}, B = {found.b.name}; {', '.join([*told, f'{unchanged} unchanged'])}", console)
    if not found.rows:
        return
    console.print()
    columns = [
        Column("price", "", [row.name for row in found.rows], numeric=False),
        Column("change", "", [row.change for row in found.rows], numeric=False),
        Column("by", "", ["" if row.ratio is None else f"{100 * (row.ratio - 1):+.1f} %" for row in found.rows]),
        Column("A", "", [_exactly(row.a.value) for row in found.rows]),
        Column("B", "", [_exactly(row.b.value) for row in found.rows]),
        Column("unit", "", [row.dimension for row in found.rows], numeric=False),
    ]
    print_columns(columns, console, keep=5)


def _exactly(price: float | None) -> str:
    """A price as listed: a small change must be seen."""
    return "" if price is None else f"{price:,.10g}"


def print_findings(findings: Sequence[Finding], files: int, console: Console) -> None:
    """Findings of `catalog check`, and how many."""
    for finding in findings:
        where = ": ".join(part for part in (finding.file, finding.key) if part)
        say(f"{finding.severity}: {where}: {finding.message}", console, indent="  ")
    errors = sum(finding.severity == "error" for finding in findings)
    say(f"{files} files checked: {errors} errors, {len(findings) - errors} warnings.", console)
