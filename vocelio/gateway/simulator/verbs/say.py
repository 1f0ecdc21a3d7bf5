"""``<Say>``, ``<Play>`` and ``<Pause>``: take as long as on Twilio, without audio.

The simulated caller hears nothing; the text is in the report and the events.
"""

import asyncio
from typing import assert_never

from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.events import TwilioSayStarted
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount

PLAY_SECONDS = 1.0
"""Duration of ``<Play>``; the file is not fetched."""


async def run_say(verb: parser.Say | parser.Play | parser.Pause, account: SimulatedAccount, call_log: CallLog) -> None:
    """Wait as long as the verb takes."""
    match verb:
        case parser.Say(text=text):
            call_log.say_texts.append(text)
            call_log.emit(TwilioSayStarted(call_log.now(), text))
            await asyncio.sleep(len(text) / account.behavior.say_characters_per_second)
        case parser.Play():
            await asyncio.sleep(PLAY_SECONDS)
        case parser.Pause(seconds=seconds):
            await asyncio.sleep(seconds)
        case _:
            assert_never(verb)
