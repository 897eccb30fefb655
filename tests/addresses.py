"""Addresses by why they are not public, as the guard of what goes out has to know them."""

from typing import Final

FORBIDDEN: Final = {
    "this network": "0.0.0.0 0.1.2.3 ::",
    "loopback": "127.0.0.1 127.255.255.254 ::1",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 fc00::1 fd00:ec2::254 fec0::1",
    "carrier-grade NAT": "100.64.0.1 100.100.100.200 100.127.255.255",
    "link-local, and the metadata of clouds": "169.254.0.1 169.254.169.254 169.254.170.2 fe80::1 fe80::1%lo",
    "metadata of Azure and Oracle": "168.63.129.16 192.0.0.192",
    "IETF protocols": "192.0.0.1 192.0.0.9 192.0.0.170 2001:1::1 2001:20::1",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
    "benchmarks": "198.18.0.1 198.19.255.255 2001:2::1",
    "multicast": "224.0.0.1 239.255.255.255 ff02::1 ff0e::1",
    "reserved and broadcast": "240.0.0.1 255.255.255.255 4000::1 5f00::1",
    "discard-only": "100::1",
    "IPv4-mapped and -compatible": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::8.8.8.8",
    "NAT64": "64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::100.64.0.1 64:ff9b:1::8.8.8.8",
    "6to4": "2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 192.88.99.1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
}
PUBLIC: Final = (
    "8.8.8.8 1.1.1.1 172.15.255.255 172.32.0.1 100.63.0.1 2606:4700:4700::1111 2a00:1450:4001::1 64:ff9b::8.8.8.8"
)
