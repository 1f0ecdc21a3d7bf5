"""From a request's bytes to a handler's arguments."""

import asyncio
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta
from starlette.requests import Request

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.api.framework import decoding
from vocelio.gateway.errors import BadRequest, InputTooLarge, InvalidInput, NotFound


def make_request(*pieces, query="", then=None):
    """A request whose body comes in pieces; ``then`` is awaited before each."""
    waiting = list(pieces)

    async def receive():
        if then:
            await then()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": query.encode(), "headers": []}
    return Request({**scope, "server": ("localhost", 80), "scheme": "http"}, receive)


async def test_a_body_in_pieces():
    assert await decoding.read_body(make_request(b"ab", b"", b"c"), 3) == b"abc"


async def test_a_body_of_one_byte_too_much():
    with pytest.raises(InputTooLarge):
        await decoding.read_body(make_request(b"ab", b"cd"), 3)


@in_virtual_time
async def test_a_body_that_comes_too_slowly():
    with pytest.raises(BadRequest, match="60 seconds"):
        await decoding.read_body(make_request(*[b"a"] * 100, then=lambda: asyncio.sleep(1)), 1_000)


@in_virtual_time
async def test_a_body_that_comes_just_fast_enough():
    assert len(await decoding.read_body(make_request(*[b"a"] * 59, then=lambda: asyncio.sleep(1)), 1_000)) == 59


class ExampleQuery(msgspec.Struct):
    limit: Annotated[int, Meta(ge=1, le=10)] = 5
    live: bool = False
    since: int | None = None
    start: str = msgspec.field(default="", name="from")


def test_a_query_by_its_types():
    result = decoding.decode_query(ExampleQuery, make_request(query="limit=7&live=true&since=12&from=a%20b"))
    assert result == ExampleQuery(7, True, 12, "a b")
    assert decoding.decode_query(ExampleQuery, make_request()) == ExampleQuery()


@pytest.mark.parametrize("query", ["start=1", "limit=1.5", "limit=+1x", "live=yes", "from=%00", "limit=", "a" * 5_000])
def test_a_query_that_is_not_of_its_types(query):
    with pytest.raises(InvalidInput):
        decoding.decode_query(ExampleQuery, make_request(query=query))


def test_a_part_of_the_path_by_its_type():
    assert decoding.decode_path_param(Annotated[int, Meta(ge=1)], "12") == 12
    for text in ("0", "x", "", "1\n"):
        with pytest.raises(NotFound):
            decoding.decode_path_param(Annotated[int, Meta(ge=1)], text)


@pytest.mark.parametrize(("values", "revision"), [([], None), (['"3"'], 3), (['W/"12"'], 12)])
def test_the_revision_that_if_match_names(values, revision):
    assert decoding.parse_if_match(values) == revision


def test_a_problem_deep_inside_has_its_path():
    with pytest.raises(InvalidInput) as refused:
        decoding.decode_json_body(dict[str, list[int]], b'{"a": [1, "x"], "b": ["\\u0000"]}')
    assert [problem.path for problem in refused.value.errors] == ["b[0]"]
    with pytest.raises(InvalidInput) as refused:
        decoding.decode_json_body(dict[str, list[int]], b'{"a": [1, "x"], "b": [2, null]}')
    assert [problem.path for problem in refused.value.errors] == ["a[1]", "b[1]"]
