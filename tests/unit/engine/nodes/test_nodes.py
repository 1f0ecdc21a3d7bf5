"""All node types except collect, with all their exits."""

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

WAIT = {"type": "wait", "seconds": 9}


def driver_at(kind: str, *exits: str, then: dict[str, Any] | None = None, **fields: Any) -> SessionDriver:
    """Start a call at a node of that type whose exits lead to a wait node."""
    call = fields.pop("call", None)
    variables = fields.pop("variables", {})
    node = {"type": kind, **fields, "exits": dict.fromkeys(exits, "rest")}
    return SessionDriver({"it": node, "rest": then or WAIT}, call_info=call, variables=variables)


def exit_taken(driver: SessionDriver) -> str:
    node, exit_name = driver.exits_taken[0]
    assert node == "it"
    return exit_name


def test_all_node_types_are_registered() -> None:
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


def test_say_leaves_when_the_prompt_has_finished() -> None:
    driver = driver_at("say", "next", text="Hello {{ caller.number | digits }}.")
    assert driver.spoken_texts == ["Hello 1 3 0 7 5 5 5 0 1 0 0."]
    assert not driver.exits_taken
    driver.finish_prompts()
    assert exit_taken(driver) == "next"


def test_say_plays_stored_sound() -> None:
    driver = driver_at("say", "next", audio="welcome")
    assert driver.only_action(actions.Speak).audio == "welcome"
    driver.finish_prompts()
    assert exit_taken(driver) == "next"


def test_say_with_its_own_voice() -> None:
    driver = driver_at("say", "next", text="Hi", voice={"name": "en-gb"})
    assert driver.only_action(actions.Speak).voice.name == "en-gb"


def test_say_allows_barge_in_unless_disabled() -> None:
    driver = driver_at("say", "next", text="Hi")
    driver.start_speech()
    assert exit_taken(driver) == "next"
    driver = driver_at("say", "next", text="Hi", barge_in=False)
    driver.start_speech()
    driver.press_keys("1")
    assert not driver.has_action(actions.StopSpeaking)
    driver.finish_prompts()
    assert exit_taken(driver) == "next"


def test_say_skips_blank_text() -> None:
    assert exit_taken(driver_at("say", "next", text="{{ greeting }}", variables={"greeting": " "})) == "next"


def test_say_is_skipped_while_the_caller_speaks() -> None:
    first = {"type": "say", "text": "One", "exits": {"next": "two"}}
    driver = SessionDriver(
        {"one": first, "two": {"type": "say", "text": "Two", "exits": {"next": "rest"}}, "rest": WAIT}
    )
    driver.start_speech()
    assert driver.spoken_texts == ["One"]


# decide, set, split, voice


@pytest.mark.parametrize(("tries", "exit_name"), [(1, "else"), (3, "many"), ("x", "else")])
def test_decide_takes_the_first_true_rule(tries: Any, exit_name: str) -> None:
    rules = [{"when": "tries > 2", "exit": "many"}, {"when": "tries == 3", "exit": "three"}]
    driver = driver_at("decide", "many", "three", "else", rules=rules, variables={"tries": tries})
    assert exit_taken(driver) == exit_name
    assert bool(driver.flow_problems) == (tries == "x"), "a rule that fails to evaluate counts as false and is reported"


def test_set_keeps_types_and_reads_earlier_values() -> None:
    values = {
        "tries": "{{ tries | plus: 1 }}",
        "more": "{{ tries }}",
        "who": "Hi {{ caller.number }}",
        "deep": {"a": ["{{ tries }}", 1.5]},
    }
    driver = driver_at("set", "next", values=values, variables={"tries": 1, "more": 0})
    assert driver.state.variables == {"tries": 2, "more": 2, "who": f"Hi {CALLER}", "deep": {"a": [2, 1.5]}}


def test_set_rejects_too_large_value() -> None:
    driver = driver_at(
        "set", "next", values={"a": "{% for i in (1..100) %}0123456789012345678901234567890{% endfor %}"}
    )
    assert driver.state.variables["a"] is None
    assert "has more than 2,000 bytes" in driver.flow_problems[0]


def test_split_is_stable_per_caller_and_follows_the_weights() -> None:
    version = driver_at("split", "a", "b", weights={"a": 1, "b": 3}).version
    exits = [
        exit_taken(SessionDriver(version, call_info=make_call_info(caller=f"+1307555{n:04}", seed=str(n))))
        for n in range(400)
    ]
    repeated = [
        exit_taken(SessionDriver(version, call_info=make_call_info(caller=f"+1307555{n:04}", seed="other")))
        for n in range(400)
    ]
    assert exits == repeated
    assert 70 <= exits.count("a") <= 130


def test_split_never_takes_an_exit_of_weight_zero() -> None:
    version = driver_at("split", "a", "b", weights={"a": 0, "b": 1}).version
    assert {
        exit_taken(SessionDriver(version, call_info=make_call_info(caller="", seed=str(n)))) for n in range(50)
    } == {"b"}


def test_voice_changes_only_the_given_fields() -> None:
    driver = driver_at("voice", "next", speed=1.5, then={"type": "say", "text": "Hi"})
    spoken = driver.only_action(actions.Speak)
    assert (spoken.voice.speed, spoken.voice.name) == (1.5, "en-us")


def test_voice_drops_fallbacks_that_no_longer_fit() -> None:
    ava, george = Voice("azure", "ava"), Voice("local", "en-gb")
    flow = Voice("elevenlabs", "rachel", fallbacks=(ava, george))
    assert ChangeVoice(name="adam").apply_to(flow).fallbacks == (ava, george)
    assert ChangeVoice(tier="azure", name="andrew").apply_to(flow).fallbacks == (george,)
    assert ChangeVoice(name="lucia", language="es-ES").apply_to(flow).fallbacks == ()
    alvaro = Voice("azure", "es-ES-AlvaroNeural", "es-ES")
    assert ChangeVoice(name="lucia", language="es-ES", fallbacks=(alvaro,)).apply_to(flow).fallbacks == (alvaro,)


# wait, echo


def test_wait_leaves_when_its_timer_fires() -> None:
    driver = driver_at("wait", "next", seconds=3)
    assert driver.timers == ["max_duration", "wait"]
    driver.fire_timer("wait")
    assert exit_taken(driver) == "next"


def test_echo_starts_and_stops() -> None:
    driver = driver_at("echo", "next", seconds=3)
    assert driver.only_action(actions.Echo).enabled
    driver.fire_timer("echo")
    assert not driver.only_action(actions.Echo).enabled
    assert exit_taken(driver) == "next"


# request


def request_driver(**fields: Any) -> SessionDriver:
    return driver_at(
        "request", "ok", "error", "timeout", **{"method": "POST", "url": "https://crm.example.com/", **fields}
    )


def test_request_action_has_rendered_fields_and_unresolved_secrets() -> None:
    driver = request_driver(
        url="https://crm.example.com/{{ caller.number | url_encode }}",
        headers={"Authorization": "Bearer {{ secret.crm }}", "X-Call": "{{ call.id }}"},
        json={"number": "{{ number }}", "tries": "{{ tries }}", "list": ["{{ tries }}"]},
        variables={"tries": 2},
        timeout=3,
        retries=1,
    )
    sent = driver.only_action(actions.Request)
    assert sent.url == "https://crm.example.com/%2B13075550100"
    assert sent.headers == {"Authorization": "Bearer {{ secret.crm }}", "X-Call": "CA1"}
    assert sent.json == {"number": NUMBER, "tries": 2, "list": [2]}
    assert (sent.timeout_seconds, sent.retries, len(sent.idempotency_key)) == (3, 1, 32)


@pytest.mark.parametrize(
    ("status", "result", "exit_name"),
    [(200, "ok", "ok"), (302, "ok", "ok"), (404, "ok", "error"), (0, "error", "error"), (0, "timeout", "timeout")],
)
def test_request_exit_follows_the_response(status: int, result: str, exit_name: str) -> None:
    driver = request_driver()
    driver.http_response(status, None, result)
    assert exit_taken(driver) == exit_name
    assert driver.state.results["it"] == {"value": exit_name, "status": status}


def test_request_saves_values_of_the_response() -> None:
    driver = request_driver(save={"total": "orders[-1].total", "name": '$["customer"].name', "none": "a.b", "all": "$"})
    driver.http_response(body={"orders": [{"total": 1}, {"total": 2.5}], "customer": {"name": "Acme"}})
    assert {name: driver.state.variables[name] for name in ("total", "name", "none")} == {
        "total": 2.5,
        "name": "Acme",
        "none": None,
    }
    assert driver.flow_problems == ["the response has no `a.b`"]


def test_request_without_response_times_out() -> None:
    driver = request_driver()
    driver.fire_timer("overdue")
    assert exit_taken(driver) == "timeout"


def test_secret_placeholder_in_a_value_is_not_resolved() -> None:
    driver = request_driver(headers={"X": "{{ name }} {{ secret.a }}"}, variables={"name": "{{ secret.b }}\r\nEvil: 1"})
    assert driver.only_action(actions.Request).headers == {"X": "{ { secret.b } } Evil: 1 {{ secret.a }}"}


def test_request_with_invalid_rendered_url_is_an_error() -> None:
    driver = request_driver(url="{{ where }}", variables={"where": "ftp://x"})
    assert exit_taken(driver) == "error"
    assert driver.flow_problems


@pytest.mark.parametrize(("method", "sent"), [("GET", True), ("POST", False)])
def test_resumed_call_repeats_only_get_requests(method: str, sent: bool) -> None:
    driver = request_driver(method=method)
    key = driver.only_action(actions.Request).idempotency_key
    driver.step(events.CallResumed)
    if sent:
        assert driver.only_action(actions.Request).idempotency_key == key
    else:
        assert exit_taken(driver) == "error"


def test_each_visit_has_its_own_idempotency_key() -> None:
    nodes = {
        "a": {"type": "request", "method": "POST", "url": "https://a.example.com", "exits": {"ok": "w"}},
        "w": {"type": "wait", "seconds": 1, "exits": {"next": "a"}},
    }
    driver = SessionDriver(nodes)
    first = driver.only_action(actions.Request).idempotency_key
    driver.http_response()
    driver.fire_timer("wait")
    assert driver.only_action(actions.Request).idempotency_key != first


def test_request_that_reads_a_sensitive_variable_is_sensitive() -> None:
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
    driver = SessionDriver(nodes)
    driver.press_keys("123#")
    sent = driver.only_action(actions.Request)
    assert (sent.json, sent.sensitive) == ({"pin": "x123"}, True)
    assert driver.state.private.variables == [{"pin": "123", "code": "x123"}]
    assert driver.state.variables == {}


# hours

WEEK = {"tue": [["09:00", "17:30"]], "fri": [["22:00", "02:00"]]}
TUESDAY_1430_UTC = 1_772_548_200_000_000
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("hours_later", "exit_name"), [(0, "open"), (-6, "closed"), (4, "closed"), (24, "closed"), (24 * 7, "holiday")]
)
def test_hours_exit_by_local_time(hours_later: int, exit_name: str) -> None:
    driver = driver_at(
        "hours",
        "open",
        "closed",
        "holiday",
        time_zone="Europe/London",
        weekly=WEEK,
        holidays=["2026-03-10"],
        call=make_call_info(started_at=TUESDAY_1430_UTC + hours_later * HOUR),
    )
    assert exit_taken(driver) == exit_name


@pytest.mark.parametrize(("department", "exit_name"), [("sales", "closed"), ("desk", "open")])
def test_hours_of_department(department: str, exit_name: str) -> None:
    call = make_call_info(hours={"sales": OpeningHours(weekly={"mon": (("09:00", "17:00"),)})})
    assert exit_taken(driver_at("hours", "open", "closed", "holiday", department=department, call=call)) == exit_name


def test_unconnected_holiday_exit_leads_to_closed() -> None:
    driver = driver_at("hours", "open", "closed", time_zone="UTC", weekly=WEEK, holidays=["2026-03-03"])
    assert not driver.session.ended


def test_department_hours_default_to_the_tenants_time_zone() -> None:
    tenant = TenantInfo("acme", "Acme", time_zone="Pacific/Auckland")  # Wednesday there
    hours = {"sales": OpeningHours(weekly={"wed": (("00:00", "24:00"),)})}
    assert (
        exit_taken(
            driver_at("hours", "open", "closed", department="sales", call=make_call_info(tenant=tenant, hours=hours))
        )
        == "open"
    )


# transfer, queue


@pytest.mark.parametrize("result", ["answered", "busy", "no_answer", "failed"])
def test_transfer_leaves_by_its_result(result: str) -> None:
    driver = driver_at(
        "transfer",
        "answered",
        "busy",
        "no_answer",
        "failed",
        department="sales",
        whisper="Call from {{ caller.number }}",
        timeout=15,
    )
    transfer = driver.only_action(actions.Transfer)
    assert (transfer.department, transfer.whisper, transfer.ring_seconds) == ("sales", f"Call from {CALLER}", 15)
    driver.end_transfer(result)
    assert exit_taken(driver) == result


def test_unconnected_answered_exit_ends_the_call_without_a_prompt() -> None:
    driver = driver_at("transfer", number="+13075550111")
    driver.end_transfer("answered")
    assert driver.spoken_texts == []
    assert driver.session.outcome == "transferred"


def test_transfer_to_unknown_department_fails() -> None:
    driver = driver_at("transfer", "failed", department="sales", call=make_call_info(departments={"billing": ""}))
    assert exit_taken(driver) == "failed"


def test_resumed_transfer_fails_without_ringing_again() -> None:
    driver = driver_at("transfer", "failed", sip="sip:desk@pbx.example.com")
    driver.step(events.CallResumed)
    assert exit_taken(driver) == "failed"


@pytest.mark.parametrize("result", ["answered", "timeout", "callback", "failed"])
def test_queue_leaves_by_its_result(result: str) -> None:
    driver = driver_at(
        "queue", "answered", "timeout", "callback", "failed", department="sales", offer_callback=True, max_wait=60
    )
    queue = driver.only_action(actions.Queue)
    assert (queue.department, queue.max_wait_seconds, queue.offer_callback) == ("sales", 60, True)
    driver.step(events.QueueEnded, driver.state.pending_id, result)
    assert exit_taken(driver) == result


def test_resumed_queue_fails() -> None:
    driver = driver_at("queue", "failed", department="sales")
    driver.step(events.CallResumed)
    assert exit_taken(driver) == "failed"
    assert (
        exit_taken(driver_at("queue", "failed", department="sales", call=make_call_info(departments={"billing": ""})))
        == "failed"
    )


# record


def record_driver(**fields: Any) -> SessionDriver:
    return driver_at("record", "done", "empty", **{"prompt": "After the beep.", "save_as": "message", **fields})


def test_recording_starts_after_the_prompt() -> None:
    driver = record_driver(max_seconds=60, silence_seconds=2)
    assert not driver.has_action(actions.Record)
    driver.finish_prompts()
    recording = driver.only_action(actions.Record)
    assert (recording.max_seconds, recording.silence_seconds, recording.beep) == (60, 2, True)
    driver.step(events.RecordingEnded, recording.id, 12.5, "rec/1")
    assert exit_taken(driver) == "done"
    assert driver.state.variables["message"] == "rec/1"
    assert driver.state.results["it"] == {"url": "rec/1", "seconds": 12.5}


def test_too_short_recording_is_empty() -> None:
    driver = record_driver(prompt="")
    driver.step(events.RecordingEnded, driver.state.pending_id, 0.4, "rec/1")
    assert exit_taken(driver) == "empty"
    assert driver.state.variables["message"] is None


def test_terminator_or_jump_stops_the_recording() -> None:
    driver = record_driver()
    driver.press_keys("5")
    driver.interrupt_prompts()
    recording = driver.state.pending_id
    driver.press_keys("7")
    assert not driver.has_action(actions.StopRecording)
    driver.press_keys("#")
    assert driver.only_action(actions.StopRecording).id == recording
    driver.step(events.OperatorCommand, "jump", "rest")
    assert driver.only_action(actions.StopRecording).id == recording


def test_recording_without_result_is_empty() -> None:
    driver = record_driver()
    driver.finish_prompts()
    driver.fire_timer("overdue")
    assert exit_taken(driver) == "empty"


# end, hangup


def test_end_hangs_up_in_the_calls_own_flow() -> None:
    driver = driver_at("end", name="solved")
    assert driver.only_action(actions.HangUp).disposition == "solved"


def test_hangup_plays_its_text_to_the_end() -> None:
    driver = driver_at("hangup", text="Bye {{ tenant.city }}.", disposition="done")
    assert driver.spoken_texts == ["Bye Cody."]
    driver.start_speech()
    assert not driver.session.ended
    driver.finish_prompts()
    assert driver.only_action(actions.HangUp).disposition == "done"
    assert driver.session.outcome == "completed"


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
        "good": WAIT,
        "rest": {"type": "say", "text": "{{ mine }}{{ it.value }}", "exits": {"next": "good"}},
        "desk": {"type": "end", "name": "desk"},
    }
    commands = {"operator": {"phrases": ["operator"], "key": "*", "go": "desk"}}
    return SessionDriver(
        nodes, context=ValidationContext(flows={"inner": INNER}), anywhere=commands, variables={"mine": "m"}
    )


def test_subflow_has_its_own_variables_and_returns_outputs() -> None:
    driver = subflow_driver(good="good", next="rest")
    assert driver.spoken_texts == [f"Hello {CALLER}?"]
    assert driver.session.subflow_path == ("inner",)
    assert driver.state.variables == {"who": CALLER, "result": ""}
    driver.press_keys("12#")
    assert driver.session.subflow_path == ()
    assert driver.state.variables == {"mine": "r"}
    assert driver.state.private.variables == [{"code": "12"}], "outputs of sensitive variables are sensitive"
    assert driver.exits_taken[-1] == ("it", "good")


def test_unconnected_exit_in_a_subflow_returns_by_next_and_restores_the_voice() -> None:
    driver = subflow_driver(good="good", next="rest")
    for _ in range(2):
        driver.finish_prompts()
        driver.fire_timer("silence")
    spoken = driver.only_action(actions.Speak)
    assert (spoken.text, spoken.voice.speed) == ("next", 1.0)


def test_unconnected_subflow_end_leads_to_next() -> None:
    driver = subflow_driver(good="good", next="rest")
    driver.say("stop")
    assert driver.spoken_texts[-1] == "away"


def test_outer_global_command_works_in_a_subflow() -> None:
    driver = subflow_driver(good="good", next="rest")
    driver.press_keys("*")
    assert driver.only_action(actions.HangUp).disposition == "desk"


def test_missing_subflow_is_skipped() -> None:
    driver = SessionDriver({"it": {"type": "subflow", "flow": "lost", "exits": {"next": "rest"}}, "rest": WAIT})
    assert exit_taken(driver) == "next"
    assert driver.flow_problems == ["the flow `lost` did not exist when this version was made"]


def test_operator_jump_prefers_the_innermost_flow() -> None:
    driver = subflow_driver(good="good", next="rest")
    driver.step(events.OperatorCommand, "jump", "keep")
    assert driver.exits_taken[0] == ("keep", "next"), "a node of the innermost flow takes precedence"
    driver = subflow_driver(good="good", next="rest")
    driver.step(events.OperatorCommand, "jump", "rest")
    assert (driver.session.subflow_path, driver.session.node) == ((), "rest")
