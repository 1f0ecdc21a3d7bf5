"""A flow's requests against a real server: answers, tries, redirects, limits, and where they may not go."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from vocelio.engine.actions import Request
from vocelio.gateway.http_client.client import MAX_BODY, Fetcher


def only_home(address):
    """127.0.0.1 plays the public Internet here; every other address is as private as ever."""
    return str(address) == "127.0.0.1"


class Server:
    """Answers as the test says, and remembers what it was asked."""

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
async def served(*answers):
    server = Server(*answers)
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


def get(url, **options):
    return Request("x1", "the-key", "GET", url, **options)


async def fetched(request, policy=only_home, headers=None):
    async with Fetcher(policy) as fetcher:
        return await fetcher.fetch(request, headers or {})


async def test_an_answer():
    async with served(lambda: web.json_response({"name": "Ann's"}, status=201)) as server:
        reply = await fetched(
            Request("x1", "the-key", "POST", f"{server.origin}/orders?a=1", json={"n": 1}), headers={"X-Id": "7"}
        )
    assert (reply.how, reply.status, reply.body) == ("ok", 201, {"name": "Ann's"})
    ((method, path, headers, body),) = server.asked
    assert (method, path, body) == ("POST", "/orders?a=1", '{"n":1}')
    assert (headers["Idempotency-Key"], headers["X-Id"], headers["Content-Type"]) == (
        "the-key",
        "7",
        "application/json",
    )


async def test_an_answer_that_is_not_json_has_no_body():
    async with served(lambda: web.Response(text="<html>")) as server:
        reply = await fetched(get(server.origin))
    assert (reply.how, reply.status, reply.body) == ("ok", 200, None)


async def test_a_refusal_is_not_asked_again():
    async with served(lambda: web.json_response({"no": 1}, status=404)) as server:
        reply = await fetched(get(server.origin, retries=3))
    assert (reply.how, reply.status, len(server.asked)) == ("error", 404, 1)


async def test_trouble_is_tried_again_with_the_same_key():
    async with served(lambda: web.Response(status=503), lambda: web.json_response(1)) as server:
        reply = await fetched(get(server.origin, retries=2))
    assert (reply.how, reply.body) == ("ok", 1)
    assert [headers["Idempotency-Key"] for _, _, headers, _ in server.asked] == ["the-key"] * 2


async def test_silence_is_a_timeout():
    async with served("silence") as server:
        reply = await fetched(get(server.origin, timeout=0.2, retries=1))
    assert (reply.how, len(server.asked)) == ("timeout", 2)


async def test_nobody_there():
    async with served(lambda: web.Response()) as server:
        pass
    assert (await fetched(get(server.origin))).how == "error"


async def test_an_answer_without_end():
    async with served(lambda: web.Response(body=b"x" * (MAX_BODY + 1))) as server:
        reply = await fetched(get(server.origin))
    assert reply.how == "error"
    assert "larger than" in reply.problem


async def test_redirects_are_followed_so_far():
    def redirect():
        return web.Response(status=302, headers={"Location": "/on"})

    async with served(redirect, lambda: web.json_response(2)) as server:
        assert (await fetched(get(server.origin))).body == 2
    async with served(redirect) as server:
        reply = await fetched(get(server.origin))
        assert (reply.how, len(server.asked)) == ("error", 6)


async def test_a_redirect_to_another_host_takes_no_headers_along():
    async with served(lambda: web.json_response(3)) as other:
        away = web.Response(status=307, headers={"Location": f"{other.origin}/away"})
        async with served(away) as server:
            reply = await fetched(get(server.origin), headers={"Authorization": "Bearer hush"})
    assert reply.body == 3
    assert "Authorization" in server.asked[0][2]
    assert "Authorization" not in other.asked[0][2]


@pytest.mark.parametrize("target", ["http://127.0.0.2:1/", "http://[::1]:1/", "http://10.0.0.1/", "file:///etc/passwd"])
async def test_a_redirect_to_a_private_place_is_not_followed(target):
    async with served(lambda: web.Response(status=302, headers={"Location": target})) as server:
        reply = await fetched(get(server.origin, retries=3))
    assert (reply.how, len(server.asked)) == ("error", 1)
    assert "not a public address" in reply.problem or "not a way" in reply.problem


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
async def test_no_notation_leads_home(host):
    async with served(lambda: web.json_response(1)) as server:
        port = server.origin.rpartition(":")[2]
        async with Fetcher() as fetcher:
            reply = await fetcher.fetch(get(f"http://{host}:{port}/"), {})
    assert (reply.how, server.asked) == ("error", [])
