"""The Redis seam: what it sends, what it says when Redis is gone, and that no cancel leaves anything behind."""

from __future__ import annotations

import contextlib
import functools
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, urlsplit

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from invorto.errors import StartFailed, StoreUnavailable, UsageError
from invorto.storage import redis as seam
from invorto.storage.fakes import FakeRedis
from invorto.storage.redis import Commands, Refused, address, open_redis
from tests.faults.servers import redis_server


@pytest.fixture(params=["fake", "real"])
async def redis(request, loop, redis_url):
    """Give the fake and the real one in turn: the same tests hold for both."""
    if request.param == "fake":
        yield FakeRedis()
    else:
        async with open_redis(redis_url) as opened:
            yield opened


@pytest.fixture
async def real(loop, redis_url):
    """Give the real one."""
    async with open_redis(redis_url) as opened:
        yield opened


async def test_pipeline_answers_in_order_with_refusals_in_place(redis: Commands):
    """One refused command of a tick does not hide what became of the others."""
    add = ("XADD", "s", "5-1", "kind", "k")
    replies = await redis.pipeline([add, add, ("NOSUCH",), ("XLEN", "s"), ("PING",)])
    assert replies[0] == b"5-1"
    assert isinstance(replies[1], Refused)
    assert "equal or smaller" in str(replies[1])
    assert replies[1].code == "ERR"
    assert not replies[1].later
    assert isinstance(replies[2], Refused)
    assert replies[3:] == [1, b"PONG"]


async def test_empty_pipeline_sends_nothing(redis: Commands):
    """A tick without events costs Redis nothing."""
    assert await redis.pipeline([]) == []


async def test_single_command_raises_what_was_refused(redis: Commands):
    """Who asks for one thing hears an error as an error."""
    with pytest.raises(Refused, match="ERR"):
        await redis.call("NOSUCH")


async def test_streams_are_read_both_ways_with_exclusive_bounds(redis: Commands):
    """Paging by cursor repeats nothing and skips nothing."""
    await redis.pipeline([("XADD", "s", f"{ms}-{n}", "a", "é", "b", b"\xff") for ms in (1, 2) for n in (1, 2)])
    ids = ["1-1", "1-2", "2-1", "2-2"]
    everything = await redis.xrange("s", count=9)
    assert [key for key, _ in everything] == ids
    assert everything[0][1] == {b"a": "é".encode(), b"b": b"\xff"}
    assert [key for key, _ in await redis.xrange("s", "(1-1", "(2-2", count=9)] == ids[1:3]
    assert [key for key, _ in await redis.xrange("s", "1-2", count=2)] == ids[1:3]
    assert [key for key, _ in await redis.xrevrange("s", "(2-2", count=2)] == ["2-1", "1-2"]
    assert await redis.xrange("none", count=9) == []


async def test_xread_waits_for_what_comes(redis: Commands):
    """A live reader sees an event when it is written, and nothing when there is none."""
    assert await redis.xread("s", "0-0", count=5, block=0.02) == []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(0.02)
            await redis.pipeline([("XADD", "s", "3-0", "a", "1"), ("XADD", "s", "3-1", "a", "2")])

        with trio.fail_after(2):
            entries = await redis.xread("s", "0-0", count=5, block=1)
    assert entries[0] == ("3-0", {b"a": b"1"})


async def test_expiry(redis: Commands):
    """A stream's time to live is what was asked for."""
    assert await redis.pipeline([("EXPIRE", "s", 60), ("TTL", "s")]) == [0, -2]
    await redis.call("XADD", "s", "1-0", "a", "b")
    assert await redis.pipeline([("TTL", "s"), ("EXPIRE", "s", 60), ("TTL", "s"), ("DEL", "s")]) == [-1, 1, 60, 1]


async def test_health(redis: Commands):
    """Health shows how long a round trip takes and which server answers."""
    assert 0 <= await redis.ping() < 1
    assert int((await redis.version()).split(".")[0]) >= 6
    assert (await redis.info())["run_id"]


async def test_cancelled_anywhere_leaves_no_poisoned_reply(real):
    """A call that is cut while it talks to Redis never makes another call read its answers."""
    await real.call("SET", "k", "right")
    cancelled = 0
    for number in range(300):
        with trio.move_on_after(0.00004 * (number % 30)) as scope:
            await real.pipeline([("GET", "k"), ("GET", "none"), ("PING",)])
        cancelled += scope.cancelled_caught
        assert await real.pipeline([("SET", "n", number), ("GET", "k"), ("GET", "n")]) == [
            b"OK", b"right", str(number).encode(),
        ]  # fmt: skip
    assert cancelled > 20
    assert not real._pool._in_use_connections
    assert len(real._pool._available_connections) == 1


async def test_cancelled_blocking_reads_give_their_connections_back(real):
    """Viewers that come and go leave no connection behind, here or in Redis."""
    for _ in range(20):
        with trio.move_on_after(0.005):
            await real.xread("none", "0-0", count=5, block=5)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(lambda: real.xread("none", "0-0", count=5, block=5))
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert not real._pool._in_use_connections
    with trio.fail_after(2):
        while int((await real.info("clients"))["connected_clients"]) > 1:
            await trio.sleep(0.01)


async def test_many_at_once_share_few_connections(real):
    """A thousand callers at once wait their turn instead of opening a thousand connections."""
    got: list[bytes] = []

    async def ask(number: int) -> None:
        got.append(await real.call("ECHO", number))

    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(ask, number)
    assert sorted(map(int, got)) == list(range(1000))
    assert len(real._pool._available_connections) <= 32


async def test_argument_of_a_wrong_type_is_a_mistake_and_not_an_outage(real):
    """A bug in a caller is not reported as a store that is away."""
    with pytest.raises(TypeError):
        await real.call("SET", "k", None)
    assert await real.call("PING") == b"PONG"


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("http://x", UsageError, "REDIS_URL"),
        ("redis://h:999999", UsageError, "REDIS_URL"),
        ("redis://h?zork=1", UsageError, "zork"),
        ("unix:///nowhere.sock", StoreUnavailable, "/nowhere.sock"),
        ("redis://user:hush@127.0.0.1:1/0", StoreUnavailable, "127.0.0.1:1"),
    ],
)
async def test_what_cannot_be_reached_says_so_without_secrets(loop, url, error, says):
    """A wrong REDIS_URL gives one sentence that names it and never the password."""
    with pytest.raises(error, match=says) as caught:
        async with open_redis(url):
            pytest.fail("opened")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("version", "fits"), [("6.0.16", False), ("5.0", False), ("6.2.0", True), ("10.0.1", True)])
async def test_old_servers_are_refused(loop, redis_url, monkeypatch, version, fits):
    """A Redis too old for exclusive ranges is refused at the start, with the version it needs."""

    async def said(_: object) -> str:
        return version

    monkeypatch.setattr(seam.Redis, "version", said)
    if fits:
        async with open_redis(redis_url):
            return
    with pytest.raises(StartFailed, match=r"6\.2 or newer"):
        async with open_redis(redis_url):
            pytest.fail("opened")


async def test_password_and_database(loop):
    """A Redis that asks for a password gets the one of REDIS_URL; a wrong one is said, and is not shown."""
    with redis_server("--requirepass", "hush") as (_, url):
        async with open_redis(url.replace("://", "://:hush@") + "?db=3") as redis:
            await redis.call("SET", "k", "v")
            assert await redis.pipeline([("SELECT", 3), ("GET", "k")]) == [b"OK", b"v"]
        for wrong in (url, url.replace("://", "://:wrong@")):
            with pytest.raises(StoreUnavailable) as caught:
                async with open_redis(wrong):
                    pytest.fail("opened")
            assert "hush" not in str(caught.value)


async def test_over_tls(loop, redis_url, tmp_path):
    """`rediss://` talks TLS, and only with a server whose certificate is signed by whom we trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(Encoding.PEM)
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "both.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "both.pem")
    socket = unquote(urlsplit(redis_url).path)

    async def relay(plain: trio.SocketStream) -> None:
        outside = trio.SSLStream(plain, context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError, ssl.SSLError):
            async with plain, await trio.open_unix_socket(socket) as inside, trio.open_nursery() as both:

                async def carry(source, sink) -> None:
                    async for data in source:
                        await sink.send_all(data)
                    both.cancel_scope.cancel()

                await outside.do_handshake()
                both.start_soon(carry, outside, inside)
                both.start_soon(carry, inside, outside)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(functools.partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with open_redis(f"rediss://localhost:{port}?ssl_ca_certs={quote(str(tmp_path / 'ca.pem'))}") as redis:
            assert await redis.pipeline([("SET", "k", "v"), ("GET", "k")]) == [b"OK", b"v"]
        with pytest.raises(StoreUnavailable, match="certificate"):
            async with open_redis(f"rediss://localhost:{port}"):
                pytest.fail("opened")
        nursery.cancel_scope.cancel()


def test_address_hides_secrets():
    """What is logged of a URL is where it points."""
    assert address("rediss://u:p@h:1/0") == "h:1"
    assert address("unix://u:p@/run/r.sock?db=1") == "/run/r.sock"
    assert address("redis://") == "localhost"
