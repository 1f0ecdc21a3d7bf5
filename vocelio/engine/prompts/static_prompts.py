"""Which stored sounds a flow plays, with the flows that it calls.

What the calls of a flow can be known to say, and in which voices: the sentences that can be rendered beforehand.

Of a text with variables these are the sentences without any, and those whose variables have a few known values. What
a caller enters in confidence is none of them. More than MAX_UTTERANCES, or than is foreseen, is simply not here: a
call has it spoken when it comes to it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from vocelio.engine.call_info import TenantFacts
from vocelio.engine.flow import FlowVersion
from vocelio.engine.nlu.answer_grammar import yes_no
from vocelio.engine.node import Node
from vocelio.engine.nodes.collect import NOT_UNDERSTOOD, Collect
from vocelio.engine.nodes.hangup import Hangup
from vocelio.engine.nodes.record import Record
from vocelio.engine.nodes.say import Say
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.prompts.dataflow import Facts, Foresight, Seen
from vocelio.engine.prompts.expansion import MARK, Known, variants
from vocelio.engine.prompts.sentences import MAX_SENTENCE, sentences, split
from vocelio.engine.session import APOLOGY, GOODBYE, LETS_GO_ON, TOO_LONG
from vocelio.engine.templating.template import Template
from vocelio.engine.voice import Voice


def sounds(version: FlowVersion) -> frozenset[str]:
    """Their names."""
    own = {node.audio for node in version.flow.nodes.values() if isinstance(node, Say) and node.audio}
    return frozenset(own.union(*map(sounds, version.subflows.values())))


MAX_UTTERANCES = 2_000  # ten times what a large menu says

ALWAYS = (LETS_GO_ON, TOO_LONG)
"""What the engine itself may say at any node of any flow."""


class Utterance(NamedTuple):
    """One sentence in one voice."""

    sentence: str
    voice: Voice


def utterable(version: FlowVersion, tenant: TenantFacts, hold: Iterable[str] = ()) -> list[Utterance]:
    """Each once, in about the order in which calls come to them.

    ``hold`` are texts that are said in the flow's own voice, whatever the flow does.
    """
    found = dict[Utterance, None]()
    for text, voice in _spoken(version, tenant, hold):
        for sentence in _known_sentences(text):
            found[Utterance(sentence, voice)] = None
        if len(found) >= MAX_UTTERANCES:
            break
    return list(found)[:MAX_UTTERANCES]


def _known_sentences(text: str) -> Iterator[str]:
    """A long sentence with something unknown is left out whole: where it would be cut is not known either."""
    for sentence in sentences(text):
        if MARK not in sentence:
            pieces = split(sentence) if len(sentence) > MAX_SENTENCE else [sentence]
            yield from (piece for piece in pieces if any(map(str.isalnum, piece)))


def _spoken(version: FlowVersion, tenant: TenantFacts, hold: Iterable[str]) -> Iterator[tuple[str, Voice]]:
    foresight = Foresight(version, {"id": tenant.id, "name": tenant.name, **tenant.variables})
    voices = dict[Voice, None]()
    for seen, in_flow in _flows(foresight, version):
        for name, facts in seen.at.items():
            spoken = list(_by_node(in_flow.flow.nodes[name], facts))
            yield from spoken
            voices |= dict.fromkeys((*(voice for _, voice in spoken), *_ordered(facts.voices)))
    voices |= dict.fromkeys(voice for facts in foresight.root.ends.values() for voice in _ordered(facts.voices))
    yield from ((text, version.flow.voice) for text in hold)
    always = (*ALWAYS, tenant.apology or APOLOGY, *([GOODBYE] if foresight.root.unled else []))
    yield from ((text, voice) for voice in voices for text in always)


def _flows(foresight: Foresight, version: FlowVersion) -> Iterator[tuple[Seen, FlowVersion]]:
    """What was foreseen of the flow, and of each that it calls, however it is entered."""
    ahead, entered = [(version, foresight.root)], set[tuple[str, object]]()
    while ahead:
        within, seen = ahead.pop(0)
        yield seen, within
        for name, facts in seen.at.items():
            node = within.flow.nodes[name]
            called = foresight.within(within, node, facts) if isinstance(node, Subflow) else None
            if called and (key := (called[0].id, called[1].key)) not in entered:
                entered.add(key)
                ahead.append((called[0], foresight.explored(*called)))


# What a node says


def _by_node(node: Node, facts: Facts) -> Iterator[tuple[str, Voice]]:
    voices = _ordered(facts.voices)
    match node:
        case Say(text=Template() as text):
            own = (node.voice,) if node.voice else voices
            yield from _each(variants(text, facts.values), own)
        case Collect():
            yield from _each(_by_collect(node, facts.values), voices)
        case Record(prompt=Template() as text) | Hangup(text=Template() as text):
            yield from _each(variants(text, facts.values), voices)
        case _:
            pass


def _by_collect(node: Collect, known: Known) -> Iterator[str]:
    yield from variants(node.prompt, known)
    for template in node.reprompts:
        yield from variants(template, known)
    if node.retries and not node.reprompts:
        yield NOT_UNDERSTOOD
    if node.confirm:
        yield from variants(node.confirm, {**known, **_answers(node)})
    if "speech" in node.input:
        yield " ".join(node.offer(node.answers({})))
        if node.confirm:
            yield " ".join(node.offer(yes_no({})))


def _answers(node: Collect) -> Mapping[tuple[str, ...], frozenset[str]]:
    """What ``{{ answer }}`` can be, as it is said."""
    if node.sensitive or node.expect not in ("choice", "yes_no"):
        return {}
    shown = node.choices if node.expect == "choice" else ("yes", "no")
    said = (msgspec.json.encode(answer.replace("_", " ")).decode() for answer in shown)
    return {("answer",): frozenset(said)}


def _each(texts: Iterable[str], voices: Iterable[Voice]) -> Iterator[tuple[str, Voice]]:
    voices = tuple(voices)
    return ((text, voice) for text in texts for voice in voices)


def _ordered(voices: frozenset[Voice]) -> list[Voice]:
    return sorted(voices, key=msgspec.json.encode)
