"""Faults to inject into the next requests of an emulated speech service."""

from dataclasses import dataclass
from typing import Literal

Fault = Literal[
    "",
    "refuse",  # refuses or resets connections
    "401",
    "429",
    "500",
    "silent",  # accepts the request and never responds
    "stall",  # starts to respond, then stops with the connection open
    "drip",  # responds at a tenth of the normal pace
    "garbage",  # responds with invalid messages
    "abrupt",  # starts to respond, then resets the connection
    "slow_close",  # responds normally, but takes 5 s to close
    "tardy",  # delays an empty transcript until the next text (recognition of ElevenLabs)
]


@dataclass
class FaultPlan:
    """Current faults; a change applies to requests that start afterwards."""

    recognition: Fault = ""
    synthesis: Fault = ""
