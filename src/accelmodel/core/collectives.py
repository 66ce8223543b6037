"""Collectives on real topologies: latency and seconds per byte, by level of the network, algorithm and size of the group.

A group is placed innermost first: it fills a level before it spans the next, and one that spans two pays both (a reduce-scatter inside, an all-reduce
of what is left among the groups, an all-gather inside). Each algorithm is a line, latency + seconds per byte x bytes; the fastest line at the size at
hand is taken. Source of the algorithms and their volumes: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH"
(2005), section 4.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from accelmodel.catalog.hardware import Accelerator, Level, System
from accelmodel.core.replica import Replica, Same

Line = tuple[float, float]  # latency in s, and seconds per byte of payload
Lines = tuple[Line, Line, Line]


@dataclass(frozen=True)
class Link:
    """One level of the network: its size in accelerators, its topology, one-way bytes per second of an accelerator, latency of a message in s.

    Inside a scale-up domain the latency is 0: there it is part of the calibrated overhead of a layer and is not charged twice.
    """

    accelerators: float
    topology: str
    shape: tuple[int, ...]
    bandwidth: float
    latency_s: float

    def usable(self, parties: float, inner: float = 1.0) -> float:
        """Bytes per second of a member whose group has `parties` here, each of them `inner` accelerators: only the links among its own count.

        A switch gives every member its whole bandwidth. In a full mesh of n, a member owns the links to its g - 1 partners, (g - 1) / (n - 1) of all. In
        a torus it owns those of the axes along which its partners lie: sides are filled in order, by what is inside first.
        """
        if parties <= 1 or self.topology in ("switch", "pcie", "single", "ring"):
            return self.bandwidth
        if self.topology == "mesh":
            return self.bandwidth * (parties - 1) / (self.accelerators - 1)
        along, inside, outside = 0, inner, parties
        for side in self.shape:
            taken = min(side, inside)
            inside /= taken
            if side / taken > 1 and outside > 1:
                along, outside = along + 1, outside / (side / taken)
        return self.bandwidth * max(along, 1) / len(self.shape)

    def hops(self, parties: float, inner: float = 1.0) -> float:
        """Mean way between two of `parties`, in links; 1 where all reach all.

        Along an axis closed to a ring of n, floor(n^2 / 4) / n on average over all places, one's own included, where no byte leaves.
        """
        if self.is_direct or parties <= 1:
            return 1.0
        way, inside, outside = 0.0, inner, parties
        for side in self.shape or (int(self.accelerators),):
            taken = min(side, inside)
            inside /= taken
            along = min(side / taken, outside)
            if along > 1:
                way, outside = way + math.floor(along * along / 4.0) / along, outside / along
        return max(way * parties / (parties - 1), 1.0)

    @property
    def is_direct(self) -> bool:
        """Whether every member reaches every other without passing through a third."""
        return self.topology in ("switch", "mesh", "pcie")


def links_of(replica: Replica) -> tuple[Link, ...]:
    """The levels of a replica's network, innermost first; beyond the system's scale-up domain comes the scale-out network."""
    p = replica.parameters
    return _links(Same(replica.system), Same(replica.accelerator), p["link_efficiency"], p["scale_out_latency"])


@functools.lru_cache(maxsize=256)
def _links(system: Same[System], accelerator: Same[Accelerator], efficiency: float, scale_out_latency_s: float) -> tuple[Link, ...]:
    levels, one = system.of.scale_up, accelerator.of
    found = [_scale_up(one, level, inner, efficiency) for inner, level in zip((None, *levels), levels, strict=False)]
    scale_out = one.figures.scale_out_bandwidth
    if scale_out is not None:
        found.append(Link(math.inf, "switch", (), scale_out.si * efficiency, scale_out_latency_s))
    return tuple(found)


def _scale_up(accelerator: Accelerator, level: Level, inner: Level | None, efficiency: float) -> Link:
    """A level as a link. A torus that states a bandwidth of its own beyond an inner torus states that of the axes which it adds."""
    if level.accelerators == 1:
        return Link(1, "single", (), math.inf, 0.0)
    bandwidth = level.bandwidth or accelerator.need("scale_up_bandwidth")
    shape = level.shape
    if inner is not None and level.bandwidth is not None and shape[: len(inner.shape)] == inner.shape:
        shape = shape[len(inner.shape) :]
    return Link(level.accelerators, level.topology, shape, bandwidth.si * efficiency, 0.0)


@dataclass(frozen=True)
class Span:
    """A level that a group spans: `parties` meet there, each of them `inner` accelerators."""

    link: Link
    parties: float
    inner: float

    @property
    def _inside(self) -> float:
        """How much of the level's own shape the parties fill; a level of one axis is beyond what they are made of."""
        return 1.0 if len(self.link.shape) == 1 else self.inner

    @property
    def rate(self) -> float:
        """Bytes per second of a member among its partners here."""
        return self.link.usable(self.parties, self._inside)

    @property
    def hops(self) -> float:
        """Links on the mean way between two parties."""
        return self.link.hops(self.parties, self._inside)


def spans(links: tuple[Link, ...], group: float, inner: float = 1.0) -> list[Span]:
    """Levels that a group of accelerators spans. With `inner`, the members lie that many accelerators apart, and only what is beyond them counts.

    >>> near, far = Link(8, "switch", (), 1.0, 0.0), Link(64, "switch", (), 1.0, 0.0)
    >>> [span.parties for span in spans((near, far), 16)]
    [8.0, 2.0]
    """
    found, covered = [], inner
    for link in links:
        reach = min(link.accelerators, group)
        if reach > covered:
            found.append(Span(link, reach / covered, covered))
            covered = reach
    return found


@functools.lru_cache(maxsize=4096)
def all_reduce(links: tuple[Link, ...], group: float) -> Lines:
    """All-reduce of a payload among `group` accelerators: ring, halving-doubling (where all reach all), recursive doubling.

    Per level with g parties and one-way bandwidth B: a ring sends 2 (g - 1) / g of the payload in 2 (g - 1) messages, halving-doubling the same in
    2 log2 g, recursive doubling the whole payload in each of log2 g. An outer level carries the 1 / g that the levels inside leave to each member.
    """
    ring, halving, doubling = (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)
    left = 1.0
    for span in spans(links, group):
        latency, parties, steps = span.link.latency_s, span.parties, math.ceil(math.log2(span.parties))
        share = 2.0 * (parties - 1) / parties * left / span.rate
        ring = (ring[0] + 2.0 * (parties - 1) * latency, ring[1] + share)
        messages = 2.0 * steps if span.link.is_direct else 2.0 * (parties - 1)
        halving = (halving[0] + messages * latency, halving[1] + share)
        doubling = (doubling[0] + steps * latency, doubling[1] + steps * left / span.rate)
        left /= parties
    return ring, halving, doubling


@functools.lru_cache(maxsize=4096)
def all_gather(links: tuple[Link, ...], group: float, inner: float = 1.0) -> Lines:
    """All-gather of a whole among a group, or a reduce-scatter: (g - 1) / g of it per level, in g - 1 messages (ring) or log2 g (doubling)."""
    ring, doubling = (0.0, 0.0), (0.0, 0.0)
    left = 1.0
    for span in spans(links, group, inner):
        share = (span.parties - 1) / span.parties * left / span.rate
        ring = (ring[0] + (span.parties - 1) * span.link.latency_s, ring[1] + share)
        messages = math.ceil(math.log2(span.parties)) if span.link.is_direct else span.parties - 1
        doubling = (doubling[0] + messages * span.link.latency_s, doubling[1] + share)
        left /= span.parties
    return ring, doubling, doubling


@functools.lru_cache(maxsize=4096)
def all_to_all(links: tuple[Link, ...], group: float) -> Lines:
    """All-to-all of what one accelerator sends in all: at each level the share that leaves it, in one message a partner.

    Of uniform traffic among G, a level that joins parties of n members carries (n_level - n_inner) / G of what an accelerator sends; in a ring or
    torus, each byte takes as many links as its way is long.
    """
    latency, per_byte = 0.0, 0.0
    for span in spans(links, group):
        latency += (span.parties - 1) * span.link.latency_s
        per_byte += span.inner * (span.parties - 1) / group * span.hops / span.rate
    return ((latency, per_byte),) * 3


def send(links: tuple[Link, ...], first: float, last: float) -> Line:
    """Point to point between accelerators of which the farthest pairs lie at `first` and `last`: the innermost level that holds every pair, all its links."""
    reached = [link for link in links if first // link.accelerators == last // link.accelerators] or [links[-1]]
    return reached[0].latency_s, 1.0 / reached[0].bandwidth


def scaled(lines: Lines, factor: float) -> Lines:
    """Lines per byte of something of which a byte makes `factor` bytes of payload."""
    (latency_0, byte_0), (latency_1, byte_1), (latency_2, byte_2) = lines
    return (latency_0, byte_0 * factor), (latency_1, byte_1 * factor), (latency_2, byte_2 * factor)


def joined(first: Lines, second: Lines) -> Lines:
    """One collective after the other."""
    (a0, t0), (a1, t1), (a2, t2) = first
    (b0, u0), (b1, u1), (b2, u2) = second
    return (a0 + b0, t0 + u0), (a1 + b1, t1 + u1), (a2 + b2, t2 + u2)


def fastest_slope(*options: Lines) -> Lines:
    """The option that is faster for large payloads, where the choice is between kinds of collective and not between algorithms of one."""
    return min(options, key=lambda lines: min(per_byte for _, per_byte in lines))
