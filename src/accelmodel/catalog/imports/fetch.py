"""Asking AWS for its prices: the answers of GetProducts, as `offers import aws` reads them. Needs boto3 (the extra `aws`) and the account's own keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelmodel.errors import InputError
from accelmodel.results.store import write

# The service answers in few regions; this one knows the prices of all.
_ENDPOINT_REGION = "us-east-1"
_FILTERS = {
    "ec2": {"operatingSystem": "Linux", "tenancy": "Shared", "capacitystatus": "Used", "preInstalledSw": "NA", "marketoption": "OnDemand"},
    "bedrock": {},
    "bedrock-service": {},
    "bedrock-marketplace": {},
}
_SERVICES = {
    "ec2": "AmazonEC2",
    "bedrock": "AmazonBedrock",
    "bedrock-service": "AmazonBedrockService",
    "bedrock-marketplace": "AmazonBedrockFoundationModels",
}


def client() -> Any:
    """A client of AWS's price list; InputError where boto3 is not installed."""
    try:
        import boto3
    except ImportError:
        raise InputError("asking AWS needs boto3, which is not installed: pip install 'accelmodel[aws]'", key="fetch") from None
    return boto3.client("pricing", region_name=_ENDPOINT_REGION)


def fetch(pricing: Any, what: str, region: str, output: Path) -> int:
    """Write every answer about a service's prices in a region as one JSON file; the number of products."""
    if what not in _SERVICES:
        raise InputError(f"'{what}' is nothing that can be asked for", key="SERVICE", value=what, allowed=_SERVICES)
    if output.exists():
        raise InputError("is there already; what AWS answered is not overwritten", file=output, key="--output")
    wanted = {"regionCode": region, **_FILTERS[what]}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    from botocore.exceptions import BotoCoreError, ClientError

    products: list[str] = []
    try:
        for page in pricing.get_paginator("get_products").paginate(ServiceCode=_SERVICES[what], Filters=filters):
            products += page["PriceList"]
    except (BotoCoreError, ClientError) as error:
        raise InputError(f"AWS gave no prices: {error}", key=_SERVICES[what]) from None
    if not products:
        raise InputError(f"AWS lists no prices of {_SERVICES[what]} in '{region}'", key="--region", value=region)
    write(output, lambda temporary: temporary.write_text(json.dumps({"PriceList": products}, indent=1), encoding="utf-8"))
    return len(products)
