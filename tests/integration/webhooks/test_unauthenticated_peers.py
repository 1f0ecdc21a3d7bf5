"""Responses to peers without a key or signature: security headers, no reflected input, and few log lines."""

import asyncio
import logging

import aiohttp
import pytest
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from tests.support.running_gateway import ACCOUNT, running_gateway
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer

FLOW = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Bye."}}}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
}


async def fail(_):
    raise ValueError("a defect")


async def page(_):
    return HTMLResponse("<p>The console.")


async def own_policy(_):
    return JSONResponse({}, headers={"Referrer-Policy": "same-origin"})


def serve_gateway(**options):
    routes = [Route("/fail", fail), Route("/page", page), Route("/own", own_policy)]
    return running_gateway(
        FLOW, ScriptedRecognizer(), ToneSynthesizer(), extra_routes_and_workers=lambda _: (routes, ()), **options
    )


@pytest.fixture
async def live_gateway():
    async with serve_gateway() as running:
        yield running


async def get_headers(served, path, method="GET", **options):
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, served.origin + path, allow_redirects=False, **options) as response,
    ):
        return response.status, response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/page", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/healthz", 405),
        ("POST", "/twilio/voice", 403),
        ("GET", "/fail", 500),
    ],
)
async def test_every_response_has_security_headers(live_gateway, method, path, status):
    answered, headers = await get_headers(live_gateway, path, method)
    assert answered == status
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert policy.startswith("default-src 'self'" if path == "/page" else "default-src 'none'")


async def test_denied_upgrade_has_security_headers(live_gateway):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    status, headers = await get_headers(live_gateway, f"/twilio/media/{ACCOUNT}", headers={**upgrade, **key})
    assert (status, headers["X-Content-Type-Options"]) == (403, "nosniff")


async def test_a_response_keeps_its_own_policy(live_gateway):
    _, headers = await get_headers(live_gateway, "/own")
    assert headers.getall("Referrer-Policy") == ["same-origin"]


async def test_without_https_browsers_are_not_told_to_insist_on_it():
    async with serve_gateway(public_url="http://localhost:8080") as served:
        _, headers = await get_headers(served, "/healthz")
    assert "Strict-Transport-Security" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/healthz/", "/twilio/voice/", "/readyz/", "//healthz"])
async def test_host_header_is_not_reflected(live_gateway, path):
    status, headers = await get_headers(live_gateway, path, headers={"Host": "evil.example"})
    assert status == 404
    assert "evil.example" not in str(headers)


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nCallSid=",
        b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"POST /twilio/dialed HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n",
    ],
    ids=["voice", "chunked", "no body"],
)
async def test_peer_that_goes_away_is_no_error(caplog, begun):
    async with serve_gateway() as served:
        host, port = served.origin.removeprefix("http://").split(":")
        for _ in range(5):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(begun)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        assert (await get_headers(served, "/healthz"))[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
