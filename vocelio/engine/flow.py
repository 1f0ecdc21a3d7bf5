"""The flow document, the immutable version that calls run, and the context in which a flow is validated."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.voice import Voice

REPEAT_TARGET = "@repeat"
MAX_FLOW_DEPTH = 8  # nested subflows: the variables of each are in every checkpoint

Key = Literal["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#"]
Phrases = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=50)]


class GlobalCommand(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A phrase or key that is understood at every question, and where it leads.

    ``go`` is a node of the flow, or ``@repeat`` to ask the question again without using up an attempt. A question's own
    phrases and keys take precedence. Where free text, digits or a number are expected, the utterance must be exactly
    the phrase.
    """

    go: str
    phrases: Phrases = ()
    key: Key = ""


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow document.

    ``anywhere`` has the global commands, which are understood at every question, also in subflows:
    ``{"operator": {"phrases": ["operator"], "key": "0", "go": "desk"}, "again": {"key": "9", "go": "@repeat"}}``.
    ``variables`` are the initial values; ``max_seconds`` is the maximum duration of a call; ``layout`` belongs to the
    designer.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    start: str
    nodes: dict[str, Node]
    voice: Voice = Voice()
    variables: dict[str, Any] = {}
    anywhere: Annotated[dict[str, GlobalCommand], Meta(max_length=20)] = {}
    max_seconds: Annotated[int, Meta(ge=1, le=14_400)] = 3_600
    layout: dict[str, tuple[float, float]] = {}


class FlowVersion(msgspec.Struct, frozen=True):
    """An immutable version of a flow, as calls run it.

    ``id`` is a digest of its content, so a checkpoint can be matched with its version. ``subflows`` are the versions of
    the flows that its subflow nodes reference, pinned at promotion.
    """

    id: str
    flow: Flow
    subflows: dict[str, "FlowVersion"] = {}


class ValidationContext(msgspec.Struct, frozen=True):
    """The environment in which a flow is validated. None means unknown: references of that kind are not checked.

    ``departments`` are the valid transfer targets, ``voices`` the names of each tier's voices. ``flows`` are the
    versions that subflow nodes can reference, as ``name`` (the newest) or ``name@3``; ``flow_name`` is the flow's own
    name among them. ``calling_flows`` are flows under validation that call this one, ``broken_flows`` those with
    errors.
    """

    departments: Collection[str] | None = None
    flows: Mapping[str, FlowVersion] | None = None
    voices: Mapping[str, Collection[str]] | None = None
    flow_name: str = ""
    calling_flows: Collection[str] = ()
    broken_flows: Collection[str] = ()


EMPTY_CONTEXT = ValidationContext()
