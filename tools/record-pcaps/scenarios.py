"""What is recorded: one function per capture, named like its file."""

import contextlib
import random
import socket
import struct
import sys
import time

from pcapng import FROM_CLIENT, FROM_SERVER

C4, S4, C6, S6 = "10.88.0.1", "10.88.0.2", "fd88::1", "fd88::2"
SCENARIOS = []


def scenario(shows, **settings):
    """Registers a recording. Settings: `client` and `server` (sysctls), `rule` (loss), `mtu`,
    `delay` (seconds each way), `vantage` (whose device stamps the times), `tests`."""

    def register(function):
        name = function.__name__.replace("_", "-")
        tests = settings.pop("tests", (function.__name__,))
        SCENARIOS.append({
            "name": name, "run": function, "shows": shows, "how": function.__doc__,
            "tests": tests, "client": {}, "server": {}, "rule": lambda: lambda packet: None,
            "mtu": 1500, "delay": 0.005, "vantage": FROM_SERVER, **settings,
        })
        return function

    return register


def noise(length, seed=7):
    """Bytes that no two places of a stream share."""
    return random.Random(seed).randbytes(length)


def nth(sender, which, verdict="lose", of=lambda packet: packet.payload > 0):
    """A rule: `verdict` for the packets of `sender` that `of` admits, by their number from 1.
    Retransmissions are neither counted nor touched."""

    def make():
        seen, known = 0, set()

        def rule(packet):
            nonlocal seen
            if packet.sender != sender or not of(packet) or packet.seq in known:
                return None
            if packet.seq is not None:
                known.add(packet.seq)
            seen += 1
            return verdict if seen in which else None

        return rule

    return make


def lose_first_copies(sender, number, copies):
    """A rule: the `number`-th data segment and its next `copies` - 1 repetitions are lost."""

    def make():
        seen, target, left = 0, None, copies

        def rule(packet):
            nonlocal seen, target, left
            if packet.sender != sender or packet.payload == 0:
                return None
            if target is None:
                seen += 1
                target = packet.seq if seen == number else None
            if packet.seq == target and left > 0:
                left -= 1
                return "lose"
            return None

        return rule

    return make


def both(*rules):
    """The first verdict of several rules; every rule sees every packet."""

    def make():
        made = [rule() for rule in rules]
        return lambda packet: next((v for v in [rule(packet) for rule in made] if v), None)

    return make


# Servers and clients made of plain kernel sockets, for what no program does on request.


def listen(x, port=9000, options=()):
    """A listening kernel socket in the server's namespace."""
    with x.server.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    sock.bind((S4, port))
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


def pair(x, port=9000, client_options=(), server_options=()):
    """Two connected kernel sockets: the client's and the server's."""
    listener = listen(x, port, server_options)
    ours = client(x, client_options)
    ours.connect((S4, port))
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


def curl(x, arguments):
    x.client.sh(f"curl -sS -m 20 {arguments} > /dev/null", check=False)


PAGE = b"<!doctype html><title>recorded</title><p>A page of a kernel's web server.\n"


@scenario("Every handshake option of a Linux client (MSS, SACK, timestamps, window scale); one short GET",
          tests=("http_get", "http_get_as_client"))
def http_get(x):
    """`curl` from nginx"""
    nginx(x, page=PAGE)
    curl(x, f"http://{S4}/page")


@scenario("Two requests on one connection over IPv6, closed by the client",
          tests=("http_keepalive_ipv6", "http_keepalive_ipv6_as_client"))
def http_keepalive_ipv6(x):
    """`curl -6` with two URLs from nginx"""
    nginx(x, page=PAGE, more=noise(9000))
    curl(x, f"'http://[{S6}]/page' 'http://[{S6}]/more'")


@scenario("Handshake without timestamps", client={"net.ipv4.tcp_timestamps": 0})
def handshake_no_timestamps(x):
    """`curl` from nginx, client with `tcp_timestamps=0`"""
    nginx(x, more=noise(9000))
    curl(x, f"http://{S4}/more")


@scenario("Handshake without SACK", client={"net.ipv4.tcp_sack": 0})
def handshake_no_sack(x):
    """`curl` from nginx, client with `tcp_sack=0`"""
    nginx(x, more=noise(9000))
    curl(x, f"http://{S4}/more")


@scenario("Handshake without window scaling: windows are what the header says",
          client={"net.ipv4.tcp_window_scaling": 0})
def handshake_no_wscale(x):
    """`curl` from nginx, client with `tcp_window_scaling=0`"""
    nginx(x, more=noise(30000))
    curl(x, f"http://{S4}/more")


@scenario("Handshake with MSS as the only option",
          client={"net.ipv4.tcp_timestamps": 0, "net.ipv4.tcp_sack": 0,
                  "net.ipv4.tcp_window_scaling": 0},
          tests=("handshake_bare", "handshake_bare_as_client"))
def handshake_bare(x):
    """`curl` from nginx, client with timestamps, SACK and window scaling off"""
    nginx(x, more=noise(9000))
    curl(x, f"http://{S4}/more")


@scenario("SYN that asks for ECN (ECE and CWR set)", client={"net.ipv4.tcp_ecn": 1})
def handshake_ecn(x):
    """`curl` from nginx, client with `tcp_ecn=1`"""
    nginx(x, page=PAGE)
    curl(x, f"http://{S4}/page")


@scenario("SYN with an option of a kind most stacks do not know (Fast Open cookie request)",
          client={"net.ipv4.tcp_fastopen": 1})
def handshake_fastopen(x):
    """`curl --tcp-fastopen` from nginx"""
    nginx(x, page=PAGE)
    curl(x, f"--tcp-fastopen http://{S4}/page")


@scenario("A small MSS (536) in the SYN: no segment may be larger")
def handshake_small_mss(x):
    """`curl` from nginx, client's route with `advmss 536`"""
    nginx(x, more=noise(9000))
    x.client.sh(f"ip route add {S4}/32 dev rec0 advmss 536")
    curl(x, f"http://{S4}/more")


@scenario("Upload of 60 kB, answered after the last byte", tests=("upload", "upload_as_client"))
def upload(x):
    """`curl -T` to Python's `http.server` with a `do_PUT`"""
    (x.scratch / "body").write_bytes(noise(60000))
    x.server.spawn(sys.executable, "-c", PUT_SERVER)
    x.wait_for_port(8000)
    curl(x, f"-H Expect: -T {x.scratch}/body http://{S4}:8000/body")


PUT_SERVER = """
import http.server, hashlib
class Put(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        answer = hashlib.sha256(body).hexdigest().encode()
        self.send_response(200); self.send_header('Content-Length', str(len(answer)))
        self.end_headers(); self.wfile.write(answer)
    def log_message(self, *_): pass
http.server.HTTPServer(('', 8000), Put).serve_forever()
"""


@scenario("Download of 60 kB in slow start", tests=("download", "download_as_client"))
def download(x):
    """`curl` from nginx"""
    nginx(x, file=noise(60000))
    curl(x, f"http://{S4}/file")


@scenario("The server closes first (HTTP/1.0): we pass through FIN-WAIT and TIME-WAIT",
          tests=("server_closes", "server_closes_as_client"))
def server_closes(x):
    """`curl -0` from nginx"""
    nginx(x, more=noise(9000))
    curl(x, f"-0 http://{S4}/more")


@scenario("Half-close: the client says FIN, the answer comes after it",
          tests=("half_close", "half_close_as_client"))
def half_close(x):
    """`nc -N` to `socat` running `sha256sum` on what came up to EOF"""
    (x.scratch / "body").write_bytes(noise(20000))
    x.server.spawn("socat", "TCP-LISTEN:9000,reuseaddr", "SYSTEM:sleep 0.2; sha256sum")
    x.wait_for_port(9000)
    x.client.sh(f"nc -N -w 10 {S4} 9000 < {x.scratch}/body > /dev/null")


@scenario("Small messages to and fro, as a terminal session sends them")
def interactive(x):
    """`nc` typing lines to a `socat` echo server every 50 ms"""
    x.server.spawn("socat", "TCP-LISTEN:9000,reuseaddr", "EXEC:cat")
    x.wait_for_port(9000)
    x.client.sh(f"(for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.05; done)"
                f" | nc -N -w 10 {S4} 9000 > /dev/null")


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


@scenario("Segments of a download are lost: SACK names the holes, the server fills them",
          rule=nth(FROM_SERVER, {5, 12, 13}))
def loss_download(x):
    """`curl` from nginx, 5th, 12th and 13th data segment lost"""
    nginx(x, file=noise(80000))
    curl(x, f"http://{S4}/file")


@scenario("A retransmission is lost too, and SACK of later segments could tell",
          rule=lose_first_copies(FROM_SERVER, 5, 2))
def loss_retransmission_sack(x):
    """`curl` from nginx, the 5th data segment lost twice"""
    nginx(x, file=noise(80000))
    curl(x, f"http://{S4}/file")


@scenario("Loss without SACK: duplicate ACKs alone name the hole",
          client={"net.ipv4.tcp_sack": 0}, rule=nth(FROM_SERVER, {5}))
def loss_download_no_sack(x):
    """`curl` from nginx, client with `tcp_sack=0`, 5th data segment lost"""
    nginx(x, file=noise(60000))
    curl(x, f"http://{S4}/file")


@scenario("A retransmission is lost as well: only the timer is left",
          rule=lose_first_copies(FROM_SERVER, 4, 3))
def loss_retransmission(x):
    """`curl` from nginx, the 4th data segment lost three times over"""
    nginx(x, file=noise(12000))
    curl(x, f"http://{S4}/file")


@scenario("The last segment is lost: no duplicate ACK can tell, a probe or the timer must",
          rule=nth(FROM_SERVER, {14}))
def loss_tail(x):
    """`curl` from nginx, the 14th and last data segment lost"""
    nginx(x, file=noise(20000 - 300 - 1448))
    curl(x, f"http://{S4}/file")


@scenario("SYN,ACK lost: the server repeats it",
          rule=nth(FROM_SERVER, {1}, of=lambda packet: packet.syn))
def loss_syn_ack(x):
    """`curl` from nginx, first SYN,ACK lost"""
    nginx(x, page=PAGE)
    curl(x, f"http://{S4}/page")


@scenario("The server's FIN is lost: it repeats it from FIN-WAIT-1",
          rule=nth(FROM_SERVER, {1}, of=lambda packet: packet.fin))
def loss_fin(x):
    """Python sockets: the server sends 3 kB and closes, its first FIN lost"""
    ours, theirs = pair(x)
    theirs.send(noise(3000))
    drain(ours, 3000)
    x.link.settle(0.1)
    theirs.close()
    drain(ours)
    ours.close()
    x.link.settle(0.5)


@scenario("Segments of an upload are lost: we report the holes by SACK",
          rule=nth(FROM_CLIENT, {4, 9, 10}))
def loss_upload(x):
    """`curl -T` to `http.server`, 4th, 9th and 10th data segment lost"""
    upload(x)


@scenario("Segments of an upload come out of order and twice: D-SACK, no duplicate bytes",
          rule=both(nth(FROM_CLIENT, {5, 11}, 0.004), nth(FROM_CLIENT, {7, 20}, "twice")))
def reorder_upload(x):
    """`curl -T` to `http.server`, two data segments held back by 4 ms, two doubled"""
    upload(x)


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


@scenario("Window scaling: more than 64 kB in flight", delay=0.02,
          client={"net.ipv4.tcp_rmem": "4096 1048576 4194304"})
def window_scaling(x):
    """`curl` from nginx over a round trip of 40 ms, client's buffer from 1 MB on"""
    nginx(x, file=noise(200000))
    curl(x, f"http://{S4}/file")


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


@scenario("nmap's half-open and odd-flag probes of closed ports (SYN, NULL, FIN, Xmas, ACK)")
def scan_closed_ports(x):
    """`nmap -sS`, `-sN`, `-sF`, `-sX`, `-sA` against ports nobody listens on"""
    for kind in ("S", "N", "F", "X", "A"):
        x.client.sh(f"nmap -n -Pn --send-ip -s{kind} --max-retries 0 -p 81-82 {S4}", check=False)


def udp_echo_server(x, family, address):
    x.server.spawn(sys.executable, "-c", f"""
import socket
s = socket.socket({int(family)}, socket.SOCK_DGRAM)
s.bind(({address!r}, 7))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
""")
    x.wait_for_port(7, udp=True)


def udp_echo_of(x, family, server, lengths):
    udp_echo_server(x, family, server)
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
