"""`invorto webhooks listen`: takes webhooks on this machine and prints what arrives, verified."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import attrs
import trio
from rich.console import Console
from rich.markup import escape

from invorto.config import Config
from invorto.errors import Invalid, StartFailed, UsageError
from invorto.receiver.inbox import Post, serve
from invorto.receiver.letters import Letter, Mailbox
from invorto.receiver.server import open_endpoints, registered, where
from invorto.webhooks import catalogue, signing

REFUSED = 400
"""What is answered to whom nobody believes."""


@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants to hear, and where."""

    host: str
    port: int
    secret: str | None
    """Verify with this and register nowhere."""
    public: str | None
    """The URL under which a server elsewhere reaches this machine."""
    events: Sequence[str]
    answer: int
    """The status that is answered to what is genuine."""
    as_json: bool
    url: str | None
    key: str | None


async def listen(config: Config, wish: Wish) -> int:
    """
    Print what arrives until Ctrl-C; gives the exit code.

    Without a secret it registers itself with the server, and takes that back in the end. `UsageError` for what is
    wrong with the options, `StartFailed` where port or server cannot be had.
    """
    console = Console(highlight=False, soft_wrap=True)
    mailbox = Mailbox(wish.secret)
    if wish.secret is not None:
        _check(wish.secret)
    for name in wish.events:
        if name != "*" and name not in catalogue.catalogue():
            raise UsageError(f"there is no event {name}: choose of {', '.join(catalogue.catalogue())}")

    async def take(post: Post) -> int:
        letter = mailbox.read(post.headers, post.body, time.time())
        show(console, letter, as_json=wish.as_json)
        await trio.lowlevel.checkpoint()
        return wish.answer if letter.fault is None else REFUSED

    async with AsyncExitStack() as stack:
        stopped = trio.Event()
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(_signals, stopped)
        try:
            host, port = await nursery.start(serve, take, wish.host, wish.port)
        except OSError as error:
            raise StartFailed(f"cannot listen on {wish.host}:{wish.port} ({error.strerror})") from None
        here = wish.public or f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        said = f"listening on {here}"
        if wish.secret is None:
            server = where(config, wish.url, wish.key)
            endpoints = await stack.enter_async_context(open_endpoints(server))
            made = await stack.enter_async_context(registered(endpoints, here, list(wish.events) or ["*"]))
            mailbox.secret = made["secret"]
            said += f", registered with {server.url} as {made['id']}"
        if not wish.as_json:
            console.print(f"{said}; Ctrl-C ends it", style="bold", markup=False)
        await stopped.wait()
    return 0


def show(console: Console, letter: Letter, *, as_json: bool) -> None:
    """Print what came: as it is, or in a line."""
    if as_json:
        if letter.fault is None:
            console.out(letter.body.decode("utf-8", "replace"), highlight=False)
        return
    at = time.strftime("%H:%M:%S")
    if letter.fault is not None:
        console.print(f"[dim]{at}[/]  [red]✗ {letter.type or 'a post':24}[/]  {escape(letter.fault)}")
        return
    again = "  [yellow](it came before)[/]" if letter.again else ""
    console.print(
        f"[dim]{at}[/]  [green]✓[/] [bold]{escape(letter.type):25}[/] [dim]{escape(letter.subject)}[/]"
        f"  {escape(letter.text)}{again}"
    )


def _check(secret: str) -> None:
    try:
        signing.key_of(secret)
    except Invalid as error:
        raise UsageError(f"--secret: {error}") from None


async def _signals(stopped: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stopped.set()
