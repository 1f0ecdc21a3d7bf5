"""A recogniser process: reads orders from standard input, writes reports to standard output, ends with its parent.

pocketsphinx holds the interpreter's lock while it works; here it delays nobody but other utterances.
"""

import sys
from typing import BinaryIO

from vocelio.gateway.speech.local.decoding import Decoder
from vocelio.gateway.speech.local.messages import (
    Drop,
    Feed,
    Finish,
    Open,
    Order,
    Ready,
    Report,
    Text,
    Trouble,
    framed,
    order,
    read,
)

MAX_DECODERS = 12  # 25 MB each
PARTIAL_EVERY = 2_400  # bytes of sound between partial texts: 0.3 s


class Utterance:
    """One utterance and the decoder that it has for itself."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.unheard = 0
        self.partial = ""


class Worker:
    """Every utterance of one process."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._free = [Decoder()]
        self._made = 1
        self._utterances: dict[int, Utterance] = {}

    def carry_out(self, message: Order) -> None:
        """One order."""
        match message:
            case Open():
                self._open(message)
            case Feed():
                if utterance := self._utterances.get(message.id):
                    self._feed(message.id, utterance, message.sound)
            case Finish():
                if utterance := self._utterances.pop(message.id, None):
                    text, confidence = utterance.decoder.end()
                    self._free.append(utterance.decoder)
                    self.tell(Text(message.id, text, confidence, final=True))
            case Drop():
                if utterance := self._utterances.pop(message.id, None):
                    utterance.decoder.abort()
                    self._free.append(utterance.decoder)

    def tell(self, message: Report) -> None:
        """Report to the parent."""
        self._out.write(framed(message))
        self._out.flush()

    def _open(self, message: Open) -> None:
        if not self._free and self._made >= MAX_DECODERS:
            self.tell(Trouble(message.id, f"local recognition is busy with {MAX_DECODERS} utterances in a process"))
            return
        if not self._free:
            self._free.append(Decoder())
            self._made += 1
        decoder = self._free.pop()
        decoder.begin(message.phrases, message.repeat)
        self._utterances[message.id] = Utterance(decoder)

    def _feed(self, number: int, utterance: Utterance, sound: bytes) -> None:
        utterance.decoder.feed(sound)
        utterance.unheard += len(sound)
        if utterance.unheard >= PARTIAL_EVERY:
            utterance.unheard = 0
            text, confidence = utterance.decoder.partial()
            if text and text != utterance.partial:
                utterance.partial = text
                self.tell(Text(number, text, confidence, final=False))


def main() -> None:
    """Until standard input ends: with the parent, however that ended."""
    try:
        worker = Worker(sys.stdout.buffer)
    except (ImportError, RuntimeError) as error:
        sys.stdout.buffer.write(framed(Trouble(0, f"pocketsphinx cannot be used: {error}")))
        return
    worker.tell(Ready())
    while (body := read(sys.stdin.buffer)) is not None:
        worker.carry_out(order.decode(body))


if __name__ == "__main__":
    main()
