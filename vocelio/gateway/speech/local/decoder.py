"""Decodes one utterance with pocketsphinx: telephone audio in, a phrase of its grammar and a confidence out.

A decoder is created for each utterance and thrown away (10 ms, 5 MB), so that nothing of one caller reaches the next:
neither the words nor the adaptation to a voice. Nothing here waits or does I/O, except for reading models.
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
"""RMS of the white noise added to 16-bit samples. The model was trained on audio up to 6.8 kHz and takes the silence
above a telephone's 4 kHz for a feature of the speech: of 208 utterances 46 were understood without noise, 171 with an
RMS of 40, 181 with 80, and no more with 300."""

DEFAULT_CEPSTRAL_MEAN = "56.52,-1.77,-6.18,10.53,-6.19,-8.37,-1.33,-11.37,-1.29,-1.55,-3.76,1.91,-3.60"
"""Mean cepstrum of telephone speech with that noise, which the model subtracts: an utterance is too short for that."""

CONFIDENCE_MIDPOINT, CONFIDENCE_SCALE = -5.0, 0.8
"""The acoustic score per frame at which right and wrong are about as likely, and the scale of that change.

The confidence is their logistic function. Right phrases have 0.9 on average, wrong ones 0.7."""

MAX_WORD_FRAMES = 120
"""Frames of 10 ms: a longer word is a tone, not speech."""

SCORE_SCALE = 1024
"""pocketsphinx shifts its scores right by 10 bits before it converts them to probabilities."""

NON_WORD_PREFIXES = ("<", "[", "(")
"""Prefixes of pauses, noises and empty transitions in a decoder's list of segments."""

PARTIAL_CONFIDENCE_FACTOR = 0.5
"""Confidence of a partial relative to a final: what follows may show that it was not a phrase."""

FRAME_BYTES = 320
"""20 ms of 8 kHz PCM, in which the level is measured."""

MEASUREMENT_FRAMES = 25
"""Frames from the start of speech: half a second, which contains at least one vowel."""

MIN_SPEECH_RMS = 100
"""RMS of 16-bit samples from which a frame counts as speech, -50 dBFS: above line noise, below soft speech."""

TARGET_PEAK_RMS = 7200
"""RMS of the loudest frame of speech at a normal telephone level, -20 dBFS on average."""

MIN_GAIN, MAX_GAIN = 0.25, 10.0

_DECODER_CONFIG = {
    "lm": None, "loglevel": "FATAL", "logfn": "/dev/null", "cmninit": DEFAULT_CEPSTRAL_MEAN,
    "wip": 1.0, "lw": 1.0,  # use the grammar's own costs unchanged
    "bestpath": False,  # no second search over a lattice: saves 100 ms after the last word, with the same result
    "silprob": 0.3,  # pauses may come anywhere: with the default of 0.005 words were heard in them
}  # fmt: skip


class DecoderFactory:
    """The models that all decoders of a process share. Raises SpeechError if pocketsphinx is not installed."""

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError as error:
            raise SpeechError("local recognition is not installed: pip install 'vocelio[local]'") from error
        self._sphinx: Any = pocketsphinx
        self.dictionary = PronunciationDictionary(Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")))

    def create_decoder(self, grammar: Grammar, language: str) -> Any:
        """Create a decoder for a grammar whose words are in the dictionary."""
        with tempfile.NamedTemporaryFile("w", suffix=".dict") as file:
            file.writelines(f"{GARBAGE_PREFIX}{phoneme} {phoneme}\n" for phoneme in PHONEMES)
            for word in sorted(grammar.words):
                for number, phonemes in enumerate(self.dictionary.pronunciations(word, language), start=1):
                    file.write(f"{word} {phonemes}\n" if number == 1 else f"{word}({number}) {phonemes}\n")
            file.flush()
            decoder = self._sphinx.Decoder(self._sphinx.Config(dict=file.name, **_DECODER_CONFIG))
        graph = decoder.create_fsg("phrases", grammar.start_state, grammar.end_state, grammar.transitions)
        decoder.add_fsg("phrases", graph)
        decoder.activate_search("phrases")
        return decoder


class AutomaticGainControl:
    """Brings an utterance to the level that the model expects, with one gain for all of it.

    Callers are up to 20 dB louder or softer than one another, and the model compares absolute levels: at a third of the
    usual one it understood a fifth less, at a tenth hardly anything. The first half second of speech is held back to
    measure it; recognition is thirty times faster than real time, so that costs nothing at the end.
    """

    def __init__(self) -> None:
        self._gain: float | None = None
        self._buffer = bytearray()  # bounded by the length of an utterance
        self._measured_bytes = 0  # of the buffer
        self._speech_frames = 0  # since the start of speech
        self._peak_rms = 0

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """Take 8 kHz PCM; return what is ready, or with ``last`` everything."""
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


class UtteranceDecoder:
    """Decodes one utterance: ``feed`` audio, ask for a ``partial`` on the way, then ``finish``.

    Raises ValueError if there are phrases but none can be recognized.
    """

    def __init__(
        self, factory: DecoderFactory, phrases: tuple[str, ...], language: str, repeat: bool, seed: int
    ) -> None:
        phrase_by_text = {normalize_phrase(phrase): phrase for phrase in phrases}
        self.skipped_phrases = [
            phrase
            for text, phrase in phrase_by_text.items()
            if not text or not all(factory.dictionary.pronunciations(word, language) for word in text.split())
        ]
        texts = [text for text, phrase in phrase_by_text.items() if phrase not in self.skipped_phrases]
        if phrases and not texts:
            raise ValueError(f"the pronunciation of none of the phrases is known in {language}")
        self._grammar = Grammar(texts, repeat, courtesies=language.lower().startswith("en"))
        self._gain_control = AutomaticGainControl()
        self._resampler = Resampler(mulaw.SAMPLE_RATE, MODEL_SAMPLE_RATE)
        self._noise_generator = numpy.random.default_rng(seed)
        self._decoder = factory.create_decoder(self._grammar, language)
        self._decoder.start_utt()

    def feed(self, audio: bytes) -> None:
        """Take mu-law audio."""
        self._process(self._resampler.process(self._gain_control.process(mulaw.decode(audio))))

    def partial(self) -> tuple[str, float]:
        """Return the phrase so far, or an empty text, and a confidence."""
        text, confidence = self._result()
        return text, confidence * PARTIAL_CONFIDENCE_FACTOR

    def finish(self) -> tuple[str, float]:
        """Return the phrase, normalized, or an empty text, and a confidence."""
        self._process(self._resampler.process(self._gain_control.process(b"", last=True), last=True))
        self._decoder.end_utt()
        return self._result()

    def _process(self, pcm: bytes) -> None:
        if not pcm:
            return  # pocketsphinx raises on empty input
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
        """Return how well the words fit (log score per frame) and the frames of the longest word."""
        words = [word for word in self._decoder.seg() or () if not word.word.startswith(NON_WORD_PREFIXES)]
        frames = [word.end_frame - word.start_frame + 1 for word in words]
        score = sum(math.log(word.ascore) for word in words) * SCORE_SCALE
        return score / max(1, sum(frames)), max(frames, default=0)
