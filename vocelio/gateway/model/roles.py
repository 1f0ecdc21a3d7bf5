"""What the role of a key allows."""

from typing import Literal

# TODO

Role = Literal["viewer", "operator", "designer", "admin", "platform"]
Permission = Literal["read", "operate", "design", "administer", "platform"]

#                                 sees        controls calls,  flows, promotion,   numbers, keys, rates,  all tenants,
#                                 everything  pauses flows     sounds, secrets     settings, the trail    their defaults
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "designer": frozenset({"read", "design"}),
    "admin": frozenset({"read", "operate", "design", "administer"}),
    "platform": frozenset({"read", "operate", "design", "administer", "platform"}),
}


def includes(role: Role, other: Role) -> bool:
    """Whether ``role`` allows all that ``other`` allows."""
    return PERMISSIONS[role] >= PERMISSIONS[other]
