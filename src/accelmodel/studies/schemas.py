"""JSON Schemas of scenario and catalogue files: what TOML may say before it is parsed, generated from the records that parse it.

Editors complete, describe and check a file by the schema that its first line names (`#:schema PATH`). A schema knows keys, types, bounds, units and names;
what needs two keys at once, or another file, is left to `accelmodel catalog check` and to the run.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from accelmodel import keys
from accelmodel.catalog.entries import RECORDS
from accelmodel.catalog.figures import FIGURE, Source, Strict, read_toml
from accelmodel.catalog.library import Library, schema_file, schema_lines, shipped_root
from accelmodel.catalog.offers import INHERITED, Currency
from accelmodel.errors import InputError
from accelmodel.results import store
from accelmodel.studies.scenario import Scenario

KINDS = ("scenarios", *RECORDS, "sources")
_PATH = {"type": "string", "pattern": r"[/\\]|\.(toml|json)$"}


def schema(kind: str, library: Library | None = None) -> dict[str, Any]:
    """The JSON Schema (draft 7) of files of a kind; names are those of the library, the shipped one if None. InputError where there is no such kind."""
    if kind not in KINDS:
        raise InputError(f"there is no schema of '{kind}'", key="kind", value=kind, allowed=KINDS)
    record: Any = {"scenarios": Scenario, "sources": dict[str, Source]}.get(kind) or RECORDS[kind]
    found = TypeAdapter(record).json_schema(by_alias=True, ref_template="#/definitions/{model}", schema_generator=_Toml)
    found["definitions"] = found.pop("$defs", {})
    if kind in _BY_HAND:
        _BY_HAND[kind](found)
    return {"$schema": _Toml.schema_dialect, **_named(found, library or Library())}


def text(kind: str, library: Library | None = None) -> str:
    """The schema as a file holds it."""
    return json.dumps(schema(kind, library), indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, kinds: Sequence[str] = KINDS, library: Library | None = None) -> list[Path]:
    """Write schemas into a folder, made where it is missing; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / schema_file(kind) for kind in kinds]
    for path, kind in zip(found, kinds, strict=True):
        store.write(path, functools.partial(Path.write_text, data=text(kind, library), encoding="utf-8"))
    return found


def line(folder: Path) -> str:
    """The first line by which a scenario in a folder names its schema: that of its own catalogue, or else the shipped one."""
    shipped = shipped_root() / "schemas" / schema_file("scenarios")
    return next(iter(schema_lines("scenarios", folder)), f"#:schema {shipped.as_uri()}")


class _Toml(GenerateJsonSchema):
    """Pydantic's generator for what TOML can say: there is no null, and draft 7 is what its editors know."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        bases = [base for base in schema["cls"].__mro__ if issubclass(base, Strict) and base is not Strict]
        words = [" ".join((base.__doc__ or "").split()) for base in bases]
        known = keys.of_scenario if schema["cls"].__module__.startswith("accelmodel.studies.") else keys.of_entry
        return _described(super().model_schema(schema), words, known)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value not in (None, [], {})}

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        found = super().tuple_schema(schema)
        return {"items" if key == "prefixItems" else key: value for key, value in found.items()}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """The tag decides, so that an error is about the record that was meant."""
        tag = str(schema["discriminator"])
        records = super().tagged_union_schema(schema)["discriminator"]["mapping"]
        chosen = [{"if": {"properties": {tag: {"const": value}}}, "then": {"$ref": record}} for value, record in records.items()]
        return {
            "type": "object",
            "properties": {tag: {"description": "which kind of record this is: decides its other keys", "enum": list(records)}},
            "required": [tag],
            "allOf": chosen,
            **_offered(*records.values()),
        }


def _offered(*records: str) -> dict[str, Any]:
    """What editors complete from, and what holds always: they do not look behind `if`."""
    return {"anyOf": [*({"$ref": record} for record in records), {}]}


# Descriptions


def _described(table: JsonSchemaValue, words: Iterable[str], known: Callable[[str], str | None]) -> JsonSchemaValue:
    """A table's schema whose keys are described by the sentences that name them in the records' docstrings, at the field, or else in the dictionary of keys."""
    sentences = [sentence for text in words for sentence in re.split(r"(?<=[.;:])\s+(?=[A-Z`])", text)]
    for key, value in table.get("properties", {}).items():
        told = [sentence.rstrip(".;:") for sentence in sentences if f"`{key}`" in sentence]
        own = value.get("description", "")
        if key == "kind" and "const" in value:
            told = [sentences[0].rstrip(".;:")]
        if not told and (not own or own.startswith(FIGURE)):
            told = list(filter(None, [known(key)]))
        said = "; ".join([*told, *filter(None, [own])])
        if said:
            plain = {name: part for name, part in value.items() if name != "description"}
            # Beside a reference, draft 7 reads nothing.
            table["properties"][key] = {"description": _measured(key, said), **({"allOf": [plain]} if "$ref" in plain else plain)}
    return table


def _measured(key: str, said: str) -> str:
    """A description with the unit that the key's name ends in, where it does not say it."""
    unit = keys.unit(key)
    return said if not unit or "[" in said else f"{said} [{unit}]"


# Names


def _named(part: Any, library: Library) -> Any:
    """A schema with the names of the library's entries, or a path, where it asks for one."""
    if isinstance(part, list):
        return [_named(item, library) for item in part]
    if not isinstance(part, dict):
        return part
    if "names" in part and isinstance(part["names"], str):
        kept = {key: value for key, value in part.items() if key not in ("names", "type")}
        names = {"enum": list(_names(part["names"], library))}
        return {**kept, **names} if part["names"] == "engines" else {**kept, "anyOf": [names, _PATH]}
    return {key: _named(value, library) for key, value in part.items()}


def _names(kind: str, library: Library) -> Iterator[str]:
    """Names of a kind's entries and the aliases that they go by."""
    if kind == "engines":
        engines = {name: engine for one in library.files("calibrations") for name, engine in library.calibration(one).engines.items()}
        yield from dict.fromkeys(word for name, engine in sorted(engines.items()) for word in (name, *engine.aliases))
        return
    files = library.files(kind)
    yield from sorted(files)
    yield from sorted({str(alias) for path in files.values() for alias in read_toml(path).get("aliases", ())} - set(files))


# What a file may leave to its header, to another file, or say of two kinds of keys


def _scenario(found: dict[str, Any]) -> None:
    """Axes: any key of a situation with a list of its values, a range or a named set; under any other name keys that go together."""
    tables = found["definitions"]
    tables["NamedSet"]["properties"].pop("values")
    tables["NamedSet"]["required"] = ["set"]
    single = {key: _axis(key, value) for key, value in tables["Situation"]["properties"].items()}
    tables["Zipped"]["properties"]["zip"] |= {"properties": single, "additionalProperties": False}
    tables["Axes"] = {"type": "object", "properties": single, "additionalProperties": {"$ref": "#/definitions/Zipped"}}
    found["properties"]["axes"] = {"description": found["properties"]["axes"]["description"], "allOf": [{"$ref": "#/definitions/Axes"}]}


def _axis(key: str, value: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "items": {"$ref": f"#/definitions/Situation/properties/{key}"}, "minItems": 1}
    told = {name: value[name] for name in ("description",) if name in value}
    if "number" not in _types(value):
        return told | {"if": {"type": "object"}, "then": {"$ref": _SET}, "else": listed, **_offered(_SET)}
    table = {"if": {"required": ["set"]}, "then": {"$ref": _SET}, "else": {"$ref": _RANGE}}
    return told | {"if": {"type": "object"}, "then": table, "else": listed, **_offered(_RANGE, _SET)}


_RANGE, _SET = "#/definitions/Range", "#/definitions/NamedSet"


def _types(value: dict[str, Any]) -> set[str]:
    """The types that a value may have, a whole number being a number."""
    inner = {value.get("type", "")} | {name for part in value.get("anyOf", ()) for name in _types(part)}
    return inner | ({"number"} if "integer" in inner else set())


def _snapshot(found: dict[str, Any]) -> None:
    """Rows take keys of the file's header, are of its currency until they are read, and do not name the file that they are in."""
    for rows, record in (("hour", "HourOffer"), ("token", "TokenOffer"), ("discount", "Discount")):
        row = found["definitions"][record]
        row["required"] = [key for key in row["required"] if key not in (*INHERITED[rows], "snapshot")]
        row["properties"] = {key: value for key, value in row["properties"].items() if key not in ("snapshot", "less")}
        if "currency" in row["properties"]:
            row["properties"]["currency"] = {"description": keys.of_entry("currency"), "enum": list(get_args(Currency))}


def _calibration(found: dict[str, Any]) -> None:
    """A calibration with a base says what differs."""
    found["anyOf"] = [{"required": ["base"]}, {"required": found["required"]}]
    found["required"] = ["name"]
    found["properties"].pop("scale")


_BY_HAND: dict[str, Callable[[dict[str, Any]], None]] = {"scenarios": _scenario, "offers": _snapshot, "calibrations": _calibration}
