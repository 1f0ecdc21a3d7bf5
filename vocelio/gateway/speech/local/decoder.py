"""One utterance heard by pocketsphinx: telephone audio in, a phrase of its grammar and a confidence out.

A decoder is made for an utterance and thrown away (10 ms, 5 MB), so nothing of one caller reaches the next
one's: neither the words nor the adaptation to a voice. Nothing here waits or does I/O except reading models.

Bringing an utterance to the level that the recogniser expects, with one gain for all of it.

Callers are up to 20 dB louder or softer than each other, and the model compares absolute levels: at a third
of the usual one it understood a fifth less, at a tenth hardly anything. The first half second of speech is
kept back to measure it; recognising is thirty times faster than speaking, so that costs nothing at the end.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy

from vocelio.codecs import mulaw
from vocelio.codecs._audioop import audioop
from vocelio.codecs.resample import Resampler
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local.grammar import GARBAGE_PREFIX, PHONEMES, Grammar, normalize_phrase
from vocelio.gateway.speech.local.pronunciation import PronunciationDictionary

MODEL_SAMPLE_RATE = 16000

NOISE_RMS = 120
"""RMS of the white noise added to 16-bit samples. The model was trained on sound up to 6.8 kHz and takes the
emptiness above a telephone's 4 kHz for a feature of the speech: of 208 utterances 46 were understood without
noise, 171 with an RMS of 40, 181 with 80, and no more with 300."""

DEFAULT_CEPSTRAL_MEAN = "56.52,-1.77,-6.18,10.53,-6.19,-8.37,-1.33,-11.37,-1.29,-1.55,-3.76,1.91,-3.60"
"""Mean cepstrum of telephone speech with that noise, which the model subtracts. An utterance is too short to
measure its own."""

CONFIDENCE_MIDPOINT, CONFIDENCE_SCALE = -5.0, 0.8
"""The acoustic score a frame at which right and wrong are about as likely, and how quickly that changes: the
confidence is the logistic function of the two. Right phrases have 0.9 on average, wrong ones 0.7."""

MAX_WORD_FRAMES = 120
"""Frames of 10 ms: what is held longer is a tone, not a word."""

SCORE_SCALE = 1024
"""pocketsphinx shifts its scores right by 10 bits before it makes probabilities of them."""

NON_WORD_PREFIXES = ("<", "[", "(")
"""How pauses, noises and steps without a word begin in a decoder's list of segments."""

PARTIAL_CONFIDENCE_FACTOR = 0.5
"""The confidence of a partial, against that of a final: what is still to come may show that it was no phrase."""

_DECODER_CONFIG = {
    "lm": None, "loglevel": "FATAL", "logfn": "/dev/null", "cmninit": DEFAULT_CEPSTRAL_MEAN,
    "wip": 1.0, "lw": 1.0,  # the grammar's own costs count as they are
    "bestpath": False,  # no second search over a lattice: 100 ms less after the last word, and the same words
    "silprob": 0.3,  # a pause may come anywhere: at the usual 0.005 words were heard in pauses
}  # fmt: skip


class DecoderFactory:
    """What all decoders of a process share. Raises SpeechError if pocketsphinx is not installed."""

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError as error:
            raise SpeechError("local recognition is not installed: pip install 'vocelio[local]'") from error
        self._sphinx: Any = pocketsphinx
        self.dictionary = PronunciationDictionary(Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")))

    def create_decoder(self, grammar: Grammar, language: str) -> Any:
        """A decoder for a grammar whose words the dictionary knows."""
        with tempfile.NamedTemporaryFile("w", suffix=".dict") as file:
            file.writelines(f"{GARBAGE_PREFIX}{phoneme} {phoneme}\n" for phoneme in PHONEMES)
            for word in sorted(grammar.words):
                for number, sound in enumerate(self.dictionary.pronunciations(word, language), start=1):
                    file.write(f"{word} {sound}\n" if number == 1 else f"{word}({number}) {sound}\n")
            file.flush()
            decoder = self._sphinx.Decoder(self._sphinx.Config(dict=file.name, **_DECODER_CONFIG))
        graph = decoder.create_fsg("phrases", grammar.start_state, grammar.end_state, grammar.transitions)
        decoder.add_fsg("phrases", graph)
        decoder.activate_search("phrases")
        return decoder


class UtteranceDecoder:
    """One utterance: ``feed`` it, ask for a ``partial`` on the way, and ``finish`` it.

    Raises ValueError when there are phrases of which none can be heard: whatever is said would be none of them.
    """

    def __init__(
        self, factory: DecoderFactory, phrases: tuple[str, ...], language: str, repeat: bool, seed: int
    ) -> None:
        known = {normalize_phrase(phrase): phrase for phrase in phrases}
        self.skipped_phrases = [
            phrase
            for text, phrase in known.items()
            if not text or not all(factory.dictionary.pronunciations(word, language) for word in text.split())
        ]
        texts = [text for text, phrase in known.items() if phrase not in self.skipped_phrases]
        if phrases and not texts:
            raise ValueError(f"the pronunciation of none of the phrases is known in {language}")
        self._grammar = Grammar(texts, repeat, courtesies=language.lower().startswith("en"))
        self._gain_control = AutomaticGainControl()
        self._resampler = Resampler(mulaw.SAMPLE_RATE, MODEL_SAMPLE_RATE)
        self._noise_generator = numpy.random.default_rng(seed)
        self._decoder = factory.create_decoder(self._grammar, language)
        self._decoder.start_utt()

    def feed(self, audio: bytes) -> None:
        """Take the next mu-law."""
        self._process(self._resampler.process(self._gain_control.process(mulaw.decode(audio))))

    def partial(self) -> tuple[str, float]:
        """The phrase that it sounds like so far and how sure that is, or nothing."""
        text, confidence = self._result()
        return text, confidence * PARTIAL_CONFIDENCE_FACTOR

    def finish(self) -> tuple[str, float]:
        """The phrase (as ``normal`` writes it) and a confidence; no text if it was none."""
        self._process(self._resampler.process(self._gain_control.process(b"", last=True), last=True))
        self._decoder.end_utt()
        return self._result()

    def _process(self, pcm: bytes) -> None:
        if not pcm:
            return  # pocketsphinx raises on nothing
        samples = numpy.frombuffer(pcm, dtype="<i2") + self._noise_generator.normal(0, NOISE_RMS, len(pcm) // 2)
        self._decoder.process_raw(samples.clip(-32768, 32767).astype("<i2").tobytes(), False, False)

    def _result(self) -> tuple[str, float]:
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis is not None else ""
        if not self._grammar.accepts(text):
            return "", 0.0
        score, longest = self._acoustic_fit()
        if score < self._grammar.tuning.min_fit_score or longest > MAX_WORD_FRAMES:
            return "", 0.0
        return text, 1 / (1 + math.exp((CONFIDENCE_MIDPOINT - score) / CONFIDENCE_SCALE))

    def _acoustic_fit(self) -> tuple[float, int]:
        """How well the words fit (log score a frame) and the frames of the longest."""
        words = [word for word in self._decoder.seg() or () if not word.word.startswith(NON_WORD_PREFIXES)]
        frames = [word.end_frame - word.start_frame + 1 for word in words]
        score = sum(math.log(word.ascore) for word in words) * SCORE_SCALE
        return score / max(1, sum(frames)), max(frames, default=0)


FRAME_BYTES = 320
"""Bytes of 8 kHz PCM in which the level is measured: 20 ms."""

MEASUREMENT_FRAMES = 25
"""Frames from the first sound on: half a second, a vowel at least."""

MIN_SPEECH_RMS = 100
"""RMS of 16-bit samples from which a frame counts as sound, -50 dBFS: over line noise, under soft speech."""

TARGET_PEAK_RMS = 7200
"""RMS of the loudest frame in speech at a normal telephone level, -20 dBFS on average."""

MIN_GAIN, MAX_GAIN = 0.25, 10.0


class AutomaticGainControl:
    """Takes 8 kHz PCM in whole samples, gives it back at the usual level, half a second late at first."""

    def __init__(self) -> None:
        self._gain: float | None = None
        self._buffer = bytearray()  # bounded by how long an utterance may be
        self._measured_bytes = 0  # bytes of what is kept
        self._speech_frames = 0  # since the first sound
        self._peak_rms = 0

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """What can be given by now; with ``last``, everything."""
        if self._gain is not None:
            return audioop.mul(pcm, 2, self._gain)
        self._buffer += pcm
        self._measure()
        if self._speech_frames < MEASUREMENT_FRAMES and not last:
            return b""
        self._gain = min(MAX_GAIN, max(MIN_GAIN, TARGET_PEAK_RMS / max(1, self._peak_rms)))
        return audioop.mul(bytes(self._buffer), 2, self._gain)

    def _measure(self) -> None:
        while len(self._buffer) - self._measured_bytes >= FRAME_BYTES and self._speech_frames < MEASUREMENT_FRAMES:
            level = audioop.rms(self._buffer[self._measured_bytes : self._measured_bytes + FRAME_BYTES], 2)
            self._measured_bytes += FRAME_BYTES
            if self._speech_frames or level >= MIN_SPEECH_RMS:
                self._speech_frames += 1
                self._peak_rms = max(self._peak_rms, level)
