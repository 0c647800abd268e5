"""An engine for tests that does strange things when told to; it runs in a worker's process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any


class Parrot:
    """Repeats what it is told, and more."""

    def __init__(self) -> None:
        self.about = {"name": "parrot"}

    def work(self, what: str, body: Any) -> Iterator[Any]:
        match what:
            case "say":
                yield body
            case "count":
                for number in range(body["to"]):
                    time.sleep(body["each"])
                    yield number
            case "sleep":
                time.sleep(body)
            case "raise":
                raise ValueError(body)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "print":
                print(body)
                print(body, file=sys.stderr)
            case "environment":
                yield dict(os.environ)
            case "modules":
                yield sorted(sys.modules)
            case "priority":
                yield os.nice(0)
            case _:
                raise ValueError(what)


def broken() -> Parrot:
    raise RuntimeError("the model is missing")


def stubborn() -> Parrot:
    time.sleep(3600)
    raise AssertionError
