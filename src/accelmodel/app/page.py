"""The explorer's page and its parts, as HTML. Every text from a scenario or the catalogue is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from accelmodel.app import controls
from accelmodel.app.controls import Control, Options
from accelmodel.app.document import ALTERNATIVES, cases
from accelmodel.app.live import ASSUMPTIONS, CLOSER, FIGURES, View
from accelmodel.columns import COLUMNS, HIGH, LOW
from accelmodel.numbers import UNKNOWN
from accelmodel.reports.charts import Chart
from accelmodel.reports.html import STYLE
from accelmodel.reports.plotly_figures import colour, figure
from accelmodel.reports.terminal import cell, label, span, with_unit

HEADLINES = ("cost_usd_per_mtok", "margin_fraction", "output_tokens_per_s_per_user", "time_to_first_token_s")
REPORTS = {"html": "Report (HTML)", "xlsx": "Workbook (Excel)", "csv.zip": "Tables (CSV)"}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>accelmodel explorer</title>
<link rel="icon" href="data:,">
<style>{style}</style>
<link rel="stylesheet" href="explorer.css">
</head>
<body>
<a class="skip" href="#answer">Skip to the answer</a>
<header>
<h1 id="title">accelmodel</h1>
<div class="actions" role="toolbar" aria-label="The scenario">
<label><span class="unseen">Open an example</span><select id="example"><option value="">Open an example</option>{examples}</select></label>
<label class="button" role="button" tabindex="0">Open a file<input type="file" id="file" accept=".toml" class="unseen" tabindex="-1"></label>
<button type="button" id="save">Save scenario</button>
<button type="button" id="copy">Copy link</button>
{reports}
<span role="status" id="progress"></span>
<button type="button" id="stop" hidden>Stop</button>
</div>
</header>
<div id="message" role="alert"></div>
<main>
<section id="panels" aria-label="The situation"></section>
<div id="results">
<section aria-labelledby="alternatives-head">
<h2 id="alternatives-head">Alternatives</h2>
<div id="cards"></div>
<button type="button" id="add">Add an alternative</button>
<p id="others" class="soft"></p>
</section>
<section class="answer" aria-labelledby="answer-head">
<h2 id="answer-head">The answer</h2>
<div id="answer" aria-live="polite"><p>Computing. The very first answer takes some ten seconds, for which the engine is compiled.</p></div>
</section>
<section aria-labelledby="figures-head"><h2 id="figures-head">What it costs, how fast it is</h2><div class="grid">{figures}</div></section>
<section aria-labelledby="closer-head">
<h2 id="closer-head"><label for="closer">A closer look at</label> <select id="closer"></select></h2>
<div class="grid">{closer}</div>
<p id="closer-missing" class="soft"></p>
</section>
<section aria-labelledby="table-head"><h2 id="table-head">Side by side</h2><div id="table"></div></section>
<section aria-labelledby="text-head">
<h2 id="text-head"><label for="text">The scenario's file</label></h2>
<p class="soft">What the controls write. Any key of a scenario may stand here, such as further studies, which the reports then hold.</p>
<textarea id="text" class="file" spellcheck="false"></textarea>
<button type="button" id="apply">Apply the text</button>
</section>
</div>
</main>
<footer><small>Every figure has its source; the report lists them. A value that is not known is left out, never zero.</small></footer>
<script src="plotly.js"></script>
<script src="explorer.js"></script>
</body>
</html>
"""


def page(examples: Mapping[str, str]) -> str:
    """The page before a scenario is opened; `examples` are titles by name."""
    return _PAGE.format(
        style=STYLE,
        examples="".join(_option(name, f"{name}: {title}") for name, title in examples.items()),
        reports="\n".join(f'<button type="button" class="report" data-ending="{ending}">{words}</button>' for ending, words in REPORTS.items()),
        figures="".join(map(_figure, FIGURES)),
        closer="".join(map(_figure, CLOSER)),
    )


def _figure(place: str) -> str:
    return f'<figure id="figure-{place}" hidden><h3></h3><div class="chart" role="img"></div><figcaption></figcaption></figure>'


def drawn(found: Mapping[str, Chart], places: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """Charts by their place on the page, as the browser draws them; None where there is none."""
    return {place: _drawn(found[place]) if place in found else None for place in places}


def _drawn(chart: Chart) -> dict[str, Any]:
    return {"figure": figure(chart), "title": chart.title, "caption": chart.caption, "alternative": chart.alternative}


# Controls


def panels(document: Mapping[str, Any], options: Options) -> str:
    """Controls of the base, in groups."""
    found = []
    for place, (title, some) in enumerate(controls.PANELS):
        inner = "".join(_control(one, document, None, options, controls.BASE) for one in some)
        found.append(f"<details{' open' if place < len(controls.PANELS) - 1 else ''}><summary>{escape(title)}</summary>{inner}</details>")
    return "".join(found)


def cards(document: Mapping[str, Any], options: Options) -> str:
    """A card for each alternative that is shown: its name, its controls, and room for its numbers."""
    return "".join(_card(place, name, document, options) for place, name in enumerate(cases(document)[:ALTERNATIVES]))


def _card(place: int, name: str, document: Mapping[str, Any], options: Options) -> str:
    said = escape(name, quote=True)
    shown, more = ("".join(_control(one, document, name, options, str(place)) for one in some) for some in (controls.CARD, controls.CARD_MORE))
    return (
        f'<article class="card" aria-label="{said}"><div class="head">'
        f'<label class="unseen" for="name-{place}">Name</label><input id="name-{place}" class="name" value="{said}" maxlength="60">'
        f'<button type="button" class="remove" data-name="{said}" aria-label="Remove {said}">×</button></div>'
        f'<div class="headline" id="headline-{place}"></div>{shown}<details><summary>More settings</summary>{more}</details></article>'
    )


def _control(control: Control, document: Mapping[str, Any], case: str | None, options: Options, of: str) -> str:
    words = escape(f"{control.words}, {control.unit}" if control.unit else control.words)
    name, told = element(of, control.key), escape(control.description, quote=True)
    data = f'id="{name}" data-of="{of}" data-control="{control.key}"'
    if control.is_number:
        inner = _number(control, data, words, controls.value_of(control, document, case, options), absent(control, case))
    else:
        inner = f"<select {data}>{choices(control, document, case, options)}</select>"
    return f'<div class="control" title="{told}"><label for="{name}">{words}</label>{inner}</div>'


def _number(control: Control, data: str, words: str, value: Any, empty: str) -> str:
    """A number to type, and a slider over usual values below it."""
    shown = "" if value is None else value
    slider = f'<input type="range" min="0" max="{len(control.stops) - 1}" step="1" aria-label="{words}: usual values" data-stops="{json.dumps(control.stops)}">'
    return f'<input type="number" min="0" step="any" {data} value="{shown}" placeholder="{escape(empty, quote=True)}">{slider}'


def element(of: str, key: str) -> str:
    """The id of a control's element: of the base, or of an alternative by its place."""
    return f"set-{of}-{key}"


def choices(control: Control, document: Mapping[str, Any], case: str | None, options: Options) -> str:
    """Options of a choice: what the catalogue has, what is set though nothing lists it, and, for an alternative, doing without what the base has."""
    value = controls.value_of(control, document, case, options)
    without = {controls.HOUR: (controls.OWNED, "owning it"), controls.TOKEN: (controls.UNSOLD, "not sold")}.get(control.key) if case is not None else None
    found = dict([without] if without else []) | dict(options.of(control, controls.situation(document, case)))
    if isinstance(value, str):
        found.setdefault(value, value)
    return _option("", absent(control, case), value) + "".join(_option(name, said, value) for name, said in found.items())


def absent(control: Control, case: str | None) -> str:
    """What holds where a control sets nothing."""
    return control.otherwise if case is None else "as for all"


def _option(value: str, words: str, chosen: Any = None) -> str:
    return f'<option value="{escape(value, quote=True)}"{" selected" if value == chosen else ""}>{escape(words)}</option>'


# Results


def headline(name: str, view: View) -> str:
    """An alternative's numbers in its card, or why it has none."""
    row = view.rows.get(name)
    if row is None or not row["fits"]:
        note = next((note for note in view.notes if note.startswith(f"{name}:")), "does not run at this load")
        return f'<p class="why" role="alert">{escape(view.why_not.get(name, note))}</p>'
    lines = [one.name for one in view.charts["cost-speed"].series] if "cost-speed" in view.charts else []
    colours = f' style="background:{colour(lines.index(name))}"' if name in lines else ""
    return f'<span class="swatch" aria-hidden="true"{colours}></span>' + "".join(_headline(one, row) for one in HEADLINES if row.get(one) is not None)


def _headline(name: str, row: Mapping[str, Any]) -> str:
    ends = span(name, row)
    within = f"<small>90 %: {escape(ends)}</small>" if ends else ""
    return f'<div><span>{escape(label(name)[0])}</span><strong data-column="{name}">{escape(with_unit(name, row[name]))}</strong>{within}</div>'


def answer(view: View) -> str:
    """The answer in words, what to know beside it, and the weightiest assumptions."""
    said = _list(map(escape, view.answer)) if view.answer else "<p>No alternative has an answer at this load.</p>"
    some = [f"{escape(one.text)} <small>[{escape(one.source or 'no source')}]</small>" for one in view.assumptions[:ASSUMPTIONS]]
    more = len(view.assumptions) - len(some)
    heavy = f"<h3>Assumptions that matter most</h3>{_list(some, 'ol')}" if some else ""
    return said + (_list(map(escape, view.notes)) if view.notes else "") + heavy + (f'<p class="soft">{more} more in the report.</p>' if more > 0 else "")


def _list(items: Iterable[str], tag: str = "ul") -> str:
    return f"<{tag}>{''.join(f'<li>{one}</li>' for one in items)}</{tag}>"


def table(view: View) -> str:
    """Quantities as rows, alternatives as columns; cells hold the exact value, and below it the central 90 %."""
    shown = [name for name in view.names if name in view.rows]
    rows = [view.rows[name] for name in shown]
    names = sorted(_quantities(rows), key=lambda name: view.shown.index(name) if name in view.shown else len(view.shown))
    heads = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in shown)
    body = "".join(_quantity(name, rows) for name in names)
    caption = "Each alternative at its load. The range below a value is the central 90 % of what the engine believes."
    inner = f'<caption>{caption}</caption><thead><tr><th scope="col">quantity</th>{heads}</tr></thead><tbody>{body}</tbody>'
    return f'<div class="scroll" tabindex="0" aria-label="Side by side, to scroll"><table>{inner}</table></div>'


def _quantities(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in COLUMNS:
        if any(row.get(name) is not None for row in rows) and not name.endswith((LOW, HIGH)) and name not in ("case", "fits"):
            yield name


def _quantity(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    words, unit = label(name)
    head = f'<th scope="row" data-column="{name}" title="{escape(COLUMNS[name].description, quote=True)}">{escape(words)}<small>{escape(unit)}</small></th>'
    return f"<tr>{head}{''.join(_cell(name, row) for row in rows)}</tr>"


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row.get(name)
    if value is None or isinstance(value, (str, bool)):
        return f'<td class="number">{escape(UNKNOWN if value is None else cell(name, value))}</td>'
    ends = f"<small>{cell(name, row[name + LOW])} to {cell(name, row[name + HIGH])}</small>" if row.get(name + LOW) is not None else ""
    return f'<td class="number"><data value="{value!r}">{cell(name, value)}</data>{ends}</td>'
