"""Published measurements along a frontier: for a user's speed, what each accelerator yields, and what its tokens would cost at a run's hourly cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelmodel.catalog.library import Library
from accelmodel.studies.grid import most_weights
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

if TYPE_CHECKING:
    import pandas as pd

    from accelmodel.studies.measured import Measurements, Run

REGION = ("model", "accelerator", "weights", "input_tokens", "output_tokens")  # columns of a points study that say where its frontier lies
WITHIN = 1.5  # lengths of requests within this factor of the run's are of its region
# What tells runs apart; a run's metrics may differ in remarks, and some sources print each metric in a file of its own.
_TOLD_APART = (
    *("source", "engine", "model", "accelerator", "num_accelerators", "tp", "pp", "ep", "dp", "moe_tp", "precision_weights", "precision_kv"),
    *("isl", "osl", "load_as_published", "concurrency", "scenario", "serving_mode"),
)
_METRICS = ("ttft_ms", "tpot_ms", "itl_ms", "output_tok_s")
_AGREES = 2.0  # published throughput of a closed loop, and that of its latencies, at most this factor apart


@dataclass(frozen=True)
class MeasuredRun:
    """One published run as a place on a frontier: where it stands written, what ran, tokens a second that a user sees and that an accelerator yields.

    `is_derived`: the throughput is not published, but follows from latencies and concurrency. `is_assumed`: its lengths are not published.
    """

    source: str
    where: str
    version: str
    engine: str
    weights: str
    mode: str
    accelerators: float
    input_tokens: float
    output_tokens: float
    output_tokens_per_s_per_user: float
    output_tokens_per_s_per_accelerator: float
    is_derived: bool = False
    is_assumed: bool = False


@dataclass(frozen=True)
class Measured:
    """A measured run in the region of a case, and what its tokens would cost at that case's hourly cost; `distance`: how far its lengths lie from it."""

    case: str
    run: MeasuredRun
    distance: float
    cost_usd_per_mtok: float | None

    @property
    def output_tokens_per_s_per_user(self) -> float:
        """Speed."""
        return self.run.output_tokens_per_s_per_user

    @property
    def output_tokens_per_s_per_accelerator(self) -> float:
        """Throughput."""
        return self.run.output_tokens_per_s_per_accelerator


def closed_loop_tokens_per_s(concurrency: float, output_tokens: float, time_to_first_token_s: float, time_per_output_token_s: float) -> float:
    """Output tokens/s of a closed loop that is always full: `concurrency` requests, each of which takes TTFT + (O - 1) TPOT for its O tokens.

    X O = N O / (TTFT + (O - 1) TPOT). J. D. C. Little, A Proof for the Queuing Formula: L = lambda W, Operations Research 9 (1961) 383-387.
    Of 183 published closed loops that print all three, the median deviation is 4.7 %; of the 59 that their sources do not warn of, 9.1 %. It errs upwards, as
    a benchmark's mean counts how the loop fills and empties: with 500 requests in all by 5 % at 32 at a time, 7 % at 64 and 33 % at 128 (medians).
    """
    return concurrency * output_tokens / (time_to_first_token_s + (output_tokens - 1.0) * time_per_output_token_s)


class Published:
    """A file of published measurements, as `validate` reads it (None: the catalogue's), of which runs are made for the models and accelerators asked for.

    Each is made once. InputError where the file cannot be read.
    """

    def __init__(self, path: Path | str | None = None, library: Library | None = None) -> None:
        self.library = library or Library()
        self.path = Path(path) if path is not None else self.library.measurements()
        self._runs: dict[tuple[str, str], list[MeasuredRun]] = {}

    @cached_property
    def _rows(self) -> pd.DataFrame:
        from accelmodel.studies.measured import read

        rows = read(self.path)
        words = rows.select_dtypes(exclude="number").columns
        return _needed(rows).astype(dict.fromkeys(words, object))  # Python's own strings: each is looked at many times

    def runs(self, model: str, accelerator: str) -> list[MeasuredRun]:
        """Runs of a model on an accelerator, by the catalogue's names, that have a place on a frontier."""
        if (model, accelerator) not in self._runs:
            from accelmodel.studies.measured import measurements

            rows = self._rows
            chosen = rows[self._named("models", "model", model) & self._named("accelerators", "accelerator", accelerator)]
            self._runs[model, accelerator] = [run for _, run in _placed(measurements(chosen, self.library))] if len(chosen) else []
        return self._runs[model, accelerator]

    def _named(self, kind: str, column: str, name: str) -> pd.Series[bool]:
        """Which rows name this entry, by whatever name."""
        labels = self._rows[column]
        return labels.isin([label for label in labels.unique() if self.library.named(kind, str(label)) == name])

    def frontier(self, rows: Sequence[Mapping[str, Any]]) -> list[Measured]:
        """Runs in the region of each case of a points study's rows, the nearest in lengths first: of the model, the accelerator and the dtype of the weights,
        with requests as long as those of the case's cheapest point within a factor of 1.5.
        """
        return [one for case, some in _cases(rows).items() for one in self._near(case, _cheapest(some))]

    def _near(self, case: str, like: Mapping[str, Any]) -> list[Measured]:
        if any(like.get(name) is None for name in REGION):
            return []
        found = []
        for run in self.runs(like["model"], like["accelerator"]):
            apart = [abs(math.log(ours / theirs)) for ours, theirs in ((run.input_tokens, like["input_tokens"]), (run.output_tokens, like["output_tokens"]))]
            if run.weights == like["weights"] and max(apart) <= math.log(WITHIN):
                found.append(Measured(case, run, sum(apart), _cost(like, run)))
        return sorted(found, key=lambda one: one.distance)


def frontier_rows(path: Path | str | pd.DataFrame, library: Library | None = None) -> pd.DataFrame:
    """The rows of a file of measurements that make the places on frontiers, unchanged."""
    from accelmodel.studies.measured import measurements, read

    rows = read(path)
    found = measurements(_needed(rows), library)
    return found.rows.iloc[sorted(number for numbers, _ in _placed(found) for number in numbers)]


def _needed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the metrics that make a place."""
    from accelmodel.studies.measured import METRICS

    return rows[rows["metric"].isin([name for name, quantity in METRICS.items() if quantity in _METRICS])]


@dataclass
class _Group:
    """The metrics of one run, and the rows that they stand in."""

    run: Run
    row: Mapping[str, Any]
    values: dict[str, float] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)

    def add(self, quantity: str, value: float, number: int) -> None:
        """One metric; of several the first counts."""
        if quantity not in self.values:
            self.values[quantity] = value
            self.numbers.append(number)

    @property
    def throughput(self) -> tuple[float, bool] | None:
        """Output tokens/s of the deployment, and whether it is derived; None where neither is known, or where the run contradicts itself."""
        published, derived = self.values.get("output_tok_s"), self._derived
        if published is None:
            return None if derived is None else (derived, True)
        if derived is not None and not 1 / _AGREES <= published / derived <= _AGREES:
            return None
        return published, False

    @property
    def token_ms(self) -> float | None:
        """Time per output token, or else between tokens, ms."""
        return self.values.get("tpot_ms", self.values.get("itl_ms"))

    @property
    def _derived(self) -> float | None:
        first, each, run = self.values.get("ttft_ms"), self.token_ms, self.run
        users = run.concurrency * (1.0 if run.load == "pools" else run.copies)
        is_loop = run.load in ("closed", "pools") or (run.load == "wave" and users == 1.0)  # of waves of one request, each follows the last
        if not is_loop or first is None or each is None:
            return None
        return closed_loop_tokens_per_s(users, run.output_tokens, first / 1e3, each / 1e3)


def _groups(found: Measurements) -> list[_Group]:
    """Runs of rows that can be predicted and are not in doubt: each as its source prints it, and what is not whole there with what other files say of it."""
    from accelmodel.studies.measured import METRICS

    every: dict[tuple[tuple[str, ...], str], _Group] = {}
    for number, (row, index) in enumerate(zip(found.rows.to_dict("records"), found.run_of, strict=True)):
        run = found.runs[index] if index >= 0 else found.simulations.get(number)
        if run is None or found.doubtful[number]:
            continue
        told = tuple(str(row.get(name)) for name in _TOLD_APART)
        group = every.setdefault((told, str(row.get("source_path_or_url"))), _Group(run, {str(name): value for name, value in row.items()}))
        group.add(METRICS[str(row["metric"])], float(row["value"]), number)
    joined: dict[tuple[str, ...], _Group] = {}
    whole = []
    for (told, _), group in every.items():
        if group.token_ms is not None and ("output_tok_s" in group.values or group.throughput is not None):
            whole.append(group)
            continue
        other = joined.setdefault(told, _Group(group.run, group.row))
        for (quantity, value), number in zip(group.values.items(), group.numbers, strict=True):
            other.add(quantity, value, number)
    return [*whole, *joined.values()]


def _placed(found: Measurements) -> Iterator[tuple[list[int], MeasuredRun]]:
    """Runs that have a speed and a throughput per accelerator, and the rows that say so."""
    for group in _groups(found):
        accelerators = group.row["num_accelerators"]
        if group.throughput is None or group.token_ms is None or not accelerators > 0:
            continue
        throughput, is_derived = group.throughput
        yield (
            group.numbers,
            MeasuredRun(
                source=_word(group.row.get("source")),
                where=_word(group.row.get("source_path_or_url")),
                version=_word(group.row.get("source_commit_or_date")),
                engine=_word(group.row.get("engine")),
                weights=most_weights(group.run.replica),
                mode=_word(group.row.get("serving_mode")),
                accelerators=float(accelerators),
                input_tokens=group.run.input_tokens,
                output_tokens=group.run.output_tokens,
                output_tokens_per_s_per_user=1e3 / group.token_ms,
                output_tokens_per_s_per_accelerator=throughput / float(accelerators),
                is_derived=is_derived,
                is_assumed=any(text.startswith(("input_tokens of", "output_tokens of")) for text in group.run.assumed),
            ),
        )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cases(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("fits", True):
            found.setdefault(str(row["case"]), []).append(row)
    return found


def _cheapest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return min(rows, key=lambda row: row["cost_usd_per_mtok"] if row.get("cost_usd_per_mtok") is not None else math.inf)


def _cost(like: Mapping[str, Any], run: MeasuredRun) -> float | None:
    """USD per million tokens, input and output, at the hourly cost and the occupancy of the case's cheapest point."""
    if any(like.get(name) is None for name in ("replica_cost_usd_per_h", "occupancy", "accelerators")):
        return None
    tokens_per_s = run.output_tokens_per_s_per_accelerator * (1.0 + run.input_tokens / run.output_tokens)
    mtok_per_h = tokens_per_s * SECONDS_PER_HOUR / TOKENS_PER_MTOK * like["occupancy"]
    return float(like["replica_cost_usd_per_h"] / like["accelerators"] / mtok_per_h)
