"""collect: ask the caller something and wait for the answer, spoken or keyed.

One attempt is: prompt, then silence until the caller speaks or presses a key (``no_input`` when neither
comes) or says what cannot be understood (``no_match``). Attempts are repeated with the next re-prompt until
``retries`` are used up. The inactivity timer starts when the prompt was heard, not when it was made; a
caller who interrupts, or has begun before the prompt, is heard instead of talked over.

A partial result that already decides is taken when it has stood for ``EARLY`` seconds, and only if no further
word could change it: recognisers change their minds, mostly about the last word.

A ``sensitive`` answer is kept in the node's private memory and in the private variable ``save_as`` only.
Results and notes show asterisks; what later nodes make of the variable is marked sensitive.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from vocelio.engine import events
from vocelio.engine.diagnostics import Problem
from vocelio.engine.flow import REPEAT, Key, Phrases
from vocelio.engine.nlu import answer_grammar
from vocelio.engine.nlu.answer_grammar import Answer, Answers, Expect
from vocelio.engine.nlu.phonetics import alike
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run, Wish
from vocelio.engine.templating.template import Template

LONGEST_UTTERANCE = 20.0  # seconds: a recogniser that never comes to an end is not waited for
BETWEEN_KEYS = 3.0  # seconds: how long a person takes to find the next digit
EARLY = 0.25  # seconds that a partial result must stand: shorter than the silence that would end the utterance
LONGEST_SHOWN = 500  # characters of what was said: results are in every checkpoint
RESERVED_CHOICES = ("no_input", "no_match", "else", "done")
NOT_UNDERSTOOD = "Sorry, I did not understand. "
KEYS_ONLY = "Sorry, I cannot hear you at the moment. Please use the keys of your telephone."


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer: the phrases that mean it, and its key."""

    phrases: Phrases = ()
    key: Key = ""


class Memory(msgspec.Struct, omit_defaults=True):
    """This visit: attempts made, keys of the answer so far, the answer being confirmed, what partials lean to.

    ``deaf``: in this attempt no recogniser can be had, which the caller does not know yet, or was told.
    """

    attempt: int = 0
    keys: str = ""
    why: Literal["", "no_input", "no_match"] = ""
    confirming: bool = False
    answer: Any = None
    said: str = ""
    leaning: str = ""
    partial: str = ""
    deaf: Literal["", "unknown", "told"] = ""


class Collect(Node, frozen=True, kw_only=True):
    """What is expected decides the exits: the choices' names; ``yes`` and ``no``; else ``done``.

    ``confirm`` is asked after the answer, which it reads as ``{{ answer }}``; a no costs an attempt.
    ``timeout`` is seconds of silence, ``silence`` the seconds that end an utterance.
    """

    type: ClassVar[str] = "collect"
    waits: ClassVar[bool] = True
    results: ClassVar[tuple[str, ...]] = ("value", "said")
    field_names: ClassVar[dict[str, str]] = {"confirm": "answer"}

    prompt: Template
    expect: Expect
    choices: Annotated[dict[str, Choice], Meta(max_length=50)] = {}
    input: Annotated[tuple[Literal["speech", "keys"], ...], Meta(max_length=2)] = ("speech", "keys")
    min_digits: Annotated[int, Meta(ge=1, le=64)] = 1
    max_digits: Annotated[int, Meta(ge=1, le=64)] = 32
    terminator: Literal["", "#", "*"] = "#"
    timeout: Annotated[float, Meta(gt=0, le=120)] = 5.0
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    reprompts: Annotated[tuple[Template, ...], Meta(max_length=10)] = ()
    silence: Annotated[float, Meta(ge=0.2, le=5)] = 0.6
    confirm: Template | None = None
    sensitive: bool = False
    barge_in: bool = True
    save_as: str = ""

    def ways_out(self) -> tuple[str, ...]:
        match self.expect:
            case "choice":
                found = tuple(self.choices)
            case "yes_no":
                found = ("yes", "no")
            case _:
                found = ("done",)
        return (*found, "no_input", "no_match")

    def variables(self) -> tuple[str, ...]:
        return (self.save_as,) if self.save_as else ()

    @property
    def confidential(self) -> bool:
        return self.sensitive

    # Entering and asking

    def enter(self, run: Run) -> None:
        if not (self.barge_in and self._take_keys(run)):
            self._ask(run)

    def resume(self, run: Run) -> None:
        """The question again; the attempts already made still count."""
        memory = run.memory(Memory)
        memory.keys = memory.leaning = memory.why = ""
        run.take_keys()
        self._ask(run)

    def _ask(self, run: Run) -> None:
        run.memory(Memory).deaf = ""
        if self.barge_in:
            self._listen(run)
            if run.caller_is_speaking and run.state.listening:
                run.start_timer("utterance", LONGEST_UTTERANCE)
                return
        if not self._prompt(run, run.memory(Memory)):
            self._prompt_over(run)

    def _prompt(self, run: Run, memory: Memory) -> bool:
        if memory.confirming and self.confirm:
            shown = memory.answer.replace("_", " ") if self.expect == "choice" else memory.answer
            extra = {"answer": shown}
            return run.say(self.confirm, extra=extra, barge_in=self.barge_in, sensitive=self.sensitive)
        if memory.attempt and self.reprompts:
            template = self.reprompts[min(memory.attempt, len(self.reprompts)) - 1]
            return run.say(template, barge_in=self.barge_in)
        before = NOT_UNDERSTOOD if memory.why == "no_match" else ""
        return run.say(self.prompt, before=before, barge_in=self.barge_in)

    def _listen(self, run: Run) -> None:
        if "speech" in self.input:
            expected = self._answers(run)
            run.listen(expected.grammar(), repeat=expected.repeat, silence=self.silence, sensitive=self.sensitive)

    def _answers(self, run: Run) -> Answers:
        return answer_grammar.yes_no(run.wishes) if run.memory(Memory).confirming else self.answers(run.wishes)

    def answers(self, wishes: Mapping[str, Wish]) -> Answers:
        """What the question itself expects, beside ``wishes``."""
        if self.expect == "yes_no":
            return answer_grammar.yes_no(wishes)
        phrases = {name: choice.phrases for name, choice in self.choices.items()}
        keys: dict[str, str] = {choice.key: name for name, choice in self.choices.items() if choice.key}
        limits = (self.min_digits, self.max_digits, self.terminator)
        return Answers(self.expect, phrases, keys, wishes, *limits)

    # What happens meanwhile

    def receive(self, run: Run, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                self._prompt_over(run)
            case events.SpeechStarted() if run.state.listening and not run.speaking:
                run.cancel_timer("silence")
                run.start_timer("utterance", LONGEST_UTTERANCE)
            case events.Heard(final=True):
                run.cancel_timer("utterance")
                self._meant(run, self._answers(run).spoken(event.text), event.text)
            case events.Heard():
                self._partly_heard(run, event.text)
            case events.ListeningFailed():
                self._not_heard(run)
            case events.KeyPressed():
                if run.memory(Memory).deaf == "told" and "keys" in self.input:
                    run.drop_all("node")
                self._take_keys(run)
            case events.TimerFired():
                self._timer_fired(run, event.id)
            case _:
                pass

    def _timer_fired(self, run: Run, timer: str) -> None:
        memory = run.memory(Memory)
        match timer:
            case "silence" if run.state.speaking:  # an operator's words
                run.start_timer("silence", self.timeout)
            case "silence":
                self._again(run, "no_input")
            case "utterance":
                run.take_utterance()
                self._again(run, "no_match")
            case "keys":
                keys, memory.keys = memory.keys, ""
                self._meant(run, self._answers(run).keyed(keys), keys)
            case "early" if memory.leaning:
                run.take_utterance()
                self._meant(run, self._answers(run).named(memory.leaning), memory.partial)

    def _not_heard(self, run: Run) -> None:
        """Nobody can hear the caller: the keys are left. Who is already typing need not be told."""
        memory = run.memory(Memory)
        run.cancel_timer("utterance")
        run.cancel_timer("early")
        memory.leaning = ""
        if memory.deaf or memory.keys:
            return
        memory.deaf = "unknown"
        if not run.speaking:
            self._offer_keys(run)

    def _offer_keys(self, run: Run) -> None:
        run.memory(Memory).deaf = "told"
        offer = self.offer(self._answers(run))
        if offer:
            run.cancel_timer("silence")
            run.speak(" ".join(offer), barge_in=False)  # to the caller's voice, which nobody hears; a key ends it
        else:
            self._again(run, "no_match")

    def offer(self, expected: Answers) -> tuple[str, ...]:
        """What is said, sentence by sentence, where only keys can answer; nothing if they cannot."""
        ways = expected.ways_by_key() if "keys" in self.input else None
        return () if ways is None else (KEYS_ONLY, *ways)

    def _prompt_over(self, run: Run) -> None:
        if run.memory(Memory).deaf == "unknown":
            self._offer_keys(run)
            return
        if not self.barge_in:
            if not run.memory(Memory).deaf:
                self._listen(run)
            if self._take_keys(run):
                return
        if run.memory(Memory).keys:
            return
        if run.caller_is_speaking and run.state.listening:
            run.start_timer("utterance", LONGEST_UTTERANCE)
        else:
            run.start_timer("silence", self.timeout)

    def _partly_heard(self, run: Run, text: str) -> None:
        memory, leaning = run.memory(Memory), self._answers(run).early(text) or ""
        if leaning != memory.leaning:
            run.cancel_timer("early")
            memory.leaning = leaning
            if leaning:
                run.start_timer("early", EARLY)
        memory.partial = text if leaning else ""

    def _take_keys(self, run: Run) -> bool:
        """Whether keys were pressed that count for this question."""
        if "keys" not in self.input:
            run.take_keys()
            return False
        if run.speaking and not self.barge_in:
            return False
        expected = self._answers(run)
        return self._take_one(run, expected) if expected.single_key else self._take_many(run, expected)

    def _take_one(self, run: Run, expected: Answers) -> bool:
        while key := run.take_keys(1):
            meaning = expected.keyed(key)
            if meaning is not None or expected.expect != "text":
                self._meant(run, meaning, key)
                return True
        return False

    def _take_many(self, run: Run, expected: Answers) -> bool:
        memory = run.memory(Memory)
        while key := run.take_keys(1):
            wish = expected.keyed(key) if not memory.keys and key != self.terminator else None
            keys = memory.keys + ("" if key == self.terminator else key)
            if isinstance(wish, Wish) or key == self.terminator or len(keys) >= self.max_digits:
                memory.keys = ""
                self._meant(run, wish if isinstance(wish, Wish) else expected.keyed(keys), keys)
                return True
            memory.keys = keys
        if memory.keys:
            run.stop_listening()
            run.cancel_timer("silence")
            run.cancel_timer("utterance")
            run.start_timer("keys", BETWEEN_KEYS)
        return bool(memory.keys)

    # Answers

    def _meant(self, run: Run, meaning: Answer | Wish | None, said: str) -> None:
        memory = run.memory(Memory)
        memory.leaning = ""
        if isinstance(meaning, Wish):
            self._wished(run, meaning)
        elif meaning is None:
            self._again(run, "no_match")
        elif not memory.confirming:
            self._answered(run, meaning, said)
        elif meaning == "yes":
            self._accept(run, memory.answer, memory.said)
        else:
            self._denied(run, said)

    def _wished(self, run: Run, wish: Wish) -> None:
        if wish.go == REPEAT:
            run.drop_all("node")
            self._ask(run)
        else:
            run.jump(wish)

    def _answered(self, run: Run, answer: Answer, said: str) -> None:
        if self.confirm is None:
            self._accept(run, answer, said)
            return
        memory = run.memory(Memory)
        memory.confirming, memory.answer, memory.said = True, answer, said
        run.drop_all("node")
        self.enter(run)

    def _denied(self, run: Run, said: str) -> None:
        """ "No, billing" is an answer, to be confirmed in its turn."""
        memory = run.memory(Memory)
        denied, memory.confirming, memory.answer = memory.answer, False, None
        meant = self._answers(run).spoken(said) if self.expect == "choice" else None
        if isinstance(meant, str) and meant != denied:
            self._answered(run, meant, said)
        else:
            self._again(run, "no_match", excuse=False)

    def _accept(self, run: Run, answer: Answer, said: str) -> None:
        shown = said[:LONGEST_SHOWN]
        hidden = "*" * len(shown)
        run.result(value=hidden if self.sensitive else answer, said=hidden if self.sensitive else shown)
        if self.save_as:
            run.set(self.save_as, answer, sensitive=self.sensitive)
        run.leave(str(answer) if self.expect in ("choice", "yes_no") else "done")

    def _again(self, run: Run, why: Literal["no_input", "no_match"], *, excuse: bool = True) -> None:
        memory = run.memory(Memory)
        memory.attempt += 1
        memory.why = why if excuse else ""
        memory.leaning = memory.keys = ""
        run.take_keys()  # typed on, past what was wrong
        run.drop_all("node")
        if memory.attempt > self.retries:
            run.result(value=None, said="")
            run.leave(why)
        else:
            self._ask(run)

    # The document

    def problems(self, path: str) -> Iterable[Problem]:
        if (self.expect == "choice") != bool(self.choices):
            yield Problem(f"{path}.choices", "choices", "`choices` and `expect: choice` go together")
        if not self.input:
            yield Problem(f"{path}.input", "input", "at least one of speech and keys is needed")
        if self.min_digits > self.max_digits:
            yield Problem(f"{path}.min_digits", "digits", "min_digits is larger than max_digits")
        if self.expect == "text" and "speech" not in self.input:
            yield Problem(f"{path}.input", "input", "free text can only be spoken")
        keys: dict[str, str] = {}
        for name, choice in self.choices.items():
            yield from self._choice_problems(f"{path}.choices.{name[:64]}", name, choice, keys)
            keys.setdefault(choice.key, name)
        phrases = [(name, phrase) for name, choice in self.choices.items() for phrase in choice.phrases]
        for name, phrase, other, like in alike(phrases):
            where, same = f"{path}.choices.{name[:64]}", phrase.casefold() == like.casefold()
            if same:
                message = f"`{phrase}` already means `{other}`: heard, it would mean neither"
                yield Problem(where, "duplicate-phrase", message)
            else:
                message = f"`{phrase}` sounds like `{like}`, which means `{other}`"
                yield Problem(where, "sounds-alike", message, severity="warning")

    def _choice_problems(self, path: str, name: str, choice: Choice, keys: dict[str, str]) -> Iterable[Problem]:
        if name in RESERVED_CHOICES or name.startswith("@") or not 0 < len(name) <= 64:
            yield Problem(path, "reserved-choice", f"a choice cannot be called `{name[:64]}`")
        if choice.key and choice.key in keys:
            yield Problem(f"{path}.key", "duplicate-key", f"key {choice.key} already means `{keys[choice.key]}`")
        if not choice.key and not choice.phrases:
            yield Problem(path, "no-way-to-choose", "a choice needs phrases or a key")
