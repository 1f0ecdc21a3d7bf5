"""What a question expects, and what an answer to it means, spoken or keyed.

The same for the question itself and for "did you say ...?" after it.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from vocelio.engine.nlu import matching
from vocelio.engine.nlu.matching import words
from vocelio.engine.runtime.node_context import ActiveGlobalCommand

AnswerType = Literal["choice", "yes_no", "digits", "number", "text"]
AnswerValue = str | int | float

MAX_NUMBER_DIGITS = 15  # digits: what a JSON reader anywhere takes without loss
YES_NO_KEYS = {"1": "yes", "2": "no"}


class AnswerGrammar(msgspec.Struct, frozen=True):
    """``phrases`` and ``keys`` by answer (choices, and yes and no); ``wishes`` are what may be said anywhere."""

    expect: AnswerType
    phrases: Mapping[str, tuple[str, ...]] = {}
    keys: Mapping[str, str] = {}
    global_commands: Mapping[str, ActiveGlobalCommand] = {}
    min_digits: int = 1
    max_digits: int = 32
    terminator: str = ""

    @property
    def accepts_single_key(self) -> bool:
        """True when one key is a whole answer."""
        return self.expect in ("choice", "yes_no", "text")

    @property
    def phrases_repeat(self) -> bool:
        """True when the expected words follow one another."""
        return self.expect in ("digits", "number")

    def recognition_phrases(self) -> tuple[str, ...]:
        """All that may be said; empty when that can be anything."""
        match self.expect:
            case "choice" | "yes_no":
                own = tuple(phrase for phrases in self.phrases.values() for phrase in phrases)
            case "digits":
                own = matching.DIGIT_WORDS
            case "number":
                own = matching.NUMBER_WORDS
            case "text":
                return ()
        return (*own, *(phrase for wish in self.global_commands.values() for phrase in wish.phrases))

    def match_speech(self, text: str) -> AnswerValue | ActiveGlobalCommand | None:
        """What the whole utterance means."""
        match self.expect:
            case "choice" | "yes_no":
                return self._match_phrase(text)
            case "digits":
                found = matching.parse_digits(text)
                answer: AnswerValue | None = (
                    found if found and self.min_digits <= len(found) <= self.max_digits else None
                )
            case "number":
                answer = matching.parse_number(text)
            case "text":
                answer = text.strip()[:1_000] or None
        return self._match_command_phrase(text) or answer

    def match_partial(self, text: str) -> str | None:
        """What a partial result already decides, as a name for ``named``; None while more words could matter."""
        if self.expect not in ("choice", "yes_no"):
            return None
        everything = self._all_phrases()
        name = matching.match_choice(text, everything)
        if name is None or matching.is_ambiguous_prefix(text, name, everything):
            return None
        return None if matching.is_hesitating(text, everything[name]) else name

    def answer_named(self, name: str) -> AnswerValue | ActiveGlobalCommand:
        """The answer that ``early`` decided on."""
        return self.global_commands[name[1:]] if name.startswith("@") else name

    def match_keys(self, keys: str) -> AnswerValue | ActiveGlobalCommand | None:
        """What the keys mean. One key that is no answer may be a wish."""
        answer: AnswerValue | None = None
        match self.expect:
            case "choice" | "yes_no":
                answer = self.keys.get(keys)
            case "digits":
                answer = keys if keys.isdecimal() and self.min_digits <= len(keys) <= self.max_digits else None
            case "number":
                answer = int(keys) if keys.isdecimal() and len(keys) <= MAX_NUMBER_DIGITS else None
            case "text":
                pass
        return self._match_command_key(keys) if answer is None else answer

    def key_instructions(self) -> tuple[str, ...] | None:
        """What the keys mean, in sentences (none where they are the answer itself); None if there is no way by key."""
        if self.expect in ("digits", "number"):
            return ()
        ways = tuple(f"For {name.replace('_', ' ')} press {_key_label(key)}." for key, name in self.keys.items())
        return ways or None

    def _all_phrases(self) -> dict[str, tuple[str, ...]]:
        """The phrases of the answers and, under names that no answer has, of the wishes."""
        return {**self.phrases, **{f"@{name}": wish.phrases for name, wish in self.global_commands.items()}}

    def _match_phrase(self, text: str) -> AnswerValue | ActiveGlobalCommand | None:
        name = matching.match_choice(text, self._all_phrases()) or matching.match_choice(text, self.phrases)
        return None if name is None else self.answer_named(name)

    def _match_command_phrase(self, text: str) -> ActiveGlobalCommand | None:
        said = words(text)
        return next(
            (w for w in self.global_commands.values() if any(words(phrase) == said for phrase in w.phrases)), None
        )

    def _match_command_key(self, key: str) -> ActiveGlobalCommand | None:
        if len(key) != 1 or (not self.accepts_single_key and key.isdecimal()):
            return None
        return next((wish for wish in self.global_commands.values() if wish.key == key), None)


def _key_label(key: str) -> str:
    return {"*": "the star key", "#": "the pound key"}.get(key, key)


def yes_no_grammar(global_commands: Mapping[str, ActiveGlobalCommand]) -> AnswerGrammar:
    """Yes or no, and 1 or 2."""
    return AnswerGrammar("yes_no", matching.YES_NO_PHRASES, YES_NO_KEYS, global_commands)
