"""One turn of emulated recognition: sound in, hypotheses and phrases out, heard by a real recogniser.

The service cuts the sound into phrases by itself, where it has been silent for as long as the client asked.
"""

import asyncio
from collections import deque

from vocelio.codecs import mulaw
from vocelio.codecs.vad import SpeechStarted, VoiceActivityDetector
from vocelio.engine.nlu.matching import DIGIT_BY_WORD
from vocelio.gateway.speech.interfaces import RecognitionHints

TICKS_PER_SECOND = 10_000_000  # of 100 ns, in a second
DEFAULT_SILENCE_SECONDS = 0.5  # seconds that end a phrase unless the client says otherwise
PREROLL_SAMPLES = 4_000  # bytes of mu-law before the first voice that belong to the phrase: 0.5 s
FRAME_SAMPLES = 160


class SpeechContext:
    """What a client says of its turn beforehand, in ``speech.context``."""

    def __init__(self, body, query):
        body = _lower(body)
        items = [item for group in body.get("dgi", {}).get("groups", ()) for item in group.get("items", ())]
        self.phrases = tuple(item["text"] for item in items)
        detection = body.get("phrasedetection", {})
        segmentation = detection.get("conversation", detection).get("segmentation", {})
        self.silence = segmentation.get("segmentationsilencetimeoutms", DEFAULT_SILENCE_SECONDS * 1000) / 1000
        self.detailed = "detailed" in (query.get("format"), body.get("phraseoutput", {}).get("format", "").lower())


def _lower(value):
    """A document with its keys in lower case: SDKs write them in different ways, and the service takes all."""
    match value:
        case dict():
            return {key.lower(): _lower(inner) for key, inner in value.items()}
        case list():
            return [_lower(inner) for inner in value]
    return value


class RecognitionTurn:
    """``say`` sends (path, body) to the client; ``heard`` is told each text."""

    def __init__(self, ear, vocabulary, context, say, heard):
        self._ear, self._context, self._say, self._heard = ear, context, say, heard
        words = (*vocabulary, *context.phrases)
        self._expectation = RecognitionHints(
            words, "en-US", repeat=bool(words) and all(word in DIGIT_BY_WORD for word in words)
        )
        self._activity = VoiceActivityDetector(context.silence)
        self._recent = deque(maxlen=PREROLL_SAMPLES // FRAME_SAMPLES)
        self._rest = b""
        self._phrase = None
        self._finals = set()  # of phrases that have ended and whose text has not come
        self.sound = b""

    def feed(self, sound):
        """The next mu-law, in any pieces."""
        self.sound += sound
        sound = self._rest + sound
        whole = len(sound) - len(sound) % FRAME_SAMPLES
        self._rest = sound[whole:]
        for at in range(0, whole, FRAME_SAMPLES):
            self._frame(sound[at : at + FRAME_SAMPLES])

    async def end(self):
        """No more sound comes: what was being said has ended, and its text has been sent when this returns."""
        if self._phrase:
            self._finish()
        await asyncio.gather(*self._finals)

    def close(self):
        """Forget it."""
        for phrase in (self._phrase, *self._finals):
            if phrase:
                phrase.cancel()

    def _frame(self, frame):
        self._recent.append(frame)
        if self._phrase:
            self._phrase.recognition.feed(frame)
        for edge in self._activity.feed(mulaw.decode(frame)):
            if isinstance(edge, SpeechStarted):
                self._begin(edge.started_at)
            elif self._phrase:
                self._finish()

    def _begin(self, began):
        self._say("speech.startDetected", {"Offset": round(began * TICKS_PER_SECOND)})
        self._phrase = _PhraseRecognition(self._ear, self._expectation, began, self._hypothesis)
        self._phrase.recognition.feed(b"".join(self._recent))

    def _hypothesis(self, phrase, text):
        if text:
            self._say("speech.hypothesis", {"Text": text, **self._span(phrase)})

    def _finish(self):
        phrase, self._phrase = self._phrase, None
        phrase.recognition.finish()
        self._finals.add(phrase)
        phrase.add_done_callback(self._send_phrase)

    def _send_phrase(self, phrase):
        self._finals.discard(phrase)
        if phrase.cancelled() or phrase.exception():
            return  # ``end`` tells
        heard = phrase.result()
        self._heard(heard.text)
        self._say("speech.phrase", self._body(phrase, heard))

    def _body(self, phrase, heard):
        span = self._span(phrase)
        if not heard.text:
            return {"RecognitionStatus": "NoMatch", **span}
        shown = display(heard.text)
        body = {"RecognitionStatus": "Success", "DisplayText": shown, **span}
        if self._context.detailed:
            written = shown.rstrip(".").lower()
            best = {"Confidence": heard.confidence, "Lexical": heard.text, "ITN": written, "MaskedITN": written}
            body["NBest"] = [{**best, "Display": shown}]
        return body

    def _span(self, phrase):
        seconds = self._activity.processed_seconds - phrase.began
        return {"Offset": round(phrase.began * TICKS_PER_SECOND), "Duration": round(seconds * TICKS_PER_SECOND)}


class _PhraseRecognition(asyncio.Future):
    """One phrase being heard; its result is the final Heard."""

    def __init__(self, ear, expectation, began, hypothesis):
        super().__init__()
        self.began = began
        self._hypothesis = hypothesis
        self.recognition = ear.open(expectation, self._on_transcript, self.set_exception)
        self.add_done_callback(lambda _: self.recognition.close())

    def _on_transcript(self, heard):
        if heard.final:
            self.set_result(heard)
        else:
            self._hypothesis(self, heard.text)


def display(text):
    """A text as the service writes it: a sentence, or figures."""
    words = text.split()
    if all(word in DIGIT_BY_WORD for word in words):
        return "".join(DIGIT_BY_WORD[word] for word in words) + "."
    if len(words) > 1 and words[-1] == "please":
        text = f"{' '.join(words[:-1])}, please"
    return text[:1].upper() + text[1:] + "."
