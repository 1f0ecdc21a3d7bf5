"""<Enqueue>: how a stay in a queue ends, and what the gateway is told of it."""

import pytest

from tests.integration.simulator.peer import Peer
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp
from vocelio.gateway.simulator.report.events import Bridged
from vocelio.gateway.simulator.verbs.enqueue import Waiting

VOICE = "/twilio/voice"
ENQUEUE = '<Enqueue action="/left" waitUrl="/wait">sales</Enqueue><Say>Next.</Say>'


async def test_somebody_takes_the_call(place):
    peer = Peer({VOICE: ENQUEUE, "/wait": "<Pause length='10'/>", "/left": "<Hangup/>"})
    events = []
    report = await place(peer, queues={"sales": Waiting(wait=1.1, talk=0.1, position=3)}, on_event=events.append)
    left, wait = peer.form("/left"), peer.form("/wait")
    assert (left["QueueResult"], left["QueueTime"]) == ("bridged", "1")
    assert wait["QueuePosition"] == wait["CurrentQueueSize"] == "3"
    assert wait["QueueSid"] == left["QueueSid"]
    assert wait["QueueSid"].startswith("QU")
    assert [event.target for event in events if isinstance(event, Bridged)] == ["sales"]
    (queued,) = report.queued
    assert (queued.name, queued.result) == ("sales", "bridged")
    assert 1.1 <= queued.seconds < 2
    assert (report.ended, report.errors, report.spoken) == ("hangup", (), ())


@pytest.mark.parametrize("result", ["queue-full", "system-error"])
async def test_calls_that_never_were_in_the_queue(place, result):
    peer = Peer({VOICE: ENQUEUE, "/left": ""})
    report = await place(peer, queues=[result])
    assert peer.form("/left")["QueueResult"] == result
    assert not {"QueueSid", "QueueTime"} & set(peer.form("/left"))
    assert "/wait" not in peer.paths
    assert [queued.seconds for queued in report.queued] == [0.0]


async def test_a_bridge_that_fails(place):
    peer = Peer({VOICE: ENQUEUE, "/wait": "", "/left": ""})
    await place(peer, queues=["error"])
    assert peer.form("/left")["QueueResult"] == "error"


async def test_the_waiting_document_is_played_over_and_over_and_may_leave(place):
    pages = iter(["<Say>One.</Say>", "<Play>/music.mp3</Play>", "<Redirect>/more</Redirect>"])

    class Changing(Peer):
        async def webhook(self, request):
            if request.url.path == "/wait":
                self.pages["/wait"] = next(pages)
            return await super().webhook(request)

    peer = Changing({VOICE: ENQUEUE, "/more": "<Say>Two.</Say><Leave/><Say>never</Say>", "/left": ""})
    report = await place(peer)
    assert report.spoken == ("One.", "Two.")
    assert peer.paths.count("/wait") == 3
    assert peer.form("/left")["QueueResult"] == "leave"
    assert peer.form("/left")["CallStatus"] == "in-progress"


async def test_the_caller_gives_up(place):
    peer = Peer({VOICE: ENQUEUE, "/wait": "", "/left": ""})
    report = await place(peer, [HangUp(longest_wait=0.3)])
    assert report.ended == "caller_hung_up"
    assert peer.form("/left")["QueueResult"] == "hangup"
    assert peer.form("/left")["CallStatus"] == "completed"
    assert [queued.result for queued in report.queued] == ["hangup"]


async def test_the_waiting_document_may_hang_up(place):
    peer = Peer({VOICE: ENQUEUE, "/wait": "<Hangup/>", "/left": ""})
    report = await place(peer)
    assert report.ended == "hangup"
    assert peer.form("/left")["QueueResult"] == "hangup"


async def test_a_redirected_call_tells_the_action_and_goes_where_it_was_sent(place):
    peer = Peer({VOICE: ENQUEUE, "/wait": "", "/left": "<Say>never</Say>", "/elsewhere": "<Say>Here.</Say>"})
    report = await place(peer, queues=[Waiting("redirected", wait=0.1, to="/elsewhere")])
    assert peer.form("/left")["QueueResult"] == "redirected"
    assert peer.paths.index("/left") < peer.paths.index("/elsewhere")
    assert report.spoken == ("Here.",)


async def test_without_an_action_the_next_verb_follows(place):
    report = await place(Peer({VOICE: "<Enqueue>sales</Enqueue><Say>Next.</Say>"}), queues=[Waiting(talk=0.0)])
    assert report.spoken == ("Next.",)


async def test_nobody_takes_the_call(place):
    report = await place(Peer({VOICE: "<Enqueue>sales</Enqueue>"}), longest=1.0)
    assert report.ended == "too_long"


@pytest.mark.parametrize(
    "pages",
    [{VOICE: ENQUEUE, "/wait": "<Dial>+14155550101</Dial>"}, {VOICE: "<Leave/>"}],
    ids=["a verb that is not for waiting", "leave where nobody waits"],
)
async def test_what_is_out_of_its_place_ends_the_call(place, pages):
    report = await place(Peer(pages))
    assert report.ended == "error"
    assert [error.code for error in report.errors] == [error_codes.SCHEMA]
