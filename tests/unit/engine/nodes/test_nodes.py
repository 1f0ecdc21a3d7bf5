"""Each node type but collect, by all its exits."""

from typing import Any

import pytest

from tests.support.session_driver import CALLER, NUMBER, SessionDriver, make_call_info
from vocelio.engine import actions, events
from vocelio.engine.call_info import TenantInfo
from vocelio.engine.hours import OpeningHours
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.nodes.voice import ChangeVoice
from vocelio.engine.validation.loader import ValidationContext, load_flow
from vocelio.engine.voice import Voice

REST = {"type": "wait", "seconds": 9}


def driver_at(kind: str, *exits: str, then: dict[str, Any] | None = None, **fields: Any) -> SessionDriver:
    """A call at a node of that kind, each of whose exits leads to a node that waits."""
    call = fields.pop("call", None)
    known = {"variables": fields.pop("variables", {})}
    node = {"type": kind, **fields, "exits": dict.fromkeys(exits, "rest")}
    return SessionDriver({"it": node, "rest": then or REST}, call_info=call, **known)


def exit_taken(phone: SessionDriver) -> str:
    node, exit_name = phone.exits_taken[0]
    assert node == "it"
    return exit_name


def test_every_node_type_is_known() -> None:
    assert sorted(NODE_TYPES) == [
        "collect",
        "decide",
        "echo",
        "end",
        "hangup",
        "hours",
        "queue",
        "record",
        "request",
        "say",
        "set",
        "split",
        "subflow",
        "transfer",
        "voice",
        "wait",
    ]


# say


def test_say_goes_on_when_it_was_heard() -> None:
    phone = driver_at("say", "next", text="Hello {{ caller.number | digits }}.")
    assert phone.spoken_texts == ["Hello 1 3 0 7 5 5 5 0 1 0 0."]
    assert not phone.exits_taken
    phone.finish_prompts()
    assert exit_taken(phone) == "next"


def test_say_plays_a_stored_sound() -> None:
    phone = driver_at("say", "next", audio="welcome")
    assert phone.only_action(actions.Speak).audio == "welcome"
    phone.finish_prompts()
    assert exit_taken(phone) == "next"


def test_say_in_a_voice_of_its_own() -> None:
    phone = driver_at("say", "next", text="Hi", voice={"name": "en-gb"})
    assert phone.only_action(actions.Speak).voice.name == "en-gb"


def test_say_is_interrupted_by_speech_and_keys_unless_it_may_not_be() -> None:
    phone = driver_at("say", "next", text="Hi")
    phone.start_speech()
    assert exit_taken(phone) == "next"
    phone = driver_at("say", "next", text="Hi", barge_in=False)
    phone.start_speech()
    phone.press_keys("1")
    assert not phone.has_action(actions.StopSpeaking)
    phone.finish_prompts()
    assert exit_taken(phone) == "next"


def test_a_blank_text_is_passed_over() -> None:
    assert exit_taken(driver_at("say", "next", text="{{ greeting }}", variables={"greeting": " "})) == "next"


def test_a_caller_who_speaks_already_is_not_spoken_over() -> None:
    first = {"type": "say", "text": "One", "exits": {"next": "two"}}
    phone = SessionDriver(
        {"one": first, "two": {"type": "say", "text": "Two", "exits": {"next": "rest"}}, "rest": REST}
    )
    phone.start_speech()
    assert phone.spoken_texts == ["One"]


# decide, set, split, voice


@pytest.mark.parametrize(("tries", "way"), [(1, "else"), (3, "many"), ("x", "else")])
def test_decide_takes_the_first_rule_that_holds(tries: Any, way: str) -> None:
    rules = [{"when": "tries > 2", "exit": "many"}, {"when": "tries == 3", "exit": "three"}]
    phone = driver_at("decide", "many", "three", "else", rules=rules, variables={"tries": tries})
    assert exit_taken(phone) == way
    assert bool(phone.flow_problems) == (tries == "x"), "what cannot be told counts as false and is noted"


def test_set_keeps_types_and_reads_what_it_has_set() -> None:
    values = {
        "tries": "{{ tries | plus: 1 }}",
        "more": "{{ tries }}",
        "who": "Hi {{ caller.number }}",
        "deep": {"a": ["{{ tries }}", 1.5]},
    }
    phone = driver_at("set", "next", values=values, variables={"tries": 1, "more": 0})
    assert phone.state.variables == {"tries": 2, "more": 2, "who": f"Hi {CALLER}", "deep": {"a": [2, 1.5]}}


def test_set_refuses_what_is_too_large() -> None:
    phone = driver_at("set", "next", values={"a": "{% for i in (1..100) %}0123456789012345678901234567890{% endfor %}"})
    assert phone.state.variables["a"] is None
    assert "has more than 2,000 bytes" in phone.flow_problems[0]


def test_split_sends_a_caller_always_the_same_way_and_callers_by_their_shares() -> None:
    version = driver_at("split", "a", "b", weights={"a": 1, "b": 3}).version
    ways = [
        exit_taken(SessionDriver(version, call_info=make_call_info(caller=f"+1307555{n:04}", seed=str(n))))
        for n in range(400)
    ]
    again = [
        exit_taken(SessionDriver(version, call_info=make_call_info(caller=f"+1307555{n:04}", seed="other")))
        for n in range(400)
    ]
    assert ways == again
    assert 70 <= ways.count("a") <= 130


def test_split_never_takes_a_weight_of_nothing() -> None:
    version = driver_at("split", "a", "b", weights={"a": 0, "b": 1}).version
    assert {
        exit_taken(SessionDriver(version, call_info=make_call_info(caller="", seed=str(n)))) for n in range(50)
    } == {"b"}


def test_voice_changes_what_it_names_from_here_on() -> None:
    phone = driver_at("voice", "next", speed=1.5, then={"type": "say", "text": "Hi"})
    spoken = phone.only_action(actions.Speak)
    assert (spoken.voice.speed, spoken.voice.name) == (1.5, "en-us")


def test_a_change_of_voice_drops_the_fallbacks_that_do_not_go_with_it() -> None:
    ava, george = Voice("azure", "ava"), Voice("local", "en-gb")
    flow = Voice("elevenlabs", "rachel", fallbacks=(ava, george))
    assert ChangeVoice(name="adam").apply_to(flow).fallbacks == (ava, george)
    assert ChangeVoice(tier="azure", name="andrew").apply_to(flow).fallbacks == (george,)
    assert ChangeVoice(name="lucia", language="es-ES").apply_to(flow).fallbacks == ()
    alvaro = Voice("azure", "es-ES-AlvaroNeural", "es-ES")
    assert ChangeVoice(name="lucia", language="es-ES", fallbacks=(alvaro,)).apply_to(flow).fallbacks == (alvaro,)


# wait, echo


def test_wait_lets_time_pass() -> None:
    phone = driver_at("wait", "next", seconds=3)
    assert phone.timers == ["max_duration", "wait"]
    phone.fire_timer("wait")
    assert exit_taken(phone) == "next"


def test_echo_begins_and_ends() -> None:
    phone = driver_at("echo", "next", seconds=3)
    assert phone.only_action(actions.Echo).enabled
    phone.fire_timer("echo")
    assert not phone.only_action(actions.Echo).enabled
    assert exit_taken(phone) == "next"


# request


def request_driver(**fields: Any) -> SessionDriver:
    return driver_at(
        "request", "ok", "error", "timeout", **{"method": "POST", "url": "https://crm.example.com/", **fields}
    )


def test_request_says_all_that_the_shell_needs() -> None:
    phone = request_driver(
        url="https://crm.example.com/{{ caller.number | url_encode }}",
        headers={"Authorization": "Bearer {{ secret.crm }}", "X-Call": "{{ call.id }}"},
        json={"number": "{{ number }}", "tries": "{{ tries }}", "list": ["{{ tries }}"]},
        variables={"tries": 2},
        timeout=3,
        retries=1,
    )
    sent = phone.only_action(actions.Request)
    assert sent.url == "https://crm.example.com/%2B13075550100"
    assert sent.headers == {"Authorization": "Bearer {{ secret.crm }}", "X-Call": "CA1"}
    assert sent.json == {"number": NUMBER, "tries": 2, "list": [2]}
    assert (sent.timeout_seconds, sent.retries, len(sent.idempotency_key)) == (3, 1, 32)


@pytest.mark.parametrize(
    ("status", "how", "way"),
    [(200, "ok", "ok"), (302, "ok", "ok"), (404, "ok", "error"), (0, "error", "error"), (0, "timeout", "timeout")],
)
def test_request_leaves_by_what_came(status: int, how: str, way: str) -> None:
    phone = request_driver()
    phone.http_response(status, None, how)
    assert exit_taken(phone) == way
    assert phone.state.results["it"] == {"value": way, "status": status}


def test_request_keeps_what_it_was_told_to() -> None:
    phone = request_driver(save={"total": "orders[-1].total", "name": '$["customer"].name', "none": "a.b", "all": "$"})
    phone.http_response(body={"orders": [{"total": 1}, {"total": 2.5}], "customer": {"name": "Acme"}})
    assert {name: phone.state.variables[name] for name in ("total", "name", "none")} == {
        "total": 2.5,
        "name": "Acme",
        "none": None,
    }
    assert phone.flow_problems == ["the response has no `a.b`"]


def test_a_reply_that_never_comes_is_a_timeout() -> None:
    phone = request_driver()
    phone.fire_timer("overdue")
    assert exit_taken(phone) == "timeout"


def test_a_caller_cannot_say_a_secret() -> None:
    phone = request_driver(headers={"X": "{{ name }} {{ secret.a }}"}, variables={"name": "{{ secret.b }}\r\nEvil: 1"})
    assert phone.only_action(actions.Request).headers == {"X": "{ { secret.b } } Evil: 1 {{ secret.a }}"}


def test_a_url_that_came_out_as_none_is_an_error() -> None:
    phone = request_driver(url="{{ where }}", variables={"where": "ftp://x"})
    assert exit_taken(phone) == "error"
    assert phone.flow_problems


@pytest.mark.parametrize(("method", "sent"), [("GET", True), ("POST", False)])
def test_after_a_break_only_a_get_is_sent_again_with_the_same_key(method: str, sent: bool) -> None:
    phone = request_driver(method=method)
    key = phone.only_action(actions.Request).idempotency_key
    phone.step(events.CallResumed)
    if sent:
        assert phone.only_action(actions.Request).idempotency_key == key
    else:
        assert exit_taken(phone) == "error"


def test_each_visit_has_its_own_key() -> None:
    nodes = {
        "a": {"type": "request", "method": "POST", "url": "https://a.example.com", "exits": {"ok": "w"}},
        "w": {"type": "wait", "seconds": 1, "exits": {"next": "a"}},
    }
    phone = SessionDriver(nodes)
    first = phone.only_action(actions.Request).idempotency_key
    phone.http_response()
    phone.fire_timer("wait")
    assert phone.only_action(actions.Request).idempotency_key != first


def test_a_request_that_reads_a_sensitive_variable_is_sensitive() -> None:
    nodes = {
        "pin": {
            "type": "collect",
            "prompt": "?",
            "expect": "digits",
            "sensitive": True,
            "save_as": "pin",
            "exits": {"done": "copy"},
        },
        "copy": {"type": "set", "values": {"code": "x{{ pin }}"}, "exits": {"next": "it"}},
        "it": {"type": "request", "method": "POST", "url": "https://a.example.com", "json": {"pin": "{{ code }}"}},
    }
    phone = SessionDriver(nodes)
    phone.press_keys("123#")
    sent = phone.only_action(actions.Request)
    assert (sent.json, sent.sensitive) == ({"pin": "x123"}, True)
    assert phone.state.private.variables == [{"pin": "123", "code": "x123"}]
    assert phone.state.variables == {}


# hours

WEEK = {"tue": [["09:00", "17:30"]], "fri": [["22:00", "02:00"]]}
TUESDAY_1430_UTC = 1_772_548_200_000_000
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("hours_later", "way"), [(0, "open"), (-6, "closed"), (4, "closed"), (24, "closed"), (24 * 7, "holiday")]
)
def test_hours_by_the_wall_clock(hours_later: int, way: str) -> None:
    phone = driver_at(
        "hours",
        "open",
        "closed",
        "holiday",
        time_zone="Europe/London",
        weekly=WEEK,
        holidays=["2026-03-10"],
        call=make_call_info(started_at=TUESDAY_1430_UTC + hours_later * HOUR),
    )
    assert exit_taken(phone) == way


@pytest.mark.parametrize(("department", "way"), [("sales", "closed"), ("desk", "open")])
def test_hours_of_a_department(department: str, way: str) -> None:
    call = make_call_info(hours={"sales": OpeningHours(weekly={"mon": (("09:00", "17:00"),)})})
    assert exit_taken(driver_at("hours", "open", "closed", "holiday", department=department, call=call)) == way


def test_a_holiday_without_a_way_of_its_own_is_closed() -> None:
    phone = driver_at("hours", "open", "closed", time_zone="UTC", weekly=WEEK, holidays=["2026-03-03"])
    assert not phone.session.ended


def test_a_department_s_hours_are_in_the_tenant_s_time_zone() -> None:
    tenant = TenantInfo("acme", "Acme", time_zone="Pacific/Auckland")  # Wednesday there
    hours = {"sales": OpeningHours(weekly={"wed": (("00:00", "24:00"),)})}
    assert (
        exit_taken(
            driver_at("hours", "open", "closed", department="sales", call=make_call_info(tenant=tenant, hours=hours))
        )
        == "open"
    )


# transfer, queue


@pytest.mark.parametrize("how", ["answered", "busy", "no_answer", "failed"])
def test_transfer_comes_back_by_how_it_ended(how: str) -> None:
    phone = driver_at(
        "transfer",
        "answered",
        "busy",
        "no_answer",
        "failed",
        department="sales",
        whisper="Call from {{ caller.number }}",
        timeout=15,
    )
    asked = phone.only_action(actions.Transfer)
    assert (asked.department, asked.whisper, asked.ring_seconds) == ("sales", f"Call from {CALLER}", 15)
    phone.end_transfer(how)
    assert exit_taken(phone) == how


def test_an_answered_transfer_that_leads_nowhere_ends_the_call_without_a_word() -> None:
    phone = driver_at("transfer", number="+13075550111")
    phone.end_transfer("answered")
    assert phone.spoken_texts == []
    assert phone.session.outcome == "transferred"


def test_a_department_that_is_gone_is_a_failure() -> None:
    phone = driver_at("transfer", "failed", department="sales", call=make_call_info(departments={"billing": ""}))
    assert exit_taken(phone) == "failed"


def test_nobody_is_rung_twice_after_a_break() -> None:
    phone = driver_at("transfer", "failed", sip="sip:desk@pbx.example.com")
    phone.step(events.CallResumed)
    assert exit_taken(phone) == "failed"


@pytest.mark.parametrize("how", ["answered", "timeout", "callback", "failed"])
def test_queue_comes_back_by_how_it_ended(how: str) -> None:
    phone = driver_at(
        "queue", "answered", "timeout", "callback", "failed", department="sales", offer_callback=True, max_wait=60
    )
    asked = phone.only_action(actions.Queue)
    assert (asked.department, asked.max_wait_seconds, asked.offer_callback) == ("sales", 60, True)
    phone.step(events.QueueEnded, phone.state.pending_id, how)
    assert exit_taken(phone) == how


def test_the_place_in_a_queue_is_lost_with_the_stream() -> None:
    phone = driver_at("queue", "failed", department="sales")
    phone.step(events.CallResumed)
    assert exit_taken(phone) == "failed"
    assert (
        exit_taken(driver_at("queue", "failed", department="sales", call=make_call_info(departments={"billing": ""})))
        == "failed"
    )


# record


def record_driver(**fields: Any) -> SessionDriver:
    return driver_at("record", "done", "empty", **{"prompt": "After the beep.", "save_as": "message", **fields})


def test_a_message_is_recorded_after_the_prompt() -> None:
    phone = record_driver(max_seconds=60, silence_seconds=2)
    assert not phone.has_action(actions.Record)
    phone.finish_prompts()
    asked = phone.only_action(actions.Record)
    assert (asked.max_seconds, asked.silence_seconds, asked.beep) == (60, 2, True)
    phone.step(events.RecordingEnded, asked.id, 12.5, "rec/1")
    assert exit_taken(phone) == "done"
    assert phone.state.variables["message"] == "rec/1"
    assert phone.state.results["it"] == {"url": "rec/1", "seconds": 12.5}


def test_a_click_is_no_message() -> None:
    phone = record_driver(prompt="")
    phone.step(events.RecordingEnded, phone.state.pending_id, 0.4, "rec/1")
    assert exit_taken(phone) == "empty"
    assert phone.state.variables["message"] is None


def test_a_key_ends_the_message_and_leaving_stops_it() -> None:
    phone = record_driver()
    phone.press_keys("5")
    phone.interrupt_prompts()
    recording = phone.state.pending_id
    phone.press_keys("7")
    assert not phone.has_action(actions.StopRecording)
    phone.press_keys("#")
    assert phone.only_action(actions.StopRecording).id == recording
    phone.step(events.OperatorCommand, "jump", "rest")
    assert phone.only_action(actions.StopRecording).id == recording


def test_a_recording_that_never_ends_is_empty() -> None:
    phone = record_driver()
    phone.finish_prompts()
    phone.fire_timer("overdue")
    assert exit_taken(phone) == "empty"


# end, hangup


def test_end_hangs_up_in_a_call_s_own_flow() -> None:
    phone = driver_at("end", name="solved")
    assert phone.only_action(actions.HangUp).disposition == "solved"


def test_hangup_says_its_text_to_the_end_first() -> None:
    phone = driver_at("hangup", text="Bye {{ tenant.city }}.", disposition="done")
    assert phone.spoken_texts == ["Bye Cody."]
    phone.start_speech()
    assert not phone.session.ended
    phone.finish_prompts()
    assert phone.only_action(actions.HangUp).disposition == "done"
    assert phone.session.outcome == "completed"


# subflow

INNER = load_flow(
    b"""{"name": "inner", "start": "ask", "variables": {"who": "", "result": ""},
    "anywhere": {"stop": {"phrases": ["stop"], "go": "away"}},
    "nodes": {
      "ask": {"type": "collect", "prompt": "Hello {{ who }}?", "expect": "digits", "sensitive": true, "save_as": "pin",
              "exits": {"done": "keep", "no_input": "nowhere", "no_match": "away"}},
      "keep": {"type": "set", "values": {"result": "r"}, "exits": {"next": "good"}},
      "nowhere": {"type": "voice", "speed": 2.0},
      "good": {"type": "end", "name": "good"},
      "away": {"type": "end", "name": "away"}}}"""
)


def subflow_driver(**exits: str) -> SessionDriver:
    nodes = {
        "it": {
            "type": "subflow",
            "flow": "inner",
            "inputs": {"who": "{{ caller.number }}"},
            "outputs": {"mine": "result", "code": "pin"},
            "exits": exits,
        },
        "good": REST,
        "rest": {"type": "say", "text": "{{ mine }}{{ it.value }}", "exits": {"next": "good"}},
        "desk": {"type": "end", "name": "desk"},
    }
    wishes = {"operator": {"phrases": ["operator"], "key": "*", "go": "desk"}}
    return SessionDriver(
        nodes, context=ValidationContext(flows={"inner": INNER}), anywhere=wishes, variables={"mine": "m"}
    )


def test_a_subflow_has_variables_of_its_own_and_gives_back_what_is_asked_for() -> None:
    phone = subflow_driver(good="good", next="rest")
    assert phone.spoken_texts == [f"Hello {CALLER}?"]
    assert phone.session.subflow_path == ("inner",)
    assert phone.state.variables == {"who": CALLER, "result": ""}
    phone.press_keys("12#")
    assert phone.session.subflow_path == ()
    assert phone.state.variables == {"mine": "r"}
    assert phone.state.private.variables == [{"code": "12"}], "what was sensitive there is sensitive here"
    assert phone.exits_taken[-1] == ("it", "good")


def test_a_way_out_that_leads_nowhere_is_next_and_the_voice_comes_back() -> None:
    phone = subflow_driver(good="good", next="rest")
    for _ in range(2):
        phone.finish_prompts()
        phone.fire_timer("silence")
    spoken = phone.only_action(actions.Speak)
    assert (spoken.text, spoken.voice.speed) == ("next", 1.0)


def test_next_serves_the_ends_that_are_left_out() -> None:
    phone = subflow_driver(good="good", next="rest")
    phone.say("stop")
    assert phone.spoken_texts[-1] == "away"


def test_what_is_heard_anywhere_outside_is_heard_inside() -> None:
    phone = subflow_driver(good="good", next="rest")
    phone.press_keys("*")
    assert phone.only_action(actions.HangUp).disposition == "desk"


def test_a_flow_that_is_not_there_is_passed_by() -> None:
    phone = SessionDriver({"it": {"type": "subflow", "flow": "lost", "exits": {"next": "rest"}}, "rest": REST})
    assert exit_taken(phone) == "next"
    assert phone.flow_problems == ["the flow `lost` did not exist when this version was made"]


def test_an_operator_can_jump_out_of_a_subflow() -> None:
    phone = subflow_driver(good="good", next="rest")
    phone.step(events.OperatorCommand, "jump", "keep")
    assert phone.exits_taken[0] == ("keep", "next"), "a node of the flow within comes first"
    phone = subflow_driver(good="good", next="rest")
    phone.step(events.OperatorCommand, "jump", "rest")
    assert (phone.session.subflow_path, phone.session.node) == ((), "rest")
