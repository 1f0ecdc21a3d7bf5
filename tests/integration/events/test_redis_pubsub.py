"""The line by a real Redis: what is sent arrives once and in order, and whoever may have missed something is told."""

import asyncio
import logging
import time
from contextlib import suppress

import msgspec
import pytest

from tests.integration.events.conftest import (
    HEARTBEAT_SECONDS,
    SLOT_RANGES,
    ChannelListener,
    FailingListener,
    redis_cluster,
    running_pubsubs,
)
from tests.support.faulty_tcp_proxy import CHUNK_BYTES, FaultyTcpProxy
from tests.support.redis_server import LAST_SLOT, RedisServer
from vocelio.gateway.events import Event
from vocelio.gateway.events.redis.publisher import MAX_BATCH_MESSAGES, MAX_UNSENT_MESSAGES
from vocelio.gateway.events.redis.pubsub import RedisPubSub


async def test_messages_go_to_the_others_once_and_in_order(redis):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        ears = (
            ChannelListener(here, "a"),
            ChannelListener(there, "a"),
            ChannelListener(there, "a"),
            ChannelListener(there, "b"),
        )
        for ear in ears:
            await ear.wait_until_subscribed()
        sent = [b"%d" % number for number in range(1_000)]
        for message in sent:
            here.publish("a", message)
        there.publish("b", b"not to oneself")
        for ear in ears[1:3]:
            await ear.wait_until(lambda ear: len(ear.messages) >= len(sent))
            assert ear.messages == sent
        assert ears[0].messages == ears[3].messages == []


async def test_a_channel_is_listened_to_only_while_somebody_does(redis):
    async with running_pubsubs(redis.url) as (line,):
        first, second = ChannelListener(line, "only-here"), ChannelListener(line, "only-here")
        await first.wait_until_subscribed()
        await second.wait_until_subscribed()
        assert b":1\r" in redis.command("PUBSUB", "NUMSUB", "only-here")
        first.unsubscribe()
        await asyncio.sleep(0.05)
        assert b":1\r" in redis.command("PUBSUB", "NUMSUB", "only-here")
        second.unsubscribe()
        async with asyncio.timeout(5):
            while b":0\r" not in redis.command("PUBSUB", "NUMSUB", "only-here"):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
        again = ChannelListener(line, "only-here")
        await again.wait_until_subscribed()
        assert first.messages == second.messages == again.messages == []


async def test_who_leaves_and_comes_back_at_once_disturbs_nobody(redis):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        stays = ChannelListener(here, "a")
        await stays.wait_until_subscribed()
        for _ in range(50):
            ear = ChannelListener(here, "b")
            await asyncio.sleep(0)
            ear.unsubscribe()
            await asyncio.sleep(0)
        last = ChannelListener(here, "b")
        await last.wait_until_subscribed()
        there.publish("b", b"heard")
        await last.wait_until(lambda ear: ear.messages)
        assert stays.gaps == 1


async def test_who_comes_back_before_the_line_has_noticed_is_told_that_the_subscription_stands(redis):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        ear = ChannelListener(here, "a")
        await ear.wait_until_subscribed()
        ear.unsubscribe()
        again = ChannelListener(here, "a")
        await again.wait_until_subscribed()
        there.publish("a", b"heard")
        await again.wait_until(lambda ear: ear.messages)
        assert again.gaps == 1


async def test_nothing_is_kept_of_channels_that_nobody_listens_to(redis):
    async with running_pubsubs(redis.url) as (line,):
        for number in range(10):
            ear = ChannelListener(line, f"audio:{number}")
            await ear.wait_until_subscribed()
            ear.unsubscribe()
        last = ChannelListener(line, "last")
        await last.wait_until_subscribed()
        assert len(line._subscribers[""]._unsubscribing) == 0


async def test_who_cannot_take_a_message_has_a_gap_and_nobody_else_does(redis, caplog):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        bad, good, other = FailingListener(there, "a"), ChannelListener(there, "a"), ChannelListener(there, "b")
        for ear in (bad, good, other):
            await ear.wait_until_subscribed()
        for message in (b"1", b"bad", b"bad", b"2"):
            here.publish("a", message)
        here.publish("b", b"3")
        await other.wait_until(lambda ear: ear.messages)
        assert (bad.messages, bad.gaps) == ([b"1", b"2"], 3)
        assert (good.messages, good.gaps, other.gaps) == ([b"1", b"bad", b"bad", b"2"], 1, 1)
    assert [record.exc_info[0] for record in caplog.records] == [RecursionError], "not of each"


async def test_what_cannot_be_sent_is_lost_alone(redis, caplog):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        ear = ChannelListener(there, "a")
        await ear.wait_until_subscribed()
        for number in range(3):
            said = "hush \ud800" if number == 1 else ""
            here.publish(
                "a",
                Event(
                    tenant="t", call="c", generation=1, sequence=number, type="x.y", occurred_at=1, data={"said": said}
                ),
            )
        await ear.wait_until(lambda ear: len(ear.messages) == 2 and ear.gaps == 2)
        assert [msgspec.json.decode(message)["sequence"] for message in ear.messages] == [0, 2]
        assert here.dropped == 1
    assert "UnicodeEncodeError" in caplog.text
    assert "hush" not in caplog.text


async def test_who_comes_while_others_are_asked_for_waits_for_no_beat(redis):
    async with running_pubsubs(redis.url, beat=3_600) as (line,):
        await ChannelListener(line, "first").wait_until_subscribed()
        for turns in range(10):
            one = ChannelListener(line, f"{turns}")
            for _ in range(turns):
                await asyncio.sleep(0)
            another = ChannelListener(line, f"{turns} and later")
            await one.wait_until_subscribed()
            await another.wait_until_subscribed()


async def test_after_a_cut_the_subscription_is_fresh_and_told_of_a_gap(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        ear = ChannelListener(near, "a")
        await ear.wait_until_subscribed()
        await proxy.cut()
        far.publish("a", b"lost")
        await asyncio.sleep(0.1)
        await proxy.restore()
        await ear.wait_until(lambda ear: ear.gaps == 2)
        far.publish("a", b"heard")
        await ear.wait_until(lambda ear: ear.messages)
        assert ear.messages == [b"heard"]


async def test_silence_is_noticed_by_two_beats_that_do_not_come(redis):
    """Connections stay open and nothing comes: without beats nobody would ever know."""
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        ear = ChannelListener(near, "a")
        await ear.wait_until_subscribed()
        await proxy.stall()
        far.publish("a", b"swallowed")
        await asyncio.sleep(0.5)
        await proxy.cut()  # what was swallowed is gone for good, as behind a router that has forgotten the connection
        await proxy.restore()
        await ear.wait_until(lambda ear: ear.gaps >= 2)
        far.publish("a", b"heard")
        await ear.wait_until(lambda ear: ear.messages)
        assert ear.messages == [b"heard"]


async def test_a_process_that_stood_still_itself_has_missed_nothing(redis):
    async with running_pubsubs(redis.url) as (line,):
        ear = ChannelListener(line, "a")
        await ear.wait_until_subscribed()
        for number in range(3):
            time.sleep(3 * HEARTBEAT_SECONDS)  # noqa: ASYNC251 (that is the trouble)
            redis.command("PUBLISH", "a", f"mxxxxxxxx{number}")
            await ear.wait_until(lambda ear: len(ear.messages) > number)  # noqa: B023
        await asyncio.sleep(3 * HEARTBEAT_SECONDS)
        assert (ear.messages, ear.gaps) == ([b"0", b"1", b"2"], 1)


async def test_a_connection_on_which_nothing_comes_back_is_given_up(redis):
    async with FaultyTcpProxy(redis.socket) as proxy, running_pubsubs(f"redis://127.0.0.1:{proxy.port}") as (line,):
        ear = ChannelListener(line, "a")
        await ear.wait_until_subscribed()
        await proxy.stall()
        async with asyncio.timeout(5):
            while line._subscribers[""]._requested:  # noqa: ASYNC110 (no event says so)
                await asyncio.sleep(0.01)
        await proxy.restore()
        await ear.wait_until(lambda ear: ear.gaps >= 2)


async def test_what_is_lasting_waits_for_a_server_that_is_away(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        reached, ear, other = ChannelListener(near, "a"), ChannelListener(far, "a"), ChannelListener(far, "b")
        for one in (reached, ear, other):
            await one.wait_until_subscribed()
        await proxy.cut()
        for number in range(1_000):
            near.publish("a", b"%d" % number, durable=True)
        for _ in range(4):
            near.publish("b", b"now or never")
            await asyncio.sleep(0.2)
        near.publish("a", b"1000", durable=True)
        await proxy.restore()
        await ear.wait_until(lambda ear: ear.messages and ear.messages[-1] == b"1000")
        assert ear.messages == [b"%d" % number for number in range(MAX_BATCH_MESSAGES, 1_001)], (
            "a single go is lost, however long"
        )
        assert (other.messages, ear.gaps, other.gaps) == ([], 2, 2)
        assert near.dropped == MAX_BATCH_MESSAGES + 4


async def test_only_what_is_lasting_waits_for_a_server_that_was_not_there_yet(redis):
    async with FaultyTcpProxy(redis.socket) as proxy:
        await proxy.cut()
        async with running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
            ear = ChannelListener(far, "a")
            await ear.wait_until_subscribed()
            near.publish("a", b"now or never")
            near.publish("a", b"lasting", durable=True)
            await asyncio.sleep(0.1)
            await proxy.restore()
            await ear.wait_until(lambda ear: ear.messages)
            assert (ear.messages, ear.gaps) == ([b"lasting"], 2)


async def test_a_hole_that_opens_while_another_is_told_is_told_too(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        reached, ear = ChannelListener(near, "a"), ChannelListener(far, "a")
        await reached.wait_until_subscribed()
        await ear.wait_until_subscribed()
        await proxy.cut()
        near.publish("a", b"lost", durable=True)
        await asyncio.sleep(0.1)
        await proxy.stall()
        await asyncio.sleep(0.4)  # by now the gap is on its way
        for number in range(MAX_UNSENT_MESSAGES + 100):
            near.publish("a", b"%d" % number, durable=True)
        assert near.dropped == 101
        await proxy.restore()
        await ear.wait_until(lambda ear: ear.messages and ear.messages[-1] == b"%d" % (MAX_UNSENT_MESSAGES + 99))
        assert ear.gaps == 3
        assert ear.messages[0] == b"100"


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_server_that_is_killed_or_stopped(redis, fault):
    async with running_pubsubs(redis.url, redis.url) as (here, there):
        ear = ChannelListener(there, "a")
        await ear.wait_until_subscribed()
        getattr(redis, fault)()
        began = asyncio.get_running_loop().time()
        for number in range(MAX_UNSENT_MESSAGES + 500):
            here.publish("a", b"%d" % number)
        assert asyncio.get_running_loop().time() - began < 1.5, "to send never waits"
        assert here.dropped >= 500
        await asyncio.sleep(0.5)
        redis.start()
        await ear.wait_until(lambda ear: ear.gaps >= 2)
        here.publish("a", b"last")
        await ear.wait_until(lambda ear: ear.messages and ear.messages[-1] == b"last")


async def test_a_server_that_is_not_there_yet(redis, caplog):
    redis.kill()
    async with running_pubsubs(redis.url) as (line,):
        ear = ChannelListener(line, "a")
        gone = ChannelListener(line, "a")
        gone.unsubscribe()
        await asyncio.sleep(0.1)
        redis.start()
        await ear.wait_until_subscribed()
        assert gone.gaps == 0


async def test_a_password_is_in_no_log(redis, caplog):
    caplog.set_level(logging.DEBUG)
    async with FaultyTcpProxy(redis.socket) as proxy:
        line = RedisPubSub(f"redis://somebody:hush-hush@127.0.0.1:{proxy.port}", 0.1)
        await line.start()
        ChannelListener(line, "a")
        line.publish("a", b"1")
        await asyncio.sleep(0.2)
        await proxy.cut()
        await asyncio.sleep(0.2)
        await line.aclose()
    assert "redis" in caplog.text
    assert "hush" not in caplog.text


async def test_a_cluster_has_sharded_channels():
    with RedisServer(cluster=True) as server:
        async with running_pubsubs(server.url, server.url) as (here, there):
            ears = [ChannelListener(there, f"vocelio:events:{name}") for name in ("a", "b", "c")]
            for ear in ears:
                await ear.wait_until_subscribed()
            for number in range(100):
                for name in ("a", "b", "c"):
                    here.publish(f"vocelio:events:{name}", b"%s %d" % (name.encode(), number))
            for ear, name in zip(ears, (b"a", b"b", b"c"), strict=True):
                await ear.wait_until(lambda ear: len(ear.messages) == 100)
                assert ear.messages == [b"%s %d" % (name, number) for number in range(100)]
            assert b"vocelio:events:a" in server.command("PUBSUB", "SHARDCHANNELS")
            ears[0].unsubscribe()
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await ears[1].wait_until(lambda ear: ear.gaps >= 2)
            here.publish("vocelio:events:b", b"again")
            await ears[1].wait_until(lambda ear: ear.messages[-1] == b"again")


async def test_a_cluster_is_incomplete_at_first_and_later_and_then_gone_for_a_moment(caplog):
    with RedisServer(cluster=True) as server:
        server.command("CLUSTER", "DELSLOTSRANGE", "0", LAST_SLOT)
        async with running_pubsubs(server.url, server.url) as (here, there):
            ear = ChannelListener(there, "a")
            for fault in ("incomplete at first", "incomplete", "gone"):
                before = ear.gaps
                if fault == "gone":
                    server.kill()
                else:
                    server.command("CLUSTER", "DELSLOTSRANGE", "0", LAST_SLOT)
                here.publish("a", b"lost")
                await asyncio.sleep(0.3)
                if fault == "gone":
                    server.start()
                else:
                    server.command("CLUSTER", "ADDSLOTSRANGE", "0", LAST_SLOT)
                await ear.wait_until(lambda ear, before=before: ear.gaps > before)
                here.publish("a", fault.encode())
                await ear.wait_until(lambda ear, fault=fault: fault.encode() in ear.messages)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


@pytest.mark.parametrize(("fault", "coverage"), [("kill", "yes"), ("pause", "no")])
async def test_what_a_part_of_a_cluster_suffers_the_others_do_not(fault, coverage, caplog):
    """`b` is on the first third, `c` and `a` are on the others; the URL shows the way by the one that fails."""
    with redis_cluster(coverage) as servers:
        async with running_pubsubs(servers[0].url, servers[0].url) as (here, there):
            ears = {name: ChannelListener(there, name) for name in "abc"}
            for ear in ears.values():
                await ear.wait_until_subscribed()
            getattr(servers[0], fault)()
            began = asyncio.get_running_loop().time()
            for number in range(200):  # two seconds
                for name in "abc":
                    here.publish(name, b"%d" % number, durable=True)
                await asyncio.sleep(0.01)
            for name in "ac":
                await ears[name].wait_until(lambda ear: len(ear.messages) == 200)
                assert ears[name].messages == [b"%d" % number for number in range(200)]
            assert asyncio.get_running_loop().time() - began < 8, "the others do not wait"
            late = ChannelListener(there, "audio:a")
            await late.wait_until_subscribed()
            here.publish("audio:a", b"heard")
            await late.wait_until(lambda ear: ear.messages)
            assert (ears["a"].gaps, ears["c"].gaps) == (1, 1)
            if fault == "kill":
                for server in servers[1:]:  # as when a replica takes over
                    server.command("CLUSTER", "DELSLOTSRANGE", *SLOT_RANGES[0])
                servers[1].command("CLUSTER", "ADDSLOTSRANGE", *SLOT_RANGES[0])
                servers[1].command("CLUSTER", "BUMPEPOCH")
            else:
                servers[0].start()
            await ears["b"].wait_until(lambda ear: ear.gaps >= 2)
            here.publish("b", b"last", durable=True)
            await ears["b"].wait_until(lambda ear: ear.messages and ear.messages[-1] == b"last")
            assert 0 < here.dropped <= 200
            assert (ears["a"].gaps, ears["c"].gaps) == (1, 1)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


async def test_what_nobody_expected_ends_nothing(redis, caplog):
    """The client cannot read an answer, and says so by a ValueError: to reach, to hear and to send go on."""
    strange = redis.directory / "strange"
    async with (
        await asyncio.start_unix_server(_answer_with_garbage, strange),
        FaultyTcpProxy(strange) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        ears = ChannelListener(near, "a"), ChannelListener(far, "a")
        for where in (strange, redis.socket, strange, redis.socket):
            proxy.target = where
            await proxy.cut()
            await proxy.restore()
            if where == strange:
                near.publish("a", b"lost")
                await asyncio.sleep(0.2)
                continue
            before = ears[0].gaps
            await ears[0].wait_until(lambda ear, before=before: ear.gaps > before)
            near.publish("a", b"heard")
            far.publish("a", b"heard")
            for ear in ears:
                await ear.wait_until(lambda ear: ear.messages and ear.messages.pop() == b"heard")
    assert sorted(record.getMessage() for record in caplog.records if record.exc_info) == [
        "cannot connect to Redis: ValueError; retrying",
        "cannot publish to Redis: ValueError; retrying",
        "cannot subscribe at Redis: ValueError; retrying",
    ]


async def _answer_with_garbage(reader, writer):
    with suppress(ConnectionError):
        while await reader.read(1_000):
            writer.write(b"-MOVED\r\n")
    writer.close()


async def test_nothing_is_sent_twice_to_a_cluster():
    with RedisServer(cluster=True) as server:
        async with _SwallowingProxy(server.socket) as proxy:
            server.command("CONFIG", "SET", "cluster-announce-port", str(proxy.port))
            async with running_pubsubs(f"redis://127.0.0.1:{proxy.port}") as (line,):
                await ChannelListener(line, "a").wait_until_subscribed()
                proxy.swallow = b"SPUBLISH"
                line.publish("a", b"once")
                await asyncio.sleep(0.8)
                assert line.dropped == 1
                assert b"cmdstat_spublish:calls=2," in server.command("INFO", "commandstats"), (
                    "the message, and the gap"
                )


class _SwallowingProxy(FaultyTcpProxy):
    """Once, what was asked with that word arrives, and the connection breaks before the answer is back."""

    swallow = b"\0"

    async def _pump(self, reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
            if self.swallow in data:
                self.swallow = b"\0"
                raise ConnectionResetError
