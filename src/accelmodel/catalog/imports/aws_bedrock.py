"""Prices of Bedrock's models by the token, in the two ways in which AWS lists them.

Its own and open models (AmazonBedrock) have a `model` and an `inferenceType`; models of the marketplace (AmazonBedrockFoundationModels) have
a `servicename` and say the rest in `usagetype`, such as `USE1-MP:USE1_CacheReadInputTokenCount_Global-Units`, per million tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from accelmodel.catalog.imports.gathered import Gathered, Models
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import TOKEN_PRICES

if TYPE_CHECKING:
    from accelmodel.catalog.imports.aws import Item

# What rules a price out, by words of its usage type, inference type, feature and tier; the first that fits is told.
_OTHER = {
    r"custom": "of customised or imported models",
    r"reserved|\btpm\b": "reserved tokens per minute",
    r"image|video|audio|speech|embedding|rerank": "not of text",
    r"latency": "optimised for latency",
    r"\bgeo\b": "through a geography of regions",
    r"write\D{0,10}1 ?h": "written to the cache for an hour",
}
_TIERS = {r"batch": "batch", r"flex": "flex", r"priority": "priority", r"long ?(context|ctx)|\blctx\b": "long"}
_SIDES = {r"cache ?read": "cache_read", r"cache ?write": "cache_write", r"output": "output", r"input": "input"}
_COMMITMENTS = {"no commit": "", "nocommit": "", "1 ?month": "1_month_", "6 ?month": "6_months_"}
# Prices of a million tokens over those of the unit as listed.
_PER_UNIT = {"1k tokens": 1000, "1m tokens": 1, "million tokens": 1}


@dataclass(frozen=True)
class _Meter:
    """What one price is of: a key of the catalogue's row, and whether per hour."""

    key: str
    by_the_hour: bool = False


def gather(items: Iterable[Item], library: Library, currency: str) -> Gathered:
    """Rows of the models in each region, `global.` ones and those of the OpenAI-compatible endpoint (`mantle/`) apart."""
    gathered = Gathered("token")
    models = Models(library)
    for item in items:
        meter = _meter(item.attributes)
        name, region = _name(item.attributes), item.attributes.get("regionCode")
        if isinstance(meter, str):
            gathered.skip(meter)
        elif not name or not region:
            gathered.skip("without a model or a region")
        else:
            model_id = _model_id(name, region, _words(item.attributes))
            for terms in item.terms("OnDemand"):
                for dimension in terms.price_dimensions.values():
                    price = dimension.price_per_unit.get(currency)
                    factor = _factor(dimension.unit, item.attributes, meter)
                    if factor is None:
                        gathered.skip(f"per '{dimension.unit}'")
                    else:
                        facts = {"service": "bedrock", "model_id": model_id, "model": models.behind(model_id)}
                        gathered.put(("bedrock", model_id), meter.key, None if price is None else price * factor, **facts)
    return gathered


def _words(attributes: Mapping[str, str]) -> str:
    """All that says what a price is of, as lower-case words."""
    told = " ".join(attributes.get(key, "") for key in ("inferenceType", "feature", "service_tier", "serviceTier", "usagetype"))
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", told)).lower()


def _meter(attributes: Mapping[str, str]) -> _Meter | str:
    """What a price is of, or why it is none of the catalogue's."""
    words = _words(attributes)
    for pattern, reason in _OTHER.items():
        if re.search(pattern, words):
            return reason
    if re.search(r"provisioned ?throughput", words):
        found = next((months for pattern, months in _COMMITMENTS.items() if re.search(pattern, words)), None)
        return "provisioned throughput of another commitment" if found is None else _Meter(f"model_unit_{found}usd_per_h", by_the_hour=True)
    side = next((side for pattern, side in _SIDES.items() if re.search(pattern, words)), None)
    if side is None or "token" not in words:
        return "not by the token"
    tiers = [tier for pattern, tier in _TIERS.items() if re.search(pattern, words)]
    key = "_".join((*tiers, side))
    return _Meter(key) if key in TOKEN_PRICES else f"'{key}', which the catalogue does not keep"


def _name(attributes: Mapping[str, str]) -> str:
    return attributes.get("model") or attributes.get("servicename", "").removesuffix("(Amazon Bedrock Edition)").strip()


def _model_id(name: str, region: str, words: str) -> str:
    """The id under which the catalogue keeps a model of the list, which does not state the id that calls go to.

    >>> _model_id("Llama 3.3 70B", "us-east-1", ""), _model_id("Nova Pro", "us-east-1", "output tokens cross region global")
    ('us-east-1/llama-3.3-70b', 'global.nova-pro')
    """
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", "-plus")).strip("-")
    if re.search(r"\bglobal\b", words):
        return f"global.{slug}"
    return f"mantle/{region}/{slug}" if re.search(r"\bmantle\b", words) else f"{region}/{slug}"


def _factor(unit: str, attributes: Mapping[str, str], meter: _Meter) -> Decimal | None:
    """From the listed unit to a million tokens, or to an hour; None for a unit that is neither."""
    told = unit.strip().lower()
    if meter.by_the_hour:
        return Decimal(1) if told in ("hour", "hours", "hrs") else None
    if told == "units" and "MP:" in attributes.get("usagetype", ""):
        return Decimal(1)
    return Decimal(_PER_UNIT[told]) if told in _PER_UNIT else None
