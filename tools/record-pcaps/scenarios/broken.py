"""Servers that break a rule."""

import socket
import threading

from ends import S4, client, drain, noise
from pcapng import FROM_SERVER
from raw import ACK, MSS, PSH, RawServer
from registry import scenario
from rules import nth


def meet(x, options=(), **settings):
    """A kernel client connected to a raw server, and the client's window."""
    server = RawServer(x, **settings)
    ours = client(x, options)
    connecting = threading.Thread(target=ours.connect, args=((S4, 9000),))
    connecting.start()
    window = server.accept()
    connecting.join()
    return ours, server, window


def part(sock, server, seq):
    """Both sides close, the server first; `seq` is where its FIN lies."""
    reader = threading.Thread(target=lambda: (drain(sock), sock.close()))
    reader.start()
    server.finish(seq)
    reader.join()


@scenario("The server sends beyond the client's window", tests=("broken_window",))
def broken_window(x):
    """Python sockets: the client, SO_RCVBUF 4 kB, reads late; a server of Python's own on raw
    sockets sends 500 bytes more than the window takes"""
    ours, server, window = meet(x, [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    content = noise(window + 500)
    for at in range(0, len(content), MSS):
        server.say(ACK | PSH, seq=1 + at, payload=content[at:at + MSS])
    x.link.settle()
    part(ours, server, 1 + len(content))


@scenario("The server retransmits other bytes than it sent first", tests=("broken_bytes",),
          rule=nth(FROM_SERVER, {2}))
def broken_bytes(x):
    """Python sockets; a server of Python's own on raw sockets, its second data segment lost"""
    ours, server, _ = meet(x)
    content = noise(3000)
    for at in range(0, len(content), 1000):
        server.say(ACK | PSH, seq=1 + at, payload=content[at:at + 1000])
    server.expect(lambda segment: segment.ack == 1001)
    x.link.settle(1.0)
    server.say(ACK | PSH, seq=1001, payload=noise(1000, seed=8))
    server.expect(lambda segment: segment.ack == 3001)
    part(ours, server, 3001)


@scenario("The server acknowledges bytes that the client never sent", tests=("broken_ack",))
def broken_ack(x):
    """Python sockets; a server of Python's own on raw sockets acknowledges 100 bytes of 5"""
    ours, server, _ = meet(x)
    ours.send(b"hello")
    server.expect(lambda segment: segment.end == 6)
    server.say(ack=101)
    x.link.settle(0.1)
    server.say(ACK | PSH, payload=b"hello to you")
    server.expect(lambda segment: segment.ack == 13)
    part(ours, server, 13)


@scenario("The server takes back the window it offered", tests=("broken_shrink",))
def broken_shrink(x):
    """Python sockets; a server of Python's own on raw sockets offers 20000 bytes, then 1000"""
    ours, server, _ = meet(x, window=20000)
    ours.send(noise(1000))
    server.expect(lambda segment: segment.end == 1001)
    server.window = 1000
    server.say()
    ours.send(noise(1000))
    server.expect(lambda segment: segment.end == 2001)
    server.window = 20000
    server.say(ACK | PSH, payload=b"enough")
    server.expect(lambda segment: segment.ack == 7)
    part(ours, server, 7)
