from io import BytesIO

from vocelio.codecs import mulaw, wav
from vocelio.codecs.vad import SpeechStarted, VoiceActivityDetector
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.simulator.caller.handset import StereoRecording
from vocelio.gateway.simulator.caller.script import PlayFile, SimulatedCaller
from vocelio.gateway.simulator.media import voice_detection
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SILENT_FRAME
from vocelio.gateway.simulator.media.voice_detection import PlaybackDetector
from vocelio.gateway.simulator.sids import new_rng

LOUD_FRAME = bytes([0x90]) * FRAME_SAMPLES


def test_voice_detector_accepts_babble():
    edges = VoiceActivityDetector().feed(mulaw.decode(unintelligible_speech(2.0, new_rng(3))))
    assert any(isinstance(edge, SpeechStarted) for edge in edges)


def test_babble_has_the_requested_length_and_differs():
    assert len(unintelligible_speech(0.5, new_rng(1))) == 4000
    assert unintelligible_speech(0.5, new_rng(1)) != unintelligible_speech(0.5, new_rng(2))


def test_voiced_span_excludes_silence_and_clicks():
    assert voice_detection.voiced_span(SILENT_FRAME + LOUD_FRAME + SILENT_FRAME) == (160, 320)
    assert voice_detection.voiced_span(SILENT_FRAME) == (0, 0)
    assert voice_detection.voiced_span(SILENT_FRAME + LOUD_FRAME[:2]) == (0, 0)
    assert voice_detection.voiced_span(b"") == (0, 0)


def test_onset_after_a_gap_or_a_clear():
    listening = PlaybackDetector()
    listening.on_audio(LOUD_FRAME, 1000)
    listening.on_audio(LOUD_FRAME, 1160 + 1000)
    assert (listening.onset, listening.last_audible) == (1000, 2320)
    listening.on_audio(LOUD_FRAME, 2320 + voice_detection.MIN_GAP_SAMPLES)
    assert listening.onset == 2320 + voice_detection.MIN_GAP_SAMPLES
    listening.on_clear()
    assert not listening.is_audible(listening.last_audible)
    listening.on_audio(LOUD_FRAME, 5000)
    assert listening.onset == 5000
    assert listening.is_audible(5200)


def test_stereo_recording_has_the_gateway_one_frame_later(tmp_path):
    recording = StereoRecording()
    recording.add_frame(LOUD_FRAME, SILENT_FRAME)
    recording.add_frame(SILENT_FRAME, LOUD_FRAME)
    recording.write(tmp_path / "call.wav")
    assert recording.heard_audio == SILENT_FRAME * 2 + LOUD_FRAME
    both = BytesIO()
    wav.write_stereo(
        both, mulaw.decode(LOUD_FRAME + SILENT_FRAME), mulaw.decode(SILENT_FRAME * 2 + LOUD_FRAME), mulaw.SAMPLE_RATE
    )
    assert (tmp_path / "call.wav").read_bytes() == both.getvalue()


async def test_wav_file_is_resampled_to_8_khz(tmp_path):
    path = tmp_path / "hello.wav"
    wav.write_mono(path, mulaw.decode(LOUD_FRAME * 25) * 2, 16000)
    (cue,) = await SimulatedCaller((PlayFile(path),)).prerender(new_rng(1))
    assert cue.text == "hello.wav"
    assert cue.frame_count == 25
    assert cue.voiced_end > 0
