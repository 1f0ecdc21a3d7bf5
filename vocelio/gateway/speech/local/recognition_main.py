"""Main module of a recognition worker process, which recognizes the utterances of many calls.

Streams take turns, a slice of audio each, so that a long or fast one does not delay the others.
"""

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.decoder import DecoderFactory, UtteranceDecoder
from vocelio.gateway.speech.local.worker_runtime import GatewayConnection, prepare_worker

SLICE_BYTES = 1600
"""200 ms of mu-law: a turn, which takes 7 ms, and the time between two partial results."""

NOISE_SEED = 1
"""Of the noise that is added to the audio, so that the same audio always gives the same text."""


class RecognitionWorker:
    """Handles the gateway's requests; reports go back over ``connection``.

    Its ``progress`` is the id of a stream that is being opened, or the negative id of one that is being decoded.
    """

    def __init__(self, decoder_factory: DecoderFactory, connection: GatewayConnection[ipc.RecognitionRequest]) -> None:
        self._decoder_factory = decoder_factory
        self._connection = connection
        self._streams: dict[int, _Stream] = {}  # bounded by the gateway, see MAX_STREAMS_PER_WORKER

    def run(self) -> None:
        """Handle requests until the gateway closes the connection."""
        self._connection.send(ipc.WorkerReady())
        busy = False
        while (requests := self._connection.receive(wait=not busy)) is not None:
            for request in requests:
                self._handle_request(request)
            busy = self._take_turns()

    def _handle_request(self, request: ipc.RecognitionRequest) -> None:
        if isinstance(request, ipc.OpenStream):
            self._open_stream(request)
            return
        stream = self._streams.get(request.stream_id)
        if stream is None:
            return  # it has failed, and the gateway did not know it yet
        match request:
            case ipc.StreamAudio(mulaw=mulaw):
                stream.waiting_audio += mulaw
            case ipc.FinishStream():
                stream.finished = True
            case ipc.CloseStream():
                del self._streams[request.stream_id]

    def _open_stream(self, request: ipc.OpenStream) -> None:
        self._connection.progress.begin(request.stream_id)
        try:
            decoder = UtteranceDecoder(
                self._decoder_factory, request.phrases, request.language, request.repeat, NOISE_SEED
            )
        except (RuntimeError, ValueError) as error:  # pocketsphinx raises them for an unusable grammar, too
            self._connection.send(ipc.StreamFailed(request.stream_id, f"the phrases cannot be recognized: {error}"))
            return
        finally:
            self._connection.progress.end()
        for phrase in decoder.skipped_phrases:
            self._connection.send(ipc.PhraseSkipped(phrase))
        self._streams[request.stream_id] = _Stream(decoder)

    def _take_turns(self) -> bool:
        """Decode a slice of each stream that has audio or is finished; return whether any work is left."""
        work_left = False
        for stream_id, stream in list(self._streams.items()):
            if stream.waiting_audio or stream.finished:
                self._connection.progress.begin(-stream_id)
                work_left |= self._decode(stream_id, stream)
                self._connection.progress.end()
        return work_left

    def _decode(self, stream_id: int, stream: "_Stream") -> bool:
        mulaw = bytes(stream.waiting_audio[:SLICE_BYTES])
        del stream.waiting_audio[:SLICE_BYTES]
        if mulaw:
            self._feed_audio(stream_id, stream, mulaw)
        if stream.waiting_audio or not stream.finished:
            return bool(stream.waiting_audio)
        text, confidence = self._streams.pop(stream_id).decoder.finish()
        self._connection.send(ipc.FinalResult(stream_id, text, confidence))
        return False

    def _feed_audio(self, stream_id: int, stream: "_Stream", mulaw: bytes) -> None:
        stream.decoder.feed(mulaw)
        stream.bytes_since_partial += len(mulaw)
        if stream.bytes_since_partial < SLICE_BYTES:
            return
        stream.bytes_since_partial = 0
        text, confidence = stream.decoder.partial()
        if text and text != stream.last_partial:
            stream.last_partial = text
            self._connection.send(ipc.PartialResult(stream_id, text, confidence))


class _Stream:
    def __init__(self, decoder: UtteranceDecoder) -> None:
        self.decoder = decoder
        self.waiting_audio = bytearray()  # bounded by the gateway, see MAX_UTTERANCE_BYTES
        self.finished = False  # and to be answered when no audio waits
        self.bytes_since_partial = 0
        self.last_partial = ""


def main() -> None:
    prepare_worker()
    connection = GatewayConnection(ipc.RECOGNITION_REQUESTS)
    try:
        decoder_factory = DecoderFactory()
        # Decode nothing once, which loads all models.
        UtteranceDecoder(decoder_factory, ("yes", "no"), "en-US", repeat=False, seed=NOISE_SEED).finish()
    except SpeechError as error:
        connection.send(ipc.StartFailed(str(error)))
        return
    RecognitionWorker(decoder_factory, connection).run()


if __name__ == "__main__":
    main()
