"""Playout against a simulated Twilio buffer that plays in real time and returns marks."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.media.playout import (
    CHUNK_BYTES,
    MAX_LEAD_SECONDS,
    Playout,
    PromptFinished,
    PromptInterrupted,
    PromptStarted,
    SendAudio,
    SendClear,
    SendMark,
)

SECOND_AUDIO = b"\x7e" * 8000


class FakeTwilioBuffer:
    """Simulates the buffer: what is queued, what has been heard, which marks are due. Time is injected."""

    def __init__(self):
        self.now = 0.0
        self.buffer = deque()  # bytes or mark names
        self.heard = bytearray()
        self.returned = deque()
        self.most = 0.0

    def receive(self, sends):
        for send in sends:
            match send:
                case SendAudio(sound):
                    self.buffer.append(sound)
                case SendMark(name):
                    self.buffer.append(name)
                case SendClear():
                    self.returned.extend(item for item in self.buffer if isinstance(item, str))
                    self.buffer.clear()
        self.most = max(self.most, sum(len(item) for item in self.buffer if isinstance(item, bytes)) / 8000)
        self._return_marks()

    def play(self, seconds):
        left = round(seconds * 8000)
        self.now = round(self.now + seconds, 6)
        self._return_marks()
        while left and self.buffer:
            sound = self.buffer.popleft()
            self.heard += sound[:left]
            if len(sound) > left:
                self.buffer.appendleft(sound[left:])
            left -= min(left, len(sound))
            self._return_marks()

    def _return_marks(self):
        while self.buffer and isinstance(self.buffer[0], str):
            self.returned.append(self.buffer.popleft())


def run_playout(playout, twilio, seconds, *, step=0.02, marks=True):
    """Let time pass: poll when the playout asks for it, and return marks as Twilio does."""
    events = []
    until = twilio.now + seconds
    while twilio.now < until - 1e-9:
        twilio.receive(playout.poll(twilio.now))
        while twilio.returned:
            name = twilio.returned.popleft()
            if marks:
                playout.on_mark(name, twilio.now)
        twilio.receive(playout.poll(twilio.now))
        events += playout.events()
        twilio.play(step)
    return events


def add_prompt(playout, name, sound):
    playout.start(name)
    playout.feed(name, sound)
    playout.finish(name)


def test_prompt_is_started_and_finished():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "p1", SECOND_AUDIO * 3)
    events = run_playout(playout, twilio, 4)
    assert [type(event) for event in events] == [PromptStarted, PromptFinished]
    assert events[0].at == 0
    assert events[1].at == pytest.approx(3.0, abs=0.05)
    assert events[1].late_seconds == 0
    assert events[1].mark_received
    assert bytes(twilio.heard) == SECOND_AUDIO * 3


def test_audio_is_sent_at_most_the_maximum_lead_ahead():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "p1", SECOND_AUDIO * 30)
    run_playout(playout, twilio, 31)
    assert MAX_LEAD_SECONDS - CHUNK_BYTES / 8000 <= twilio.most <= MAX_LEAD_SECONDS + 0.001


def test_prompts_are_played_one_after_the_other():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "a", b"a" * 4000)
    add_prompt(playout, "b", b"b" * 4000)
    events = run_playout(playout, twilio, 2)
    assert [(type(event), event.prompt) for event in events] == [
        (PromptStarted, "a"),
        (PromptFinished, "a"),
        (PromptStarted, "b"),
        (PromptFinished, "b"),
    ]
    assert bytes(twilio.heard) == b"a" * 4000 + b"b" * 4000


def test_late_audio_is_counted():
    playout, twilio = Playout(), FakeTwilioBuffer()
    playout.start("p1")
    playout.feed("p1", SECOND_AUDIO)
    run_playout(playout, twilio, 1.5)
    playout.feed("p1", SECOND_AUDIO)
    playout.finish("p1")
    events = run_playout(playout, twilio, 2)
    assert events[-1].late_seconds == pytest.approx(0.5, abs=0.03)


def test_clear_reports_what_was_played():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "p1", SECOND_AUDIO * 5)
    run_playout(playout, twilio, 1.5)
    sends = playout.clear(twilio.now)
    assert sends == [SendClear()]
    twilio.receive(sends)
    (event,) = playout.events()
    assert isinstance(event, PromptInterrupted)
    assert event.played_seconds == pytest.approx(1.5, abs=0.03)
    assert run_playout(playout, twilio, 3) == []
    assert len(twilio.heard) == pytest.approx(12_000, abs=400)


def test_marks_of_a_cleared_prompt_do_not_affect_the_next():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "p1", SECOND_AUDIO)
    twilio.receive(playout.poll(0))
    twilio.receive(playout.clear(0.1))
    add_prompt(playout, "p2", SECOND_AUDIO)
    playout.events()
    events = run_playout(playout, twilio, 2)
    assert [(type(event), event.prompt) for event in events] == [(PromptStarted, "p2"), (PromptFinished, "p2")]


def test_clear_before_anything_was_sent_sends_nothing():
    playout = Playout()
    playout.start("p1")
    assert playout.clear(1.0) == []
    assert playout.events() == [PromptInterrupted("p1", 1.0, 0.0, 0.0)]


def test_prompt_finishes_at_the_deadline_without_marks():
    playout, twilio = Playout(mark_grace_seconds=3.0), FakeTwilioBuffer()
    add_prompt(playout, "p1", SECOND_AUDIO)
    events = run_playout(playout, twilio, 3.9, marks=False)
    assert events == []
    events = run_playout(playout, twilio, 0.5, marks=False)
    assert [type(event) for event in events] == [PromptStarted, PromptFinished]
    assert not events[1].mark_received


def test_later_mark_finishes_earlier_prompts():
    playout = Playout()
    add_prompt(playout, "a", SECOND_AUDIO)
    add_prompt(playout, "b", SECOND_AUDIO)
    playout.poll(0)
    playout.on_mark("b.end", 2.0)
    assert [(type(event), event.prompt) for event in playout.events()] == [
        (PromptStarted, "a"),
        (PromptFinished, "a"),
        (PromptStarted, "b"),
        (PromptFinished, "b"),
    ]


@pytest.mark.parametrize("name", ["", "p1", "p9.end", "p1.middle", "....", "p1.end.end"])
def test_unknown_marks_are_ignored(name):
    playout = Playout()
    add_prompt(playout, "p1", SECOND_AUDIO * 9)
    playout.poll(0)
    playout.on_mark(name, 0.5)
    assert playout.events() == []


def test_early_end_mark_is_ignored():
    playout = Playout()
    add_prompt(playout, "p1", SECOND_AUDIO * 9)
    playout.poll(0)
    playout.on_mark("p1.end", 0.5)
    assert playout.events() == []


def test_empty_prompt_finishes():
    playout, twilio = Playout(), FakeTwilioBuffer()
    add_prompt(playout, "p1", b"")
    assert [type(event) for event in run_playout(playout, twilio, 0.1)] == [PromptStarted, PromptFinished]


def test_synthesis_buffer_is_bounded():
    playout = Playout()
    playout.start("p1")
    assert playout.has_room("p1")
    playout.feed("p1", SECOND_AUDIO * 20)
    assert not playout.has_room("p1")
    assert not playout.has_room("gone")


chunks = st.lists(st.binary(min_size=1, max_size=9000), max_size=6)


@given(st.lists(chunks, max_size=5), st.sampled_from([0.02, 0.1, 0.5, 1.7]))
def test_all_audio_is_heard_once_in_order_at_any_poll_rate(prompts, step):
    playout, twilio = Playout(), FakeTwilioBuffer()
    for number, sounds in enumerate(prompts):
        playout.start(f"p{number}")
        for sound in sounds:
            playout.feed(f"p{number}", sound)
        playout.finish(f"p{number}")
    total = b"".join(b"".join(sounds) for sounds in prompts)
    events = run_playout(playout, twilio, len(total) / 8000 + 4 * step + 0.1, step=step)
    assert bytes(twilio.heard) == total
    assert [event.prompt for event in events if isinstance(event, PromptFinished)] == [
        f"p{n}" for n in range(len(prompts))
    ]
    assert twilio.most <= MAX_LEAD_SECONDS + 0.001
    assert playout.next_poll() is None


@given(st.lists(chunks, min_size=1, max_size=4), st.floats(0, 4))
def test_every_prompt_is_finished_or_interrupted_after_a_clear(prompts, when):
    playout, twilio = Playout(), FakeTwilioBuffer()
    for number, sounds in enumerate(prompts):
        add_prompt(playout, f"p{number}", b"".join(sounds))
    events = run_playout(playout, twilio, when)
    twilio.receive(playout.clear(twilio.now))
    events += playout.events()
    over = [event.prompt for event in events if isinstance(event, PromptFinished | PromptInterrupted)]
    assert over == [f"p{number}" for number in range(len(prompts))]
    assert run_playout(playout, twilio, 5) == []
    heard = sum(event.played_seconds for event in events if isinstance(event, PromptInterrupted))
    assert heard <= len(twilio.heard) / 8000 + 0.03
