"""Whose Azure it is."""

from typing import Any

import msgspec


class AzureAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A speech resource: its ``key``, and its ``region`` (such as ``westeurope``) or its ``host`` (``wss://...``).

    Raises ValueError unless it is exactly one of the two. The key is in no representation of it.
    """

    key: str
    region: str = ""
    host: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("an Azure account needs a key")
        if bool(self.region) == bool(self.host):
            raise ValueError("an Azure account has either a region or a host")

    def __repr__(self) -> str:
        return f"AzureAccount({self.region or self.host!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("region", self.region), ("host", self.host)]
