"""The request simulator a second time: one request, one iteration and one sequence at a time, written from its rules, on the equations of `reference`.

Nothing is summed up, nothing jumped over: a step of b sequences takes the mean of what steps of b sequences, all as long as each of them, would take.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from accelmodel.core.replica import Replica
from reference import Reference


@dataclass(eq=False)
class Request:
    arrival_s: float
    input_tokens: int
    output_tokens: int
    priority: int = 0
    session: int = 0
    blocks: Sequence[int] = ()
    cached_tokens: int = 0
    turn: int = 0
    sent: int = 0  # tokens when it was last evicted
    behind: int = 0  # cached tokens of its present prefill
    preemptions: int = 0
    prefilled: float = 0.0
    context: float = 0.0
    produced: float = 0.0
    replica: int = -1
    admitted_s: float = math.nan
    first_token_s: float = math.nan
    finish_s: float = math.nan


class Physics:
    """Seconds and bytes of one replica, from the plain equations."""

    def __init__(self, replica: Replica, pool_bytes: float | None = None) -> None:
        self.of, self.serving = Reference(replica), replica.serving
        self.serial = replica.parameters["serial_prefill"] > 0
        self.pool_bytes = self.of.group_pool_bytes() * self.of.dp if pool_bytes is None else pool_bytes
        self.step_s = functools.cache(self.of.step_s)
        self.yielded = self.of.tokens_per_step

    @property
    def full_bytes(self) -> float:
        return self.pool_bytes * (1 + 1e-12)  # sums of bytes are equal but for rounding

    def kept_bytes(self, request: Request) -> float:
        """Of the mean length, and a share of what the full one takes beyond."""
        mean = self.of.sequence_bytes(request.input_tokens + request.output_tokens / 2)
        full = self.of.sequence_bytes(request.input_tokens + request.output_tokens)
        return min(mean + self.of.parameters["kv_reserved_fraction"] * (full - mean), self.pool_bytes)

    def decode_s(self, contexts: Sequence[float]) -> float:
        b = len(contexts)
        micro = max((self.serving.compiled_batch or b) / self.of.stages, 1.0)
        return sum(self.step_s(micro, max(context, self.serving.sequence_bucket or 0.0)) for context in contexts) / b if b else 0.0

    def padded(self, tokens: float) -> float:
        bucket = self.serving.prompt_bucket
        return math.ceil(tokens / bucket) * bucket if bucket else tokens

    def prompts_s(self, chunks: Sequence[tuple[float, float]]) -> float:
        """Chunks of (tokens, tokens before them) in one iteration."""
        if not chunks:
            return 0.0
        if self.serial:
            return self.of.prefill_s(*chunks[0])[1]
        full = self.of.full_pass_tokens()
        tokens_s = (self.of.body_s(full) + self.of.pass_overhead_s()) / full * sum(tokens for tokens, _ in chunks)
        pairs_s = sum(self.of.pairs_s(tokens, behind) for tokens, behind in chunks) / self.of.cp
        return (tokens_s + pairs_s / self.of.dp) * self.of.balance / self.of.stages

    def beside_s(self, request: Request) -> float:
        lone_s, marginal_s = self.of.prefill_s(self.padded(max(request.input_tokens - request.cached_tokens, 1)), request.cached_tokens)
        return self.of.parameters["first_token_overhead"] + max(lone_s - marginal_s, 0.0)


@dataclass(eq=False)
class Cache:
    """Blocks, the least recently used first."""

    block_tokens: int
    capacity_tokens: float | None
    held: list[int] = field(default_factory=list)

    def found(self, blocks: Sequence[int]) -> int:
        return next((place for place, block in enumerate(blocks) if block not in self.held), len(blocks))

    def touch(self, blocks: Sequence[int], room: float) -> None:
        for block in reversed(blocks):
            if block in self.held:
                self.held.remove(block)
            self.held.append(block)
        while self.held and len(self.held) > room:
            self.held.pop(0)


class Server:
    """One replica: rules 1 to 4."""

    def __init__(self, physics: Physics, cache: Cache | None, slots: int, prefilled: bool = False, preempts: bool = False) -> None:
        self.prefilled, self.preempts = prefilled, preempts
        self.physics, self.cache = physics, cache
        self.slots = physics.serving.compiled_batch or slots
        self.clock_s, self.end_s = 0.0, math.inf
        self.queue: list[Request] = []
        self.running: list[Request] = []
        self.decoding: list[Request] = []
        self.chunks: list[tuple[Request, float]] = []
        self.stepping: list[Request] = []
        self.begun: Request | None = None
        self.static = physics.serving.mode == "static"
        self.wave: list[Request] = []  # prefilled, and to decode when nobody else joins
        self.peak_bytes = 0.0

    @property
    def load(self) -> int:
        return len(self.queue) + len(self.running)

    def held_bytes(self, request: Request) -> float:
        """What a request that runs keeps to itself: what it reserved, or (rule 5) what its prompt takes, or what its next step attends to."""
        if not self.preempts:
            return self.physics.kept_bytes(request)
        return self.physics.of.sequence_bytes(request.context if request in self.decoding else request.input_tokens + request.sent)

    def reserved_bytes(self) -> float:
        return sum(self.held_bytes(request) for request in self.running)

    def evict(self) -> bool:
        """Rule 6; whether anybody was evicted."""
        evicted = False
        while self.reserved_bytes() > self.physics.full_bytes:
            victim = max(self.running, key=lambda request: (request.priority, request.turn))
            self.running.remove(victim)
            if victim in self.decoding:
                self.decoding.remove(victim)
                victim.sent = math.floor(victim.produced + 1e-9)
            if victim is self.begun:
                self.begun = None
            victim.prefilled, victim.preemptions, evicted = 0.0, victim.preemptions + 1, True
            self.queue.insert(0, victim)
        return evicted

    def room(self) -> float:
        assert self.cache is not None
        if self.cache.capacity_tokens is not None:
            return self.cache.capacity_tokens / self.cache.block_tokens
        token_bytes = (self.physics.of.sequence_bytes(2e6) - self.physics.of.sequence_bytes(1e6)) / 1e6  # beyond every bound
        return (self.physics.pool_bytes - self.reserved_bytes()) / (self.cache.block_tokens * token_bytes)

    def admit(self) -> Request | None:
        arrived = [request for request in self.queue if request.arrival_s <= self.clock_s]
        if not arrived:
            return None
        first = min(arrived, key=lambda request: (request.priority, self.queue.index(request)))
        pool_bytes = self.physics.full_bytes if self.preempts else self.physics.pool_bytes
        if len(self.running) >= self.slots or self.reserved_bytes() + self.held_bytes(first) > pool_bytes:
            return None
        self.queue.remove(first)
        self.running.append(first)
        self.peak_bytes = max(self.peak_bytes, self.reserved_bytes())
        first.admitted_s = first.admitted_s if first.preemptions else self.clock_s
        first.behind = first.cached_tokens
        if self.cache is not None:
            found = self.cache.found(first.blocks)
            first.behind = min(found * self.cache.block_tokens, first.input_tokens + first.sent - 1)
            first.cached_tokens = first.cached_tokens if first.sent else first.behind
            self.cache.touch(first.blocks[:found], self.room())
        return first

    def begin(self) -> None:
        if self.prefilled:
            while (request := self.admit()) is not None:
                self.decode(request)
            self.stepping = list(self.decoding)
            self.end_s = self.clock_s + self.physics.decode_s([request.context for request in self.stepping])
            return
        if self.static and self.decoding:
            self.stepping = list(self.decoding)
            self.end_s = self.clock_s + self.physics.decode_s([request.context for request in self.stepping])
            return
        evicted = self.preempts and self.evict()
        self.stepping = list(self.decoding)
        budget = max(self.physics.of.chunk * self.physics.of.dp - len(self.stepping), 1.0)
        chunks: list[tuple[float, float]] = []
        while budget > 0:
            request = self.begun or (None if evicted else self.admit())
            if request is None:
                break
            fresh = self.physics.padded(max(request.input_tokens + request.sent - request.behind, 1))
            taken = fresh if self.physics.serial else min(fresh - request.prefilled, budget)
            chunks.append((taken, request.behind + request.prefilled))
            self.chunks.append((request, taken))
            request.prefilled += taken
            self.begun = request if request.prefilled < fresh else None
            budget = 0 if self.physics.serial else budget - taken
        if self.static and not chunks:
            for request in self.wave:
                if not self.physics.serial:
                    request.first_token_s = self.clock_s
                self.decode(request)
            self.wave = []
            if not self.load:
                return
            if self.decoding:
                self.begin()
            return
        self.end_s = self.clock_s + self.physics.decode_s([request.context for request in self.stepping]) + self.physics.prompts_s(chunks)

    def decode(self, request: Request) -> None:
        request.produced, request.context = request.sent + 1.0, request.input_tokens + request.sent + 1.0
        if request.output_tokens <= request.sent + 1:
            self.leave(request)
        else:
            self.decoding.append(request)

    def complete(self) -> None:
        self.clock_s, self.end_s = self.end_s, math.inf
        for request in self.stepping:
            request.produced += self.physics.yielded
            request.context += self.physics.yielded
            if request.produced >= request.output_tokens - 1e-9 and math.isnan(request.finish_s):
                self.leave(request)
        if self.static and all(not math.isnan(request.finish_s) for request in self.decoding):
            self.decoding = []
        done = [request for request, _ in self.chunks if request is not self.begun]
        for request in done:
            request.first_token_s = request.first_token_s if request.sent else self.clock_s
            if self.cache is not None:
                self.cache.touch(request.blocks, self.room())
        for request in done:
            if self.static:
                self.wave.append(request)
            else:
                self.decode(request)
        self.chunks = []

    def leave(self, request: Request) -> None:
        request.finish_s = self.clock_s
        self.running.remove(request)
        if request in self.decoding and not self.static:
            self.decoding.remove(request)

    def run_until(self, until_s: float) -> None:
        """Complete what ends by then; begin what starts before."""
        while True:
            if self.end_s < math.inf:
                if self.end_s > until_s:
                    return
                self.complete()
            if not self.load:
                return
            if not self.running:
                self.clock_s = max(self.clock_s, min(request.arrival_s for request in self.queue))
            if self.clock_s >= until_s:
                return
            self.begin()


def hashed(key: int) -> int:
    """splitmix64, without the last bit."""
    mask = 2**64 - 1
    x = (key + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (x ^ (x >> 31)) >> 1


def route(routing: str, turn: int, request: Request, servers: Sequence[Server]) -> int:
    numbers = range(len(servers))
    least = min(server.load for server in servers)
    if routing == "round-robin":
        return turn % len(servers)
    if routing == "session":
        return hashed(request.session) % len(servers)
    if routing == "least-loaded":
        return min(numbers, key=lambda r: servers[r].load)
    able = [r for r in numbers if servers[r].load <= 2 * least + 8]
    return min(able, key=lambda r: (-servers[r].cache.found(request.blocks), servers[r].load))  # type: ignore[union-attr]


def simulate(
    physics: Physics,
    requests: Sequence[Request],
    *,
    replicas: int,
    routing: str,
    slots: int = 2048,
    block_tokens: int | None = None,
    cache_tokens: float | None = None,
    prefilled: bool = False,
    when_full: str = "wait",
) -> list[Server]:
    """Serve requests, in the order of their arrivals."""
    servers = [Server(physics, Cache(block_tokens, cache_tokens) if block_tokens else None, slots, prefilled, when_full == "preempt") for _ in range(replicas)]
    for turn, request in enumerate(requests):
        request.turn = turn
        for server in servers:
            server.run_until(request.arrival_s)
        request.replica = route(routing, turn, request, servers)
        servers[request.replica].queue.append(request)
    for server in servers:
        server.run_until(math.inf)
    return servers


def simulate_pools(physics: Physics, requests: Sequence[Request], *, prefill_replicas: int, replicas: int, routing: str) -> None:
    """A pool that prefills, and one that decodes what it is sent."""
    prompts = [dataclasses.replace(request, output_tokens=1) for request in requests]
    simulate(physics, prompts, replicas=prefill_replicas, routing=routing)
    for request, prompt in zip(requests, prompts, strict=True):
        request.admitted_s, request.replica = prompt.admitted_s, prompt.replica
        request.first_token_s = request.finish_s = prompt.finish_s + physics.of.transfer_s(request.input_tokens)
    rest = sorted((request for request in requests if request.output_tokens > 1), key=lambda request: request.first_token_s)
    sent = [dataclasses.replace(request, arrival_s=request.first_token_s, finish_s=math.nan) for request in rest]
    simulate(physics, sent, replicas=replicas, routing=routing, prefilled=True)
    for request, one in zip(rest, sent, strict=True):
        request.finish_s, request.replica = one.finish_s, one.replica


def serve_clients(
    physics: Physics,
    requests: Sequence[Request],
    clients: int,
    *,
    replicas: int,
    routing: str,
    block_tokens: int | None = None,
    when_full: str = "wait",
) -> None:
    """A closed loop: whoever is ready first sends the next request; at one time first what ends, then what arrives, then what starts."""
    servers = [Server(physics, Cache(block_tokens, None) if block_tokens else None, 2048, preempts=when_full == "preempt") for _ in range(replicas)]
    ready_s, sender, turn = [0.0] * clients, {}, 0
    while turn < len(requests):
        ends = [server.end_s for server in servers]
        starts = [server.clock_s for server in servers if server.end_s == math.inf and server.load]
        now = min([*ready_s, *ends, *starts])
        if min(ends) == now:
            for server in servers:
                if server.end_s == now:
                    server.complete()
            for request in [request for request in sender if not math.isnan(request.finish_s)]:
                ready_s[sender.pop(request)] = request.finish_s + physics.beside_s(request)
        elif min(ready_s) == now:
            request, client = requests[turn], ready_s.index(now)
            request.arrival_s, request.replica, ready_s[client], sender[request] = now, route(routing, turn, request, servers), math.inf, client
            server = servers[request.replica]
            if not server.load:
                server.clock_s = now
            server.queue.append(request)
            request.turn = turn
            turn += 1
        else:
            for server in servers:
                if server.end_s == math.inf and server.load and server.clock_s == now:
                    server.begin()
    for server in servers:
        server.run_until(math.inf)
