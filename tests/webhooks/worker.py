"""A dispatcher in a process of its own, to be killed: ``python -m tests.webhooks.worker DB_URL``, settings by name."""

from __future__ import annotations

import os
import sys

import trio

from invorto.observability.logs import set_up_logs
from invorto.storage.aio import open_loop
from invorto.storage.postgres import open_database
from tests.webhooks.house import QUICK, a_dispatcher


async def main(url: str) -> None:
    """Deliver until killed."""
    environ = {name: value for name, value in os.environ.items() if "WEBHOOK" in name}
    async with open_loop(), open_database(url, 3) as database, trio.open_nursery() as nursery:
        await nursery.start(a_dispatcher(database, url, pace=QUICK, **environ).run)
        print("delivers", flush=True)


if __name__ == "__main__":
    set_up_logs("info", "json")
    trio.run(main, sys.argv[1])
