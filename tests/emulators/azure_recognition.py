"""One recognition turn of the emulated Azure service: audio in, hypotheses and phrases out.

The service segments audio into phrases itself, at silences of the length that the client requested.
"""

import asyncio
from collections import deque

from vocelio.codecs import mulaw
from vocelio.codecs.vad import SpeechStarted, VoiceActivityDetector
from vocelio.engine.nlu.matching import DIGIT_BY_WORD
from vocelio.gateway.speech.interfaces import RecognitionHints

TICKS_PER_SECOND = 10_000_000  # ticks of 100 ns
DEFAULT_SILENCE_SECONDS = 0.5  # default silence that ends a phrase
PREROLL_SAMPLES = 4_000  # 0.5 s before the first voice belong to the phrase
FRAME_SAMPLES = 160


class SpeechContext:
    """The client's ``speech.context`` of a turn."""

    def __init__(self, body, query):
        body = _lower(body)
        items = [item for group in body.get("dgi", {}).get("groups", ()) for item in group.get("items", ())]
        self.phrases = tuple(item["text"] for item in items)
        detection = body.get("phrasedetection", {})
        segmentation = detection.get("conversation", detection).get("segmentation", {})
        self.silence = segmentation.get("segmentationsilencetimeoutms", DEFAULT_SILENCE_SECONDS * 1000) / 1000
        self.detailed = "detailed" in (query.get("format"), body.get("phraseoutput", {}).get("format", "").lower())


def _lower(value):
    """Convert all keys to lower case: SDKs spell them differently, and the service accepts any case."""
    match value:
        case dict():
            return {key.lower(): _lower(inner) for key, inner in value.items()}
        case list():
            return [_lower(inner) for inner in value]
    return value


class RecognitionTurn:
    """One turn. ``send(path, body)`` sends a message to the client; ``on_text`` is called with each text."""

    def __init__(self, recognizer, vocabulary, context, send, on_text):
        self._recognizer, self._context, self._send, self._on_text = recognizer, context, send, on_text
        words = (*vocabulary, *context.phrases)
        self._hints = RecognitionHints(
            words, "en-US", repeat=bool(words) and all(word in DIGIT_BY_WORD for word in words)
        )
        self._vad = VoiceActivityDetector(context.silence)
        self._recent = deque(maxlen=PREROLL_SAMPLES // FRAME_SAMPLES)
        self._rest = b""
        self._phrase = None
        self._finals = set()  # ended phrases without a result yet
        self.sound = b""

    def feed(self, sound):
        """Process mu-law audio in chunks of any size."""
        self.sound += sound
        sound = self._rest + sound
        whole = len(sound) - len(sound) % FRAME_SAMPLES
        self._rest = sound[whole:]
        for at in range(0, whole, FRAME_SAMPLES):
            self._frame(sound[at : at + FRAME_SAMPLES])

    async def end(self):
        """End the current phrase and wait until all texts have been sent."""
        if self._phrase:
            self._finish()
        await asyncio.gather(*self._finals)

    def close(self):
        for phrase in (self._phrase, *self._finals):
            if phrase:
                phrase.cancel()

    def _frame(self, frame):
        self._recent.append(frame)
        if self._phrase:
            self._phrase.recognition.feed(frame)
        for edge in self._vad.feed(mulaw.decode(frame)):
            if isinstance(edge, SpeechStarted):
                self._begin(edge.started_at)
            elif self._phrase:
                self._finish()

    def _begin(self, started_at):
        self._send("speech.startDetected", {"Offset": round(started_at * TICKS_PER_SECOND)})
        self._phrase = _PhraseRecognition(self._recognizer, self._hints, started_at, self._hypothesis)
        self._phrase.recognition.feed(b"".join(self._recent))

    def _hypothesis(self, phrase, text):
        if text:
            self._send("speech.hypothesis", {"Text": text, **self._span(phrase)})

    def _finish(self):
        phrase, self._phrase = self._phrase, None
        phrase.recognition.finish()
        self._finals.add(phrase)
        phrase.add_done_callback(self._send_phrase)

    def _send_phrase(self, phrase):
        self._finals.discard(phrase)
        if phrase.cancelled() or phrase.exception():
            return  # reported by ``end``
        transcript = phrase.result()
        self._on_text(transcript.text)
        self._send("speech.phrase", self._body(phrase, transcript))

    def _body(self, phrase, transcript):
        span = self._span(phrase)
        if not transcript.text:
            return {"RecognitionStatus": "NoMatch", **span}
        displayed = display(transcript.text)
        body = {"RecognitionStatus": "Success", "DisplayText": displayed, **span}
        if self._context.detailed:
            normalized = displayed.rstrip(".").lower()
            best = {
                "Confidence": transcript.confidence,
                "Lexical": transcript.text,
                "ITN": normalized,
                "MaskedITN": normalized,
            }
            body["NBest"] = [{**best, "Display": displayed}]
        return body

    def _span(self, phrase):
        seconds = self._vad.processed_seconds - phrase.started_at
        return {"Offset": round(phrase.started_at * TICKS_PER_SECOND), "Duration": round(seconds * TICKS_PER_SECOND)}


class _PhraseRecognition(asyncio.Future):
    """Recognition of one phrase; its result is the final transcript."""

    def __init__(self, recognizer, hints, started_at, hypothesis):
        super().__init__()
        self.started_at = started_at
        self._hypothesis = hypothesis
        self.recognition = recognizer.open(hints, self._on_transcript, self.set_exception)
        self.add_done_callback(lambda _: self.recognition.close())

    def _on_transcript(self, transcript):
        if transcript.final:
            self.set_result(transcript)
        else:
            self._hypothesis(self, transcript.text)


def display(text):
    """Format a text as the service does: as a sentence, or as digits."""
    words = text.split()
    if all(word in DIGIT_BY_WORD for word in words):
        return "".join(DIGIT_BY_WORD[word] for word in words) + "."
    if len(words) > 1 and words[-1] == "please":
        text = f"{' '.join(words[:-1])}, please"
    return text[:1].upper() + text[1:] + "."
