"""Traces of requests: read from Parquet, CSV, tables; drawn from clients; stretched, thickened, cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accelmodel.catalog.library import shipped_root
from accelmodel.errors import InputError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PATTERNS = ("gamma", "weibull")
BLOCK_TOKENS = 512  # tokens of a prompt's block where the column of hashes does not say them

_LENGTHS = ("input_tokens", "output_tokens")
_KNOWN = ("arrival_s", *_LENGTHS, "priority", "session", "cached_tokens", "hash_ids")
_SPREAD_S = 60.0  # copies of a thickened trace are moved by up to so many seconds


@dataclass(frozen=True)
class Client:
    """Requests of one kind: a renewal process, and lognormal lengths.

    `burstiness` is the coefficient of variation of the times between arrivals (1: Poisson), `pattern` their distribution, gamma or weibull; a length has this
    mean and coefficient of variation, and is at least 1. After ServeGen (Xiang et al., arXiv:2505.09999), which describes real traffic by such clients.
    """

    requests_per_s: float
    input_tokens: float
    output_tokens: float
    burstiness: float = 1.0
    pattern: str = "gamma"
    input_variation: float = 0.0
    output_variation: float = 0.0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise InputError("is no pattern of arrivals", key="pattern", value=self.pattern, allowed=PATTERNS)
        for key, least in (("requests_per_s", 0.0), ("burstiness", 0.0), ("input_tokens", 1.0), ("output_tokens", 1.0)):
            value = getattr(self, key)
            if not (value >= least and value > 0.0 and math.isfinite(value)):
                raise InputError(f"must be finite and {'at least 1' if least else 'above 0'}, not {value!r}", key=key, value=value)
        for key in ("input_variation", "output_variation"):
            if not 0.0 <= getattr(self, key) < math.inf:
                raise InputError("must be at least 0", key=key, value=getattr(self, key))


@dataclass(frozen=True, eq=False)
class Trace:
    """n requests in the order of their arrivals, arrays (n,).

    `hash_ids` are the prompts' blocks of `block_tokens`, those of request i from `first_hash[i]` to `first_hash[i + 1]`; equal ids are equal prefixes.
    `priority` counts from 0, which is served first. `session` says which requests belong together. `cached_tokens` of each prompt are found in a cache,
    wherever it is served; with hashes, that is found out.
    """

    name: str
    arrival_s: Array
    input_tokens: Array
    output_tokens: Array
    priority: Integers | None = None
    session: Integers | None = None
    cached_tokens: Array | None = None
    hash_ids: Integers | None = None
    first_hash: Integers | None = None
    block_tokens: float = BLOCK_TOKENS

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self.arrival_s.shape[0])

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last arrival."""
        return float(self.arrival_s[-1] - self.arrival_s[0])

    @property
    def knows_prefixes(self) -> bool:
        """Whether it says how much of a prompt is cached, or which prompts have what in common."""
        return self.hash_ids is not None or self.cached_tokens is not None

    @property
    def means(self) -> dict[str, float]:
        """Keys of a situation that the trace decides: mean lengths in tokens and, where its prompts say how much of them is cached, the prefix hits."""
        found = {name: float(getattr(self, name).mean()) for name in _LENGTHS}
        if self.cached_tokens is not None and self.hash_ids is None:
            found["prefix_hit_fraction"] = float(np.minimum(self.cached_tokens, self.input_tokens).sum() / self.input_tokens.sum())
        return found

    @classmethod
    def of(cls, source: Any) -> Trace:
        """A trace as it is, from a path (Parquet, CSV), from an Arrow table or a pandas frame, or from a mapping of columns."""
        import pandas as pd
        import pyarrow as pa

        if isinstance(source, Trace):
            return source
        if isinstance(source, (str, Path)):
            return cls.read(source)
        if isinstance(source, pd.DataFrame):
            return _from_table("trace", pa.Table.from_pandas(source, preserve_index=False), None)
        if isinstance(source, pa.Table):
            return _from_table("trace", source, None)
        if isinstance(source, Mapping):
            try:
                return _from_table("trace", pa.table(dict(source)), None)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise InputError(f"is no table of columns: {error}", key="trace") from None
        raise InputError("must be a path, a table or a Trace", key="trace", value=source)

    @classmethod
    def read(cls, path: str | Path) -> Trace:
        """A trace from a shipped one's name, or from a Parquet or CSV file with the columns arrival_s, input_tokens, output_tokens and, if
        there are, priority, session and hash_ids.

        `hash_ids` holds a list per request (in CSV: numbers apart by spaces); `hash_ids_256` says that a block has 256 tokens. InputError names file, column.
        """
        file = trace_file(path)
        return _from_table(file.stem, _read_table(file), file)

    @classmethod
    def paced(cls, source: Any, *, requests_per_s: float, burstiness: float = 1.0, pattern: str = "gamma", seed: int = 0) -> Trace:
        """The requests of a source in its order, whose own arrivals (if it has any) are replaced by those of a renewal process, as of a `Client`."""
        import pyarrow as pa

        client = Client(requests_per_s, 1.0, 1.0, burstiness, pattern)
        if isinstance(source, (str, Path)):
            file = trace_file(source)
            lengths = _from_table(file.stem, _without_arrivals(_read_table(file)), file)
        else:
            lengths = Trace.of(source if isinstance(source, Trace) else _without_arrivals(pa.table(source)))
        gaps_s = _intervals(client, lengths.requests, np.random.default_rng(seed))
        return replace(lengths, arrival_s=np.cumsum(gaps_s))

    @classmethod
    def servegen(cls, clients: str | Path, lengths: str | Path, *, duration_s: float, start_s: float = 0.0, seed: int = 0) -> Trace:
        """What the clients of a ServeGen file send from `start_s` on for `duration_s`.

        `clients` has a row for each client and window: client, window_start_s, rate_rps, cv (of the times between arrivals), pattern (Gamma, Weibull); in its
        window, a row sends rate x window requests at intervals so distributed, scaled to fill it. `lengths` has bins of input_tokens and output_tokens: field,
        prob, mean_tokens_in_bin. Every row has random numbers of its own, so that a longer stretch begins with the shorter one.
        """
        rows = _columns(clients, ("client", "window_start_s", "rate_rps", "cv", "pattern"))
        bins = _columns(lengths, ("field", "prob", "mean_tokens_in_bin"))
        starts = np.asarray(rows["window_start_s"], dtype=np.float64)
        windows = np.unique(starts)
        window_s = float(np.diff(windows).min()) if windows.size > 1 else duration_s
        drawn = [
            _sent_in_window(rows, row, window_s, bins, seed) for row in np.flatnonzero((starts + window_s > start_s) & (starts < start_s + duration_s)).tolist()
        ]
        whole = [np.concatenate([np.zeros(0), *(one[part] for one in drawn)]) for part in range(4)]
        inside = np.flatnonzero((whole[0] >= start_s) & (whole[0] < start_s + duration_s))
        if not inside.size:
            raise InputError(f"no request arrives from {start_s:g} s on for {duration_s:g} s", file=clients, key="duration_s", value=duration_s)
        order = inside[np.argsort(whole[0][inside], kind="stable")]
        arrival_s, input_tokens, output_tokens, session = (values[order] for values in whole)
        return cls(Path(clients).stem, arrival_s - start_s, input_tokens, output_tokens, session=session.astype(np.int64))

    @classmethod
    def generate(cls, clients: Client | Sequence[Client], *, duration_s: float, seed: int = 0) -> Trace:
        """What clients send in `duration_s`, each from random numbers of its own (seed, place), so that one more changes nothing of the others."""
        every = [clients] if isinstance(clients, Client) else list(clients)
        if not every:
            raise InputError("needs at least one client", key="clients")
        if not 0.0 < duration_s < math.inf:
            raise InputError("must be finite and above 0", key="duration_s", value=duration_s)
        drawn = [_drawn(client, duration_s, np.random.default_rng([seed, place])) for place, client in enumerate(every)]
        arrival_s, input_tokens, output_tokens = (np.concatenate([one[row] for one in drawn]) for row in range(3))
        if not arrival_s.size:
            raise InputError(f"no request arrives in {duration_s:g} s", key="duration_s", value=duration_s)
        order = np.argsort(arrival_s, kind="stable")
        session = np.concatenate([np.full(one[0].size, place) for place, one in enumerate(drawn)])
        return cls("generated", arrival_s[order], input_tokens[order], output_tokens[order], session=session[order])

    def stretched(self, factor: float) -> Trace:
        """The same requests, `factor` times as far apart; below 1 closer together."""
        if not 0.0 < factor < math.inf:
            raise InputError("must be finite and above 0", key="stretch", value=factor)
        return replace(self, arrival_s=self.arrival_s * factor)

    def thickened(self, times: int, seed: int = 0) -> Trace:
        """`times` as many requests in the same time: copies moved by up to a minute, round the end; the first copy stays.

        Copies have sessions and prefixes of their own: they are other users' requests.
        """
        if isinstance(times, bool) or not isinstance(times, (int, np.integer)) or times < 1:
            raise InputError("must be a whole number of at least 1", key="thicken", value=times)
        return self.at_rate(float(times), seed)

    def at_rate(self, factor: float, seed: int = 0) -> Trace:
        """The same traffic at `factor` times its rate: copies moved by up to a minute, of the last of which a random part is kept.

        What a smaller factor gives is a part of what a larger one gives.
        """
        if not 0.0 < factor < math.inf:
            raise InputError("must be finite and above 0", key="factor", value=factor)
        if factor == 1.0:
            return self
        copies, first_s, span_s = math.ceil(factor), self.arrival_s[0], max(self.duration_s, 1e-9)
        moved_s = np.concatenate([[0.0], np.random.default_rng(seed).uniform(0.0, min(_SPREAD_S, span_s), copies - 1)])
        arrival_s = first_s + np.concatenate([(self.arrival_s - first_s + by_s) % (span_s * (1.0 + 1e-12)) for by_s in moved_s])
        last = np.random.default_rng([seed, copies]).uniform(size=self.requests) < factor - (copies - 1)
        kept = np.concatenate([np.arange((copies - 1) * self.requests), (copies - 1) * self.requests + np.flatnonzero(last)])
        if not kept.size:
            raise InputError(f"no request of '{self.name}' is left at {factor:g} times its rate", key="factor", value=factor)
        copy, place = np.divmod(kept, self.requests)
        picked = self if self.session is None else replace(self, session=self.session * copies)
        thick = picked._picked(place, arrival_s[kept], sort=False)
        if thick.session is not None:
            thick = replace(thick, session=thick.session + copy)
        if thick.hash_ids is not None and thick.first_hash is not None:
            thick = replace(thick, hash_ids=thick.hash_ids + np.repeat(copy, np.diff(thick.first_hash)) * (int(thick.hash_ids.max(initial=0)) + 1))
        return thick._sorted()

    def within(self, context_tokens: int) -> Trace:
        """The same requests, none longer than a model's context: of a longer one the input is cut, to no less than one token."""
        output_tokens = np.minimum(self.output_tokens, context_tokens - 1.0)
        input_tokens = np.minimum(self.input_tokens, context_tokens - output_tokens)
        cached_tokens = None if self.cached_tokens is None else np.minimum(self.cached_tokens, input_tokens)
        return replace(self, input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens)

    def cached(self, fraction: float) -> Trace:
        """The same requests, of each of which this share of the input is found in a cache, in whole tokens."""
        if not 0.0 <= fraction <= 1.0:
            raise InputError("must be from 0 to 1", key="prefix_hit_fraction", value=fraction)
        return replace(self, cached_tokens=np.floor(fraction * self.input_tokens))

    def between(self, start_s: float, end_s: float) -> Trace:
        """The requests that arrive from `start_s` on and before `end_s`."""
        inside = np.flatnonzero((self.arrival_s >= start_s) & (self.arrival_s < end_s))
        if not inside.size:
            raise InputError(f"no request of '{self.name}' arrives from {start_s:g} s to {end_s:g} s", key="trace")
        return self.picked(inside)

    def picked(self, places: Integers) -> Trace:
        """The requests at these places."""
        return self._picked(places, self.arrival_s[places])

    def _picked(self, places: Integers, arrival_s: Array, sort: bool = True) -> Trace:
        """Some requests at other times."""
        hashes, first = self.hash_ids, self.first_hash
        if hashes is not None and first is not None:
            counts = np.diff(first)[places]
            ends = np.cumsum(counts)
            hashes = hashes[np.repeat(first[places] - (ends - counts), counts) + np.arange(ends[-1] if ends.size else 0)]
            first = np.concatenate([[0], ends])
        rows: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[places] for name in (*_LENGTHS, "priority", "session", "cached_tokens")
        }
        picked = replace(self, arrival_s=arrival_s, hash_ids=hashes, first_hash=first, **rows)
        return picked._sorted() if sort else picked

    def _sorted(self) -> Trace:
        if (np.diff(self.arrival_s) >= 0.0).all():
            return self
        return self._picked(np.argsort(self.arrival_s, kind="stable"), np.sort(self.arrival_s, kind="stable"))


def _drawn(client: Client, duration_s: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Arrivals, input and output tokens of one client."""
    many = int(client.requests_per_s * duration_s * 1.2) + 16
    arrival_s = np.zeros(0)
    while not arrival_s.size or arrival_s[-1] < duration_s:
        more = np.cumsum(_intervals(client, many, rng))
        arrival_s = np.concatenate([arrival_s, more + (arrival_s[-1] if arrival_s.size else 0.0)])
    arrival_s = arrival_s[arrival_s < duration_s]
    lengths = [
        _lognormal(mean, variation, arrival_s.size, rng)
        for mean, variation in ((client.input_tokens, client.input_variation), (client.output_tokens, client.output_variation))
    ]
    return arrival_s, lengths[0], lengths[1]


def _intervals(client: Client, many: int, rng: np.random.Generator) -> Array:
    mean_s, variation = 1.0 / client.requests_per_s, client.burstiness
    if client.pattern == "gamma":
        return rng.gamma(1.0 / variation**2, mean_s * variation**2, many)
    shape = _weibull_shape(variation)
    return rng.weibull(shape, many) * mean_s / math.gamma(1.0 + 1.0 / shape)


def _weibull_shape(variation: float) -> float:
    """The shape k at which gamma(1 + 2/k) / gamma(1 + 1/k)^2 = 1 + variation^2.

    >>> round(_weibull_shape(1.0), 9)
    1.0
    """
    low, high = math.log(0.05), math.log(100.0)  # variations from 1.3 % to far beyond a million; falls with k
    for _ in range(80):
        middle = 0.5 * (low + high)
        k = math.exp(middle)
        wider = math.lgamma(1.0 + 2.0 / k) - 2.0 * math.lgamma(1.0 + 1.0 / k) > math.log1p(variation**2)
        low, high = (middle, high) if wider else (low, middle)
    return math.exp(low)


def _lognormal(mean: float, variation: float, many: int, rng: np.random.Generator) -> Array:
    spread = math.sqrt(math.log1p(variation**2))
    return np.maximum(np.rint(mean * np.exp(spread * rng.standard_normal(many) - 0.5 * spread**2)), 1.0)


_LARGEST_VARIATION = 30.0  # of the times between arrivals in a window; more cannot be told from it


def _sent_in_window(rows: Mapping[str, Any], row: int, window_s: float, bins: Mapping[str, Any], seed: int) -> tuple[Array, Array, Array, Array]:
    """Arrivals, input and output tokens, and the client, of one row of a ServeGen file."""
    who, start_s = int(rows["client"][row]), float(rows["window_start_s"][row])
    rng = np.random.default_rng([seed, who, int(start_s)])
    many = round(float(rows["rate_rps"][row]) * window_s)
    variation = min(max(float(rows["cv"][row]), 0.01), _LARGEST_VARIATION)
    client = Client(1.0, 1.0, 1.0, burstiness=variation, pattern=str(rows["pattern"][row]).lower())
    after_s = np.cumsum(_intervals(client, many + 1, rng))
    share = after_s[:-1] / after_s[-1] if after_s[-1] > 0.0 else np.sort(rng.uniform(size=many))
    fields = np.asarray(bins["field"])
    lengths = []
    for name in _LENGTHS:
        of = fields == name
        probability = np.cumsum(np.asarray(bins["prob"], dtype=np.float64)[of])
        place = np.searchsorted(probability, rng.uniform(size=many) * probability[-1], side="right")
        lengths.append(np.maximum(np.rint(np.asarray(bins["mean_tokens_in_bin"], dtype=np.float64)[of][np.minimum(place, of.sum() - 1)]), 1.0))
    return start_s + share * window_s, lengths[0], lengths[1], np.full(many, float(who))


def _columns(path: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """Columns of a file by name; InputError for one that is missing."""
    file = Path(path)
    if not file.is_file():
        raise InputError("there is no such file", file=file, key="trace", value=str(path))
    table = _read_table(file)
    for name in names:
        if name not in table.column_names:
            raise InputError(f"the column is missing; there are {', '.join(table.column_names)}", file=file, key=name)
    return {name: table[name].to_pylist() for name in names}


def _without_arrivals(table: Any) -> Any:
    """A table whose requests all arrive at 0."""
    import pyarrow as pa

    at_0 = pa.array(np.zeros(table.num_rows))
    return (
        table.set_column(table.column_names.index("arrival_s"), "arrival_s", at_0)
        if "arrival_s" in table.column_names
        else table.append_column("arrival_s", at_0)
    )


def trace_file(path: str | Path) -> Path:
    """The file of a path, or of a shipped trace's name."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = {one.stem: one for one in sorted((shipped_root() / "scenarios" / "traces").glob("*.parquet"))}
    if str(path) not in shipped:
        raise InputError(f"'{path}' is neither a file nor a shipped trace", key="trace", value=str(path), allowed=shipped)
    return shipped[str(path)]


def _read_table(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if file.suffix == ".csv":
            return csv.read_csv(file)
        if file.suffix == ".parquet":
            return parquet.read_table(file)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {' '.join(str(error).split())}", file=file, key="trace") from None
    raise InputError(f"'{file.suffix}' is no kind of trace", file=file, key="trace", value=file.suffix, allowed=(".parquet", ".csv"))


def _from_table(name: str, table: Any, file: Path | None) -> Trace:
    missing = [column for column in ("arrival_s", *_LENGTHS) if column not in table.column_names]
    if missing:
        near = None
        if table.column_names:
            from accelmodel.errors import nearest_name

            near = nearest_name(missing[0], table.column_names)
        there = ", ".join(map(str, table.column_names))
        raise InputError(f"the column is missing; there are {there}", file=file, key=missing[0], nearest=near)
    if not table.num_rows:
        raise InputError("holds no requests", file=file, key="trace")
    numbers = {column: _numbers(table, column, file) for column in _KNOWN[:-1] if column in table.column_names}
    for column, least in (("arrival_s", 0.0), ("input_tokens", 1.0), ("output_tokens", 1.0), ("priority", 0.0), ("cached_tokens", 0.0)):
        _check(numbers.get(column), column, least, file)
    if "priority" in numbers:
        from accelmodel.serving.simulation.batching import PRIORITIES

        if (numbers["priority"] >= PRIORITIES).any():
            raise InputError(f"must be below {PRIORITIES}", file=file, key="priority", value=float(numbers["priority"].max()))
    hashes, first, block_tokens = _hashes(table, file)
    whole = {column: numbers[column].astype(np.int64) if column in numbers else None for column in ("priority", "session")}
    return Trace(
        name,
        numbers["arrival_s"],
        numbers["input_tokens"],
        numbers["output_tokens"],
        priority=whole["priority"],
        session=whole["session"],
        cached_tokens=numbers.get("cached_tokens"),
        hash_ids=hashes,
        first_hash=first,
        block_tokens=block_tokens,
    )._sorted()


def _numbers(table: Any, column: str, file: Path | None) -> Array:
    import pyarrow as pa

    values = table[column].combine_chunks()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise InputError(f"must hold numbers, not {values.type}", file=file, key=column)
    array: Array = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(array)


def _check(values: Array | None, column: str, least: float, file: Path | None) -> None:
    if values is None:
        return
    whole = column != "arrival_s"
    bad = ~(np.isfinite(values) & (values >= least)) | (whole & (values != np.rint(values)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        kind = "a whole number" if whole else "a number"
        raise InputError(f"row {row}: must be {kind} of at least {least:g}, not {values[row]:g}", file=file, key=column, value=float(values[row]))


def _hashes(table: Any, file: Path | None) -> tuple[Integers | None, Integers | None, float]:
    """Blocks numbered from 0, where each request's begin, and the tokens of a block; None where the table has none."""
    import pyarrow as pa

    column = next((name for name in table.column_names if name == "hash_ids" or name.startswith("hash_ids_")), None)
    if column is None:
        return None, None, BLOCK_TOKENS
    suffix = column.removeprefix("hash_ids").removeprefix("_")
    if suffix and not suffix.isdigit():
        raise InputError("must be hash_ids, or hash_ids_512 for blocks of 512 tokens", file=file, key=column, value=column)
    values = table[column].combine_chunks()
    if pa.types.is_string(values.type):
        lists = [text.split() for text in values.to_pylist()]
        flat, counts = np.array([word for words in lists for word in words]), [len(words) for words in lists]
    elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        flat, counts = values.flatten().to_numpy(zero_copy_only=False), values.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    else:
        raise InputError(f"must hold lists, not {values.type}", file=file, key=column)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.unique(flat, return_inverse=True)[1].astype(np.int64).reshape(-1), first, float(suffix or BLOCK_TOKENS)
