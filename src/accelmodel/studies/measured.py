"""Published measurements read as runs of replicas: each row becomes something the engine can predict, or is left out with a reason.

A file holds one metric a row (Parquet, or CSV with the same header): `source, engine, model, accelerator, num_accelerators, tp, pp, ep, dp, moe_tp,
precision_weights, precision_kv, isl, osl, load_as_published, concurrency, scenario, serving_mode, metric, value`, and what says more: `note, trust,
special, group, model_family, accelerator_family` and the two tuples of workers of a disaggregated deployment. Latencies are in ms, throughput is of
the whole deployment. What a source leaves unsaid comes from the catalogue's `readings`, as stated assumptions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from accelmodel.catalog.calibrations import Calibration
from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.library import Library
from accelmodel.catalog.models import Model, Moe
from accelmodel.catalog.readings import Readings
from accelmodel.core.replica import Parallelism, Precision, Replica, Serving
from accelmodel.errors import InputError

Loading = Literal["closed", "saturated", "wave", "batch", "pools", "open"]

READINGS = "published-2026-11"
NEEDED = ("model", "accelerator", "num_accelerators", "metric", "value")
_OWN = ("metric", "value")  # columns that differ between rows of one run
_PREFILL, _DECODE = "disagg_prefill_workers_tp_pp_adp_moetp_moeep", "disagg_decode_workers_tp_pp_adp_moetp_moeep"
_LARGEST_TENSOR_PARALLEL = 8
_DECODING_ACCELERATORS = 32.0  # of a decode pool of unknown size: the median of the known ones, whatever their load

# Metric -> what of a prediction it is; a middle value is compared with the mean, a tail is the simulator's.
METRICS = {
    **dict.fromkeys(("ttft_ms", "ttft_ms_mean", "ttft_ms_p50"), "ttft_ms"),
    **dict.fromkeys(("tpot_ms", "tpot_ms_mean", "tpot_ms_p50"), "tpot_ms"),
    **dict.fromkeys(("itl_ms", "itl_ms_mean", "itl_ms_p50"), "itl_ms"),
    **dict.fromkeys(("e2e_ms", "e2e_ms_mean", "e2e_ms_p50"), "e2e_ms"),
    "output_tok_s": "output_tok_s",
    "total_tok_s": "total_tok_s",
    "req_s": "req_s",
    "req_tok_s_p50": "req_tok_s",
    "power_w_gpus": "power_w",
    "energy_j_per_output_tok": "energy_j",
    "prefill_input_tok_s_per_gpu": "prefill_tok_s_per_accelerator",
}


# What the simulator answers: any percentile of a latency of requests, and what a run at a rate measures besides.
SIMULATED = re.compile(r"(ttft|tpot|e2e)_ms_p(\d\d)")
_SIMULATED_AT_A_RATE = re.compile(r"(ttft|tpot|itl|e2e)_ms(_mean)?|(ttft|tpot|e2e)_ms_p\d\d|(output|total)_tok_s|req_s")
SIMULATOR_ONLY = "predicted by the simulator"


class Skipped(Exception):  # noqa: N818  not an error: the row is left out, and this says why
    """A row that is not predicted; the message is the reason."""


@dataclass(frozen=True)
class Run:
    """One measured run: replicas of a deployment under one load.

    `copies` is how many replicas share the load, `concurrency` what each has of it (0 where the load is saturated). `options` are other ways to cut
    the same accelerators, where the source does not say and the fastest counts. Disaggregated runs have `prefill`, and how many of them (0: as
    many as it takes).

    An open loop has `requests_per_s` of one replica (inf: all at once), evenly spaced or else as a Poisson process; `prompts` is how many were sent in all
    (0: not published). `ttft_limit_s` and `tpot_limit_s` bound the 99th percentiles where the rate was raised until one was reached; inf: no limit known.
    """

    replica: Replica
    load: Loading
    input_tokens: float
    output_tokens: float
    concurrency: float
    copies: float = 1.0
    prefill: Replica | None = None
    prefill_copies: float = 1.0
    options: tuple[tuple[Replica, float], ...] = ()
    label: str = ""
    assumed: tuple[str, ...] = ()
    requests_per_s: float = 0.0
    is_even: bool = False
    prompts: int = 0
    ttft_limit_s: float = math.inf
    tpot_limit_s: float = math.inf


@dataclass(frozen=True)
class Measurements:
    """Rows of a file, the run of each (by number, -1 where it is left out), the reason where it is, and whether a fit had better not trust the row.

    `simulations` are the runs that only the simulator answers, by row; the closed forms leave those rows out, and so does every fit.
    """

    rows: pd.DataFrame
    runs: tuple[Run, ...]
    run_of: tuple[int, ...]
    reasons: tuple[str | None, ...]
    doubtful: tuple[bool, ...] = ()
    simulations: Mapping[int, Run] = field(default_factory=dict)

    @property
    def assumptions(self) -> list[str]:
        """What was assumed, each once."""
        return sorted({text for run in (*self.runs, *self.simulations.values()) for text in run.assumed})


def read(path: str | Path | pd.DataFrame, needed: tuple[str, ...] = NEEDED, number: str = "value") -> pd.DataFrame:
    """A file of measurements as a data frame; InputError where it cannot be read, lacks a column, or `number` is none."""
    if isinstance(path, pd.DataFrame):
        rows, file = path.reset_index(drop=True), "the data frame"
    else:
        rows, file = _read_file(Path(path)), str(path)
    for column in needed:
        if column not in rows:
            raise InputError(f"has no column '{column}'", file=file, key=column, allowed=tuple(str(name) for name in rows.columns))
    if not pd.api.types.is_numeric_dtype(rows[number]):
        raise InputError("must be numbers", file=file, key=number)
    return rows


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError("no such file", file=path)
    try:
        return pd.read_csv(path) if path.suffix.casefold() == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as {'CSV' if path.suffix.casefold() == '.csv' else 'Parquet'}: {' '.join(str(error).split())}", file=path) from None


def measurements(
    path: str | Path | pd.DataFrame, catalog: Library | None = None, readings: str = READINGS, *, priors: Mapping[str, Calibration] | None = None
) -> Measurements:
    """Every row of a file as a run, or with the reason why it is none; under these `priors`, by name, in place of what was fitted from them."""
    library = catalog or Library()
    rows = read(path)
    reader = _Reader(library, library.readings(readings), priors or {})
    runs: list[Run] = []
    known: dict[tuple[Any, ...], int | Run | str] = {}
    run_of, reasons, doubtful, simulations = [], [], [], dict[int, Run]()
    columns = [str(name) for name in rows.columns if name not in _OWN]
    every = [{str(name): None if _is_missing(value) else value for name, value in row.items()} for row in rows.to_dict("records")]
    keys = [tuple(clean[name] for name in columns) for clean in every]
    reader.measured = {(key, str(clean["metric"])): clean["value"] for key, clean in zip(keys, every, strict=True) if clean["value"] is not None}
    for number, (clean, key) in enumerate(zip(every, keys, strict=True)):
        if key not in known:
            known[key] = reader.run_or_reason(clean, key)
            run = known[key]
            if isinstance(run, Run) and run.load != "open":
                known[key] = len(runs)
                runs.append(run)
        found = known[key]
        run = runs[found] if isinstance(found, int) else found
        why = run if isinstance(run, str) else reader.metric_reason(clean, run)
        if why == SIMULATOR_ONLY and isinstance(run, Run):
            simulations[number] = run
        run_of.append(found if isinstance(found, int) and why is None else -1)
        reasons.append(why)
        texts = {name: _text(value) for name, value in clean.items()}
        doubtful.append(any(doubt.holds(texts) for doubt in reader.rules.doubts))
    return Measurements(rows, tuple(runs), tuple(run_of), tuple(reasons), tuple(doubtful), simulations)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    return "" if value is None else str(value).casefold()


@dataclass
class _Reader:
    """Makes runs of rows; equal replicas are made once."""

    library: Library
    rules: Readings
    priors: Mapping[str, Calibration] = field(default_factory=dict)
    replicas: dict[tuple[Any, ...], Replica] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    measured: Mapping[tuple[Any, str], float] = field(default_factory=dict)

    def run_or_reason(self, row: Mapping[str, Any], key: Any) -> Run | str:
        """The run of a row, or the reason why it is none; `key` is what the rows of one run share."""
        try:
            return self.run(row, {name: self.measured.get((key, name)) for name in ("output_tok_s", "req_s")})
        except Skipped as reason:
            return str(reason)

    @cached_property
    def systems(self) -> dict[str, list[System]]:
        """Systems of each accelerator, the smallest first."""
        found: dict[str, list[System]] = {}
        for name in self.library.files("systems"):
            system = self.library.system(name)
            found.setdefault(system.accelerator, []).append(system)
        return {name: sorted(systems, key=lambda system: (system.accelerators, system.name)) for name, systems in found.items()}

    def run(self, row: Mapping[str, Any], rates: Mapping[str, float | None]) -> Run:
        """The run of a row; Skipped where it is none. `rates` are what the same run measured of its throughput."""
        self.assumed = []
        self.check(row)
        model, accelerator = self.model(row), self.accelerator(row)
        calibration = self.calibration(accelerator)
        texts = {name: _text(value) for name, value in row.items()} | {"users": _text(row.get("concurrency"))}
        said = self.said(texts, "engine")
        engine = said if said in calibration.engines else _engine(texts.get("engine", ""), calibration.engines, calibration.default_engine)
        weights = self.weights(row, model)
        texts |= {"serving_engine": engine, "generation": accelerator.generation, "weights": weights or "mxfp4"}
        for exclusion in self.rules.exclusions:
            if not exclusion.metrics and exclusion.batch_above is None and exclusion.holds(texts):
                raise Skipped(exclusion.reason)
        texts["loading"] = load = self.loading(row, texts)
        texts["workers"] = "unknown" if _text(row.get(_DECODE)).startswith("''") else "known"
        precision = Precision(weights, self.kv(row, texts), self.said(texts, "compute"))
        build = _Build(self, row, texts, model, accelerator, engine, precision)
        try:
            return build.pools() if load == "pools" else build.open(rates) if load == "open" else build.run(load)
        except InputError as error:
            raise Skipped(f"cannot run: {error.message}") from None

    def check(self, row: Mapping[str, Any]) -> None:
        """Skip what no engine can answer, or this one not yet."""
        if _text(row.get("trust")) == "c":
            raise Skipped("trust C: the source itself warns of it")
        if special := _text(row.get("special")):
            raise Skipped(f"special: {special}")

    def model(self, row: Mapping[str, Any]) -> Model:
        try:
            return self.library.model(str(row["model"]))
        except InputError:
            raise Skipped("unknown architecture") from None

    def accelerator(self, row: Mapping[str, Any]) -> Accelerator:
        try:
            return self.library.accelerator(str(row["accelerator"]))
        except InputError:
            raise Skipped("unknown accelerator") from None

    def calibration(self, accelerator: Accelerator) -> Calibration:
        """The calibration of an accelerator, or what it was fitted from where that is given."""
        found = self.library.calibration_of(accelerator)
        return self.priors.get(found.prior or found.name, found)

    def said(self, texts: Mapping[str, str], name: str) -> Any:
        """What the first reading that holds says about a matter."""
        for reading in self.rules.readings:
            value = getattr(reading, name)
            if value is not None and value != {} and reading.holds(texts):
                return value
        return None

    def dtype(self, label: Any) -> str | None:
        text = _text(label)
        return next((dtype for name, dtype in self.rules.dtypes.items() if text.startswith(name)), None)

    def weights(self, row: Mapping[str, Any], model: Model) -> str | None:
        """Dtype of the weights; None (as published) where a checkpoint comes in four bits only, whatever the label says."""
        if model.architecture.expert_dtype == "mxfp4":
            return None
        label = row.get("precision_weights")
        if label is None:
            return "fp8" if "fp8" in _text(row.get("model")) else "bf16"
        dtype = self.dtype(label)
        if dtype is None:
            raise Skipped(f"weights in '{label}' are not modelled")
        return dtype

    def kv(self, row: Mapping[str, Any], texts: Mapping[str, str]) -> str | None:
        dtype = self.dtype(row.get("precision_kv"))
        if dtype in ("bf16", "fp16", "fp8", "int8"):
            return dtype
        said: str | None = self.said(texts, "kv")
        return said

    def loading(self, row: Mapping[str, Any], texts: Mapping[str, str]) -> Loading:
        """What the row's load means."""
        text = texts.get("load_as_published", "")
        if row.get("serving_mode") == "disaggregated" or _PAIRS.search(texts.get("note", "")):
            return "pools"
        if _RATE.search(text) or row.get("scenario") == "server":
            return "open"
        said: Loading | None = self.said(texts, "load")
        if said is not None:
            return said
        if "users=" in text:
            return "closed"
        if row.get("serving_mode") == "static" or row.get("scenario") == "static":
            return "wave"
        if row.get("concurrency") is not None:
            return "closed"
        if row.get("scenario") == "offline" or "max" in text:
            return "saturated"
        raise Skipped("the load is not stated")

    def metric_reason(self, row: Mapping[str, Any], run: Run) -> str | None:
        """Why a row of a run is left out for its metric; None where it is not."""
        metric = str(row["metric"])
        if row["value"] is None or not 0 < float(row["value"]) < math.inf:
            return "the value is not a positive number"
        if metric not in METRICS and not re.search(r"_p\d\d+$", metric):
            return f"no such metric of a replica: {metric}"
        texts = {name: _text(value) for name, value in row.items()} | {"serving_engine": run.replica.engine}
        for exclusion in self.rules.exclusions:
            above = exclusion.batch_above is not None and run.concurrency <= exclusion.batch_above
            if exclusion.metrics and not above and metric.startswith(exclusion.metrics) and exclusion.holds(texts):
                return exclusion.reason
        return _simulator_or_reason(metric, run)

    def system(self, accelerator: Accelerator, count: float) -> System:
        """The smallest system of an accelerator that holds so many of it, or else the largest."""
        systems = self.systems.get(accelerator.name)
        if not systems:
            raise Skipped("no system of this accelerator is known")
        fitting = [system for system in systems if system.scale_up[-1].accelerators >= count and system.accelerators >= min(count, 4)]
        return fitting[0] if fitting else systems[-1]

    def replica(self, **parts: Any) -> Replica:
        """A replica, one object for equal ones."""
        key = tuple(value if isinstance(value, (int, str, Precision, Parallelism, Serving)) else id(value) for value in parts.values())
        if key not in self.replicas:
            self.replicas[key] = Replica(**parts)
        return self.replicas[key]


def _simulator_or_reason(metric: str, run: Run) -> str | None:
    """None where a closed form predicts a metric of a run, SIMULATOR_ONLY where the simulator does, or the reason why nothing does."""
    if metric in METRICS and run.load != "open":
        return None
    if re.fullmatch(r"itl_ms_p\d+", metric):
        return "a percentile of the time between single tokens: the simulator times requests"
    if run.load == "open":
        return SIMULATOR_ONLY if _SIMULATED_AT_A_RATE.fullmatch(metric) else f"{metric} is not what the simulator gives at a rate"
    if not SIMULATED.fullmatch(metric):
        return f"no such percentile: {metric}"
    if run.load == "pools":
        return "a tail of pools apart: the simulator has no closed loop of clients there"
    return SIMULATOR_ONLY if run.load in ("closed", "wave") else f"a tail of a load of kind '{run.load}': nothing for the simulator to send"


_RATE = re.compile(r"(?:qps=|asynchronous@)([\d.]+|inf)|([\d.]+) req/s")
_EVEN = "asynchronous@"  # a load generator that spaces its requests evenly
_PROMPTS = re.compile(r"(\d[\d,]*) (?:prompts|requests)")
_PAIRS = re.compile(r"(\d+)p(\d+)d workers of tp(\d+)")
_WORKERS = re.compile(r"'?(\d*)'?, (\d+), (\d+), (\d+), (\d+), (\d+)")
_SEQUENCE = re.compile(r"compiled seq len (\d+)|(\d{4,}) compiled seq|seq (\d{4,})")
_COMPILED = re.compile(r"compiled_batch=(\d+)")
_USERS = re.compile(r"users=(?:max )?(\d+)")


def _engine(label: str, engines: Mapping[str, Any], default: str) -> str:
    """The serving engine that a label names by key or alias, the longest that it contains; the default where it names none."""
    named = [(len(alias), key) for key, engine in engines.items() for alias in (key, *engine.aliases) if alias.casefold() in label]
    return max(named)[1] if named else default


def _count(value: Any, missing: int = 1) -> int:
    """A whole number of at least 1 from a cell; `missing` where it holds none."""
    try:
        return max(int(float(value)), 1)
    except (TypeError, ValueError):
        return missing


@dataclass
class _Build:
    """A row on its way to a run."""

    reader: _Reader
    row: Mapping[str, Any]
    texts: Mapping[str, str]
    model: Model
    accelerator: Accelerator
    engine: str
    precision: Precision

    def run(self, load: Loading) -> Run:
        """A run of like replicas."""
        isl, osl = self.lengths()
        count = _count(self.row.get("num_accelerators"))
        options = self.free_options(count) if self.reader.said(self.texts, "free_parallelism") and self.row.get("tp") is None else self.stated(count)
        users = self.users(load, options[0][1])
        return Run(
            replica=options[0][0],
            load=load,
            input_tokens=isl,
            output_tokens=osl,
            concurrency=users,
            copies=options[0][1],
            options=tuple(options[1:]),
            label=self.texts.get("engine", ""),
            assumed=tuple(self.reader.assumed),
            prompts=self.prompts(),
        )

    def open(self, rates: Mapping[str, float | None]) -> Run:
        """A run at a rate: the one stated, or that at which the run's answers came."""
        text = self.texts.get("load_as_published", "")
        options = self.run("saturated")
        stated = _RATE.search(text)
        if stated:
            rate = float(next(part for part in stated.groups() if part))
            self.reader.assumed.append(
                f"requests {'evenly spaced' if _EVEN in text else 'arrive as a Poisson process'}, all of the mean length ({self.row.get('source')})"
            )
        else:
            rate = self.measured_rate(rates, options.output_tokens)
            self.reader.assumed.append(f"requests arrive as a Poisson process at the rate of the answers, all of the mean length ({self.row.get('source')})")
        limits = [self.limit(name) for name in ("ttft_limit", "tpot_limit")]
        return replace(
            options,
            load="open",
            requests_per_s=rate / options.copies,
            is_even=_EVEN in text,
            prompts=self.prompts(),
            ttft_limit_s=limits[0],
            tpot_limit_s=limits[1],
            assumed=tuple(self.reader.assumed),
        )

    def measured_rate(self, rates: Mapping[str, float | None], output_tokens: float) -> float:
        """Requests per second of a run that publishes its throughput alone."""
        if rates["output_tok_s"] is None:
            raise Skipped("arrivals at a rate that is not published: nothing for the simulator to send")
        return rates["output_tok_s"] / output_tokens

    def limit(self, name: str) -> float:
        """A bound on a 99th percentile, s; inf where none is known."""
        figure = (self.reader.said(self.texts, name) or {}).get(self.model.name)
        return math.inf if figure is None else float(figure.si)

    def prompts(self) -> int:
        """Requests that a benchmark sent; 0 where it does not say."""
        told = _PROMPTS.search(self.texts.get("load_as_published", "") + "; " + self.texts.get("note", ""))
        return int(told[1].replace(",", "")) if told else 0

    def users(self, load: Loading, copies: float) -> float:
        """Clients or batch of one replica; 0 where the load is saturated."""
        if load == "saturated":
            return 0.0
        users = _USERS.search(self.texts.get("load_as_published", ""))
        total = float(users[1]) if users else self.row.get("concurrency")
        if total is None:
            raise Skipped("the load is not stated")
        return float(total) / copies

    def lengths(self) -> tuple[float, float]:
        """Mean input and output tokens, as measured or as assumed."""
        said = self.reader.said(self.texts, "length_factor")
        factor = 1.0 if said is None else said.si
        found = []
        for column, matter in (("isl", "input_tokens"), ("osl", "output_tokens")):
            value = self.row.get(column)
            if value is None or float(value) < 1.0:
                value = self.assumed_length(matter)
            elif said is not None:
                self.reader.assumed.append(f"lengths are {factor:g} of the printed ones ({self.row.get('source')})")
            found.append(float(value) * factor if self.row.get(column) is not None else float(value))
        return max(found[0], 1.0), max(found[1], 1.0)

    def assumed_length(self, matter: str) -> float:
        """A length that the source does not give."""
        for reading in self.reader.rules.readings:
            figures = getattr(reading, matter)
            figure = figures.get(self.model.name) or figures.get("any")
            if figure is not None and reading.holds(self.texts):
                self.reader.assumed.append(f"{matter} of {self.model.name} {figure.value:g} ({self.row.get('source')})")
                return float(figure.si)
        raise Skipped(f"{matter.replace('_', ' ')} not published")

    def stated(self, count: int) -> list[tuple[Replica, float]]:
        """The replica as the row cuts it, and how many of them."""
        row, ranks = self.row, self.accelerator.ranks
        tensor, stages = _count(row.get("tp"), count * ranks), _count(row.get("pp"))
        data = _count(row.get("dp"))
        expert = _count(row.get("ep"))
        if tensor * stages >= count * ranks:
            data = 1
        routed = any(isinstance(group.ffn, Moe) for group in self.model.architecture.groups)
        replicated = data > 1 and (not routed or self.accelerator.stack == "neuron")
        if replicated:
            return [(self.make(tensor * stages // ranks, Parallelism(tensor, stages, 1, 1)), float(data))]
        expert = _whole(expert if routed else 1, tensor * data, self.model)
        parallelism = Parallelism(tensor, stages, expert, data)
        size = max(parallelism.ranks // ranks, 1)
        return [(self.make(size, parallelism), max(count / size, 1.0))]

    def free_options(self, count: int) -> list[tuple[Replica, float]]:
        """Every way to cut the deployment into like replicas that runs: the source does not say, and its author took the best."""
        self.reader.assumed.append(f"parallelism is the fastest that fits ({self.row.get('source')})")
        routed = any(isinstance(group.ffn, Moe) for group in self.model.architecture.groups)
        found = []
        for size in (1, 2, 4, 8):
            if size > min(count, _LARGEST_TENSOR_PARALLEL):
                break
            cuts = [Parallelism(size)]
            if routed and size > 1:
                cuts.append(Parallelism(1, 1, _whole(size, size, self.model), size))
            for cut in cuts:
                try:
                    found.append((self.make(size, cut), count / size))
                except InputError:
                    continue
        if not found:
            raise Skipped("cannot run: no parallelism is legal")
        return found

    def make(self, size: int, parallelism: Parallelism) -> Replica:
        """A replica of so many accelerators."""
        return self.reader.replica(
            model=self.model,
            system=self.reader.system(self.accelerator, size),
            accelerator=self.accelerator,
            accelerators=size,
            parallelism=parallelism,
            precision=self.precision,
            engine=self.engine,
            calibration=self.reader.calibration(self.accelerator),
            serving=self.serving(),
        )

    def serving(self) -> Serving:
        """Compiled shapes, where the software compiles them."""
        if self.accelerator.stack != "neuron":
            return self.drafting()
        compiled = _COMPILED.search(self.texts.get("load_as_published", ""))
        batch = int(compiled[1]) if compiled else _count(self.row.get("concurrency"))
        isl, osl = self.lengths()
        written = _SEQUENCE.search(self.texts.get("note", ""))
        sequence = int(next(part for part in written.groups() if part)) if written else self.reader.said(self.texts, "sequence_bucket")
        bucket = self.reader.said(self.texts, "prompt_bucket")
        sequence = int(sequence or isl + osl)
        prompt = sequence if bucket == "sequence" else int(isl) if bucket == "input" else bucket
        return Serving(compiled_batch=batch, sequence_bucket=sequence, prompt_bucket=prompt)

    def drafting(self) -> Serving:
        """Multi-token prediction where a source is thought to use it without saying so."""
        drafted = self.reader.said(self.texts, "speculative_tokens")
        if not drafted or self.model.architecture.nextn is None:
            return Serving()
        accepted = float(self.reader.said(self.texts, "acceptance_fraction") or 0.0)
        self.reader.assumed.append(f"{drafted} tokens drafted per step, {accepted:g} of them accepted ({self.row.get('source')})")
        return Serving(speculative_tokens=drafted, acceptance_fraction=accepted)

    def pools(self) -> Run:
        """A run of a disaggregated deployment; one worker each where the numbers are not published."""
        isl, osl = self.lengths()
        pairs = _PAIRS.search(self.texts.get("note", ""))
        if pairs:
            p, d, tensor = (int(part) for part in pairs.groups())
            prefill = decode = self.make(tensor, Parallelism(tensor))
        else:
            p, prefill = self.worker(_PREFILL)
            d, decode = self.worker(_DECODE)
        total = self.row.get("concurrency")
        if total is None:
            raise Skipped("the load is not stated")
        decoding = d or max(_DECODING_ACCELERATORS / decode.accelerators, 1.0)
        label, assumed = self.texts.get("engine", ""), tuple(self.reader.assumed)
        return Run(decode, "pools", isl, osl, float(total), float(decoding), prefill, float(p), label=label, assumed=assumed)

    def worker(self, column: str) -> tuple[int, Replica]:
        """How many workers of a pool (0: not published), and one of them, from a tuple (workers, tp, pp, attention dp, expert tp, expert parallel)."""
        found = _WORKERS.fullmatch(str(self.row.get(column) or "").strip())
        if found is None:
            raise Skipped("the workers of a disaggregated deployment are not published")
        workers, tensor, stages, data, _, expert = (int(part) if part else 0 for part in found.groups())
        if not workers:
            self.reader.assumed.append(f"pools that carry their load where the number of workers is not published ({self.row.get('source')})")
        heads = min(getattr(group.attention, "heads", tensor) for group in self.model.architecture.groups)
        if heads % tensor or tensor > _LARGEST_TENSOR_PARALLEL:
            self.reader.assumed.append(
                f"ranks beyond {_LARGEST_TENSOR_PARALLEL}, or that do not divide the heads, attend to requests of their own ({self.row.get('source')})"
            )
            tensor, data, expert = 1, tensor, tensor
        expert = _whole(max(expert, 1), tensor * max(data, 1), self.model)
        parallelism = Parallelism(tensor, max(stages, 1), expert, max(data, 1))
        return workers, self.make(parallelism.ranks // self.accelerator.ranks, parallelism)


def _whole(expert: int, ranks: int, model: Model) -> int:
    """The largest legal expert-parallel size of at most `expert`: it divides the ranks and the model's experts."""
    counts = [group.ffn.experts for group in model.architecture.groups if isinstance(group.ffn, Moe)]
    legal = [size for size in range(1, min(expert, ranks) + 1) if ranks % size == 0 and all(count % size == 0 for count in counts)]
    return max(legal) if counts else 1
