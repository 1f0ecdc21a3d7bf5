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
from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.flow import REPEAT_TARGET, Key, Phrases
from vocelio.engine.nlu import answer_grammar
from vocelio.engine.nlu.answer_grammar import AnswerGrammar, AnswerType, AnswerValue
from vocelio.engine.nlu.words import find_similar_phrases
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import ActiveGlobalCommand, NodeContext
from vocelio.engine.templating.template import Template

MAX_UTTERANCE_SECONDS = 20.0  # seconds: a recogniser that never comes to an end is not waited for
INTER_DIGIT_TIMEOUT_SECONDS = 3.0  # seconds: how long a person takes to find the next digit
PARTIAL_STABLE_SECONDS = (
    0.25  # seconds that a partial result must stand: shorter than the silence that would end the utterance
)
MAX_RESULT_CHARACTERS = 500  # characters of what was said: results are in every checkpoint
RESERVED_CHOICES = ("no_input", "no_match", "else", "done")
NO_MATCH_PREFIX = "Sorry, I did not understand. "
KEYS_ONLY_SENTENCE = "Sorry, I cannot hear you at the moment. Please use the keys of your telephone."


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer: the phrases that mean it, and its key."""

    phrases: Phrases = ()
    key: Key = ""


class CollectMemory(msgspec.Struct, omit_defaults=True):
    """This visit: attempts made, keys of the answer so far, the answer being confirmed, what partials lean to.

    ``deaf``: in this attempt no recogniser can be had, which the caller does not know yet, or was told.
    """

    attempts: int = 0
    keys: str = ""
    last_failure: Literal["", "no_input", "no_match"] = ""
    confirming: bool = False
    answer: Any = None
    raw_input: str = ""
    candidate: str = ""
    partial_transcript: str = ""
    recognition_failure: Literal["", "pending", "announced"] = ""


class Collect(Node, frozen=True, kw_only=True):
    """What is expected decides the exits: the choices' names; ``yes`` and ``no``; else ``done``.

    ``confirm`` is asked after the answer, which it reads as ``{{ answer }}``; a no costs an attempt.
    ``timeout`` is seconds of silence, ``silence`` the seconds that end an utterance.
    """

    type: ClassVar[str] = "collect"
    waits: ClassVar[bool] = True
    result_names: ClassVar[tuple[str, ...]] = ("value", "said")
    local_names: ClassVar[dict[str, str]] = {"confirm": "answer"}

    prompt: Template
    expect: AnswerType
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

    def possible_exits(self) -> tuple[str, ...]:
        match self.expect:
            case "choice":
                found = tuple(self.choices)
            case "yes_no":
                found = ("yes", "no")
            case _:
                found = ("done",)
        return (*found, "no_input", "no_match")

    def assigned_variables(self) -> tuple[str, ...]:
        return (self.save_as,) if self.save_as else ()

    @property
    def input_is_sensitive(self) -> bool:
        return self.sensitive

    # Entering and asking

    def on_enter(self, context: NodeContext) -> None:
        if not (self.barge_in and self._consume_keys(context)):
            self._ask(context)

    def on_resume(self, context: NodeContext) -> None:
        """The question again; the attempts already made still count."""
        memory = context.memory(CollectMemory)
        memory.keys = memory.candidate = memory.last_failure = ""
        context.consume_keys()
        self._ask(context)

    def _ask(self, context: NodeContext) -> None:
        context.memory(CollectMemory).recognition_failure = ""
        if self.barge_in:
            self._start_listening(context)
            if context.caller_is_speaking and context.state.recognition_id:
                context.start_timer("utterance", MAX_UTTERANCE_SECONDS)
                return
        if not self._play_prompt(context, context.memory(CollectMemory)):
            self._on_prompt_ended(context)

    def _play_prompt(self, context: NodeContext, memory: CollectMemory) -> bool:
        if memory.confirming and self.confirm:
            shown = memory.answer.replace("_", " ") if self.expect == "choice" else memory.answer
            extra = {"answer": shown}
            return context.speak_template(self.confirm, extra=extra, barge_in=self.barge_in, sensitive=self.sensitive)
        if memory.attempts and self.reprompts:
            template = self.reprompts[min(memory.attempts, len(self.reprompts)) - 1]
            return context.speak_template(template, barge_in=self.barge_in)
        before = NO_MATCH_PREFIX if memory.last_failure == "no_match" else ""
        return context.speak_template(self.prompt, prefix=before, barge_in=self.barge_in)

    def _start_listening(self, context: NodeContext) -> None:
        if "speech" in self.input:
            expected = self._active_grammar(context)
            context.listen(
                expected.recognition_phrases(),
                phrases_repeat=expected.phrases_repeat,
                silence_seconds=self.silence,
                sensitive=self.sensitive,
            )

    def _active_grammar(self, context: NodeContext) -> AnswerGrammar:
        return (
            answer_grammar.yes_no_grammar(context.global_commands)
            if context.memory(CollectMemory).confirming
            else self.question_grammar(context.global_commands)
        )

    def question_grammar(self, global_commands: Mapping[str, ActiveGlobalCommand]) -> AnswerGrammar:
        """What the question itself expects, beside ``wishes``."""
        if self.expect == "yes_no":
            return answer_grammar.yes_no_grammar(global_commands)
        phrases = {name: choice.phrases for name, choice in self.choices.items()}
        keys: dict[str, str] = {choice.key: name for name, choice in self.choices.items() if choice.key}
        limits = (self.min_digits, self.max_digits, self.terminator)
        return AnswerGrammar(self.expect, phrases, keys, global_commands, *limits)

    # What happens meanwhile

    def on_event(self, context: NodeContext, event: events.AnyEvent) -> None:
        match event:
            case events.PromptFinished() | events.PromptInterrupted():
                self._on_prompt_ended(context)
            case events.SpeechStarted() if context.state.recognition_id and not context.is_playing_prompt:
                context.cancel_timer("silence")
                context.start_timer("utterance", MAX_UTTERANCE_SECONDS)
            case events.TranscriptReceived(final=True):
                context.cancel_timer("utterance")
                self._handle_meaning(context, self._active_grammar(context).match_speech(event.text), event.text)
            case events.TranscriptReceived():
                self._on_partial_transcript(context, event.text)
            case events.ListeningFailed():
                self._on_listening_failed(context)
            case events.KeyPressed():
                if context.memory(CollectMemory).recognition_failure == "announced" and "keys" in self.input:
                    context.cancel_pending("node")
                self._consume_keys(context)
            case events.TimerFired():
                self._on_timer_fired(context, event.id)
            case _:
                pass

    def _on_timer_fired(self, context: NodeContext, timer_name: str) -> None:
        memory = context.memory(CollectMemory)
        match timer_name:
            case "silence" if context.state.prompts:  # an operator's words
                context.start_timer("silence", self.timeout)
            case "silence":
                self._retry(context, "no_input")
            case "utterance":
                context.consume_utterance()
                self._retry(context, "no_match")
            case "keys":
                keys, memory.keys = memory.keys, ""
                self._handle_meaning(context, self._active_grammar(context).match_keys(keys), keys)
            case "partial_stable" if memory.candidate:
                context.consume_utterance()
                self._handle_meaning(
                    context, self._active_grammar(context).answer_named(memory.candidate), memory.partial_transcript
                )

    def _on_listening_failed(self, context: NodeContext) -> None:
        """Nobody can hear the caller: the keys are left. Who is already typing need not be told."""
        memory = context.memory(CollectMemory)
        context.cancel_timer("utterance")
        context.cancel_timer("partial_stable")
        memory.candidate = ""
        if memory.recognition_failure or memory.keys:
            return
        memory.recognition_failure = "pending"
        if not context.is_playing_prompt:
            self._announce_keys_only(context)

    def _announce_keys_only(self, context: NodeContext) -> None:
        context.memory(CollectMemory).recognition_failure = "announced"
        offer = self.keys_only_sentences(self._active_grammar(context))
        if offer:
            context.cancel_timer("silence")
            context.speak(" ".join(offer), barge_in=False)  # to the caller's voice, which nobody hears; a key ends it
        else:
            self._retry(context, "no_match")

    def keys_only_sentences(self, grammar: AnswerGrammar) -> tuple[str, ...]:
        """What is said, sentence by sentence, where only keys can answer; nothing if they cannot."""
        ways = grammar.key_instructions() if "keys" in self.input else None
        return () if ways is None else (KEYS_ONLY_SENTENCE, *ways)

    def _on_prompt_ended(self, context: NodeContext) -> None:
        if context.memory(CollectMemory).recognition_failure == "pending":
            self._announce_keys_only(context)
            return
        if not self.barge_in:
            if not context.memory(CollectMemory).recognition_failure:
                self._start_listening(context)
            if self._consume_keys(context):
                return
        if context.memory(CollectMemory).keys:
            return
        if context.caller_is_speaking and context.state.recognition_id:
            context.start_timer("utterance", MAX_UTTERANCE_SECONDS)
        else:
            context.start_timer("silence", self.timeout)

    def _on_partial_transcript(self, context: NodeContext, text: str) -> None:
        memory, leaning = context.memory(CollectMemory), self._active_grammar(context).match_partial(text) or ""
        if leaning != memory.candidate:
            context.cancel_timer("partial_stable")
            memory.candidate = leaning
            if leaning:
                context.start_timer("partial_stable", PARTIAL_STABLE_SECONDS)
        memory.partial_transcript = text if leaning else ""

    def _consume_keys(self, context: NodeContext) -> bool:
        """Whether keys were pressed that count for this question."""
        if "keys" not in self.input:
            context.consume_keys()
            return False
        if context.is_playing_prompt and not self.barge_in:
            return False
        expected = self._active_grammar(context)
        return (
            self._match_single_key(context, expected)
            if expected.accepts_single_key
            else self._collect_digits(context, expected)
        )

    def _match_single_key(self, context: NodeContext, grammar: AnswerGrammar) -> bool:
        while key := context.consume_keys(1):
            meaning = grammar.match_keys(key)
            if meaning is not None or grammar.expect != "text":
                self._handle_meaning(context, meaning, key)
                return True
        return False

    def _collect_digits(self, context: NodeContext, grammar: AnswerGrammar) -> bool:
        memory = context.memory(CollectMemory)
        while key := context.consume_keys(1):
            wish = grammar.match_keys(key) if not memory.keys and key != self.terminator else None
            keys = memory.keys + ("" if key == self.terminator else key)
            if isinstance(wish, ActiveGlobalCommand) or key == self.terminator or len(keys) >= self.max_digits:
                memory.keys = ""
                self._handle_meaning(
                    context, wish if isinstance(wish, ActiveGlobalCommand) else grammar.match_keys(keys), keys
                )
                return True
            memory.keys = keys
        if memory.keys:
            context.stop_listening()
            context.cancel_timer("silence")
            context.cancel_timer("utterance")
            context.start_timer("keys", INTER_DIGIT_TIMEOUT_SECONDS)
        return bool(memory.keys)

    # Answers

    def _handle_meaning(
        self, context: NodeContext, meaning: AnswerValue | ActiveGlobalCommand | None, raw_input: str
    ) -> None:
        memory = context.memory(CollectMemory)
        memory.candidate = ""
        if isinstance(meaning, ActiveGlobalCommand):
            self._run_global_command(context, meaning)
        elif meaning is None:
            self._retry(context, "no_match")
        elif not memory.confirming:
            self._confirm_or_accept(context, meaning, raw_input)
        elif meaning == "yes":
            self._accept(context, memory.answer, memory.raw_input)
        else:
            self._on_denied(context, raw_input)

    def _run_global_command(self, context: NodeContext, command: ActiveGlobalCommand) -> None:
        if command.target == REPEAT_TARGET:
            context.cancel_pending("node")
            self._ask(context)
        else:
            context.follow_command(command)

    def _confirm_or_accept(self, context: NodeContext, answer: AnswerValue, raw_input: str) -> None:
        if self.confirm is None:
            self._accept(context, answer, raw_input)
            return
        memory = context.memory(CollectMemory)
        memory.confirming, memory.answer, memory.raw_input = True, answer, raw_input
        context.cancel_pending("node")
        self.on_enter(context)

    def _on_denied(self, context: NodeContext, raw_input: str) -> None:
        """ "No, billing" is an answer, to be confirmed in its turn."""
        memory = context.memory(CollectMemory)
        denied, memory.confirming, memory.answer = memory.answer, False, None
        meant = self._active_grammar(context).match_speech(raw_input) if self.expect == "choice" else None
        if isinstance(meant, str) and meant != denied:
            self._confirm_or_accept(context, meant, raw_input)
        else:
            self._retry(context, "no_match", apologize=False)

    def _accept(self, context: NodeContext, answer: AnswerValue, raw_input: str) -> None:
        shown = raw_input[:MAX_RESULT_CHARACTERS]
        hidden = "*" * len(shown)
        context.set_result(value=hidden if self.sensitive else answer, said=hidden if self.sensitive else shown)
        if self.save_as:
            context.set_variable(self.save_as, answer, sensitive=self.sensitive)
        context.take_exit(str(answer) if self.expect in ("choice", "yes_no") else "done")

    def _retry(self, context: NodeContext, failure: Literal["no_input", "no_match"], *, apologize: bool = True) -> None:
        memory = context.memory(CollectMemory)
        memory.attempts += 1
        memory.last_failure = failure if apologize else ""
        memory.candidate = memory.keys = ""
        context.consume_keys()  # typed on, past what was wrong
        context.cancel_pending("node")
        if memory.attempts > self.retries:
            context.set_result(value=None, said="")
            context.take_exit(failure)
        else:
            self._ask(context)

    # The document

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if (self.expect == "choice") != bool(self.choices):
            yield Diagnostic(f"{path}.choices", "choices", "`choices` and `expect: choice` go together")
        if not self.input:
            yield Diagnostic(f"{path}.input", "input", "at least one of speech and keys is needed")
        if self.min_digits > self.max_digits:
            yield Diagnostic(f"{path}.min_digits", "digits", "min_digits is larger than max_digits")
        if self.expect == "text" and "speech" not in self.input:
            yield Diagnostic(f"{path}.input", "input", "free text can only be spoken")
        keys: dict[str, str] = {}
        for name, choice in self.choices.items():
            yield from self._choice_diagnostics(f"{path}.choices.{name[:64]}", name, choice, keys)
            keys.setdefault(choice.key, name)
        phrases = [(name, phrase) for name, choice in self.choices.items() for phrase in choice.phrases]
        for name, phrase, other, like in find_similar_phrases(phrases):
            where, same = f"{path}.choices.{name[:64]}", phrase.casefold() == like.casefold()
            if same:
                message = f"`{phrase}` already means `{other}`: heard, it would mean neither"
                yield Diagnostic(where, "duplicate-phrase", message)
            else:
                message = f"`{phrase}` sounds like `{like}`, which means `{other}`"
                yield Diagnostic(where, "sounds-alike", message, severity="warning")

    def _choice_diagnostics(
        self, path: str, name: str, choice: Choice, names_by_key: dict[str, str]
    ) -> Iterable[Diagnostic]:
        if name in RESERVED_CHOICES or name.startswith("@") or not 0 < len(name) <= 64:
            yield Diagnostic(path, "reserved-choice", f"a choice cannot be called `{name[:64]}`")
        if choice.key and choice.key in names_by_key:
            yield Diagnostic(
                f"{path}.key", "duplicate-key", f"key {choice.key} already means `{names_by_key[choice.key]}`"
            )
        if not choice.key and not choice.phrases:
            yield Diagnostic(path, "no-phrase-or-key", "a choice needs phrases or a key")
