"""How conversations begin and end in unusual ways."""

import contextlib
import socket

from ends import (
    C4, C6, LINGER_RST, S4, S6, client, curl, drain, family_of, listen, noise, pair,
)
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
    open_at_once(x, C4, S4)


@scenario("Both ends send SYN at once: simultaneous open, IPv6", delay=0.02,
          vantage=FROM_CLIENT, tests=("simultaneous_open_ipv6_as_client",))
def simultaneous_open_ipv6(x):
    """Python sockets: both bind a port and connect to the other within one way's delay of 20 ms"""
    open_at_once(x, C6, S6)


def open_at_once(x, here, there):
    family = family_of(here)
    ours = client(x, family=family)
    with x.server.inside():
        theirs = socket.socket(family, socket.SOCK_STREAM)
    ours.bind((here, 9001))
    theirs.bind((there, 9000))
    for sock, peer in ((ours, (there, 9000)), (theirs, (here, 9001))):
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


@scenario("A port is used again while the server's end of its last connection is in TIME-WAIT",
          tests=("port_reuse", "port_reuse_as_client"))
def port_reuse(x):
    """Python sockets: the server closes first; the client connects again from the same port"""
    for greeting in (b"first", b"second"):
        listener = listen(x)
        ours = client(x, [(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)])
        ours.bind((C4, 9001))
        ours.connect((S4, 9000))
        theirs, _ = listener.accept()
        listener.close()
        theirs.send(greeting)
        theirs.close()
        drain(ours)
        ours.close()
        x.link.settle(0.1)
