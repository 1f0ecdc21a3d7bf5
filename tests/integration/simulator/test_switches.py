"""Each switch in each of its positions: what Twilio does where its documentation is silent."""

import asyncio
import datetime
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.simulator.peer import STREAM, Media, Peer, serving, tone
from tests.proxy import Proxy
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp

VOICE = "/twilio/voice"
PAGES = {VOICE: STREAM + "<Redirect>/again</Redirect>", "/again": "<Say>Back again.</Say>"}
NOWHERE = '<Connect><Stream url="wss://gateway.example/nowhere"/></Connect>'
POSITIONS = [("go_on", "twiml", ("Back again.",)), ("hang_up", "lost", ())]


async def stay(media: Media) -> None:
    await media.until_closed()


async def die(media: Media) -> None:
    await media.play(tone(0.2))
    await media.until("media")
    media.abort()


@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_after_an_abrupt_loss(place, then, ended, spoken):
    report = await place(Peer(PAGES, die), after_loss=then)
    assert (report.ended, report.spoken) == (ended, spoken)
    (stream,) = report.streams
    assert (stream.closed_by, stream.close_code, stream.noticed) == ("lost", None, "break")
    assert [error.code for error in report.errors] == [error_codes.STREAM_LOST]


@pytest.mark.parametrize("seconds", [0.0, 0.4])
async def test_when_a_loss_is_noticed(place, seconds):
    report = await place(Peer(PAGES, die), notice_loss=seconds)
    (stream,) = report.streams
    assert seconds <= stream.noticed_after < seconds + 2
    assert stream.played_ms == (200 if seconds else stream.played_ms), "until then the caller hears what is buffered"


async def test_a_close_frame_is_noticed_at_once(place):
    async def close(media: Media) -> None:
        await media.close()

    report = await place(Peer(PAGES, close), notice_loss=5.0, after_loss="hang_up")
    (stream,) = report.streams
    assert (stream.noticed, stream.closed_by) == ("close_frame", "server")
    assert stream.noticed_after < 0.2
    assert report.spoken == ("Back again.",), "which is documented"


async def test_a_breach_of_the_protocol(place):
    async def shout(media: Media) -> None:
        await media.websocket.send_text("x" * (1 << 21))
        await media.until_closed()

    report = await place(Peer(PAGES, shout))
    assert report.streams[0].noticed == "breach"


@asynccontextmanager
async def half_open():
    """A peer behind a proxy from which, once the stream has begun, nothing comes and nothing ends."""
    peer = Peer(PAGES)

    async def vanish(media: Media) -> None:
        await media.until("media")
        await proxy.stall()
        await media.until_closed()

    peer.scripts.append(vanish)
    async with serving(peer):
        host, _, port = peer.origin.removeprefix("http://").partition(":")
        async with Proxy((host, int(port))) as proxy:
            yield peer, f"http://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_a_half_open_socket_that_is_noticed(place, then, ended, spoken):
    async with half_open() as (peer, media_server):
        report = await place(peer, media_server=media_server, notice_half_open=0.5, after_loss=then)
    assert (report.ended, report.spoken) == (ended, spoken)
    (stream,) = report.streams
    assert (stream.closed_by, stream.noticed) == ("lost", "silence")
    assert 0.5 <= stream.noticed_after < 2
    assert [error.code for error in report.errors] == [error_codes.STREAM_LOST]


async def test_a_half_open_socket_that_is_never_noticed(place):
    async with half_open() as (peer, media_server):
        report = await place(peer, [HangUp(longest_wait=1.5)], media_server=media_server)
    assert (report.ended, report.spoken, report.errors) == ("caller_hung_up", (), ())
    (stream,) = report.streams
    assert (stream.closed_by, stream.noticed, stream.noticed_after) == ("caller", None, None)


async def test_a_server_that_only_listens_is_not_half_open(place):
    report = await place(Peer(PAGES, stay), notice_half_open=0.3, longest=1.5)
    assert (report.ended, report.errors) == ("too_long", ())


async def test_a_break_is_noticed_as_such_while_a_half_open_socket_is_watched_for(place):
    report = await place(Peer(PAGES, die), notice_half_open=0.3, notice_loss=0.6)
    assert report.streams[0].noticed == "break"


@asynccontextmanager
async def silent():
    """Takes connections and never answers."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def refusing():
    """A port that is bound, so nobody else takes it, and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory):
    """A certificate that nobody knows."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    file.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def unknown_certificate(context):
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


KINDS = {
    "after_connect_timeout": error_codes.STREAM_TIMEOUT,
    "after_refusal": error_codes.STREAM_REFUSED,
    "after_tls_failure": error_codes.STREAM_TLS,
    "after_failed_handshake": error_codes.STREAM_HANDSHAKE,
}


@pytest.fixture
async def failing(self_signed):
    """A place where connects fail in one way: a function from its switch to the call's page and the media server."""
    servers = {
        "after_connect_timeout": silent,
        "after_refusal": refusing,
        "after_tls_failure": lambda: unknown_certificate(self_signed),
    }

    @asynccontextmanager
    async def fail(kind):
        if kind not in servers:
            yield NOWHERE, None
            return
        async with servers[kind]() as origin:
            yield STREAM, origin

    return fail


async def fail(place, failing, kind, **switches):
    async with failing(kind) as (page, media_server):
        peer = Peer({**PAGES, VOICE: page + "<Redirect>/again</Redirect>"})
        report = await place(peer, media_server=media_server, connect_seconds=0.3, **switches)
    assert [error.code for error in report.errors] == [KINDS[kind]]
    assert report.streams == ()
    return report.ended, report.spoken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_after_any_failed_connect(place, failing, kind, then, ended, spoken):
    assert await fail(place, failing, kind, after_failed_connect=then) == (ended, spoken)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_after_one_kind_of_failed_connect(place, failing, kind, then, ended, spoken):
    other = "hang_up" if then == "go_on" else "go_on"
    switches = {"after_failed_connect": other, **dict.fromkeys(KINDS, other), kind: then}
    assert await fail(place, failing, kind, **switches) == (ended, spoken)


async def test_an_upgrade_that_comes_in_time_is_no_timeout(place):
    report = await place(Peer(PAGES, stay), connect_seconds=2.0, after_failed_connect="hang_up", longest=1.0)
    assert (report.ended, report.errors) == ("too_long", ())
