"""Which stored sounds a flow plays, with the flows that it calls.

What the calls of a flow can be known to say, and in which voices: the sentences that can be rendered beforehand.

Of a text with variables these are the sentences without any, and those whose variables have a few known values. What
a caller enters in confidence is none of them. More than MAX_UTTERANCES, or than is foreseen, is simply not here: a
call has it spoken when it comes to it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from vocelio.engine.call_info import TenantInfo
from vocelio.engine.flow import FlowVersion
from vocelio.engine.nlu.answer_grammar import yes_no_grammar
from vocelio.engine.node import Node
from vocelio.engine.nodes.collect import NO_MATCH_PREFIX, Collect
from vocelio.engine.nodes.hangup import Hangup
from vocelio.engine.nodes.record import Record
from vocelio.engine.nodes.say import Say
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.prompts.dataflow import AbstractState, AnalysisResult, FlowAnalysis
from vocelio.engine.prompts.expansion import UNKNOWN, KnownValues, expand_template
from vocelio.engine.prompts.sentences import MAX_SENTENCE_CHARACTERS, full_sentences, split_sentences
from vocelio.engine.session import DEFAULT_ERROR_MESSAGE, GOODBYE_MESSAGE, MAX_DURATION_MESSAGE, RESUME_MESSAGE
from vocelio.engine.templating.template import Template
from vocelio.engine.voice import Voice


def referenced_sounds(version: FlowVersion) -> frozenset[str]:
    """Their names."""
    own = {node.audio for node in version.flow.nodes.values() if isinstance(node, Say) and node.audio}
    return frozenset(own.union(*map(referenced_sounds, version.subflows.values())))


MAX_STATIC_PROMPTS = 2_000  # ten times what a large menu says

ENGINE_MESSAGES = (RESUME_MESSAGE, MAX_DURATION_MESSAGE)
"""What the engine itself may say at any node of any flow."""


class StaticPrompt(NamedTuple):
    """One sentence in one voice."""

    sentence: str
    voice: Voice


def static_prompts(version: FlowVersion, tenant: TenantInfo, extra_texts: Iterable[str] = ()) -> list[StaticPrompt]:
    """Each once, in about the order in which calls come to them.

    ``hold`` are texts that are said in the flow's own voice, whatever the flow does.
    """
    found = dict[StaticPrompt, None]()
    for text, voice in _iter_texts(version, tenant, extra_texts):
        for sentence in _static_sentences(text):
            found[StaticPrompt(sentence, voice)] = None
        if len(found) >= MAX_STATIC_PROMPTS:
            break
    return list(found)[:MAX_STATIC_PROMPTS]


def _static_sentences(text: str) -> Iterator[str]:
    """A long sentence with something unknown is left out whole: where it would be cut is not known either."""
    for sentence in full_sentences(text):
        if UNKNOWN not in sentence:
            pieces = split_sentences(sentence) if len(sentence) > MAX_SENTENCE_CHARACTERS else [sentence]
            yield from (piece for piece in pieces if any(map(str.isalnum, piece)))


def _iter_texts(version: FlowVersion, tenant: TenantInfo, extra_texts: Iterable[str]) -> Iterator[tuple[str, Voice]]:
    foresight = FlowAnalysis(version, {"id": tenant.id, "name": tenant.name, **tenant.variables})
    voices = dict[Voice, None]()
    for seen, in_flow in _iter_analyzed_flows(foresight, version):
        for name, facts in seen.node_states.items():
            spoken = list(_node_texts(in_flow.flow.nodes[name], facts))
            yield from spoken
            voices |= dict.fromkeys((*(voice for _, voice in spoken), *_sorted_voices(facts.voices)))
    voices |= dict.fromkeys(
        voice for facts in foresight.root_result.end_states.values() for voice in _sorted_voices(facts.voices)
    )
    yield from ((text, version.flow.voice) for text in extra_texts)
    always = (
        *ENGINE_MESSAGES,
        tenant.error_message or DEFAULT_ERROR_MESSAGE,
        *([GOODBYE_MESSAGE] if foresight.root_result.has_open_exit else []),
    )
    yield from ((text, voice) for voice in voices for text in always)


def _iter_analyzed_flows(analysis: FlowAnalysis, version: FlowVersion) -> Iterator[tuple[AnalysisResult, FlowVersion]]:
    """What was foreseen of the flow, and of each that it calls, however it is entered."""
    ahead, entered = [(version, analysis.root_result)], set[tuple[str, object]]()
    while ahead:
        within, seen = ahead.pop(0)
        yield seen, within
        for name, facts in seen.node_states.items():
            node = within.flow.nodes[name]
            called = analysis.subflow_entry(within, node, facts) if isinstance(node, Subflow) else None
            if called and (key := (called[0].id, called[1].cache_key)) not in entered:
                entered.add(key)
                ahead.append((called[0], analysis.analyze(*called)))


# What a node says


def _node_texts(node: Node, state: AbstractState) -> Iterator[tuple[str, Voice]]:
    voices = _sorted_voices(state.voices)
    match node:
        case Say(text=Template() as text):
            own = (node.voice,) if node.voice else voices
            yield from _in_each_voice(expand_template(text, state.known_values), own)
        case Collect():
            yield from _in_each_voice(_collect_texts(node, state.known_values), voices)
        case Record(prompt=Template() as text) | Hangup(text=Template() as text):
            yield from _in_each_voice(expand_template(text, state.known_values), voices)
        case _:
            pass


def _collect_texts(node: Collect, known_values: KnownValues) -> Iterator[str]:
    yield from expand_template(node.prompt, known_values)
    for template in node.reprompts:
        yield from expand_template(template, known_values)
    if node.retries and not node.reprompts:
        yield NO_MATCH_PREFIX
    if node.confirm:
        yield from expand_template(node.confirm, {**known_values, **_known_answers(node)})
    if "speech" in node.input:
        yield " ".join(node.keys_only_sentences(node.question_grammar({})))
        if node.confirm:
            yield " ".join(node.keys_only_sentences(yes_no_grammar({})))


def _known_answers(node: Collect) -> Mapping[tuple[str, ...], frozenset[str]]:
    """What ``{{ answer }}`` can be, as it is said."""
    if node.sensitive or node.expect not in ("choice", "yes_no"):
        return {}
    shown = node.choices if node.expect == "choice" else ("yes", "no")
    said = (msgspec.json.encode(answer.replace("_", " ")).decode() for answer in shown)
    return {("answer",): frozenset(said)}


def _in_each_voice(texts: Iterable[str], voices: Iterable[Voice]) -> Iterator[tuple[str, Voice]]:
    voices = tuple(voices)
    return ((text, voice) for text in texts for voice in voices)


def _sorted_voices(voices: frozenset[Voice]) -> list[Voice]:
    return sorted(voices, key=msgspec.json.encode)
