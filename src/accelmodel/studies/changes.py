"""What changed in the inputs of two runs, as inputs that can be put into the first one by one."""

from __future__ import annotations

import datetime
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelmodel.catalog.figures import parse
from accelmodel.catalog.library import FOLDERS
from accelmodel.catalog.offers import HourOffer, Snapshot, TokenOffer, newest
from accelmodel.errors import InputError
from accelmodel.studies.saved import SavedRun, as_read
from accelmodel.studies.scenario import Scenario

Trail = tuple[str, ...]
Tree = dict[str, Any]

ABSENT = object()
FEW = 3  # figures of one file that are inputs of their own
SEARCHED = ("offers", "calibrations")  # folders in which what is there is found by a search, rather than by its name
_TOGETHER = ({"concurrency", "requests_per_s"},)  # keys that take each other's place
# What a file says beside its numbers.
_WORDS = {"title", "description", "note", "notes", "source", "terms_source", "config_source", "kind", "accessed", "aliases", "url", "date_note", "formula"}
_NUMBERS = ("value", "unit", "low", "high")  # of a figure
# What tells the rows of a list apart.
_NAMES = ("name", "id", "system", "accelerator", "term", "region", "provider", "service", "model_id", "date")


class Rows(dict[str, Any]):
    """A list of tables, by what tells its rows apart."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was: in which file or in the scenario, under which key; ABSENT where there was or is none.

    `set_before` and `set_after`: the value was an override of the scenario's file. `counts`: a number may follow from it.
    """

    where: str
    key: str
    before: Any
    after: Any
    counts: bool = True
    set_before: bool = False
    set_after: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data; None where there was or is none."""
        before, after = (None if value is ABSENT else _plain(value) for value in (self.before, self.after))
        return {"where": self.where, "key": self.key, "a": before, "b": after, "set_in_a": self.set_before, "set_in_b": self.set_after}


@dataclass(frozen=True)
class Input:
    """Changes that are put in together, under one name; `edits` says how: what stands where afterwards."""

    name: str
    changes: tuple[Change, ...]
    edits: tuple[tuple[Trail, Any], ...]

    @property
    def touches_files(self) -> bool:
        """Whether it changes the catalogue."""
        return any(trail[0] == "files" for trail, _ in self.edits)


@dataclass
class Inputs:
    """All that a run rests on, as one tree: `scenario`, `seed`, `files` by place (tables of TOML as trees, other files as bytes)."""

    tree: Tree
    contents: dict[str, bytes] = field(default_factory=dict)

    @staticmethod
    def of(run: SavedRun) -> Inputs:
        """The inputs of a run."""
        own = f"{run.document['scenario']}.toml"
        contents = {_place(name): content for name, content in run.files.items() if name != own}
        files = {place: _opened(_toml(content, place)) if place.endswith(".toml") else content for place, content in contents.items()}
        tree = {"files": files, "scenario": as_asked(run.scenario), "seed": run.document["seed"]}
        return Inputs(tree, contents)

    @property
    def files(self) -> dict[str, Any]:
        """The files by place."""
        found: dict[str, Any] = self.tree["files"]
        return found

    def with_edits(self, edits: Iterable[tuple[Trail, Any]]) -> Inputs:
        """The same inputs with some things at some places."""
        tree = self.tree
        for trail, value in edits:
            tree = _put(tree, trail, value)
        return Inputs(tree, self.contents)

    def write(self, folder: Path, originals: Iterable[Inputs]) -> None:
        """Write the files into a folder that may serve as a catalogue; a file that is as in one of the originals byte by byte so."""
        known = list(originals)
        for place, data in self.files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            same = next((one.contents[place] for one in known if place in one.contents and one.files.get(place) == data), None)
            path.write_bytes(same if same is not None else "\n".join(_lines(_closed(data))).encode())


def as_asked(scenario: Scenario) -> dict[str, Any]:
    """A scenario as plain data, defaults of its studies included."""
    return scenario.model_dump(mode="json", exclude_none=True, by_alias=True)


def _place(name: str) -> str:
    """A file's place without the side of the catalogue that it lies on, which a user's folder may leave out."""
    side, _, rest = name.partition("/")
    known = rest.split("/")[0] in FOLDERS or rest.startswith("sources")
    return rest if side in ("hardware_profiles", "scenarios") and known else name


def _toml(content: bytes, place: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise InputError(f"is not valid TOML: {error}", file=place) from None


# Trees


def _opened(data: Any) -> Any:
    """Lists of tables as Rows, where their rows can be told apart."""
    if isinstance(data, dict):
        return {key: _opened(value) for key, value in data.items()}
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        names = [":".join(str(row[key]) for key in _NAMES if isinstance(row.get(key), str)) for row in data]
        if all(names) and len(set(names)) == len(names):
            return Rows(zip(names, data, strict=True))
    return data


def _closed(data: Any) -> Any:
    """The tables of a file again as TOML has them."""
    if isinstance(data, Rows):
        return list(data.values())
    return {key: _closed(value) for key, value in data.items()} if isinstance(data, dict) else data


def _put(tree: Tree, trail: Trail, value: Any) -> Tree:
    head, *rest = trail
    copy = type(tree)(tree)
    if rest:
        copy[head] = _put(copy.get(head, {}), tuple(rest), value)
    elif value is ABSENT:
        copy.pop(head, None)
    else:
        copy[head] = value
    return copy


def _differences(before: Any, after: Any, trail: Trail = ()) -> Iterator[tuple[Trail, Any, Any]]:
    """Every leaf that is not the same in two trees: a figure, a key, a row, or a whole branch that only one has."""
    if _is_branch(before, after, trail):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key, ABSENT), after.get(key, ABSENT), (*trail, key))
    elif before != after:
        yield trail, before, after


def _is_branch(before: Any, after: Any, trail: Trail) -> bool:
    if not (isinstance(before, dict) and isinstance(after, dict)) or is_figure(before) or is_figure(after):
        return False
    if trail[:2] == ("scenario", "axes") and len(trail) == 3:
        return False
    is_study = trail[:2] == ("scenario", "studies") and len(trail) == 3
    return not is_study or before.get("kind") == after.get("kind")


def is_figure(data: Any) -> bool:
    """Whether a table of a file is one figure."""
    return isinstance(data, dict) and "value" in data and "unit" in data


def _counts(trail: Trail, before: Any, after: Any) -> bool:
    """Whether a number may follow from a change: not from words and sources."""
    if trail[:2] in (("scenario", "title"), ("scenario", "description")) or (trail[0] == "files" and is_words(trail[1:])):
        return False
    if is_figure(before) and is_figure(after):
        return any(before.get(key) != after.get(key) for key in _NUMBERS)
    return True


def is_words(trail: Trail) -> bool:
    """Whether a place in a file holds words or sources only."""
    return trail[0].split("/")[-1].startswith("sources") or trail[-1] in _WORDS or trail[1:2] == ("sources",)


# Changes and inputs


def inputs_of(before: Inputs, after: Inputs, overridden: tuple[set[str], set[str]], *, detail: bool = False) -> tuple[list[Input], list[Change]]:
    """The changed inputs in the order in which they are put in (catalogue, scenario, seed), and the changes that no number follows from.

    Files that only one of the runs has are not among them: see `presence`. Few changed figures of a file are inputs of their own, and all with `detail`.
    """
    found: dict[str, list[tuple[Trail, Change]]] = {}
    idle: list[Change] = []
    for trail, old, new in _differences(before.tree, after.tree):
        if trail[0] == "files" and len(trail) == 2 and (old is ABSENT or new is ABSENT):
            continue
        change = _change(trail, old, new, overridden)
        if change.counts:
            found.setdefault(change.where, []).append((trail, change))
        else:
            idle.append(change)
    every = [one for where, changes in found.items() for one in _grouped(where, changes, detail=detail)]
    return every, idle


def _change(trail: Trail, old: Any, new: Any, overridden: tuple[set[str], set[str]]) -> Change:
    counts = _counts(trail, old, new)
    if trail[0] != "files":
        key = ".".join(trail[1:] or trail)
        return Change(trail[0], key, old, new, counts, *(key in keys for keys in overridden))
    if isinstance(old, bytes) or isinstance(new, bytes):
        return Change(trail[1], "content", old, new, counts)
    return Change(trail[1], ".".join(trail[2:]), old, new, counts)


def _grouped(where: str, changes: list[tuple[Trail, Change]], *, detail: bool) -> Iterator[Input]:
    is_file = where not in ("scenario", "seed")
    if is_file and len(changes) > FEW and not detail:
        yield Input(where, tuple(change for _, change in changes), tuple((trail, change.after) for trail, change in changes))
        return
    alike: dict[Any, list[tuple[Trail, Change]]] = {}
    for trail, change in changes:
        pair = next((number for number, keys in enumerate(_TOGETHER) if trail[-1] in keys), None)
        alike.setdefault(trail if pair is None or where != "scenario" else (trail[:-1], pair), []).append((trail, change))
    for group in alike.values():
        names = [f"{where.removesuffix('.toml')}: {change.key}" if is_file else change.key for _, change in group]
        yield Input(" and ".join(names), tuple(change for _, change in group), tuple((trail, change.after) for trail, change in group))


def presence(before: Inputs, after: Inputs, folder: str) -> Input:
    """The files of a folder that only one of the runs has, as one input: those of the second come, those of the first go."""
    places = _only(before, after, folder), _only(after, before, folder)
    told = [*(Change(place, "file", True, ABSENT) for place in places[0]), *(Change(place, "file", ABSENT, True) for place in places[1])]
    edits = [*((("files", place), ABSENT) for place in places[0]), *((("files", place), after.files[place]) for place in places[1])]
    prices = _prices_changed(before, after) if folder == "offers" and told else []
    return Input(folder, (*told, *prices), tuple(edits))


def read_by_one(before: Inputs, after: Inputs) -> Iterator[Change]:
    """The files that only one of the runs has, as changes that no number follows from: another input names them."""
    for one, other, old, new in ((before, after, True, ABSENT), (after, before, ABSENT, True)):
        yield from (Change(place, "file", old, new, counts=False) for place in one.files if place not in other.files)


def supplied(to: Inputs, by: Inputs, folders: Iterable[str] | None = None) -> Inputs:
    """Inputs with the files that only another run has: all of them, or those of some folders."""
    wanted = None if folders is None else set(folders)
    places = [place for place in by.files if place not in to.files and (wanted is None or place.split("/")[0] in wanted)]
    return to.with_edits((("files", place), by.files[place]) for place in places)


def _only(one: Inputs, other: Inputs, folder: str) -> list[str]:
    return [place for place in one.files if place.startswith(f"{folder}/") and place not in other.files]


def _prices_changed(before: Inputs, after: Inputs) -> Iterator[Change]:
    """Prices that both runs have, of their newest day each, where they are not the same."""
    old, new = _prices(before), _prices(after)
    for name in old.keys() & new.keys():
        if old[name]["value"] != new[name]["value"]:
            yield Change("offers", name, old[name], new[name])


def _prices(inputs: Inputs) -> dict[str, dict[str, Any]]:
    snapshots = [parse(Snapshot, _closed(data), place) for place, data in inputs.files.items() if place.startswith("offers/")]
    offers: list[HourOffer | TokenOffer] = [*newest(offer for snapshot in snapshots for offer in snapshot.hour)]
    offers += newest(offer for snapshot in snapshots for offer in snapshot.token)
    found = {f"{offer.id} {key}": (price, offer) for offer in offers for key, price in offer.prices.items()}
    return {name: {"value": price, "unit": offer.unit, "source": offer.source, "date": offer.date} for name, (price, offer) in sorted(found.items())}


def overridden(run: SavedRun) -> set[str]:
    """Keys of the scenario that were set from outside: not as the scenario's file, read anew, has them."""
    content = run.files.get(f"{run.document['scenario']}.toml")
    if content is None:
        return set()
    try:
        written = as_asked(parse(Scenario, as_read(_toml(content, "")), ""))
    except InputError:  # a file that is whole only with what was set
        return set()
    return {".".join(trail[1:]) for trail, _, _ in _differences({"scenario": written}, {"scenario": as_asked(run.scenario)})}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a file's content by its hash."""
    if isinstance(value, bytes):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


# TOML


def _lines(table: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """A file's tables as TOML: keys first, then a section for each table."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            section = f"{name}.{_key(key)}" if name else _key(key)
            yield from ("", f"[{section}]", *_lines(value, section))


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)
