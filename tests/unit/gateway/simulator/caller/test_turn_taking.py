"""Turn-taking of the caller with synthetic audio, without a clock: one call of ``tick`` is 20 ms."""

import pytest

from vocelio.gateway.simulator.caller.script import (
    HangUp,
    MakeNoise,
    PlayAudio,
    PressKeys,
    SimulatedCaller,
    Speak,
    StaySilent,
)
from vocelio.gateway.simulator.caller.turn_taking import CallerTurnTaking
from vocelio.gateway.simulator.events import CallerInterrupted, CallerPressedKeys, CallerSpeechStarted, GatewayReplied
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SILENT_FRAME
from vocelio.gateway.simulator.sids import new_rng

LOUD_FRAME = bytes([0x90]) * FRAME_SAMPLES
FAINT_FRAME = bytes([0xF0]) * FRAME_SAMPLES
QUIET_FRAMES = 1 + 35
"""Frames from the last audible one to the caller's turn: 0.7 s."""

WORD_STEP = PlayAudio(audio=SILENT_FRAME * 5 + LOUD_FRAME * 10 + SILENT_FRAME * 20, text="word")
"""0.1 s of silence, 0.2 s of sound, 0.4 s of silence."""


class TurnTakingDriver:
    """Drives a caller; ``play`` takes a function from frame index to whether the gateway is audible."""

    def __init__(self, *steps):
        self.events = []
        self.acts = []
        cues = _run(SimulatedCaller(steps).prerender(new_rng(1)))
        self.performance = CallerTurnTaking(cues, 0.7, self.events.append, 0.0)

    def play(self, frames, audio=SILENT_FRAME, **how):
        for _ in range(frames):
            self.acts.append(self.performance.tick(audio, **how))
            how.pop("cut", None)
        return self

    def step_starts(self):
        """The frames in which the caller became audible, pressed a key or hung up."""
        loud = [act.audio == LOUD_FRAME or bool(act.key) or act.hangs_up for act in self.acts]
        return [frame for frame, now in enumerate(loud) if now and not (frame and loud[frame - 1])]


def _run(coroutine):
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return done.value.value


def test_caller_waits_for_speech_and_then_silence_of_the_gateway():
    scene = TurnTakingDriver(WORD_STEP).play(30).play(50, LOUD_FRAME).play(60)
    assert scene.step_starts() == [80 + QUIET_FRAMES + 5]


def test_faint_noise_is_not_speech():
    scene = TurnTakingDriver(WORD_STEP).play(200, FAINT_FRAME)
    assert scene.step_starts() == []


def test_short_pause_does_not_end_the_gateways_turn():
    scene = TurnTakingDriver(WORD_STEP).play(20, LOUD_FRAME).play(30).play(20, LOUD_FRAME).play(30)
    assert scene.step_starts() == []


def test_step_starts_after_the_maximum_wait():
    scene = TurnTakingDriver(PlayAudio(audio=LOUD_FRAME, max_wait_seconds=1.0)).play(60)
    assert scene.step_starts() == [50]


def test_latency_is_measured_between_audible_samples():
    scene = TurnTakingDriver(WORD_STEP).play(50, LOUD_FRAME).play(100)
    spoke = scene.step_starts()[0]
    scene = TurnTakingDriver(WORD_STEP).play(50, LOUD_FRAME).play(spoke + 10 - 50 + 15)
    scene.play(1, LOUD_FRAME)
    (turn,) = scene.performance.turns
    # 15 silent frames after the voice's last one, and the frame between what is said and what is played
    assert turn.latency_ms == pytest.approx(16 * 20)
    assert turn.text == "word"
    assert turn.ended_at - turn.started_at == pytest.approx(0.2)
    assert next(event for event in scene.events if isinstance(event, GatewayReplied)).latency_ms == turn.latency_ms


def test_step_can_interrupt():
    scene = (
        TurnTakingDriver(PlayAudio(audio=LOUD_FRAME * 20, text="stop", interrupt_after_seconds=0.5))
        .play(10)
        .play(60, LOUD_FRAME)
    )
    assert scene.step_starts() == [10 + 25 + 1]
    assert [type(event) for event in scene.events] == [CallerInterrupted, CallerSpeechStarted]
    scene.play(3, LOUD_FRAME).play(30, cleared=True).play(10, LOUD_FRAME)
    (turn,) = scene.performance.turns
    assert turn.interrupted
    assert turn.barge_in_latency_ms == pytest.approx((10 + 60 + 3 + 1 - 36) * 20)
    assert turn.latency_ms is not None


def test_rest_of_an_interrupted_prompt_is_not_a_reply():
    scene = (
        TurnTakingDriver(PressKeys("1", interrupt_after_seconds=0.2), PressKeys("2"))
        .play(15, LOUD_FRAME)
        .play(100, cleared=True)
    )
    assert scene.step_starts() == [11]
    assert scene.performance.turns == []
    scene.play(10, LOUD_FRAME).play(40)
    assert scene.step_starts() == [11, 125 + QUIET_FRAMES]
    assert scene.performance.turns[0].latency_ms is not None


def test_early_reply_has_a_negative_latency():
    scene = TurnTakingDriver(WORD_STEP).play(10, LOUD_FRAME).play(60)
    spoke = scene.step_starts()[0]
    scene = TurnTakingDriver(WORD_STEP).play(10, LOUD_FRAME).play(spoke + 5 - 10).play(60, LOUD_FRAME)
    (turn,) = scene.performance.turns
    assert turn.latency_ms == pytest.approx(-80)


def test_keys_are_pressed_in_sequence():
    scene = TurnTakingDriver(PressKeys("42#")).play(5, LOUD_FRAME).play(80)
    pressed = [(frame, act.key) for frame, act in enumerate(scene.acts) if act.key]
    first = pressed[0][0]
    assert pressed == [(first, "4"), (first + 10, "2"), (first + 20, "#")]
    assert next(event for event in scene.events if isinstance(event, CallerPressedKeys)).keys == "42#"


def test_silent_step_is_no_turn_and_next_step_waits_for_speech_during_it():
    scene = TurnTakingDriver(StaySilent(2.0), WORD_STEP).play(5, LOUD_FRAME).play(100).play(20, LOUD_FRAME).play(60)
    assert scene.step_starts() == [125 + QUIET_FRAMES + 5]
    assert len(scene.performance.finish()) == 1


def test_noise_is_a_turn_of_kind_noise():
    scene = TurnTakingDriver(MakeNoise(0.5)).play(5, LOUD_FRAME).play(100)
    assert [turn.kind for turn in scene.performance.finish()] == ["noise"]


def test_caller_hangs_up():
    scene = TurnTakingDriver(HangUp()).play(5, LOUD_FRAME).play(40)
    assert scene.step_starts()[0] == 5 + QUIET_FRAMES
    assert scene.performance.steps_done == 1


def test_wait_does_not_count_while_not_listening():
    scene = TurnTakingDriver(PlayAudio(audio=LOUD_FRAME, max_wait_seconds=1.0)).play(200, listening=False).play(60)
    assert scene.step_starts() == [199 + 50]


def test_speak_needs_a_synthesizer():
    with pytest.raises(ValueError, match="no synthesizer"):
        SimulatedCaller((Speak("hello"),)).prerender(new_rng(1)).send(None)


@pytest.mark.parametrize("keys", ["", "x", "1 2"])
def test_invalid_keys_are_rejected(keys):
    with pytest.raises(ValueError, match="keys"):
        SimulatedCaller((PressKeys(keys),)).prerender(new_rng(1)).send(None)


def test_short_reply_to_an_interruption_during_the_callers_speech():
    scene = (
        TurnTakingDriver(PlayAudio(audio=LOUD_FRAME * 40, text="stop", interrupt_after_seconds=0.2), WORD_STEP)
        .play(15, LOUD_FRAME)
        .play(3, cleared=True)
    )
    scene.play(5, LOUD_FRAME).play(60)
    assert scene.performance.turns[0].latency_ms < 0
    assert len(scene.step_starts()) == 2
