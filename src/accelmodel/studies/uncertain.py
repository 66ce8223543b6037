"""What a scenario asks of uncertain inputs: the studies of kind uncertainty, sensitivity and break-even, as a file holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Strict

MOST_DRAWS = 1 << 22
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]
_Draws = Annotated[int, Field(ge=16, le=MOST_DRAWS)]


class InputRange(Strict):
    """What a scenario says of an uncertain input; what it leaves out, the figure says.

    `group` names inputs that move together ("": none, where the usual one is not meant); `fixed` holds the input at its value.
    """

    low: float | None = Field(
        default=None, description="low end of its range, the 5th percentile of a log-normal, in the input's unit; the figure's where absent"
    )
    value: float | None = None
    high: float | None = Field(
        default=None, description="high end of its range, the 95th percentile of a log-normal, in the input's unit; the figure's where absent"
    )
    distribution: Literal["uniform", "triangular", "log-normal"] | None = None
    group: str | None = None
    fixed: bool = False


class Asked(Strict):
    """What is asked of a case beside its operating point.

    Tokens sell at a price that changes by `price_change_fraction_per_year` until the year asked about. `fleet` names a demand study, `investment` a cash-flow
    study; overheads are the owner's where not given.
    """

    overhead_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    price_change_fraction_per_year: Annotated[float, Field(gt=-1, le=10)] = 0.0
    years: Annotated[float, Field(ge=0, le=30)] = 0.0
    fleet: str | None = None
    investment: str | None = None


class Uncertainly(Asked):
    """What a study varies.

    `inputs` overrides ranges, distributions and groups by key, and adds inputs: a figure of the catalogue (`ownership.default.purchase.trainium3`), a number
    of the scenario (`base.occupancy`, `cases.h200.purchase_usd`, `studies.NAME.KEY`). `correlations` is that of the members of a group, 1 where absent.
    `draws` are rounded up to a power of two; 131,072 where absent, 1,024 where inputs change the replica itself. The fleet is sized anew under each of the
    first `fleet_draws`. `engine` varies the engine by the spread of measurements about its predictions, or by its fitted parameters with their covariance, or
    not at all.
    """

    inputs: dict[str, InputRange] = Field(default_factory=dict)
    correlations: dict[str, _Share] = Field(default_factory=dict)
    engine: Literal["spread", "parameters", "none"] = "spread"
    draws: _Draws | None = None
    fleet_draws: _Draws = 1_024


class UncertaintyStudy(Uncertainly):
    """Percentiles of what each case costs and earns, the chance that it is the best by the outcome that decides, and that its margin is above the target."""

    kind: Literal["uncertainty"]
    cases: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decide_by: str | None = Field(default=None, description="outcome by which a case is the best; cost_usd_per_mtok where absent")
    target_margin_fraction: Annotated[float, Field(lt=1)] = 0.30


class SensitivityStudy(Uncertainly):
    """Which inputs matter: a tornado, rank correlations, what knowing each would be worth, and on request Sobol indices.

    The outcome is the case's own, or, with `against`, less that of the best of these. `index_draws` points a set of Sobol indices takes (x inputs + 2).
    """

    kind: Literal["sensitivity"]
    case: str | None = None
    against: tuple[str, ...] = ()
    outcome: str = "cost_usd_per_mtok"
    indices: bool = Field(default=False, description="whether Sobol indices are computed")
    index_draws: _Draws = 1_024


class BreakEvenStudy(Asked):
    """The value of an input at which a case and each of its alternatives are equal, or at which the case reaches `target`; every other input at its value."""

    kind: Literal["break-even"]
    input: str
    case: str | None = None
    against: tuple[str, ...] = ()
    outcome: str = "cost_usd_per_mtok"
    target: float | None = None
    low: float | None = Field(default=None, description="from where the input is searched, in its unit; the low end of its range where absent")
    high: float | None = Field(default=None, description="up to where the input is searched, in its unit; the high end of its range where absent")

    @model_validator(mode="after")
    def _one_thing_is_asked(self) -> BreakEvenStudy:
        if bool(self.against) == (self.target is not None):
            raise ValueError("give 'against', the alternatives, or a 'target' of the outcome: one of the two")
        return self


UncertainStudy = UncertaintyStudy | SensitivityStudy | BreakEvenStudy
