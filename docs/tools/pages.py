"""What the site has beside the written pages: the reference, generated from docstrings, command line and columns as the site is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import accelmodel as am
from accelmodel import columns
from accelmodel.cli.main import app

SOURCE = Path(am.__file__).parent
ROOMS = ("catalog", "core", "serving", "economics", "fleet", "studies", "results", "reports")
_FENCE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"cli": cli(), "columns": columns_page(), "python": python(), **{room: room_page(room) for room in ROOMS}}
    for name, content in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    contributing = (Path(config.config_file_path).parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "contributing.md", content=contributing.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A block's mark (`scenario`, or the path where the block belongs) as its title."""
    return _FENCE.sub(lambda fence: f"```{fence[1]}" + ("" if fence[2] == "scenario" else f' title="{fence[2]}"'), markdown)


# The command line


def cli() -> str:
    """Every command with its arguments and options."""
    return "# Command line\n\n" + "\n".join(_command("accelmodel", typer.main.get_command(app))) + "\n"


def _command(path: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        if " " in path:
            yield f"## {path}\n\n{_line(command.help)}\n"
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)
        return
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    usage = " ".join([path, *(_names(parameter) for parameter in parameters if _is_argument(parameter)), "[OPTIONS]"])
    yield f"{'#' * min(path.count(' ') + 1, 3)} {path}\n\n{_line(command.help)}\n\n```text\n{usage}\n```\n"
    yield "| | |\n|---|---|"
    for parameter in parameters:
        needed = " (needed)" if parameter.required else ""
        yield f"| `{_names(parameter)}`{needed} | {_line(getattr(parameter, 'help', ''))}{_default(parameter)} |"
    yield ""


def _is_argument(parameter: Any) -> bool:
    return not any(name.startswith("-") for name in parameter.opts)


def _names(parameter: Any) -> str:
    value = parameter.metavar or parameter.name.upper()
    if _is_argument(parameter):
        return value if parameter.required or value.startswith("[") else f"[{value}]"
    return ", ".join([*parameter.opts, *parameter.secondary_opts]) + ("" if getattr(parameter, "is_flag", False) else f" {value}")


def _default(parameter: Any) -> str:
    default = parameter.default
    return f" Default: `{default}`." if isinstance(default, (str, int, float)) and not isinstance(default, bool) and str(default) else ""


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


# Columns


def columns_page() -> str:
    """Every column, its unit and meaning, in the dictionary's own order and parts."""
    lines = ["# Columns", "", *_words(columns.__doc__), "", *_bounds()]
    for title, names in _parts():
        lines += ["", f"## {title}", "", "| column | unit | type | meaning |", "|---|---|---|---|"]
        for name in names:
            column = columns.COLUMNS[name]
            lines.append(f"| `{name}` | {column.unit} | {column.type} | {_line(column.description)} |")
    return "\n".join(lines) + "\n"


def _words(docstring: str | None) -> list[str]:
    return [" ".join((docstring or "").split())]


def _bounds() -> list[str]:
    ends = f"`<column>{columns.LOW}` and `<column>{columns.HIGH}` bound the central 90 % of what to believe of a column"
    return [f"{ends}; `time_to_first_token_p99_s` and the like are percentiles over requests, found by simulation."]


def _parts() -> Iterator[tuple[str, list[str]]]:
    """The dictionary's parts, as comments in its source divide it."""
    source = (SOURCE / "columns.py").read_text(encoding="utf-8")
    body = source[source.index("_COLUMNS = (") : source.index("COLUMNS = {")]
    for part in re.split(r"^    # ", body, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        yield title, re.findall(r'Column\(\s*"(\w+)"', rest)


# Docstrings


def python() -> str:
    """What `import accelmodel` gives; references lead to the rooms' pages, where the same things stand."""
    lines = ["# Python", "", "What `import accelmodel as am` gives. Everything else is behind these, by room."]
    homes = [getattr(am, name) for name in am.__all__ if name != "catalog"]
    for name in (*(f"{home.__module__}.{home.__qualname__}" for home in homes), "accelmodel.catalog"):
        lines += ["", f"::: {name}", "    options: { skip_local_inventory: true }"]
    return "\n".join(lines) + "\n"


def room_page(room: str) -> str:
    """The modules of a room with what each gives to others."""
    lines = [f"# {room}/"]
    for path in sorted((SOURCE / room).rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        lines += ["", f"## {module.removeprefix('accelmodel.')}", "", f"::: {module}", "    options: { show_root_heading: false, show_root_toc_entry: false }"]
    return "\n".join(lines) + "\n"
