"""Options that commands share, under the names that they have everywhere: those of `accelmodel.replica` and `accelmodel.evaluate`, in kebab-case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from accelmodel.cli.completion import kinds, names

Command = TypeVar("Command", bound=Callable[..., None])

Catalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="DIR", help="A folder of your own entries (accelerators/, models/, ...), searched before the shipped ones.")
]
Format = Annotated[str, typer.Option("--format", metavar="table|json", help="How to print the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
Kind = Annotated[str | None, typer.Option("--kind", metavar="KIND", autocompletion=kinds, help="Which kind of entry is meant, where several have the name.")]


@dataclass(frozen=True)
class Shared:
    """An option by its type and help; without a value it is not passed on, so that the API's default holds."""

    type: Any
    help: str
    required: bool = False


REPLICA = {
    "model": Shared(str, "Name, alias or path of a model; a Hugging Face config.json works.", required=True),
    "system": Shared(str, "Name or path of a system.", required=True),
    "accelerators": Shared(int, "Accelerators of the replica; the whole system where absent."),
    "tensor_parallel": Shared(int, "Tensor-parallel ranks; all that remain where absent."),
    "pipeline_parallel": Shared(int, "Stages that the layers are dealt out to; 1 where absent."),
    "expert_parallel": Shared(int, "Groups that the routed experts are dealt out to; 1 where absent."),
    "attention_data_parallel": Shared(int, "Groups of ranks that attend to different requests; 1 where absent."),
    "context_parallel": Shared(int, "Ranks that one request's tokens are dealt out to; 1 where absent."),
    "weights": Shared(str, "Dtype of the weights; as published where absent."),
    "kv": Shared(str, "Dtype of the KV cache; bf16 where absent."),
    "compute": Shared(str, "Dtype of the arithmetic; as fast as the weights allow where absent."),
    "engine": Shared(str, "Serving engine; the usual one of the accelerator where absent."),
    "mode": Shared(str, "How requests are batched: continuous (where absent), static, disaggregated."),
    "chunk_tokens": Shared(float, "Tokens of a prefill chunk."),
    "compiled_batch": Shared(int, "Sequences that a compiled step always runs."),
    "sequence_bucket": Shared(int, "Context tokens that a compiled step always attends to."),
    "prompt_bucket": Shared(int, "Tokens to a multiple of which prompts are padded."),
    "speculative_tokens": Shared(int, "Tokens drafted per step; 0 where absent."),
    "acceptance_fraction": Shared(float, "Probability that a drafted token is accepted."),
    "draft_model": Shared(str, "Model that drafts; the model's own multi-token prediction where absent."),
    "power_cap_w": Shared(float, "Power limit of one accelerator."),
}
LOAD = {
    "input_tokens": Shared(float, "Input tokens of a request, cached ones included.", required=True),
    "output_tokens": Shared(float, "Output tokens of a request.", required=True),
    "concurrency": Shared(float, "Requests in the system at a time."),
    "requests_per_s": Shared(float, "Requests per second, instead of --concurrency."),
    "ttft_s": Shared(float, "Target of the mean time to first token; without a load: the largest load that meets it."),
    "tpot_s": Shared(float, "Target of the mean time per output token, likewise."),
    "prefix_hit_fraction": Shared(float, "Share of input tokens that a prefix cache serves; 0 where absent."),
    "prefix_cache": Shared(str, "Workload with a measured curve of prefix hits: what the spare KV pool serves of it, instead of --prefix-hit-fraction."),
}
DRAWN = {
    "input_variation": Shared(float, "Coefficient of variation of input tokens (lognormal), for percentiles; 0 where absent."),
    "output_variation": Shared(float, "Coefficient of variation of output tokens, for percentiles; 0 where absent."),
    "burstiness": Shared(float, "Coefficient of variation of the times between arrivals, for percentiles; 1 (Poisson) where absent."),
    "seed": Shared(int, "Seed of what is drawn for percentiles; 0 where absent."),
}
MONEY = {
    "offer": Shared(list[str], "A price: by the hour (on-demand, an id) or by the token (a service, an id). May be given twice."),
    "books": Shared(str, "Whose books: cloud (owns and sells), tenant (rents and sells) or self (serves itself)."),
    "occupancy": Shared(float, "Share of the hours in which the replica carries the load."),
    "site": Shared(str, "Site, for tariff and PUE."),
    "owner": Shared(str, "Whose cost of ownership."),
    "tier": Shared(str, "Tier of a token price: standard, batch, flex, priority, long (more input than the standard price covers)."),
    "attribution": Shared(str, "How cost is shared out among input, cached input and output: device-time (where absent), price-weights, blended, output-only."),
    "purchase_usd": Shared(float, "Purchase price of an accelerator with its share of the server; the owner's where absent."),
}

# Options that name an entry of a kind.
_NAMED = {"model": "models", "draft_model": "models", "system": "systems", "prefix_cache": "workloads", "site": "sites", "owner": "ownership"}

# What a search for the best replica leaves open, and what it finds itself.
_CUT = ("accelerators", "tensor_parallel", "pipeline_parallel", "expert_parallel", "attention_data_parallel", "context_parallel", "draft_model")
SEARCHED_REPLICA = {name: option for name, option in REPLICA.items() if name not in _CUT} | {
    "system": Shared(list[str], "Name or path of a system to search. May be given several times.", required=True)
}
SEARCHED_LOAD = {name: option for name, option in LOAD.items() if name not in ("concurrency", "requests_per_s", "prefix_cache")}


def takes(replica: Mapping[str, Shared], load: Mapping[str, Shared]) -> Callable[[Command], Command]:
    """Give a command with `**options` these options of replica and load and those of money, each a keyword."""
    panels = (("The replica", replica), ("The load", load), ("The money", MONEY))

    def decorate(command: Command) -> Command:
        own = [parameter for parameter in inspect.signature(command, eval_str=True).parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = [_parameter(name, option, panel) for panel, options in panels for name, option in options.items()]
        parameters = [*shared, *own]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _parameter(name: str, option: Shared, panel: str) -> inspect.Parameter:
    type_: Any = option.type if option.required else option.type | None
    completer = names(_NAMED[name]) if name in _NAMED else None
    annotated: Any = Annotated  # a type that is only known now
    annotation = annotated[type_, typer.Option(help=option.help, rich_help_panel=panel, autocompletion=completer)]
    default = inspect.Parameter.empty if option.required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def given(options: Mapping[str, Any], names: Mapping[str, Shared]) -> dict[str, Any]:
    """Those of the options that were given a value."""
    return {name: options[name] for name in names if options[name] is not None}
