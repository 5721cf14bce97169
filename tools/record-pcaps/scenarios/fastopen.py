"""Fast Open (RFC 7413)."""

import socket

from ends import S4, client, drain, listen
from registry import scenario

ON = {"net.ipv4.tcp_fastopen": 3}
# Cookies are a SipHash of the addresses under this key, so the test gives the stack the same one.
KEY = "00112233-44556677-8899aabb-ccddeeff"
OTHER_KEY = "ffeeddcc-bbaa9988-77665544-33221100"
TCP_FASTOPEN, MSG_FASTOPEN = 23, 0x20000000


def ask(x, listener, request):
    """A connection whose SYN carries the request, if the client has a cookie."""
    ours = client(x)
    ours.settimeout(None)  # with one it is non-blocking, and sendto would not wait for the handshake
    ours.sendto(request, MSG_FASTOPEN, (S4, 9000))
    theirs, _ = listener.accept()
    theirs.settimeout(15)
    drain(theirs, len(request))
    theirs.send(b"the answer to it")
    drain(ours, 16)
    ours.close()
    drain(theirs)
    theirs.close()
    x.link.settle(0.1)


@scenario("A cookie is asked for and given; the next SYN brings it, and data that is taken at once",
          client=ON, server=ON | {"net.ipv4.tcp_fastopen_key": KEY},
          tests=("fastopen_data",))
def fastopen_data(x):
    """Python sockets: `sendto` with MSG_FASTOPEN twice"""
    listener = listen(x, options=[(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)])
    ask(x, listener, b"a request that waits")
    ask(x, listener, b"a request in the SYN")


@scenario("The server's key has changed: the cookie is refused, the data is sent again",
          client=ON, server=ON | {"net.ipv4.tcp_fastopen_key": KEY},
          tests=("fastopen_refused", "fastopen_repeated_data"))
def fastopen_refused(x):
    """Python sockets: `sendto` with MSG_FASTOPEN twice, the server's `tcp_fastopen_key` set anew
    between them"""
    listener = listen(x, options=[(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)])
    ask(x, listener, b"a request that waits")
    x.server.sysctl(**{"net.ipv4.tcp_fastopen_key": OTHER_KEY})
    ask(x, listener, b"a request in the SYN")
