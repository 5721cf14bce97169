"""Linux's congestion controllers, and how congestion is signalled."""

import socket

from ends import S4, S6, curl, drain, nginx, noise, pair
from pcapng import FROM_CLIENT, FROM_SERVER
from registry import scenario
from rules import both, congested, pause, sometimes

LENGTH = 100_000


def send(x, controller="cubic", address=S4):
    """The client sends and says FIN; the server answers with one word."""
    options = [(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())]
    ours, theirs = pair(x, client_options=options, address=address)
    ours.sendall(noise(LENGTH))
    ours.shutdown(socket.SHUT_WR)
    drain(theirs)
    theirs.send(b"done")
    theirs.close()
    drain(ours)
    ours.close()


def lossy(seed):
    return sometimes(FROM_CLIENT, 0.06, "lose", seed)


def reordering(seed):
    return sometimes(FROM_CLIENT, 0.1, lambda draw: 0.002 + 0.02 * draw, seed)


def both_ways(name):
    return (name, f"{name}_as_client")


@scenario("CUBIC sends over a link that loses 6 % of its segments",
          delay=0.01, rule=lossy(11), tests=both_ways("cubic_loss"))
def cubic_loss(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `cubic`"""
    send(x, "cubic")


@scenario("NewReno sends over a link that loses 6 % of its segments",
          delay=0.01, rule=lossy(12), tests=both_ways("reno_loss"))
def reno_loss(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `reno`"""
    send(x, "reno")


@scenario("BBR sends over a link that loses 6 % of its segments",
          delay=0.01, rule=lossy(13), tests=both_ways("bbr_loss"))
def bbr_loss(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `bbr`"""
    send(x, "bbr")


@scenario("CUBIC sends over a link that holds back 10 % of its segments by up to 22 ms",
          delay=0.01, rule=reordering(14),
          tests=both_ways("cubic_reorder"))
def cubic_reorder(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `cubic`"""
    send(x, "cubic")


@scenario("NewReno without SACK over a link that holds back 10 % of its segments by up to 22 ms",
          client={"net.ipv4.tcp_sack": 0}, delay=0.01, rule=reordering(15),
          tests=both_ways("reno_reorder_no_sack"))
def reno_reorder_no_sack(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `reno` and `tcp_sack=0`"""
    send(x, "reno")


@scenario("BBR sends over a link that holds back 10 % of its segments by up to 22 ms, IPv6",
          delay=0.01, rule=reordering(16), tests=both_ways("bbr_reorder_ipv6"))
def bbr_reorder_ipv6(x):
    """Python sockets, 100 kB up, client with TCP_CONGESTION `bbr`"""
    send(x, "bbr", address=S6)


@scenario("All goes wrong at once: segments and acknowledgments are lost, doubled and held back",
          delay=0.01, tests=both_ways("everything_at_once"),
          rule=both(sometimes(FROM_CLIENT, 0.04, "lose", 21), sometimes(FROM_CLIENT, 0.05, "twice", 22),
                    sometimes(FROM_CLIENT, 0.05, lambda draw: 0.002 + 0.02 * draw, 23),
                    sometimes(FROM_SERVER, 0.1, "lose", 24, of=lambda packet: packet.flags == 16)))
def everything_at_once(x):
    """Python sockets, 100 kB up"""
    send(x)


@scenario("Acknowledgments are late: the sender times out for nothing, and D-SACK says so",
          tests=("late_acknowledgments",),
          rule=pause(FROM_CLIENT, 6, 0.5, of=lambda packet: packet.flags == 16))
def late_acknowledgments(x):
    """`curl` from nginx, all ACKs from the 6th on held back for 500 ms"""
    nginx(x, file=noise(60000))
    curl(x, f"http://{S4}/file")


@scenario("ECN: a router marks segments of an upload, the server echoes ECE until CWR comes",
          client={"net.ipv4.tcp_ecn": 1}, delay=0.01, rule=congested(FROM_CLIENT, {8, 30}),
          tests=("ecn_upload",))
def ecn_upload(x):
    """Python sockets, 100 kB up, client with `tcp_ecn=1`; the link marks the 8th and 30th segment"""
    send(x)


@scenario("ECN: a router marks segments of a download, the client's ECE brings the window down",
          client={"net.ipv4.tcp_ecn": 1}, delay=0.01, rule=congested(FROM_SERVER, {8, 30}),
          tests=("ecn_download",))
def ecn_download(x):
    """`curl` from nginx, client with `tcp_ecn=1`; the link marks the 8th and 30th segment"""
    nginx(x, file=noise(100000))
    curl(x, f"http://{S4}/file")


@scenario("ECN: a router marks segments of a download, seen by the client that echoes the marks",
          client={"net.ipv4.tcp_ecn": 1}, delay=0.01, rule=congested(FROM_SERVER, {8, 30}),
          vantage=FROM_CLIENT, tests=("ecn_echo_as_client",))
def ecn_echo(x):
    """`curl` from nginx over IPv6, client with `tcp_ecn=1`; the link marks the 8th and 30th segment"""
    nginx(x, file=noise(60000))
    curl(x, f"'http://[{S6}]/file'")
