"""The engine as found: the reference with each known fault put in, so that everything else can still be compared to the last digits.

Each override is one fault, told and reproduced in tests/test_known_faults.py; when a fault is mended its test says so, and its override here goes too.
"""

from __future__ import annotations

import math
from typing import Any

from accelmodel.catalog.models import Mla, Moe
from accelmodel.core.replica import Replica
from reference import Reference, Row, draft_rows


def disputed(replica: Replica, kind: str) -> bool:
    """Whether a known fault touches the collectives of a kind."""
    parts, chip = replica.parallelism, replica.accelerator
    stage = -(-parts.stage_ranks // chip.ranks)
    levels = replica.system.scale_up
    kind = kind.removeprefix("draft_")
    shares_links = chip.ranks > 1
    uneven = any(size % chip.ranks and size > chip.ranks for size in (parts.tensor, parts.tensor * parts.context, parts.stage_ranks))
    third_axis = len(levels) > 1 and levels[-1].topology == "torus-3d" and stage > levels[0].accelerators
    beyond = stage > levels[-1].accelerators
    if kind.startswith("stage_send"):
        return shares_links or third_axis or parts.pipeline * stage > levels[0].accelerators
    if kind.startswith("context_exchange"):
        latent = any(isinstance(group.attention, Mla) for group in replica.model.architecture.groups)
        return shares_links or latent or third_axis or beyond or uneven or (parts.tensor > 1 and levels[0].topology.startswith(("mesh", "torus")))
    if kind.startswith("expert_exchange"):
        return parts.tensor < chip.ranks or third_axis or beyond or uneven
    return third_axis or uneven


def link_row(row: Any) -> Row:
    """A collective of the engine's table as a row of the reference."""
    lines = list(zip(row["link_latency_s"].tolist(), row["link_token_s"].tolist(), strict=True))
    return {
        "kind": str(row["kind"]),
        "layers": float(row["layers"]),
        "share": float(row["share"]),
        "repeats": float(row["repeats"]),
        "step_tokens": float(row["step_tokens"]),
        "lines": lines,
        "prefill_lines": [(0.0, float(row["prefill_link_token_s"]))],
    }


class AsFound(Reference):
    """The reference with the known faults."""

    def table(self) -> list[Row]:
        # Collectives that a fault touches are the engine's own; a draft's weights are in the model's dtypes.
        rows = super().table()
        if self.replica.draft is not None:
            rows = [row for row in rows if not row["kind"].startswith("draft_")] + draft_rows(self.replica, self.replica.model.architecture)
        kept = [row for row in rows if "lines" not in row or not disputed(self.replica, row["kind"])]
        links = self.replica.table[(self.replica.table["link_token_s"] > 0).any(axis=1)]
        return kept + [link_row(row) for row in links if disputed(self.replica, str(row["kind"]))]

    def draft_ends(self) -> float:
        # Only the larger of the two LM heads is counted, and no embedding of the draft's.
        if not self.serving.speculative_tokens or self.replica.draft is None:
            return 0.0
        own, draft = (one.vocab_size * one.hidden_size * 2 / self.parts.stage_ranks for one in (self.architecture, self.replica.draft.architecture))
        embedding = self.architecture.vocab_size * self.architecture.hidden_size * 2 / self.parts.tensor
        larger = max(own, draft)
        return (max(embedding, larger) if self.stages > 1 or self.architecture.tied_embeddings else embedding + larger) - self.ends(self.architecture)

    def shared_width(self, part: Moe) -> float:
        return part.shared_intermediate_size / self.parts.tensor  # cut, though under attention data-parallelism it is not

    def fits(self, tokens: float) -> bool:
        return self.group_pool_bytes() >= self.sequence_bytes(tokens) * self.stages  # one request a stage

    def prefill_link_s(self, row: Row, tokens: float) -> float:
        return tokens * min(per_token for _, per_token in row["prefill_lines"])  # no latency

    def prefilled_layers(self) -> float:
        return self.architecture.layers  # a draft's layers left out

    def full_pass_tokens(self) -> float:
        return self.chunk * self.dp * self.cp  # a chunk per context rank, of which a lone prompt's passes know nothing

    def sharing_a_pass(self) -> float:
        return self.dp * self.cp

    def pass_read_s(self) -> float:
        # A draft's weights, its experts aside, once per drafted token.
        whole = Reference.ideal_read_s
        experts = [row for row in self.rows if "miss" in row]
        self.rows, rows = [row for row in self.rows if "miss" not in row], self.rows
        dense_s = whole(self, math.inf)
        self.rows = experts
        experts_s = whole(self, math.inf, repeated=False)
        self.rows = rows
        return (dense_s + experts_s) / self.full_pass_tokens()

    def served_by_a_step(self, running: float) -> float:
        return running / self.stages  # also below one: as if one request kept all stages reading

    def shares_s(self, _running: float, micro: float, context: float, output: float, marginal_s: float) -> dict[str, float]:
        # A compiled batch's decode is divided by its size, not by the requests in it; the balance of stages counts for prefill alone.
        shares = super().shares_s(micro * self.stages, micro, context, output, marginal_s * self.balance)
        return {name: seconds / self.balance for name, seconds in shares.items()}

    def transfer_s(self, tokens: float) -> float:
        return super().transfer_s(tokens) * self.stages * self.cp / self.balance  # as if one rank held all stages and the whole context

    def closed_loop(self, input_tokens: float, output_tokens: float, concurrency: float, hit: float) -> dict[str, Any]:
        found = super().closed_loop(input_tokens, output_tokens, concurrency, hit)
        if found["fits"]:
            # Of a static batch, prefills behind one's own are forgotten.
            found["request_latency_s"] = found["time_to_first_token_s"] + (output_tokens - 1) * found["time_per_output_token_s"]
        return found
