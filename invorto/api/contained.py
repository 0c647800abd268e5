"""An ASGI application whose errors stay in their request, and whose last word is heard.

Quart-Trio cancels a request's task when it hears that the client is gone; Hypercorn says so at the end of every answer,
from inside the call that sends it, so that the end is never reached and the connection never closed. So the news of the
end waits until the last piece has been sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio

from invorto.realtime.head import problem

log = structlog.get_logger(__name__)

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


def contained(app: Application) -> Application:
    """Make of *app* one that ends its answers, and answers 500 where *app* raises before it has said anything."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        started, ending, sent = False, False, trio.Event()

        async def say(message: Message) -> None:
            nonlocal started, ending
            started = True
            if message["type"] != "http.response.body" or message.get("more_body"):
                await send(message)
                return
            ending = True
            try:
                await send(message)
            finally:
                sent.set()

        async def hear() -> Message:
            message = await receive()
            if ending and message["type"] == "http.disconnect":
                await sent.wait()
            return message

        try:
            await app(scope, hear, say)
        except* Exception as group:
            # One of the three edges where errors are contained: a request.
            log.exception("request_failed", exc_info=group, method=scope["method"], path=scope["path"])
            if not started:
                await _apologize(say)

    return answer


async def _apologize(say: Send) -> None:
    body = problem("internal_error", "we made a mistake; the log has it")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await say({"type": "http.response.start", "status": 500, "headers": headers})
    await say({"type": "http.response.body", "body": body})
