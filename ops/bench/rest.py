"""How many reads a second one worker on one core answers, and how that compares with the same server's constant.

Rounds alternate between Invorto (`GET /v1/agents/{id}`: key, row-level security, PostgreSQL, JSON, log, metrics) and a
constant on the same Hypercorn and Quart-Trio; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs
import trio

from ops.bench import figures, machine
from ops.bench.house import ROOT, Stores, pipes, settings, stores

_ANSWER = 65_536


@attrs.frozen
class Served:
    """A server that serves."""

    port: int
    key: str


@attrs.frozen
class Round:
    """What one round gave."""

    rate: float
    """Answers a second."""
    p99: float
    """Milliseconds."""
    failed: int


@contextmanager
def serving(module: str, environ: dict[str, str]) -> Iterator[Served]:
    """Run a server on its core."""
    argv = [sys.executable, "-m", f"ops.bench.{module}"]
    log = subprocess.DEVNULL
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environ, text=True
    ) as process:
        to, fro = pipes(process)
        line = fro.readline()
        if not line:
            raise SystemExit(f"{module} did not start")
        try:
            yield Served(**json.loads(line))
        finally:
            to.close()


async def client(served: Served, path: str, until: float, took: list[float], failed: list[int]) -> None:
    """Ask on one connection, again and again, and take note of how long each answer took."""
    head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {served.key}\r\n\r\n".encode()
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        while trio.current_time() < until:
            began = time.perf_counter()
            await stream.send_all(head)
            answer = await whole(stream)
            took.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                failed.append(1)


async def whole(stream: trio.SocketStream) -> bytes:
    """Read one answer, by its Content-Length."""
    data = bytearray()
    while True:
        piece = await stream.receive_some(_ANSWER)
        if not piece:
            raise SystemExit("the server closed a connection")
        data += piece
        head, found, body = bytes(data).partition(b"\r\n\r\n")
        if found:
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            if len(body) >= length:
                return bytes(data)


async def load(served: Served, path: str, seconds: float, connections: int) -> Round:
    """Keep *connections* asking for *seconds*."""
    took: list[float] = []
    failed: list[int] = []
    until = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(client, served, path, until, took, failed)
    return Round(len(took) / seconds, figures.percentile(took, 0.99) * 1000, len(failed))


async def an_agent(served: Served) -> str:
    """Give the path of an agent to read: the first of the list."""
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        ask = f"GET /v1/agents?limit=1 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {served.key}\r\n\r\n"
        await stream.send_all(ask.encode())
        body = json.loads((await whole(stream)).partition(b"\r\n\r\n")[2])
    return f"/v1/agents/{body['data'][0]['id']}"


def run(kept: Stores, rounds: int, seconds: float, connections: int) -> tuple[list[Round], list[Round]]:
    """Alternate between Invorto and the constant; gives the rounds of both."""
    core, other = machine.cores()
    os.sched_setaffinity(0, {other})
    off = {"RATE_LIMIT_READS": "0", "LOG_LEVEL": "info", "API_PORT": "0"}
    with ExitStack() as stack:
        ours = stack.enter_context(serving("served", {**settings(kept, **off), "BENCH_CORE": str(core)}))
        peer = stack.enter_context(serving("constant", {**os.environ, "BENCH_CORE": str(core)}))
        path = trio.run(an_agent, ours)
        invorto: list[Round] = []
        constant: list[Round] = []
        for _ in range(rounds):
            invorto.append(trio.run(load, ours, path, seconds, connections))
            constant.append(trio.run(load, peer, "/constant", seconds, connections))
    return invorto, constant


def main() -> int:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each; the median counts")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    asked = parser.parse_args()
    with stores() as kept:
        invorto, constant = run(kept, asked.rounds, asked.seconds, asked.connections)
    rate, base = (statistics.median(one.rate for one in rounds) for rounds in (invorto, constant))
    p99 = statistics.median(one.p99 for one in invorto)
    failed = sum(one.failed for one in (*invorto, *constant))
    rows = [("invorto", rate, p99), ("constant", base, statistics.median(one.p99 for one in constant))]
    figures.show(f"Reads, {asked.connections} connections, one core", ["server", "a second", "p99 ms"], rows)
    figures.tell({"requests_per_s": rate, "read_p99_ms": p99, "ratio_to_constant": rate / base, "failed": failed})
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
