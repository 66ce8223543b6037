"""The shipped accelerators and systems: they parse, name their sources, agree with each other and with the figures published."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelmodel import units
from accelmodel.catalog.figures import Figure, read_toml
from accelmodel.catalog.library import Library

FACTS = Path(__file__).parents[2] / "../shared/facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")

LIBRARY = Library()
ACCELERATORS = sorted(LIBRARY.files("accelerators"))
SYSTEMS = sorted(LIBRARY.files("systems"))


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerator_parses_under_its_own_name(name: str) -> None:
    assert LIBRARY.accelerator(name).name == name


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_parses_and_holds_a_known_accelerator(name: str) -> None:
    system = LIBRARY.system(name)
    assert system.name == name
    LIBRARY.accelerator(system.accelerator)
    assert system.scale_up[-1].accelerators == system.accelerators
    assert all(system.accelerators % level.accelerators == 0 for level in system.scale_up)
    if system.sold_within:
        LIBRARY.system(system.sold_within)


@pytest.mark.parametrize("kind", ["accelerators", "systems"])
def test_no_two_entries_share_a_name_or_alias(kind: str) -> None:
    spellings = [
        spelling.casefold().replace(" ", "-").replace("_", "-")
        for name, path in LIBRARY.files(kind).items()
        for spelling in (name, *read_toml(path).get("aliases", ()))
    ]
    assert len(spellings) == len(set(spellings))


def test_every_accelerator_is_in_a_system() -> None:
    used = {LIBRARY.system(name).accelerator for name in SYSTEMS}
    assert used == set(ACCELERATORS)


def sources_in(data: Any) -> Iterator[str]:
    """Every value under a key `source`, at any depth."""
    if isinstance(data, dict):
        if isinstance(data.get("source"), str):
            yield data["source"]
        for value in data.values():
            yield from sources_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from sources_in(value)


FILES = [path for kind in ("accelerators", "systems") for path in LIBRARY.files(kind).values()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_source_is_defined(path: Path) -> None:
    assert set(sources_in(read_toml(path))) <= set(LIBRARY.sources)


# Printed totals are rounded to three digits or so; nothing needs more than 1 %.
@pytest.mark.parametrize("name", SYSTEMS)
def test_published_totals_are_accelerators_times_accelerator(name: str) -> None:
    system = LIBRARY.system(name)
    accelerator = LIBRARY.accelerator(system.accelerator)
    for figure in ("hbm_capacity", "hbm_bandwidth", "peak_bf16", "peak_fp8", "peak_fp4"):
        total: Figure | None = getattr(system.figures, f"total_{figure}")
        if total is not None:
            assert total.si == pytest.approx(system.accelerators * accelerator.need(figure).si, rel=0.01), figure


def test_instances_of_an_ultraserver_make_it_up() -> None:
    whole, part = LIBRARY.system("trn2-ultraserver").figures, LIBRARY.system("trn2u.48xlarge").figures
    totals = ("total_hbm_capacity", "total_hbm_bandwidth", "total_peak_bf16", "total_peak_fp8")
    for figure in ("vcpus", "host_memory", "network_bandwidth", *totals):
        assert getattr(whole, figure).si == pytest.approx(4 * getattr(part, figure).si)


# Typed by hand from the vendors' pages, the instance tables and the analysts' notes named in sources.toml.
SPOT_CHECKS = [
    ("trainium1", "peak_bf16", 190e12),
    ("trainium1", "scale_up_bandwidth", 192e9),
    ("inferentia2", "scale_up_bandwidth", 103e9),
    ("inferentia2", "hbm_capacity", 32 * 2**30),
    ("trainium2", "peak_fp8", 1299e12),
    ("trainium2", "peak_bf16", 667e12),
    ("trainium2", "sparse_fp8", 2563e12),
    ("trainium2", "hbm_bandwidth", 2.9e12),
    ("trainium2", "dma_bandwidth", 2.944e12),
    ("trainium2", "it_power", 750.0),
    ("trainium3", "peak_fp8", 2517e12),
    ("trainium3", "peak_fp4", 2517e12),
    ("trainium3", "peak_bf16", 671e12),
    ("trainium3", "hbm_bandwidth", 4.9e12),
    ("trainium3", "dma_bandwidth", 4.224e12),
    ("trainium3", "hbm_capacity", 144 * 2**30),
    ("a100-40gb-sxm", "hbm_bandwidth", 1.555e12),
    ("a100-80gb-sxm", "scale_up_bandwidth", 300e9),
    ("h100-sxm", "peak_fp8", 1979e12),
    ("h100-sxm", "hbm_usable", 81920 * 2**20),
    ("h200-sxm", "hbm_usable", 144384 * 2**20),
    ("b200-sxm", "hbm_usable", 183359 * 2**20),
    ("b200-sxm", "it_power", 2170.0),
    ("b300-sxm", "peak_int8", 153.5e12),
    ("gb200-nvl72", "scale_out_bandwidth", 400e9 / 8),
    ("gb300-nvl72", "peak_int8", 165e12),
    ("l40s", "hbm_bandwidth", 0.864e12),
    ("rtx-pro-6000", "hbm_bandwidth", 1.597e12),
    ("mi300x", "scale_up_bandwidth", 448e9),
    ("mi355x", "peak_fp4", 10066e12),
    ("tpu-v5e", "scale_up_bandwidth", 200e9),
    ("tpu-v7-ironwood", "peak_fp8", 4614e12),
]


@pytest.mark.parametrize(("name", "figure", "expected_si"), SPOT_CHECKS)
def test_figure_as_published(name: str, figure: str, expected_si: float) -> None:
    assert LIBRARY.accelerator(name).need(figure).si == pytest.approx(expected_si, rel=1e-9)


@pytest.mark.parametrize("name", ["trainium1", "inferentia2", "trainium2", "trainium3"])
def test_power_of_trainium_is_nobodys_official_figure(name: str) -> None:
    tdp = LIBRARY.accelerator(name).figures.tdp
    if tdp is not None:
        assert tdp.source is not None
        assert LIBRARY.sources[tdp.source].confidence == "analyst"
        assert (tdp.low, tdp.high) != (None, None)


RANKS = {"trainium1": 2, "inferentia2": 2, "trainium2": 4, "trainium3": 4, "h100-sxm": 1, "mi300x": 1, "tpu-v6e": 1, "tpu-v7-ironwood": 2}


@pytest.mark.parametrize(("name", "ranks"), RANKS.items())
def test_ranks_that_the_serving_engine_sees(name: str, ranks: int) -> None:
    assert LIBRARY.accelerator(name).ranks == ranks


def test_trainium3_conflict_is_kept_as_a_range() -> None:
    link = LIBRARY.accelerator("trainium3").need("scale_up_bandwidth")
    assert (link.si_low, link.si, link.si_high) == (352e9, 1152e9, 1280e9)
    assert {other.value for other in link.alternatives} >= {1280, 1099.5, 352}


def test_announcement_scales_every_rate_of_its_base_and_takes_every_capacity() -> None:
    derivation = LIBRARY.accelerator("trainium3-announced").derivation
    assert derivation is not None
    assert derivation.base == "trainium2"
    assert {name: factor.value for name, factor in derivation.factors.items()} == {"throughput": 4.4, "power": 0.6}
    base = LIBRARY.accelerator("trainium2").figures
    known = {figure for figure in type(base).model_fields if getattr(base, figure) is not None}
    assert set(derivation.scaled) | set(derivation.taken) == known
    assert {figure for figure, factor in derivation.scaled.items() if factor == "power"} == {"tdp", "it_power"}


def test_announced_system_has_64_chips_and_links_scaled_alike() -> None:
    announced, base = LIBRARY.system("trn3-announced-ultraserver"), LIBRARY.system("trn2-ultraserver")
    assert announced.accelerators == base.accelerators == 64
    for level, base_level in zip(announced.scale_up, base.scale_up, strict=True):
        assert level.bandwidth is not None
        assert base_level.bandwidth is not None
        assert level.bandwidth.si == pytest.approx(4.4 * base_level.bandwidth.si)


def rows(file: str) -> list[dict[str, str]]:
    """Rows of a CSV beside the checkout; none where it is absent."""
    path = FACTS / file
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


# Field of the collected figures -> the profile's figure and the factor to it (one way is half of a printed total).
FIELDS = {
    **{f"flops_dense_{dtype}": (f"peak_{dtype}", 1.0) for dtype in ("bf16", "fp8", "fp4", "int8", "fp32")},
    **{f"flops_sparse_{dtype}": (f"sparse_{dtype}", 1.0) for dtype in ("bf16", "fp8", "fp4")},
    **{field: (field, 1.0) for field in ("hbm_capacity", "hbm_usable", "hbm_bandwidth", "dma_bandwidth", "tdp")},
    "tdp_hint": ("tdp", 1.0),
    "all_in_it_power_per_chip": ("it_power", 1.0),
    "all_in_power_per_chip": ("it_power", 1.0),
    "sram_total": ("sram_capacity", 1.0),
    "scaleout_bw": ("scale_out_bandwidth", 1.0),
    "scaleup_bw_uni": ("scale_up_bandwidth", 1.0),
    "scaleup_bw_total": ("scale_up_bandwidth", 0.5),
    "scaleup_bw_intra_instance": ("scale_up_bandwidth", 0.5),
    "scaleup_bw_ultraserver_table": ("scale_up_bandwidth", 0.5),
    "scaleup_bw_links_sum": ("scale_up_bandwidth", 0.5),
}
UNITS = {"Gbps": "Gbit/s"}
TEXT_FIELDS = {"launch_date": "launched", "process_node": "process", "scaleup_link": "link"}
ELSEWHERE = {
    "scaleup_domain": "the systems' levels; checked below",
    "scaleup_bw_inter_instance": "the UltraServer's second level; checked below",
}
# Figures that the profile words differently, and why.
WORDED_DIFFERENTLY = {("A100-80GB-SXM", "sram_total"): "40 MB in the collection; 41,943,040 bytes, so 40 MiB, by device query"}


def holds(figure: Figure, value_si: float) -> bool:
    """Whether a figure states a value, as its own, as an alternative, or within its range."""
    stated = [figure.si, *(other.value * units.unit(other.unit).factor for other in figure.alternatives)]
    return any(math.isclose(value_si, known, rel_tol=1e-6) for known in stated) or figure.si_low <= value_si <= figure.si_high


@needs_facts
@pytest.mark.parametrize("row", rows("accelerators.csv"), ids=lambda row: f"{row['accelerator']}:{row['field']}")
def test_profile_holds_every_collected_figure(row: dict[str, str]) -> None:
    accelerator = LIBRARY.accelerator(row["accelerator"])
    field = row["field"]
    if field in TEXT_FIELDS:
        assert getattr(accelerator, TEXT_FIELDS[field])
        return
    if field in ELSEWHERE or (row["accelerator"], field) in WORDED_DIFFERENTLY:
        return
    name, factor = FIELDS[field]
    figure: Figure | None = getattr(accelerator.figures, name)
    if not row["value"]:
        assert figure is None
        return
    unit = units.unit(UNITS.get(row["unit"], row["unit"]))
    assert figure is not None
    assert figure.dimension == unit.dimension
    assert holds(figure, float(row["value"]) * factor * unit.factor), str(figure)


DOMAINS = [row for row in rows("accelerators.csv") if row["field"] == "scaleup_domain"]


@needs_facts
@pytest.mark.parametrize("row", DOMAINS, ids=lambda row: row["accelerator"])
def test_largest_scale_up_domain(row: dict[str, str]) -> None:
    accelerator, domain = LIBRARY.accelerator(row["accelerator"]), int(row["value"])
    if accelerator.stack == "xla":
        assert str(domain) in (accelerator.link or "").replace(",", "")  # a whole pod, of which the systems are slices
        return
    levels = [
        level for name in SYSTEMS if LIBRARY.system(name).accelerator == accelerator.name for level in LIBRARY.system(name).scale_up if level.topology != "pcie"
    ]
    assert max(level.accelerators for level in levels) == domain


@needs_facts
def test_link_between_instances_is_the_second_level() -> None:
    (row,) = [row for row in rows("accelerators.csv") if row["field"] == "scaleup_bw_inter_instance"]
    second = LIBRARY.system("trn2-ultraserver").scale_up[1].bandwidth
    assert second is not None
    assert second.si == pytest.approx(float(row["value"]) / 2 * 1e9)


@needs_facts
@pytest.mark.parametrize("row", rows("systems.csv"), ids=lambda row: row["system"])
def test_system_holds_every_collected_figure(row: dict[str, str]) -> None:
    system = LIBRARY.system(row["system"])
    assert system.accelerator == LIBRARY.accelerator(row["accelerator"]).name
    assert system.accelerators == int(row["chips"])
    given = [
        ("vcpus", "vcpus", "1"),
        ("host_memory", "host_memory_GiB", "GiB"),
        ("network_bandwidth", "network_Gbps", "Gbit/s"),
        ("total_hbm_capacity", "device_memory", row["device_memory_unit"]),
        ("total_hbm_bandwidth", "device_mem_bw_TBps", "TB/s"),
        ("total_peak_bf16", "bf16_dense_PFLOPs", "PFLOP/s"),
        ("total_peak_fp8", "fp8_dense_PFLOPs", "PFLOP/s"),
        ("total_peak_fp4", "fp4_dense_PFLOPs", "PFLOP/s"),
    ]
    for name, column, unit in given:
        if not row[column]:
            continue
        value_si, figure = float(row[column]) * units.unit(unit).factor, getattr(system.figures, name)
        if figure is None:  # a total that was not published but multiplied out
            expected = system.accelerators * LIBRARY.accelerator(system.accelerator).need(name.removeprefix("total_")).si
            assert value_si == pytest.approx(expected, rel=0.01)
        else:
            assert holds(figure, value_si), f"{name}: {figure}"


@needs_facts
def test_all_in_power_as_collected() -> None:
    power = [row for row in rows("tco.csv") if row["category"] == "power"]
    assert power
    for row in power:
        figure = LIBRARY.accelerator(row["item"]).need("it_power")
        carried = [figure.value, *(other.value for other in figure.alternatives)]
        assert any(value == pytest.approx(1000 * float(row["value"])) for value in carried)


@needs_facts
def test_every_priced_instance_and_chip_is_known() -> None:
    for row in rows("prices.csv"):
        if row["category"].startswith("ec2"):
            assert LIBRARY.system(row["item"]).accelerators == int(float(row["chips_per_unit"]))
        elif row["category"] == "rental":
            LIBRARY.accelerator(row["item"].split()[-1])


@needs_facts
def test_every_measured_accelerator_resolves() -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(FACTS / "measured_calibration.parquet", columns=["accelerator", "accelerator_family"]).to_pydict()
    measured = set(zip(table["accelerator"], table["accelerator_family"], strict=True))
    # Workstation, edge and mixed submissions: no single profile stands for them.
    unprofiled = {"other", "mixed-AMD"}
    for name, family in sorted(measured):
        if family not in unprofiled:
            assert LIBRARY.accelerator(name).name == LIBRARY.accelerator(family).name, name
