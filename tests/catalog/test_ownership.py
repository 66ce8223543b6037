"""Cost-of-ownership figures and the published tables beside them: hand-typed published values, the lists they come from, bad input."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from accelmodel.catalog.figures import Figure, parse, read_toml
from accelmodel.catalog.library import Library
from accelmodel.catalog.ownership import Ownership
from accelmodel.errors import InputError

FACTS = Path(__file__).parents[2] / "../shared/facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def default(library: Library) -> Ownership:
    return library.ownership("default")


def test_common_figures_are_the_published_ones(default: Ownership) -> None:
    figures = default.figures
    assert figures.facility_cost.si == pytest.approx(11.7)  # Cushman & Wakefield 2025: 11.7 M USD/MW, 9.3 to 15.0
    assert (figures.facility_cost.si_low, figures.facility_cost.si_high) == (9.3, 15.0)
    assert figures.server_life.si == 5 * 8760 * 3600  # Amazon's 10-K for 2024
    assert figures.facility_life.value == 14  # Epoch AI 2026
    assert (figures.network_share.low, figures.network_share.high) == (0.08, 0.15)
    assert figures.operations_per_year.value == pytest.approx((0.9 - 0.6) / 38, rel=0.02)  # Epoch AI 2026, B USD
    assert figures.failures_per_year is not None
    assert figures.failures_per_year.value == pytest.approx(0.587 * 419 / (16_384 * 54 / 365), rel=1e-3)  # The Llama 3 Herd of Models


@pytest.mark.parametrize(
    ("accelerator", "usd"),
    [
        ("h100-sxm", 285_000 / 8),  # HGX H100 server
        ("h200-sxm", 370_000 / 8),
        ("b200-sxm", 515_000 / 8),  # DGX B200
        ("b300-sxm", 610_000 / 8),
        ("gb200-nvl72", 3_100_000 / 72),
        ("gb300-nvl72", 3_550_000 / 72),
        ("mi300x", 160_000 / 8),
        ("mi355x", 290_000 / 8),
    ],
)
def test_purchase_prices_are_the_servers_by_accelerator(default: Ownership, accelerator: str, usd: float) -> None:
    assert default.purchase_price(accelerator).si == pytest.approx(usd, rel=1e-4)


def test_in_house_chips_are_estimates_with_wide_ranges(default: Ownership) -> None:
    for accelerator in ("trainium2", "trainium3", "trainium3-announced"):
        price = default.purchase_price(accelerator)
        assert price.kind == "estimated"
        assert price.si_high >= 2 * price.si_low
    assert "no public figure" in (default.purchase_price("trainium3").note or "")


def test_an_accelerator_without_a_price_is_refused_by_name(default: Ownership) -> None:
    with pytest.raises(InputError, match="no purchase price of 'tpu-v7-ironwood' is known"):
        default.purchase_price("tpu-v7-ironwood")
    with pytest.raises(InputError, match="did you mean 'trainium2'"):
        default.purchase_price("trainuim2")


def test_names_and_sources_exist(library: Library, default: Ownership) -> None:
    assert set(default.purchase) <= set(library.files("accelerators"))
    figures = [figure for _, figure in default.figures if figure is not None] + [*default.purchase.values(), *default.chip.values()]
    for name in ("published_tco", "aws_segment"):
        reference = library.reference(name)
        figures += [*reference.figures.values(), *(figure for group in reference.groups.values() for figure in group.values())]
    assert sources_of(figures) <= set(library.sources)


def sources_of(figures: list[Figure]) -> set[str]:
    named = {figure.source for figure in figures} | {other.source for figure in figures for other in figure.alternatives}
    return {source for source in named if source is not None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('value = 11.7, unit = "USD/W"', 'value = 11.7, unit = "USD/kWh"'), "expected one of money per power"),
        (lambda text: text.replace("value = 11.7", "value = -1").replace("low = 9.3", "low = -1"), "outside the plausible 1 to 60 USD/W"),
        (lambda text: text.replace("cost_of_capital", "cost_of_captial"), "unknown key; did you mean 'cost_of_capital'"),
        (lambda text: text.replace("low = 5500, ", ""), "an estimated figure needs 'low' and 'high'"),
        (lambda text: text.replace("value = 8000", "value = 80000"), "does not hold the value"),
        (lambda text: text.replace('unit = "year"', 'unit = "yaer"', 1), "unit 'yaer' cannot be read"),
        (lambda text: text.replace("[chip]\ntrainium2", "[chip]\ntrainium1"), "chip.trainium1 is a part of purchase.trainium1"),
        (lambda text: text.replace("value = 50000, ", "value = 70000, ").replace("high = 55000", "high = 70000"), "cannot be more"),
    ],
)
def test_a_faulty_file_is_refused(library: Library, tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    text = library.files("ownership")["default"].read_text(encoding="utf-8")
    assert change(text) != text
    path = tmp_path / "mine.toml"
    path.write_text(change(text), encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        parse(Ownership, read_toml(path), path)
    assert error.value.file == str(path)


def tco(category: str) -> list[dict[str, str]]:
    with (FACTS / "tco.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["category"] == category]


def spread(rows: list[dict[str, str]]) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["item"], []).append(float(row["value"]))
    return {item: (min(values), max(values)) for item, values in found.items()}


@needs_facts
def test_server_prices_are_within_the_published_spread(default: Ownership) -> None:
    servers = spread(tco("server_price"))
    for item, accelerator, accelerators in (
        ("HGX H100 8-GPU server", "h100-sxm", 8),
        ("HGX H200 8-GPU server", "h200-sxm", 8),
        ("HGX B300 8-GPU server", "b300-sxm", 8),
        ("GB300 NVL72 rack", "gb300-nvl72", 72),
    ):
        price = default.purchase_price(accelerator)
        assert (price.si_low, price.si_high) == pytest.approx((servers[item][0] / accelerators, servers[item][1] / accelerators), rel=1e-4)
    gb200 = default.purchase_price("gb200-nvl72")
    assert (gb200.si_low, gb200.si) == pytest.approx(tuple(usd / 72 for usd in servers["GB200 NVL72 rack"]), rel=1e-4)
    b200 = default.purchase_price("b200-sxm")
    assert (b200.si_low, b200.si) == pytest.approx((servers["HGX B200 baseboard x8"][0] / 8, servers["DGX B200 8-GPU"][0] / 8))


@needs_facts
def test_published_hours_of_ownership_are_all_carried(library: Library) -> None:
    reference = library.reference("published_tco")
    rows = tco("tco_per_gpu_hour")
    carried = 0
    for row in rows:
        names = [name for name in reference.groups if name.split("-")[0] == row["item"]]
        assert reference.need(row["field"], names[0]).value == float(row["value"])
        carried += 1
    assert carried == sum(len(group) for group in reference.groups.values()) == 27


@needs_facts
def test_segment_figures_are_all_carried(library: Library) -> None:
    reference = library.reference("aws_segment")
    for row in tco("aws_segment"):
        figure = reference.need(row["field"], row["item"].lower())
        # Published operating income in B USD; margins where sales are published to three digits only.
        expected, tolerance = (float(row["value"]) * 1e9, 1e-9) if row["unit"] == "USD B" else (float(row["value"]), 2e-3)
        assert figure.si == pytest.approx(expected, rel=tolerance), row


def test_segment_margins_follow_from_sales_and_income(library: Library) -> None:
    reference = library.reference("aws_segment")
    for quarter, group in reference.groups.items():
        if "revenue" in group:
            assert group["operating_margin"].si == pytest.approx(group["operating_income"].si / group["revenue"].si, abs=6e-5), quarter
    assert reference.need("revenue", "2025q3").si == 33.0e9


def test_a_missing_reference_figure_is_refused(library: Library) -> None:
    reference = library.reference("published_tco")
    with pytest.raises(InputError, match="has no group 'h100_sxm'; did you mean 'h100-sxm'"):
        reference.need("rental", "h100_sxm")
    with pytest.raises(InputError, match="has no figure 'rentel'; did you mean 'rental'"):
        reference.need("rentel", "h100-sxm")
