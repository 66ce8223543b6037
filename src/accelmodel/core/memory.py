"""Memory of a replica: what weights, activations and the runtime take, and what is left as the KV pool."""

from __future__ import annotations

from dataclasses import dataclass

from accelmodel.catalog.models import Architecture, Dense, Moe
from accelmodel.core.operators import ACTIVATION_BYTES
from accelmodel.core.replica import Replica


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank: usable memory, and what weights, activations, runtime and captured graphs take of it."""

    usable_bytes: float
    weight_bytes: float
    activation_bytes: float
    runtime_bytes: float

    @property
    def reserve_bytes(self) -> float:
        """What neither weights nor KV cache may have: activations, runtime, graphs."""
        return self.activation_bytes + self.runtime_bytes

    @property
    def pool_bytes(self) -> float:
        """What is left for the KV cache; negative where the rest does not fit."""
        return self.usable_bytes - self.weight_bytes - self.reserve_bytes


def memory_of(replica: Replica) -> Memory:
    """Memory of one rank of the fullest pipeline stage.

    pool = usable share of HBM - weights - activations of a full prefill pass - runtime reserve - captured or compiled graphs.
    A stage holds its layers; the first also the embedding, the last the LM head, of which the larger counts.
    """
    parts, ranks, p = replica.parallelism, replica.accelerator.ranks, replica.parameters
    ends_bytes = _ends_bytes(replica, replica.model.architecture)
    if replica.draft is not None and replica.is_drafted:
        ends_bytes += _ends_bytes(replica, replica.draft.architecture)
    return Memory(
        usable_bytes=replica.accelerator.memory.si / ranks * p["usable_memory_fraction"],
        weight_bytes=sum(block.layer_weight_bytes for block in replica.blocks) / parts.pipeline * replica.stage_balance + ends_bytes,
        activation_bytes=activation_bytes(replica),
        runtime_bytes=(p["runtime_reserve"] + p["graph_reserve"]) / ranks,
    )


def _ends_bytes(replica: Replica, architecture: Architecture) -> float:
    """Embedding and LM head of a model on one rank of the stage that holds more of them; one table where they are tied."""
    embedding_bytes = architecture.embedding_parameters * ACTIVATION_BYTES / replica.parallelism.tensor
    head_bytes = architecture.embedding_parameters * ACTIVATION_BYTES / replica.parallelism.stage_ranks
    apart = replica.parallelism.pipeline > 1 or architecture.tied_embeddings
    return max(embedding_bytes, head_bytes) if apart else embedding_bytes + head_bytes


def activation_bytes(replica: Replica) -> float:
    """Live activations of a full prefill pass on one rank: residual and its normed copy, and the widest FFN's gate and up, for every token of the pass.

    (2 hidden + 2 intermediate / tp) x chunk x 2 bytes; of a mixture of experts, the widest of shared and routed for as many copies as a token has experts here.
    """
    parts, chunk = replica.parallelism, replica.serving.chunk_tokens or replica.parameters["chunk_tokens"]
    architecture = replica.model.architecture
    widest = 0.0
    for group in architecture.groups:
        if isinstance(group.ffn, Dense):
            widest = max(widest, group.ffn.intermediate_size / parts.tensor)
        elif isinstance(group.ffn, Moe):
            routed = group.ffn.expert_intermediate_size * group.ffn.experts_per_token * parts.attention_data * parts.context / parts.stage_ranks
            cut = parts.tensor if parts.stage_ranks == parts.tensor else 1
            widest = max(widest, routed, group.ffn.shared_intermediate_size / cut)
    return (2.0 * architecture.hidden_size + 2.0 * widest) * chunk / parts.context * ACTIVATION_BYTES
