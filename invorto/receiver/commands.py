"""The commands `invorto webhooks listen` and `invorto webhooks trigger`, as the command line has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from invorto.config import Config

type Options = dict[str, str | None]

_SERVER = click.option(
    "--url", metavar="URL", help="The server's base URL; without it, the one that `invorto dev` runs here."
)
_KEY = click.option("--key", metavar="KEY", help="API key; without it, the one that `invorto dev` made.")


def commands(
    read: Callable[[Options], Config], run: Callable[..., Any], data_option: Callable[[Any], Any]
) -> click.Group:
    """Make the group; *read* gives the settings, *run* runs a body."""

    @click.group(short_help="While you write a receiver: listen for webhooks, or send samples.")
    def webhooks() -> None:
        """Webhooks while you write a receiver: listen for them, or send samples of any event."""

    @webhooks.command(short_help="Take webhooks on this machine and print what arrives, verified.")
    @click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
    @click.option("--port", default=4545, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
    @click.option("--secret", metavar="SECRET", help="Verify with this one, and register nowhere.")
    @click.option(
        "--public", metavar="URL", help="How a server elsewhere reaches this machine, such as a tunnel's URL."
    )
    @click.option("--events", metavar="TYPES", default="", help="Comma list of what to ask for.  [all]")
    @click.option(
        "--answer", type=click.IntRange(200, 599), default=200, show_default=True, metavar="STATUS",
        help="Answer this to see what the server does then.",
    )  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print the bodies alone, one a line.")
    @_SERVER
    @_KEY
    @data_option
    def listen(  # pyright: ignore[reportUnusedFunction]
        *, host: str, port: int, secret: str | None, public: str | None, events: str, answer: int, url: str | None,
        key: str | None, as_json: bool, **options: str | None,
    ) -> int | None:  # fmt: skip
        """Print webhooks as they arrive, each verified, until Ctrl-C.

        It registers itself with the server and takes that back in the end. A post that is not genuine is answered 400.
        """
        config = read(options)
        from invorto.receiver.listen import Wish
        from invorto.receiver.listen import listen as body

        names = [name.strip() for name in events.split(",") if name.strip()]
        wish = Wish(
            host=host, port=port, secret=secret, public=public, events=names, answer=answer, as_json=as_json, url=url,
            key=key,
        )  # fmt: skip
        return run(body, config, wish)

    @webhooks.command(short_help="Send a sample of any event, straight to a receiver or through a server.")
    @click.argument("type_", metavar="TYPE")
    @click.option("--to", metavar="URL", help="The receiver; without it a server sends to a registered endpoint.")
    @click.option("--secret", metavar="SECRET", help="What to sign with, with --to.")
    @click.option("--with", "over", metavar="JSON", help="Fields of `data` other than the sample's, with --to.")
    @click.option("--endpoint", metavar="ID", help="The endpoint that the server sends to, where there are several.")
    @_SERVER
    @_KEY
    @data_option
    def trigger(  # pyright: ignore[reportUnusedFunction]
        *, type_: str, to: str | None, secret: str | None, over: str | None, endpoint: str | None, url: str | None,
        key: str | None, **options: str | None,
    ) -> int | None:  # fmt: skip
        """Send a sample of the event TYPE, such as call.ended.

        With --to it is signed here and posted at once, no server needed; exit code 0 if the receiver answers 2xx.
        """
        config = read(options)
        from invorto.receiver.trigger import Shot
        from invorto.receiver.trigger import trigger as body

        shot = Shot(type=type_, to=to, secret=secret, over=over, endpoint=endpoint, url=url, key=key)
        return run(body, config, shot)

    return webhooks
