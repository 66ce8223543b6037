"""Options that commands share, under the names that they have everywhere: those of `accelmodel.replica` and `accelmodel.evaluate`, in kebab-case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from accelmodel.cli.completion import kinds, names
from accelmodel.keys import of_scenario

Command = TypeVar("Command", bound=Callable[..., None])

Catalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="DIR", help="A folder of your own entries (accelerators/, models/, ...), searched before the shipped ones.")
]
# A run has its own entries, as it read them; the option is there because every command has it.
OwnCatalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="DIR", exists=True, file_okay=False, help="Taken by every command; this one looks nothing up in it.")
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


def _options(types: Mapping[str, Any], required: Sequence[str] = (), **held_without: str) -> dict[str, Shared]:
    """Options by the dictionary of keys, which says what they mean to scenarios too."""
    said = {name: str(of_scenario(name, held_without.get(name))) for name in types}
    return {name: Shared(type_, f"{said[name][0].upper()}{said[name][1:]}.", name in required) for name, type_ in types.items()}


REPLICA = _options(
    {
        **dict.fromkeys(("model", "system"), str),
        **dict.fromkeys(("accelerators", "tensor_parallel", "pipeline_parallel", "expert_parallel", "attention_data_parallel", "context_parallel"), int),
        **dict.fromkeys(("weights", "kv", "compute", "engine", "mode"), str),
        "chunk_tokens": float,
        **dict.fromkeys(("compiled_batch", "sequence_bucket", "prompt_bucket", "speculative_tokens"), int),
        "acceptance_fraction": float,
        "draft_model": str,
        "power_cap_w": float,
    },
    required=("model", "system"),
)
LOAD = _options(
    {
        **dict.fromkeys(("input_tokens", "output_tokens", "concurrency", "requests_per_s", "ttft_s", "tpot_s", "prefix_hit_fraction"), float),
        "prefix_cache": str,
    },
    required=("input_tokens", "output_tokens"),
)
DRAWN = _options(
    {"input_variation": float, "output_variation": float, "burstiness": float, "seed": int}, input_variation="0", output_variation="0", burstiness="1", seed="0"
)
MONEY = _options(
    {
        "offer": list[str],
        "books": str,
        "occupancy": float,
        **dict.fromkeys(("site", "owner", "tier", "attribution"), str),
        "purchase_usd": float,
    }
)

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
    annotation = annotated[type_, typer.Option(help=option.help.replace("[", "\\["), rich_help_panel=panel, autocompletion=completer)]
    default = inspect.Parameter.empty if option.required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def given(options: Mapping[str, Any], names: Mapping[str, Shared]) -> dict[str, Any]:
    """Those of the options that were given a value."""
    return {name: options[name] for name in names if options[name] is not None}
