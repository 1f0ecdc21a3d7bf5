"""Main module of a synthesis worker process: renders one segment after another with espeak-ng."""

from vocelio.codecs import mulaw
from vocelio.codecs.resample import Resampler
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import espeak, ipc
from vocelio.gateway.speech.local.worker_runtime import GatewayConnection, prepare_worker


class SynthesisWorker:
    """Renders the segments that the gateway asks for; the audio goes back over ``connection`` as it is rendered."""

    def __init__(self, library: espeak.Espeak, connection: GatewayConnection[ipc.RenderSegment]) -> None:
        self._library, self._connection = library, connection
        library.on_voice_replaced = lambda voice, used: connection.send(ipc.VoiceReplaced(voice, used))

    def run(self) -> None:
        """Render until the gateway closes the connection."""
        self._connection.send(ipc.WorkerReady())
        while (requests := self._connection.receive()) is not None:
            for request in requests:
                self._render(request)

    def _render(self, request: ipc.RenderSegment) -> None:
        resampler = Resampler(self._library.sample_rate, mulaw.SAMPLE_RATE)

        def sink(pcm: bytes, last: bool = False) -> bool:
            if audio := resampler.process(pcm, last):
                self._connection.send(ipc.SegmentAudio(mulaw.encode(audio)))
            return True

        self._library.render(request.text, request.voice, request.words_per_minute, request.pause, sink)
        sink(b"", last=True)
        self._connection.send(ipc.SegmentRendered())


def main() -> None:
    prepare_worker()
    connection = GatewayConnection(ipc.SYNTHESIS_REQUESTS)
    try:
        library = espeak.load()
    except SpeechError as error:
        connection.send(ipc.StartFailed(str(error)))
        return
    Resampler(library.sample_rate, mulaw.SAMPLE_RATE)  # loads its libraries
    library.render("yes", espeak.DEFAULT_VOICE, 175, False, lambda _: True)  # the first text takes longer
    SynthesisWorker(library, connection).run()


if __name__ == "__main__":
    main()
