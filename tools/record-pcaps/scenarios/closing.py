"""How conversations begin and end in unusual ways."""

import contextlib
import socket

from ends import C4, LINGER_RST, S4, S6, client, curl, drain, noise, pair
from pcapng import FROM_CLIENT
from registry import scenario


@scenario("The client resets in the middle of a download")
def reset_by_client(x):
    """Python sockets: SO_LINGER 0 and close after the first 4 kB of 40"""
    ours, theirs = pair(x, client_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)])
    theirs.setblocking(False)
    theirs.send(noise(40000))
    drain(ours, 4096)
    ours.setsockopt(*LINGER_RST)
    ours.close()
    x.link.settle()
    theirs.close()


@scenario("The server resets: it closes with the client's bytes unread",
          tests=("reset_by_server", "reset_by_server_as_client"))
def reset_by_server(x):
    """Python sockets: the server closes without having read the request"""
    ours, theirs = pair(x)
    ours.send(b"a request that nobody reads\n")
    x.link.settle(0.1)
    theirs.close()
    x.link.settle(0.1)
    ours.close()


@scenario("Connection refused over IPv4", tests=("refused", "refused_as_client"))
def refused(x):
    """`curl` to a port nobody listens on"""
    curl(x, f"http://{S4}:81/")


@scenario("Connection refused over IPv6", tests=("refused_ipv6", "refused_ipv6_as_client"))
def refused_ipv6(x):
    """`curl -6` to a port nobody listens on"""
    curl(x, f"'http://[{S6}]:81/'")


@scenario("Both ends say FIN at once: CLOSING",
          tests=("simultaneous_close", "simultaneous_close_as_client"), delay=0.02)
def simultaneous_close(x):
    """Python sockets: both `shutdown(SHUT_WR)` within one way's delay of 20 ms"""
    ours, theirs = pair(x)
    ours.send(b"ping")
    drain(theirs, 4)
    theirs.send(b"pong")
    drain(ours, 4)
    x.link.settle(0.2)
    ours.shutdown(socket.SHUT_WR)
    theirs.shutdown(socket.SHUT_WR)
    drain(ours)
    drain(theirs)
    ours.close()
    theirs.close()


@scenario("Both ends send SYN at once: simultaneous open", delay=0.02,
          vantage=FROM_CLIENT, tests=("simultaneous_open_as_client",))
def simultaneous_open(x):
    """Python sockets: both bind a port and connect to the other within one way's delay of 20 ms"""
    ours = client(x)
    with x.server.inside():
        theirs = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    theirs.settimeout(15)
    ours.bind((C4, 9001))
    theirs.bind((S4, 9000))
    for sock, peer in ((ours, (S4, 9000)), (theirs, (C4, 9001))):
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(peer)
        sock.settimeout(15)
    x.link.settle(0.2)
    ours.send(b"from the client")
    drain(theirs, 15)
    theirs.send(b"from the server")
    drain(ours, 15)
    ours.close()
    drain(theirs)
    theirs.close()
