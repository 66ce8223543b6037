"""The scenario file: a base situation, named overrides, axes, and the studies asked for."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from accelmodel.catalog.figures import Name, Strict, named, parse, read_toml
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import Tier
from accelmodel.core.replica import ComputeDtype, Dtype, KvDtype
from accelmodel.economics.attribution import Convention
from accelmodel.errors import InputError, nearest_name
from accelmodel.studies.axes import Axis, Condition, NamedSet, Range, Zipped, keys_of, reads, steps_of, values_of
from accelmodel.studies.sweep_schema import SweepStudy
from accelmodel.studies.uncertain import BreakEvenStudy, SensitivityStudy, UncertainStudy

# Strict: a true is no 1.
_Positive = Annotated[float, Field(gt=0, strict=True)]
_Count = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]
_Years = Annotated[float, Field(gt=0, le=30, multiple_of=0.25, strict=True)]  # whole quarters


def _one_of(values: tuple[str, ...]) -> WithJsonSchema:
    """Text that the API checks against these values; editors learn of them from the JSON Schema."""
    return WithJsonSchema({"type": "string", "enum": list(values)})


_Model = Annotated[str, named("models")]
_Workload = Annotated[str, named("workloads")]
_Shape = Annotated[str, named("shapes")]
_Site = Annotated[str, named("sites")]
_Owner = Annotated[str, named("ownership")]
_Reference = Annotated[str, named("reference")]


class Situation(Strict):
    """One situation: a replica, its load, whose books. Keys are those of `accelmodel evaluate`; what a case leaves out, the base says."""

    model: _Model | None = None
    system: Annotated[str, named("systems")] | None = None
    accelerators: _Count | None = None
    tensor_parallel: _Count | None = None
    expert_parallel: _Count | None = None
    attention_data_parallel: _Count | None = None
    pipeline_parallel: _Count | None = None
    context_parallel: _Count | None = None
    weights: Annotated[str, _one_of(get_args(Dtype))] | None = None
    kv: Annotated[str, _one_of(get_args(KvDtype))] | None = None
    compute: Annotated[str, _one_of(get_args(ComputeDtype))] | None = None
    engine: Annotated[str, named("engines")] | None = None
    mode: Literal["continuous", "static", "disaggregated"] | None = None
    chunk_tokens: _Positive | None = None
    compiled_batch: _Count | None = None
    sequence_bucket: _Count | None = None
    prompt_bucket: _Count | None = None
    speculative_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
    acceptance_fraction: _Share | None = None
    draft_model: _Model | None = None
    power_cap_w: _Positive | None = None
    workload: _Workload | None = None
    input_tokens: _Positive | None = None
    output_tokens: _Positive | None = None
    prefix_hit_fraction: _Share | None = None
    prefix_cache: _Workload | None = None
    concurrency: _Positive | None = None
    requests_per_s: _Positive | None = None
    ttft_s: _Positive | None = None
    tpot_s: _Positive | None = None
    offer: str | tuple[str, ...] | None = None
    tier: Annotated[str, _one_of(get_args(Tier))] | None = None
    books: Literal["cloud", "tenant", "self"] | None = None
    occupancy: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    site: _Site | None = None
    owner: _Owner | None = None
    attribution: Convention | None = None
    purchase_usd: _Positive | None = None


_COUNTS = tuple(name for name, field in Situation.model_fields.items() if "int" in str(field.annotation))
REPLICA_KEYS = (
    *("model", "system", "accelerators", "tensor_parallel", "pipeline_parallel", "expert_parallel", "attention_data_parallel", "context_parallel"),
    *("weights", "kv", "compute", "engine", "mode", "chunk_tokens", "compiled_batch", "sequence_bucket", "prompt_bucket"),
    *("speculative_tokens", "acceptance_fraction", "draft_model", "power_cap_w"),
)
LOAD_KEYS = ("input_tokens", "output_tokens", "prefix_hit_fraction", "concurrency", "requests_per_s")
WORKLOAD_KEYS = ("input_tokens", "output_tokens", "prefix_hit_fraction")
MONEY_KEYS = ("offer", "tier", "books", "occupancy", "site", "owner", "attribution", "purchase_usd")
TARGET_KEYS = ("ttft_s", "tpot_s")


class Points(Strict):
    """Operating points of every case at every value of the axes, or of those that `axes` names: none of them where it is empty.

    `columns` may name percentiles (`time_to_first_token_p99_s`): the simulator makes them, of arrivals and lengths that vary as the other keys say.
    """

    kind: Literal["points"]
    cases: tuple[str, ...] = ()
    axes: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    burstiness: _Positive = 1.0
    input_variation: Annotated[float, Field(ge=0)] = 0.0
    output_variation: Annotated[float, Field(ge=0)] = 0.0


class Fleet(Strict):
    """What given numbers of accelerators carry, draw, tie up and earn, set beside published figures."""

    kind: Literal["fleet"]
    cases: tuple[str, ...] = ()
    fleet_accelerators: tuple[_Count, ...] = Field(min_length=1)
    reference: _Reference | None = None


def _listed(value: Any) -> Any:
    """A single number as a list of one."""
    return value if isinstance(value, (list, tuple)) else (value,)


_Demands = Annotated[tuple[_Positive, ...], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=_Positive | tuple[_Positive, ...])]
_DEMANDS = ("tokens_per_day", "requests_per_day", "users")
_OF_USERS = ("sessions_per_user_day", "turns_per_session", "input_tokens_per_turn", "output_tokens_per_turn")


class Demanded(Strict):
    """A demand, or several: exactly one of `tokens_per_day` (in the situation's mix of input and output), `requests_per_day` (of the situation's lengths) and
    `users`, each a number or a list.

    Of users, `sessions_per_user_day` and `turns_per_session` are needed, and `input_tokens_per_turn` and `output_tokens_per_turn`: the context grows by turn.
    `system_prompt_tokens` stand before it (none), and `context_hit_fraction` of what was sent before is still in the prefix cache (all). The peak over the
    mean is that of the `shape`, a name of the catalogue, or is given as `peak_to_mean`. Growth compounds over `years`.
    """

    tokens_per_day: _Demands | None = None
    requests_per_day: _Demands | None = None
    users: _Demands | None = None
    sessions_per_user_day: _Positive | None = None
    turns_per_session: Annotated[float, Field(ge=1)] | None = None
    input_tokens_per_turn: _Positive | None = None
    output_tokens_per_turn: _Positive | None = None
    system_prompt_tokens: Annotated[float, Field(ge=0)] | None = None
    context_hit_fraction: _Share | None = None
    shape: _Shape | None = None
    peak_to_mean: Annotated[float, Field(ge=1)] | None = None
    growth_fraction_per_year: Annotated[float, Field(gt=-1)] = 0.0
    years: Annotated[float, Field(ge=0)] = 0.0

    @property
    def _own(self) -> bool:
        """Whether there is a demand beside the quantities: what a trace asks for."""
        return False

    @model_validator(mode="after")
    def _is_one_demand(self) -> Self:
        given = [key for key in _DEMANDS if getattr(self, key) is not None]
        if len(given) != 1 and not (self._own and not given):
            raise ValueError(f"give exactly one of {', '.join(_DEMANDS)}, not {' and '.join(given) or 'none'}")
        if (self.shape is None) == (self.peak_to_mean is None):
            raise ValueError("give the load's shape or its peak_to_mean: one of them")
        missing = [key for key in _OF_USERS if getattr(self, key) is None]
        if self.users is not None and missing:
            raise ValueError(f"a demand of users needs {', '.join(missing)}")
        needless = [key for key in (*_OF_USERS, "system_prompt_tokens", "context_hit_fraction") if getattr(self, key) is not None]
        if self.users is None and needless:
            raise ValueError(f"{needless[0]} is of users, of which none are given")
        return self


class Reserved(Strict):
    """What a fleet holds beyond its peak.

    `headroom_fraction` of the replicas is left for bursts and queueing; where absent, as many as the traffic's bursts take. `maintenance_fraction` is drained;
    enough of the rest is up with the probability `availability_target_fraction`, beside as many as fail at once with what systems share
    (`correlated_accelerators`); a spare is at hand with `spares_service_fraction`.
    """

    headroom_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    maintenance_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.02
    availability_target_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.999
    spares_service_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.99
    correlated_accelerators: Annotated[int, Field(ge=0)] = 0


class Drawn(Strict):
    """Requests that are drawn: coefficients of variation of gamma times between arrivals (1: Poisson) and of lognormal lengths (about those of Azure's)."""

    burstiness: _Positive = 1.0
    input_variation: Annotated[float, Field(ge=0, le=5)] = 1.0
    output_variation: Annotated[float, Field(ge=0, le=5)] = 0.8


class Trafficked(Drawn):
    """How requests come, for percentiles and bursts: a trace, or requests that are drawn.

    `percentile` of the requests meet the latency targets of the situation in the busiest `window_s`, by simulation with this `routing`. Where a trace has
    prefixes, each replica caches `prefix_cache_tokens` of them: what its KV pool spares where absent, none at 0.
    """

    trace: str | None = None
    trace_rate_factor: _Positive = 1.0
    percentile: Annotated[int, Field(ge=10, le=99)] = 99
    window_s: _Positive = 300.0
    prefix_cache_tokens: Annotated[float, Field(ge=0)] | None = None
    routing: Literal["round-robin", "least-loaded", "session", "prefix-affine"] = "least-loaded"


class SiteRoom(Strict):
    """A site that takes part of a fleet: as much as this power at the meter feeds; the site's own figure where absent."""

    site: _Site
    facility_power_mw: _Positive | None = None


class DemandStudy(Demanded, Reserved, Trafficked):
    """A fleet for a demand, or for what a trace asks for: its rate x `trace_rate_factor` is then that of the peak. `sites` are filled in order."""

    kind: Literal["demand"]
    cases: tuple[str, ...] = ()
    sites: tuple[SiteRoom, ...] = ()
    power_diversity_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def _own(self) -> bool:
        return self.trace is not None

    @model_validator(mode="after")
    def _has_one_rate_and_one_kind_of_lengths(self) -> Self:
        if self.users is not None and self.trace is not None:
            raise ValueError("users decide the lengths of requests, and so does a trace: leave one out")
        if self.trace_rate_factor != 1.0 and (self.trace is None or any(getattr(self, key) is not None for key in _DEMANDS)):
            raise ValueError("trace_rate_factor is for a trace that is the demand itself")
        return self


class TroughWork(Strict):
    """Work for the hours in which replicas would be off: tokens of the situation at another `tier` (or of another `workload`, at another load or latency
    targets), or whatever pays `price_usd_per_accelerator_h`, such as training.

    Of the troughs that last `minimum_h` or longer, less the start of a replica, `usable_fraction` is used: the rest is lost between jobs.
    """

    usable_fraction: _Share
    minimum_h: Annotated[float, Field(ge=0)] = 1.0
    price_usd_per_accelerator_h: _Positive | None = None
    tier: Annotated[str, _one_of(get_args(Tier))] | None = None
    workload: _Workload | None = None
    concurrency: _Positive | None = None
    ttft_s: _Positive | None = None
    tpot_s: _Positive | None = None

    @property
    def load(self) -> dict[str, Any]:
        """Keys of the situation that its tokens override."""
        return self.model_dump(include={"tier", "workload", "concurrency", "ttft_s", "tpot_s"}, exclude_none=True)

    @model_validator(mode="after")
    def _earns_in_one_way(self) -> Self:
        if self.price_usd_per_accelerator_h is not None and self.load:
            raise ValueError(f"price_usd_per_accelerator_h pays for hours whatever is done in them: leave out {next(iter(self.load))}, or it")
        return self


class ScheduleStudy(Demanded, Reserved, Trafficked):
    """A fleet through the hours of its shape's day or week: all of it on, autoscaled, and with other work in the troughs.

    Reserves as of a demand study, in every hour for the replicas that serve it. A replica is started `reaction_s`
    and `startup_s` ahead of need, goes when it was not needed for `minimum_on_h`, and the fleet is scaled for `forecast_error_fraction` more than the load, up
    to what the static fleet has. Off, it draws `off_power_fraction` of what it draws idle. Where the situation has latency targets, the busiest hour is put
    through the simulator; requests are those of a `trace` at that hour's rate, or drawn.
    """

    kind: Literal["schedule"]
    cases: tuple[str, ...] = ()
    startup_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    reaction_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    minimum_on_h: Annotated[float, Field(ge=0, le=24)] = 0.0
    forecast_error_fraction: Annotated[float, Field(ge=0)] = 0.05
    minimum_replicas: Annotated[int, Field(ge=0)] = 0
    off_power_fraction: _Share = 0.0
    troughs: TroughWork | None = None

    @model_validator(mode="after")
    def _has_hours_and_lengths(self) -> Self:
        if self.shape is None:
            raise ValueError("needs a shape: peak_to_mean says nothing of the hours")
        if self.users is not None and self.trace is not None:
            raise ValueError("users decide the lengths of requests, and so does a trace: leave one out")
        if self.trace_rate_factor != 1.0:
            raise ValueError("the demand decides the rate: trace_rate_factor says nothing here")
        return self


class PriceShock(Strict):
    """Margin of a mix of in-house silicon and a vendor's accelerators when the vendor's price moves."""

    kind: Literal["price-shock"]
    in_house: str
    vendor: str
    in_house_fraction: tuple[_Share, ...] = Field(min_length=1)
    vendor_price_shock_fraction: tuple[Annotated[float, Field(gt=-1)], ...] = Field(min_length=1)


class Day(Strict):
    """A published day of serving: its cost, revenue, margin and split, worked again from its own tokens, prices and hours."""

    kind: Literal["day"]
    reference: _Reference


class OwnershipStudy(Strict):
    """What an hour of some accelerators costs their owner, line by line, with interest and on a straight line, beside published figures.

    `load_fraction` is the mean draw over the all-in IT power; `published` names the figure of the reference's groups.
    """

    kind: Literal["ownership"]
    accelerators: tuple[str, ...] = Field(min_length=1)
    load_fraction: Annotated[float, Field(gt=0, le=1)]
    owner: _Owner = "default"
    site: _Site = "new-carlisle"
    reference: _Reference | None = None
    published: str = "owning_hyperscaler"


class MixPart(Strict):
    """A part of a mix of traffic: a case (its model, tier, cached share), its share of the tokens, and its load hour by hour of a day, flat if absent."""

    case: str
    share: _Share
    load_by_hour: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=24, max_length=24)] | None = None


class MarginStudy(Strict):
    """Margin, mark-up, break-even and target prices and occupancies, energy, carbon and water: a row per case, point of the axes and discount; and of a mix.

    Where a part of the mix has a load by hour, each system's parts share one fleet, sized for its busiest hour and `headroom_fraction`: that is its occupancy.
    """

    kind: Literal["margin"]
    cases: tuple[str, ...] = ()
    target_margin_fraction: Annotated[float, Field(lt=1)] = 0.30
    overhead_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    discount_fraction: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = (0.0,)
    mix: tuple[MixPart, ...] = ()
    headroom_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    reference: _Reference | None = None

    @model_validator(mode="after")
    def _mix_is_whole(self) -> MarginStudy:
        if self.mix and abs(sum(part.share for part in self.mix) - 1.0) > 1e-6:
            raise ValueError("the shares of a mix must sum to 1")
        return self


class Waterfall(Strict):
    """From list price to operating margin, per million tokens, step by step: discount, each line of the cost of loaded hours, the other hours, overheads."""

    kind: Literal["waterfall"]
    cases: tuple[str, ...] = ()
    overhead_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    discount_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0


_Change = Annotated[float, Field(gt=-1, le=10, strict=True)]


class PriceCut(Strict):
    """A fall of the price of tokens at once, at some year."""

    year: Annotated[float, Field(ge=0)]
    fraction: _Share


class _OverTime(Strict):
    """How a fleet goes through time; changes are per year and compound from the first day.

    `purchase_fractions` are bought quarter by quarter; tokens sell at a price that changes by `price_change_fraction_per_year`, and the same hardware serves
    `speedup_fraction_per_year` more of them as its software learns. Each doubling of what has been bought leaves `progress_fraction` of its price. Cost of
    capital, lives and tax are the owner's where not given.
    """

    fleet_accelerators: _Count
    purchase_fractions: Annotated[tuple[_Share, ...], Field(min_length=1)] = (1.0,)
    ramp_years: Annotated[float, Field(ge=0)] = 0.0
    price_change_fraction_per_year: _Change = 0.0
    speedup_fraction_per_year: _Change = 0.0
    price_cuts: tuple[PriceCut, ...] = ()
    equipment_price_change_fraction_per_year: _Change = 0.0
    progress_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    cost_of_capital_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    tax_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None


class RefreshAt(Strict):
    """Equipment that takes the place of the first at some year, as much of it as the same power runs."""

    case: str
    year: _Positive


class CashFlowStudy(_OverTime):
    """Cash of a fleet by quarter over some years: what is invested, earned, spent, left. Equipment that comes to its end before is bought again."""

    kind: Literal["cash-flow"]
    cases: tuple[str, ...] = ()
    years: _Years | None = None
    equipment_life_years: _Years | None = None
    refresh: RefreshAt | None = None


class CapitalStudy(_OverTime):
    """NPV, IRR, payback, profitability index and levelised cost of a fleet, by the years that its equipment lives."""

    kind: Literal["capital"]
    cases: tuple[str, ...] = ()
    life_years: Annotated[tuple[_Years, ...], Field(min_length=1)] = (3.0, 4.0, 5.0, 6.0)


class RefreshStudy(_OverTime):
    """Keep equipment that is paid for, or buy another generation for the same power: by cost per token, by margin per megawatt, by NPV over some years."""

    kind: Literal["refresh"]
    keep: str
    refresh: Annotated[tuple[str, ...], Field(min_length=1)]
    years: Annotated[tuple[_Years, ...], Field(min_length=1)] = (3.0, 5.0)


class Parity(Strict):
    """The hourly price, or the purchase, at which an accelerator's tokens cost what a baseline's cost, each case at its own load or latency targets."""

    kind: Literal["parity"]
    subjects: Annotated[tuple[str, ...], Field(min_length=1)]
    baselines: Annotated[tuple[str, ...], Field(min_length=1)]


_Quarter = Annotated[str, Field(pattern=r"^\d{4}Q[1-4]$")]
_Below1 = Annotated[float, Field(ge=0, lt=1)]


class Slices(Strict):
    """A workload cut by the lengths of its trace's requests: edges in tokens between the buckets; every combination that has requests is a slice."""

    input_tokens: tuple[_Positive, ...] = ()
    output_tokens: tuple[_Positive, ...] = ()


class PlanWorkload(Drawn):
    """A workload of a plan: its load, targets and prices from `case`, the replicas that may serve it from one case per system.

    `tokens_per_day` (input and output) is one number that grows by `growth_fraction_per_year`, or one a quarter, 0 before it begins; its peak over the mean is
    its `shape`'s or given as `peak_to_mean`. Its requests are those of `trace`, with the trace's bursts, their lengths brought to the workload's means; or
    drawn. `percentile` of them meet the latency targets in the simulator.
    """

    case: str | None = None
    replicas: Annotated[tuple[str, ...], Field(min_length=1)]
    tokens_per_day: _Positive | tuple[Annotated[float, Field(ge=0)], ...]
    growth_fraction_per_year: Annotated[float, Field(gt=-1)] = 0.0
    shape: _Shape | None = None
    peak_to_mean: Annotated[float, Field(ge=1)] | None = None
    survives_region_loss: bool = False
    trace: str | None = None
    percentile: Annotated[float, Field(gt=0, lt=100)] = 99.0
    slices: Slices | None = None

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> PlanWorkload:
        if (self.shape is None) == (self.peak_to_mean is None):
            raise ValueError("give the load's shape or its peak_to_mean: one of them")
        if self.slices is not None and self.trace is None:
            raise ValueError("slices are cut from a trace: give 'trace'")
        if isinstance(self.tokens_per_day, tuple) and not any(self.tokens_per_day):
            raise ValueError("tokens_per_day are 0 in every quarter")
        if isinstance(self.tokens_per_day, tuple) and self.growth_fraction_per_year:
            raise ValueError("tokens_per_day by quarter grow as they stand: leave out growth_fraction_per_year")
        return self


class SupplyFrom(Strict):
    """Systems deliverable in each quarter from one on."""

    quarter: _Quarter
    systems: Annotated[int, Field(ge=0)]


class PlanSystem(Strict):
    """A system of a plan: what can be delivered, what stands already, how long it lives; by `rent` (an offer by the hour) it is rented, and costs no capital.

    Without `supply` there is no limit; an order comes after `lead_quarters`, and the first is placed in the first quarter. `sites` are all where absent.
    """

    lead_quarters: Annotated[int, Field(ge=0)] = 0
    supply: tuple[SupplyFrom, ...] | None = None
    in_place: dict[Name, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    in_place_age_quarters: Annotated[int, Field(ge=0)] = 0
    life_years: _Years | None = None
    sites: tuple[str, ...] | None = None
    rent: str | None = None
    price_change_fraction_per_year: _Change = 0.0


class PowerFrom(Strict):
    """IT power of a site, or its draw at the meter, from a quarter on; of both the smaller counts."""

    quarter: _Quarter
    it_mw: Annotated[float, Field(ge=0)] | None = None
    facility_mw: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _says_power(self) -> PowerFrom:
        if self.it_mw is None and self.facility_mw is None:
            raise ValueError("give it_mw or facility_mw")
        return self


class PlanSite(Strict):
    """A site of a plan: the region that it fails with (itself where absent), and its power by quarter, none before the first step; no limit where absent."""

    region: str | None = None
    power: tuple[PowerFrom, ...] | None = None


class PlanProof(Strict):
    """How a plan is put through the simulator: cells of at most so many replicas, the busiest window of so many seconds, this many repairs at most."""

    cell_replicas: _Count = 64
    window_s: _Positive = 300.0
    rounds: _Count = 8


class PlanStudy(Reserved):
    """What to have delivered, kept and retired, where and when, so that workloads are served at least cost (or greatest margin), proven by the simulator.

    Reserves as of a demand study. `power_diversity_fraction` is the draw at the peak over the sum of the systems' all-in power. Cost of capital is the owner's
    where not given; `horizon_value` is what equipment is worth at the end: what is left of its annuity, its book value, or nothing.
    """

    kind: Literal["plan"]
    first_quarter: _Quarter
    quarters: Annotated[int, Field(ge=1, le=60)]
    workloads: Annotated[dict[Name, PlanWorkload], Field(min_length=1)]
    systems: Annotated[dict[str, PlanSystem], Field(min_length=1)]
    sites: Annotated[dict[str, PlanSite], Field(min_length=1)]
    objective: Literal["cost", "margin"] = "cost"
    budget_usd: _Positive | None = None
    budget_usd_per_quarter: _Positive | tuple[Annotated[float, Field(ge=0)], ...] | None = None
    price_change_fraction_per_year: _Change = 0.0
    cost_of_capital_fraction: _Below1 | None = None
    horizon_value: Literal["annuity", "book", "none"] = "annuity"
    power_diversity_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    headroom_fraction: _Below1 = 0.1
    gap_fraction: _Below1 = 1e-3
    time_limit_s: _Positive = 60.0
    proof: PlanProof = PlanProof()

    @model_validator(mode="after")
    def _regions_say_what_fails_together(self) -> PlanStudy:
        if self.correlated_accelerators:
            raise ValueError("a plan has regions for what fails together: give its workloads survives_region_loss in place of correlated_accelerators")
        return self


class PlanPart(Strict):
    """A closer look at a plan of the same scenario: by site and system, by workload, what one more of each scarce thing is worth, the way from the lower
    bound to its cost, its proofs, or what it would cost with each system alone."""

    kind: Literal["plan-part"]
    of: str
    part: Literal["sites", "workloads", "shadow-prices", "bound", "proofs", "single-systems"]


_AnyStudy = (
    Points
    | SweepStudy
    | Fleet
    | DemandStudy
    | ScheduleStudy
    | PriceShock
    | Day
    | OwnershipStudy
    | MarginStudy
    | Waterfall
    | CashFlowStudy
    | CapitalStudy
    | RefreshStudy
    | Parity
    | PlanStudy
    | PlanPart
    | UncertainStudy
)
Study = Annotated[_AnyStudy, Field(discriminator="kind")]


def _cases_of(study: Any) -> Iterator[str]:
    """Every case that a study names."""
    yield from getattr(study, "cases", ())
    if isinstance(study, PriceShock):
        yield from (study.in_house, study.vendor)
    if isinstance(study, MarginStudy):
        yield from (part.case for part in study.mix)
    if isinstance(study, CashFlowStudy) and study.refresh is not None:
        yield study.refresh.case
    if isinstance(study, RefreshStudy):
        yield from (study.keep, *study.refresh)
    if isinstance(study, Parity):
        yield from (*study.subjects, *study.baselines)
    if isinstance(study, PlanStudy):
        for workload in study.workloads.values():
            yield from (*([] if workload.case is None else [workload.case]), *workload.replicas)
    if isinstance(study, SensitivityStudy | BreakEvenStudy):
        yield from (*(() if study.case is None else (study.case,)), *study.against)


class Scenario(Strict):
    """A scenario file.

    `title` and `description` say in words what is asked. `base` is the situation, `cases` are named overrides of it. Along `axes` go lists of values, ranges
    or named sets, of which some may be the scenario's own `sets`; every combination is a point, but those that a condition of `exclude` leaves out. `studies`
    say what to compute, each by its kind.
    """

    title: str
    description: str = ""
    base: Situation = Situation()
    cases: dict[Name, Situation] = Field(default_factory=dict)
    axes: dict[str, Axis] = Field(default_factory=dict)
    sets: dict[Name, tuple[Any, ...]] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    studies: dict[Name, Study] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Scenario:
        for name, study in self.studies.items():
            for case in _cases_of(study):
                if case not in self.cases:
                    near = nearest_name(case, self.cases)
                    raise ValueError(f"studies.{name}: no case is called '{case}'" + (f"; did you mean '{near}'?" if near else ""))
            for axis in getattr(study, "axes", None) or ():
                if axis not in self.axes:
                    near = nearest_name(axis, self.axes)
                    raise ValueError(f"studies.{name}: no axis is called '{axis}'" + (f"; did you mean '{near}'?" if near else ""))
            if isinstance(study, PlanPart) and not isinstance(self.studies.get(study.of), PlanStudy):
                raise ValueError(f"studies.{name}.of: '{study.of}' is no study of kind 'plan'")
        for case, situation in self.cases.items():
            for key in keys_of(self.axes):
                if key in situation.model_fields_set:
                    raise ValueError(f"'{key}' is set by the case '{case}' and by an axis: two overrides of one key")
        return self

    @model_validator(mode="after")
    def _axes_are_one_each(self) -> Scenario:
        keys = [key for name, axis in self.axes.items() for key in keys_of({name: axis})]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"axes: '{key}' goes along two axes")
        self.conditions  # noqa: B018  reads them, and says what is wrong with one
        if self.only_fitting and not all(isinstance(study, SweepStudy) for study in self.studies.values()):
            raise ValueError("axes: the set 'fitting' is for sweeps; other studies show what does not fit as such: use 'every'")
        if self.exclude and any(isinstance(study, MarginStudy) for study in self.studies.values()):
            raise ValueError("exclude: a study of kind 'margin' leaves nothing out; sweeps and points do")
        return self

    @cached_property
    def conditions(self) -> list[Condition]:
        """What leaves combinations out."""
        try:
            return reads(self.exclude, Situation.model_fields)
        except ValueError as error:
            raise ValueError(f"exclude: {error}") from None

    @property
    def axis_keys(self) -> tuple[str, ...]:
        """The keys that go along axes, in order."""
        return tuple(keys_of(self.axes))

    @property
    def only_fitting(self) -> bool:
        """Whether systems that do not hold their model are left out."""
        return any(isinstance(axis, NamedSet) and axis.set == FITTING for axis in self.axes.values())

    def situation(self, case: str | None) -> dict[str, Any]:
        """The base with a case's overrides, as keyword arguments; keys that nobody set are absent. A case's workload takes the place of the base's lengths."""
        merged = self.base.model_dump(exclude_none=True)
        if case is None:
            return merged
        own = self.cases[case].model_dump(exclude_none=True)
        if "workload" in own:
            merged = {key: value for key, value in merged.items() if key not in WORKLOAD_KEYS}
        return merged | own

    def chosen(self, cases: tuple[str, ...]) -> tuple[str | None, ...]:
        """The cases a study runs over: those it names, else all, else the base alone."""
        return cases or tuple(self.cases) or (None,)

    def grid(self, case: str | None = None, axes: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every combination of the axes' values (or of those `axes`') that no condition leaves out of a case, the last axis fastest."""
        own = self.situation(case) if self.exclude else {}
        for steps in itertools.product(*(self.steps(name) for name in self.axes if axes is None or name in axes)):
            combination = {key: value for step in steps for key, value in step.items()}
            if not self.is_excluded({**own, **combination}):
                yield combination

    def steps(self, axis: str) -> list[dict[str, Any]]:
        """What an axis sets at each of its steps, as a situation holds it."""
        return [{key: _checked(key, value) for key, value in step.items()} for step in steps_of(axis, self.axes[axis])]

    def is_excluded(self, situation: Mapping[str, Any]) -> bool:
        """Whether a condition leaves a situation out; InputError for a key that the condition names and nobody set."""
        return any(bool(self.held(condition, situation)) for condition in self.conditions)

    def held(self, condition: Condition, situation: Mapping[str, Any]) -> Any:
        """Whether one condition holds, of values or arrays; InputError for a key that nobody set."""
        try:
            return condition.holds(situation)
        except KeyError as error:
            raise InputError(f"names '{error.args[0]}', which neither the base, the case nor an axis sets", key="exclude", value=error.args[0]) from None
        except TypeError:
            raise InputError(f"'{condition.words}' calculates with a text", key="exclude", value=condition.words) from None


def load(name: str | Path, catalog: Library, overrides: Mapping[str, Any] | None = None) -> tuple[Path, Scenario]:
    """A scenario by name or path, with dotted overrides (`base.occupancy`) written into it before it is checked."""
    path = catalog.path("scenarios", str(name))
    data = read_toml(path)
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    try:
        if isinstance(data.get("axes"), dict):
            sets: Any = data.get("sets") if isinstance(data.get("sets"), dict) else {}
            data["axes"] = {name: _axis(path, name, value, catalog, sets) for name, value in data["axes"].items()}
        return path, parse(Scenario, data, path)
    except InputError as error:
        raise blamed(error, overrides) from None


def blamed(error: InputError, overrides: Mapping[str, Any] | None) -> InputError:
    """The same error with the override that brought the value in, if one did, in place of the scenario's file."""
    for key, value in (overrides or {}).items():
        if error.key is not None and (key == error.key or (key.endswith(f".{error.key}") and value == error.value)):
            return InputError(error.message, key=f"--set {key}", value=error.value, allowed=error.allowed, nearest=error.nearest)
    return error


FITTING = "fitting"
_KINDS = {"model": "models", "system": "systems", "workload": "workloads", "site": "sites", "owner": "ownership"}


def _axis(path: Path, name: str, given: Any, catalog: Library, sets: Mapping[str, Any]) -> Axis:
    """An axis, its keys and each of its values checked as those of a situation are; a named set is looked up."""
    at = f"axes.{name}"
    if not (isinstance(given, dict) and "zip" in given):
        return _single(path, at, name, given, catalog, sets)
    if name in Situation.model_fields:
        raise InputError("zipped keys go under a name of their own, such as lengths = { zip = { ... } }", file=path, key=at, value=name)
    if not isinstance(given["zip"], dict):
        raise InputError("must be a table of keys, each with its values", file=path, key=f"{at}.zip", value=given["zip"])
    zipped = {key: _single(path, f"{at}.zip.{key}", key, value, catalog, sets) for key, value in given["zip"].items()}
    plain = {key: tuple(values_of(axis)) if isinstance(axis, NamedSet) else axis for key, axis in zipped.items()}
    return parse(Zipped, {**given, "zip": plain}, path, at)


def _single(path: Path, at: str, key: str, given: Any, catalog: Library, sets: Mapping[str, Any]) -> tuple[Any, ...] | Range | NamedSet:
    """The axis of one key."""
    if key not in Situation.model_fields:
        raise InputError("unknown key", file=path, key=at, value=key, allowed=Situation.model_fields)
    axis: tuple[Any, ...] | Range | NamedSet
    if isinstance(given, dict) and "set" in given:
        axis = _named_set(path, at, key, given, catalog, sets)
    elif isinstance(given, dict):
        axis = parse(Range, given, path, at)
    elif isinstance(given, list) and given:
        axis = tuple(given)
    else:
        raise InputError("must be a list of at least one value, or a range { from, to, steps }", file=path, key=at, value=given)
    values = values_of(axis)
    for value in values[:: len(values) - 1] if isinstance(axis, Range) and key not in _COUNTS else values:
        parse(Situation, {key: value}, path, "axes")
    return axis


def _named_set(path: Path, at: str, key: str, given: Mapping[str, Any], catalog: Library, sets: Mapping[str, Any]) -> NamedSet:
    """A set of the scenario's own, every entry of the catalogue, or every system that fits."""
    name = given["set"]
    known = [*sets, *(("every",) if key in _KINDS else ()), *((FITTING,) if key == "system" else ())]
    if name not in known:
        raise InputError(f"no set of '{key}' is called '{name}'", file=path, key=f"{at}.set", value=name, allowed=known)
    values = sets[name] if name in sets else sorted(catalog.files(_KINDS[key]))
    return parse(NamedSet, {**given, "values": values}, path, at)


def _checked(key: str, value: Any) -> Any:
    """A value as a situation holds it: a count whole, a list of offers a tuple."""
    return getattr(Situation.model_validate({key: value}), key) if key in _COUNTS or isinstance(value, list) else value


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    """Write a value at a dotted key; names that hold dots themselves are recognised. Only cases, studies and tables that exist can be reached into."""
    option, allowed = f"--set {key}", ("axes", "base", "cases", "studies", "sets", "exclude", "title", "description")
    table, rest = data, key
    while True:
        known = max((name for name in table if rest == name or rest.startswith(f"{name}.")), key=len, default=None)
        if known is None or rest == known:
            break
        if not isinstance(table[known], dict):
            raise InputError(f"'{known}' is a value, not a table", key=option, value=key)
        table, rest = table[known], rest[len(known) + 1 :]
    if table is data and rest.split(".")[0] in ("base", "axes") and rest.count(".") == 1:
        table, rest = data.setdefault(rest.split(".")[0], {}), rest.split(".")[1]
    if table is data and rest not in ("title", "description", "exclude"):
        raise InputError("names no key of the scenario", key=option, value=rest.split(".")[0], allowed=allowed)
    if "." in rest or table in (data.get("cases"), data.get("studies")):
        raise InputError(f"there is no '{rest.split('.')[0]}' to set it in", key=option, value=rest.split(".")[0], allowed=table)
    table[rest] = value


_TEMPLATE = """# A scenario of accelmodel: run it with `accelmodel run {file}`.
# Every key may be overridden from the command line: --set base.occupancy=0.5 --set axes.concurrency=[64]
title = "{name}"
description = "What one sentence says about the question."

# The situation. Names: `accelmodel catalog list models`, `... systems`, `... offers`, `... sites`, `... workloads`.
[base]
model = "llama-3.1-70b"        # or the path of a Hugging Face config.json
system = "p5.48xlarge"
accelerators = 8               # of the replica; the whole system where absent
tensor_parallel = 8
weights = "fp8"                # as published where absent
kv = "fp8"                     # bf16 where absent

input_tokens = 1024            # or: workload = "chat"
output_tokens = 1024
prefix_hit_fraction = 0.0
concurrency = 32               # or requests_per_s, or leave both out and give latency targets:
# ttft_s = 2.0
# tpot_s = 0.05

offer = ["on-demand", "bedrock"]   # by the hour: what a tenant pays; by the token: what is sold. Without one by the hour, cost is that of ownership
occupancy = 0.6                # share of the hours in which the replica carries this load

# Named overrides of the base: one row each.
[cases.gpu]

[cases.in-house]
system = "trn2.48xlarge"
accelerators = 4
tensor_parallel = 16
offer = ["capacity-block", "bedrock"]

# Axes: every combination is a point. A list, or {{ from = 1, to = 256, steps = 9, scale = "log" }}.
[axes]
concurrency = [8, 32, 128]

# What to compute.
[studies.points]
kind = "points"
"""


def template(name: str) -> str:
    """A commented scenario to start from."""
    return _TEMPLATE.format(name=name, file=f"{name}.toml")
