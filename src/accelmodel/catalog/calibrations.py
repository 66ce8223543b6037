"""Calibrations: the engine's fitted efficiencies and overheads, kept apart from vendor peaks, with what they were fitted on."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Figure, Name, Strict, of
from accelmodel.catalog.hardware import Stack
from accelmodel.errors import InputError, nearest_name

_RANGE_IN_DEVIATIONS = 2 * 1.645  # a figure's range is the central 90 % of its prior
_Efficiency = Annotated[Figure, of("ratio", 0.02, 1.2)]
_Factor = Annotated[Figure, of("ratio", 0.01, 1000.0)]
_Overhead = Annotated[Figure, of("time", 0.0, 10.0, "s")]


# What is measured and predicted, by its short name, in words.
QUANTITIES = {
    "tpot_ms": "time per output token",
    "itl_ms": "time between tokens",
    "ttft_ms": "time to first token",
    "output_tok_s": "output tokens per second",
    "e2e_ms": "request latency",
    "power_w": "power of the accelerators",
}


class Parameters(Strict):
    """Every parameter of the step model; each becomes one SI number of the core.

    Efficiencies are shares of a vendor peak that a long, well-shaped operator reaches; overheads are seconds that no peak explains.
    """

    weight_bandwidth_efficiency: _Efficiency
    kv_bandwidth_efficiency: _Efficiency
    compute_efficiency_bf16: _Efficiency
    compute_efficiency_fp8: _Efficiency
    compute_efficiency_fp4: _Efficiency
    compute_efficiency_int8: _Efficiency
    attention_compute_efficiency: _Efficiency
    expert_efficiency: _Efficiency
    link_efficiency: _Efficiency
    link_overlap_fraction: Annotated[Figure, of("ratio", 0, 1)]
    scale_out_latency: _Overhead
    gemm_floor_tokens: Annotated[Figure, of("tokens", 0, 1000)]
    expert_skew_exponent: Annotated[Figure, of("ratio", 0.5, 1.0)]
    expert_imbalance_factor: Annotated[Figure, of("ratio", 1.0, 5.0)]
    expert_unread_fraction: Annotated[Figure, of("ratio", 0.0, 1.0)]
    expert_prefill_factor: _Factor
    layer_overhead: _Overhead
    moe_layer_overhead: _Overhead
    mla_layer_overhead: _Overhead
    linear_layer_overhead: _Overhead
    step_overhead: _Overhead
    sequence_overhead: _Overhead
    prefill_layer_overhead: _Overhead
    prefill_latency_factor: _Factor
    first_token_overhead: _Overhead
    first_step_wait_steps: Annotated[Figure, of("ratio", 0, 100)]
    burst_fraction: Annotated[Figure, of("ratio", 0, 1)]
    prefill_stall_fraction: Annotated[Figure, of("ratio", 0, 2)]
    chunk_tokens: Annotated[Figure, of("tokens", 16, 1_000_000)]
    usable_memory_fraction: Annotated[Figure, of("ratio", 0.3, 1)]
    runtime_reserve: Annotated[Figure, of("memory", 0, 64, "GB")]
    graph_reserve: Annotated[Figure, of("memory", 0, 64, "GB")]
    saturated_factor: Annotated[Figure, of("ratio", 0.3, 3)]
    kv_reserved_fraction: Annotated[Figure, of("ratio", 0, 3)]
    kv_row_floor: Annotated[Figure, of("memory", 0, 65536)]
    prefill_pool_utilisation: Annotated[Figure, of("ratio", 0.05, 0.99)]
    prefill_square_factor: Annotated[Figure, of("ratio", 1, 2)]
    serial_prefill: Annotated[Figure, of("ratio", 0, 1)]
    power_floor_fraction: Annotated[Figure, of("ratio", 0, 1)]
    power_idle_fraction: Annotated[Figure, of("ratio", 0, 1)]
    power_memory_fraction: Annotated[Figure, of("ratio", 0, 5)]
    power_compute_fraction: Annotated[Figure, of("ratio", 0, 20)]
    power_link_fraction: Annotated[Figure, of("ratio", 0, 5)]


def moved(figure: Figure, value: float, low: float | None, high: float | None, *, source: str | None = None) -> Figure:
    """A figure like another with another value and range, made anew: a copy would keep the old one's cached SI value."""
    kept = figure.model_dump(exclude={"value", "low", "high", "source"}, exclude_defaults=True)
    return Figure(value=value, low=low, high=high, source=source, **kept)


def deviation_of(figure: Figure) -> float:
    """The standard deviation, in the logarithm, of a prior whose range is its central 90 %; a range down to 0 counts from a third of the value."""
    return math.log(figure.si_high / max(figure.si_low, figure.si / 3.0)) / _RANGE_IN_DEVIATIONS


class ServingEngine(Strict):
    """A serving engine: what it multiplies, and the names by which measurements call it."""

    title: str
    aliases: tuple[str, ...] = ()
    factors: dict[str, _Factor] = Field(default_factory=dict)


class Spread(Strict):
    """Multiplicative half-width of the central 90 % of measured over predicted, out of sample (1.47: within x/ 1.47)."""

    time_to_first_token: Annotated[Figure, of("ratio", 1, 10)]
    time_per_output_token: Annotated[Figure, of("ratio", 1, 10)]
    throughput: Annotated[Figure, of("ratio", 1, 10)]


class Anchoring(Strict):
    """How far rows of one replica scatter about their own mean ratio to the prediction, in the logarithm: what an anchor leaves uncertain.

    Variances differ between replicas as a scaled inverse chi-squared of `rows` degrees of freedom about the square of `within`: what a replica's own
    measurements say of their scatter is weighed against that, row for row.
    """

    within: Annotated[Figure, of("ratio", 1e-4, 10)]
    rows: Annotated[Figure, of("ratio", 0.01, 10_000)]


Measure = Literal["time_to_first_token", "time_per_output_token", "request_latency", "throughput", "power", "energy"]


class FitError(Strict):
    """How far predictions lay from measurements of groups left out whole, as fractions: rows, median, mean, 90th percentile of |predicted / measured - 1|."""

    rows: int
    median: float
    mean: float
    p90: float


class Region(Strict):
    """Errors on left-out groups where measurements are alike: `errors` by metric, of one `generation` of accelerators, `experts` (mixtures of experts, or dense
    models), one serving `engine`, one kind of `load` (a loop, a busy one above 64 clients, a saturated server, a mean batch, one wave of a batch, pools).
    """

    generation: str
    experts: bool
    engine: str
    load: str
    errors: dict[str, FitError]


class Correlation(Strict):
    """Correlation of two fitted deviations, named parameter, or parameter and level; with the figures' ranges it gives their covariance."""

    between: tuple[str, str]
    value: Annotated[float, Field(ge=-1, le=1)]


class Calibration(Strict):
    """Parameters of the step model for some software stacks, with factors by serving engine and by accelerator generation.

    A fitted one names its `prior`, and has `load_spreads` (by load, then measure), `anchoring` (by measure), the errors on left-out groups, in all and by
    `regions`, and the stronger correlations. `scale` multiplies parameters on top, by a fit or an anchor; files do not hold it.
    """

    name: Name
    title: str
    date: str
    stacks: tuple[Stack, ...]
    base: Name | None = None
    fitted_on: str
    default_engine: str
    parameters: Parameters
    engines: dict[str, ServingEngine]
    generations: dict[str, dict[str, _Factor]] = Field(default_factory=dict)
    measured: tuple[str, ...]
    spreads: dict[Literal["seen", "moe", "extrapolated"], Spread] = Field(default_factory=dict)
    prior: Name | None = None
    load_spreads: dict[str, dict[Measure, Annotated[Figure, of("ratio", 1, 100)]]] = Field(default_factory=dict)
    anchoring: dict[Measure, Anchoring] = Field(default_factory=dict)
    errors: dict[str, FitError] = Field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    scale: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _factors_name_parameters(self) -> Calibration:
        known = Parameters.model_fields
        tables = {f"engines.{name}.factors": engine.factors for name, engine in self.engines.items()}
        tables |= {f"generations.{name}": factors for name, factors in self.generations.items()}
        for table, factors in tables.items():
            for key in factors:
                if key not in known:
                    raise ValueError(f"{table}: '{key}' is not a parameter; did you mean '{nearest_name(key, known)}'?")
        if self.default_engine not in self.engines:
            raise ValueError(f"default_engine '{self.default_engine}' is not one of {sorted(self.engines)}")
        return self

    def is_extrapolated(self, generation: str) -> bool:
        """Whether nothing was measured on accelerators of a generation, so that the parameters are carried over to it."""
        return generation not in self.measured

    def spread(self, generation: str, has_experts: bool) -> Spread | None:
        """How far measurements lie from predictions on accelerators of a generation; None where nobody knows.

        `extrapolated` holds where the generation was not measured, `moe` for mixtures of experts where the stack says so: the wider of those that apply.
        """
        applying = ["extrapolated" if self.is_extrapolated(generation) else "seen", *(["moe"] if has_experts else [])]
        found = [self.spreads[name] for name in applying if name in self.spreads]
        return max(found, key=lambda spread: spread.time_per_output_token.si, default=None)

    def load_spread(self, load: str, measure: Measure, generation: str, has_experts: bool) -> float | None:
        """Half-width, as a factor, of the central 90 % under a kind of load; where that was not measured, as for any load; None where nobody knows."""
        figure = self.load_spreads.get(load, {}).get(measure)
        if figure is not None and not self.is_extrapolated(generation) and not (has_experts and "moe" in self.spreads):
            return figure.si
        spread = self.spread(generation, has_experts)
        return None if spread is None else getattr(spread, measure if measure in Spread.model_fields else "throughput").si

    def engine(self, name: str) -> str:
        """The key of a serving engine given by key or alias; InputError with the nearest name."""
        for key, engine in self.engines.items():
            if name.casefold() in (key.casefold(), *(alias.casefold() for alias in engine.aliases)):
                return key
        raise InputError(f"no serving engine of {', '.join(self.stacks)} is called '{name}'", key="engine", value=name, allowed=self.engines)

    def values(self, engine: str, generation: str) -> dict[str, float]:
        """Every parameter in SI for one serving engine and accelerator generation: base x engine's factor x generation's factor (x scale)."""
        by_engine = self.engines[engine].factors
        by_generation = self.generations.get(generation, {})
        result = {}
        for name in Parameters.model_fields:
            figure: Figure = getattr(self.parameters, name)
            result[name] = figure.si * (by_engine[name].si if name in by_engine else 1.0) * (by_generation[name].si if name in by_generation else 1.0)
            result[name] *= self.scale.get(name, 1.0)
        return result
