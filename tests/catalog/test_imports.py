"""Imported price lists: every price worked by hand from the recorded file, what is left out counted, what is wrong refused."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelmodel.catalog.checks import check
from accelmodel.catalog.imports.snapshot import Imported, import_offers
from accelmodel.catalog.library import Library
from accelmodel.catalog.offers import Exchange, HourOffer, Offers, TokenOffer
from accelmodel.errors import InputError

LISTS = Path(__file__).parent / "price_lists"
LIBRARY = Library()


def imported(form: str, name: str, folder: Path, **options: Any) -> Imported:
    return import_offers(form, LISTS / name, folder / "offers" / "today.toml", LIBRARY, **options)


def hours(found: Imported) -> dict[str, HourOffer]:
    return {offer.id: offer for offer in found.snapshot.hour}


def tokens(found: Imported) -> dict[str, TokenOffer]:
    return {offer.model_id: offer for offer in found.snapshot.token}


def altered(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A recorded file with some of its text replaced."""
    text = (LISTS / name).read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / name
    path.write_text(text)
    return path


# --- EC2 ---


def test_the_bulk_list_of_ec2(tmp_path: Path) -> None:
    found = imported("aws", "aws_ec2_bulk.json", tmp_path)
    prices = {name: offer.price for name, offer in hours(found).items()}
    assert prices == {
        "p5.48xlarge:on-demand:us-east-1": 55.04,
        "p4d.24xlarge:on-demand:us-east-1": 21.957642,
        "p4d.24xlarge:reserved-1y:us-east-1": 13.92,
        "p4d.24xlarge:reserved-3y:us-east-1": 9.376,
        # Sold by the whole UltraServer of four instances: 4 x 44.701.
        "trn2-ultraserver:on-demand:us-east-2": 178.804,
    }
    whole = hours(found)["trn2-ultraserver:on-demand:us-east-2"]
    assert (whole.kind, whole.formula) == ("derived", "4 x 44.701 of trn2u.48xlarge")
    assert {offer.date for offer in found.snapshot.hour} == {"2026-11-20"}
    assert found.skipped == {
        "Capacity Block, whose price no list states": 1,
        "commitment with another payment": 2,
        "in a Local or Wavelength Zone": 1,
        "instance type that is no system of the catalogue": 1,
        "other operating system, tenancy, software or state": 3,
        "reservation of the convertible class": 1,
    }


@pytest.mark.parametrize(
    ("payment", "price", "formula"),
    [
        ("no upfront", 13.92, None),
        ("partial upfront", 13.5, "6.75 + 59130 upfront / 8760 h"),  # 59,130 / 8,760 = 6.75
        ("all upfront", 13.5, "0 + 118260 upfront / 8760 h"),
    ],
)
def test_a_fee_upfront_is_spread_over_the_term(tmp_path: Path, payment: str, price: float, formula: str | None) -> None:
    offer = hours(imported("aws", "aws_ec2_bulk.json", tmp_path, payment=payment))["p4d.24xlarge:reserved-1y:us-east-1"]
    assert offer.price == price
    assert (offer.formula, offer.kind) == (formula, "derived" if formula else "published")
    assert (offer.longest_term_days, offer.note) == (365, payment)


def test_pages_of_get_products_behind_one_another(tmp_path: Path) -> None:
    found = imported("aws", "aws_ec2_get_products.json", tmp_path)
    prices = {name: offer.price for name, offer in hours(found).items()}
    assert prices == {"p5.48xlarge:on-demand:us-west-1": 68.8, "p5en.48xlarge:on-demand:us-west-2": 63.296, "trn1.32xlarge:on-demand:us-east-2": 21.5}
    assert (found.snapshot.date, found.snapshot.provider, found.skipped) == ("2026-11-21", "aws", {})


def test_products_already_parsed_and_a_bare_list_of_them(tmp_path: Path) -> None:
    first = json.JSONDecoder().raw_decode((LISTS / "aws_ec2_get_products.json").read_text())[0]
    expected = {"p5.48xlarge:on-demand:us-west-1", "p5en.48xlarge:on-demand:us-west-2"}
    parsed = {"PriceList": [json.loads(product) for product in first["PriceList"]]}
    for number, document in enumerate((parsed, first["PriceList"], parsed["PriceList"], [first])):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document))
        assert set(hours(import_offers("aws", path, tmp_path / f"{number}.toml", LIBRARY))) == expected


def test_savings_plans(tmp_path: Path) -> None:
    found = imported("aws", "aws_savings_plans.json", tmp_path)
    assert {name: (offer.price, offer.longest_term_days) for name, offer in hours(found).items()} == {
        "p5.48xlarge:compute-savings-1y:us-east-1": (44.032, 365),
        "p5.48xlarge:instance-savings-3y:us-east-1": (23.776, 1095),
    }
    upfront = import_offers("aws", LISTS / "aws_savings_plans.json", tmp_path / "upfront.toml", LIBRARY, payment="all upfront")
    assert {name: offer.price for name, offer in hours(upfront).items()} == {"p5.48xlarge:compute-savings-3y:us-east-1": 24.768}


def test_prices_in_yuan_need_their_rate(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its prices are in CNY: give the rate, its day and its source"):
        imported("aws", "aws_ec2_cny.json", tmp_path)
    assert not list(tmp_path.rglob("*.toml"))
    rate = Exchange(value=0.14, unit="", kind="published", source="litellm-price-list-2026-11", date="2026-11-20")
    offer = hours(imported("aws", "aws_ec2_cny.json", tmp_path, exchange=rate))["p4d.24xlarge:on-demand:cn-north-1"]
    assert offer.price == pytest.approx(28.0, rel=1e-12)  # 200 x 0.14
    assert offer.formula == "200 CNY x 0.14 USD/CNY of 2026-11-20 (litellm-price-list-2026-11)"
    assert not check(LIBRARY, [tmp_path / "offers" / "today.toml"])


def test_an_unknown_currency_and_a_needless_rate_are_refused(tmp_path: Path) -> None:
    path = altered(tmp_path, "aws_ec2_cny.json", ("CNY", "CNX"))
    with pytest.raises(InputError, match=r"its prices are in 'CNX', a currency that is not known; did you mean 'CNY'\?"):
        import_offers("aws", path, tmp_path / "x.toml", LIBRARY)
    rate = Exchange(value=0.14, unit="", kind="published", source="litellm-price-list-2026-11", date="2026-11-20")
    with pytest.raises(InputError, match="its prices are in USD: a rate would change them"):
        imported("aws", "aws_ec2_bulk.json", tmp_path, exchange=rate)


def test_a_price_that_the_list_contradicts_is_left_out(tmp_path: Path) -> None:
    path = altered(tmp_path, "aws_ec2_bulk.json", ('"operatingSystem": "Windows"', '"operatingSystem": "Linux"'), ("RunInstances:0002", "RunInstances"))
    found = import_offers("aws", path, tmp_path / "x.toml", LIBRARY)
    assert "p5.48xlarge:on-demand:us-east-1" not in hours(found)
    assert found.skipped["stated twice, at different prices"] == 1


# --- Bedrock ---


def test_bedrock_by_the_token(tmp_path: Path) -> None:
    found = imported("aws", "aws_bedrock_get_products.json", tmp_path)
    offers = tokens(found)
    assert list(offers) == [
        "global.claude-sonnet-4.5",
        "mantle/us-east-1/gpt-oss-120b",
        "us-east-1/claude-sonnet-4.5",
        "us-east-1/llama-3.3-70b",
        "us-east-1/nova-pro",
    ]
    # Listed per 1,000 tokens: 0.00072 x 1,000 = 0.72 per million.
    assert offers["us-east-1/llama-3.3-70b"].prices == {
        "input": 0.72,
        "output": 0.72,
        "batch_input": 0.36,
        "batch_output": 0.36,
        "model_unit_usd_per_h": 24.0,
        "model_unit_6_months_usd_per_h": 13.08,
    }
    tiers = {"input": 0.15, "output": 0.6, "flex_input": 0.075, "flex_output": 0.3, "priority_input": 0.2625, "priority_output": 1.05}
    assert offers["mantle/us-east-1/gpt-oss-120b"].prices == tiers
    assert offers["us-east-1/nova-pro"].prices == {"input": 0.8, "output": 3.2, "cache_read": 0.2}
    # Listed in units of a million tokens.
    assert offers["us-east-1/claude-sonnet-4.5"].prices == {
        "input": 3.3,
        "output": 16.5,
        "cache_read": 0.33,
        "cache_write": 4.125,
        "batch_input": 1.65,
        "batch_output": 8.25,
        "long_input": 6.6,
        "long_output": 24.75,
    }
    assert offers["global.claude-sonnet-4.5"].prices == {"input": 3.0, "output": 15.0}


def test_bedrock_models_are_the_catalogues(tmp_path: Path) -> None:
    offers = tokens(imported("aws", "aws_bedrock_get_products.json", tmp_path))
    models = {model_id: offer.model for model_id, offer in offers.items() if offer.model}
    assert models == {"mantle/us-east-1/gpt-oss-120b": "gpt-oss-120b", "us-east-1/llama-3.3-70b": "llama-3.3-70b"}
    assert {offer.scope for offer in offers.values()} == {"global", "mantle", "us-east-1"}


def test_what_bedrock_lists_beside_tokens_of_text_is_counted(tmp_path: Path) -> None:
    assert imported("aws", "aws_bedrock_get_products.json", tmp_path).skipped == {
        "model without the standard prices of both input and output": 1,  # DeepSeek-V3.1, whose input is stated at two prices
        "not by the token": 1,
        "not of text": 2,  # Nova Pro's images, an embedding
        "of customised or imported models": 1,
        "optimised for latency": 1,
        "reserved tokens per minute": 1,
        "stated twice, at different prices": 1,
        "tier 'batch' with a price of one side only": 1,
        "written to the cache for an hour": 1,
    }


def test_bedrocks_bulk_file_says_the_same(tmp_path: Path) -> None:
    products = [json.loads(text) for text in json.loads((LISTS / "aws_bedrock_get_products.json").read_text())["PriceList"]]
    bulk = {
        "offerCode": "AmazonBedrock",
        "publicationDate": "2026-11-21T00:12:34Z",
        "products": {product["product"]["sku"]: product["product"] for product in products},
        "terms": {"OnDemand": {product["product"]["sku"]: product["terms"]["OnDemand"] for product in products}},
    }
    path = tmp_path / "index.json"
    path.write_text(json.dumps(bulk))
    found = import_offers("aws", path, tmp_path / "bulk.toml", LIBRARY)
    expected = tokens(imported("aws", "aws_bedrock_get_products.json", tmp_path))
    assert {name: offer.prices for name, offer in tokens(found).items()} == {name: offer.prices for name, offer in expected.items()}


# --- SkyPilot ---


def test_skypilots_list_of_aws(tmp_path: Path) -> None:
    found = imported("skypilot", "skypilot_aws_vms.csv", tmp_path, date="2026-11-15")
    assert {name: (offer.price, offer.high) for name, offer in hours(found).items()} == {
        "p5.48xlarge:on-demand:us-east-1": (55.04, None),
        "p5.48xlarge:on-demand:us-west-1": (68.8, None),
        # The cheaper and the dearer of two zones.
        "p5.48xlarge:spot:us-east-1": (16.9508, 21.4),
        "trn1.32xlarge:spot:us-east-1": (6.45, None),
        "trn2.48xlarge:spot:us-east-2": (15.2, None),
    }
    assert {(offer.date, offer.provider) for offer in found.snapshot.hour} == {("2026-11-15", "aws")}
    assert found.skipped == {
        "instance type that is no system of the catalogue": 1,
        "stated twice, at different prices": 1,  # trn1.32xlarge at 21.5 and 21.6 in one region
        "without a price, or at 0": 1,  # trn2.48xlarge on demand
        "without an accelerator": 1,
    }


def test_another_clouds_nodes_are_accelerators_for_rent(tmp_path: Path) -> None:
    found = imported("skypilot", "skypilot_lambda_vms.csv", tmp_path, provider="lambda")
    assert {name: (offer.price, offer.high) for name, offer in hours(found).items()} == {
        # 31.92 / 8 = 3.99, and one by itself 4.29; SkyPilot's A100 has 40 GB: 15.92 / 8 = 1.99.
        "h100-sxm:rental:lambda": (3.99, 4.29),
        "b200-sxm:rental:lambda": (6.69, None),
        "a100-40gb-sxm:rental:lambda": (1.99, None),
        "a100-80gb-sxm:rental:lambda": (2.79, None),
    }
    assert found.skipped == {"PCIe card, of which the catalogue has the module": 1, "accelerator that is not in the catalogue": 1, "without an accelerator": 1}


def test_a_list_without_a_day_bears_that_of_its_import(tmp_path: Path) -> None:
    snapshot = imported("skypilot", "skypilot_aws_vms.csv", tmp_path).snapshot
    assert snapshot.date == datetime.date.today().isoformat()
    assert snapshot.date_note == "day of the import; the list itself bears no date"


# --- LiteLLM ---


def test_litellms_list(tmp_path: Path) -> None:
    found = imported("litellm", "litellm.json", tmp_path)
    offers = {offer.id: offer for offer in found.snapshot.token}
    assert offers["bedrock:us-west-2/deepseek.v3.2"].prices == {
        "input": 0.62,
        "output": 1.85,
        "batch_input": 0.31,
        "batch_output": 0.925,
        "flex_input": 0.31,
        "flex_output": 0.925,
        "priority_input": 1.085,
        "priority_output": 3.2375,
    }
    long = offers["bedrock:anthropic.claude-sonnet-4-5-20250929-v1:0"]
    assert (long.input, long.output, long.cache_read, long.cache_write) == (3.0, 15.0, 0.3, 3.75)
    assert (long.long_input, long.long_output, long.long_cache_read, long.long_cache_write, long.long_above_tokens) == (6.0, 22.5, 0.6, 7.5, 200_000)
    assert {offer.id: offer.model for offer in offers.values() if offer.model} == {
        "bedrock:us-west-2/deepseek.v3.2": "deepseek-v3.2",
        "bedrock:mantle/openai.gpt-oss-120b": "gpt-oss-120b",
        "together-ai:meta-llama/Llama-3.3-70B-Instruct": "llama-3.3-70b",
    }
    assert len(offers) == 5
    assert found.skipped == {
        "not a model of text": 2,
        "tier 'batch' with a price of one side only": 1,
        "without a service": 1,
        "without prices by the token, or at 0": 1,
    }


def test_one_service_of_litellms_list(tmp_path: Path) -> None:
    found = imported("litellm", "litellm.json", tmp_path, service="together-ai")
    assert [offer.id for offer in found.snapshot.token] == ["together-ai:meta-llama/Llama-3.3-70B-Instruct"]
    with pytest.raises(InputError, match=r"has no prices of 'bedrok'; did you mean 'bedrock'\?"):
        import_offers("litellm", LISTS / "litellm.json", tmp_path / "x.toml", LIBRARY, service="bedrok")


# --- the snapshot ---

FORMS = {
    "aws_ec2_bulk.json": "aws",
    "aws_ec2_get_products.json": "aws",
    "aws_savings_plans.json": "aws",
    "aws_bedrock_get_products.json": "aws",
    "skypilot_aws_vms.csv": "skypilot",
    "litellm.json": "litellm",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_snapshot_is_read_and_checked_by_the_catalogue(tmp_path: Path, name: str) -> None:
    found = imported(FORMS[name], name, tmp_path)
    assert not check(LIBRARY, [found.file])
    assert not [finding for finding in check(Library(tmp_path)) if finding.file == str(found.file)]
    books = Library(tmp_path)
    offers = {(offer.id, offer.date): offer for offer in Offers(books).all_dated()}
    for offer in (*found.snapshot.hour, *found.snapshot.token):
        assert offers[offer.id, offer.date] == offer
        assert books.sources[offer.source].locator.startswith(name)  # type: ignore[union-attr]


def test_an_imported_price_is_todays(tmp_path: Path) -> None:
    imported("aws", "aws_ec2_get_products.json", tmp_path)
    offer = Offers(Library(tmp_path)).find("p5.48xlarge:on-demand:us-west-1")
    assert (offer.date, offer.snapshot) == ("2026-11-21", "today")


def test_a_source_of_the_catalogue_may_be_named(tmp_path: Path) -> None:
    snapshot = imported("litellm", "litellm.json", tmp_path, source="litellm-price-list-2026-11").snapshot
    assert (snapshot.source, snapshot.sources) == ("litellm-price-list-2026-11", {})
    with pytest.raises(InputError, match="no source is called 'litelm-price-list-2026-11'; did you mean 'litellm-price-list-2026-11'"):
        imported("litellm", "litellm.json", tmp_path, source="litelm-price-list-2026-11")


def test_a_snapshot_is_written_once(tmp_path: Path) -> None:
    first = imported("aws", "aws_ec2_bulk.json", tmp_path)
    text = first.file.read_text()
    assert not first.already_there
    assert imported("aws", "aws_ec2_bulk.json", tmp_path).already_there
    with pytest.raises(InputError, match="is there already, with other prices; a snapshot is not changed"):
        imported("aws", "aws_ec2_get_products.json", tmp_path)
    assert first.file.read_text() == text
    assert [path.name for path in first.file.parent.iterdir()] == ["today.toml"]


def test_products_of_both_kinds_are_imported_apart(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    path.write_text((LISTS / "aws_ec2_get_products.json").read_text() + (LISTS / "aws_bedrock_get_products.json").read_text())
    with pytest.raises(InputError, match="both by the hour"):
        import_offers("aws", path, tmp_path / "x.toml", LIBRARY)


# --- bad input ---

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,Price,Region\n"


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("aws", "", "is empty"),
        ("skypilot", " \n", "is empty"),
        ("litellm", "", "is empty"),
        ("aws", "not json", "is not JSON: Expecting value in line 1, column 1"),
        ("aws", '{"PriceList": []}\n{"PriceList": [', "is not JSON: Expecting value in line 2"),
        ("aws", '{"gpt-4o": {"litellm_provider": "openai"}}', "is no price list of AWS: neither 'products' and 'terms' nor 'PriceList' (found: gpt-4o)"),
        ("aws", "[1]", "is no price list of AWS"),
        ("aws", '{"PriceList": ["{"]}', "PriceList: is not JSON inside a string"),
        ("aws", '{"PriceList": []}', "holds no products"),
        (
            "aws",
            '{"PriceList": [{"product": {"attributes": {"servicecode": "AmazonS3"}}, "terms": {}}]}',
            "holds no prices of EC2 or Bedrock, only of AmazonS3",
        ),
        ("aws", '{"PriceList": [{"product": {}, "terms": {}}]}', "product.attributes: is not as the format has it"),
        ("litellm", '{"PriceList": []}', "is no price list of LiteLLM's: no entry has a 'litellm_provider'"),
        ("litellm", "[]", "is no price list of LiteLLM's"),
        ("litellm", '{"m": {"litellm_provider": "x", "input_cost_per_token": "cheap"}}', "m.input_cost_per_token: is not as the format has it"),
        ("litellm", '{"m": {"litellm_provider": "x", "mode": "rerank"}}', "holds no price that the catalogue can use (1 not a model of text)"),
        pytest.param("aws", '{"a":' * 100_000, "is no price list: its JSON is nested too deeply", id="deep"),
        pytest.param("skypilot", HEAD + "x" * 200_000, "line 2: is not CSV: field larger than field limit", id="wide"),
        ("skypilot", '{"a": 1}', "InstanceType: is not a column of this file"),
        ("skypilot", "InstanceType,AcceleratorName,AcceleratorCount,Prise,Region\n", "Price: is not a column of this file"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, form: str, text: str, words: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        import_offers(form, path, tmp_path / "x.toml", LIBRARY)
    assert error.value.file == str(path)
    assert [left.name for left in tmp_path.iterdir()] == ["list"]


def test_a_wrong_number_says_its_line(tmp_path: Path) -> None:
    path = altered(tmp_path, "skypilot_aws_vms.csv", ("68.8,,us-west-1", "a lot,,us-west-1"))
    with pytest.raises(InputError, match=r"skypilot_aws_vms.csv: line 4.Price: is not as the format has it: .* \(got 'a lot'\)"):
        import_offers("skypilot", path, tmp_path / "x.toml", LIBRARY)
    path = altered(tmp_path, "aws_ec2_bulk.json", ('"unit": "Hrs"', '"unite": "Hrs"'))
    with pytest.raises(InputError, match=r"terms.OnDemand.P5LINUX0000000001.JRTCKXETXF.*unit: is not as the format has it: Field required"):
        import_offers("aws", path, tmp_path / "x.toml", LIBRARY)


def test_names_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        import_offers("aws", tmp_path / "aws.jsn", tmp_path / "x.toml", LIBRARY)
    with pytest.raises(InputError, match=r"'skyplot' is no form of price list that can be read; did you mean 'skypilot'\?"):
        import_offers("skyplot", LISTS / "litellm.json", tmp_path / "x.toml", LIBRARY)
    with pytest.raises(InputError, match="give a name that ends in"):
        import_offers("litellm", LISTS / "litellm.json", tmp_path / "x.json", LIBRARY)
    with pytest.raises(InputError, match="none of its instance types is a system of the catalogue"):
        imported("skypilot", "skypilot_lambda_vms.csv", tmp_path)


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document, by the keys that lead there."""
    inside = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [at, *(place for key, value in inside for place in places(value, (*at, key)))] if at or inside else []


@pytest.mark.parametrize(("form", "name"), [("aws", "aws_ec2_bulk.json"), ("aws", "aws_savings_plans.json"), ("aws", "products"), ("litellm", "litellm.json")])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), other=st.sampled_from([None, [], {}, "", "x", -1, 0, 1e30, ["x"], {"x": 1}]))
def test_whatever_stands_in_a_list_is_read_or_refused(form: str, name: str, data: st.DataObject, other: object, tmp_path: Path) -> None:
    if name == "products":
        document = [json.loads(text) for text in json.loads((LISTS / "aws_bedrock_get_products.json").read_text())["PriceList"]][:10]
    else:
        document = json.loads((LISTS / name).read_text())
    *way, last = data.draw(st.sampled_from([place for place in places(document) if place]))
    holder = document
    for key in way:
        holder = holder[key]
    holder[last] = other
    path, output = tmp_path / "list.json", tmp_path / "x.toml"
    path.write_text(json.dumps(document))
    output.unlink(missing_ok=True)
    try:
        import_offers(form, path, output, LIBRARY)
    except InputError:
        assert not output.exists()
    else:
        assert not [finding for finding in check(LIBRARY, [output]) if finding.severity == "error"]
