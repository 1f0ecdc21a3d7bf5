"""Networks that no request of a flow may reach: a table of our own, since Python's ``is_global`` differs by version.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries as of October 2025, in full: entries that IANA calls
globally reachable (mostly anycast of infrastructure) are no flow's business either; the IANA registry of multicast; the
cloud providers' documentation for addresses that exist only inside their networks. IPv6 outside of 2000::/3 is refused
anyway.
"""

from ipaddress import IPv4Network, IPv6Network

SPECIAL_IPV4 = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private use (RFC 1918)",
    "100.64.0.0/10": "shared address space of carriers (RFC 6598), and Alibaba Cloud's metadata, 100.100.100.200",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link local (RFC 3927), and the metadata of most clouds, 169.254.169.254",
    "172.16.0.0/12": "private use (RFC 1918)",
    "192.0.0.0/24": "IETF protocol assignments (RFC 6890), and Oracle Cloud's metadata, 192.0.0.192",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.31.196.0/24": "AS112-v4 (RFC 7535)",
    "192.52.193.0/24": "AMT (RFC 7450)",
    "192.88.99.0/24": "6to4 relay anycast, deprecated (RFC 7526)",
    "192.168.0.0/16": "private use (RFC 1918)",
    "192.175.48.0/24": "AS112 direct delegation (RFC 7534)",
    "198.18.0.0/15": "benchmarking (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved (RFC 1112), with limited broadcast (RFC 919)",
}
SPECIAL_IPV6 = {
    "::/128": "unspecified (RFC 4291)",
    "::1/128": "loopback (RFC 4291)",
    "::/96": "IPv4-compatible, deprecated (RFC 4291)",
    "64:ff9b:1::/48": "local NAT64 (RFC 8215)",
    "100::/64": "discard-only (RFC 6666)",
    "100:0:0:1::/64": "dummy prefix (RFC 9780)",
    "2001:1::/32": "IETF anycast: PCP, TURN, DNS-SD (RFC 7723, 8155, 9665)",
    "2001:2::/48": "benchmarking (RFC 5180)",
    "2001:3::/32": "AMT (RFC 7450)",
    "2001:4:112::/48": "AS112-v6 (RFC 7535)",
    "2001:10::/28": "ORCHID, deprecated (RFC 4843)",
    "2001:20::/28": "ORCHIDv2 (RFC 7343)",
    "2001:30::/28": "drone remote ID (RFC 9374)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2620:4f:8000::/48": "AS112 direct delegation (RFC 7534)",
    "3fff::/20": "documentation (RFC 9637)",
    "5f00::/16": "SRv6 SIDs (RFC 9602)",
    "fc00::/7": "unique local (RFC 4193), with metadata of AWS, fd00:ec2::254, and Google Cloud, fd20:ce::254",
    "fe80::/10": "link local (RFC 4291)",
    "fec0::/10": "site local, deprecated (RFC 3879)",
    "ff00::/8": "multicast (RFC 4291)",
}
IETF_IPV6 = IPv6Network("2001::/23")  # RFC 2928: refused but for Teredo within it, whose embedded addresses count
TEREDO = IPv6Network("2001::/32")  # RFC 4380
CLOUD_FABRIC = {
    "168.63.129.16/32": "Azure: WireServer, DNS and health probes",
    "161.26.0.0/16": "IBM Cloud: services of the private network",
    "166.8.0.0/14": "IBM Cloud: service endpoints of the private network",
}

RESERVED_IPV4 = tuple(map(IPv4Network, (*SPECIAL_IPV4, *CLOUD_FABRIC)))
RESERVED_IPV6 = tuple(map(IPv6Network, SPECIAL_IPV6))
