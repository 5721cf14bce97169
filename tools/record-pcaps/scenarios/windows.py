"""Windows, probes of idle ends, urgent data."""

import contextlib
import socket
import time

from ends import S4, curl, drain, nginx, noise, pair
from pcapng import FROM_CLIENT, FROM_SERVER
from registry import scenario
from rules import between, both, lose_window_update


@scenario("Zero window of the client: the server stops, probes, and goes on")
def zero_window_client(x):
    """Python sockets: the client, SO_RCVBUF 8 kB, reads nothing for 1.5 s of a 40 kB download"""
    ours, theirs = pair(x, client_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)])
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.sendall(noise(40000))
    theirs.close()
    time.sleep(1.5)
    drain(ours)
    ours.close()


@scenario("Zero window of the server: the client probes, a window update releases it")
def zero_window_server(x):
    """Python sockets: the server, SO_RCVBUF 8 kB, reads nothing for 1.5 s of a 40 kB upload"""
    ours, theirs = pair(x, server_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)])
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ours.sendall(noise(40000))
    ours.shutdown(socket.SHUT_WR)
    time.sleep(1.5)
    drain(theirs)
    theirs.close()
    drain(ours)
    ours.close()


@scenario("A window update is lost: only a probe finds the window open again",
          tests=("zero_window_lost_update",),
          rule=lose_window_update(FROM_CLIENT))
def zero_window_lost_update(x):
    """Python sockets: the client, SO_RCVBUF 8 kB, reads nothing for 1 s of a 20 kB download, and the
    segment that tells of its reading is lost"""
    ours, theirs = pair(x, client_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)])
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.sendall(noise(20000))
    theirs.close()
    time.sleep(1.0)
    drain(ours)
    ours.close()


@scenario("A long fat path: a round trip of 240 ms and all bytes of the window in flight", delay=0.12,
          client={"net.ipv4.tcp_rmem": "4096 1048576 4194304"},
          tests=("long_fat_download", "long_fat_download_as_client"))
def long_fat_download(x):
    """`curl` from nginx"""
    nginx(x, file=noise(120000))
    curl(x, f"http://{S4}/file")


@scenario("Window scaling: more than 64 kB in flight", delay=0.02,
          client={"net.ipv4.tcp_rmem": "4096 1048576 4194304"})
def window_scaling(x):
    """`curl` from nginx over a round trip of 40 ms, client's buffer from 1 MB on"""
    nginx(x, file=noise(200000))
    curl(x, f"http://{S4}/file")


@scenario("Keep-alive probes of an idle client, answered by ACKs")
def keepalive(x):
    """Python sockets: TCP_KEEPIDLE 1 s, TCP_KEEPINTVL 1 s, idle for 2.5 s"""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
               (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
               (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)]
    ours, theirs = pair(x, client_options=options)
    ours.send(b"hello")
    drain(theirs, 5)
    theirs.send(b"hello to you")
    drain(ours, 12)
    time.sleep(2.5)
    ours.send(b"bye")
    drain(theirs, 3)
    ours.close()
    drain(theirs)
    theirs.close()


@scenario("Urgent data: the URG bit and pointer set, the bytes stay in the stream")
def urgent(x):
    """Python sockets: `MSG_OOB` between two ordinary sends, server with SO_OOBINLINE"""
    ours, theirs = pair(x, server_options=[(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)])
    ours.send(b"before ")
    ours.send(b"!", socket.MSG_OOB)
    ours.send(b" after")
    drain(theirs, 14)
    theirs.send(b"seen")
    drain(ours, 4)
    ours.close()
    drain(theirs)
    theirs.close()


@scenario("Keep-alive probes of a peer that is gone: the client gives up",
          tests=("keepalive_dead_peer_as_client",), vantage=FROM_CLIENT,
          rule=both(between(FROM_CLIENT, 6, 99), between(FROM_SERVER, 5, 99)))
def keepalive_dead_peer(x):
    """Python sockets: TCP_KEEPIDLE 1 s, TCP_KEEPINTVL 1 s, TCP_KEEPCNT 3; the link loses everything
    after the first words"""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
               (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
               (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
               (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)]
    ours, theirs = pair(x, client_options=options)
    ours.send(b"hello")
    drain(theirs, 5)
    theirs.send(b"hello to you")
    drain(ours, 12)
    with contextlib.suppress(TimeoutError):
        drain(ours)
    ours.close()
    theirs.close()
