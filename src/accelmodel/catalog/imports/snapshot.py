"""From a foreign price list to a snapshot file: read, checked as the catalogue checks it, written once."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from accelmodel.catalog.figures import parse, read_toml
from accelmodel.catalog.imports import aws, litellm, skypilot
from accelmodel.catalog.imports.gathered import Gathered, Origin
from accelmodel.catalog.library import Library, schema_lines
from accelmodel.catalog.offers import Currency, Exchange, Snapshot
from accelmodel.errors import InputError
from accelmodel.results.store import write

Reader = Callable[..., tuple[Gathered, Origin]]
# Keys of a row that come behind its prices.
_REMARKS = ("high", "longest_term_days", "max_input_tokens", "long_above_tokens", "kind", "formula", "note")
READERS: dict[str, Reader] = {"aws": aws.read, "skypilot": skypilot.read, "litellm": litellm.read}


@dataclass(frozen=True)
class Imported:
    """A snapshot as it was written, whether it was there already, and how many prices were left out for which reason."""

    snapshot: Snapshot
    file: Path
    already_there: bool
    skipped: Mapping[str, int]


def import_offers(
    form: str,
    path: Path,
    output: Path,
    library: Library,
    *,
    date: str | None = None,
    source: str | None = None,
    exchange: Exchange | None = None,
    **options: Any,
) -> Imported:
    """Read a price list in one of the forms and write it as a snapshot, named as its file.

    `date` is the prices' day where the list does not say it; `source` a source of the catalogue in place of one that the snapshot itself holds.
    """
    if form not in READERS:
        raise InputError(f"'{form}' is no form of price list that can be read", key="FORM", value=form, allowed=READERS)
    if output.suffix != ".toml":
        raise InputError("a snapshot is a TOML file: give a name that ends in .toml", file=output, key="--output")
    if source is not None and source not in library.sources:
        raise InputError(f"no source is called '{source}'", key="--source", value=source, allowed=library.sources)
    gathered, origin = READERS[form](path, library, **{key: value for key, value in options.items() if value is not None})
    rows = gathered.finished()
    if not rows:
        left_out = "; ".join(f"{count} {reason}" for reason, count in gathered.skipped.most_common())
        raise InputError("holds no price that the catalogue can use" + (f" ({left_out})" if left_out else ""), file=path)
    header = _header(output.stem, gathered, origin, date, exchange, path) | _sold_by(form, options)
    document = header | _source(header, source, origin, path) | {gathered.kind: [_plain(row) for row in rows]}
    text = "\n".join([*schema_lines("offers", output.parent), *_lines(document)]) + "\n"
    snapshot = parse(Snapshot, document, output)
    return Imported(snapshot, output, _write_once(output, text, snapshot), dict(sorted(gathered.skipped.items())))


def _header(name: str, gathered: Gathered, origin: Origin, date: str | None, exchange: Exchange | None, path: Path) -> dict[str, Any]:
    today = datetime.date.today().isoformat()
    header: dict[str, Any] = {"name": name, "title": origin.title, "date": date or origin.date or today}
    if date is None and origin.date is None:
        header["date_note"] = "day of the import; the list itself bears no date"
    header |= {"currency": origin.currency, "unit": f"{origin.currency}/{'hour' if gathered.kind == 'hour' else 'Mtok'}"}
    if origin.currency not in get_args(Currency):
        raise InputError(f"its prices are in '{origin.currency}', a currency that is not known", file=path, value=origin.currency, allowed=get_args(Currency))
    if origin.currency != "USD":
        if exchange is None:
            raise InputError(f"its prices are in {origin.currency}: give the rate, its day and its source", file=path, key="--rate, --rate-date, --rate-source")
        header["exchange"] = exchange.model_copy(update={"unit": f"USD/{origin.currency}"}).model_dump()
    elif exchange is not None:
        raise InputError("its prices are in USD: a rate would change them", file=path, key="--rate", value=exchange.value)
    return header | {"kind": "published", "accessed": today}


def _sold_by(form: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {} if form == "litellm" else {"provider": options.get("provider") or "aws"}


def _source(header: Mapping[str, Any], source: str | None, origin: Origin, path: Path) -> dict[str, Any]:
    """The source by name, and where it is not the catalogue's, the source itself."""
    if source is not None:
        return {"source": source}
    key = f"{header['name'].replace('_', '-')}-price-list"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    told = {"title": origin.title, "publisher": origin.publisher, "locator": f"{path.name}, SHA-256 {digest}...", "date": header["date"]}
    return {"source": key, "sources": {key: told | {"accessed": header["accessed"], "confidence": origin.confidence}}}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as TOML has it: prices, then what is said of them; a range of one price is none."""
    ordered = sorted(row.items(), key=lambda item: item[0] in _REMARKS)
    if row.get("high") == row.get("price"):
        ordered = [(key, value) for key, value in ordered if key != "high"]
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in ordered}


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    """A snapshot in TOML, a row a line."""
    yield "# Written by `accelmodel offers import`. A snapshot is not changed: newer prices are another file."
    for key, value in document.items():
        if key == "exchange":
            yield f"{key} = {_inline(value)}"
        elif not isinstance(value, (list, dict)):
            yield f"{key} = {_value(value)}"
    for key, value in document.items():
        if isinstance(value, list):
            yield from ("", f"{key} = [", *(f"  {_inline(row)}," for row in value), "]")
    for key, told in document.get("sources", {}).items():
        yield from ("", f"[sources.{_value(key)}]", *(f"{name} = {_value(value)}" for name, value in told.items()))


def _inline(values: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in values.items()) + " }"


def _value(value: Any) -> str:
    """A string, number or truth in TOML, whose basic strings are those of JSON."""
    return json.dumps(value, ensure_ascii=False)


def _write_once(path: Path, text: str, snapshot: Snapshot) -> bool:
    """Write a file that is not there; whether it was there already, with the very same rows. InputError where it has others."""
    if path.exists():
        there = parse(Snapshot, read_toml(path), path)
        if (there.hour, there.token) != (snapshot.hour, snapshot.token):
            raise InputError("is there already, with other prices; a snapshot is not changed: give another name", file=path, key="--output")
        return True
    try:
        write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=path, key="--output") from None
    return False
