"""The peer of the REST bench: the same Hypercorn and Quart-Trio, serving a constant on one core."""

from __future__ import annotations

import json
import os
import sys
from functools import partial

import trio
from quart import Response
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse

from invorto.api.hypercorn import HttpServer
from invorto.realtime.door import Upgrade, serve_door
from invorto.realtime.head import Refused, Request
from invorto.realtime.listeners import open_listeners


async def _nothing(_: Request, upgrade: Upgrade) -> None:
    await upgrade.refuse(Refused(404, "not_found", "no socket here"))


async def _main() -> None:
    app = QuartTrio("constant", static_folder=None)
    body = json.dumps(
        {"data": [], "pagination": {"page": 1, "limit": 20, "total": 0, "pages": 0, "next": None}}
    ).encode()

    @app.get("/constant")
    async def constant() -> Response:
        return TrioResponse(body, 200, {"Content-Type": "application/json"})

    async with open_listeners("127.0.0.1", 0) as listeners, trio.open_nursery() as nursery:
        door = partial(serve_door, listeners, voice=_nothing, http_handler=HttpServer(app))
        addresses = await nursery.start(door)
        sys.stdout.write(json.dumps({"port": addresses[0][1], "key": ""}) + "\n")
        sys.stdout.flush()
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
            while await stream.receive_some():
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(os.environ["BENCH_CORE"])})
    trio.run(_main)
