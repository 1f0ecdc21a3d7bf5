"""Which stored sounds a flow plays, with the flows that it calls."""

from vocelio.engine.flow import FlowVersion
from vocelio.engine.nodes.say import Say


def sounds(version: FlowVersion) -> frozenset[str]:
    """Their names."""
    own = {node.audio for node in version.flow.nodes.values() if isinstance(node, Say) and node.audio}
    return frozenset(own.union(*map(sounds, version.subflows.values())))
