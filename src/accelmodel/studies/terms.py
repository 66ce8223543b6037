"""What a number is made of: an operating point's columns as trees of terms, down to figures with their sources.

A term's value is what the engine computed; its equation says how its parts make it, and nothing is computed a second time but the parts of a decode
step, which the engine folds away (`accelmodel.core.breakdown`; tests hold the two equal).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from accelmodel.catalog.figures import Figure
from accelmodel.catalog.offers import HourOffer
from accelmodel.columns import HIGH, LOW, column
from accelmodel.core.breakdown import Part, decode_step
from accelmodel.core.replica import Replica
from accelmodel.economics.attribution import token_weights
from accelmodel.economics.offers import block
from accelmodel.numbers import text
from accelmodel.serving.pieces import Pieces, pieces
from accelmodel.studies.equations import Maker, Term, Value, Walk, equated, given, of_figure
from accelmodel.studies.money import DEVICE_TIME, Money
from accelmodel.studies.owned import owned_hour, purchase
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context
from accelmodel.units import si_unit

_EQUATIONS = {
    "margin_fraction": "1 - replica_cost_usd_per_h / revenue_usd_per_h",
    "cost_usd_per_mtok": "replica_cost_usd_per_h / (occupancy * (input_tokens_per_s + output_tokens_per_s) * 3600 / 1000000)",
    "output_tokens_per_s": "running_requests * output_tokens / request_latency_s",  # Little's law
    "input_tokens_per_s": "running_requests * input_tokens / request_latency_s",
    "output_tokens_per_s_per_accelerator": "output_tokens_per_s / accelerators",
    "output_tokens_per_s_per_user": "1 / time_per_output_token_s",
    "request_latency_s": "time_to_first_token_s + (output_tokens - 1) * time_per_output_token_s",
    "energy_j_per_output_token": "power_w / output_tokens_per_s",
}
SPREAD_EQUATION = "the engine's number, and the spread of measurements about it as a factor on cost, time or rate"
_SHARE_OF = {"input": "prefill that computes", "cached_input": "attention to cached input", "output": "decode"}


class PointTerms:
    """Terms of one operating point. `inputs` are the terms of its load, by column."""

    def __init__(self, replica: Replica, money: Money, point: Point, inputs: Mapping[str, Term]) -> None:
        self.replica, self.money, self.point, self.inputs = replica, money, point, dict(inputs)
        self._pieces: Pieces | None = None
        self.equations = _EQUATIONS | {"replica_cost_usd_per_h": self._cost(), "revenue_usd_per_h": self._revenue()}

    def term(self, name: str) -> Term:
        """The term of a column; without a further equation, its value and what it means."""
        if name in self.inputs:
            return self.inputs[name]
        for bound in (LOW, HIGH):
            if name.endswith(bound):
                return self._bound(name, name.removesuffix(bound))
        if name in self.equations and self.value(name) is not None:
            return equated(name, self.value(name), self.equations[name], self._symbol)
        maker = getattr(self, f"_{name}", None)
        if maker is None or self.value(name) is None:
            return Term(name, self.value(name), column(name).unit, note=column(name).description)
        equation, parts = maker()
        return Term(name, self.value(name), column(name).unit, equation, tuple(parts))

    def value(self, name: str) -> Value:
        """A column's value; None where the point has none."""
        return vars(self.point).get(name)

    def terms(self, *names: str) -> list[Term]:
        """Terms of some columns."""
        return [self.term(name) for name in names]

    # Figures

    def parameter(self, name: str) -> Term:
        """A parameter of the calibration: base x engine's factor x generation's factor."""
        calibration, generation = self.replica.calibration, self.replica.accelerator.generation
        base: Figure = getattr(calibration.parameters, name)
        parts = [of_figure(f"{calibration.name}: {name}", base)]
        factors = {self.replica.engine: calibration.engines[self.replica.engine].factors, generation: calibration.generations.get(generation, {})}
        parts += [of_figure(f"factor of {level}", table[name]) for level, table in factors.items() if name in table]
        if name in calibration.scale:
            parts.append(given("factor of an anchor or a fit", calibration.scale[name], "own measurements"))
        if len(parts) == 1:
            return parts[0]
        return Term(name, self.replica.parameters[name], _si_unit(base), " x ".join(("base", *("factor",) * (len(parts) - 1))), tuple(parts))

    def accelerator(self, name: str) -> Term:
        """A figure of the accelerator."""
        return of_figure(f"{self.replica.accelerator.name}: {name}", self.replica.accelerator.need(name))

    def owner(self, name: str) -> Term:
        """A figure of the owner."""
        owner = self.money.catalog.ownership(self.money.owner)
        return of_figure(f"owner {owner.name}: {name}", getattr(owner.figures, name))

    def site(self, name: str) -> Term:
        """A figure of the site."""
        site = self.money.catalog.site(self.money.site)
        return of_figure(f"site {site.name}: {name}", getattr(site.figures, name))

    def occupancy(self) -> Term:
        """Share of the loaded hours: the owner's figure, or as it was given."""
        own = self.owner("occupancy")
        return own if own.value == self.money.occupancy else given("occupancy", self.money.occupancy, "the scenario or the call")

    # Money

    def _symbol(self, name: str) -> Term:
        """A term that an equation of the point has: a column, or what is none."""
        of = self.replica
        makers: dict[str, Maker] = {"occupancy": self.occupancy, "accelerators": self.accelerators, "cost_per_accelerator_h": self.cost_per_accelerator_h}
        makers |= {"availability": lambda: self.owner("availability")} | of_systems(of)
        if self.money.hour is not None:
            makers["offer_price"] = partial(self.hour_price, self.money.hour)
        return (makers | self._prices)[name]() if name in makers or name in self._prices else self.term(name)

    def _cost(self) -> str:
        """An owner's hour of an available replica; a tenant's of its share of whole systems."""
        if not self.money.rents:
            return "accelerators * cost_per_accelerator_h / availability"
        assert self.money.hour is not None
        system = "offer_price" if self.money.hour.system else "offer_price * system_accelerators"
        return f"{system} * block_systems / block_replicas"

    def _revenue(self) -> str:
        """Tokens sold by stream, or hours."""
        if self.money.token is None:
            by_system = self.money.hour is not None and self.money.hour.system
            return f"accelerators * offer_price{' / system_accelerators' if by_system else ''} * occupancy"
        cached = "cached_input" if "price_of_cached_input" in self._prices else "input"
        inputs = f"input_tokens_per_s * ((1 - prefix_hit_fraction) * price_of_input + prefix_hit_fraction * price_of_{cached})"
        return f"occupancy * 3600 / 1000000 * ({inputs} + output_tokens_per_s * price_of_output)"

    def at_list_price(self) -> Term:
        """Revenue; on one's own books, where nothing is sold, what the same tokens would cost bought."""
        return equated("revenue_usd_per_h", self.value("revenue_usd_per_h"), self._revenue(), self._symbol)

    @property
    def _prices(self) -> dict[str, Maker]:
        """Prices of the streams, by symbol."""
        token = self.money.token
        if token is None:
            return {}
        prices = token.tier(self.money.tier)
        sold = {"input": prices.input_usd_per_mtok, "cached input": prices.cached_input_usd_per_mtok, "output": prices.output_usd_per_mtok}

        def made(stream: str, price: float) -> Term:
            return Term(f"price of {stream} ({token.id}, {self.money.tier})", price, "USD/Mtok", kind=token.kind, source=token.source, date=token.date)

        return {f"price_of_{stream.replace(' ', '_')}": partial(made, stream, price) for stream, price in sold.items() if price is not None}

    def accelerators(self) -> Term:
        """Accelerators of the replica."""
        return given("accelerators", self.replica.accelerators, f"replica on {self.replica.system.name}")

    def hour_price(self, hour: HourOffer) -> Term:
        """The price of an offer by the hour."""
        per = "a system" if hour.system else "an accelerator"
        return Term(f"price ({hour.id}) of {per}", hour.price, hour.unit, hour.formula, (), hour.kind, hour.low, hour.high, hour.source, hour.date, hour.note)

    def cost_per_accelerator_h(self) -> Term:
        """Cost of ownership of a powered hour, line by line, each with the figures that it rests on."""
        capital, _ = self.money.ownership(self.replica.accelerator, 0.0)
        return dataclasses.replace(self.owned_hour().term("cost_usd_per_h"), name="cost per accelerator-hour", note="capital " + text(capital.total_usd, "USD"))

    def owned_hour(self, occupancy: float | None = None) -> Walk:
        """Terms of the owner's powered hour at the money's occupancy, or at another."""
        money = self.money if occupancy is None else dataclasses.replace(self.money, occupancy=occupancy)
        _, cost = money.ownership(self.replica.accelerator, money.mean_power_w(self.replica, float(self.point.power_w) / self.replica.accelerators))
        power = {
            "mean_it_power_w": "mean_power_w + it_power - tdp",
            "mean_power_w": "occupancy * power_w / accelerators + (1 - occupancy) * power_idle_fraction * tdp",
        }
        makers: dict[str, Maker] = {
            "occupancy": self.occupancy if occupancy is None else lambda: given("occupancy", occupancy, "hours under load" if occupancy else "idle hours"),
            "power_w": lambda: self.term("power_w"),
            "accelerators": self.accelerators,
            "power_idle_fraction": lambda: self.parameter("power_idle_fraction"),
            "purchase_usd": self._purchase,
        }
        values = {name: float(value) for name, value in cost.lines.items()} | {"cost_usd_per_h": float(cost.total_usd_per_h)}
        return owned_hour(money.catalog, money.owner, money.site, self.replica.accelerator, power, makers, values)

    def _purchase(self) -> Term:
        """Purchase price of the accelerator: the owner's figure, or as it was given."""
        if self.money.purchase_usd is not None:
            return given(f"purchase price of {self.replica.accelerator.name}", self.money.purchase_usd, "the scenario or the call", "USD")
        return purchase(self.money.catalog.ownership(self.money.owner), self.replica.accelerator)

    def _share_of_cost(self, stream: str) -> tuple[str, list[Term]]:
        if self.money.attribution != DEVICE_TIME:
            parts = self.terms("replica_cost_usd_per_h", "input_tokens_per_s", "output_tokens_per_s", "prefix_hit_fraction")
            weights = zip(("input", "cached_input", "output"), token_weights(self.money.attribution, self.money.token_prices), strict=True)
            parts += [given(f"weight of {name}", float(weight), f"attribution by {self.money.attribution}") for name, weight in weights]
            return "cost x weight of the stream / sum over streams of (occupancy x tokens/s x 3600 / 10^6 x weight)", [*parts, self.occupancy()]
        rate = "output_tokens_per_s" if stream == "output" else "input_tokens_per_s"
        parts = self.terms("replica_cost_usd_per_h", "prefill_time_fraction", "cached_time_fraction", rate, "prefix_hit_fraction")
        return f"cost x share of time in {_SHARE_OF[stream]} / (occupancy x tokens/s of the stream x 3600 / 10^6)", [*parts, self.occupancy()]

    def _cost_usd_per_mtok_input(self) -> tuple[str, list[Term]]:
        return self._share_of_cost("input")

    def _cost_usd_per_mtok_cached_input(self) -> tuple[str, list[Term]]:
        return self._share_of_cost("cached_input")

    def _cost_usd_per_mtok_output(self) -> tuple[str, list[Term]]:
        return self._share_of_cost("output")

    # Rates and latencies

    def _time_per_output_token_s(self) -> tuple[str, list[Term]]:
        step, per_step = self.decode_step(), float(self.replica.constants["tokens_per_step"][0])
        seconds = float(self.point.time_per_output_token_s)
        others = Term("prefills of other requests in between", seconds - float(step.value or 0.0) / per_step, "s", parts=(self.marginal_prefill(),))
        yields = given("tokens that a step yields", per_step, "1 without drafting")
        return "decode step / tokens that a step yields + prefills of other requests in between", [step, yields, others]

    def _time_to_first_token_s(self) -> tuple[str, list[Term]]:
        found = self.pieces
        lone = Term("prefill of the prompt alone", float(found.lone_s[0]), "s", parts=tuple(self.prefill_figures()))
        parts = [self.parameter("first_token_overhead"), lone, self.marginal_prefill(), self.parameter("first_step_wait_steps"), self.decode_step()]
        rest = [self.parameter("burst_fraction"), self.parameter("prefill_stall_fraction"), *self.terms("running_requests", "waiting_requests")]
        return "overhead + prefill + wait for a step + wait for a burst's other prefills + wait for the KV pool (docs/engine.md)", [*parts, *rest]

    @property
    def pieces(self) -> Pieces:
        """Step and prefill of the point by themselves."""
        if self._pieces is None:
            names = ("input_tokens", "output_tokens", "concurrency", "prefix_hit_fraction")
            self._pieces = pieces(self.replica.constants, *(np.array([float(vars(self.point)[name])]) for name in names))
        return self._pieces

    def marginal_prefill(self) -> Term:
        """What one more prompt costs among many."""
        return Term("prefill of one more prompt among many", float(self.pieces.marginal_s[0]), "s", parts=tuple(self.prefill_figures()))

    def prefill_figures(self) -> list[Term]:
        """Figures that prefill rests on most."""
        weights = self.replica.compute_dtype(self.replica.weight_dtype("ffn"))
        return [
            self.accelerator(f"peak_{weights}"),
            self.parameter(f"compute_efficiency_{weights}"),
            self.accelerator("peak_bf16"),
            self.parameter("attention_compute_efficiency"),
            self.parameter("chunk_tokens"),
            self.parameter("prefill_layer_overhead"),
            self.model(),
        ]

    def decode_step(self) -> Term:
        """A decode step, by kind of operator."""
        found, load = self.pieces, self.point
        parts = decode_step(self.replica, float(found.batch[0]), float(load.input_tokens) + 0.5 * float(load.output_tokens))
        equation = "sum over operators of (memory^4 + compute^4)^(1/4) + links + overhead"
        note = f"{found.batch[0]:,.4g} requests at {load.input_tokens + load.output_tokens / 2:,.4g} tokens of context"
        note += ", at the full clock" if self.replica.serving.power_cap_w is not None else ""
        return Term("decode step", float(found.step_s[0]), "s", equation, tuple(self._operator(part) for part in parts), note=note)

    def _operator(self, part: Part) -> Term:
        """One kind of operator in a decode step."""
        found: list[Term] = []
        of_context = part.weight_bytes == 0.0
        if part.memory_s > 0.0:
            read = given(
                "bytes read by a rank", part.weight_bytes + part.cache_bytes, "weights of the model's config" if part.weight_bytes else "KV cache", "byte"
            )
            efficiency = self.parameter("kv_bandwidth_efficiency" if of_context else "weight_bandwidth_efficiency")
            parts = (read, self.accelerator("hbm_bandwidth"), efficiency, self.model())
            found.append(Term("memory", part.memory_s, "s", "bytes / (bandwidth of a rank x efficiency)", parts))
        if part.compute_s > 0.0:
            dtype = self._dtype(part)
            efficiency = self.parameter("attention_compute_efficiency" if of_context else f"compute_efficiency_{dtype}")
            done = given("FLOP of a rank", part.flop, "the model's config and the batch", "FLOP")
            found.append(Term("compute", part.compute_s, "s", "FLOP / (peak of a rank x efficiency)", (done, self.accelerator(f"peak_{dtype}"), efficiency)))
        if part.link_s > 0.0:
            found.append(
                Term("links", part.link_s, "s", "latency + bytes / (bandwidth x efficiency), the fastest algorithm", (self.parameter("link_efficiency"),))
            )
        if part.overhead_s > 0.0:
            own = {"step": "step_overhead", "scheduling": "sequence_overhead"}.get(part.kind.removeprefix("draft_"), "layer_overhead")
            found.append(Term("overhead", part.overhead_s, "s", parts=(self.parameter(own),)))
        return Term(part.kind, part.seconds, "s", parts=tuple(found))

    def _dtype(self, part: Part) -> str:
        """The dtype whose peak a part's compute is measured by."""
        peaks = {name: getattr(self.replica.accelerator.figures, f"peak_{name}") for name in ("bf16", "fp8", "fp4", "int8")}
        per_rank = part.compute_peak * self.replica.accelerator.ranks
        return next(name for name, figure in peaks.items() if figure is not None and abs(figure.si / per_rank - 1.0) < 1e-9)

    def model(self) -> Term:
        """Where the model's sizes come from."""
        model = self.replica.model
        kind = "estimated" if model.is_estimate else "published"
        return Term(f"sizes of {model.name}", model.architecture.parameters, "parameter", kind=kind, source=model.config_source, note=model.note)

    # Memory and power

    def _kv_capacity_tokens(self) -> tuple[str, list[Term]]:
        memory, ranks = self.replica.memory, self.replica.accelerator.ranks
        capacity = of_figure(f"{self.replica.accelerator.name}: memory", self.replica.accelerator.memory)
        taken = {"weights": memory.weight_bytes, "activations": memory.activation_bytes, "runtime and graphs": memory.runtime_bytes}
        parts = [capacity, self.parameter("usable_memory_fraction"), *(Term(name, value * ranks, "byte") for name, value in taken.items()), self.model()]
        return "(memory x usable share - weights - activations - runtime) x accelerators / bytes a context token keeps", parts

    def _weight_bytes_per_accelerator(self) -> tuple[str, list[Term]]:
        return "parameters x bytes of their dtypes / ranks, and what every rank keeps whole", [self.model()]

    def _power_w(self) -> tuple[str, list[Term]]:
        shares = ("power_floor_fraction", "power_memory_fraction", "power_compute_fraction", "power_link_fraction")
        parts = [self.accelerators(), self.accelerator("tdp"), *(self.parameter(name) for name in shares), self.term("output_tokens_per_s")]
        return "accelerators x TDP x min(1, floor + shares of bandwidth, FLOP and links in use)", parts

    def _binding(self) -> tuple[str, list[Term]]:
        return "the largest part of a request's time; capacity where requests wait", [
            self.decode_step(),
            self.marginal_prefill(),
            self.term("waiting_requests"),
        ]

    def _bound(self, name: str, bounded: str) -> Term:
        measure = "time_to_first_token" if "first" in name else "time_per_output_token" if "per_output_token_s" in name else "throughput"
        return Term(name, self.value(name), column(name).unit, SPREAD_EQUATION, (self.term(bounded), self.spread(measure)))

    def spread(self, measure: str) -> Term:
        """How far measurements lie from predictions: a factor either way."""
        spread = self.replica.spread
        assert spread is not None
        return of_figure(f"{self.replica.calibration.name}: spread of {measure}", getattr(spread, measure))


def of_systems(of: Replica) -> dict[str, Maker]:
    """How replicas stand in systems, by symbol."""
    least = block(of.accelerators, of.system.accelerators)
    whose = "the least set of whole systems that holds whole replicas"
    return {
        "block_replicas": lambda: given("replicas of a block", least.replicas, whose),
        "block_systems": lambda: given("systems of a block", least.systems, whose),
        "system_accelerators": lambda: given("accelerators of a system", of.system.accelerators, of.system.title, "accelerator"),
    }


def _si_unit(figure: Figure) -> str:
    """The SI unit of a figure's dimension."""
    return si_unit(figure.dimension)


def _inputs(context: Context, cell: Cell, load: Mapping[str, Any], point: Mapping[str, Any], giver: str) -> dict[str, Term]:
    """Terms of a point's load: an axis, the scenario's keys, a workload's figures, or what was solved for."""
    case = "[base]" if cell.case is None else f"[base] and [cases.{cell.case}]"
    own = context.scenario.situation(cell.case)
    figures = dict(context.catalog.workload(own["workload"]).figures) if "workload" in own else {}
    found = {}
    for name in ("input_tokens", "output_tokens", "prefix_hit_fraction", "concurrency"):
        if name in load:
            found[name] = given(name, point[name], giver)
        elif name in own:
            found[name] = given(name, point[name], case)
        elif figures.get(name) is not None:
            found[name] = of_figure(f"workload {own['workload']}: {name}", figures[name])
        elif name == "concurrency":
            targets = ", ".join(f"{key} {cell.situation[key]:g}" for key in ("requests_per_s", "ttft_s", "tpot_s") if key in cell.situation)
            found[name] = Term(name, point[name], "request", f"the load that {targets or load.get('requests_per_s')} allows", kind="solved")
        else:
            found[name] = given(name, point[name], "not asked for" if "prefix_cache" not in own else "the prefix cache's measured curve at this load")
    return found


def terms_at(context: Context, cell: Cell, load: Mapping[str, Any], giver: str = "[axes]") -> PointTerms:
    """Terms of a cell's operating point at a load, which overrides keys of the situation; `giver` says who gave it."""
    point = context.point_at(cell, load)
    return PointTerms(cell.replica, cell.money, point, _inputs(context, cell, load, point.to_dict(), giver))
