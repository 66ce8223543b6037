"""The three streams of tokens that are worked, priced and paid apart: uncached input, cached input (prefix hits), output."""

from __future__ import annotations

from dataclasses import dataclass

from accelmodel.economics import Values


@dataclass(frozen=True)
class TokenRates:
    """Tokens per second of each stream, of a whole replica or of a whole demand. All input is uncached plus cached."""

    uncached_input_tokens_per_s: Values
    cached_input_tokens_per_s: Values
    output_tokens_per_s: Values

    @property
    def tokens_per_s(self) -> Values:
        """All tokens, input and output."""
        return self.uncached_input_tokens_per_s + self.cached_input_tokens_per_s + self.output_tokens_per_s

    @property
    def streams(self) -> tuple[Values, Values, Values]:
        """Uncached input, cached input, output."""
        return self.uncached_input_tokens_per_s, self.cached_input_tokens_per_s, self.output_tokens_per_s

    def scaled(self, factor: Values) -> TokenRates:
        """The same mix at `factor` times the rate."""
        return TokenRates(*(rate * factor for rate in self.streams))


@dataclass(frozen=True)
class BusyShares:
    """Shares of a replica's time that its device is busy with each stream; what is left of 1 is idle.

    Uncached input is busy with prefill, cached input with reading and attending to cached tokens, output with decode.
    """

    uncached_input_fraction: Values
    cached_input_fraction: Values
    output_fraction: Values

    @property
    def streams(self) -> tuple[Values, Values, Values]:
        """Uncached input, cached input, output."""
        return self.uncached_input_fraction, self.cached_input_fraction, self.output_fraction


@dataclass(frozen=True)
class TokenPrices:
    """USD per million tokens that a customer pays: for uncached input, for cache reads, for output."""

    input_usd_per_mtok: Values
    cached_input_usd_per_mtok: Values
    output_usd_per_mtok: Values

    @property
    def streams(self) -> tuple[Values, Values, Values]:
        """Uncached input, cached input, output."""
        return self.input_usd_per_mtok, self.cached_input_usd_per_mtok, self.output_usd_per_mtok


@dataclass(frozen=True)
class TokenCosts:
    """USD per million tokens that serving costs: of uncached input, cached input, output, and of all tokens together.

    NaN for a stream without tokens.
    """

    cost_usd_per_mtok_input: Values
    cost_usd_per_mtok_cached_input: Values
    cost_usd_per_mtok_output: Values
    cost_usd_per_mtok: Values

    @property
    def streams(self) -> tuple[Values, Values, Values]:
        """Uncached input, cached input, output."""
        return self.cost_usd_per_mtok_input, self.cost_usd_per_mtok_cached_input, self.cost_usd_per_mtok_output
