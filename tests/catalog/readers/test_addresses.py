from __future__ import annotations

import socket

import pytest

from moon.catalog.readers.addresses import RefusedAddress, is_public, public_socket


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.9.9.9 0.0.0.0 10.0.0.1 172.16.5.4 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.1 192.0.2.1
    198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1
    ff02::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 2002:7f00:1:: 2002:a00:1:: 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    2001:0:4136:e378:8000:63bf:80ff:fffe""".split(),
)
def test_addresses_that_are_not_public_are_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_told(address: str) -> None:
    assert is_public(address)


def test_a_socket_is_opened_to_a_public_address_alone() -> None:
    answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    public_socket((*answer, ("8.8.8.8", 80))).close()
    with pytest.raises(RefusedAddress, match=r"10\.0\.0\.8"):
        public_socket((*answer, ("10.0.0.8", 80)))
