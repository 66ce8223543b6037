"""Proof: a planned number of replicas put through the simulator in the busiest window of its traffic, and repaired where it misses its latency targets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.columns import COLUMNS
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.studies.simulate import simulate
from accelmodel.studies.traces import Trace
from accelmodel.studies.traffic import LEAST_REQUESTS, Share, busiest_window, cell_of, request_work, share_of

WINDOW_S = 300.0
_MOST_TIMES = 256  # beyond so many times the planned number nobody looks
_ALONE, _ALONE_S = 20_000, 1e5  # requests that are served each by itself, so far apart, to tell targets that no number of replicas meets
_LATENCIES = ("time_to_first_token_s", "time_per_output_token_s")


@dataclass(frozen=True)
class Targets:
    """Latency targets in seconds that so many percent of the requests meet, each target by itself; None: no such target."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    percentile: float = 99.0

    def __post_init__(self) -> None:
        for key in ("ttft_s", "tpot_s"):
            value = getattr(self, key)
            if value is not None and not 0.0 < value < math.inf:
                raise InputError("must be finite and above 0", key=key, value=value)
        if not 0.0 < self.percentile < 100.0:
            raise InputError("must be above 0 and below 100", key="percentile", value=self.percentile)

    @property
    def seconds(self) -> tuple[float, float]:
        """Of time to first token and time per output token; inf where there is none."""
        return math.inf if self.ttft_s is None else self.ttft_s, math.inf if self.tpot_s is None else self.tpot_s


@dataclass(frozen=True)
class Proof:
    """What the simulator says of a plan.

    `ttft_s` and `tpot_s` are the percentiles of the targets, at the planned number of `replicas`, over the `requests` that arrived in the busiest window, and
    `repaired_ttft_s`, `repaired_tpot_s` at the `replicas_proven` that it takes; `goodput_fraction` of those planned met both. `why_not` says in words why no
    number of replicas would do; `replicas_proven` is None then. Of a large fleet, `simulated_replicas` were simulated with their share of the requests.
    """

    targets: Targets
    replicas: int
    replicas_proven: int | None
    simulated_replicas: int
    requests: int
    window_s: float
    ttft_s: float
    tpot_s: float
    goodput_fraction: float
    repaired_ttft_s: float
    repaired_tpot_s: float
    prefix_hit_fraction: float
    why_not: str | None = None

    @property
    def held(self) -> bool:
        """Whether the plan held its targets as it was."""
        return self.replicas_proven == self.replicas

    @property
    def short_fraction(self) -> float:
        """By how much the planned number was short: proven over planned, less 1; NaN where none is proven."""
        return math.nan if self.replicas_proven is None else self.replicas_proven / self.replicas - 1.0

    @property
    def words(self) -> str:
        """The proof in a sentence."""
        found = f"p{self.targets.percentile:g} TTFT {self.ttft_s:.3g} s, TPOT {self.tpot_s * 1e3:.3g} ms, {self.goodput_fraction:.1%} within both targets"
        of = (
            f"{self.replicas:,} replicas in their busiest {self.window_s:,.0f} s ({self.requests:,} requests simulated on {self.simulated_replicas:,}): {found}"
        )
        if self.why_not is not None:
            return f"not feasible: {self.why_not}. Simulated, {of}"
        if self.held:
            return f"simulated, {of}: they hold"
        return f"simulated, {of}: short by {self.short_fraction:.1%}, repaired to {self.replicas_proven:,} replicas"


@dataclass(frozen=True)
class _Seen:
    """Percentiles of the requests of a window, and the share of them within the targets."""

    seconds: tuple[float, float]
    goodput_fraction: float
    prefix_hit_fraction: float
    requests: int
    window_s: float

    def holds(self, targets: Targets) -> bool:
        return all(found <= target for found, target in zip(self.seconds, targets.seconds, strict=True))


def prove(
    replica: Replica,
    traffic: Any,
    requests_per_s: float,
    replicas: int,
    targets: Targets,
    *,
    cell_replicas: int | None = None,
    window_s: float = WINDOW_S,
    routing: str = "least-loaded",
    prefix_cache_tokens: float | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Proof:
    """Simulate `replicas` under traffic of a mean rate of `requests_per_s`, in its busiest window; find how many it takes where they miss the targets.

    `traffic`, a `Trace` or what one is made `of`, gives lengths, bursts and prefixes; its rate is brought to the one asked for. Requests from before the window
    fill the replicas, those behind it keep them busy, and neither are counted. Of more than `cell_replicas` (`cell_of` the traffic) one cell is simulated, with
    its share. More replicas are tried by doubling, then bisected to the least number. InputError where the simulator refuses replica or requests.
    """
    traffic = Trace.of(traffic)
    for key, count in (("replicas", replicas), ("cell_replicas", cell_replicas)):
        if count is not None and (isinstance(count, bool) or not hasattr(count, "__index__") or count < 1):
            raise InputError("must be a whole number of at least 1", key=key, value=count)
    if not 0.0 < requests_per_s < math.inf:
        raise InputError("must be finite and above 0", key="requests_per_s", value=requests_per_s)
    if not 0.0 < window_s < math.inf:
        raise InputError("must be finite and above 0", key="window_s", value=window_s)
    if replica.serving.mode == "disaggregated":
        raise InputError("a plan of pools apart is not proven here: simulate it with prefill_replicas", key="mode", value="disaggregated")

    def seen(count: int) -> _Seen:
        if progress is not None:
            progress(f"simulating {count:,} replicas")
        share = share_of(traffic, requests_per_s, count, seed, cell_replicas)
        return _simulated(replica, share, targets, window_s, routing, prefix_cache_tokens)

    planned = seen(replicas)
    proven, why_not, repaired = replicas, None, planned
    if not planned.holds(targets):
        why_not = _never(replica, traffic, targets, prefix_cache_tokens != 0.0)
        if why_not is None:
            proven, repaired = _fewest(seen, replicas, targets)
            if not repaired.holds(targets):
                why_not = f"{proven:,} replicas, {_MOST_TIMES} times the planned number, miss the targets too"
    return Proof(
        targets=targets,
        replicas=replicas,
        replicas_proven=None if why_not else proven,
        simulated_replicas=min(replicas, cell_replicas or cell_of(traffic)),
        requests=planned.requests,
        window_s=planned.window_s,
        ttft_s=planned.seconds[0],
        tpot_s=planned.seconds[1],
        goodput_fraction=planned.goodput_fraction,
        repaired_ttft_s=repaired.seconds[0],
        repaired_tpot_s=repaired.seconds[1],
        prefix_hit_fraction=planned.prefix_hit_fraction,
        why_not=why_not,
    )


def prefix_hits(replica: Replica, share: Share, routing: str = "least-loaded", prefix_cache_tokens: float | None = None) -> float:
    """Share of the input tokens that replicas find in their caches, each its own."""
    sim = simulate(replica, share.traffic, replicas=share.replicas, routing=routing, prefix_cache_tokens=prefix_cache_tokens, samples=2)
    return float(sim.prefix_hit_fraction)


def _fewest(seen: Callable[[int], _Seen], too_few: int, targets: Targets) -> tuple[int, _Seen]:
    """The least number of replicas that holds, above one that does not, to a thousandth; the largest tried where none does."""
    enough, limit = too_few, too_few * _MOST_TIMES
    step = max(too_few // 20, 1)
    while True:
        few, enough = enough, min(enough + step, limit)
        found = seen(enough)
        if found.holds(targets) or enough == limit:
            break
        step *= 2
    while found.holds(targets) and enough - few > max(enough // 1000, 1):
        middle = (few + enough) // 2
        tried = seen(middle)
        if tried.holds(targets):
            enough, found = middle, tried
        else:
            few = middle
    return enough, found


def _simulated(replica: Replica, share: Share, targets: Targets, window_s: float, routing: str, prefix_cache_tokens: float | None) -> _Seen:
    """A cell in its busiest window, with what comes before and behind it."""
    traffic = share.traffic
    rate = traffic.requests / traffic.duration_s
    window_s = max(window_s, LEAST_REQUESTS / rate)
    begin_s, end_s = busiest_window(traffic, request_work(replica, traffic), window_s)
    since_s = begin_s - window_s if traffic.hash_ids is None else float(traffic.arrival_s[0])  # caches fill for as long as there are requests
    around = traffic.between(since_s, end_s + 0.2 * window_s)
    sim = simulate(replica, around, replicas=share.replicas, routing=routing, prefix_cache_tokens=prefix_cache_tokens, samples=2)
    arrival_s = sim.requests["arrival_s"].to_numpy()
    inside = (arrival_s >= begin_s) & (arrival_s < end_s)
    latencies = [sim.requests[name].to_numpy()[inside] for name in _LATENCIES]
    good = np.logical_and.reduce([~(one > target) for one, target in zip(latencies, targets.seconds, strict=True)])
    cached, inputs = (float(sim.requests[name].to_numpy()[inside].sum()) for name in ("cached_tokens", "input_tokens"))
    seconds = _percentiles(latencies, targets.percentile)
    return _Seen(seconds, float(good.mean()), cached / inputs, int(inside.sum()), end_s - begin_s)


def _percentiles(latencies: list[np.ndarray], percentile: float) -> tuple[float, float]:
    """Of both latencies; 0 where no request has one."""
    known = [one[~np.isnan(one)] for one in latencies]
    first, per_token = (float(np.percentile(one, percentile)) if one.size else 0.0 for one in known)
    return first, per_token


def _never(replica: Replica, traffic: Trace, targets: Targets, caches: bool) -> str | None:
    """Why no number of replicas meets the targets: requests that miss them though each is served alone, behind a cache (if any) that forgets nothing."""
    hashed = caches and traffic.hash_ids is not None
    many = min(_ALONE, traffic.requests)
    places = np.arange(many) if hashed else np.linspace(0, traffic.requests - 1, many).astype(np.int64)
    alone = dataclasses.replace(traffic.picked(places), arrival_s=np.arange(many, dtype=np.float64) * _ALONE_S)
    sim = simulate(replica, alone, samples=2, prefix_cache_tokens=float(traffic.input_tokens.sum()) if hashed else 0.0)
    found = _percentiles([sim.requests[name].to_numpy() for name in _LATENCIES], targets.percentile)
    for name, seconds, target in zip(_LATENCIES, found, targets.seconds, strict=True):
        if seconds > target:
            what = COLUMNS[name].description.split(",")[0]
            longest = float(np.percentile(alone.input_tokens, targets.percentile))
            rank = f"p{targets.percentile:g}"
            return f"alone on a replica, the {rank} of {what} is {seconds:.3g} s, the target {target:g} s ({rank} of the prompts: {longest:,.0f} tokens)"
    return None
