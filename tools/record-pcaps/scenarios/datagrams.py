"""UDP and ICMP."""

import socket

from ends import S4, S6, client, noise, udp_echo_server
from pcapng import FROM_CLIENT
from registry import scenario
from rules import nth


def udp_echo_of(x, family, server, lengths):
    udp_echo_server(x, server)
    sock = client(x, kind=socket.SOCK_DGRAM, family=family)
    # Without path MTU discovery, so that what is too long for one packet is cut up.
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, 10, 0)
    sock.connect((server, 7))
    for seed, length in enumerate(lengths):
        sock.send(noise(length, seed))
        assert len(sock.recv(65536)) == length


@scenario("UDP echo of 0, 1, 512 and 1472 bytes")
def udp_echo(x):
    """Python sockets against a UDP echo server"""
    udp_echo_of(x, socket.AF_INET, S4, (0, 1, 512, 1472))


@scenario("UDP echo of 0, 1, 512 and 1452 bytes over IPv6")
def udp_echo_ipv6(x):
    """Python sockets against a UDP echo server"""
    udp_echo_of(x, socket.AF_INET6, S6, (0, 1, 512, 1452))


@scenario("UDP datagrams of 1473 and 20,000 bytes in fragments, the second's out of order",
          rule=nth(FROM_CLIENT, {4, 7}, 0.004, of=lambda packet: True))
def udp_fragments(x):
    """Python sockets against a UDP echo server, two fragments held back by 4 ms"""
    udp_echo_of(x, socket.AF_INET, S4, (1473, 20000))


@scenario("UDP datagrams of 1453 and 20,000 bytes in IPv6 fragments, the second's out of order",
          rule=nth(FROM_CLIENT, {4, 7}, 0.004, of=lambda packet: True))
def udp_fragments_ipv6(x):
    """Python sockets against a UDP echo server, two fragments held back by 4 ms"""
    udp_echo_of(x, socket.AF_INET6, S6, (1453, 20000))


@scenario("A DNS question over UDP to a port nobody listens on: port unreachable")
def udp_refused(x):
    """`dig`"""
    x.client.sh(f"dig +tries=1 +timeout=2 @{S4} ustack.example", check=False)


@scenario("A DNS question over UDP to a port nobody listens on: port unreachable, IPv6")
def udp_refused_ipv6(x):
    """`dig`"""
    x.client.sh(f"dig +tries=1 +timeout=2 @{S6} ustack.example", check=False)


@scenario("Probes of traceroute with TTL 1 to 3 to the host itself: port unreachable quotes them")
def traceroute(x):
    """`traceroute -n -q 1 -m 3` (UDP)"""
    x.client.sh(f"traceroute -n -q 1 -m 3 -w 1 {S4}", check=False)


@scenario("Echo requests and replies")
def ping(x):
    """`ping -c 3`"""
    x.client.sh(f"ping -n -c 3 -i 0.2 {S4}")


@scenario("Echo requests and replies, IPv6")
def ping_ipv6(x):
    """`ping -6 -c 3`"""
    x.client.sh(f"ping -6 -n -c 3 -i 0.2 {S6}")


@scenario("Echo of 20,000 bytes: fragments both ways")
def ping_fragments(x):
    """`ping -s 20000 -c 1`"""
    x.client.sh(f"ping -n -c 1 -s 20000 {S4}")


@scenario("Echo of 20,000 bytes: fragments both ways, IPv6")
def ping_fragments_ipv6(x):
    """`ping -6 -s 20000 -c 1`"""
    x.client.sh(f"ping -6 -n -c 1 -s 20000 {S6}")


@scenario("Echo request with IPv4 options (record route)")
def ping_options(x):
    """`ping -R -c 1`"""
    x.client.sh(f"ping -n -R -c 1 {S4}")
