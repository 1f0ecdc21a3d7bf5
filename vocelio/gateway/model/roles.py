"""Roles of API keys and the permissions that they include."""

from typing import Literal

Role = Literal["viewer", "operator", "designer", "admin", "platform"]
Permission = Literal["read", "operate", "design", "administer", "platform"]

#                                 sees        controls calls,  flows, promotion,   numbers, keys, rates,  all tenants,
#                                 everything  pauses flows     sounds, secrets     settings, audit log    their defaults
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "designer": frozenset({"read", "design"}),
    "admin": frozenset({"read", "operate", "design", "administer"}),
    "platform": frozenset({"read", "operate", "design", "administer", "platform"}),
}


def includes(role: Role, other: Role) -> bool:
    """Whether ``role`` has every permission of ``other``."""
    return PERMISSIONS[role] >= PERMISSIONS[other]
