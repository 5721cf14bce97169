"""Routers and large packets: path MTU discovery, ICMP errors, IPv6 fragments."""

import socket
import struct

from checksum import checksum
from ends import C6, S4, S6, curl, nginx, noise
from link import Refuse
from pcapng import FROM_SERVER
from registry import scenario

ROUTER_4, ROUTER_6 = "10.88.0.254", "fd88::fe"


def icmp(packet, kind, code, field):
    """An ICMP error of the router to the sender of `packet`."""
    if packet.version == 4:
        message = struct.pack(">BBHI", kind, code, 0, field) + packet.data[:28]
        message = message[:2] + checksum(message) + message[4:]
        ends = socket.inet_aton(ROUTER_4) + packet.data[12:16]
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + ends
        return header[:10] + checksum(header) + header[12:] + message
    ends = socket.inet_pton(socket.AF_INET6, ROUTER_6) + packet.data[8:24]
    message = struct.pack(">BBHI", kind, code, 0, field) + packet.data[:1232]
    pseudo = ends + struct.pack(">II", len(message), 58)
    message = message[:2] + checksum(pseudo + message) + message[4:]
    return struct.pack(">IHBB", 6 << 28, len(message), 58, 64) + ends + message


def narrow(mtu, after=0):
    """A rule: a router behind the server sends back what is longer than `mtu`, from the server's
    data packet number `after` on."""

    def make():
        seen = 0

        def rule(packet):
            nonlocal seen
            if packet.sender != FROM_SERVER:
                return None
            seen += packet.payload > 0
            if len(packet.data) <= mtu or seen < after:
                return None
            return Refuse(icmp(packet, 3, 4, mtu) if packet.version == 4 else icmp(packet, 2, 0, mtu))

        return rule

    return make


def unreachable(first, last):
    """A rule: a router behind the server has no route for its data packets number `first` to `last`."""

    def make():
        seen = 0

        def rule(packet):
            nonlocal seen
            if packet.sender != FROM_SERVER or packet.payload == 0:
                return None
            seen += 1
            return Refuse(icmp(packet, 3, 1, 0)) if first <= seen <= last else None

        return rule

    return make


@scenario("A router takes no more than 1300 bytes and says so: the server's segments get smaller",
          rule=narrow(1300))
def path_mtu(x):
    """`curl` from nginx; the link answers longer packets with fragmentation needed"""
    nginx(x, file=noise(40000))
    curl(x, f"http://{S4}/file")


@scenario("A router takes no more than 1280 bytes and says packet too big, IPv6", rule=narrow(1280))
def path_mtu_ipv6(x):
    """`curl` from nginx; the link answers longer packets with packet too big"""
    nginx(x, file=noise(40000))
    curl(x, f"'http://[{S6}]/file'")


@scenario("A router says that no more than 1280 bytes fit, after longer packets have got through",
          rule=narrow(1280, after=18))
def path_mtu_doubted(x):
    """`curl` from nginx; from the 18th data packet on the link answers longer packets with packet too
    big"""
    nginx(x, file=noise(50000))
    curl(x, f"'http://[{S6}]/file'")


@scenario("A router has no route for a while: a soft error, the connection goes on",
          rule=unreachable(12, 24))
def host_unreachable(x):
    """`curl` from nginx; the link answers the 12th to 24th data packet with host unreachable"""
    nginx(x, file=noise(40000))
    curl(x, f"http://{S4}/file")


ECHO, UDP, FRAGMENT = 58, 17, 44


def fragment(next_header, offset, more, identification, payload):
    """An IPv6 packet of the client with a fragment header."""
    ends = socket.inet_pton(socket.AF_INET6, C6) + socket.inet_pton(socket.AF_INET6, S6)
    header = struct.pack(">BBHI", next_header, 0, offset | more, identification)
    return struct.pack(">IHBB", 6 << 28, 8 + len(payload), FRAGMENT, 64) + ends + header + payload


def echo_request(number, length):
    """An ICMPv6 echo request of so many bytes."""
    ends = socket.inet_pton(socket.AF_INET6, C6) + socket.inet_pton(socket.AF_INET6, S6)
    message = struct.pack(">BBHHH", 128, 0, 0, 77, number) + noise(length - 8, number)
    return message[:2] + checksum(ends + struct.pack(">II", length, ECHO) + message) + message[4:]


@scenario("IPv6 fragments as they should not be: atomic, out of order, doubled, overlapping, tiny, of "
          "odd lengths, beyond the end, of nothing", tests=("odd_fragments_ipv6",))
def odd_fragments_ipv6(x):
    """Packets of a Python raw socket, echo requests in all of them"""
    with x.client.inside():
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(number, *pieces, whole=None):
        """Pieces are (offset, end, more)."""
        message = whole or echo_request(number, 120)
        for offset, end, more in pieces:
            raw.sendto(fragment(ECHO, offset, more, 1000 + number, message[offset:end]), (S6, 0))
        x.link.settle(0.03)

    send(1, (0, 120, 0))                                  # atomic (RFC 6946)
    send(2, (0, 64, 1), (64, 120, 0))                     # in order
    send(3, (64, 120, 0), (0, 64, 1))                     # the last one first
    send(4, (0, 64, 1), (0, 64, 1), (64, 120, 0))         # one of them twice
    send(5, (0, 64, 1), (56, 120, 0))                     # overlapping (RFC 5722)
    send(6, (0, 64, 1), (32, 48, 1), (64, 120, 0))        # one within another
    send(7, (0, 8, 1), (8, 120, 0))                       # as much of the first as a header
    send(8, (0, 60, 1), (64, 120, 0))                     # a length that is not a multiple of 8
    send(9, (0, 64, 1), (64, 104, 0), (104, 120, 1))      # more beyond the end
    send(10, (0, 64, 1), (64, 120, 0), (64, 112, 0))      # two ends
    send(11, (0, 0, 1), (0, 120, 0))                      # nothing in a fragment
    send(12, (0, 64, 1))                                  # never completed
    for offset in (0xFFF8, 0xFFF0):                       # beyond 65,535 bytes
        raw.sendto(fragment(ECHO, offset, 0, 1013, echo_request(13, 64)), (S6, 0))
    x.link.settle(0.1)
