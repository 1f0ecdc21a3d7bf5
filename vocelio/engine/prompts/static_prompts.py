"""Static prompts: the sentences and sounds a flow can play that are known before any call, and their voices.

Of a template these are the sentences without variables, and those whose variables have a few known values; sensitive
input never is. Sentences beyond MAX_STATIC_PROMPTS or the limits of the analysis are left out and synthesized during
the call.
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

MAX_STATIC_PROMPTS = 2_000  # ten times the prompts of a large menu

ENGINE_MESSAGES = (RESUME_MESSAGE, MAX_DURATION_MESSAGE)
"""Texts that the engine itself may say at any node of any flow."""


class StaticPrompt(NamedTuple):
    """One sentence in one voice."""

    sentence: str
    voice: Voice


def referenced_sounds(version: FlowVersion) -> frozenset[str]:
    """Return the names of the stored sounds that a flow and its subflows play."""
    own = {node.audio for node in version.flow.nodes.values() if isinstance(node, Say) and node.audio}
    return frozenset(own.union(*map(referenced_sounds, version.subflows.values())))


def static_prompts(version: FlowVersion, tenant: TenantInfo, extra_texts: Iterable[str] = ()) -> list[StaticPrompt]:
    """Return the distinct static prompts, in about the order in which a call plays them.

    ``extra_texts`` are said in the flow's initial voice.
    """
    prompts = dict[StaticPrompt, None]()
    for text, voice in _iter_texts(version, tenant, extra_texts):
        for sentence in _static_sentences(text):
            prompts[StaticPrompt(sentence, voice)] = None
        if len(prompts) >= MAX_STATIC_PROMPTS:
            break
    return list(prompts)[:MAX_STATIC_PROMPTS]


def _static_sentences(text: str) -> Iterator[str]:
    """Leave out sentences with unknown parts. A long one is left out entirely, since its split is unknown, too."""
    for sentence in full_sentences(text):
        if UNKNOWN not in sentence:
            pieces = split_sentences(sentence) if len(sentence) > MAX_SENTENCE_CHARACTERS else [sentence]
            yield from (piece for piece in pieces if any(map(str.isalnum, piece)))


def _iter_texts(version: FlowVersion, tenant: TenantInfo, extra_texts: Iterable[str]) -> Iterator[tuple[str, Voice]]:
    analysis = FlowAnalysis(version, {"id": tenant.id, "name": tenant.name, **tenant.variables})
    voices = dict[Voice, None]()
    for result, analyzed in _iter_analyzed_flows(analysis, version):
        for name, state in result.node_states.items():
            texts = list(_node_texts(analyzed.flow.nodes[name], state))
            yield from texts
            voices |= dict.fromkeys((*(voice for _, voice in texts), *_sorted_voices(state.voices)))
    voices |= dict.fromkeys(
        voice for state in analysis.root_result.end_states.values() for voice in _sorted_voices(state.voices)
    )
    yield from ((text, version.flow.voice) for text in extra_texts)
    in_every_voice = (
        *ENGINE_MESSAGES,
        tenant.error_message or DEFAULT_ERROR_MESSAGE,
        *([GOODBYE_MESSAGE] if analysis.root_result.has_open_exit else []),
    )
    yield from ((text, voice) for voice in voices for text in in_every_voice)


def _iter_analyzed_flows(analysis: FlowAnalysis, version: FlowVersion) -> Iterator[tuple[AnalysisResult, FlowVersion]]:
    """Yield the results of the flow, and of its subflows for each state in which they are entered."""
    queue, visited = [(version, analysis.root_result)], set[tuple[str, object]]()
    while queue:
        current, result = queue.pop(0)
        yield result, current
        for name, state in result.node_states.items():
            node = current.flow.nodes[name]
            entry = analysis.subflow_entry(current, node, state) if isinstance(node, Subflow) else None
            if entry and (key := (entry[0].id, entry[1].cache_key)) not in visited:
                visited.add(key)
                queue.append((entry[0], analysis.analyze(*entry)))


# Texts of one node


def _node_texts(node: Node, state: AbstractState) -> Iterator[tuple[str, Voice]]:
    voices = _sorted_voices(state.voices)
    match node:
        case Say(text=Template() as text):
            node_voices = (node.voice,) if node.voice else voices
            yield from _in_each_voice(expand_template(text, state.known_values), node_voices)
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
    """The possible values of ``{{ answer }}``, as they are spoken."""
    if node.sensitive or node.expect not in ("choice", "yes_no"):
        return {}
    answers = node.choices if node.expect == "choice" else ("yes", "no")
    return {("answer",): frozenset(msgspec.json.encode(answer.replace("_", " ")).decode() for answer in answers)}


def _in_each_voice(texts: Iterable[str], voices: Iterable[Voice]) -> Iterator[tuple[str, Voice]]:
    voices = tuple(voices)
    return ((text, voice) for text in texts for voice in voices)


def _sorted_voices(voices: frozenset[Voice]) -> list[Voice]:
    return sorted(voices, key=msgspec.json.encode)
