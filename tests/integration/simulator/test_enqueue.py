"""<Enqueue>: ends of a stay in a queue, and the webhooks for each."""

import pytest

from tests.support.scripted_gateway import ScriptedGateway
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp
from vocelio.gateway.simulator.events import CallBridged
from vocelio.gateway.simulator.verbs.enqueue import QueueScript

VOICE = "/twilio/voice"
ENQUEUE = '<Enqueue action="/left" waitUrl="/wait">sales</Enqueue><Say>Next.</Say>'


async def test_bridged_call_requests_the_action(place_call):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/wait": "<Pause length='10'/>", "/left": "<Hangup/>"})
    events = []
    report = await place_call(
        peer,
        queue_scripts={"sales": QueueScript(wait_seconds=1.1, talk_seconds=0.1, position=3)},
        on_event=events.append,
    )
    left, wait = peer.form_of("/left"), peer.form_of("/wait")
    assert (left["QueueResult"], left["QueueTime"]) == ("bridged", "1")
    assert wait["QueuePosition"] == wait["CurrentQueueSize"] == "3"
    assert wait["QueueSid"] == left["QueueSid"]
    assert wait["QueueSid"].startswith("QU")
    assert [event.target for event in events if isinstance(event, CallBridged)] == ["sales"]
    (queued,) = report.queue_stays
    assert (queued.queue_name, queued.result) == ("sales", "bridged")
    assert 1.1 <= queued.wait_seconds < 2
    assert (report.ending, report.errors, report.say_texts) == ("hangup", (), ())


@pytest.mark.parametrize("result", ["queue-full", "system-error"])
async def test_rejected_call_does_not_enter_the_queue(place_call, result):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/left": ""})
    report = await place_call(peer, queue_scripts=[result])
    assert peer.form_of("/left")["QueueResult"] == result
    assert not {"QueueSid", "QueueTime"} & set(peer.form_of("/left"))
    assert "/wait" not in peer.requested_paths
    assert [queued.wait_seconds for queued in report.queue_stays] == [0.0]


async def test_failed_bridge_requests_the_action(place_call):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/wait": "", "/left": ""})
    await place_call(peer, queue_scripts=["error"])
    assert peer.form_of("/left")["QueueResult"] == "error"


async def test_wait_document_is_repeated_and_may_leave_the_queue(place_call):
    pages = iter(["<Say>One.</Say>", "<Play>/music.mp3</Play>", "<Redirect>/more</Redirect>"])

    class Changing(ScriptedGateway):
        async def webhook(self, request):
            if request.url.path == "/wait":
                self.pages["/wait"] = next(pages)
            return await super().webhook(request)

    peer = Changing({VOICE: ENQUEUE, "/more": "<Say>Two.</Say><Leave/><Say>never</Say>", "/left": ""})
    report = await place_call(peer)
    assert report.say_texts == ("One.", "Two.")
    assert peer.requested_paths.count("/wait") == 3
    assert peer.form_of("/left")["QueueResult"] == "leave"
    assert peer.form_of("/left")["CallStatus"] == "in-progress"


async def test_caller_who_hangs_up_in_the_queue(place_call):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/wait": "", "/left": ""})
    report = await place_call(peer, [HangUp(max_wait_seconds=0.3)])
    assert report.ending == "caller_hung_up"
    assert peer.form_of("/left")["QueueResult"] == "hangup"
    assert peer.form_of("/left")["CallStatus"] == "completed"
    assert [queued.result for queued in report.queue_stays] == ["hangup"]


async def test_wait_document_may_hang_up(place_call):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/wait": "<Hangup/>", "/left": ""})
    report = await place_call(peer)
    assert report.ending == "hangup"
    assert peer.form_of("/left")["QueueResult"] == "hangup"


async def test_redirected_call_requests_the_action_and_continues_at_its_url(place_call):
    peer = ScriptedGateway({VOICE: ENQUEUE, "/wait": "", "/left": "<Say>never</Say>", "/elsewhere": "<Say>Here.</Say>"})
    report = await place_call(
        peer, queue_scripts=[QueueScript("redirected", wait_seconds=0.1, redirect_url="/elsewhere")]
    )
    assert peer.form_of("/left")["QueueResult"] == "redirected"
    assert peer.requested_paths.index("/left") < peer.requested_paths.index("/elsewhere")
    assert report.say_texts == ("Here.",)


async def test_next_verb_follows_without_an_action(place_call):
    report = await place_call(
        ScriptedGateway({VOICE: "<Enqueue>sales</Enqueue><Say>Next.</Say>"}),
        queue_scripts=[QueueScript(talk_seconds=0.0)],
    )
    assert report.say_texts == ("Next.",)


async def test_caller_waits_until_the_maximum_duration(place_call):
    report = await place_call(ScriptedGateway({VOICE: "<Enqueue>sales</Enqueue>"}), max_seconds=1.0)
    assert report.ending == "too_long"


@pytest.mark.parametrize(
    "pages",
    [{VOICE: ENQUEUE, "/wait": "<Dial>+14155550101</Dial>"}, {VOICE: "<Leave/>"}],
    ids=["verb not allowed while waiting", "leave outside of a queue"],
)
async def test_misplaced_verb_ends_the_call(place_call, pages):
    report = await place_call(ScriptedGateway(pages))
    assert report.ending == "error"
    assert [error.code for error in report.errors] == [error_codes.SCHEMA_VALIDATION]
