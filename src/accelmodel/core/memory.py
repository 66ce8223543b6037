"""Memory of a replica: what weights take, and what is left as the KV pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelmodel.core.operators import ACTIVATION_BYTES, Table
from accelmodel.core.replica import Replica


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank: usable memory, weights, the runtime's reserve and the KV pool that remains (negative where weights do not fit)."""

    usable_bytes: float
    weight_bytes: float
    reserve_bytes: float

    @property
    def pool_bytes(self) -> float:
        """What is left for the KV cache."""
        return self.usable_bytes - self.weight_bytes - self.reserve_bytes


def memory_of(replica: Replica, table: Table) -> Memory:
    """Memory of one rank: pool = usable share of HBM - weights (both embeddings included) - runtime reserve."""
    architecture = replica.model.architecture
    ranks = replica.accelerator.ranks
    rows = float(np.sum(table["layers"] * table["weight_bytes"]))
    embedding = 0.0 if architecture.tied_embeddings else architecture.embedding_parameters * ACTIVATION_BYTES / replica.parallelism.tensor
    return Memory(
        usable_bytes=replica.accelerator.memory.si / ranks * replica.parameters["usable_memory_fraction"],
        weight_bytes=rows + embedding,
        reserve_bytes=replica.parameters["runtime_reserve"] / ranks,
    )
