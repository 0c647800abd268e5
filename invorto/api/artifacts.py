"""Routes of what a call left as files: links that expire, and the files behind them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

import attrs
import trio
from quart import Response, request
from quart_trio.wrappers import TrioResponse

from invorto.api import bundles, links
from invorto.api.auth import Caller, Gate
from invorto.api.bundles import Pieces, Sent
from invorto.api.call_shapes import TranscriptAnswer
from invorto.api.deps import ApiDeps
from invorto.api.recordings import locate, send_recording
from invorto.api.routing import Routes
from invorto.convert import unstructure
from invorto.errors import Forbidden, NotFound, NotSupported
from invorto.model import rules
from invorto.model.record import TimelineEvent
from invorto.storage import calls
from invorto.storage.json_text import json_text

KINDS = {
    "recording.wav": "audio/wav",
    "transcript.json": "application/json",
    "transcript.jsonl": "application/x-ndjson",
    "metrics.ndjson": "application/x-ndjson",
    "bundle.zip": "application/zip",
}
"""The files of a call; `metrics.ndjson` is its timeline, an event a line."""
_PAGE = 500


@attrs.frozen(kw_only=True)
class Artifact:
    """A file of a call."""

    name: str
    content_type: str
    url: str
    """Good without a key until *expires_at*."""
    expires_at: datetime


@attrs.frozen(kw_only=True)
class ArtifactsAnswer:
    """What a call left as files."""

    call_id: str
    artifacts: tuple[Artifact, ...]


@attrs.frozen(kw_only=True)
class LinkQuery:
    """What makes a link good."""

    expires: int = attrs.field(default=0, validator=rules.between(0, 2**53))
    sig: str = attrs.field(default="", validator=rules.text(100))


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("artifacts", gate, "/v1/calls")
    database, keyring = deps.database, gate.trust.secret_keys

    @routes.get("/<call_id>/artifacts", needs="analyst", errors=["not_supported"])
    async def listing(caller: Caller, call_id: str) -> ArtifactsAnswer:
        """Give links to what a call left, good for a quarter of an hour; none while it goes on."""
        if not keyring:
            raise NotSupported("this installation signs no links: INVORTO_SECRET_KEYS is not set")
        detail = await calls.detail(database, caller.tenant_id, call_id)
        there = [name for name in KINDS if name != "recording.wav" or detail["recording"]]
        expires = int(deps.wall()) + links.LIFE
        base = (deps.config.network.public_base_url or request.host_url).rstrip("/")
        here = f"{base}/v1/calls/{quote(call_id)}/artifacts"
        artifacts = tuple(
            Artifact(
                name=name,
                content_type=KINDS[name],
                url=f"{here}/{name}?expires={expires}&sig={links.sign(keyring, call_id, name, expires)}",
                expires_at=datetime.fromtimestamp(expires, UTC),
            )
            for name in there
        )
        return ArtifactsAnswer(call_id=call_id, artifacts=artifacts if detail["call"].status.terminal else ())

    @routes.get(
        "/<call_id>/artifacts/<name>", needs=None, gives=bytes, kinds=sorted({*KINDS.values()}), also=[206],
        errors=["forbidden", "not_supported", "range_not_satisfiable"],
    )  # fmt: skip
    async def read(call_id: str, name: str, query: LinkQuery) -> Response:
        """Give a file of a call to whoever has its link; a recording in ranges too."""
        links.check(keyring, call_id, name, query.expires, signature=query.sig, now=deps.wall())
        tenant_id = await calls.whose(database, call_id)
        if tenant_id is None or name not in KINDS:
            raise NotFound("there is no such file")
        detail = await calls.detail(database, tenant_id, call_id)
        if name == "recording.wav":
            if detail["recording"] is None:
                raise NotFound("there is no recording of this call")
            return await send_recording(deps.recordings, detail["recording"], call_id)
        words = await transcript(tenant_id, call_id, plain=name == "transcript.json")
        match name:
            case "transcript.json" | "transcript.jsonl":
                return TrioResponse(words, 200, headers(call_id, name))
            case "metrics.ndjson":
                body = Sent(bundles.of_events(partial(events, tenant_id, call_id)))
            case _:
                body = Sent(bundles.zipped(await members(tenant_id, call_id, detail["recording"])))
        response = TrioResponse(body, 200, headers(call_id, name))
        response.timeout = None  # a long call over a slow line
        return response

    async def transcript(tenant_id: str, call_id: str, *, plain: bool) -> bytes:
        said = await calls.transcript(database, tenant_id, call_id)
        return (
            json_text(unstructure(TranscriptAnswer(call_id=call_id, transcript=said))) if plain else bundles.lines(said)
        )

    async def events(tenant_id: str, call_id: str, after: str | None) -> list[TimelineEvent]:
        return await calls.timeline(database, tenant_id, call_id, after=after, count=_PAGE)

    async def members(tenant_id: str, call_id: str, recording: str | None) -> list[tuple[str, Pieces]]:
        found: list[tuple[str, Pieces]] = [
            ("transcript.json", bundles.of_text(await transcript(tenant_id, call_id, plain=True))),
            ("transcript.jsonl", bundles.of_text(await transcript(tenant_id, call_id, plain=False))),
            ("metrics.ndjson", bundles.of_events(partial(events, tenant_id, call_id))),
        ]
        if recording is not None:
            try:
                path, _ = await trio.to_thread.run_sync(locate, deps.recordings, recording)
                found.insert(0, ("recording.wav", bundles.of_file(path)))
            except (NotFound, NotSupported, Forbidden):
                pass  # it is gone, or elsewhere: the rest is worth having
        return found

    return routes


def headers(call_id: str, name: str) -> dict[str, str]:
    """Give the headers of a file."""
    return {
        "Content-Type": KINDS[name],
        "Content-Disposition": f'attachment; filename="{call_id}-{name}"',
        "Cache-Control": "private, no-store",
    }
