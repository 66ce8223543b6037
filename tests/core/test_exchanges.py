"""Exchanges between ranks, by hand: context ranks, and stages that lie astride accelerators and levels."""

from __future__ import annotations

from accelmodel.studies.points import replica
from situations import close


def test_context_ranks_gather_and_scatter():
    # Two hosts: at the least two messages between them.
    one = replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=16, context_parallel=2)
    row = one.table[one.table["kind"] == "context_exchange"][0]
    assert min(row["link_latency_s"]) == close(2 * one.parameters["scale_out_latency"])


def test_stages_that_share_an_accelerator_still_send():
    one = replica(model="llama-3.1-8b", system="trn2.48xlarge", accelerators=3, tensor_parallel=6, pipeline_parallel=2)
    assert (one.table["kind"] == "stage_send").any()


def test_stages_send_as_far_as_a_stage_is_long():
    # Four stages of eighteen Trainium3 (72 ranks, one sequence each): all three sends cross the second level of switches, 640 GB/s.
    one = replica(model="qwen3-8b", system="trn3-ultraserver-gen2", accelerators=72, tensor_parallel=1, attention_data_parallel=72, pipeline_parallel=4)
    rows = one.table[one.table["kind"] == "stage_send"]
    seconds = (rows["layers"] * rows["share"] * rows["link_token_s"].min(axis=1)).sum()
    assert seconds == close(3 * 4096 * 2 * 4 / 72 / (640e9 * one.parameters["link_efficiency"]))
