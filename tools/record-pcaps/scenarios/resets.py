"""A reset in every state: what the state is when the other end's RST arrives."""

import contextlib
import socket
import time

from ends import LINGER_RST, S4, client, drain, listen, noise, pair
from link import Later
from pcapng import FROM_CLIENT, FROM_SERVER
from raw import ACK
from registry import scenario
from rules import between, nth


def reset(sock):
    """Ends a connection with a RST."""
    sock.setsockopt(*LINGER_RST)
    sock.close()


def greet(ours, theirs):
    """A few bytes both ways, so that the connection is in use."""
    ours.send(b"hello")
    drain(theirs, 5)
    theirs.send(b"hello to you")
    drain(ours, 12)


@scenario("RST in SYN-SENT, in answer to the second SYN: the first was lost",
          tests=("reset_in_syn_sent", "reset_in_syn_sent_as_client"),
          rule=between(FROM_CLIENT, 1, 1))
def reset_in_syn_sent(x):
    """Python sockets: a client that connects to a port nobody listens on, its first SYN lost"""
    ours = client(x)
    with contextlib.suppress(ConnectionRefusedError):
        ours.connect((S4, 9000))
    ours.close()


@scenario("RST in SYN-RECEIVED: the client takes its SYN back", delay=0.02)
def reset_in_syn_received(x):
    """Python sockets: a client that closes while the SYN,ACK is on its way"""
    listener = listen(x)
    ours = client(x)
    ours.setblocking(False)
    ours.connect_ex((S4, 9000))
    time.sleep(0.01)
    ours.close()
    x.link.settle()
    listener.close()


@scenario("RST in ESTABLISHED, with bytes of ours in flight", delay=0.02)
def reset_in_established(x):
    """Python sockets: the client closes with SO_LINGER 0 while an answer is on its way"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    theirs.send(noise(6000))
    reset(ours)
    x.link.settle()
    theirs.close()


@scenario("RST in FIN-WAIT-1: our FIN was lost, the client resets before it comes again",
          rule=nth(FROM_SERVER, {1}, of=lambda packet: packet.fin))
def reset_in_fin_wait_1(x):
    """Python sockets: the server's FIN lost, then the client closes with SO_LINGER 0"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    x.link.settle(0.1)
    theirs.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    reset(ours)
    x.link.settle()
    theirs.close()


@scenario("RST in FIN-WAIT-2: the client has acknowledged our FIN, and resets")
def reset_in_fin_wait_2(x):
    """Python sockets: after the server's `shutdown(SHUT_WR)` the client closes with SO_LINGER 0"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    theirs.shutdown(socket.SHUT_WR)
    drain(ours)
    x.link.settle(0.1)
    ours.send(b"some more bytes")
    drain(theirs, 15)
    reset(ours)
    x.link.settle()
    theirs.close()


@scenario("RST in CLOSE-WAIT: the client has said FIN, and resets before we do")
def reset_in_close_wait(x):
    """Python sockets: the client's `shutdown(SHUT_WR)`, later SO_LINGER 0 and close"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    ours.shutdown(socket.SHUT_WR)
    drain(theirs)
    theirs.send(b"a last answer")
    drain(ours, 13)
    x.link.settle(0.1)
    reset(ours)
    x.link.settle()
    theirs.close()


@scenario("RST in CLOSING: both said FIN at once, then the client resets", delay=0.05)
def reset_in_closing(x):
    """Python sockets: both `shutdown(SHUT_WR)` within one way's delay, the client resets before
    the server's FIN comes"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    x.link.settle(0.2)
    ours.shutdown(socket.SHUT_WR)
    theirs.shutdown(socket.SHUT_WR)
    time.sleep(0.02)
    reset(ours)
    x.link.settle()
    theirs.close()


@scenario("RST in LAST-ACK: it crosses our FIN", delay=0.05)
def reset_in_last_ack(x):
    """Python sockets: the client's `shutdown(SHUT_WR)`, the server's close, and the client's
    SO_LINGER 0 and close before the server's FIN comes"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    x.link.settle(0.2)
    ours.shutdown(socket.SHUT_WR)
    drain(theirs)
    theirs.close()
    time.sleep(0.02)
    reset(ours)
    x.link.settle()


@scenario("RST in TIME-WAIT: a late copy of our FIN meets a client that has forgotten all",
          rule=nth(FROM_SERVER, {1}, Later(0.4), of=lambda packet: packet.fin),
          client={"net.ipv4.tcp_max_tw_buckets": 0})
def reset_in_time_wait(x):
    """Python sockets: the server closes first; the link delivers its FIN once more 0.4 s later"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    theirs.close()
    drain(ours)
    ours.close()
    x.link.settle(0.6)


def last_ack(packet):
    """The server's ACK of the client's FIN: it says nothing, and its own FIN was before it."""
    return packet.flags == ACK and not packet.payload


@scenario("RST in TIME-WAIT that has the exact number: a late copy of our last ACK meets a client that "
          "has forgotten all (RFC 1337 §1)", rule=nth(FROM_SERVER, {2}, Later(0.4), of=last_ack),
          client={"net.ipv4.tcp_max_tw_buckets": 0})
def reset_in_time_wait_exact(x):
    """Python sockets: the server closes first; the link delivers its last ACK once more 0.4 s later"""
    ours, theirs = pair(x)
    greet(ours, theirs)
    theirs.close()
    drain(ours)
    ours.close()
    x.link.settle(0.6)
