"""Annotated types shared by flow documents, tenant settings and the API."""

from typing import Annotated

from msgspec import Meta

from vocelio.engine.call_info import E164_PATTERN

PATTERN_END = r"$(?!\n)"  # in Python, `$` alone also matches before a final newline


PhoneNumber = Annotated[
    str, Meta(pattern=f"^{E164_PATTERN.pattern}{PATTERN_END}", description="a telephone number such as +13072249663")
]


TenantId = Annotated[
    str, Meta(pattern=f"^[a-z0-9-]{{1,40}}{PATTERN_END}", description="a tenant's name such as harbour-tools")
]


ResourceName = Annotated[
    str, Meta(pattern=f"^[a-z0-9][a-z0-9_-]{{0,63}}{PATTERN_END}", description="a name such as front-desk")
]


TimeZone = Annotated[
    str, Meta(pattern=f"^[A-Za-z0-9_+/-]{{0,64}}{PATTERN_END}", description="a time zone such as Europe/Berlin")
]


CallerMessage = Annotated[str, Meta(min_length=1, max_length=1_000)]


CountryCodes = Annotated[
    tuple[
        Annotated[str, Meta(pattern=f"^[A-Z]{{2}}{PATTERN_END}", description="a country such as US (ISO 3166)")], ...
    ],
    Meta(max_length=250),
]


NumberPrefixes = Annotated[
    tuple[
        Annotated[str, Meta(pattern=rf"^\+[1-9][0-9]{{0,14}}{PATTERN_END}", description="how numbers begin: +44207")],
        ...,
    ],
    Meta(max_length=1_000),
]


SipHosts = Annotated[
    tuple[
        Annotated[
            str,
            Meta(pattern=f"^[a-z0-9][a-z0-9.-]{{0,252}}{PATTERN_END}", description="a host such as pbx.example.com"),
        ],
        ...,
    ],
    Meta(max_length=100),
]


HourlyLimit = Annotated[int, Meta(ge=0, le=100_000)]


ConcurrencyLimit = Annotated[int, Meta(ge=0, le=10_000)]


TransferSeconds = Annotated[int, Meta(ge=60, le=14_400)]
