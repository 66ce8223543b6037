"""`accelmodel app`: the explorer, in the browser."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from accelmodel.cli.options import Catalog, Quiet
from accelmodel.cli.output import tell, tell_of_compilation
from accelmodel.errors import InputError

_HERE = "127.0.0.1"


def app(
    scenario: Annotated[str | None, typer.Argument(help="Name or path of the scenario to begin with.")] = None,
    *,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Address to listen at; 0.0.0.0 lets everybody in who reaches this machine.")] = _HERE,
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8050,
    catalog: Catalog = None,
    quiet: Quiet = False,
) -> None:
    """Explore alternatives in the browser: controls that answer at once, up to six alternatives side by side, reports to take away."""
    if missing := [name for name in ("flask", "waitress", "tomlkit", "plotly", "xlsxwriter") if find_spec(name) is None]:
        raise InputError(f"the explorer needs {', '.join(missing)}: pip install 'accelmodel[app]'", key="app")
    from accelmodel.app.server import serve

    tell_of_compilation(quiet=quiet)
    serve(() if catalog is None else (catalog,), scenario, host, port, lambda address: tell(_listening(address, host), quiet=quiet))


def _listening(address: str, host: str) -> str:
    open_to = "" if host in (_HERE, "localhost", "::1") else "; everybody who reaches this machine can use it"
    return f"the explorer is at {address}{open_to}; Ctrl-C ends it"
