"""`catalog diff`: ratios of totals and per accelerator, against hand-worked quotients of published figures."""

from __future__ import annotations

import pytest

from accelmodel.catalog.compare import Comparison, Row, diff
from accelmodel.catalog.library import Library
from accelmodel.errors import InputError

LIBRARY = Library()


def rows_of(found: Comparison) -> dict[str, Row]:
    return {row.name: row for row in found.rows}


# 144 chips of 2,517 (FP8) and 671 (BF16) TFLOP/s, 4.9 TB/s and 144 GiB against 64 of 1,299, 667, 2.9 and 96 (AWS Neuron architecture pages).
@pytest.mark.parametrize(
    ("figure", "total", "each"),
    [
        ("peak_fp8", 144 * 2517 / (64 * 1299), 2517 / 1299),
        ("peak_bf16", 144 * 671 / (64 * 667), 671 / 667),
        ("hbm_bandwidth", 144 * 4.9 / (64 * 2.9), 4.9 / 2.9),
        ("hbm_capacity", 144 * 144 / (64 * 96), 1.5),
    ],
)
def test_ultraservers_in_total_and_per_accelerator(figure: str, total: float, each: float) -> None:
    row = rows_of(diff("trn2-ultraserver", "Trn3 UltraServer", LIBRARY))[figure]
    assert row.ratio == pytest.approx(total, rel=1e-12)
    assert row.each_ratio == pytest.approx(each, rel=1e-12)


def test_the_announcements_headline_is_the_ratio_of_fp8_totals() -> None:
    rows = rows_of(diff("trn2-ultraserver", "trn3-ultraserver-gen2", LIBRARY))
    assert [round(rows[name].ratio or 0, 2) for name in ("peak_fp8", "peak_bf16", "hbm_bandwidth")] == [4.36, 2.26, 3.80]
    assert rows["accelerators"].ratio == 2.25
    assert rows["accelerators"].each_ratio is None


def test_an_unknown_figure_has_no_ratio() -> None:
    row = rows_of(diff("trainium2", "trainium3", LIBRARY))["peak_fp4"]
    assert (row.a.value, row.ratio) == (None, None)
    assert row.b.value == pytest.approx(2517e12)


def test_models_offers_and_sites() -> None:
    models = rows_of(diff("llama-3.1-8b", "Llama-3.1-70B-Instruct", LIBRARY))
    assert (models["layers"].a.value, models["layers"].b.value, models["layers"].ratio) == (32, 80, 2.5)
    assert "experts" not in models
    offers = rows_of(diff("p5.48xlarge:on-demand:us-east-1", "p5en.48xlarge:on-demand:us-east-1", LIBRARY))
    assert offers["price"].ratio == pytest.approx(63.296 / 55.04)
    sites = rows_of(diff("new-carlisle", "oregon", LIBRARY))
    assert sites["tariff"].dimension == "money per energy"


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("trainium2", "trn2-ultraserver", "not of one kind"),
        ("trainium2", "trainum3", "did you mean 'trainium3'"),
        ("p5.48xlarge:on-demand:us-east-1", "bedrock:anthropic.claude-3-5-haiku-20241022-v1:0", "do not compare"),
        ("rainier", "rainier", "say which kind"),
    ],
)
def test_what_does_not_compare_is_refused(a: str, b: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        diff(a, b, LIBRARY)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'systems'"):
        diff("trainium2", "trainium3", LIBRARY, kind="sytems")
