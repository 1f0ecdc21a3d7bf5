"""The SDK's signals, from its threads to the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from vocelio.gateway.speech.azure.events import Failed
from vocelio.gateway.speech.azure.threads import post
from vocelio.gateway.speech.ports import SpeechError

E = TypeVar("E")


class Signals:
    """What is connected of them. A signal holds whoever it tells, who mostly holds it: ``disconnect`` ends that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connected: list[Any] = []

    def connect(self, signal: Any, read: Callable[[Any], E], tell: Callable[[E | Failed], None]) -> None:
        """Have ``tell`` called on the event loop with what ``read`` makes of the signal's argument."""

        def tell_soon(argument: Any) -> None:
            event: E | Failed
            try:
                event = read(argument)
            except Exception as error:  # noqa: BLE001  this is a thread of the SDK: an error would be lost
                event = Failed(SpeechError(f"Azure speech said what cannot be read ({type(error).__name__})"))
            post(self._loop, tell, event)

        signal.connect(tell_soon)
        self._connected.append(signal)

    def disconnect(self) -> None:
        """Nothing more is told; waits for what is just being told. The first thing of a teardown, which may hang.

        A thread of the SDK that wants to tell something while the interpreter ends makes the process abort: Python
        ends that thread, which the SDK's C++ does not survive.
        """
        while self._connected:
            self._connected.pop().disconnect_all()
