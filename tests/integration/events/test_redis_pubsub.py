"""RedisPubSub on a real Redis: messages arrive once and in order, and possible losses are reported as gaps."""

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


async def test_messages_reach_other_processes_once_and_in_order(redis):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        listeners = (
            ChannelListener(current, "a"),
            ChannelListener(there, "a"),
            ChannelListener(there, "a"),
            ChannelListener(there, "b"),
        )
        for listener in listeners:
            await listener.wait_until_subscribed()
        sent = [b"%d" % number for number in range(1_000)]
        for message in sent:
            current.publish("a", message)
        there.publish("b", b"not to oneself")
        for listener in listeners[1:3]:
            await listener.wait_until(lambda listener: len(listener.messages) >= len(sent))
            assert listener.messages == sent
        assert listeners[0].messages == listeners[3].messages == []


async def test_channel_is_subscribed_only_while_it_has_listeners(redis):
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


async def test_immediate_resubscription_does_not_disturb_other_listeners(redis):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        stays = ChannelListener(current, "a")
        await stays.wait_until_subscribed()
        for _ in range(50):
            listener = ChannelListener(current, "b")
            await asyncio.sleep(0)
            listener.unsubscribe()
            await asyncio.sleep(0)
        last = ChannelListener(current, "b")
        await last.wait_until_subscribed()
        there.publish("b", b"heard")
        await last.wait_until(lambda listener: listener.messages)
        assert stays.gaps == 1


async def test_resubscription_before_the_unsubscription_was_sent_is_confirmed(redis):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        listener = ChannelListener(current, "a")
        await listener.wait_until_subscribed()
        listener.unsubscribe()
        again = ChannelListener(current, "a")
        await again.wait_until_subscribed()
        there.publish("a", b"heard")
        await again.wait_until(lambda listener: listener.messages)
        assert again.gaps == 1


async def test_unsubscribed_channels_leave_no_state(redis):
    async with running_pubsubs(redis.url) as (line,):
        for number in range(10):
            listener = ChannelListener(line, f"audio:{number}")
            await listener.wait_until_subscribed()
            listener.unsubscribe()
        last = ChannelListener(line, "last")
        await last.wait_until_subscribed()
        assert len(line._subscribers[""]._unsubscribing) == 0


async def test_failing_listener_gets_a_gap_and_others_the_message(redis, caplog):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        bad, good, other = FailingListener(there, "a"), ChannelListener(there, "a"), ChannelListener(there, "b")
        for listener in (bad, good, other):
            await listener.wait_until_subscribed()
        for message in (b"1", b"bad", b"bad", b"2"):
            current.publish("a", message)
        current.publish("b", b"3")
        await other.wait_until(lambda listener: listener.messages)
        assert (bad.messages, bad.gaps) == ([b"1", b"2"], 3)
        assert (good.messages, good.gaps, other.gaps) == ([b"1", b"bad", b"bad", b"2"], 1, 1)
    assert [record.exc_info[0] for record in caplog.records] == [RecursionError], "not of each"


async def test_message_that_cannot_be_encoded_is_dropped_alone(redis, caplog):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        listener = ChannelListener(there, "a")
        await listener.wait_until_subscribed()
        for number in range(3):
            said = "hush \ud800" if number == 1 else ""
            current.publish(
                "a",
                Event(
                    tenant="t", call="c", generation=1, sequence=number, type="x.y", occurred_at=1, data={"said": said}
                ),
            )
        await listener.wait_until(lambda listener: len(listener.messages) == 2 and listener.gaps == 2)
        assert [msgspec.json.decode(message)["sequence"] for message in listener.messages] == [0, 2]
        assert current.dropped == 1
    assert "UnicodeEncodeError" in caplog.text
    assert "hush" not in caplog.text


async def test_new_subscription_does_not_wait_for_the_next_ping(redis):
    async with running_pubsubs(redis.url, beat=3_600) as (line,):
        await ChannelListener(line, "first").wait_until_subscribed()
        for turns in range(10):
            item = ChannelListener(line, f"{turns}")
            for _ in range(turns):
                await asyncio.sleep(0)
            another = ChannelListener(line, f"{turns} and later")
            await item.wait_until_subscribed()
            await another.wait_until_subscribed()


async def test_subscription_is_renewed_with_a_gap_after_a_broken_connection(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        listener = ChannelListener(near, "a")
        await listener.wait_until_subscribed()
        await proxy.cut()
        far.publish("a", b"lost")
        await asyncio.sleep(0.1)
        await proxy.restore()
        await listener.wait_until(lambda listener: listener.gaps == 2)
        far.publish("a", b"heard")
        await listener.wait_until(lambda listener: listener.messages)
        assert listener.messages == [b"heard"]


async def test_silent_connection_is_replaced_after_two_missed_pings(redis):
    """Connections stay open without any data: only pings can detect that."""
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        listener = ChannelListener(near, "a")
        await listener.wait_until_subscribed()
        await proxy.stall()
        far.publish("a", b"swallowed")
        await asyncio.sleep(0.5)
        await proxy.cut()  # what was swallowed is gone for good, as behind a router that has forgotten the connection
        await proxy.restore()
        await listener.wait_until(lambda listener: listener.gaps >= 2)
        far.publish("a", b"heard")
        await listener.wait_until(lambda listener: listener.messages)
        assert listener.messages == [b"heard"]


async def test_stalled_process_keeps_its_connection(redis):
    async with running_pubsubs(redis.url) as (line,):
        listener = ChannelListener(line, "a")
        await listener.wait_until_subscribed()
        for number in range(3):
            time.sleep(3 * HEARTBEAT_SECONDS)  # noqa: ASYNC251 (that is the trouble)
            redis.command("PUBLISH", "a", f"mxxxxxxxx{number}")
            await listener.wait_until(lambda listener: len(listener.messages) > number)  # noqa: B023
        await asyncio.sleep(3 * HEARTBEAT_SECONDS)
        assert (listener.messages, listener.gaps) == ([b"0", b"1", b"2"], 1)


async def test_connection_without_replies_is_replaced(redis):
    async with FaultyTcpProxy(redis.socket) as proxy, running_pubsubs(f"redis://127.0.0.1:{proxy.port}") as (line,):
        listener = ChannelListener(line, "a")
        await listener.wait_until_subscribed()
        await proxy.stall()
        async with asyncio.timeout(5):
            while line._subscribers[""]._requested:  # noqa: ASYNC110 (no event says so)
                await asyncio.sleep(0.01)
        await proxy.restore()
        await listener.wait_until(lambda listener: listener.gaps >= 2)


async def test_durable_messages_are_queued_while_redis_is_unavailable(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        reached, listener, other = ChannelListener(near, "a"), ChannelListener(far, "a"), ChannelListener(far, "b")
        for item in (reached, listener, other):
            await item.wait_until_subscribed()
        await proxy.cut()
        for number in range(1_000):
            near.publish("a", b"%d" % number, durable=True)
        for _ in range(4):
            near.publish("b", b"now or never")
            await asyncio.sleep(0.2)
        near.publish("a", b"1000", durable=True)
        await proxy.restore()
        await listener.wait_until(lambda listener: listener.messages and listener.messages[-1] == b"1000")
        assert listener.messages == [b"%d" % number for number in range(MAX_BATCH_MESSAGES, 1_001)], (
            "a single go is lost, however long"
        )
        assert (other.messages, listener.gaps, other.gaps) == ([], 2, 2)
        assert near.dropped == MAX_BATCH_MESSAGES + 4


async def test_only_durable_messages_are_queued_before_the_first_connection(redis):
    async with FaultyTcpProxy(redis.socket) as proxy:
        await proxy.cut()
        async with running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
            listener = ChannelListener(far, "a")
            await listener.wait_until_subscribed()
            near.publish("a", b"now or never")
            near.publish("a", b"lasting", durable=True)
            await asyncio.sleep(0.1)
            await proxy.restore()
            await listener.wait_until(lambda listener: listener.messages)
            assert (listener.messages, listener.gaps) == ([b"lasting"], 2)


async def test_gap_that_occurs_while_another_is_sent_is_sent_too(redis):
    async with (
        FaultyTcpProxy(redis.socket) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        reached, listener = ChannelListener(near, "a"), ChannelListener(far, "a")
        await reached.wait_until_subscribed()
        await listener.wait_until_subscribed()
        await proxy.cut()
        near.publish("a", b"lost", durable=True)
        await asyncio.sleep(0.1)
        await proxy.stall()
        await asyncio.sleep(0.4)  # by now the gap is on its way
        for number in range(MAX_UNSENT_MESSAGES + 100):
            near.publish("a", b"%d" % number, durable=True)
        assert near.dropped == 101
        await proxy.restore()
        await listener.wait_until(
            lambda listener: listener.messages and listener.messages[-1] == b"%d" % (MAX_UNSENT_MESSAGES + 99)
        )
        assert listener.gaps == 3
        assert listener.messages[0] == b"100"


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_pubsub_recovers_when_redis_was_killed_or_paused(redis, fault):
    async with running_pubsubs(redis.url, redis.url) as (current, there):
        listener = ChannelListener(there, "a")
        await listener.wait_until_subscribed()
        getattr(redis, fault)()
        began = asyncio.get_running_loop().time()
        for number in range(MAX_UNSENT_MESSAGES + 500):
            current.publish("a", b"%d" % number)
        assert asyncio.get_running_loop().time() - began < 1.5, "to send never waits"
        assert current.dropped >= 500
        await asyncio.sleep(0.5)
        redis.start()
        await listener.wait_until(lambda listener: listener.gaps >= 2)
        current.publish("a", b"last")
        await listener.wait_until(lambda listener: listener.messages and listener.messages[-1] == b"last")


async def test_pubsub_connects_when_redis_starts_later(redis, caplog):
    redis.kill()
    async with running_pubsubs(redis.url) as (line,):
        listener = ChannelListener(line, "a")
        gone = ChannelListener(line, "a")
        gone.unsubscribe()
        await asyncio.sleep(0.1)
        redis.start()
        await listener.wait_until_subscribed()
        assert gone.gaps == 0


async def test_password_is_never_logged(redis, caplog):
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


async def test_cluster_uses_sharded_channels():
    with RedisServer(cluster=True) as server:
        async with running_pubsubs(server.url, server.url) as (current, there):
            listeners = [ChannelListener(there, f"vocelio:events:{name}") for name in ("a", "b", "c")]
            for listener in listeners:
                await listener.wait_until_subscribed()
            for number in range(100):
                for name in ("a", "b", "c"):
                    current.publish(f"vocelio:events:{name}", b"%s %d" % (name.encode(), number))
            for listener, name in zip(listeners, (b"a", b"b", b"c"), strict=True):
                await listener.wait_until(lambda listener: len(listener.messages) == 100)
                assert listener.messages == [b"%s %d" % (name, number) for number in range(100)]
            assert b"vocelio:events:a" in server.command("PUBSUB", "SHARDCHANNELS")
            listeners[0].unsubscribe()
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await listeners[1].wait_until(lambda listener: listener.gaps >= 2)
            current.publish("vocelio:events:b", b"again")
            await listeners[1].wait_until(lambda listener: listener.messages[-1] == b"again")


async def test_pubsub_recovers_from_an_incomplete_and_a_stopped_cluster(caplog):
    with RedisServer(cluster=True) as server:
        server.command("CLUSTER", "DELSLOTSRANGE", "0", LAST_SLOT)
        async with running_pubsubs(server.url, server.url) as (current, there):
            listener = ChannelListener(there, "a")
            for fault in ("incomplete at first", "incomplete", "gone"):
                before = listener.gaps
                if fault == "gone":
                    server.kill()
                else:
                    server.command("CLUSTER", "DELSLOTSRANGE", "0", LAST_SLOT)
                current.publish("a", b"lost")
                await asyncio.sleep(0.3)
                if fault == "gone":
                    server.start()
                else:
                    server.command("CLUSTER", "ADDSLOTSRANGE", "0", LAST_SLOT)
                await listener.wait_until(lambda listener, before=before: listener.gaps > before)
                current.publish("a", fault.encode())
                await listener.wait_until(lambda listener, fault=fault: fault.encode() in listener.messages)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


@pytest.mark.parametrize(("fault", "coverage"), [("kill", "yes"), ("pause", "no")])
async def test_failure_of_one_shard_does_not_affect_the_others(fault, coverage, caplog):
    """`b` is on the first third, `c` and `a` are on the others; the URL names the node that fails."""
    with redis_cluster(coverage) as servers:
        async with running_pubsubs(servers[0].url, servers[0].url) as (current, there):
            listeners = {name: ChannelListener(there, name) for name in "abc"}
            for listener in listeners.values():
                await listener.wait_until_subscribed()
            getattr(servers[0], fault)()
            began = asyncio.get_running_loop().time()
            for number in range(200):  # two seconds
                for name in "abc":
                    current.publish(name, b"%d" % number, durable=True)
                await asyncio.sleep(0.01)
            for name in "ac":
                await listeners[name].wait_until(lambda listener: len(listener.messages) == 200)
                assert listeners[name].messages == [b"%d" % number for number in range(200)]
            assert asyncio.get_running_loop().time() - began < 8, "the others do not wait"
            late = ChannelListener(there, "audio:a")
            await late.wait_until_subscribed()
            current.publish("audio:a", b"heard")
            await late.wait_until(lambda listener: listener.messages)
            assert (listeners["a"].gaps, listeners["c"].gaps) == (1, 1)
            if fault == "kill":
                for server in servers[1:]:  # as when a replica takes over
                    server.command("CLUSTER", "DELSLOTSRANGE", *SLOT_RANGES[0])
                servers[1].command("CLUSTER", "ADDSLOTSRANGE", *SLOT_RANGES[0])
                servers[1].command("CLUSTER", "BUMPEPOCH")
            else:
                servers[0].start()
            await listeners["b"].wait_until(lambda listener: listener.gaps >= 2)
            current.publish("b", b"last", durable=True)
            await listeners["b"].wait_until(lambda listener: listener.messages and listener.messages[-1] == b"last")
            assert 0 < current.dropped <= 200
            assert (listeners["a"].gaps, listeners["c"].gaps) == (1, 1)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


async def test_unexpected_client_errors_do_not_end_the_loops(redis, caplog):
    """The client raises ValueError for a malformed reply: connecting, subscribing and publishing are retried."""
    strange = redis.directory / "strange"
    async with (
        await asyncio.start_unix_server(_answer_with_garbage, strange),
        FaultyTcpProxy(strange) as proxy,
        running_pubsubs(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        listeners = ChannelListener(near, "a"), ChannelListener(far, "a")
        for where in (strange, redis.socket, strange, redis.socket):
            proxy.target = where
            await proxy.cut()
            await proxy.restore()
            if where == strange:
                near.publish("a", b"lost")
                await asyncio.sleep(0.2)
                continue
            before = listeners[0].gaps
            await listeners[0].wait_until(lambda listener, before=before: listener.gaps > before)
            near.publish("a", b"heard")
            far.publish("a", b"heard")
            for listener in listeners:
                await listener.wait_until(lambda listener: listener.messages and listener.messages.pop() == b"heard")
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


async def test_message_is_not_sent_twice_to_a_cluster():
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
    """Breaks the connection once, after a command with that word has arrived and before its reply."""

    swallow = b"\0"

    async def _pump(self, reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
            if self.swallow in data:
                self.swallow = b"\0"
                raise ConnectionResetError
