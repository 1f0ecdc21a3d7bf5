"""AnswerGrammar: the phrases and keys that a question accepts, and what they mean.

Used for the question itself and for its confirmation ("did you say ...?").
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from vocelio.engine.nlu import matching
from vocelio.engine.nlu.matching import words
from vocelio.engine.runtime.node_context import ActiveGlobalCommand

AnswerType = Literal["choice", "yes_no", "digits", "number", "text"]
AnswerValue = str | int | float

MAX_NUMBER_DIGITS = 15  # integers that every JSON parser reads without loss
YES_NO_KEYS = {"1": "yes", "2": "no"}


class AnswerGrammar(msgspec.Struct, frozen=True):
    """The accepted input of a question.

    ``phrases`` are given by answer and ``keys`` map to answers, for choices and for yes and no. ``global_commands`` are
    accepted besides.
    """

    expect: AnswerType
    phrases: Mapping[str, tuple[str, ...]] = {}
    keys: Mapping[str, str] = {}
    global_commands: Mapping[str, ActiveGlobalCommand] = {}
    min_digits: int = 1
    max_digits: int = 32
    terminator: str = ""

    @property
    def accepts_single_key(self) -> bool:
        """True if one key is a whole answer."""
        return self.expect in ("choice", "yes_no", "text")

    @property
    def phrases_repeat(self) -> bool:
        """True if the expected words can follow one another."""
        return self.expect in ("digits", "number")

    def recognition_phrases(self) -> tuple[str, ...]:
        """Return the recognition hints; empty if any text is accepted."""
        match self.expect:
            case "choice" | "yes_no":
                hints = tuple(phrase for phrases in self.phrases.values() for phrase in phrases)
            case "digits":
                hints = matching.DIGIT_WORDS
            case "number":
                hints = matching.NUMBER_WORDS
            case "text":
                return ()
        return (*hints, *(phrase for command in self.global_commands.values() for phrase in command.phrases))

    def match_speech(self, text: str) -> AnswerValue | ActiveGlobalCommand | None:
        """Match the final transcript of an utterance."""
        match self.expect:
            case "choice" | "yes_no":
                return self._match_phrase(text)
            case "digits":
                digits = matching.parse_digits(text)
                answer: AnswerValue | None = (
                    digits if digits and self.min_digits <= len(digits) <= self.max_digits else None
                )
            case "number":
                answer = matching.parse_number(text)
            case "text":
                answer = text.strip()[:1_000] or None
        return self._match_command_phrase(text) or answer

    def match_partial(self, text: str) -> str | None:
        """Match a partial transcript.

        Returns a name for ``answer_named``, None if more words could change the meaning.
        """
        if self.expect not in ("choice", "yes_no"):
            return None
        phrases = self._all_phrases()
        name = matching.match_choice(text, phrases)
        if name is None or matching.is_ambiguous_prefix(text, name, phrases):
            return None
        return None if matching.is_hesitating(text, phrases[name]) else name

    def answer_named(self, name: str) -> AnswerValue | ActiveGlobalCommand:
        """Return the answer or global command of a name that ``match_partial`` returned."""
        return self.global_commands[name[1:]] if name.startswith("@") else name

    def match_keys(self, keys: str) -> AnswerValue | ActiveGlobalCommand | None:
        """Match keys. A single key that is not an answer can be a global command."""
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
        """Return sentences that explain the keys (none if the keys are the answer); None if keys cannot answer."""
        if self.expect in ("digits", "number"):
            return ()
        sentences = tuple(f"For {name.replace('_', ' ')} press {_key_label(key)}." for key, name in self.keys.items())
        return sentences or None

    def _all_phrases(self) -> dict[str, tuple[str, ...]]:
        """Return the phrases of all answers and, with ``@`` before their names, of the global commands."""
        return {**self.phrases, **{f"@{name}": command.phrases for name, command in self.global_commands.items()}}

    def _match_phrase(self, text: str) -> AnswerValue | ActiveGlobalCommand | None:
        name = matching.match_choice(text, self._all_phrases()) or matching.match_choice(text, self.phrases)
        return None if name is None else self.answer_named(name)

    def _match_command_phrase(self, text: str) -> ActiveGlobalCommand | None:
        utterance = words(text)
        commands = self.global_commands.values()
        return next((c for c in commands if any(words(phrase) == utterance for phrase in c.phrases)), None)

    def _match_command_key(self, key: str) -> ActiveGlobalCommand | None:
        if len(key) != 1 or (not self.accepts_single_key and key.isdecimal()):
            return None
        return next((command for command in self.global_commands.values() if command.key == key), None)


def _key_label(key: str) -> str:
    return {"*": "the star key", "#": "the pound key"}.get(key, key)


def yes_no_grammar(global_commands: Mapping[str, ActiveGlobalCommand]) -> AnswerGrammar:
    """Return a grammar of yes and no, with the keys 1 and 2."""
    return AnswerGrammar("yes_no", matching.YES_NO_PHRASES, YES_NO_KEYS, global_commands)
