"""A user's own prices: lists in another currency, converted at a stated rate, and discounts on named offers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import accelmodel as am
from accelmodel.catalog.checks import check
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import HourOffer, Offers, TokenOffer
from accelmodel.errors import InputError

SOURCES = """
[treasury]
title = "Prices and rates that our treasury notes"
publisher = "us"
locator = "ledger"
accessed = "2026-11-22"
confidence = "own"
"""
HEADER = """
name = "mine"
title = "Our prices"
date = "2026-11-01"
source = "treasury"
kind = "published"
accessed = "2026-11-22"
provider = "us"
"""
EUROS = (
    HEADER
    + """
currency = "EUR"
unit = "EUR/hour"
exchange = { value = 1.25, unit = "USD/EUR", kind = "published", source = "treasury", date = "2026-10-30" }
[[hour]]
system = "p5.48xlarge"
term = "rental"
region = "eu-central-1"
price = 40.0
low = 36.0
high = 44.0
"""
)
EURO_TOKENS = (
    HEADER.replace('provider = "us"', 'service = "ours"')
    + """
currency = "EUR"
unit = "EUR/Mtok"
exchange = { value = 1.25, unit = "USD/EUR", kind = "published", source = "treasury", date = "2026-10-30" }
[[token]]
model_id = "ours.llama"
model = "llama-3.3-70b"
input = 0.4
output = 1.6
cache_read = 0.04
"""
)
DISCOUNTS = (
    HEADER
    + """
currency = "USD"
unit = "1"
[[discount]]
name = "edp-2026"
fraction = 0.25
of = ["*:on-demand:*", "bedrock:meta.*"]
"""
)


def library(folder: Path, **files: str) -> Library:
    (folder / "offers").mkdir()
    (folder / "sources.toml").write_text(SOURCES)
    for name, text in files.items():
        (folder / "offers" / f"{name}.toml").write_text(text.replace('name = "mine"', f'name = "{name}"', 1))
    return Library(folder)


def hour(found: object) -> HourOffer:
    assert isinstance(found, HourOffer)
    return found


def token(found: object) -> TokenOffer:
    assert isinstance(found, TokenOffer)
    return found


# --- another currency ---


def test_a_list_in_euros_is_in_dollars_at_its_stated_rate(tmp_path: Path) -> None:
    books = library(tmp_path, euros=EUROS)
    offer = hour(Offers(books).find("p5.48xlarge:rental:eu-central-1"))
    assert (offer.low, offer.price, offer.high) == (45.0, 50.0, 55.0)
    assert (offer.currency, offer.unit, offer.kind) == ("USD", "USD/hour", "derived")
    assert offer.formula == "40 EUR x 1.25 USD/EUR of 2026-10-30 (treasury)"
    assert not check(books, [tmp_path / "offers"])


def test_token_prices_in_euros_are_too(tmp_path: Path) -> None:
    offer = token(Offers(library(tmp_path, euros=EURO_TOKENS)).find("ours", model="llama-3.3-70b"))
    assert (offer.input, offer.output, offer.cache_read) == (0.5, 2.0, 0.05)
    assert offer.formula == "EUR price x 1.25 USD/EUR of 2026-10-30 (treasury)"


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ('currency = "EUR"', 'currency = "EURO"', "currency: 'EURO' is not known; did you mean 'EUR'?"),
        ("USD/EUR", "USD/GBP", "the rate of EUR is in 'USD/EUR', not in 'USD/GBP'"),
        ("USD/EUR", "EUR/USD", "the rate of EUR is in 'USD/EUR', not in 'EUR/USD'"),
        ("value = 1.25", "value = 0", "exchange.value: Input should be greater than 0"),
        (', date = "2026-10-30"', "", "exchange.date: is missing"),
        (', source = "treasury"', "", "exchange.source: is missing"),
        ('unit = "EUR/hour"', 'unit = "USD/hour"', "rows 'hour' are in 'EUR/hour'"),
    ],
)
def test_a_rate_that_does_not_fit_is_refused(tmp_path: Path, was: str, becomes: str, words: str) -> None:
    assert was in EUROS
    with pytest.raises(InputError, match=re.escape(words)):
        Offers(library(tmp_path, euros=EUROS.replace(was, becomes))).hours()


def test_a_rate_needs_a_source_that_is_known(tmp_path: Path) -> None:
    books = library(tmp_path, euros=EUROS.replace('source = "treasury", date', 'source = "tresury", date'))
    findings = check(books, [tmp_path / "offers"])
    assert [(finding.key, finding.message) for finding in findings] == [("exchange.source", "no source is called 'tresury'; did you mean 'treasury'?")]


# --- discounts ---


def test_a_discount_is_taken_off_by_name(tmp_path: Path) -> None:
    books = library(tmp_path, discounts=DISCOUNTS)
    offer = hour(Offers(books).find("on-demand less edp-2026", "p5.48xlarge"))
    assert offer.price == 55.04 * 0.75  # 41.28
    assert offer.id == "p5.48xlarge:on-demand:us-east-1 less edp-2026"
    assert offer.kind == "derived"
    assert offer.formula == "55.04 x (1 - 0.25), 'edp-2026' of 2026-11-01 (treasury)"
    assert not check(books, [tmp_path / "offers"])


def test_a_discounted_offer_is_found_by_its_own_id(tmp_path: Path) -> None:
    offers = Offers(library(tmp_path, discounts=DISCOUNTS))
    once = offers.find("on-demand less edp-2026", "p5.48xlarge")
    assert offers.find(once.id) == once
    dated = hour(offers.find("on-demand@2025-03-31 less edp-2026", "p5.48xlarge"))
    assert dated.price == 98.32 * 0.75


def test_both_files_of_a_discounted_offer_are_frozen_with_a_run(tmp_path: Path) -> None:
    books = library(tmp_path, discounts=DISCOUNTS)
    Offers(books).find("on-demand less edp-2026", "p5.48xlarge")
    assert {"discounts", "aws_ec2_2026-07-20"} <= {path.stem for path in books.used}


def test_every_price_by_the_token_is_discounted(tmp_path: Path) -> None:
    offer = token(Offers(library(tmp_path, discounts=DISCOUNTS)).find("meta.llama3-3-70b-instruct less edp-2026"))
    assert (offer.input, offer.output, offer.batch_input) == (0.72 * 0.75, 0.72 * 0.75, 0.36 * 0.75)
    assert offer.tier("batch").output_usd_per_mtok == 0.36 * 0.75


def test_an_assumed_percentage_needs_no_file() -> None:
    offer = hour(Offers(Library()).find("on-demand less 12.5%", "p5.48xlarge"))
    assert offer.price == pytest.approx(48.16, rel=1e-12)  # 55.04 x 7 / 8
    assert offer.id == "p5.48xlarge:on-demand:us-east-1 less 12.5%"
    assert offer.formula == "55.04 x (1 - 0.125), '12.5%', assumed"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("on-demand less edp-2025", "no discount is called 'edp-2025'; a percentage is written as 28%; did you mean 'edp-2026'?"),
        ("on-demand less 100%", "no discount is called '100%'"),
        ("spot less edp-2026", "the discount 'edp-2026' is not granted on 'p5.48xlarge:spot:us-east-1', only on *:on-demand:*"),
    ],
)
def test_a_discount_that_is_not_there_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        Offers(library(tmp_path, discounts=DISCOUNTS)).find(text, "p5.48xlarge")


def test_a_row_does_not_hide_a_discount(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a discount is a row 'discount'"):
        Offers(library(tmp_path, euros=EUROS + 'less = "28%"\n')).hours()


def test_a_discount_works_in_an_evaluation(tmp_path: Path) -> None:
    books = library(tmp_path, discounts=DISCOUNTS)
    replica = am.replica(model="llama-3.1-70b", system="p5.48xlarge", catalog=books)
    point = am.evaluate(replica, input_tokens=1024, output_tokens=256, concurrency=16, offer="on-demand less edp-2026", occupancy=1.0, catalog=books)
    assert point.replica_cost_usd_per_h == pytest.approx(41.28, rel=1e-12)
    assert point.cost_basis == "p5.48xlarge:on-demand:us-east-1 less edp-2026"


# --- tiers ---


def test_long_requests_have_prices_of_their_own(tmp_path: Path) -> None:
    text = EURO_TOKENS.replace("EUR", "USD").replace('exchange = { value = 1.25, unit = "USD/USD"', "#")
    text += "long_input = 0.8\nlong_output = 2.4\nlong_cache_read = 0.08\nlong_above_tokens = 200_000\n"
    offer = token(Offers(library(tmp_path, tokens=text)).find("ours:ours.llama"))
    assert offer.tiers == ("standard", "long")
    prices = offer.tier("long")
    assert (prices.input_usd_per_mtok, prices.output_usd_per_mtok, prices.cached_input_usd_per_mtok) == (0.8, 2.4, 0.08)
