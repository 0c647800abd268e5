"""A whole journey over REST and the socket, and not one of its secrets in the log."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from invorto.observability.logs import set_up_logs
from tests.journeys.house import BINARY, Server, open_client, open_server, settings
from tests.realtime.test_auth import PEM, signed


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give what is logged."""
    stream = io.StringIO()
    set_up_logs("info", "json", stream)
    yield stream
    set_up_logs("info", "json")


async def ask(server: Server, method: str, path: str, header: str, body: object = None) -> str:
    """Ask; give the whole answer."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
        while piece := await stream.receive_some():
            answer += piece
    return answer.decode()


async def test_no_secret_is_logged(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path, log: io.StringIO
) -> None:
    """Keys made and shown, in headers, in queries and refused, tokens of both kinds, the installation's own keys."""
    secret_key = base64.b64encode(b"q" * 32).decode()
    environ = settings(
        postgres_url, redis_url, tmp_path, INVORTO_SECRET_KEYS=secret_key, REALTIME_WS_SECRET="ws-secret-of-this-test",
        JWT_PUBLIC_KEY=PEM,
    )  # fmt: skip
    jwt = signed({"aud": "invorto", "exp": 1, "tenant": "t_default", "role": "dev"})
    unknown = "inv_live_nobody-knows-this-one"
    async with open_server(environ) as server:
        bearer = f"Authorization: Bearer {server.key}"
        made = json.loads((await ask(server, "POST", "/v1/keys", bearer, {"name": "x"})).partition("\r\n\r\n")[2])
        key = made["key"]
        body = {"agentId": server.agent_id}
        token = json.loads(
            (await ask(server, "POST", "/v1/realtime/tokens", f"x-api-key: {key}", body)).partition("\r\n\r\n")[2]
        )
        await ask(server, "GET", f"/v1/agents?api_key={key}", "Accept: */*")
        await ask(server, "GET", "/v1/agents", f"Authorization: Bearer {unknown}")
        await ask(server, "GET", "/v1/agents", f"Authorization: Bearer {jwt}")
        await ask(server, "POST", "/v1/keys", bearer, {"name": "x", "key": key})
        async with open_client(server, token["callId"], start=BINARY, key=token["token"]) as client:
            await client.until("tts.done")
        await ask(server, "DELETE", f"/v1/keys/{made['id']}", bearer)
        async with open_client(server, "c-2", key=key) as client:
            await client.until_closed()
    said = log.getvalue()
    for secret in (server.key, key, token["token"], unknown, jwt, secret_key, "ws-secret-of-this-test"):
        assert secret not in said
    lines = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["event"] == "http_request"]
    assert len(requests) == 7
    assert all(line["request_id"] for line in requests)
    assert {line.get("tenant_id") for line in requests} == {"t_default", None}
    assert any(line.get("call_id") == "c-2" for line in lines), "who was turned away is told with the call"
