"""One small run with every kind of money in it, saved once; its title tries to get out of every format."""

from __future__ import annotations

from pathlib import Path

import pytest

import accelmodel as am

SCENARIO = """
title = "Cost & margin <script>alert('title')</script>"
description = "A </script><script>alert('description')</script> and =1+1"

[base]
model = "llama-3.1-8b"
weights = "fp8"
kv = "fp8"
input_tokens = 1000
output_tokens = 250
occupancy = 0.5
books = "cloud"
offer = "bedrock"

[cases.own]
system = "trn2.48xlarge"
accelerators = 1
tensor_parallel = 4

[cases.gpu]
system = "p5.48xlarge"
accelerators = 1
tensor_parallel = 1

[axes]
concurrency = [1, 8, 32, 96]

[studies.frontier]
kind = "points"

[studies.margins]
kind = "margin"
discount_fraction = [0.0, 0.3]

[studies.steps]
kind = "waterfall"
discount_fraction = 0.1

[studies.fleet]
kind = "fleet"
fleet_accelerators = [64, 128]

[studies.shock]
kind = "price-shock"
in_house = "own"
vendor = "gpu"
in_house_fraction = [0.0, 0.5, 1.0]
vendor_price_shock_fraction = [-0.2, 0.0, 0.2]
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    (home / "small.toml").write_text(SCENARIO, encoding="utf-8")
    am.run(home / "small.toml", set={"base.concurrency": 32}).save(home / "run")
    return home / "run"
