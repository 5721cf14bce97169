"""The ends of a conversation: kernel sockets for what no program does on request, and the servers
and clients that many recordings share."""

import random
import socket
import struct
import sys

C4, S4, C6, S6 = "10.88.0.1", "10.88.0.2", "fd88::1", "fd88::2"


def noise(length, seed=7):
    """Bytes that no two places of a stream share."""
    return random.Random(seed).randbytes(length)


def family_of(address):
    """The address family of `address`."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(x, port=9000, options=(), address=S4):
    """A listening kernel socket in the server's namespace."""
    with x.server.inside():
        sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    sock.bind((address, port))
    sock.listen()
    sock.settimeout(15)
    return sock


def client(x, options=(), kind=socket.SOCK_STREAM, family=socket.AF_INET):
    """A kernel socket in the client's namespace."""
    with x.client.inside():
        sock = socket.socket(family, kind)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    sock.settimeout(15)
    return sock


def pair(x, port=9000, client_options=(), server_options=(), address=S4):
    """Two connected kernel sockets: the client's and the server's."""
    listener = listen(x, port, server_options, address)
    ours = client(x, client_options, family=family_of(address))
    ours.connect((address, port))
    theirs, _ = listener.accept()
    listener.close()
    theirs.settimeout(15)
    return ours, theirs


def drain(sock, length=None):
    """Reads `length` bytes, or everything up to EOF."""
    got = b""
    while length is None or len(got) < length:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return got


LINGER_RST = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def nginx(x, **files):
    """nginx on port 80 of both families, serving `files`."""
    root = x.scratch / "www"
    root.mkdir()
    root.chmod(0o755)
    for name, content in files.items():
        (root / name).write_bytes(content)
    conf = x.scratch / "nginx.conf"
    conf.write_text(f"""
daemon off; user root; pid {x.scratch}/nginx.pid; error_log stderr;
events {{ }}
http {{ access_log off; sendfile on; default_type application/octet-stream;
  server {{ listen 80; listen [::]:80; root {root}; }} }}
""")
    x.server.spawn("nginx", "-c", str(conf), "-e", "stderr")
    x.wait_for_port(80)


def udp_echo_server(x, address):
    """A UDP server at port 7 that says again what it hears."""
    x.server.spawn(sys.executable, "-c", f"""
import socket
s = socket.socket({int(family_of(address))}, socket.SOCK_DGRAM)
s.bind(({address!r}, 7))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
""")
    x.wait_for_port(7, udp=True)


def curl(x, arguments):
    x.client.sh(f"curl -sS -m 20 {arguments} > /dev/null", check=False)


PAGE = b"<!doctype html><title>recorded</title><p>A page of a kernel's web server.\n"
