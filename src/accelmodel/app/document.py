"""The scenario that the explorer shows, as the text of its file: controls read and write keys, and comments and everything else stay as they are."""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accelmodel.catalog.figures import no_name
from accelmodel.errors import InputError

ALTERNATIVES = 6  # that are compared side by side
LONGEST = 1_000_000  # characters of a scenario
LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # requests at a time along the frontier, where the scenario has no such axis
LOAD = 32  # requests at a time, where the scenario has neither load nor targets
_ENDINGS = (".toml", ".json", ".parquet", ".csv", ".jsonl", ".gz", ".zip")
_FREE = ("title", "description", "offer")  # keys whose text may hold a stroke
_LOADS = ("concurrency", "requests_per_s")
_ASKED = (*_LOADS, "ttft_s", "tpot_s")

_NO_CASES = ("kind", "columns", "model", "system", "workload", "site", "owner", "offer", "tier", "shape", "reference")  # of studies' keys: name other things
_MOST_LOADS = 200

Path = tuple[str, ...]


def parsed(text: str) -> dict[str, Any]:
    """The scenario's keys; InputError for what is no TOML, too long, or names a file of this machine."""
    if len(text) > LONGEST:
        raise InputError(f"has {len(text):,} characters; the explorer takes up to {LONGEST:,}", key="scenario")
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is no TOML: {error}", key="scenario") from None
    for key, value in ((key, found[key]) for key in ("base", "cases", "studies", "axes") if key in found):
        inner = value.items() if key in ("cases", "studies") and isinstance(value, dict) else ()
        for name, one in ((key, value), *((f"{key}.{name}", one) for name, one in inner)):
            if not isinstance(one, dict):
                raise InputError("must be a table of keys", key=name)
    for path, value in _texts(found, ()):
        if path[-1] not in _FREE and _is_file(value):
            message = "names a file; the explorer knows names of the catalogue: start it with --catalog FOLDER for entries of your own"
            raise InputError(message, key=".".join(path), value=value)
    return found


def _is_file(value: str) -> bool:
    """Whether a text may name a file; `maker/model` is how models are published."""
    return value.casefold().endswith(_ENDINGS) or "\\" in value or ("/" in value and not re.fullmatch(r"\w[\w.\-]*/\w[\w.\-]*", value))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text of a document with the key that holds it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(one, (*path, str(key)))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, path)


def edited(text: str, changes: Mapping[Path, Any]) -> str:
    """The text with keys set, or taken out where the value is None; what does not change keeps its place and comments."""

    def change(document: Any, new: Callable[..., Any]) -> None:
        for path, value in changes.items():
            _set(document, path, value, new)

    return _rewritten(text, change)


def _set(document: Any, path: Path, value: Any, new: Callable[..., Any]) -> None:
    *tables, key = path
    place = document
    for name in tables:
        if name not in place:
            if value is None:
                return
            place[name] = new(name == tables[0] and len(tables) > 1)
        place = place[name]
    if value is not None:
        place[key] = value
    else:
        place.pop(key, None)


def _rewritten(text: str, change: Callable[[Any, Callable[..., Any]], None]) -> str:
    """The text after a change, comments kept; a file of which that cannot be done faithfully (dotted keys, tables out of order) is written anew, without."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    meant = tomllib.loads(text)
    change(meant, lambda _above: {})
    try:
        document = tomlkit.parse(text)
        change(document, tomlkit.table)
        found = tomlkit.dumps(document)
        read = tomllib.loads(found)
        if read == meant and cases(read) == cases(meant):
            return found
    except (TOMLKitError, ValueError, TypeError, LookupError):  # the library stumbles over some layouts
        pass
    return tomlkit.dumps(meant)


def cases(document: Mapping[str, Any]) -> list[str]:
    """Names of the alternatives."""
    return list(document.get("cases", {}))


def added(text: str) -> str:
    """The text with one more alternative, which is as the last one, or as the base where there is none."""
    known = cases(parsed(text))
    if len(known) >= ALTERNATIVES:
        raise InputError(f"the explorer compares up to {ALTERNATIVES} alternatives", key="cases")
    like = parsed(text)["cases"][known[-1]] if known else {}
    name = next(name for name in (f"alternative-{count}" for count in range(len(known) + 1, 1000)) if name not in known)
    return edited(text, {("cases", name): dict(like)})


def without(text: str, case: str) -> str:
    """The text without an alternative; InputError where a study names it."""
    _check_unnamed(text, case)
    return edited(text, {("cases", case): None})


def renamed(text: str, case: str, name: str) -> str:
    """The text with an alternative under another name, at its place; InputError where the name is none, or taken, or a study names the old one."""
    if wrong := no_name(name) or (name in cases(parsed(text)) and "is the name of another alternative"):
        raise InputError(wrong, key="cases", value=name)
    _check_unnamed(text, case)

    def change(document: Any, _new: Callable[..., Any]) -> None:
        table = document["cases"]
        kept = [(name if key == case else key, table[key]) for key in list(table)]
        for key in list(table):
            del table[key]
        for key, value in kept:
            table[key] = value

    return _rewritten(text, change)


def _check_unnamed(text: str, case: str) -> None:
    named = [path for path, value in _texts(parsed(text).get("studies", {}), ("studies",)) if value == case and path[-1] not in _NO_CASES]
    if named:
        raise InputError(f"{'.'.join(named[0])} names the alternative '{case}': change the text of the file instead", key=f"cases.{case}", value=case)


def at_load(document: Mapping[str, Any], chosen: list[str]) -> dict[str, Any]:
    """The scenario of some alternatives, each at its own load, or at ours where it has none."""
    base = document.get("base", {})
    situations = {name: _with_load(document["cases"][name], base) for name in chosen}
    return {**_head(document), "base": base if chosen else _with_load(base, {}), "cases": situations, "studies": {"load": {"kind": "points"}}}


def without_load(document: Mapping[str, Any], chosen: list[str]) -> list[str]:
    """Alternatives that have neither a load nor a target."""
    base = document.get("base", {})
    return [name for name in chosen if not _has_load(document["cases"][name], base)]


def _has_load(*situations: Mapping[str, Any]) -> bool:
    return any(key in one for key in _ASKED for one in situations)


def _with_load(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return dict(own) if _has_load(own, base) else {**own, "concurrency": LOAD}


def along_loads(document: Mapping[str, Any], chosen: list[str]) -> dict[str, Any]:
    """The scenario of some alternatives along the loads of the file's axis, or along our own."""
    loads = _thinned(document.get("axes", {}).get("concurrency", list(LOADS)))
    situations = {name: {key: value for key, value in document["cases"][name].items() if key not in _LOADS} for name in chosen}
    axes = {"concurrency": loads}
    return {**_head(document), "base": document.get("base", {}), "cases": situations, "axes": axes, "studies": {"frontier": {"kind": "points"}}}


def _thinned(loads: Any) -> Any:
    """An axis' values, no more of them than a drawing shows."""
    if isinstance(loads, Mapping):
        steps = loads.get("steps")
        return {**loads, "steps": min(steps, _MOST_LOADS)} if isinstance(steps, int) else loads
    return loads[:: -(-len(loads) // _MOST_LOADS)] if isinstance(loads, list) and loads else loads


def of_price(document: Mapping[str, Any], case: str | None) -> dict[str, Any]:
    """The scenario of where one alternative's price of tokens goes."""
    name, study = price_study(document)
    asked = {key: value for key, value in study.items() if key != "cases"}
    return at_load(document, [] if case is None else [case]) | {"studies": {name: asked}}


def _head(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": document.get("title", "scenario")}


def price_study(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and keys of the study that says where the price of tokens goes: the file's own, or one with nothing set."""
    for name, study in document.get("studies", {}).items():
        if isinstance(study, dict) and study.get("kind") == "waterfall":
            return name, study
    taken = document.get("studies", {})
    return next(name for name in ("price", *(f"price-{count}" for count in range(2, len(taken) + 3))) if name not in taken), {"kind": "waterfall"}


def packed(text: str) -> str:
    """A scenario as part of an address: compressed, in letters that need no escape."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def unpacked(link: str) -> str:
    """The scenario that an address holds; InputError where it holds none."""
    machine = zlib.decompressobj()
    try:
        found = machine.decompress(base64.urlsafe_b64decode(link + "=" * (-len(link) % 4)), LONGEST)
        text = found.decode() if machine.eof else None
    except (binascii.Error, zlib.error, ValueError):
        found, text = b"", None
    if len(found) == LONGEST:
        raise InputError(f"the address holds more than {LONGEST:,} characters", key="address")
    if text is None:
        raise InputError("the address holds no whole scenario: it may have been cut when it was copied", key="address")
    return text
