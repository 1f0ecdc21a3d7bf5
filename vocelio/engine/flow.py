"""A flow that can be run, and the version of it that calls run."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.voice import Voice

REPEAT_TARGET = "@repeat"
MAX_FLOW_DEPTH = 8  # flows within flows: each costs its variables in every checkpoint

Key = Literal["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#"]
Phrases = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=50)]


class GlobalCommand(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a caller may say or press at any question, whatever else is expected there, and where it leads.

    ``go`` names a node of the flow, or is ``@repeat``: the question again, and no attempt is lost. A question's own
    phrases and keys come first. Where free text, digits or a number are expected, only the phrase alone counts.
    """

    go: str
    phrases: Phrases = ()
    key: Key = ""


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow. ``max_seconds`` ends every call, however the nodes are wired.

    ``anywhere`` is heard at every question, also in the flows that this one calls:
    ``{"operator": {"phrases": ["operator"], "key": "0", "go": "desk"}, "again": {"key": "9", "go": "@repeat"}}``.
    ``variables`` are the values with which a call begins; ``layout`` is the designer's.
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
    """A flow as calls run it; ``id`` is made from its content, so that a checkpoint knows its own.

    ``subflows`` are the versions of other flows that its subflow nodes name, pinned when it was made.
    """

    id: str
    flow: Flow
    subflows: dict[str, "FlowVersion"] = {}


class ValidationContext(msgspec.Struct, frozen=True):
    """What is known of the place where a flow is to run; None is not known, and nothing is said about it.

    ``departments`` are those a transfer can name, ``voices`` the names each tier has. ``flows`` are the versions that
    subflow nodes can name, as ``name`` (the newest) or ``name@3``; ``name`` is the flow's own among them. ``callers``
    are flows that are being made and call this one, ``broken`` those that have errors.
    """

    departments: Collection[str] | None = None
    flows: Mapping[str, FlowVersion] | None = None
    voices: Mapping[str, Collection[str]] | None = None
    flow_name: str = ""
    calling_flows: Collection[str] = ()
    broken_flows: Collection[str] = ()


EMPTY_CONTEXT = ValidationContext()
