"""DtmfCollector: assembles pressed keys into an answer of a grammar. No timers: the host calls ``on_timeout``."""

import msgspec

from vocelio.engine.nlu.answer_grammar import AnswerGrammar, AnswerValue
from vocelio.engine.runtime.node_context import ActiveGlobalCommand

INTER_DIGIT_TIMEOUT_SECONDS = 3.0  # the time in which a person finds the next digit


class DtmfInput(msgspec.Struct, frozen=True):
    """A complete input. ``meaning`` is None if the grammar does not accept the keys."""

    keys: str
    meaning: AnswerValue | ActiveGlobalCommand | None


class DtmfCollector:
    """Collects the keys of one answer.

    A single key is a whole answer to a choice or to yes or no. Digits and numbers are complete at the terminator, at
    the maximum number of digits or after ``INTER_DIGIT_TIMEOUT_SECONDS``; a global command's key counts before the
    first digit only.
    """

    def __init__(self, grammar: AnswerGrammar, digits: str = "") -> None:
        """Continue after the ``digits`` that an earlier collector left."""
        self.digits = digits
        self._grammar = grammar

    def feed(self, key: str) -> DtmfInput | None:
        """Take a key. Returns the input that it completes, None if it has no meaning or more digits are expected."""
        return self._feed_single(key) if self._grammar.accepts_single_key else self._feed_digit(key)

    def on_timeout(self) -> DtmfInput:
        """Complete the input: no further digit was pressed in time."""
        return self._complete(self.digits)

    def _feed_single(self, key: str) -> DtmfInput | None:
        meaning = self._grammar.match_keys(key)
        ignored = meaning is None and self._grammar.expect == "text"  # free text can only be spoken
        return None if ignored else DtmfInput(key, meaning)

    def _feed_digit(self, key: str) -> DtmfInput | None:
        if key == self._grammar.terminator:
            return self._complete(self.digits)
        digits = self.digits + key
        command = None if self.digits else self._grammar.match_keys(key)
        if isinstance(command, ActiveGlobalCommand):
            return DtmfInput(digits, command)
        if len(digits) >= self._grammar.max_digits:
            return self._complete(digits)
        self.digits = digits
        return None

    def _complete(self, keys: str) -> DtmfInput:
        self.digits = ""
        return DtmfInput(keys, self._grammar.match_keys(keys))
