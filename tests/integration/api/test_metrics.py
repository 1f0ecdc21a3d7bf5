"""/metrics of several processes on one database: what each says of itself, and what all say of the whole."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.api_client import START, ApiEnv
from vocelio.gateway.api.framework.operation import RequestContext
from vocelio.gateway.api.resources import monitoring
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.process_heartbeats import STALE_AFTER_MICROSECONDS, Process

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
LIVE, WHOLE = "vocelio_live_calls", "vocelio_gateway_"


def make_process_row(name, live, *, capacity=200, lag=1.5, draining=False, seen=START):
    return Process(
        id=name,
        host="left",
        pid=7,
        version="1.2.3",
        started_at=START,
        last_seen_at=seen,
        capacity=capacity,
        live_calls=live,
        calls_per_second=0.5,
        event_loop_lag_ms=lag,
        draining=draining,
    )


def parse_metrics(text):
    """Every figure, by its name and the process that it is of."""
    metrics = text_string_to_metric_families(text.decode())
    return {(item.name, item.labels.get("process")): item.value for metric in metrics for item in metric.samples}


async def scrape(api):
    answer = await (await api.platform_client()).request("GET", "/metrics")
    assert answer.status == 200
    return parse_metrics(answer.body)


async def test_processes_do_not_mix_and_all_tell_the_same_of_the_whole(database):
    first, second = ApiEnv(database), ApiEnv(database)
    for process in (
        make_process_row("gone", 99, seen=START - STALE_AFTER_MICROSECONDS - 1),
        make_process_row("a", 3, lag=1.5),
        make_process_row("b", 40, capacity=50, lag=250.0),
        make_process_row("c", 7, draining=True),
    ):
        await process_heartbeats.upsert_process(database, process)
    figures = [await scrape(api) for api in (first, second)]
    names = [api.calls.services.bus.pubsub.process for api in (first, second)]
    assert [figure[LIVE, name] for figure, name in zip(figures, names, strict=True)] == [0, 0]
    own = [{key for key in figure if not key[0].startswith(WHOLE)} for figure in figures]
    assert own[0].isdisjoint(own[1])
    whole = [{name: value for (name, _), value in figure.items() if name.startswith(WHOLE)} for figure in figures]
    assert (
        whole[0]
        == whole[1]
        == {
            "vocelio_gateway_processes": 2,
            "vocelio_gateway_draining_processes": 1,
            "vocelio_gateway_live_calls": 50,
            "vocelio_gateway_call_capacity": 250,
            "vocelio_gateway_calls_per_second": 1.5,
            "vocelio_gateway_event_loop_lag_seconds": 0.25,
        }
    )


async def test_without_the_database_a_process_still_tells_of_itself(api):
    away = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    actor = Actor("key", "platform", "", "request", START)
    answer = await monitoring.get_metrics(
        RequestContext(database=away, cipher=SecretCipher(["a key"]), calls=api.calls, actor=actor)
    )
    figures = parse_metrics(answer.body)
    assert figures[LIVE, api.calls.services.bus.pubsub.process] == 0
    assert not any(name.startswith(WHOLE) for name, _ in figures)
    await away.aclose()


async def test_the_readme_names_what_there_is(api):
    await process_heartbeats.upsert_process(api.database, make_process_row("a", 3))
    answer = await (await api.platform_client()).request("GET", "/metrics")
    there = set(re.findall("^# TYPE (vocelio_[a-z_]+)", answer.body.decode(), re.MULTILINE))
    named = set(re.findall(r"`(?:.*\()?(vocelio_[a-z_]+)", OPERATIONS.read_text()))
    assert named - there == set()
    assert {name for name in there if name.startswith(WHOLE)} <= named
