"""The report as one page: self-contained, readable without a network, on a phone, on paper and by ear."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelmodel.errors import InputError
from accelmodel.reports.charts import Chart
from accelmodel.reports.content import Content, Listing, Study, shown_cell
from accelmodel.reports.layout import Column
from accelmodel.reports.plotly_figures import figure
from accelmodel.reports.terminal import in_words

ROWS_SHOWN, ROWS_HELD = 200, 10_000  # of a table: printed, and held as data
_SHORT, _LONG = 26, 60  # letters of a cell that never breaks, of one that needs room
_DRAWING = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function look() {
  const css = getComputedStyle(document.documentElement);
  const ink = css.getPropertyValue("--ink").trim(), grid = css.getPropertyValue("--line").trim();
  return { "font.color": ink, "xaxis.color": ink, "yaxis.color": ink, "xaxis.gridcolor": grid, "yaxis.gridcolor": grid,
           "xaxis.zerolinecolor": grid, "yaxis.zerolinecolor": grid, "font.family": getComputedStyle(document.body).fontFamily };
}
const places = [...document.querySelectorAll(".chart")];
const figures = JSON.parse(document.getElementById("figures").textContent);
for (const place of places) {
  const { data, layout } = figures[place.dataset.figure];
  place.replaceChildren();
  Plotly.newPlot(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  Plotly.relayout(place, look());
}
dark.addEventListener("change", () => places.forEach((place) => Plotly.relayout(place, look())));
addEventListener("beforeprint", () => places.forEach((place) => Plotly.relayout(place, { ...look(), width: 660 })));
addEventListener("afterprint", () => places.forEach((place) => Plotly.relayout(place, { ...look(), width: null, autosize: true })));
document.documentElement.dataset.ready = "yes";
"""
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --line: #d0d7de; --band: #f3f5f7; --mark: #0a5a94; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #a3adb8; --paper: #12161b; --line: #39424d; --band: #1c222a; --mark: #6cb6ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
header, main, footer { max-width: 1080px; margin: 0 auto; padding: 0 16px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1.2rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 0 0 .2rem; }
p, ul, ol { margin: .4rem 0; max-width: 75ch; }
.soft, figcaption, small { color: var(--soft); }
.answer { background: var(--band); border-left: 4px solid var(--mark); padding: .6rem 1rem; margin: 1rem 0; }
.answer ul { padding-left: 1.1rem; } .answer h3 { margin-top: .5rem; }
nav ul { max-width: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; list-style: none; }
a { color: var(--mark); } a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
.skip { position: absolute; left: -999px; } .skip:focus { position: static; }
figure { margin: 1.2rem 0; break-inside: avoid; }
.chart { min-height: 150px; width: 100%; }
.scroll { overflow: auto; max-height: 34rem; border: 1px solid var(--line); border-radius: 4px; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .4rem .6rem; color: var(--soft); }
th, td { padding: .28rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th { background: var(--band); vertical-align: bottom; font-weight: 600; white-space: normal; }
thead th.number { white-space: normal; min-width: 5rem; } th small { display: block; font-weight: 400; }
.number { text-align: right; white-space: nowrap; } tbody th { font-weight: 400; }
thead th { position: sticky; top: 0; } .short { white-space: nowrap; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--mark); padding: .2rem 0; }
.identity td { overflow-wrap: anywhere; } .long { min-width: 16rem; }
footer { margin-top: 3rem; padding-bottom: 2rem; }
@media (max-width: 600px) { body { font-size: 15px; } h1 { font-size: 1.35rem; } th, td { padding: .25rem .4rem; } }
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --band: #f3f3f3; --mark: #003f6b; }
  @page { size: A4; margin: 14mm; } body { font-size: 10.5pt; } nav, .skip { display: none; }
  header, main, footer { max-width: none; padding: 0; } .scroll { overflow: visible; border: 0; max-height: none; } thead th { position: static; }
  table { font-size: 7pt; table-layout: auto; } th, td { padding: .15rem .3rem; } tr { break-inside: avoid; } thead { display: table-header-group; }
  .long { min-width: 0; } h2, h3 { break-after: avoid; } .answer { break-inside: avoid; }
}
"""


def write_html(of: Content, path: Path) -> None:
    """Write a report as one HTML file."""
    path.write_text(page(of), encoding="utf-8")


def page(of: Content) -> str:
    """The whole page. Everything that comes from files is escaped."""
    figures: dict[str, Any] = {}
    body = "\n".join(_body(of, figures))
    title = escape(of.title)
    held = {"figures": _finite(figures, None), "data": _finite(_data(of), "infinite")}
    scripts = "\n".join(f'<script type="application/json" id="{name}">{_json(value)}</script>' for name, value in held.items())
    scripts += f"\n<script>{_plotly()}</script>\n<script>{_DRAWING}</script>" if figures else ""
    head = f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n<style>{STYLE}</style>'
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    head += f'\n<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n{scripts}\n</body>\n</html>\n'


@functools.cache
def _plotly() -> str:
    """Plotly's program as text, from the installed package."""
    need_plotly()
    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")


def need_plotly() -> None:
    """InputError where Plotly, an optional part of the installation, is absent."""
    if find_spec("plotly") is None:
        raise InputError("a page needs Plotly: pip install 'accelmodel[report]'", key="--output")


def _json(value: Any) -> str:
    """JSON that cannot end its script element."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=str).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any, instead: str | None) -> Any:
    """The value with something else for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(one, instead) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one, instead) for one in value]
    return instead if isinstance(value, float) and not math.isfinite(value) else value


def _data(of: Content) -> dict[str, Any]:
    """The numbers of the page's tables as they are, by study, column and row."""
    return {
        study.name: {
            "kind": study.kind,
            "units": {name: study.described(name)[1] for name in study.table.column_names},
            "rows": [{name: value for name, value in row.items() if value == value} for row in study.rows(ROWS_HELD)],
            "rows_left_out": max(study.table.num_rows - ROWS_HELD, 0),
        }
        for study in of.studies
    }


def _body(of: Content, figures: dict[str, Any]) -> Iterator[str]:
    yield '<a class="skip" href="#main">Skip to the answer</a>'
    yield f"<header>\n<h1>{escape(of.title)}</h1>"
    if of.description:
        yield f'<p class="soft">{escape(of.description)}</p>'
    yield f"<nav aria-label='Contents'><ul>{''.join(_contents(of))}</ul></nav>\n</header>\n<main id='main'>"
    yield from _answer(of)
    for study in of.studies:
        yield from _study(study, figures)
    if of.roofline is not None:
        yield _section("The chosen replica: where the time goes")
        yield f"<p>{escape(of.roofline[0])}</p>"
        yield from (_chart(chart, figures) for chart in of.roofline[1])
        yield "</section>"
    yield _section(of.accuracy.title) + _accuracy(of.accuracy) + "</section>"
    for listing in (of.assumptions, of.inputs, of.sources):
        yield _section(listing.title) + _folded(listing) + "</section>"
    yield _section(of.identity.title) + f'<div class="identity">{_listing(of.identity)}</div></section>'
    yield "</main>\n<footer><small>Every figure says its unit, kind and source; a value that is not known is left out, never zero.</small></footer>"


def _id(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _section(title: str) -> str:
    name = escape(_id(title), quote=True)
    return f'<section id="{name}" aria-labelledby="{name}-head">\n<h2 id="{name}-head">{escape(title)}</h2>'


def _contents(of: Content) -> Iterator[str]:
    titles = [f"{study.name} ({study.kind})" for study in of.studies]
    titles += ["The chosen replica: where the time goes"] if of.roofline is not None else []
    for title in (*titles, of.accuracy.title, of.assumptions.title, of.inputs.title, of.sources.title, of.identity.title):
        yield f'<li><a href="#{escape(_id(title), quote=True)}">{escape(title.split(":")[0])}</a></li>'


def _answer(of: Content) -> Iterator[str]:
    yield '<section class="answer" aria-label="The answer">\n<h2 style="border:0;margin:0;padding:0">The answer</h2>'
    said = of.answer
    if said:
        yield "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for _, sentence in said) + "</ul>"
    else:
        yield "<p>The tables below hold the answer; there are no words for studies of this kind.</p>"
    heavy = of.assumptions.rows[: of.assumption_count]
    if heavy:
        yield (
            "<h3>Assumptions that matter most</h3><ol>"
            + "".join(f"<li>{escape(str(text))} <small>[{escape(str(source))}]</small></li>" for _, text, source in heavy)
            + "</ol>"
        )
    yield "".join(f'<p class="soft">{escape(words)}</p>' for words in of.missing) + "</section>"


def _study(study: Study, figures: dict[str, Any]) -> Iterator[str]:
    yield _section(f"{study.name} ({study.kind})")
    yield from (_chart(chart, figures) for chart in study.charts)
    yield _table(study, study.shown, f"{study.name}: the columns that matter most")
    others = [name for name in study.table.column_names if name not in study.shown]
    if others:
        names = [*[name for name in study.shown[:1] if name not in others], *others]
        yield f"<details><summary>{len(others)} more columns</summary>{_table(study, names, f'{study.name}: the other columns')}</details>"
    if study.notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in study.notes) + "</ul>"
    yield _reference(study)
    yield "</section>"


def _reference(study: Study) -> str:
    checks = study.summary.get("reproduced") or []
    if not checks:
        return ""
    rows = tuple((in_words(str(one["quantity"])), one["computed"], one["published"], one["kind"], one["source"]) for one in checks)
    return _listing(Listing("Against a reference", ("quantity", "computed", "reference", "kind", "source"), rows, is_rounded=True))


def _chart(chart: Chart, figures: dict[str, Any]) -> str:
    name = f"figure-{len(figures) + 1}"
    figures[name] = figure(chart)
    height = figures[name]["layout"]["height"]
    alternative = escape(chart.alternative, quote=True)
    plot = f'<div class="chart" id="{name}" data-figure="{name}" role="img" aria-label="{alternative}" style="height:{height}px"><p>{alternative}</p></div>'
    caption = f"<figcaption>{escape(chart.caption)}</figcaption>" if chart.caption else ""
    return f"<figure>\n<h3>{escape(chart.title)}</h3>\n{plot}\n{caption}\n</figure>"


def _table(study: Study, names: Sequence[str], caption: str) -> str:
    columns = study.columns(names, ROWS_SHOWN)
    rows = study.rows(ROWS_SHOWN)
    left = study.table.num_rows - len(rows)
    more = f" The first {len(rows):,} of {study.table.num_rows:,} rows; workbook and CSV have all." if left else ""
    head = "".join(_head(study, name, shown) for name, shown in columns)
    body = "\n".join(
        "<tr>" + "".join(_cell(name, shown, place, row, first=not at) for at, (name, shown) in enumerate(columns)) + "</tr>" for place, row in enumerate(rows)
    )
    return _scrolled(f"<caption>{escape(caption)}.{more}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>", caption)


def _scrolled(inner: str, name: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name, quote=True)}"><table>{inner}</table></div>'


def _head(study: Study, name: str, shown: Column) -> str:
    said, unit, description = study.described(name)
    del said
    attributes = f'data-column="{escape(name, quote=True)}" data-unit="{escape(unit, quote=True)}" title="{escape(description, quote=True)}"'
    return f'<th scope="col"{" class=number" if shown.numeric else ""} {attributes}>{escape(shown.label)}<small>{escape(shown.unit)}</small></th>'


def _cell(name: str, shown: Column, place: int, row: dict[str, Any], *, first: bool) -> str:
    value, text = row.get(name), escape(shown.cells[place])
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    inner = f'<data value="{value!r}">{text}</data>' if is_number else text
    tag = 'th scope="row"' if first and not shown.numeric else "td"
    return f"<{tag}{_class(shown.numeric, shown.cells[place])}>{inner}</{tag.split()[0]}>"


def _class(numeric: bool, text: str) -> str:
    return " class=number" if numeric else " class=long" if len(text) > _LONG else " class=short" if len(text) <= _SHORT else ""


def _listing(listing: Listing) -> str:
    heads = "".join(
        f'<th scope="col">{escape(head)}<small>{escape(unit)}</small></th>'
        for head, unit in zip(listing.heads, listing.units or [""] * len(listing.heads), strict=True)
    )
    body = "".join("<tr>" + "".join(_listed(listing, place, value) for place, value in enumerate(row)) + "</tr>" for row in listing.rows)
    note = f"<p class='soft'>{escape(listing.note)}</p>" if listing.note else ""
    return note + _scrolled(f"<caption>{escape(listing.title)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", listing.title)


def _listed(listing: Listing, place: int, value: Any) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = shown_cell(listing, place, value)
    return f"<td{_class(is_number, text)}>{escape(text)}</td>"


def _folded(listing: Listing) -> str:
    return f"<details><summary>{len(listing.rows)} rows</summary>{_listing(listing)}</details>" if listing.rows else "<p>None.</p>"


def _accuracy(listing: Listing) -> str:
    if listing.rows:
        return _listing(listing)
    return f"<p>{escape(listing.note)} The calibrations behind this run record no such errors: priors that no measurement has judged, or no replica at all.</p>"
