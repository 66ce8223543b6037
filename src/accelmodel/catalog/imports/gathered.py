"""What an importer gathers from a foreign price list: rows of the catalogue's kind, and how many were left out for which reason."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from accelmodel.catalog.figures import Confidence
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import PAIRED_TIERS, Offers, stem
from accelmodel.errors import InputError

PER_MTOK = Decimal(1_000_000)


@dataclass(frozen=True)
class Origin:
    """Where a list comes from, as far as it says so itself; `date` is the day of its prices."""

    title: str
    publisher: str
    confidence: Confidence
    date: str | None = None
    currency: str = "USD"


@dataclass
class Gathered:
    """Rows of one kind by what they sell; a price that a list states twice in two ways is nobody's to choose from, and is left out."""

    kind: Literal["hour", "token"]
    rows: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    _contradicted: set[tuple[tuple[str, ...], str]] = field(default_factory=set)

    def skip(self, reason: str) -> None:
        """Count something that was left out."""
        self.skipped[reason] += 1

    def put(self, offer: tuple[str, ...], key: str, price: Decimal | None, **facts: Any) -> None:
        """One price of an offer, in its list's currency, with what else is known of the offer."""
        if price is None or not price.is_finite() or price <= 0:
            self.skip("without a price, or at 0")
            return
        row = self.rows.setdefault(offer, {})
        row.update({name: fact for name, fact in facts.items() if fact is not None})
        if row.setdefault(key, price) != price:
            self._contradicted.add((offer, key))

    def finished(self) -> list[dict[str, Any]]:
        """The rows that are whole, ordered by what they sell."""
        for offer, key in self._contradicted:
            self.skip("stated twice, at different prices")
            del self.rows[offer][key]
        return [row for _, row in sorted(self.rows.items()) if self._is_whole(row)]

    def _is_whole(self, row: dict[str, Any]) -> bool:
        if self.kind == "hour":
            return "price" in row
        for tier in PAIRED_TIERS:
            sides = [name for name in (f"{tier}_input", f"{tier}_output") if name in row]
            if len(sides) == 1:
                self.skip(f"tier '{tier}' with a price of one side only")
                del row[sides[0]]
        if "input" in row and "output" in row:
            return True
        self.skip("model without the standard prices of both input and output")
        return False


def read_text(path: Path) -> str:
    """The text of a file; InputError where it is not there, empty or no text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None
    if not text.strip():
        raise InputError("is empty", file=path)
    return text


def read_json(path: Path) -> Iterator[Any]:
    """The JSON documents of a file, one or several behind one another; numbers with a fraction are decimals, as printed."""
    text = read_text(path)
    decoder = json.JSONDecoder(parse_float=Decimal)
    place = 0
    while place < len(text):
        try:
            document, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise InputError(f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}", file=path) from None
        except RecursionError:
            raise InputError("is no price list: its JSON is nested too deeply", file=path) from None
        yield document
        place = re.compile(r"\s*").match(text, place).end()  # type: ignore[union-attr]  # matches always


def fault(error: ValidationError, path: Path, at: str) -> InputError:
    """The first fault of a foreign record in the words of an InputError."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in (at, *first["loc"]) if part)
    shown = "" if isinstance(first["input"], (dict, list)) else f" (got {first['input']!r})"
    return InputError(f"is not as the format has it: {first['msg']}{shown}", file=path, key=key, value=first["input"])


class Models:
    """The catalogue's model behind a seller's name for it: as a shipped offer already says, or by name and alias."""

    def __init__(self, library: Library) -> None:
        self._library = library

    @functools.cached_property
    def _said(self) -> dict[str, str]:
        return {_bare(offer.model_id): offer.model for offer in Offers(self._library).tokens() if offer.model}

    def behind(self, model_id: str) -> str | None:
        """The name of the catalogue's model; None where its architecture is not in the catalogue."""
        bare = _bare(model_id)
        tail = re.sub(r"^[a-z0-9]+\.(?=[a-z])", "", bare)
        candidates = (model_id, model_id.partition("/")[2], model_id.rpartition("/")[2], bare, tail, stem(tail))
        named = (self._library.named("models", candidate) for candidate in candidates if candidate)
        return self._said.get(bare) or next((name for name in named if name), None)


def _bare(model_id: str) -> str:
    """A model id without region, platform, geography and release.

    >>> _bare("mantle/us-west-2/us.maker.model-4-5-20250929-v1:0")
    'maker.model-4-5'
    """
    return stem(re.sub(r"^(apac|au|eu|global|in|jp|us|us-gov)\.", "", model_id.rpartition("/")[2]))
