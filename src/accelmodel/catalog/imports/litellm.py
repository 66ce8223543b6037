"""LiteLLM's `model_prices_and_context_window.json`: prices by the token of some thousand models of some hundred services."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from accelmodel.catalog.imports.gathered import PER_MTOK, Gathered, Models, Origin, fault, read_json
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError

# The format's own example of an entry, which is no model.
_EXAMPLE = "sample_spec"
_TEXT_MODES = ("chat", "completion", "responses", None)
# The catalogue's key of a price -> the format's. Of two thresholds of long requests the higher one is the service's newer way.
_KEYS = {
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "batch_input": "input_cost_per_token_batches",
    "batch_output": "output_cost_per_token_batches",
    "flex_input": "input_cost_per_token_flex",
    "flex_output": "output_cost_per_token_flex",
    "priority_input": "input_cost_per_token_priority",
    "priority_output": "output_cost_per_token_priority",
}
_LONG_KEYS = {
    "long_input": "input_cost_per_token",
    "long_output": "output_cost_per_token",
    "long_cache_read": "cache_read_input_token_cost",
    "long_cache_write": "cache_creation_input_token_cost",
}


class _Entry(BaseModel):
    """What is read of an entry whatever it is; prices are in USD per token under further keys."""

    model_config = ConfigDict(extra="allow")

    litellm_provider: str
    mode: str | None = None
    max_input_tokens: int | None = None
    input_cost_per_token: Decimal | None = None
    output_cost_per_token: Decimal | None = None

    def price(self, key: str) -> Decimal | None:
        """USD per million tokens; None where the entry has no such price."""
        found = getattr(self, key, None)
        return found * PER_MTOK if isinstance(found, (Decimal, int)) else None


def read(path: Path, library: Library, service: str | None = None) -> tuple[Gathered, Origin]:
    """Token prices of every service in the list, or of one."""
    entries = next(read_json(path))
    if not isinstance(entries, dict) or not any(isinstance(entry, dict) and "litellm_provider" in entry for entry in entries.values()):
        raise InputError("is no price list of LiteLLM's: no entry has a 'litellm_provider'", file=path)
    gathered = Gathered("token")
    models = Models(library)
    services = set()
    for name, entry in entries.items():
        if name == _EXAMPLE or not isinstance(entry, dict) or "litellm_provider" not in entry:
            gathered.skip("without a service")
            continue
        read_entry = _entry(entry, path, name)
        services.add(seller := _service(read_entry.litellm_provider))
        if service not in (None, seller):
            gathered.skip("of another service")
        else:
            _put(gathered, models, name, seller, read_entry)
    if service is not None and service not in services:
        raise InputError(f"has no prices of '{service}'", file=path, key="--service", value=service, allowed=services)
    return gathered, Origin("LiteLLM's list of model prices and context windows", "BerriAI", "press")


def _entry(entry: dict[str, Any], path: Path, name: str) -> _Entry:
    try:
        return _Entry.model_validate(entry)
    except ValidationError as error:
        raise fault(error, path, name) from None


def _put(gathered: Gathered, models: Models, name: str, service: str, entry: _Entry) -> None:
    if entry.mode not in _TEXT_MODES:
        gathered.skip("not a model of text")
    elif not entry.price("input_cost_per_token") or not entry.price("output_cost_per_token"):
        gathered.skip("without prices by the token, or at 0")
    else:
        model_id = _model_id(name, entry.litellm_provider)
        prices = {"input": entry.price("input_cost_per_token"), "output": entry.price("output_cost_per_token")}
        prices |= {key: entry.price(theirs) for key, theirs in _KEYS.items()}
        facts = {"service": service, "model_id": model_id, "model": models.behind(model_id), "max_input_tokens": entry.max_input_tokens}
        for key, price in (prices | _long(entry, facts)).items():
            if price:
                gathered.put((service, model_id), key, price, **facts)


def _long(entry: _Entry, facts: dict[str, Any]) -> dict[str, Decimal | None]:
    """Prices above the highest threshold of input, which joins the facts; none where all requests cost alike."""
    found = [re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", key) for key in entry.model_extra or ()]
    thousands = max((int(match[1]) for match in found if match), default=None)
    if thousands is None:
        return {}
    facts["long_above_tokens"] = thousands * 1000
    return {key: entry.price(f"{theirs}_above_{thousands}k_tokens") for key, theirs in _LONG_KEYS.items()}


def _service(provider: str) -> str:
    """The service of a provider; the doors to Bedrock are one service.

    >>> _service("bedrock_converse"), _service("vertex_ai-language-models")
    ('bedrock', 'vertex-ai-language-models')
    """
    return "bedrock" if provider.startswith("bedrock") else re.sub(r"[^a-z0-9.]+", "-", provider.lower()).strip("-")


def _model_id(name: str, provider: str) -> str:
    """The seller's own name: LiteLLM's without the service in front.

    >>> _model_id("bedrock/us-east-1/maker.model", "bedrock"), _model_id("bedrock_mantle/maker.model", "bedrock_mantle")
    ('us-east-1/maker.model', 'mantle/maker.model')
    """
    return re.sub(r"^bedrock_", "", name.removeprefix("bedrock/")) if provider.startswith("bedrock") else name.removeprefix(f"{provider}/")
