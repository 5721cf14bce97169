"""Handshakes and plain transfers."""

import sys

from ends import PAGE, S4, S6, curl, nginx, noise
from registry import scenario


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
