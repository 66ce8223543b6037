"""Collectives: bytes that each accelerator sends, one way, per byte of payload.

Bandwidth terms only: inside a scale-up domain the latency of a collective is part of the calibrated overhead of a layer and is not charged twice.
Source of the volumes: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), sections 4.1 to 4.4.
"""

from __future__ import annotations


def all_reduce(group: int) -> float:
    """Bytes sent per payload byte by an all-reduce among `group` accelerators: 2 (g - 1) / g (reduce-scatter, then all-gather).

    >>> all_reduce(8)
    1.75
    """
    return 2.0 * (group - 1) / group


def all_gather(group: int) -> float:
    """Bytes sent per byte of the gathered whole by an all-gather, or by a reduce-scatter: (g - 1) / g.

    >>> all_gather(8)
    0.875
    """
    return (group - 1) / group
