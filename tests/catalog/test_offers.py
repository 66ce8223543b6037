"""Offers: what they cost, how they are found, what is refused; and the shipped snapshots against the price lists they were taken from."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import HourOffer, Offers, TokenOffer, TokenPrices, stem
from accelmodel.errors import InputError

FACTS = Path(__file__).parents[2] / "../shared/facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def offers(library: Library) -> Offers:
    return Offers(library)


def hour(offers: Offers, text: str, system: str | None = None) -> HourOffer:
    found = offers.find(text, system)
    assert isinstance(found, HourOffer)
    return found


def token(offers: Offers, text: str, model: str | None = None) -> TokenOffer:
    found = offers.find(text, model=model)
    assert isinstance(found, TokenOffer)
    return found


def every_hour(offers: Offers) -> list[HourOffer]:
    return [offer for offer in offers.all_dated() if isinstance(offer, HourOffer)]


# --- finding ---


@pytest.mark.parametrize(
    ("text", "system", "found", "price_per_accelerator"),
    [
        # AWS's list of 2026-07-20: 55.04 USD/hour for 8 H100.
        ("on-demand", "p5.48xlarge", "p5.48xlarge:on-demand:us-east-1", 6.88),
        ("p5.48xlarge:on-demand:us-west-1", None, "p5.48xlarge:on-demand:us-west-1", 8.60),
        # Not on offer in us-east-1 today: the newest of the United States (2026-07-15), not the old price of us-east-1 (2025-01-01).
        ("capacity-block", "p5.48xlarge", "p5.48xlarge:capacity-block:us-east-2", 5.191),
        ("capacity-block", "trn2.48xlarge", "trn2.48xlarge:capacity-block:us-east-2", 2.23505),
        # Nowhere in the United States: the cheapest, here at one price in both regions.
        ("capacity-block", "trn2.3xlarge", "trn2.3xlarge:capacity-block:ap-southeast-4", 2.235),
        ("reserved-3y", "p5.48xlarge", "p5.48xlarge:reserved-3y:us-east-1", 2.972),
        # Only a past price is known: 15.49 for 16.
        ("capacity-block", "trn1.32xlarge", "trn1.32xlarge:capacity-block:ap-southeast-4", 0.968125),
        # The rental market sells accelerators: the cheapest list price, for a system that holds them too.
        ("h100-sxm:rental:coreweave", None, "h100-sxm:rental:coreweave", 6.155),
        ("rental", "h100-sxm", "h100-sxm:rental:hyperstack", 3.20),
        ("rental", "p5.48xlarge", "h100-sxm:rental:hyperstack", 3.20),
    ],
)
def test_an_hourly_offer_is_found_by_id_and_by_term(
    offers: Offers, library: Library, text: str, system: str | None, found: str, price_per_accelerator: float
) -> None:
    offer = hour(offers, text, system)
    assert offer.id == found
    accelerators = library.system(offer.system).accelerators if offer.system else 1
    assert offer.price_usd_per_accelerator_h(accelerators) == pytest.approx(price_per_accelerator, rel=1e-12)


def test_an_offer_says_where_it_comes_from(offers: Offers) -> None:
    offer = hour(offers, "on-demand", "p5.48xlarge")
    assert (offer.price_usd_per_system_h, offer.unit, offer.currency) == (55.04, "USD/hour", "USD")
    assert (offer.date, offer.kind) == ("2026-07-20", "published")
    assert (offer.snapshot, offer.source) == ("aws_ec2_2026-07-20", "aws-price-list-2026-07-20")
    assert hour(offers, "h100-sxm:rental:nebius").price_usd_per_system_h is None


def test_a_capacity_block_says_how_long_and_how_large_it_may_be(offers: Offers) -> None:
    offer = hour(offers, "capacity-block", "trn2.48xlarge")
    assert (offer.longest_term_days, offer.largest_count) == (182, 64)
    assert offer.terms_source == "aws-capacity-blocks-guide"
    assert hour(offers, "capacity-block", "u-p6e-gb200x72").longest_term_days is None


def test_an_older_price_is_reached_by_its_date(offers: Offers) -> None:
    assert hour(offers, "p5.48xlarge:on-demand:us-east-1@2025-03-31").price == 98.32
    assert hour(offers, "p5.48xlarge:on-demand:us-east-1@2025-06-22").price == 98.32
    assert hour(offers, "on-demand@2025-06-23", "p5.48xlarge").price == 55.04
    assert hour(offers, "p5.48xlarge:capacity-block:us-east-1").date == "2025-01-01"


@pytest.mark.parametrize(("system", "change"), [("p5.48xlarge", -0.440), ("p5en.48xlarge", -0.254), ("p4d.24xlarge", -0.330), ("p4de.24xlarge", -0.330)])
def test_the_price_cut_of_june_2025(offers: Offers, system: str, change: float) -> None:
    history = offers.history(system)
    assert [offer.date for offer in history] == sorted(offer.date for offer in history)
    before = max(offer.date for offer in history if offer.date < "2025-06-23")
    prices = {offer.date: offer.price for offer in history}
    after = prices["2025-06-23"]
    assert after is not None
    assert after / (prices[before] or 0.0) - 1 == pytest.approx(change, abs=0.0005)


def test_todays_offers_are_the_newest_and_leave_the_past_out(offers: Offers) -> None:
    today = offers.hours("p5.48xlarge")
    assert len({offer.id for offer in today}) == len(today)
    assert not [offer for offer in today if offer.history]
    assert [offer.price for offer in offers.hours("p5.48xlarge", "on-demand", "us-east-1")] == [55.04]
    assert [offer.date for offer in offers.hours("p6-b200.48xlarge", "capacity-block", "us")] == ["2026-09-19"]


@pytest.mark.parametrize("system", ["trn2.48xlarge", "p5e.48xlarge", "trn3-ultraserver-gen1", "trn3-ultraserver-gen2"])
def test_what_is_sold_by_reservation_only_is_shown_but_never_free(offers: Offers, system: str) -> None:
    shown = [offer for offer in offers.hours(system) if offer.reservation_only]
    assert shown
    assert all(offer.price is None and offer.price_usd_per_system_h is None for offer in shown)
    with pytest.raises(InputError, match="no public on-demand price; it is sold by reservation only: give a price"):
        offers.find("on-demand", system)
    with pytest.raises(InputError, match="reservation only"):
        offers.find(shown[0].id)
    with pytest.raises(InputError, match="reservation only"):
        shown[0].price_usd_per_accelerator_h(16)


def test_a_trn3_ultraserver_has_no_capacity_block_price_either(offers: Offers) -> None:
    with pytest.raises(InputError, match="reservation only"):
        offers.find("capacity-block", "trn3-ultraserver-gen2")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bedrock:anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock:anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock:anthropic.claude-sonnet-4-5", "bedrock:anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("us.anthropic.claude-sonnet-4-5", "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("anthropic.claude-3-5-sonnet", "bedrock:anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("bedrock/us-west-2/deepseek.v3.2", "bedrock:us-west-2/deepseek.v3.2"),
        ("meta.llama3-3-70b-instruct", "bedrock:meta.llama3-3-70b-instruct-v1:0"),
    ],
)
def test_a_token_offer_is_found_with_and_without_service_and_release(offers: Offers, text: str, found: str) -> None:
    assert token(offers, text).id == found


def test_a_token_offer_is_found_by_the_catalogues_model(offers: Offers) -> None:
    assert token(offers, "bedrock", "llama-3.3-70b").id == "bedrock:meta.llama3-3-70b-instruct-v1:0"
    assert token(offers, "bedrock", "deepseek-r1").tier("standard") == TokenPrices(1.35, 5.4)
    assert token(offers, "bedrock", "glm-5.3").scope == "us"


def test_tiers_of_a_token_offer(offers: Offers) -> None:
    sonnet = token(offers, "anthropic.claude-sonnet-4-5")
    assert sonnet.tier("standard") == TokenPrices(3.0, 15.0, cached_input_usd_per_mtok=0.3, cache_write_usd_per_mtok=3.75)
    assert sonnet.tier("batch") == TokenPrices(1.5, 7.5)
    assert (sonnet.unit, sonnet.currency, sonnet.max_input_tokens) == ("USD/Mtok", "USD", 200_000)
    assert token(offers, "deepseek.v3.2").tiers == ("standard", "batch", "flex", "priority")
    with pytest.raises(InputError, match=r"has no tier 'flex'.*allowed: batch, standard") as error:
        sonnet.tier("flex")
    assert error.value.key == "tier"


def test_the_large_model_families_are_on_offer(offers: Offers) -> None:
    bare = [offer.model_id for offer in offers.tokens() if not offer.scope]
    assert len(bare) >= 40
    for family in ("anthropic.claude-", "amazon.nova-", "meta.llama", "deepseek.", "openai.gpt-oss-", "mistral.", "qwen."):
        assert any(model_id.startswith(family) for model_id in bare), family


def test_release_suffixes() -> None:
    assert stem("meta.llama3-1-8b-instruct-v1:0") == "meta.llama3-1-8b-instruct"
    assert stem("openai.gpt-oss-120b-1:0") == "openai.gpt-oss-120b"
    assert stem("deepseek.v3.2") == "deepseek.v3.2"


# --- refusing ---

HEADER = 'name = "mine"\ntitle = "t"\ndate = "2026-11-01"\ncurrency = "USD"\nsource = "own"\nkind = "published"\naccessed = "2026-11-22"\n'
HOURS = HEADER + 'unit = "USD/hour"\nprovider = "aws"\n[[hour]]\n'
HOURS += 'system = "p5.48xlarge"\nterm = "on-demand"\nregion = "us-east-1"\nprice = 40.0\n'
TOKENS = HEADER + 'unit = "USD/Mtok"\nservice = "mine"\n[[token]]\nmodel_id = "a.b"\ninput = 1.0\noutput = 2.0\n'


def own(folder: Path, **files: str) -> Offers:
    (folder / "offers").mkdir()
    for name, text in files.items():
        (folder / "offers" / f"{name}.toml").write_text(text, encoding="utf-8")
    return Offers(Library(folder))


def test_a_users_own_newer_price_wins(tmp_path: Path) -> None:
    offers = own(tmp_path, mine=HOURS)
    assert hour(offers, "on-demand", "p5.48xlarge").price == 40.0
    assert hour(offers, "on-demand@2026-10-31", "p5.48xlarge").price == 55.04


@pytest.mark.parametrize(
    ("text", "system", "words"),
    [
        ("on-demnad", "p5.48xlarge", "did you mean 'on-demand'"),
        ("on-demand", None, "needs a system"),
        ("on-demand", "p5.48xlrage", "did you mean 'p5.48xlarge'"),
        ("reserved-1y", "p5.48xlarge", "there is no reserved-1y offer for 'p5.48xlarge'"),
        ("reserved-1y", "trn2.48xlarge", "there is no reserved-1y offer for 'trn2.48xlarge'"),
        ("p5.48xlarge:on-demnad:us-east-1", None, "did you mean 'p5.48xlarge:on-demand:us-east-1'"),
        ("on-demand@2020-01-01", "p5.48xlarge", "no price as old as 2020-01-01"),
        ("anthropic.claude-sonet-4-5", None, "did you mean 'bedrock:anthropic.claude-sonnet-4-5'"),
    ],
)
def test_an_unknown_offer_is_refused_with_the_nearest_name(offers: Offers, text: str, system: str | None, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as error:
        offers.find(text, system)
    assert error.value.key in ("offer", "system")


def test_a_model_without_a_token_price_is_refused(offers: Offers) -> None:
    with pytest.raises(InputError, match=r"'bedrock' sells no model 'lama-3\.3-70b'; did you mean 'llama-3\.3-70b'"):
        offers.find("bedrock", model="lama-3.3-70b")


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("price = 40.0", "price = -40.0", "hour.0.price: Input should be greater than 0"),
        ("price = 40.0", "price = nan", "hour.0.price"),
        ("price = 40.0", "", "has a 'price', or says 'reservation_only = true'"),
        ("price = 40.0", "price = 40.0\nreservation_only = true", "has a 'price', or says 'reservation_only = true'"),
        ("price = 40.0", "price = 40.0\nlow = 50.0", "does not hold the price"),
        ("price = 40.0", 'price = 40.0\nkind = "estimated"', "needs 'low' and 'high'"),
        ("price = 40.0", 'price = 40.0\nkind = "derived"', "needs its 'formula'"),
        ("price = 40.0", "prise = 40.0", "hour.0.prise: unknown key; did you mean 'price'"),
        ('system = "p5.48xlarge"\n', "", "give one of the two"),
        ('term = "on-demand"', 'term = "on-demnad"', "did you mean 'on-demand'"),
        ('date = "2026-11-01"', 'date = "November"', "date"),
        ('source = "own"\n', "", "source: is missing"),
        ('currency = "USD"', 'currency = "EUR"', "prices in EUR need their rate: exchange = { value, unit = 'USD/EUR'"),
        ('currency = "USD"', 'currency = "EUO"', "currency: 'EUO' is not known; did you mean 'EUR'?"),
        ('unit = "USD/hour"', 'unit = "USD/Mtok"', "rows 'hour' are in 'USD/hour'"),
        ('name = "mine"', 'name = "yours"', "a snapshot is named as its file"),
        ("price = 40.0", "price = ", "is not valid TOML"),
    ],
)
def test_a_faulty_snapshot_is_refused_with_file_and_key(tmp_path: Path, was: str, becomes: str, words: str) -> None:
    assert was in HOURS
    with pytest.raises(InputError, match=re.escape(words)) as error:
        own(tmp_path, mine=HOURS.replace(was, becomes)).hours()
    assert error.value.file is not None
    assert error.value.file.endswith("mine.toml")


def test_a_tier_has_both_of_its_prices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'batch_input' and 'batch_output' come together"):
        own(tmp_path, mine=TOKENS + "batch_input = 0.5\n").tokens()


def test_an_offer_of_one_date_stands_once(tmp_path: Path) -> None:
    twice = own(tmp_path, mine=HOURS, again=HOURS.replace('"mine"', '"again"'))
    with pytest.raises(InputError, match=r"'p5\.48xlarge:on-demand:us-east-1' of 2026-11-01 is also in"):
        twice.hours()


# --- the shipped data ---


def test_ids_are_unique_by_date(offers: Offers) -> None:
    hours = every_hour(offers)
    assert len({(offer.id, offer.date) for offer in hours}) == len(hours)
    tokens = offers.tokens()
    assert len({offer.id for offer in tokens}) == len(tokens)


def test_names_and_sources_exist(offers: Offers, library: Library) -> None:
    hours, tokens = every_hour(offers), offers.tokens()
    assert {offer.system for offer in hours if offer.system} <= set(library.files("systems"))
    assert {offer.accelerator for offer in hours if offer.accelerator} <= set(library.files("accelerators"))
    assert {offer.model for offer in tokens if offer.model} <= set(library.files("models"))
    used = {offer.source for offer in [*hours, *tokens]} | {offer.terms_source for offer in hours if offer.terms_source}
    assert used <= set(library.sources)


def rows(name: str) -> list[dict[str, str]]:
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TERMS = {
    "ec2_ondemand": "on-demand",
    "ec2_ondemand_history": "on-demand",
    "ec2_reserved_1yr": "reserved-1y",
    "ec2_reserved_3yr": "reserved-3y",
    "ec2_capacity_block": "capacity-block",
    "ec2_spot": "spot",
}
REGIONS = {
    "US": ["us"],
    "EU/Asia": ["eu-asia"],
    "most regions": ["most"],
    "US East (Dallas) Local Zone": ["us-dallas"],
    "us-east-1/2": ["us-east-1", "us-east-2"],
    "us-east-2/us-west-2": ["us-east-2", "us-west-2"],
    "ap-southeast-4, sa-east-1": ["ap-southeast-4", "sa-east-1"],
}


def published_regions(row: dict[str, str]) -> list[str]:
    if row["region"] == "us-east-1 (p6-b300 us-west-2)":
        return ["us-west-2" if row["item"].startswith("p6-b300") else "us-east-1"]
    return REGIONS.get(row["region"], [row["region"]])


@needs_facts
def test_every_ec2_price_is_as_published_and_none_is_left_out(offers: Offers, library: Library) -> None:
    carried = {(o.system, o.term, o.region, o.price) for o in every_hour(offers) if o.system and o.price}
    published = set()
    for row in rows("prices.csv"):
        if row["category"] not in TERMS or not row["price"]:
            continue
        assert library.system(row["item"]).accelerators == int(row["chips_per_unit"]), row["item"]
        assert float(row["price"]) / int(row["chips_per_unit"]) == pytest.approx(float(row["price_per_chip_hour"]), abs=6e-5)
        published |= {(row["item"], TERMS[row["category"]], region, float(row["price"])) for region in published_regions(row)}
    for row in rows("ec2_price_history.csv"):
        published.add((row["instance"], "on-demand", row["region"], float(row["new"])))
        assert [o.price for o in offers.history(row["instance"]) if o.date == row["date"]] == [float(row["new"])]
    assert carried == published


@needs_facts
def test_every_dated_ec2_price_carries_its_date(offers: Offers) -> None:
    dated = {(o.system, o.term, o.region, o.price, o.date) for o in every_hour(offers)}
    for row in rows("prices.csv"):
        if row["category"] in TERMS and row["price"] and re.fullmatch(r"\d{4}(-\d{2}){1,2}", row["date"]):
            for region in published_regions(row):
                assert (row["item"], TERMS[row["category"]], region, float(row["price"]), row["date"]) in dated


@needs_facts
def test_every_rental_price_is_as_published_and_none_is_left_out(offers: Offers) -> None:
    published = sorted((row["item"].split()[-1].lower(), float(row["price"])) for row in rows("prices.csv") if row["category"] == "rental")
    assert sorted((o.accelerator, o.price) for o in every_hour(offers) if o.accelerator) == published


FIELDS = {
    **{f"{field}_usd_per_mtok": field for field in ("input", "output", "cache_read", "cache_write")},
    **{f"{tier}_{side}": f"{tier}_{side}" for tier in ("batch", "flex", "priority") for side in ("input", "output")},
    "max_input_tokens": "max_input_tokens",
}


def carried_id(model_id: str) -> str:
    return re.sub(r"^bedrock_mantle/", "mantle/", re.sub(r"^bedrock/", "", model_id))


@needs_facts
def test_every_bedrock_price_is_as_published_and_none_is_left_out(offers: Offers) -> None:
    carried = {offer.model_id: offer for offer in offers.tokens()}
    published = {row["model_id"] for row in rows("bedrock_prices.csv")}
    for row in rows("bedrock_prices.csv"):
        offer = carried[carried_id(row["model_id"])]
        listed_twice = row["model_id"] != offer.model_id and offer.model_id in published
        for column, field in FIELDS.items():
            if not listed_twice or (row[column] and field != "max_input_tokens"):
                assert getattr(offer, field) == (float(row[column]) if row[column] else None), (row["model_id"], column)
        if row["profile_scope"] or "/" not in row["model_id"]:
            assert offer.scope == row["profile_scope"]
    assert set(carried) == {carried_id(model_id) for model_id in published}


@needs_facts
def test_the_two_published_lists_of_bedrock_prices_agree(offers: Offers) -> None:
    fields = {f"bedrock_{field}": field for field in ("input", "output", "cache_read", "cache_write", "batch_input", "batch_output")}
    checked = 0
    for row in rows("prices.csv"):
        if row["category"] in fields:
            assert getattr(token(offers, f"bedrock:{row['item']}"), fields[row["category"]]) == float(row["price"]), row["item"]
            checked += 1
    assert checked == 160
