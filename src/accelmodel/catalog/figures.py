"""A figure: one number with unit, source and kind, and low and high where it is estimated."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from accelmodel import units
from accelmodel.errors import InputError

Kind = Literal["published", "measured", "derived", "estimated"]
FIGURE = "a figure"  # how the description of one begins in a JSON Schema
Confidence = Literal["official", "press", "analyst", "own"]


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ignored_types=(cached_property,))


class Alternative(Strict):
    """Another published value of the same figure, kept beside the one in use."""

    value: float
    unit: str
    source: str | None = None
    note: str | None = None


_HONEST: dict[str, Any] = {
    "allOf": [
        {"if": {"properties": {"kind": {"const": "estimated"}}}, "then": {"required": ["low", "high"]}, "else": {"required": ["source"]}},
        {"if": {"properties": {"kind": {"const": "derived"}}}, "then": {"required": ["formula"]}},
    ]
}


class Figure(Strict):
    """One number with its unit, source and kind; `si`, `si_low` and `si_high` are in SI.

    `value` and `unit` are as printed. `kind` is published, measured, derived (it then gives its `formula`) or estimated (then `low` and `high`, in the same
    unit, hold the value). `source` is a key of `sources.toml`; a figure without one can only be estimated. `alternatives` are other published values of the
    same figure, `date` is when it held, `note` what a reader should know.
    """

    model_config = ConfigDict(json_schema_extra=_HONEST)  # what `_is_honest` asks, as far as a schema can

    value: float
    unit: str
    kind: Kind
    source: str | None = None
    low: float | None = None
    high: float | None = None
    formula: str | None = None
    date: str | None = None
    note: str | None = None
    alternatives: tuple[Alternative, ...] = ()

    @model_validator(mode="after")
    def _is_honest(self) -> Figure:
        if self.source is None and self.kind != "estimated":
            raise ValueError(f"a {self.kind} figure needs a source; without one it can only be 'estimated'")
        if self.kind == "estimated" and (self.low is None or self.high is None):
            raise ValueError("an estimated figure needs 'low' and 'high'")
        if self.kind == "derived" and self.formula is None:
            raise ValueError("a derived figure needs its 'formula'")
        low, high = self.low, self.high
        if (low is not None and low > self.value) or (high is not None and high < self.value):
            raise ValueError(f"the range [{low}, {high}] does not hold the value {self.value}")
        units.unit(self.unit)
        for other in self.alternatives:
            if units.unit(other.unit).dimension != self.dimension:
                raise ValueError(f"alternative in '{other.unit}' is not a {self.dimension}")
        return self

    @property
    def dimension(self) -> str:
        """Name of the figure's dimension, as in `accelmodel.units`."""
        return units.unit(self.unit).dimension

    @cached_property
    def si(self) -> float:
        """The value in SI."""
        return self.value * units.unit(self.unit).factor

    @cached_property
    def si_low(self) -> float:
        """The lower end in SI; the value itself where no range is given."""
        return (self.value if self.low is None else self.low) * units.unit(self.unit).factor

    @cached_property
    def si_high(self) -> float:
        """The upper end in SI; the value itself where no range is given."""
        return (self.value if self.high is None else self.high) * units.unit(self.unit).factor

    def __str__(self) -> str:
        spread = "" if self.low is None and self.high is None else f" [{self.si_text(self.low)}, {self.si_text(self.high)}]"
        return f"{self.value:g} {self.unit}{spread} ({self.kind}, {self.source or 'no source'})"

    @staticmethod
    def si_text(value: float | None) -> str:
        """A bound as text; an open one is an ellipsis."""
        return "..." if value is None else f"{value:g}"


@dataclass(frozen=True)
class _Demand(AfterValidator):
    """A demand on a figure, which its JSON Schema states in words and by the units it may have."""

    told: dict[str, Any] = field(kw_only=True, hash=False)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"allOf": [handler(schema)], **self.told}


def of(dimension: str, at_least: float, at_most: float, unit: str = "") -> AfterValidator:
    """The demand on a figure that it has this dimension and lies, range and all, within plausibility bounds given in `unit` (SI without one)."""

    def check(figure: Figure | None) -> Figure | None:
        if figure is None:
            return None
        if figure.dimension != dimension:
            raise ValueError(f"'{figure.unit}' is a unit of {figure.dimension}; expected one of {dimension}" + (f", such as {unit}" if unit else ""))
        factor = units.unit(unit).factor if unit else 1.0
        for value in (figure.si, figure.si_low, figure.si_high):
            if not at_least * factor <= value <= at_most * factor:
                raise ValueError(f"{figure.value:g} {figure.unit} is outside the plausible {at_least:g} to {at_most:g} {unit}".rstrip())
        return figure

    words = f"{FIGURE}: {dimension}, {at_least:g} to {at_most:g} {unit}".rstrip()
    offered = {"description": f"a unit of {dimension}, as printed", "enum": list(units.CUSTOMARY[dimension])}
    return _Demand(check, told={"description": words, "properties": {"unit": offered}})


Fraction = Annotated[Figure, of("ratio", 0.0, 1.0)]


class Source(Strict):
    """Where a figure comes from, once: title, publisher, url or another locator, dates, confidence."""

    title: str
    publisher: str
    url: str | None = None
    locator: str | None = None
    date: str | None = None
    accessed: str
    confidence: Confidence

    @model_validator(mode="after")
    def _can_be_found(self) -> Source:
        if self.url is None and self.locator is None:
            raise ValueError("a source needs a 'url' or a 'locator'")
        return self


Record = TypeVar("Record", bound=BaseModel)
_NAME = r"^[a-z0-9][a-z0-9.\-]*$"
Name = Annotated[str, Field(pattern=_NAME)]


def no_name(text: object) -> str:
    """What is said of a text that is no name of the project's; empty for one that is."""
    fits = isinstance(text, str) and re.match(_NAME, text)
    return "" if fits else f"{text!r} is no name: small letters, digits, '.' and '-', a letter or digit first"


def named(kind: str) -> Any:
    """Text that names an entry of a kind, or several: what its JSON Schema offers, beside paths."""
    return WithJsonSchema({"type": "string", "names": kind})


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict; InputError with file and line where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}", file=path) from None


def parse(record: type[Record], data: object, file: object, at: str = "") -> Record:
    """Validate `data` as `record`; the first fault becomes one InputError with file, key, value, what is allowed and the nearest name.

    `at` is the key at which the data stand in the file.
    """
    try:
        return record.model_validate(data)
    except ValidationError as error:
        raise input_error(error, record, file, at) from None


def input_error(error: ValidationError, record: type[BaseModel], file: object, at: str = "") -> InputError:
    """The first fault of a ValidationError in the words of an InputError."""
    # An unknown key explains a missing one (a typo makes both), so it is told first.
    fault = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    location = _untagged(record, fault["loc"])
    key = ".".join(str(part) for part in ([at] if at else []) + location)
    value = fault["input"]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return InputError("unknown key", file=file, key=key, value=str(fault["loc"][-1]), allowed=_keys(_records_at(record, fault["loc"][:-1])))
    if fault["type"] == "missing":
        return InputError("is missing", file=file, key=key)
    if fault["type"] == "union_tag_invalid":
        context = fault.get("ctx", {})
        allowed = re.findall(r"'([^']+)'", str(context.get("expected_tags", "")))
        return InputError(f"'{context.get('tag')}' is not known", file=file, key=f"{key}.kind", value=context.get("tag"), allowed=allowed)
    if fault["type"] in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']+)'", str(fault.get("ctx", {}).get("expected", "")))
        return InputError(f"'{value}' is not known", file=file, key=key, value=value, allowed=allowed)
    if fault["type"] == "string_pattern_mismatch" and fault.get("ctx", {}).get("pattern") == _NAME:
        return InputError(no_name(value), file=file, key=key.removesuffix(".[key]"), value=value)
    shown = "" if isinstance(value, (dict, list, tuple)) or fault["type"] == "value_error" else f" (got {value!r})"
    return InputError(message + shown, file=file, key=key, value=value)


def _steps(record: type[BaseModel], location: tuple[int | str, ...]) -> list[tuple[int | str, Any, bool]]:
    """The parts of a location, each with the type that it leads to and whether it is the tag of a union rather than a key."""
    current: Any = record
    found = []
    for part in location:
        current, is_tag = _step(_bare(current), part)
        found.append((part, current, is_tag))
    return found


def _step(current: Any, part: int | str) -> tuple[Any, bool]:
    """The type behind one part of a location, and whether the part is a tag."""
    if get_origin(current) in (dict, tuple, list):
        return next((argument for argument in reversed(get_args(current)) if argument is not Ellipsis), current), False
    records = _records_in(current)
    tagged = [item for item in records if part in _tags(item)] if len(records) > 1 else []
    fields = [item.model_fields[part].annotation for item in records if isinstance(part, str) and part in item.model_fields]
    return (tagged or fields or [current])[0], bool(tagged)


def _bare(annotation: Any) -> Any:
    """An annotation without `Annotated` and without `None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    return _bare(arguments[0]) if len(arguments) == 1 and type(None) in get_args(annotation) else annotation


def _records_at(record: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    steps = _steps(record, location)
    return _records_in(steps[-1][1] if steps else record)


def _untagged(record: type[BaseModel], location: tuple[int | str, ...]) -> list[int | str]:
    """A location as its file spells it: without the tags that pydantic puts in where a union is tagged."""
    return [part for part, _, is_tag in _steps(record, location) if not is_tag]


def _keys(records: list[type[BaseModel]]) -> list[str]:
    """Keys that a record takes, as a file spells them."""
    return [field.alias or name for name, field in records[0].model_fields.items()] if records else []


def _tags(record: type[BaseModel]) -> tuple[Any, ...]:
    """What the record's `kind` may say, where it is one of a tagged union."""
    kind = record.model_fields.get("kind")
    return get_args(kind.annotation) if kind is not None else ()


def _records_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic records inside an annotation such as `tuple[Level, ...]` or `Figure | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [record for argument in get_args(annotation) for record in _records_in(argument)]
