"""What a question expects, and what an answer to it means, spoken or keyed.

The same for the question itself and for "did you say ...?" after it.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from vocelio.engine.nlu import matching
from vocelio.engine.nlu.matching import words
from vocelio.engine.runtime.node_context import Wish

Expect = Literal["choice", "yes_no", "digits", "number", "text"]
Answer = str | int | float

MAX_NUMBER_KEYS = 15  # digits: what a JSON reader anywhere takes without loss
YES_NO_KEYS = {"1": "yes", "2": "no"}


class Answers(msgspec.Struct, frozen=True):
    """``phrases`` and ``keys`` by answer (choices, and yes and no); ``wishes`` are what may be said anywhere."""

    expect: Expect
    phrases: Mapping[str, tuple[str, ...]] = {}
    keys: Mapping[str, str] = {}
    wishes: Mapping[str, Wish] = {}
    min_digits: int = 1
    max_digits: int = 32
    terminator: str = ""

    @property
    def single_key(self) -> bool:
        """True when one key is a whole answer."""
        return self.expect in ("choice", "yes_no", "text")

    @property
    def repeat(self) -> bool:
        """True when the expected words follow one another."""
        return self.expect in ("digits", "number")

    def grammar(self) -> tuple[str, ...]:
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
        return (*own, *(phrase for wish in self.wishes.values() for phrase in wish.phrases))

    def spoken(self, text: str) -> Answer | Wish | None:
        """What the whole utterance means."""
        match self.expect:
            case "choice" | "yes_no":
                return self._meant(text)
            case "digits":
                found = matching.digits(text)
                answer: Answer | None = found if found and self.min_digits <= len(found) <= self.max_digits else None
            case "number":
                answer = matching.number(text)
            case "text":
                answer = text.strip()[:1_000] or None
        return self._wish_alone(text) or answer

    def early(self, text: str) -> str | None:
        """What a partial result already decides, as a name for ``named``; None while more words could matter."""
        if self.expect not in ("choice", "yes_no"):
            return None
        everything = self._everything()
        name = matching.choice(text, everything)
        if name is None or matching.could_become_another(text, name, everything):
            return None
        return None if matching.wavers(text, everything[name]) else name

    def named(self, name: str) -> Answer | Wish:
        """The answer that ``early`` decided on."""
        return self.wishes[name[1:]] if name.startswith("@") else name

    def keyed(self, keys: str) -> Answer | Wish | None:
        """What the keys mean. One key that is no answer may be a wish."""
        answer: Answer | None = None
        match self.expect:
            case "choice" | "yes_no":
                answer = self.keys.get(keys)
            case "digits":
                answer = keys if keys.isdecimal() and self.min_digits <= len(keys) <= self.max_digits else None
            case "number":
                answer = int(keys) if keys.isdecimal() and len(keys) <= MAX_NUMBER_KEYS else None
            case "text":
                pass
        return self._wish_key(keys) if answer is None else answer

    def ways_by_key(self) -> tuple[str, ...] | None:
        """What the keys mean, in sentences (none where they are the answer itself); None if there is no way by key."""
        if self.expect in ("digits", "number"):
            return ()
        ways = tuple(f"For {name.replace('_', ' ')} press {_spoken(key)}." for key, name in self.keys.items())
        return ways or None

    def _everything(self) -> dict[str, tuple[str, ...]]:
        """The phrases of the answers and, under names that no answer has, of the wishes."""
        return {**self.phrases, **{f"@{name}": wish.phrases for name, wish in self.wishes.items()}}

    def _meant(self, text: str) -> Answer | Wish | None:
        name = matching.choice(text, self._everything()) or matching.choice(text, self.phrases)
        return None if name is None else self.named(name)

    def _wish_alone(self, text: str) -> Wish | None:
        said = words(text)
        return next((w for w in self.wishes.values() if any(words(phrase) == said for phrase in w.phrases)), None)

    def _wish_key(self, key: str) -> Wish | None:
        if len(key) != 1 or (not self.single_key and key.isdecimal()):
            return None
        return next((wish for wish in self.wishes.values() if wish.key == key), None)


def _spoken(key: str) -> str:
    return {"*": "the star key", "#": "the pound key"}.get(key, key)


def yes_no(wishes: Mapping[str, Wish]) -> Answers:
    """Yes or no, and 1 or 2."""
    return Answers("yes_no", matching.YES_NO, YES_NO_KEYS, wishes)
