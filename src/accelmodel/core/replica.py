"""A replica: one copy of a model on some accelerators under one parallelism and precision."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args

from accelmodel.catalog.calibrations import Calibration, Spread
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.hardware import Accelerator, System
from accelmodel.catalog.models import Architecture, Attention, Gqa, Linear, Mamba2, Model, Moe
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.core.fold import Constants
    from accelmodel.core.memory import Memory
    from accelmodel.core.operators import Block, Table

Object = TypeVar("Object")

Dtype = Literal["bf16", "fp16", "fp8", "fp4", "mxfp4", "nvfp4", "int8", "int4"]
KvDtype = Literal["bf16", "fp16", "fp8", "int8"]
ComputeDtype = Literal["bf16", "fp8", "fp4", "int8"]

# Bytes of one stored weight, scales included: MXFP4 shares 8 bits among 32 weights (OCP MX specification 1.0), NVFP4 among 16, INT4 16 bits among 128.
BYTES_PER_WEIGHT = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp4": 0.5 + 1 / 16,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
    "int4": 0.5 + 2 / 128,
}
FOUR_BIT = ("fp4", "nvfp4", "mxfp4", "int4")


def _check_dtype(key: str, dtype: str | None, allowed: tuple[str, ...]) -> None:
    if dtype is not None and dtype not in allowed:
        raise InputError(f"'{dtype}' is not a dtype", key=key, value=dtype, allowed=allowed)


@dataclass(frozen=True, eq=False)
class Same(Generic[Object]):
    """An object compared by identity, as part of a cache's key: cheap where equality would walk a whole profile, and kept alive by the key."""

    of: Object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)


@functools.lru_cache(maxsize=256)
def _parameters(calibration: Same[Calibration], engine: str, generation: str) -> dict[str, float]:
    return calibration.of.values(engine, generation)


@dataclass(frozen=True)
class Precision:
    """Dtypes of weights, KV cache and compute; None means: as the model is published, bf16, and the fastest that the accelerator and the weights allow."""

    weights: str | None = None
    kv: str | None = None
    compute: str | None = None

    def __post_init__(self) -> None:
        _check_dtype("weights", self.weights, get_args(Dtype))
        _check_dtype("kv", self.kv, get_args(KvDtype))
        _check_dtype("compute", self.compute, get_args(ComputeDtype))


@dataclass(frozen=True)
class Parallelism:
    """How a model is cut.

    `tensor` counts tensor-parallel ranks (logical cores where an accelerator shows several), `pipeline` the stages of layers, `attention_data` the
    groups of ranks that attend to different requests, `context` the ranks among which one request's tokens and KV cache are dealt out, `expert` the
    groups that share out the routed experts of a stage.
    """

    tensor: int
    pipeline: int = 1
    expert: int = 1
    attention_data: int = 1
    context: int = 1

    @property
    def stage_ranks(self) -> int:
        """Ranks of one pipeline stage."""
        return self.tensor * self.attention_data * self.context

    @property
    def ranks(self) -> int:
        """Ranks of the replica."""
        return self.stage_ranks * self.pipeline

    @property
    def expert_tensor(self) -> int:
        """Ranks that share one expert's matrices."""
        return self.stage_ranks // self.expert


def _heads_of(part: Attention | None) -> int | None:
    """Heads that tensor-parallel ranks share out; None where a layer does not attend."""
    return part.value_heads if isinstance(part, Linear) else None if part is None else part.heads


Mode = Literal["continuous", "static", "disaggregated"]


@dataclass(frozen=True)
class Serving:
    """How the serving engine runs a replica; None means: the calibration's default, or not used.

    `chunk_tokens` is the token budget of a prefill pass. A static engine runs waves of a fixed batch; a disaggregated one decodes here and prefills on
    replicas like this one. Compiled shapes execute in full: a step runs
    `compiled_batch` sequences and attends to `sequence_bucket` tokens whatever is there, a prompt is padded to a multiple of `prompt_bucket`. With
    `speculative_tokens` drafted per step, each accepted with probability `acceptance_fraction`, a step yields (1 - a^(s+1)) / (1 - a) tokens
    (Leviathan, Kalman, Matias, arXiv:2211.17192, equation 1). `power_cap_w` is per accelerator.
    """

    mode: Mode = "continuous"
    chunk_tokens: float | None = None
    compiled_batch: int | None = None
    sequence_bucket: int | None = None
    prompt_bucket: int | None = None
    speculative_tokens: int = 0
    acceptance_fraction: float | None = None
    power_cap_w: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"'{self.mode}' is no mode of serving", key="mode", value=self.mode, allowed=get_args(Mode))
        for key in ("chunk_tokens", "compiled_batch", "sequence_bucket", "prompt_bucket", "power_cap_w"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < math.inf):
                raise InputError("must be a number above 0", key=key, value=value)
        if self.speculative_tokens not in range(65):
            raise InputError("must be a whole number from 0 to 64", key="speculative_tokens", value=self.speculative_tokens)
        if self.acceptance_fraction is not None and not 0.0 <= self.acceptance_fraction <= 1.0:
            raise InputError("must be from 0 to 1", key="acceptance_fraction", value=self.acceptance_fraction)
        if self.acceptance_fraction is not None and not self.speculative_tokens:
            raise InputError("needs speculative_tokens: nothing is drafted", key="acceptance_fraction", value=self.acceptance_fraction)

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens that a step yields per sequence."""
        if self.acceptance_fraction is None:
            return 1.0
        a, s = self.acceptance_fraction, self.speculative_tokens
        return s + 1.0 if a == 1.0 else (1.0 - a ** (s + 1)) / (1.0 - a)


@dataclass(frozen=True, eq=False)
class Replica:
    """One copy of a model; everything the operator table is made of. Checked when made: what cannot be combined is refused with the reason.

    Two replicas are the same only if they are one object, so that what is derived from one can be kept beside it.
    """

    model: Model
    system: System
    accelerator: Accelerator
    accelerators: int
    parallelism: Parallelism
    precision: Precision
    engine: str
    calibration: Calibration
    serving: Serving = Serving()
    draft: Model | None = None

    def __post_init__(self) -> None:
        self._check_ranks()
        self._check_draft()
        for model in (self.model, *((self.draft,) if self.draft is not None else ())):
            self._check_heads(model)
            self._check_stages(model)
        self._check_experts()
        if self.serving.mode == "disaggregated":
            self.accelerator.need("scale_out_bandwidth")

    def _check_ranks(self) -> None:
        ranks = self.accelerators * self.accelerator.ranks
        parts = self.parallelism
        if parts.ranks != ranks:
            detail = f" of {self.accelerator.ranks} ranks each" if self.accelerator.ranks > 1 else ""
            factors = {
                "tensor_parallel": parts.tensor,
                "pipeline_parallel": parts.pipeline,
                "attention_data_parallel": parts.attention_data,
                "context_parallel": parts.context,
            }
            product = " x ".join(f"{name} {value}" for name, value in factors.items() if value > 1 or name == "tensor_parallel")
            raise InputError(
                f"{product} is {parts.ranks} ranks, but {self.accelerators} accelerators{detail} are {ranks}", key="tensor_parallel", value=parts.tensor
            )
        reach = self.system.scale_up[-1].accelerators
        if self.accelerators > max(self.system.accelerators, reach) and self.accelerator.figures.scale_out_bandwidth is None:
            raise InputError(
                f"a replica of {self.accelerators} accelerators spans several '{self.system.name}' of {self.system.accelerators}, and accelerator "
                f"'{self.accelerator.name}' has no figure 'scale_out_bandwidth'",
                key="accelerators",
                value=self.accelerators,
            )

    def _check_stages(self, model: Model) -> None:
        stages, layers = self.parallelism.pipeline, model.architecture.layers
        if stages > layers:
            raise InputError(f"{stages} stages are more than the {layers} layers of '{model.name}'", key="pipeline_parallel", value=stages)
        if stages > 1 and self.serving.mode == "static":
            raise InputError("a static batch does not fill a pipeline: use continuous batching, or one stage", key="pipeline_parallel", value=stages)
        if self.parallelism.context > 1 and any(isinstance(group.attention, (Linear, Mamba2)) for group in model.architecture.groups):
            message = f"'{model.name}' has recurrent layers, whose state cannot be dealt out over context_parallel ranks"
            raise InputError(message, key="context_parallel", value=self.parallelism.context)

    def _check_draft(self) -> None:
        if self.draft is not None and not self.serving.speculative_tokens:
            raise InputError("needs speculative_tokens: it would draft none", key="draft_model", value=self.draft.name)
        if self.serving.speculative_tokens and self.draft is None and self.model.architecture.nextn is None:
            message = f"'{self.model.name}' has no multi-token prediction of its own: give a draft_model"
            raise InputError(message, key="speculative_tokens", value=self.serving.speculative_tokens)
        if self.serving.speculative_tokens and self.serving.acceptance_fraction is None:
            raise InputError("is missing: drafted tokens need the chance that each is accepted", key="acceptance_fraction")

    def _check_heads(self, model: Model) -> None:
        tp = self.parallelism.tensor
        if self.pads_heads:
            return
        for group in model.architecture.groups:
            heads = _heads_of(group.attention) or tp
            if heads % tp:
                legal = [str(size) for size in range(1, heads + 1) if heads % size == 0]
                raise InputError(
                    f"tensor_parallel {tp} does not divide the {heads} attention heads of '{model.name}'; it may be {', '.join(legal)}",
                    key="tensor_parallel",
                    value=tp,
                )
            kv_heads = group.attention.kv_heads if isinstance(group.attention, Gqa) else tp
            if kv_heads % tp and tp % kv_heads:
                raise InputError(
                    f"tensor_parallel {tp} neither divides the {kv_heads} KV heads of '{model.name}' nor is a multiple of them",
                    key="tensor_parallel",
                    value=tp,
                )

    def _check_experts(self) -> None:
        ep = self.parallelism.expert
        if self.parallelism.stage_ranks % ep:
            raise InputError(f"expert_parallel {ep} does not divide the {self.parallelism.stage_ranks} ranks of a stage", key="expert_parallel", value=ep)
        if ep > 1 and not self.has_experts:
            raise InputError(f"expert_parallel {ep}: model '{self.model.name}' has no routed experts", key="expert_parallel", value=ep)
        for model in (self.model, *((self.draft,) if self.draft is not None else ())):
            for experts in (group.ffn.experts for group in model.architecture.groups if isinstance(group.ffn, Moe)):
                if experts % ep:
                    raise InputError(f"expert_parallel {ep} does not divide the {experts} experts of '{model.name}'", key="expert_parallel", value=ep)

    @property
    def pads_heads(self) -> bool:
        """Whether the software pads attention heads to a multiple of the ranks instead of refusing."""
        return self.accelerator.stack == "neuron"

    def chips(self, ranks: int) -> int:
        """Accelerators that a group of ranks lies on."""
        return math.ceil(ranks / self.accelerator.ranks)

    @cached_property
    def stage_balance(self) -> float:
        """Time of the slowest pipeline stage over the mean: stages hold whole layers."""
        stages, layers = self.parallelism.pipeline, self.model.architecture.layers
        return math.ceil(layers / stages) * stages / layers

    @cached_property
    def parameters(self) -> dict[str, float]:
        """The calibration's parameters for this engine and accelerator generation, in SI."""
        return _parameters(Same(self.calibration), self.engine, self.accelerator.generation)

    @property
    def is_extrapolated(self) -> bool:
        """Whether nothing was measured on this accelerator's generation, so that its calibration is carried over."""
        return self.calibration.is_extrapolated(self.accelerator.generation)

    @property
    def is_drafted(self) -> bool:
        """Whether a model of its own drafts tokens."""
        return self.draft is not None and self.serving.speculative_tokens > 0

    @property
    def has_experts(self) -> bool:
        """Whether the model is a mixture of experts."""
        return any(isinstance(group.ffn, Moe) for group in self.model.architecture.groups)

    @property
    def spread(self) -> Spread | None:
        """How far measurements lie from predictions for replicas like this one."""
        return self.calibration.spread(self.accelerator.generation, self.has_experts)

    @property
    def kv_dtype(self) -> str:
        """Dtype of the KV cache."""
        return self.precision.kv or "bf16"

    @cached_property
    def blocks(self) -> list[Block]:
        """The operator table's blocks but for the network's."""
        from accelmodel.core.operators import blocks_of

        return blocks_of(self)

    @cached_property
    def table(self) -> Table:
        """The operator table."""
        from accelmodel.core.operators import operator_table

        return operator_table(self, self.blocks)

    @cached_property
    def memory(self) -> Memory:
        """Memory of one rank."""
        from accelmodel.core.memory import memory_of

        return memory_of(self)

    @cached_property
    def constants(self) -> Constants:
        """The folded constants that the kernels take."""
        from accelmodel.core.fold import fold

        return fold(self)

    @cached_property
    def capped_constants(self) -> Constants:
        """The constants at the clock at which the largest draw is the power cap, shape (1,); (0,) without a cap."""
        from accelmodel.core.fold import fold
        from accelmodel.core.power import capped_clock_fraction

        return self.constants[:0] if self.serving.power_cap_w is None else fold(self, capped_clock_fraction(self))

    def weight_dtype(self, component: Literal["attention", "ffn", "expert"], architecture: Architecture | None = None) -> str:
        """Dtype in which a component's weights are stored, of the model or of its draft's architecture.

        As published where no `weights` is asked for. Four-bit weights of a mixture of experts are those of its routed experts: published four-bit
        checkpoints leave attention and dense parts in their own dtype.
        """
        architecture = architecture or self.model.architecture
        native = (architecture.expert_dtype or architecture.native_dtype) if component == "expert" else architecture.native_dtype
        asked = self.precision.weights
        if asked is None:
            return native
        has_experts = any(isinstance(group.ffn, Moe) for group in architecture.groups)
        return native if asked in FOUR_BIT and has_experts and component != "expert" else asked

    def compute_dtype(self, weights: str) -> ComputeDtype:
        """Dtype in which weights of a dtype are multiplied: their own where the accelerator has a rate for it, else bf16.

        MXFP4 weights meet eight-bit activations; integer weights are expanded to bf16 unless `compute` asks for more.
        """
        figures = self.accelerator.figures
        asked = self.precision.compute
        if asked is not None:
            self.accelerator.need(f"peak_{asked}")
            return asked  # type: ignore[return-value]
        if weights == "fp8" and figures.peak_fp8 is not None:
            return "fp8"
        if weights in ("fp4", "nvfp4") and figures.peak_fp4 is not None:
            return "fp4"
        if weights == "mxfp4" and figures.peak_fp4 is not None and figures.peak_fp8 is not None:
            return "fp8"
        return "bf16"

    def peak(self, dtype: ComputeDtype) -> Figure:
        """The vendor's dense peak of one accelerator."""
        return self.accelerator.need(f"peak_{dtype}")
