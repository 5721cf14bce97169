"""Conversations that go wrong, for `ustack explain`. `faults.py` records each at five delays."""

import contextlib
import socket
import threading
import time

import rewrite
from ends import LINGER_RST, drain, noise, pair
from link import Inject
from pcapng import FROM_CLIENT, FROM_SERVER
from rules import nth, pause

FAULTS = []


class Fault:
    """One way to go wrong: `rule(seed, delay)` makes what the link does, `run(x, seed)` speaks."""

    def __init__(self, run, shows, rule, vantage, client, server):
        self.name = run.__name__.replace("_", "-")
        self.run, self.shows, self.rule, self.vantage = run, shows, rule, vantage
        self.client, self.server = client, server


def fault(shows, rule=lambda seed, delay: lambda packet: None, vantage=FROM_CLIENT, client=None,
          server=None):
    """Registers a fault, named like its function."""

    def register(run):
        FAULTS.append(Fault(run, shows, rule, vantage, client or {}, server or {}))
        return run

    return register


def lose(sender, of):
    """All packets of `sender` that `of` admits are lost."""
    return lambda seed, delay: lambda packet: "lose" if packet.sender == sender and of(packet) else None


def push(sock, data, seconds):
    """Sends as much as goes into the socket within so many seconds."""
    sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        sock.sendall(data)


def download(x, seed, size=30000):
    """The client asks, the server answers with `size` bytes and closes."""
    ours, theirs = pair(x, port=9000 + seed)

    def serve():
        with contextlib.suppress(OSError):
            drain(theirs, 100)
            theirs.sendall(noise(size, seed))
            theirs.shutdown(socket.SHUT_WR)

    server = threading.Thread(target=serve)
    server.start()
    with contextlib.suppress(OSError):
        ours.sendall(noise(100, seed))
        drain(ours)
    ours.close()
    server.join(timeout=5)
    theirs.close()


@fault("Black hole: what the client sends after the handshake vanishes",
       lose(FROM_CLIENT, lambda packet: packet.payload > 0))
def black_hole(x, seed):
    """Python sockets: 400 bytes that the link loses, for 4 s"""
    ours, theirs = pair(x, port=9000 + seed)
    push(ours, noise(400 + seed), 4)
    time.sleep(4)


@fault("Zero window for ever: the server's program does not read", vantage=FROM_SERVER)
def zero_window(x, seed):
    """Python sockets: the server, SO_RCVBUF 4 to 20 kB, reads nothing of an upload for 5 s"""
    ours, theirs = pair(x, port=9000 + seed,
                        server_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096 * seed)])
    push(ours, noise(100000, seed), 2)
    time.sleep(3)


@fault("Spurious timeout: acknowledgments come too late, nothing is lost",
       lambda seed, delay: pause(FROM_CLIENT, 4 + seed, 1.2 + 10 * delay,
                                 of=lambda packet: True)(), FROM_SERVER)
def spurious_timeout(x, seed):
    """Python sockets: 60 kB down; from one acknowledgment on all wait 1.2 s and five round trips"""
    download(x, seed, 60000)


@fault("Reordering taken for loss: some segments arrive after later ones",
       lambda seed, delay: nth(FROM_SERVER, {5 + seed, 24 + seed}, 0.002 + 1.4 * delay)(), FROM_SERVER)
def reordering(x, seed):
    """Python sockets: 60 kB down; two segments are held back by 2 ms and 0.7 round trips"""
    download(x, seed, 60000)


def forge(seed, delay):
    """At the server's n-th data segment both ends get a RST in the other's name."""
    seen = 0

    def rule(packet):
        nonlocal seen
        if packet.sender != FROM_SERVER or packet.payload == 0:
            return None
        seen += 1
        if seen != 2 + seed:
            return None
        ttl = [37, 48, 126, 250, 255][seed - 1]
        return Inject([(FROM_CLIENT, rewrite.reset(packet.data, False, ttl)),
                       (FROM_SERVER, rewrite.reset(packet.data, True, ttl))])

    return rule


@fault("RST from a middlebox to both ends, with another TTL", forge)
def forged_reset(x, seed):
    """Python sockets: 30 kB down; at the third to seventh data segment both ends are reset"""
    download(x, seed)


def narrow(seed, delay):
    """The server's packets above this size vanish."""
    limit = [1280, 1380, 1420, 1454, 1492][seed - 1]
    return lambda packet: ("lose" if packet.sender == FROM_SERVER and len(packet.data) > limit
                           else None)


@fault("MTU black hole: the server's large packets vanish, and no ICMP tells it", narrow, FROM_SERVER)
def mtu_black_hole(x, seed):
    """Python sockets: a request of 300 bytes, and 20 kB of which the link loses what is larger than
    1280 to 1492 bytes, for 5 s"""
    ours, theirs = pair(x, port=9000 + seed)
    ours.sendall(noise(300, seed))
    drain(theirs, 300)
    push(theirs, noise(20000, seed), 2)
    time.sleep(4)


@fault("Tiny window: the server's buffer is too small for the path")
def tiny_window(x, seed):
    """Python sockets: 60 kB up, the server with SO_RCVBUF 3 kB"""
    ours, theirs = pair(x, port=9000 + seed,
                        server_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 3000)])
    server = threading.Thread(target=lambda: drain(theirs))
    server.start()
    ours.sendall(noise(60000, seed))
    ours.shutdown(socket.SHUT_WR)
    server.join(timeout=20)
    theirs.close()
    drain(ours)
    ours.close()


@fault("Nagle against delayed acknowledgments: a message in two writes waits for the answer to the "
       "first")
def nagle(x, seed):
    """Python sockets: 25 times two small writes, answered after the second"""
    ours, theirs = pair(x, port=9000 + seed)
    first, second = [(90, 200), (20, 600), (300, 10), (1, 99), (400, 400)][seed - 1]

    def serve():
        for _ in range(25):
            drain(theirs, first + second)
            theirs.sendall(noise(500, seed))

    server = threading.Thread(target=serve)
    server.start()
    for _ in range(25):
        ours.send(noise(first))
        ours.send(noise(second))
        drain(ours, 500)
    server.join(timeout=5)
    ours.close()
    drain(theirs)
    theirs.close()


def lose_first(sender, of, count):
    """The first `count` packets of `sender` that `of` admits are lost, repetitions as well."""
    left = count

    def rule(packet):
        nonlocal left
        if packet.sender != sender or not of(packet) or left == 0:
            return None
        left -= 1
        return "lose"

    return rule


@fault("SYN loss: the first SYNs get no answer",
       lambda seed, delay: lose_first(FROM_CLIENT, lambda packet: packet.syn, 1 + seed % 2))
def syn_lost(x, seed):
    """Python sockets: the first SYN, or two, are lost; then 5 kB down"""
    download(x, seed, 5000)


@fault("Half-open peer: the server has forgotten the connection, and its RST was lost",
       lambda seed, delay: lose_first(FROM_SERVER, lambda packet: packet.flags & 4, 1))
def half_open(x, seed):
    """Python sockets: a few words; the server closes with SO_LINGER 0, and the RST is lost; after 1
    to 3 s the client speaks again"""
    ours, theirs = pair(x, port=9000 + seed)
    ours.sendall(noise(100, seed))
    drain(theirs, 100)
    theirs.sendall(noise(200, seed))
    drain(ours, 200)
    x.link.settle(0.1)
    theirs.setsockopt(*LINGER_RST)
    theirs.close()
    time.sleep(1 + seed / 2)
    with contextlib.suppress(OSError):
        ours.sendall(noise(100, seed))
        drain(ours)
    ours.close()


def corrupt(seed, delay):
    """A length in the options of the first two SYNs of one end is wrong."""
    sender = FROM_CLIENT
    kind, length = [(2, 0), (3, 0), (8, 40), (3, 60), (8, 1)][seed - 1]
    left = [True, True]

    def rule(packet):
        if packet.sender != sender or not packet.syn or not left:
            return None
        left.pop()
        return rewrite.with_length(packet.data, kind, length)

    return rule


@fault("Corrupted option: a middlebox writes a wrong length into the client's SYN", corrupt, FROM_SERVER)
def corrupted_option(x, seed):
    """Python sockets: 5 kB down; the length of the MSS, window scale or timestamps option of the
    SYN is changed on its way"""
    download(x, seed, 5000)


def silly(seed, delay):
    """The server's window moves in small steps, once 6000 bytes are used."""
    edge, step = None, 40 + 30 * seed

    def rule(packet):
        nonlocal edge
        data = packet.data
        if packet.syn:
            data = rewrite.without_option(data, 3)
        if packet.sender == FROM_SERVER and packet.protocol == 6:
            ack = rewrite.ack(data)
            edge = ack + 6000 if edge is None else max(edge, ack + step)
            data = rewrite.with_window(data, edge - ack)
        return data

    return rule


@fault("Silly window: a middlebox lets the server's window open in small steps", silly)
def silly_window(x, seed):
    """Python sockets: 8 kB up for 8 s at most; the link takes window scaling away and rewrites the
    server's windows"""
    ours, theirs = pair(x, port=9000 + seed)
    server = threading.Thread(target=lambda: drain(theirs), daemon=True)
    server.start()
    push(ours, noise(8000 + 20 * (40 + 30 * seed), seed), 3)
    time.sleep(8)
