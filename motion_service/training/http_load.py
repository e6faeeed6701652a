"""Load for a server: many clients in several processes, closed (ask again when answered) or open (ask when it is time).

Each process is this module run as a program: a :class:`Load` as JSON on standard input, :class:`Outcome` as JSON on
standard output. Plain asyncio streams and the standard library only, so that a client costs little and starts fast.
Open load draws arrivals of a Poisson process, and a request's time begins when it was due, not when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

SUBJECTS: Final = (
    *("a person", "someone", "a man", "a woman", "a child", "an old man", "a tall person", "the figure"),
    *("a dancer", "a tired man", "a young woman", "a soldier", "a robot", "a happy person", "an athlete", "a nurse"),
)
ACTIONS: Final = (
    *("walks forward", "runs ahead", "waves with the right hand", "raises the left arm", "bows", "turns left"),
    *("turns right", "walks backwards", "steps to the side", "raises both hands", "waves with both hands", "jogs"),
    *("walks in a circle", "waves with the left hand", "raises the right arm", "stands still", "says goodbye"),
)
MANNERS: Final = (
    *("slowly", "quickly", "happily", "sadly", "calmly", "with energy", "with care", "angrily", "at ease", "proudly"),
    *("nervously", "in the park", "on the street", "at home", "in front of a mirror", "on a stage", "for a friend"),
)
_HEAD_BYTES: Final = 1 << 16
_READ_BYTES: Final = 1 << 21
_DRAIN_SECONDS: Final = 30.0
_GENERATOR: Final = re.compile(rb'"generator":\s*"([a-z-]+)"')
_BATCH: Final = re.compile(rb'"batch(?:_size)?":\s*(\d+)')


@dataclass(frozen=True, slots=True)
class Load:
    """What one process does."""

    port: int
    path: str
    seconds: float
    """How long requests count, after ``warm`` seconds in which they do not."""
    clients: int = 0
    """Closed load: so many ask one request after the other."""
    rate: float = 0.0
    """Open load: requests a second."""
    warm: float = 1.0
    start_at: float = 0.0
    """time.time() at which all processes begin."""
    seed: int = 0
    """Another one for each process: it decides prompts, seeds, lengths and arrivals."""
    lengths: tuple[float, float] = (5.0, 5.0)
    """Shortest and longest clip, seconds."""
    options: dict[str, object] = field(default_factory=dict)
    """Further fields of each request."""
    get: bool = False
    """Ask with GET and no body."""


@dataclass(slots=True)
class Outcome:
    """What came of it. Closed load: of answers within the measured seconds; open load: of requests due within them."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    generators: dict[str, int] = field(default_factory=dict)
    batch_sizes: dict[str, int] = field(default_factory=dict)
    """How many answers were made in a batch of each size, where the server tells."""
    num_bytes: int = 0
    answered: int = 0
    """Answers that came within the measured seconds, also to requests before them."""
    due: int = 0
    """Open load: requests that were due within the measured seconds."""

    def add(self, other: Outcome) -> None:
        self.latencies_ms += other.latencies_ms
        self.num_bytes += other.num_bytes
        self.due += other.due
        self.answered += other.answered
        for name in ("errors", "generators", "batch_sizes"):
            counts = Counter(getattr(self, name)) + Counter(getattr(other, name))
            setattr(self, name, dict(counts))


def draw_prompt(drawn: random.Random) -> str:
    """One of some 78,000 English prompts."""
    first = f"{drawn.choice(SUBJECTS)} {drawn.choice(ACTIONS)} {drawn.choice(MANNERS)}"
    return first if drawn.random() < 0.5 else f"{first} and {drawn.choice(ACTIONS)}"


# --- one process ------------------------------------------------------------------------------------------------------


class _Clients:
    """All clients of one process."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._drawn = random.Random(load.seed)
        self._numbers = 0
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._begin = load.start_at + load.warm
        self._end = self._begin + load.seconds
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        await asyncio.sleep(max(0.0, self._load.start_at - time.time()))
        if self._load.clients:
            await asyncio.gather(*(self._ask_again() for _ in range(self._load.clients)))
        else:
            await self._ask_when_due()
        for _, writer in self._idle:
            writer.close()
        return self.outcome

    async def _ask_again(self) -> None:
        while time.time() < self._end:
            if not await self._ask(time.time()):
                await asyncio.sleep(0.02)  # a server that refuses is not to be hammered

    async def _ask_when_due(self) -> None:
        due, tasks = self._load.start_at, set()
        while True:
            due += self._drawn.expovariate(self._load.rate)
            if due >= self._end:
                break
            await asyncio.sleep(max(0.0, due - time.time()))
            self.outcome.due += due >= self._begin
            task = asyncio.create_task(self._ask(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()
            if late:
                self._count_error("unanswered", len(late))

    async def _ask(self, since: float) -> bool:
        """One request; whether it was answered. Its time began at ``since``."""
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            status, body = await self._exchange(connection)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self._count_error(type(error).__name__)
            return False
        self._idle.append(connection)
        if status != 200:
            self._count_error(str(status))
            return False
        now = time.time()
        is_within = self._begin <= now < self._end
        self.outcome.answered += is_within
        if self._begin <= since if self._load.rate else is_within:
            self._count(1000 * (now - since), body)
        return True

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._load.port, limit=_READ_BYTES)

    async def _exchange(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> tuple[int, bytes]:
        reader, writer = connection
        writer.write(self._request())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        found = re.search(rb"content-length: (\d+)", head)
        if found is None:
            raise ValueError("an answer without a length")
        return int(head.split(b" ", 2)[1]), await reader.readexactly(int(found[1]))

    def _request(self) -> bytes:
        if self._load.get:
            return f"GET {self._load.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
        self._numbers += 1
        wish = {
            "prompt": draw_prompt(self._drawn),
            "seed": self._load.seed * 1_000_000 + self._numbers,
            "duration_sec": round(self._drawn.uniform(*self._load.lengths), 2),
            **self._load.options,
        }
        body = json.dumps(wish).encode()
        head = f"POST {self._load.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body

    def _count(self, elapsed_ms: float, body: bytes) -> None:
        outcome = self.outcome
        outcome.latencies_ms.append(round(elapsed_ms, 3))
        outcome.num_bytes += len(body)
        for counts, pattern in ((outcome.generators, _GENERATOR), (outcome.batch_sizes, _BATCH)):
            if found := pattern.search(body):
                name = found[1].decode()
                counts[name] = counts.get(name, 0) + 1

    def _count_error(self, kind: str, count: int = 1) -> None:
        self.outcome.errors[kind] = self.outcome.errors.get(kind, 0) + count


# --- many processes ---------------------------------------------------------------------------------------------------


def run_load(load: Load, processes: int) -> Outcome:
    """Share ``load`` among processes; what came of it, together."""
    processes = max(1, min(processes, load.clients or processes))
    loads = [
        replace(
            load,
            start_at=time.time() + 0.5 + 0.05 * processes,
            seed=load.seed * 1000 + i,
            clients=len(range(i, load.clients, processes)),
            rate=load.rate / processes,
        )
        for i in range(processes)
    ]
    children = [_start(part) for part in loads]
    total = Outcome()
    for child in children:
        told, _ = child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"a process of the load generator ended with {child.returncode}")
        total.add(Outcome(**json.loads(told)))
    return total


def _start(load: Load) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", __name__]
    child = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(json.dumps(asdict(load)).encode())
    child.stdin.close()
    child.stdin = None
    return child


# --- how fast the generator itself is ---------------------------------------------------------------------------------


class _Stub(asyncio.Protocol):
    """Answers every request at once with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            found = re.search(rb"content-length: (\d+)", self._received[:end])
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            assert self._transport is not None
            self._transport.write(self._answer)


async def _serve_stub(num_bytes: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % num_bytes + b"x" * num_bytes
    server = await asyncio.get_running_loop().create_server(lambda: _Stub(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def generator_limit(processes: int, num_bytes: int, *, clients: int = 64, seconds: float = 2.0) -> float:
    """Requests a second of ``clients`` closed clients against a server that does nothing but send ``num_bytes``."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", __name__, "stub", str(num_bytes)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as stub:
        try:
            assert stub.stdout is not None
            load = Load(int(stub.stdout.readline()), "/", seconds, clients=clients, warm=0.5)
            return run_load(load, processes).answered / seconds
        finally:
            stub.terminate()


def main(arguments: Sequence[str]) -> int:
    """``stub BYTES``: the server that does nothing; without arguments: one process of load."""
    if arguments:
        asyncio.run(_serve_stub(int(arguments[1])))
        return 0
    told = json.loads(sys.stdin.read())
    load = Load(**{**told, "lengths": tuple(told["lengths"])})
    print(json.dumps(asdict(asyncio.run(_Clients(load).run()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
