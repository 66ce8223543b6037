"""`accelmodel offers`: today's prices into the catalogue's own snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accelmodel.cli.options import Catalog, Format, OwnCatalog
from accelmodel.cli.output import choice, emit, emit_json, open_catalog, tell
from accelmodel.errors import InputError

if TYPE_CHECKING:
    from accelmodel.catalog.imports.snapshot import Imported
    from accelmodel.catalog.offers import Exchange

app = typer.Typer(help="Price lists of AWS, SkyPilot and LiteLLM as dated snapshots; what changed between two: `catalog diff A B`.")

_PAYMENTS = ("no upfront", "partial upfront", "all upfront")


@app.command("import")
def import_(
    form: Annotated[str, typer.Argument(metavar="aws|skypilot|litellm", help="Whose price list the file is.")],
    file: Annotated[Path, typer.Argument(help="The price list: AWS's bulk JSON or GetProducts answers, a vms.csv, a model_prices_and_context_window.json.")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The snapshot to write, such as offers/aws_ec2_2026-11.toml; never overwritten.")],
    date: Annotated[str | None, typer.Option("--date", help="Day of the prices; the list's own, or else today, where absent.")] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="KEY", help="A source of the catalogue; the snapshot's own where absent.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="skypilot: whose list it is, where its prices are of rented accelerators.")] = None,
    service: Annotated[str | None, typer.Option("--service", help="litellm: the one service to read, such as bedrock; all where absent.")] = None,
    payment: Annotated[str | None, typer.Option("--payment", metavar="|".join(_PAYMENTS), help="aws: how to pay commitments; no upfront where absent.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="USD", help="USD for one unit of the list's currency, where that is another.")] = None,
    rate_date: Annotated[str | None, typer.Option("--rate-date", metavar="DATE", help="Day of the rate.")] = None,
    rate_source: Annotated[str | None, typer.Option("--rate-source", metavar="KEY", help="Source of the rate, among the catalogue's.")] = None,
    catalog: Catalog = None,
    output_format: Format = "table",
) -> None:
    """Write a price list as a snapshot of the catalogue; what cannot be used is counted by reason."""
    from accelmodel.catalog.imports.snapshot import READERS, import_offers

    choice("--format", output_format, ("table", "json"))
    choice("FORM", form, tuple(READERS))
    if payment is not None:
        choice("--payment", payment, _PAYMENTS)
    for option, value, of in (("--provider", provider, "skypilot"), ("--service", service, "litellm"), ("--payment", payment, "aws")):
        if value is not None and form != of:
            raise InputError(f"is an option of '{of}' lists", key=option, value=value)
    library = open_catalog(catalog)
    if rate_source is not None and rate_source not in library.sources:
        raise InputError(f"no source is called '{rate_source}'", key="--rate-source", value=rate_source, allowed=library.sources)
    exchange = _exchange(rate, rate_date, rate_source)
    found = import_offers(form, file, output, library, date=date, source=source, exchange=exchange, provider=provider, service=service, payment=payment)
    for reason, count in found.skipped.items():
        tell(f"left out: {count} {reason}")
    if output_format == "json":
        emit_json(_document(found))
    else:
        _print(found)


def _exchange(rate: float | None, date: str | None, source: str | None) -> Exchange | None:
    """The rate of a currency from its three options, which come together; its unit follows from the list."""
    from accelmodel.catalog.figures import parse
    from accelmodel.catalog.offers import Exchange

    given = {"--rate": rate, "--rate-date": date, "--rate-source": source}
    if all(value is None for value in given.values()):
        return None
    for option, value in given.items():
        if value is None:
            raise InputError("is missing: a rate has a value, a day and a source", key=option)
    return parse(Exchange, {"value": rate, "unit": "", "kind": "published", "source": source, "date": date}, None, "--rate")


def _document(found: Imported) -> dict[str, object]:
    snapshot = found.snapshot
    counts = {"hour": len(snapshot.hour), "token": len(snapshot.token)}
    return {"snapshot": snapshot.name, "file": str(found.file), "date": snapshot.date, **counts, "already_there": found.already_there, "skipped": found.skipped}


def _print(found: Imported) -> None:
    snapshot = found.snapshot
    rows = f"{len(snapshot.hour)} prices by the hour" if snapshot.hour else f"{len(snapshot.token)} models by the token"
    emit(f"{found.file}: {rows}, of {snapshot.date}" + (" (was there already, unchanged)" if found.already_there else ""))


@app.command()
def fetch(
    form: Annotated[str, typer.Argument(metavar="aws", help="Whom to ask.")],
    service: Annotated[str, typer.Argument(metavar="ec2|bedrock|bedrock-service|bedrock-marketplace", help="Prices of what.")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where to write the answers as they are, for `offers import aws`.")],
    region: Annotated[str, typer.Option("--region", help="Region that the prices are of.")] = "us-east-1",
    *,
    _catalog: OwnCatalog = None,
) -> None:
    """Ask AWS for its prices, with your own keys; needs the extra accelmodel[aws]."""
    from accelmodel.catalog.imports.fetch import client
    from accelmodel.catalog.imports.fetch import fetch as ask

    if form != "aws":
        raise InputError(f"'{form}' cannot be asked", key="FORM", value=form, allowed=("aws",))
    count = ask(client(), service, region, output)
    emit(f"{output}: {count} products; next: accelmodel offers import aws {output} --output SNAPSHOT.toml")
