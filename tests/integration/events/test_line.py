"""The line by a real Redis: what is sent arrives once and in order, and whoever may have missed something is told."""

import asyncio
import logging
import time
from contextlib import suppress

import msgspec
import pytest

from tests.integration.events.conftest import BEAT, THIRDS, Choosy, Ear, cluster, lines
from tests.proxy import CHUNK, Proxy
from tests.redis import SLOTS, Redis
from vocelio.gateway.events import Event
from vocelio.gateway.events.redis.publisher import AT_ONCE, MAX_UNSENT
from vocelio.gateway.events.redis.pubsub import RedisLine


async def test_messages_go_to_the_others_once_and_in_order(redis):
    async with lines(redis.url, redis.url) as (here, there):
        ears = Ear(here, "a"), Ear(there, "a"), Ear(there, "a"), Ear(there, "b")
        for ear in ears:
            await ear.ready()
        sent = [b"%d" % number for number in range(1_000)]
        for message in sent:
            here.send("a", message)
        there.send("b", b"not to oneself")
        for ear in ears[1:3]:
            await ear.until(lambda ear: len(ear.heard) >= len(sent))
            assert ear.heard == sent
        assert ears[0].heard == ears[3].heard == []


async def test_a_channel_is_listened_to_only_while_somebody_does(redis):
    async with lines(redis.url) as (line,):
        first, second = Ear(line, "only-here"), Ear(line, "only-here")
        await first.ready()
        await second.ready()
        assert b":1\r" in redis.ask("PUBSUB", "NUMSUB", "only-here")
        first.end()
        await asyncio.sleep(0.05)
        assert b":1\r" in redis.ask("PUBSUB", "NUMSUB", "only-here")
        second.end()
        async with asyncio.timeout(5):
            while b":0\r" not in redis.ask("PUBSUB", "NUMSUB", "only-here"):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
        again = Ear(line, "only-here")
        await again.ready()
        assert first.heard == second.heard == again.heard == []


async def test_who_leaves_and_comes_back_at_once_disturbs_nobody(redis):
    async with lines(redis.url, redis.url) as (here, there):
        stays = Ear(here, "a")
        await stays.ready()
        for _ in range(50):
            ear = Ear(here, "b")
            await asyncio.sleep(0)
            ear.end()
            await asyncio.sleep(0)
        last = Ear(here, "b")
        await last.ready()
        there.send("b", b"heard")
        await last.until(lambda ear: ear.heard)
        assert stays.gaps == 1


async def test_who_comes_back_before_the_line_has_noticed_is_told_that_the_subscription_stands(redis):
    async with lines(redis.url, redis.url) as (here, there):
        ear = Ear(here, "a")
        await ear.ready()
        ear.end()
        again = Ear(here, "a")
        await again.ready()
        there.send("a", b"heard")
        await again.until(lambda ear: ear.heard)
        assert again.gaps == 1


async def test_nothing_is_kept_of_channels_that_nobody_listens_to(redis):
    async with lines(redis.url) as (line,):
        for number in range(10):
            ear = Ear(line, f"audio:{number}")
            await ear.ready()
            ear.end()
        last = Ear(line, "last")
        await last.ready()
        assert len(line._receiving[""]._left) == 0


async def test_who_cannot_take_a_message_has_a_gap_and_nobody_else_does(redis, caplog):
    async with lines(redis.url, redis.url) as (here, there):
        bad, good, other = Choosy(there, "a"), Ear(there, "a"), Ear(there, "b")
        for ear in (bad, good, other):
            await ear.ready()
        for message in (b"1", b"bad", b"bad", b"2"):
            here.send("a", message)
        here.send("b", b"3")
        await other.until(lambda ear: ear.heard)
        assert (bad.heard, bad.gaps) == ([b"1", b"2"], 3)
        assert (good.heard, good.gaps, other.gaps) == ([b"1", b"bad", b"bad", b"2"], 1, 1)
    assert [record.exc_info[0] for record in caplog.records] == [RecursionError], "not of each"


async def test_what_cannot_be_sent_is_lost_alone(redis, caplog):
    async with lines(redis.url, redis.url) as (here, there):
        ear = Ear(there, "a")
        await ear.ready()
        for number in range(3):
            said = "hush \ud800" if number == 1 else ""
            here.send("a", Event(tenant="t", call="c", generation=1, seq=number, type="x.y", at=1, data={"said": said}))
        await ear.until(lambda ear: len(ear.heard) == 2 and ear.gaps == 2)
        assert [msgspec.json.decode(message)["seq"] for message in ear.heard] == [0, 2]
        assert here.lost == 1
    assert "UnicodeEncodeError" in caplog.text
    assert "hush" not in caplog.text


async def test_who_comes_while_others_are_asked_for_waits_for_no_beat(redis):
    async with lines(redis.url, beat=3_600) as (line,):
        await Ear(line, "first").ready()
        for turns in range(10):
            one = Ear(line, f"{turns}")
            for _ in range(turns):
                await asyncio.sleep(0)
            another = Ear(line, f"{turns} and later")
            await one.ready()
            await another.ready()


async def test_after_a_cut_the_subscription_is_fresh_and_told_of_a_gap(redis):
    async with Proxy(redis.socket) as proxy, lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
        ear = Ear(near, "a")
        await ear.ready()
        await proxy.cut()
        far.send("a", b"lost")
        await asyncio.sleep(0.1)
        await proxy.mend()
        await ear.until(lambda ear: ear.gaps == 2)
        far.send("a", b"heard")
        await ear.until(lambda ear: ear.heard)
        assert ear.heard == [b"heard"]


async def test_silence_is_noticed_by_two_beats_that_do_not_come(redis):
    """Connections stay open and nothing comes: without beats nobody would ever know."""
    async with Proxy(redis.socket) as proxy, lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
        ear = Ear(near, "a")
        await ear.ready()
        await proxy.stall()
        far.send("a", b"swallowed")
        await asyncio.sleep(0.5)
        await proxy.cut()  # what was swallowed is gone for good, as behind a router that has forgotten the connection
        await proxy.mend()
        await ear.until(lambda ear: ear.gaps >= 2)
        far.send("a", b"heard")
        await ear.until(lambda ear: ear.heard)
        assert ear.heard == [b"heard"]


async def test_a_process_that_stood_still_itself_has_missed_nothing(redis):
    async with lines(redis.url) as (line,):
        ear = Ear(line, "a")
        await ear.ready()
        for number in range(3):
            time.sleep(3 * BEAT)  # noqa: ASYNC251 (that is the trouble)
            redis.ask("PUBLISH", "a", f"mxxxxxxxx{number}")
            await ear.until(lambda ear: len(ear.heard) > number)  # noqa: B023
        await asyncio.sleep(3 * BEAT)
        assert (ear.heard, ear.gaps) == ([b"0", b"1", b"2"], 1)


async def test_a_connection_on_which_nothing_comes_back_is_given_up(redis):
    async with Proxy(redis.socket) as proxy, lines(f"redis://127.0.0.1:{proxy.port}") as (line,):
        ear = Ear(line, "a")
        await ear.ready()
        await proxy.stall()
        async with asyncio.timeout(5):
            while line._receiving[""]._asked:  # noqa: ASYNC110 (no event says so)
                await asyncio.sleep(0.01)
        await proxy.mend()
        await ear.until(lambda ear: ear.gaps >= 2)


async def test_what_is_lasting_waits_for_a_server_that_is_away(redis):
    async with Proxy(redis.socket) as proxy, lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
        reached, ear, other = Ear(near, "a"), Ear(far, "a"), Ear(far, "b")
        for one in (reached, ear, other):
            await one.ready()
        await proxy.cut()
        for number in range(1_000):
            near.send("a", b"%d" % number, lasting=True)
        for _ in range(4):
            near.send("b", b"now or never")
            await asyncio.sleep(0.2)
        near.send("a", b"1000", lasting=True)
        await proxy.mend()
        await ear.until(lambda ear: ear.heard and ear.heard[-1] == b"1000")
        assert ear.heard == [b"%d" % number for number in range(AT_ONCE, 1_001)], "a single go is lost, however long"
        assert (other.heard, ear.gaps, other.gaps) == ([], 2, 2)
        assert near.lost == AT_ONCE + 4


async def test_only_what_is_lasting_waits_for_a_server_that_was_not_there_yet(redis):
    async with Proxy(redis.socket) as proxy:
        await proxy.cut()
        async with lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
            ear = Ear(far, "a")
            await ear.ready()
            near.send("a", b"now or never")
            near.send("a", b"lasting", lasting=True)
            await asyncio.sleep(0.1)
            await proxy.mend()
            await ear.until(lambda ear: ear.heard)
            assert (ear.heard, ear.gaps) == ([b"lasting"], 2)


async def test_a_hole_that_opens_while_another_is_told_is_told_too(redis):
    async with Proxy(redis.socket) as proxy, lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far):
        reached, ear = Ear(near, "a"), Ear(far, "a")
        await reached.ready()
        await ear.ready()
        await proxy.cut()
        near.send("a", b"lost", lasting=True)
        await asyncio.sleep(0.1)
        await proxy.stall()
        await asyncio.sleep(0.4)  # by now the gap is on its way
        for number in range(MAX_UNSENT + 100):
            near.send("a", b"%d" % number, lasting=True)
        assert near.lost == 101
        await proxy.mend()
        await ear.until(lambda ear: ear.heard and ear.heard[-1] == b"%d" % (MAX_UNSENT + 99))
        assert ear.gaps == 3
        assert ear.heard[0] == b"100"


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_server_that_is_killed_or_stopped(redis, fault):
    async with lines(redis.url, redis.url) as (here, there):
        ear = Ear(there, "a")
        await ear.ready()
        getattr(redis, fault)()
        began = asyncio.get_running_loop().time()
        for number in range(MAX_UNSENT + 500):
            here.send("a", b"%d" % number)
        assert asyncio.get_running_loop().time() - began < 1.5, "to send never waits"
        assert here.lost >= 500
        await asyncio.sleep(0.5)
        redis.start()
        await ear.until(lambda ear: ear.gaps >= 2)
        here.send("a", b"last")
        await ear.until(lambda ear: ear.heard and ear.heard[-1] == b"last")


async def test_a_server_that_is_not_there_yet(redis, caplog):
    redis.kill()
    async with lines(redis.url) as (line,):
        ear = Ear(line, "a")
        gone = Ear(line, "a")
        gone.end()
        await asyncio.sleep(0.1)
        redis.start()
        await ear.ready()
        assert gone.gaps == 0


async def test_a_password_is_in_no_log(redis, caplog):
    caplog.set_level(logging.DEBUG)
    async with Proxy(redis.socket) as proxy:
        line = RedisLine(f"redis://somebody:hush-hush@127.0.0.1:{proxy.port}", 0.1)
        await line.start()
        Ear(line, "a")
        line.send("a", b"1")
        await asyncio.sleep(0.2)
        await proxy.cut()
        await asyncio.sleep(0.2)
        await line.aclose()
    assert "redis" in caplog.text
    assert "hush" not in caplog.text


async def test_a_cluster_has_sharded_channels():
    with Redis(cluster=True) as server:
        async with lines(server.url, server.url) as (here, there):
            ears = [Ear(there, f"vocelio:events:{name}") for name in ("a", "b", "c")]
            for ear in ears:
                await ear.ready()
            for number in range(100):
                for name in ("a", "b", "c"):
                    here.send(f"vocelio:events:{name}", b"%s %d" % (name.encode(), number))
            for ear, name in zip(ears, (b"a", b"b", b"c"), strict=True):
                await ear.until(lambda ear: len(ear.heard) == 100)
                assert ear.heard == [b"%s %d" % (name, number) for number in range(100)]
            assert b"vocelio:events:a" in server.ask("PUBSUB", "SHARDCHANNELS")
            ears[0].end()
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await ears[1].until(lambda ear: ear.gaps >= 2)
            here.send("vocelio:events:b", b"again")
            await ears[1].until(lambda ear: ear.heard[-1] == b"again")


async def test_a_cluster_is_incomplete_at_first_and_later_and_then_gone_for_a_moment(caplog):
    with Redis(cluster=True) as server:
        server.ask("CLUSTER", "DELSLOTSRANGE", "0", SLOTS)
        async with lines(server.url, server.url) as (here, there):
            ear = Ear(there, "a")
            for fault in ("incomplete at first", "incomplete", "gone"):
                before = ear.gaps
                if fault == "gone":
                    server.kill()
                else:
                    server.ask("CLUSTER", "DELSLOTSRANGE", "0", SLOTS)
                here.send("a", b"lost")
                await asyncio.sleep(0.3)
                if fault == "gone":
                    server.start()
                else:
                    server.ask("CLUSTER", "ADDSLOTSRANGE", "0", SLOTS)
                await ear.until(lambda ear, before=before: ear.gaps > before)
                here.send("a", fault.encode())
                await ear.until(lambda ear, fault=fault: fault.encode() in ear.heard)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


@pytest.mark.parametrize(("fault", "coverage"), [("kill", "yes"), ("pause", "no")])
async def test_what_a_part_of_a_cluster_suffers_the_others_do_not(fault, coverage, caplog):
    """`b` is on the first third, `c` and `a` are on the others; the URL shows the way by the one that fails."""
    with cluster(coverage) as servers:
        async with lines(servers[0].url, servers[0].url) as (here, there):
            ears = {name: Ear(there, name) for name in "abc"}
            for ear in ears.values():
                await ear.ready()
            getattr(servers[0], fault)()
            began = asyncio.get_running_loop().time()
            for number in range(200):  # two seconds
                for name in "abc":
                    here.send(name, b"%d" % number, lasting=True)
                await asyncio.sleep(0.01)
            for name in "ac":
                await ears[name].until(lambda ear: len(ear.heard) == 200)
                assert ears[name].heard == [b"%d" % number for number in range(200)]
            assert asyncio.get_running_loop().time() - began < 8, "the others do not wait"
            late = Ear(there, "audio:a")
            await late.ready()
            here.send("audio:a", b"heard")
            await late.until(lambda ear: ear.heard)
            assert (ears["a"].gaps, ears["c"].gaps) == (1, 1)
            if fault == "kill":
                for server in servers[1:]:  # as when a replica takes over
                    server.ask("CLUSTER", "DELSLOTSRANGE", *THIRDS[0])
                servers[1].ask("CLUSTER", "ADDSLOTSRANGE", *THIRDS[0])
                servers[1].ask("CLUSTER", "BUMPEPOCH")
            else:
                servers[0].start()
            await ears["b"].until(lambda ear: ear.gaps >= 2)
            here.send("b", b"last", lasting=True)
            await ears["b"].until(lambda ear: ear.heard and ear.heard[-1] == b"last")
            assert 0 < here.lost <= 200
            assert (ears["a"].gaps, ears["c"].gaps) == (1, 1)
    assert not [record for record in caplog.records if record.exc_info], "an outage is no defect of ours"


async def test_what_nobody_expected_ends_nothing(redis, caplog):
    """The client cannot read an answer, and says so by a ValueError: to reach, to hear and to send go on."""
    strange = redis.directory / "strange"
    async with (
        await asyncio.start_unix_server(_answer_strangely, strange),
        Proxy(strange) as proxy,
        lines(f"redis://127.0.0.1:{proxy.port}", redis.url) as (near, far),
    ):
        ears = Ear(near, "a"), Ear(far, "a")
        for where in (strange, redis.socket, strange, redis.socket):
            proxy.target = where
            await proxy.cut()
            await proxy.mend()
            if where == strange:
                near.send("a", b"lost")
                await asyncio.sleep(0.2)
                continue
            before = ears[0].gaps
            await ears[0].until(lambda ear, before=before: ear.gaps > before)
            near.send("a", b"heard")
            far.send("a", b"heard")
            for ear in ears:
                await ear.until(lambda ear: ear.heard and ear.heard.pop() == b"heard")
    assert sorted(record.getMessage() for record in caplog.records if record.exc_info) == [
        "redis does not answer: ValueError",
        "redis is not heard: ValueError",
        "redis takes no messages: ValueError",
    ]


async def _answer_strangely(reader, writer):
    with suppress(ConnectionError):
        while await reader.read(1_000):
            writer.write(b"-MOVED\r\n")
    writer.close()


async def test_nothing_is_sent_twice_to_a_cluster():
    with Redis(cluster=True) as server:
        async with _Swallowing(server.socket) as proxy:
            server.ask("CONFIG", "SET", "cluster-announce-port", str(proxy.port))
            async with lines(f"redis://127.0.0.1:{proxy.port}") as (line,):
                await Ear(line, "a").ready()
                proxy.swallow = b"SPUBLISH"
                line.send("a", b"once")
                await asyncio.sleep(0.8)
                assert line.lost == 1
                assert b"cmdstat_spublish:calls=2," in server.ask("INFO", "commandstats"), "the message, and the gap"


class _Swallowing(Proxy):
    """Once, what was asked with that word arrives, and the connection breaks before the answer is back."""

    swallow = b"\0"

    async def _pump(self, reader, writer):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            if self.swallow in data:
                self.swallow = b"\0"
                raise ConnectionResetError
