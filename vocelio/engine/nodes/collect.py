"""collect: ask the caller something and wait for the answer, spoken or keyed.

One attempt is: prompt, then silence until the caller speaks or presses a key (``no_input`` when neither
comes) or says what cannot be understood (``no_match``). Attempts are repeated with the next re-prompt until
``retries`` are used up. The inactivity timer starts when the prompt was heard, not when it was made; a
caller who interrupts, or has begun before the prompt, is heard instead of talked over.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from vocelio.engine import events, understanding
from vocelio.engine.node import Node
from vocelio.engine.problems import Problem
from vocelio.engine.run import Run
from vocelio.engine.templates import Template

LONGEST_UTTERANCE = 20.0  # seconds: a recogniser that never comes to an end is not waited for
BETWEEN_KEYS = 3.0  # seconds: how long a person takes to find the next digit
RESERVED_CHOICES = ("no_input", "no_match", "else", "done")
NOT_UNDERSTOOD = "Sorry, I did not understand. "
YES_NO_KEYS = {"1": "yes", "2": "no"}

Expect = Literal["choice", "yes_no", "digits", "number", "text"]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer: the phrases that mean it, and its key."""

    phrases: tuple[str, ...] = ()
    key: Literal["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#"] = ""


class Memory(msgspec.Struct, omit_defaults=True):
    """This visit: attempts made, keys of the answer so far."""

    attempt: int = 0
    keys: str = ""


class Collect(Node, frozen=True, kw_only=True):
    """What is expected decides the exits: the choices' names; ``yes`` and ``no``; else ``done``."""

    type: ClassVar[str] = "collect"

    prompt: Template
    expect: Expect
    choices: dict[str, Choice] = {}
    input: tuple[Literal["speech", "keys"], ...] = ("speech", "keys")
    min_digits: Annotated[int, Meta(ge=1, le=64)] = 1
    max_digits: Annotated[int, Meta(ge=1, le=64)] = 32
    terminator: Literal["", "#", "*"] = "#"
    timeout: Annotated[float, Meta(gt=0, le=120)] = 5.0
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    reprompts: tuple[Template, ...] = ()
    silence: Annotated[float, Meta(ge=0.2, le=5)] = 0.6
    sensitive: bool = False
    barge_in: bool = True
    save_as: str = ""

    # Entering and asking

    def ways_out(self) -> tuple[str, ...]:
        return (*self._answers(), "no_input", "no_match")

    def enter(self, run: Run) -> None:
        self._ask(run, run.text(self.prompt))
        self._take_keys(run)

    def resume(self, run: Run) -> None:
        """The question again; the attempts already made still count."""
        memory = run.memory(Memory)
        memory.keys = ""
        self._ask(run, run.text(self.prompt))

    def _ask(self, run: Run, prompt: str) -> None:
        if self.barge_in and run.caller_is_speaking:
            self._listen(run)
            run.start_timer("utterance", LONGEST_UTTERANCE)
            return
        if self.barge_in:
            self._listen(run)
        run.speak(prompt, barge_in=self.barge_in)

    def _listen(self, run: Run) -> None:
        if "speech" in self.input:
            repeat = self.expect in ("digits", "number")
            run.listen(self._phrases(), repeat=repeat, silence=self.silence, sensitive=self.sensitive)

    # What happens meanwhile

    def receive(self, run: Run, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                self._prompt_over(run)
            case events.SpeechStarted() if run.state.listening and not run.speaking:
                run.cancel_timer("silence")
                run.start_timer("utterance", LONGEST_UTTERANCE)
            case events.Heard(final=True):
                self._heard(run, event.text)
            case events.ListeningFailed() if not run.speaking:
                run.start_timer("silence", self.timeout)
            case events.KeyPressed() if "keys" in self.input:
                self._take_keys(run)
            case events.TimerFired(id="silence"):
                self._again(run, "no_input")
            case events.TimerFired(id="utterance"):
                self._again(run, "no_match")
            case events.TimerFired(id="keys"):
                self._answer_keys(run, run.memory(Memory).keys)
            case _:
                pass

    def _prompt_over(self, run: Run) -> None:
        if not self.barge_in:
            self._listen(run)
            self._take_keys(run)
        if run.exit or run.memory(Memory).keys:
            return
        if run.caller_is_speaking:
            run.start_timer("utterance", LONGEST_UTTERANCE)
        else:
            run.start_timer("silence", self.timeout)

    # Answers

    def _heard(self, run: Run, text: str) -> None:
        run.cancel_timer("utterance")
        answer = self._understand(text)
        if answer is None:
            self._again(run, "no_match")
        else:
            self._accept(run, answer, text)

    def _understand(self, text: str) -> str | int | float | None:
        match self.expect:
            case "choice":
                phrases = {name: choice.phrases for name, choice in self.choices.items()}
                return understanding.choice(text, phrases)
            case "yes_no":
                return understanding.yes_no(text)
            case "digits":
                found = understanding.digits(text)
                return found if found and self.min_digits <= len(found) <= self.max_digits else None
            case "number":
                return understanding.number(text)
            case "text":
                return text or None

    def _take_keys(self, run: Run) -> None:
        if "keys" not in self.input or (run.speaking and not self.barge_in):
            return
        if self.expect in ("choice", "yes_no", "text"):
            if key := run.take_keys(1):
                self._answer_keys(run, key)
            return
        memory = run.memory(Memory)
        while key := run.take_keys(1):
            if key == self.terminator:
                self._answer_keys(run, memory.keys)
                return
            memory.keys += key
            if len(memory.keys) >= self.max_digits:
                self._answer_keys(run, memory.keys)
                return
        if memory.keys:
            run.stop_listening()
            run.cancel_timer("silence")
            run.start_timer("keys", BETWEEN_KEYS)

    def _answer_keys(self, run: Run, keys: str) -> None:
        run.memory(Memory).keys = ""
        answer = self._understand_keys(keys)
        if answer is None:
            self._again(run, "no_match")
        else:
            self._accept(run, answer, keys)

    def _understand_keys(self, keys: str) -> str | int | None:
        match self.expect:
            case "choice":
                return next((name for name, choice in self.choices.items() if choice.key == keys), None)
            case "yes_no":
                return YES_NO_KEYS.get(keys)
            case "digits":
                return keys if len(keys) >= self.min_digits else None
            case "number":
                return int(keys) if keys.isdecimal() else None
            case "text":
                return None

    def _accept(self, run: Run, answer: str | float, said: str) -> None:
        shown = "*" * len(said) if self.sensitive else said
        run.result(value=answer, said=shown)
        if self.save_as:
            run.set(self.save_as, answer)
        run.leave(str(answer) if self.expect in ("choice", "yes_no") else "done")

    def _again(self, run: Run, why: Literal["no_input", "no_match"]) -> None:
        memory = run.memory(Memory)
        memory.attempt += 1
        run.drop_all("node")
        if memory.attempt > self.retries:
            run.result(value=None, said="")
            run.leave(why)
        else:
            self._ask(run, self._reprompt(run, memory.attempt, why))

    def _reprompt(self, run: Run, attempt: int, why: str) -> str:
        if self.reprompts:
            return run.text(self.reprompts[min(attempt, len(self.reprompts)) - 1])
        return (NOT_UNDERSTOOD if why == "no_match" else "") + run.text(self.prompt)

    # The document

    def _answers(self) -> tuple[str, ...]:
        match self.expect:
            case "choice":
                return tuple(self.choices)
            case "yes_no":
                return ("yes", "no")
            case _:
                return ("done",)

    def _phrases(self) -> tuple[str, ...]:
        match self.expect:
            case "choice":
                return tuple(phrase for choice in self.choices.values() for phrase in choice.phrases)
            case "yes_no":
                return (*understanding.YES, *understanding.NO)
            case "digits":
                return understanding.DIGIT_WORDS
            case "number":
                return understanding.NUMBER_WORDS
            case "text":
                return ()

    def problems(self, path: str) -> Iterable[Problem]:
        if (self.expect == "choice") != bool(self.choices):
            yield Problem(f"{path}.choices", "choices", "`choices` and `expect: choice` go together")
        if not self.input:
            yield Problem(f"{path}.input", "input", "at least one of speech and keys is needed")
        if self.min_digits > self.max_digits:
            yield Problem(f"{path}.min_digits", "digits", "min_digits is larger than max_digits")
        keys: dict[str, str] = {}
        for name, choice in self.choices.items():
            where = f"{path}.choices.{name}"
            if name in RESERVED_CHOICES:
                yield Problem(where, "reserved-choice", f"a choice cannot be called `{name}`")
            if choice.key and choice.key in keys:
                message = f"key {choice.key} already means `{keys[choice.key]}`"
                yield Problem(f"{where}.key", "duplicate-key", message)
            keys[choice.key] = name
            if not choice.key and not choice.phrases:
                yield Problem(where, "no-way-to-choose", "a choice needs phrases or a key")
