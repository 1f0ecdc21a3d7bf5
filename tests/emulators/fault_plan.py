"""What an emulated speech service is to do wrong, from its next request on."""

from dataclasses import dataclass
from typing import Literal

Fault = Literal[
    "",
    "refuse",  # nobody listens at the port
    "401",
    "429",
    "500",
    "silent",  # accepts, and says nothing
    "stall",  # begins to answer, then nothing more, the connection open
    "drip",  # answers at a tenth of the pace that it should
    "garbage",  # answers with what the protocol does not know
    "abrupt",  # begins to answer, then breaks the connection off
    "slow_close",  # answers well, and takes 5 s to end
    "tardy",  # tells that it has heard nothing only with the next text (ElevenLabs' recognition)
]


@dataclass
class FaultPlan:
    """May be changed at any time; counts for what begins afterwards."""

    recognition: Fault = ""
    synthesis: Fault = ""
