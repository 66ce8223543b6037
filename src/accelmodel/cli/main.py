"""The command `accelmodel`: its verbs, and what happens when one fails.

Exit codes: 0 done, 2 the input is wrong, 1 a fault of ours, 130 interrupted, 141 the reader of a pipe went away.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from accelmodel.cli import catalog, offers
from accelmodel.cli.app import app as explore
from accelmodel.cli.calibrate import calibrate
from accelmodel.cli.diff import diff
from accelmodel.cli.evaluate import evaluate
from accelmodel.cli.explain import explain
from accelmodel.cli.optimize import optimize
from accelmodel.cli.output import emit, is_debugging, tell
from accelmodel.cli.report import report
from accelmodel.cli.run import new, run
from accelmodel.cli.simulate import simulate
from accelmodel.cli.validate import validate
from accelmodel.errors import InputError

_INTERRUPTED = 130

# Typer keeps the base of its usage errors private; BadParameter, which it does not, tells it.
_UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])

app = typer.Typer(
    help="What a million tokens cost on an AI accelerator, what margin they leave, and how much hardware, power and money a demand needs.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command()(run)
app.command()(evaluate)
app.command()(optimize)
app.command()(simulate)
app.command()(validate)
app.command()(calibrate)
app.command()(explain)
app.command()(diff)
app.command()(report)
app.command()(new)
app.command("app")(explore)
app.add_typer(catalog.app, name="catalog")
app.add_typer(offers.app, name="offers")


def _print_version(asked: bool) -> None:
    if asked:
        from accelmodel import __version__
        from accelmodel.catalog.entries import catalogue_date
        from accelmodel.catalog.library import Library

        emit(f"accelmodel {__version__}, catalogue of {catalogue_date(Library())}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and catalogue date.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        emit(context.get_help())


def execute(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code."""
    try:
        code = app(args=list(arguments), prog_name="accelmodel", standalone_mode=False)
        if code == _INTERRUPTED:  # the parser makes an exit code of an interruption
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except InputError as error:
        tell(f"error: {error}")
        return 2
    except _UsageError as error:
        tell(f"error: {_usage(error)}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _insist(0.0)
        tell("interrupted: nothing is half-written")
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 141
    except SystemExit as stop:  # from the console or the parser, when the reader of a pipe went away; or from a shell's completion, which is done
        if stop.code != 1:
            return int(stop.code or 0)
        _forget_output()
        return 141
    except Exception as error:
        return _fault(error)


def _usage(error: Exception) -> str:
    """A usage error in one line: what is wrong, the nearest name, where help is."""
    message = str(getattr(error, "message", error) or error).rstrip(".")
    format_message = getattr(error, "format_message", None)
    near = getattr(error, "possibilities", None)
    if near:
        message = f"{message}; did you mean {near[0]}?"
    elif format_message is not None:
        message = str(format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    where = "" if context is None else f" (see `{context.command_path} --help`)"
    return f"{message}{where}"


def _fault(error: Exception) -> int:
    if is_debugging():
        traceback.print_exception(error)
    words = " ".join(str(error).split())
    tell(f"a fault of ours: {type(error).__name__}: {words} (ACCELMODEL_DEBUG=1 prints where; please report it)")
    return 1


def _forget_output() -> None:
    """Let nothing be written any more: the interpreter flushes at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> None:
    _insist(0.5)
    raise KeyboardInterrupt


def _insist(every_s: float) -> None:
    """Repeat an interruption until it is heard (0: no more): what is raised in a callback of the compiler is lost."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, every_s, every_s)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGINT, _interrupt)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _interrupt)
    code = execute(sys.argv[1:])
    if code == _INTERRUPTED:
        os._exit(code)  # at once: a thread at work would be waited for
    sys.exit(code)


if __name__ == "__main__":
    main()
