"""Every field of TwilioBehavior with each of its values."""

import asyncio
import datetime
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.faulty_tcp_proxy import FaultyTcpProxy
from tests.support.scripted_gateway import STREAM, ScriptedGateway, ScriptedMedia, serve, tone
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp

VOICE = "/twilio/voice"
PAGES = {VOICE: STREAM + "<Redirect>/again</Redirect>", "/again": "<Say>Back again.</Say>"}
NOWHERE = '<Connect><Stream url="wss://gateway.example/nowhere"/></Connect>'
POSITIONS = [("continue", "twiml", ("Back again.",)), ("hang_up", "lost", ())]


async def stay(media: ScriptedMedia) -> None:
    await media.wait_for_close()


async def break_connection(media: ScriptedMedia) -> None:
    await media.play(tone(0.2))
    await media.wait_for("media")
    media.abort()


@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_abrupt_stream_loss_continues_or_hangs_up(place_call, then, ended, spoken):
    report = await place_call(ScriptedGateway(PAGES, break_connection), after_stream_loss=then)
    assert (report.ending, report.say_texts) == (ended, spoken)
    (stream,) = report.streams
    assert (stream.closed_by, stream.close_code, stream.detected_by) == ("lost", None, "connection_lost")
    assert [error.code for error in report.errors] == [error_codes.STREAM_LOST]


@pytest.mark.parametrize("seconds", [0.0, 0.4])
async def test_stream_loss_is_detected_after_the_configured_delay(place_call, seconds):
    report = await place_call(ScriptedGateway(PAGES, break_connection), detect_loss_seconds=seconds)
    (stream,) = report.streams
    assert seconds <= stream.detected_after_seconds < seconds + 2
    assert stream.played_ms == (200 if seconds else stream.played_ms), "until then the caller hears what is buffered"


async def test_close_frame_is_detected_at_once(place_call):
    async def close(media: ScriptedMedia) -> None:
        await media.close()

    report = await place_call(ScriptedGateway(PAGES, close), detect_loss_seconds=5.0, after_stream_loss="hang_up")
    (stream,) = report.streams
    assert (stream.detected_by, stream.closed_by) == ("close_frame", "server")
    assert stream.detected_after_seconds < 0.2
    assert report.say_texts == ("Back again.",), "which is documented"


async def test_protocol_violation_is_detected(place_call):
    async def shout(media: ScriptedMedia) -> None:
        await media.websocket.send_text("x" * (1 << 21))
        await media.wait_for_close()

    report = await place_call(ScriptedGateway(PAGES, shout))
    assert report.streams[0].detected_by == "protocol_error"


@asynccontextmanager
async def half_open_gateway():
    """A scripted gateway behind a proxy that stalls once the stream has started."""
    peer = ScriptedGateway(PAGES)

    async def vanish(media: ScriptedMedia) -> None:
        await media.wait_for("media")
        await proxy.stall()
        await media.wait_for_close()

    peer.scripts.append(vanish)
    async with serve(peer):
        host, _, port = peer.origin.removeprefix("http://").partition(":")
        async with FaultyTcpProxy((host, int(port))) as proxy:
            yield peer, f"http://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_half_open_socket_is_detected_and_continues_or_hangs_up(place_call, then, ended, spoken):
    async with half_open_gateway() as (peer, media_server):
        report = await place_call(
            peer, media_server_url=media_server, detect_half_open_seconds=0.5, after_stream_loss=then
        )
    assert (report.ending, report.say_texts) == (ended, spoken)
    (stream,) = report.streams
    assert (stream.closed_by, stream.detected_by) == ("lost", "silence")
    assert 0.5 <= stream.detected_after_seconds < 2
    assert [error.code for error in report.errors] == [error_codes.STREAM_LOST]


async def test_half_open_socket_is_never_detected_without_a_timeout(place_call):
    async with half_open_gateway() as (peer, media_server):
        report = await place_call(peer, [HangUp(max_wait_seconds=1.5)], media_server_url=media_server)
    assert (report.ending, report.say_texts, report.errors) == ("caller_hung_up", (), ())
    (stream,) = report.streams
    assert (stream.closed_by, stream.detected_by, stream.detected_after_seconds) == ("caller", None, None)


async def test_server_that_only_listens_is_not_half_open(place_call):
    report = await place_call(ScriptedGateway(PAGES, stay), detect_half_open_seconds=0.3, max_seconds=1.5)
    assert (report.ending, report.errors) == ("too_long", ())


async def test_lost_connection_is_detected_while_liveness_is_watched(place_call):
    report = await place_call(
        ScriptedGateway(PAGES, break_connection), detect_half_open_seconds=0.3, detect_loss_seconds=0.6
    )
    assert report.streams[0].detected_by == "connection_lost"


@asynccontextmanager
async def silent_server():
    """Server that accepts connections and never responds."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def refusing_server():
    """A reserved port at which no server listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def self_signed_certificate(tmp_path_factory):
    """A self-signed certificate."""
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
async def untrusted_tls_server(context):
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


KINDS = {
    "after_connect_timeout": error_codes.STREAM_TIMEOUT,
    "after_connection_refused": error_codes.STREAM_REFUSED,
    "after_tls_failure": error_codes.STREAM_TLS,
    "after_handshake_failure": error_codes.STREAM_HANDSHAKE,
}


@pytest.fixture
async def failing_server(self_signed_certificate):
    """A server at which connects fail in one way."""
    servers = {
        "after_connect_timeout": silent_server,
        "after_connection_refused": refusing_server,
        "after_tls_failure": lambda: untrusted_tls_server(self_signed_certificate),
    }

    @asynccontextmanager
    async def fail(kind):
        if kind not in servers:
            yield NOWHERE, None
            return
        async with servers[kind]() as origin:
            yield STREAM, origin

    return fail


async def failed_connect(place, failing, kind, **switches):
    async with failing(kind) as (page, media_server):
        peer = ScriptedGateway({**PAGES, VOICE: page + "<Redirect>/again</Redirect>"})
        report = await place(peer, media_server_url=media_server, connect_timeout_seconds=0.3, **switches)
    assert [error.code for error in report.errors] == [KINDS[kind]]
    assert report.streams == ()
    return report.ending, report.say_texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_failed_connect_continues_or_hangs_up(place_call, failing_server, kind, then, ended, spoken):
    assert await failed_connect(place_call, failing_server, kind, after_connect_failure=then) == (ended, spoken)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("then", "ended", "spoken"), POSITIONS)
async def test_behavior_of_one_kind_of_failed_connect_overrides_the_default(
    place_call, failing_server, kind, then, ended, spoken
):
    other = "hang_up" if then == "continue" else "continue"
    switches = {"after_connect_failure": other, **dict.fromkeys(KINDS, other), kind: then}
    assert await failed_connect(place_call, failing_server, kind, **switches) == (ended, spoken)


async def test_upgrade_within_the_timeout_succeeds(place_call):
    report = await place_call(
        ScriptedGateway(PAGES, stay), connect_timeout_seconds=2.0, after_connect_failure="hang_up", max_seconds=1.0
    )
    assert (report.ending, report.errors) == ("too_long", ())
