"""Collectives on each topology, worked by hand from Thakur, Rabenseifner, Gropp 2005: volumes over the links that a group owns, messages times latency."""

from __future__ import annotations

import pytest

from accelmodel.core.collectives import Link, all_gather, all_reduce, all_to_all, links_of, send, spans
from accelmodel.studies.points import library, replica
from reference import all_gather_lines, all_reduce_lines, all_to_all_lines, crossings, network
from situations import close

GB = 1e9


def links(system: str) -> tuple[Link, ...]:
    """The network of a system at full efficiency of its links: rates are divided by the calibration's share."""
    one = replica(model="llama-3.1-8b", system=system, accelerators=1)
    efficiency = one.parameters["link_efficiency"]
    return tuple(Link(link.accelerators, link.topology, link.shape, link.bandwidth / efficiency, link.latency_s) for link in links_of(one))


MESSAGE_S = replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1).parameters["scale_out_latency"]


def slope(lines: tuple[tuple[float, float], ...]) -> float:
    """Seconds per byte of large payloads."""
    return min(per_byte for _, per_byte in lines)


@pytest.mark.parametrize(
    ("system", "group", "seconds_per_byte"),
    [
        # A switch: 2 (g - 1)/g of the payload at the whole rate of an accelerator.
        ("p5.48xlarge", 2, 2 * 1 / 2 / (450 * GB)),
        ("p5.48xlarge", 8, 2 * 7 / 8 / (450 * GB)),
        ("gb200-nvl72-rack", 72, 2 * 71 / 72 / (900 * GB)),
        # A mesh of eight: each pair has a seventh of a member's rate; four use three of their seven links.
        ("mi300x-8", 8, 2 * 7 / 8 / (448 * GB)),
        ("mi300x-8", 4, 2 * 3 / 4 / (448 * GB * 3 / 7)),
        ("mi300x-8", 2, 2 * 1 / 2 / (448 * GB * 1 / 7)),
        # A torus of 4 x 4: a row of four owns the links of one axis of two; all sixteen own both.
        ("trn2.48xlarge", 4, 2 * 3 / 4 / (512 * GB / 2)),
        ("trn2.48xlarge", 16, 2 * 15 / 16 / (512 * GB)),
        ("trn1.32xlarge", 16, 2 * 15 / 16 / (192 * GB)),
        ("tpu-v6e-8", 8, 2 * 7 / 8 / (400 * GB)),
        # A cube of 4 x 4 x 4 as one level: a row, a plane, all.
        ("tpu-v7-64", 4, 2 * 3 / 4 / (600 * GB / 3)),
        ("tpu-v7-64", 16, 2 * 15 / 16 / (600 * GB * 2 / 3)),
        ("tpu-v7-64", 64, 2 * 63 / 64 / (600 * GB)),
        # A ring of twelve; PCIe among eight.
        ("inf2.48xlarge", 12, 2 * 11 / 12 / (103 * GB)),
        ("g6e.48xlarge", 8, 2 * 7 / 8 / (32 * GB)),
        # Two levels: what two bridged cards leave to each is a half, which four pairs reduce over PCIe.
        ("h100-nvl-8", 2, 2 * 1 / 2 / (300 * GB)),
        ("h100-nvl-8", 8, 2 * 1 / 2 / (300 * GB) + 2 * 3 / 4 / 2 / (64 * GB)),
        ("h200-nvl-8", 8, 2 * 3 / 4 / (450 * GB) + 2 * 1 / 2 / 4 / (64 * GB)),
        # An UltraServer: sixteen on two axes, and four planes of them along the third, whose links are 128 GB/s of the chip's.
        ("trn2-ultraserver", 16, 2 * 15 / 16 / (512 * GB)),
        ("trn2-ultraserver", 64, 2 * 15 / 16 / (512 * GB) + 2 * 3 / 4 / 16 / (128 * GB)),
        ("trn3-announced-ultraserver", 64, (2 * 15 / 16 / (512 * GB) + 2 * 3 / 4 / 16 / (128 * GB)) / 4.4),
        # Two levels of switches: four chips on a board, then boards.
        ("trn3-ultraserver-gen2", 4, 2 * 3 / 4 / (512 * GB)),
        ("trn3-ultraserver-gen2", 16, 2 * 3 / 4 / (512 * GB) + 2 * 3 / 4 / 4 / (640 * GB)),
        ("trn3-ultraserver-gen2", 144, 2 * 3 / 4 / (512 * GB) + 2 * 35 / 36 / 4 / (640 * GB)),
        # Across systems: an eighth of the payload, at the network's rate.
        ("p5.48xlarge", 16, 2 * 7 / 8 / (450 * GB) + 2 * 1 / 2 / 8 / (50 * GB)),
        ("p5.48xlarge", 32, 2 * 7 / 8 / (450 * GB) + 2 * 3 / 4 / 8 / (50 * GB)),
    ],
)
def test_an_all_reduce_by_hand(system: str, group: int, seconds_per_byte: float):
    assert slope(all_reduce(links(system), group)) == close(seconds_per_byte)
    # An all-gather of a whole is half an all-reduce.
    assert 2 * slope(all_gather(links(system), group)) == close(seconds_per_byte)


def test_messages_across_systems_by_hand():
    # Four hosts; inside a host no message is charged. Ring 2 x 3, halving-doubling 2 x 2, recursive doubling 2 messages.
    found = links("p5.48xlarge")
    ring, halving, doubling = all_reduce(found, 32)
    assert [latency for latency, _ in (ring, halving, doubling)] == close([6 * MESSAGE_S, 4 * MESSAGE_S, 2 * MESSAGE_S])
    assert ring[1] == halving[1] < doubling[1]
    # Recursive doubling sends all in every round: three rounds of eight, and two of the eighth that is left.
    assert doubling[1] == close(3 / (450 * GB) + 2 / 8 / (50 * GB))
    assert [latency for latency, _ in all_gather(found, 32)] == close([3 * MESSAGE_S, 2 * MESSAGE_S, 2 * MESSAGE_S])
    # Small payloads go by recursive doubling, large ones by halving.
    assert min(range(3), key=lambda k: (ring, halving, doubling)[k][0] + (ring, halving, doubling)[k][1] * 1e3) == 2
    assert min(range(3), key=lambda k: (ring, halving, doubling)[k][0] + (ring, halving, doubling)[k][1] * 1e8) == 1


def test_all_to_all_by_hand():
    # Of what each of eight sends, seven eighths leave it.
    assert slope(all_to_all(links("p5.48xlarge"), 8)) == close(7 / 8 / (450 * GB))
    # Of sixteen in two hosts: seven parts stay in the host, eight leave it, in one message to the other host.
    (latency, per_byte), *_ = all_to_all(links("p5.48xlarge"), 16)
    assert (latency, per_byte) == close((MESSAGE_S, 7 / 16 / (450 * GB) + 8 / 16 / (50 * GB)))


def test_a_send_takes_the_level_at_which_the_farthest_pair_meets():
    # Eight to a host: accelerators 0 to 7 and 8 to 15.
    found = links("p5.48xlarge")
    assert send(found, 0, 7) == send(found, 8, 15) == close((0.0, 1 / (450 * GB)))
    assert send(found, 4, 11) == send(found, 0, 15) == close((MESSAGE_S, 1 / (50 * GB)))


def test_groups_fill_a_level_before_they_span_the_next():
    # Three levels: 4, 16, and as many as there are.
    levels = tuple(Link(size, "switch", (), 1.0, 0.0) for size in (4, 16, 1e9))
    assert [span.parties for span in spans(levels, 1)] == []
    assert [span.parties for span in spans(levels, 4)] == [4]
    assert [span.parties for span in spans(levels, 64)] == [4, 4, 4]


@pytest.mark.parametrize("system", sorted(library().files("systems")))
def test_lines_equal_the_reference_at_every_size_of_group(system: str):
    one = replica(model="llama-3.1-8b", system=system, accelerators=1)
    found, levels = links_of(one), network(one)
    for group in (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 64, 72, 144, 288):
        if not levels or group > levels[-1].size:
            continue
        crossed = crossings(levels, 1, group)
        pairs = [
            (all_reduce(found, group), all_reduce_lines(crossed)),
            (all_gather(found, group), all_gather_lines(crossed)),
            (all_to_all(found, group), all_to_all_lines(crossed)),
        ]
        # Among members that lie as far apart as a tensor group is wide.
        pairs += [(all_gather(found, group, inner), all_gather_lines(crossings(levels, inner, group))) for inner in (2, 4, 8) if group % inner == 0]
        for payload in (1e2, 1e4, 1e6, 1e9):
            for lines, expected in pairs:
                seconds, wanted = (min(latency + per_byte * payload for latency, per_byte in some) for some in (lines, expected))
                assert seconds == close(wanted), (group, payload)
