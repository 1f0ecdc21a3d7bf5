"""collect: ask the caller a question and wait for a spoken or keyed answer.

An attempt is a prompt and then a wait for input: without any it fails as ``no_input``, with unintelligible input as
``no_match``. Further attempts use the next re-prompt until ``retries`` are used up. The silence timer starts when the
prompt has been played. A caller who barges in, or already speaks, is listened to instead of prompted.

A partial transcript that already matches is accepted once it has been stable for ``PARTIAL_STABLE_SECONDS``, and only
if no further word could change its meaning: recognizers revise their partial results, mostly the last word.

A ``sensitive`` answer is stored in the node's private memory and in the private variable ``save_as`` only. Results and
events show asterisks; everything rendered from the variable is sensitive, too.
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
from vocelio.engine.nlu.dtmf_collector import INTER_DIGIT_TIMEOUT_SECONDS, DtmfCollector
from vocelio.engine.nlu.words import find_similar_phrases
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import ActiveGlobalCommand, NodeContext
from vocelio.engine.templating.template import Template

MAX_UTTERANCE_SECONDS = 20.0  # longer recognitions are given up
PARTIAL_STABLE_SECONDS = 0.25  # shorter than the silence that would end the utterance
MAX_RESULT_CHARACTERS = 500  # of the caller's input: results are in every checkpoint
RESERVED_CHOICES = ("no_input", "no_match", "else", "done")
NO_MATCH_PREFIX = "Sorry, I did not understand. "
KEYS_ONLY_SENTENCE = "Sorry, I cannot hear you at the moment. Please use the keys of your telephone."


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer: its phrases and its key."""

    phrases: Phrases = ()
    key: Key = ""


class CollectMemory(msgspec.Struct, omit_defaults=True):
    """State of one visit.

    ``keys`` are the digits collected so far; ``answer`` and ``raw_input`` are being confirmed; ``candidate`` is what
    ``partial_transcript`` matches; ``recognition_failure``: recognition is unavailable in this attempt, and the
    announcement to the caller is pending or was made.
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
    """Asks a question. ``expect`` determines the exits: the choices' names; ``yes`` and ``no``; otherwise ``done``.

    ``confirm`` asks to confirm the answer, which it reads as ``{{ answer }}``; "no" uses up an attempt. ``timeout`` is
    the seconds of silence that fail an attempt, ``silence`` those that end an utterance.
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
                answers = tuple(self.choices)
            case "yes_no":
                answers = ("yes", "no")
            case _:
                answers = ("done",)
        return (*answers, "no_input", "no_match")

    def assigned_variables(self) -> tuple[str, ...]:
        return (self.save_as,) if self.save_as else ()

    @property
    def input_is_sensitive(self) -> bool:
        return self.sensitive

    # Attempts

    def on_enter(self, context: NodeContext) -> None:
        if not (self.barge_in and self._consume_keys(context)):
            self._ask(context)

    def on_resume(self, context: NodeContext) -> None:
        """Ask again; earlier attempts still count."""
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
            answer = memory.answer.replace("_", " ") if self.expect == "choice" else memory.answer
            extra = {"answer": answer}
            return context.speak_template(self.confirm, extra=extra, barge_in=self.barge_in, sensitive=self.sensitive)
        if memory.attempts and self.reprompts:
            template = self.reprompts[min(memory.attempts, len(self.reprompts)) - 1]
            return context.speak_template(template, barge_in=self.barge_in)
        prefix = NO_MATCH_PREFIX if memory.last_failure == "no_match" else ""
        return context.speak_template(self.prompt, prefix=prefix, barge_in=self.barge_in)

    def _start_listening(self, context: NodeContext) -> None:
        if "speech" in self.input:
            grammar = self._active_grammar(context)
            context.listen(
                grammar.recognition_phrases(),
                phrases_repeat=grammar.phrases_repeat,
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
        """Return the grammar of the question and the global commands, without confirmation."""
        if self.expect == "yes_no":
            return answer_grammar.yes_no_grammar(global_commands)
        phrases = {name: choice.phrases for name, choice in self.choices.items()}
        keys: dict[str, str] = {choice.key: name for name, choice in self.choices.items() if choice.key}
        limits = (self.min_digits, self.max_digits, self.terminator)
        return AnswerGrammar(self.expect, phrases, keys, global_commands, *limits)

    # Events

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
            case "silence" if context.state.prompts:  # an operator's prompt is playing
                context.start_timer("silence", self.timeout)
            case "silence":
                self._retry(context, "no_input")
            case "utterance":
                context.consume_utterance()
                self._retry(context, "no_match")
            case "keys":
                dtmf = DtmfCollector(self._active_grammar(context), memory.keys).on_timeout()
                memory.keys = ""
                self._handle_meaning(context, dtmf.meaning, dtmf.keys)
            case "partial_stable" if memory.candidate:
                context.consume_utterance()
                self._handle_meaning(
                    context, self._active_grammar(context).answer_named(memory.candidate), memory.partial_transcript
                )

    def _on_listening_failed(self, context: NodeContext) -> None:
        """Continue with keys only. The caller is told, unless they are already pressing keys."""
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
        sentences = self.keys_only_sentences(self._active_grammar(context))
        if sentences:
            context.cancel_timer("silence")
            context.speak(" ".join(sentences), barge_in=False)  # speech is not recognized; a key stops the prompt
        else:
            self._retry(context, "no_match")

    def keys_only_sentences(self, grammar: AnswerGrammar) -> tuple[str, ...]:
        """Return the sentences that announce keys-only input; none if keys cannot answer."""
        instructions = grammar.key_instructions() if "keys" in self.input else None
        return () if instructions is None else (KEYS_ONLY_SENTENCE, *instructions)

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
        memory, candidate = context.memory(CollectMemory), self._active_grammar(context).match_partial(text) or ""
        if candidate != memory.candidate:
            context.cancel_timer("partial_stable")
            memory.candidate = candidate
            if candidate:
                context.start_timer("partial_stable", PARTIAL_STABLE_SECONDS)
        memory.partial_transcript = text if candidate else ""

    def _consume_keys(self, context: NodeContext) -> bool:
        """Feed the buffered keys to the DTMF collector. Returns True if one of them counts for this question."""
        if "keys" not in self.input:
            context.consume_keys()
            return False
        if context.is_playing_prompt and not self.barge_in:
            return False
        memory = context.memory(CollectMemory)
        collector = DtmfCollector(self._active_grammar(context), memory.keys)
        while key := context.consume_keys(1):
            dtmf = collector.feed(key)
            if dtmf is not None:
                memory.keys = ""
                self._handle_meaning(context, dtmf.meaning, dtmf.keys)
                return True
        memory.keys = collector.digits
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
        """Ask again, unless the denial contains another answer ("no, billing"), which is confirmed in turn."""
        memory = context.memory(CollectMemory)
        denied, memory.confirming, memory.answer = memory.answer, False, None
        other = self._active_grammar(context).match_speech(raw_input) if self.expect == "choice" else None
        if isinstance(other, str) and other != denied:
            self._confirm_or_accept(context, other, raw_input)
        else:
            self._retry(context, "no_match", apologize=False)

    def _accept(self, context: NodeContext, answer: AnswerValue, raw_input: str) -> None:
        said = raw_input[:MAX_RESULT_CHARACTERS]
        masked = "*" * len(said)
        context.set_result(value=masked if self.sensitive else answer, said=masked if self.sensitive else said)
        if self.save_as:
            context.set_variable(self.save_as, answer, sensitive=self.sensitive)
        context.take_exit(str(answer) if self.expect in ("choice", "yes_no") else "done")

    def _retry(self, context: NodeContext, failure: Literal["no_input", "no_match"], *, apologize: bool = True) -> None:
        memory = context.memory(CollectMemory)
        memory.attempts += 1
        memory.last_failure = failure if apologize else ""
        memory.candidate = memory.keys = ""
        context.consume_keys()  # typed ahead, for an answer that was wrong
        context.cancel_pending("node")
        if memory.attempts > self.retries:
            context.set_result(value=None, said="")
            context.take_exit(failure)
        else:
            self._ask(context)

    # Validation

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if (self.expect == "choice") != bool(self.choices):
            yield Diagnostic(f"{path}.choices", "choices", "`choices` and `expect: choice` go together")
        if not self.input:
            yield Diagnostic(f"{path}.input", "input", "at least one of speech and keys is required")
        if self.min_digits > self.max_digits:
            yield Diagnostic(f"{path}.min_digits", "digits", "min_digits is larger than max_digits")
        if self.expect == "text" and "speech" not in self.input:
            yield Diagnostic(f"{path}.input", "input", "free text can only be spoken")
        keys: dict[str, str] = {}
        for name, choice in self.choices.items():
            yield from self._choice_diagnostics(f"{path}.choices.{name[:64]}", name, choice, keys)
            keys.setdefault(choice.key, name)
        phrases = [(name, phrase) for name, choice in self.choices.items() for phrase in choice.phrases]
        for name, phrase, other_name, other_phrase in find_similar_phrases(phrases):
            choice_path = f"{path}.choices.{name[:64]}"
            if phrase.casefold() == other_phrase.casefold():
                message = f"`{phrase}` already means `{other_name}`: it would match neither"
                yield Diagnostic(choice_path, "duplicate-phrase", message)
            else:
                message = f"`{phrase}` sounds like `{other_phrase}`, which means `{other_name}`"
                yield Diagnostic(choice_path, "sounds-alike", message, severity="warning")

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
