"""Readings: what published measurements mean where they leave something unsaid, as stated assumptions, and which of them are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from accelmodel.catalog.figures import Figure, Name, Strict, of

Loading = Literal["closed", "saturated", "wave", "batch", "open"]


class Rule(Strict):
    """A condition on a row: every column of `when` contains one of its words, none of `unless` does; case does not count."""

    when: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    unless: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row, given as column -> lower-case text, meets the condition."""
        for column, words in self.when.items():
            text = row.get(column, "")
            if not any(word.casefold() in text for word in words):
                return False
        return not any(word.casefold() in row.get(column, "") for column, words in self.unless.items() for word in words)


class Reading(Rule):
    """What is assumed of the rows that a rule holds for; the first reading that says something about a matter counts.

    `users_from` bounds the rule to rows of at least so many clients. `load` says what the load means: a closed loop, a saturated server, one wave of a
    fixed batch, a mean batch, or an open loop of arrivals at a rate. `ttft_limit` and `tpot_limit` bound the 99th percentiles, by model, of a load that was
    raised until one of them was reached. `length_factor` is mean over printed length. `input_tokens` and `output_tokens` stand for lengths that are not
    published, by model or for all (`any`). Compiled shapes: `sequence_bucket` where the row does not name one; `prompt_bucket` in tokens, or the
    `input` itself, or the whole `sequence`. `speculative_tokens` and `acceptance_fraction` are those of a model's own multi-token prediction.
    """

    users_from: float | None = None
    load: Loading | None = None
    ttft_limit: dict[str, Annotated[Figure, of("time", 0.0, 3600.0, "s")]] = Field(default_factory=dict)
    tpot_limit: dict[str, Annotated[Figure, of("time", 0.0, 60.0, "s")]] = Field(default_factory=dict)
    length_factor: Figure | None = None
    input_tokens: dict[str, Figure] = Field(default_factory=dict)
    output_tokens: dict[str, Figure] = Field(default_factory=dict)
    sequence_bucket: int | None = None
    prompt_bucket: int | Literal["input", "sequence"] | None = None
    engine: str | None = None
    weights: str | None = None
    kv: str | None = None
    compute: str | None = None
    free_parallelism: bool | None = None
    speculative_tokens: int | None = None
    acceptance_fraction: float | None = None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row meets the condition, its number of clients given as `users`."""
        return super().holds(row) and (self.users_from is None or float(row.get("users") or 0.0) >= self.users_from)


class Exclusion(Rule):
    """Rows that are not comparable, with the reason; all metrics of a row, or those that begin with one of `metrics`."""

    reason: str
    metrics: tuple[str, ...] = ()
    batch_above: float | None = None


class Readings(Strict):
    """How to read published measurements: dtypes by label, assumptions, exclusions, and rows that are predicted but not fitted on (doubts)."""

    name: Name
    title: str
    dtypes: dict[str, str]
    readings: tuple[Reading, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    doubts: tuple[Exclusion, ...] = ()
