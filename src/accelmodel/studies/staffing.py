"""Replicas that serve a peak: planned for its bursts or with a headroom, and proven by simulation where there are latency targets."""

from __future__ import annotations

from dataclasses import dataclass

from accelmodel.fleet.schedule import needed_replicas
from accelmodel.fleet.sizing import Held
from accelmodel.studies.points import Point
from accelmodel.studies.proof import Proof, Targets, prove
from accelmodel.studies.run import Cell, Context
from accelmodel.studies.scenario import DemandStudy, ScheduleStudy
from accelmodel.studies.traces import Trace
from accelmodel.studies.traffic import burst_headroom, traffic_of


@dataclass(frozen=True)
class Staffed:
    """Replicas `planned` for a peak by the closed form, and what the simulator says of them; no proof without latency targets."""

    planned: int
    proof: Proof | None

    @property
    def feasible(self) -> bool:
        """Whether some number of replicas would do."""
        return self.proof is None or self.proof.replicas_proven is not None

    @property
    def serving(self) -> int:
        """Replicas that serve the peak: proven, or planned where nothing is proven."""
        return self.planned if self.proof is None or self.proof.replicas_proven is None else self.proof.replicas_proven

    def gap(self, lower_bound: int, held: Held) -> dict[str, int]:
        """Replicas installed beyond the lower bound, by what they are for; they add up."""
        short = self.serving - self.planned
        return {"bursts and queueing": self.planned - lower_bound, "what the simulator found short": short} | held.gap

    def words(self, name: str, lower_bound: int, held: Held) -> list[str]:
        """The number of replicas and what stands between it and the lower bound, and the proof."""
        beyond = ", ".join(f"{what} {count:+,}" for what, count in self.gap(lower_bound, held).items() if count)
        return [f"{name}: {held.replicas:,} replicas, the lower bound is {lower_bound:,}: {beyond}", self.words_of_proof(name)]

    def words_of_proof(self, name: str) -> str:
        """The proof, or why there is none."""
        return f"{name}: {'no latency targets are given, so that nothing is simulated' if self.proof is None else self.proof.words}"


def staffed(
    context: Context, cell: Cell, point: Point, asked: DemandStudy | ScheduleStudy, trace: Trace | None, requests_per_s: float, carrying: float
) -> Staffed:
    """The replicas for a peak of so many requests a second, whose mean rate `carrying` replicas take."""
    of, seed = cell.replica, context.seed
    traffic = traffic_of(asked, trace, of, point, requests_per_s, carrying, seed)
    targets = Targets(cell.situation.get("ttft_s"), cell.situation.get("tpot_s"), asked.percentile)
    if asked.headroom_fraction is None:
        planned = burst_headroom(of, traffic, requests_per_s, carrying, targets.ttft_s, asked.percentile, seed)
    else:
        planned = max(int(needed_replicas(carrying, asked.headroom_fraction)), 1)
    if targets.ttft_s is None and targets.tpot_s is None:
        return Staffed(planned, None)
    proof = prove(
        of,
        traffic,
        requests_per_s,
        planned,
        targets,
        window_s=asked.window_s,
        routing=asked.routing,
        prefix_cache_tokens=asked.prefix_cache_tokens,
        seed=seed,
        progress=context.progress,
    )
    return Staffed(planned, proof)
