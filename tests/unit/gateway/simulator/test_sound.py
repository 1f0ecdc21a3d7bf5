from io import BytesIO

from vocelio.codecs import mulaw, wav
from vocelio.codecs.vad import SpeechStarted, VoiceActivity
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.simulator.caller.script import Caller, Play
from vocelio.gateway.simulator.media import voice_detection
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SILENT_FRAME
from vocelio.gateway.simulator.media.stereo_recording import Recording
from vocelio.gateway.simulator.media.voice_detection import Ear
from vocelio.gateway.simulator.sids import source

LOUD = bytes([0x90]) * FRAME_SAMPLES


def test_babble_is_speech_to_a_voice_detector():
    edges = VoiceActivity().feed(mulaw.decode(babble(2.0, source(3))))
    assert any(isinstance(edge, SpeechStarted) for edge in edges)


def test_babble_has_its_length_and_differs():
    assert len(babble(0.5, source(1))) == 4000
    assert babble(0.5, source(1)) != babble(0.5, source(2))


def test_the_voiced_part_leaves_out_silence_and_crackle():
    assert voice_detection.voiced(SILENT_FRAME + LOUD + SILENT_FRAME) == (160, 320)
    assert voice_detection.voiced(SILENT_FRAME) == (0, 0)
    assert voice_detection.voiced(SILENT_FRAME + LOUD[:2]) == (0, 0)
    assert voice_detection.voiced(b"") == (0, 0)


def test_an_onset_comes_after_a_gap_or_a_cut():
    listening = Ear()
    listening.hear(LOUD, 1000)
    listening.hear(LOUD, 1160 + 1000)
    assert (listening.onset, listening.last) == (1000, 2320)
    listening.hear(LOUD, 2320 + voice_detection.GAP_SAMPLES)
    assert listening.onset == 2320 + voice_detection.GAP_SAMPLES
    listening.cut()
    assert not listening.hears(listening.last)
    listening.hear(LOUD, 5000)
    assert listening.onset == 5000
    assert listening.hears(5200)


def test_a_recording_has_the_caller_left_and_the_gateway_right_one_frame_later(tmp_path):
    recording = Recording()
    recording.add(LOUD, SILENT_FRAME)
    recording.add(SILENT_FRAME, LOUD)
    recording.write(tmp_path / "call.wav")
    assert recording.heard == SILENT_FRAME * 2 + LOUD
    both = BytesIO()
    wav.write_stereo(both, mulaw.decode(LOUD + SILENT_FRAME), mulaw.decode(SILENT_FRAME * 2 + LOUD), mulaw.SAMPLE_RATE)
    assert (tmp_path / "call.wav").read_bytes() == both.getvalue()


async def test_a_wav_file_of_another_rate_is_brought_to_the_telephones(tmp_path):
    path = tmp_path / "hello.wav"
    wav.write_mono(path, mulaw.decode(LOUD * 25) * 2, 16000)
    (cue,) = await Caller((Play(path),)).rehearse(source(1))
    assert cue.said == "hello.wav"
    assert cue.frames == 25
    assert cue.last > 0
