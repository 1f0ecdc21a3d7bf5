"""HTTP client against a real server: responses, retries, redirects, limits and forbidden addresses."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from vocelio.engine.actions import Request
from vocelio.gateway.http_client.client import MAX_BODY_BYTES, HttpClient


def allow_loopback_only(address):
    """Allow 127.0.0.1 in place of the public Internet; every other address stays private."""
    return str(address) == "127.0.0.1"


class FakeHttpServer:
    """Answers with scripted responses, and records the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def answer(self, request):
        self.asked.append((request.method, request.path_qs, dict(request.headers), await request.text()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "silence":
            await asyncio.sleep(30)
        return answer() if callable(answer) else answer


@asynccontextmanager
async def running_server(*answers):
    server = FakeHttpServer(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.origin = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def make_request(url, **options):
    return Request("x1", "the-key", "GET", url, **options)


async def fetch(request, policy=allow_loopback_only, headers=None):
    async with HttpClient(policy) as fetcher:
        return await fetcher.fetch(request, headers or {})


async def test_json_response_is_returned():
    async with running_server(lambda: web.json_response({"name": "Ann's"}, status=201)) as server:
        reply = await fetch(
            Request("x1", "the-key", "POST", f"{server.origin}/orders?a=1", json={"n": 1}), headers={"X-Id": "7"}
        )
    assert (reply.outcome, reply.status, reply.body) == ("ok", 201, {"name": "Ann's"})
    ((method, path, headers, body),) = server.asked
    assert (method, path, body) == ("POST", "/orders?a=1", '{"n":1}')
    assert (headers["Idempotency-Key"], headers["X-Id"], headers["Content-Type"]) == (
        "the-key",
        "7",
        "application/json",
    )


async def test_non_json_response_has_no_body():
    async with running_server(lambda: web.Response(text="<html>")) as server:
        reply = await fetch(make_request(server.origin))
    assert (reply.outcome, reply.status, reply.body) == ("ok", 200, None)


async def test_client_error_is_not_retried():
    async with running_server(lambda: web.json_response({"no": 1}, status=404)) as server:
        reply = await fetch(make_request(server.origin, retries=3))
    assert (reply.outcome, reply.status, len(server.asked)) == ("error", 404, 1)


async def test_server_error_is_retried_with_the_same_idempotency_key():
    async with running_server(lambda: web.Response(status=503), lambda: web.json_response(1)) as server:
        reply = await fetch(make_request(server.origin, retries=2))
    assert (reply.outcome, reply.body) == ("ok", 1)
    assert [headers["Idempotency-Key"] for _, _, headers, _ in server.asked] == ["the-key"] * 2


async def test_missing_response_is_a_timeout():
    async with running_server("silence") as server:
        reply = await fetch(make_request(server.origin, timeout_seconds=0.2, retries=1))
    assert (reply.outcome, len(server.asked)) == ("timeout", 2)


async def test_refused_connection_is_an_error():
    async with running_server(lambda: web.Response()) as server:
        pass
    assert (await fetch(make_request(server.origin))).outcome == "error"


async def test_endless_response_is_an_error():
    async with running_server(lambda: web.Response(body=b"x" * (MAX_BODY_BYTES + 1))) as server:
        reply = await fetch(make_request(server.origin))
    assert reply.outcome == "error"
    assert "larger than" in reply.error


async def test_redirects_are_followed_up_to_the_limit():
    def redirect():
        return web.Response(status=302, headers={"Location": "/on"})

    async with running_server(redirect, lambda: web.json_response(2)) as server:
        assert (await fetch(make_request(server.origin))).body == 2
    async with running_server(redirect) as server:
        reply = await fetch(make_request(server.origin))
        assert (reply.outcome, len(server.asked)) == ("error", 6)


async def test_redirect_to_another_host_drops_headers():
    async with running_server(lambda: web.json_response(3)) as other:
        away = web.Response(status=307, headers={"Location": f"{other.origin}/away"})
        async with running_server(away) as server:
            reply = await fetch(make_request(server.origin), headers={"Authorization": "Bearer hush"})
    assert reply.body == 3
    assert "Authorization" in server.asked[0][2]
    assert "Authorization" not in other.asked[0][2]


@pytest.mark.parametrize("target", ["http://127.0.0.2:1/", "http://[::1]:1/", "http://10.0.0.1/", "file:///etc/passwd"])
async def test_redirect_to_a_private_address_is_not_followed(target):
    async with running_server(lambda: web.Response(status=302, headers={"Location": target})) as server:
        reply = await fetch(make_request(server.origin, retries=3))
    assert (reply.outcome, len(server.asked)) == ("error", 1)
    assert "not a public address" in reply.error or "not supported" in reply.error


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
async def test_no_notation_reaches_a_private_address(host):
    async with running_server(lambda: web.json_response(1)) as server:
        port = server.origin.rpartition(":")[2]
        async with HttpClient() as fetcher:
            reply = await fetcher.fetch(make_request(f"http://{host}:{port}/"), {})
    assert (reply.outcome, server.asked) == ("error", [])
