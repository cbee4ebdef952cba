"""Which network addresses a catalogue that nobody has vouched for may make this machine connect to.

The check is made on the address of the socket that is about to be opened, not on a name: the resolver's answer of a
moment ago, a redirect and an unusual way to write an address all end at the same place (server-side request forgery,
DNS rebinding; CWE-918).
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, which is where the connection ends."""


class RefusedAddress(Exception):
    """A host leads to an address that is not public. No `OSError`, so that no other address of the host is tried."""


def is_public(address: str) -> bool:
    """Whether an address is globally reachable: not loopback, private, link-local, shared, reserved or multicast.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) must carry a public one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return isinstance(ip, ipaddress.IPv6Address) and ip in _NAT64 and is_public(str(_last_32_bits(ip)))
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    carried = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()), _last_32_bits(ip) if ip in _NAT64 else None]
    return all(is_public(str(inner)) for inner in carried if inner is not None)


def public_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket for one answer of ``getaddrinfo``; aiohttp connects it to exactly that address.

    Raises:
        RefusedAddress: the address is not public.
    """
    family, kind, protocol, _, place = addr_info
    if not is_public(place[0]):
        raise RefusedAddress(place[0])
    return socket.socket(family=family, type=kind, proto=protocol)


def _last_32_bits(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
