"""Programs as people run them, often with several connections in one file."""

import os
import subprocess
import sys

from ends import S4, S6, curl, nginx, noise
from registry import scenario


@scenario("`wget` asks Python's server (HTTP/1.0, which closes first) for 60 kB",
          tests=("wget_download", "wget_download_as_client"))
def wget_download(x):
    """`wget` from `python -m http.server`"""
    (x.scratch / "file").write_bytes(noise(60000))
    x.server.spawn(sys.executable, "-m", "http.server", "-d", str(x.scratch), "8000")
    x.wait_for_port(8000)
    x.client.sh(f"wget -q -O /dev/null http://{S4}:8000/file")


@scenario("60 kB over IPv6", tests=("wget_ipv6", "wget_ipv6_as_client"))
def wget_ipv6(x):
    """`wget` from nginx"""
    nginx(x, file=noise(60000))
    x.client.sh(f"wget -q -O /dev/null 'http://[{S6}]/file'")


@scenario("Eight downloads at once, each on its own connection: their packets lie in one another",
          tests=("curl_parallel", "curl_parallel_as_client"))
def curl_parallel(x):
    """`curl --parallel` with eight URLs from nginx"""
    nginx(x, **{f"file{n}": noise(3000 + 1500 * n, n) for n in range(8)})
    urls = " ".join(f"-o /dev/null http://{S4}/file{n}" for n in range(8))
    curl(x, f"--no-keepalive --parallel --parallel-immediate {urls}")


@scenario("A page with a style sheet, scripts and pictures, as a browser fetches it: several "
          "connections, kept open for more requests",
          tests=("chromium_page", "chromium_page_as_client"))
def chromium_page(x):
    """headless Chromium from nginx"""
    parts = {f"picture{n}.svg": picture(n) for n in range(8)}
    parts["style.css"] = b"body { color: #123 }\n" + b"/* " + noise(1500).hex().encode() + b" */\n"
    parts["script.js"] = b"document.title = 'loaded'; // " + noise(2500).hex().encode() + b"\n"
    tags = "".join(f"<img src=picture{n}.svg>" for n in range(8))
    page = f"<!doctype html><link rel=stylesheet href=style.css>{tags}<script src=script.js></script>"
    nginx(x, **parts, **{"index.html": page.encode()})
    flags = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
             "--disable-background-networking --disable-component-update --disable-sync "
             "--disable-dev-shm-usage --disable-extensions")
    environment = f"HOME={x.scratch} XDG_CONFIG_HOME={x.scratch}"
    x.client.sh(f"{environment} chromium {flags} --user-data-dir={x.scratch}/profile "
                f"--timeout=8000 --dump-dom http://{S4}/ > {x.scratch}/dom", timeout=50)
    assert b"picture7.svg" in (x.scratch / "dom").read_bytes()


def picture(number):
    """A picture of some kilobytes."""
    noisy = noise(700 * (number + 1), number).hex()
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><!-- {noisy} -->"
            "<rect width='9' height='9'/></svg>").encode()


@scenario("A login with a key and a command whose output is 4 kB",
          tests=("ssh_command", "ssh_command_as_client"))
def ssh_command(x):
    """`ssh` to `sshd`, both with keys made for this recording"""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "recording",
                        "-f", str(x.scratch / name)], check=True)
    (x.scratch / "user.pub").rename(x.scratch / "authorized")
    conf = x.scratch / "sshd_config"
    conf.write_text(f"""
ListenAddress {S4}
HostKey {x.scratch}/host
AuthorizedKeysFile {x.scratch}/authorized
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
PrintMotd no
""")
    os.makedirs("/run/sshd", exist_ok=True)
    x.server.spawn("/usr/sbin/sshd", "-D", "-e", "-f", str(conf))
    x.wait_for_port(22)
    options = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes"
    x.client.sh(f"ssh -F none {options} -i {x.scratch}/user root@{S4} seq 1000 1800")


@scenario("A clone over HTTP: a request for the references, one for the pack",
          tests=("git_clone", "git_clone_as_client"))
def git_clone(x):
    """`git clone` from `git http-backend` behind Python's `http.server`"""
    source, target = x.scratch / "made.git", x.scratch / "cloned"
    environment = {"HOME": str(x.scratch), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "r", f"GIT_{role}_EMAIL": "r@ustack.example",
                        f"GIT_{role}_DATE": "2000-01-01T00:00:00Z"}
    git(environment, "init", "-q", "-b", "main", str(source))
    for n in range(6):
        (source / f"file{n}").write_bytes(noise(4000, n))
        git(environment, "-C", str(source), "add", ".")
        git(environment, "-C", str(source), "commit", "-q", "-m", f"file {n}")
    x.server.spawn(sys.executable, "-c", GIT_SERVER, str(x.scratch), env=os.environ | environment)
    x.wait_for_port(8000)
    x.client.sh(f"HOME={x.scratch} git clone -q http://{S4}:8000/made.git/.git {target}")
    assert (target / "file5").exists()


def git(environment, *arguments):
    subprocess.run(["git", *arguments], env=os.environ | environment, check=True)


GIT_SERVER = """
import http.server, os, subprocess, sys
class Git(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        path, _, query = self.path.partition('?')
        environment = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL='1',
            PATH_INFO=path, QUERY_STRING=query, REQUEST_METHOD=self.command,
            CONTENT_TYPE=self.headers.get('Content-Type', ''), CONTENT_LENGTH=str(len(body)),
            HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding', ''),
            GIT_PROTOCOL=self.headers.get('Git-Protocol', ''))
        done = subprocess.run(['git', 'http-backend'], input=body, env=environment,
                              capture_output=True)
        head, _, answer = done.stdout.partition(b'\\r\\n\\r\\n')
        self.send_response(200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(': ')
            if name != 'Status':
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('', 8000), Git).serve_forever()
"""


@scenario("A measured upload: a control connection beside that of the data",
          tests=("iperf3_upload", "iperf3_upload_as_client"))
def iperf3_upload(x):
    """`iperf3 -n 100K`"""
    iperf3(x, "-n 100K -l 10K")


@scenario("A measured download: the server sends on a connection that the client opened",
          tests=("iperf3_download", "iperf3_download_as_client"))
def iperf3_download(x):
    """`iperf3 -R -n 60K`"""
    iperf3(x, "-R -n 60K -l 10K")


def iperf3(x, arguments):
    x.server.spawn("iperf3", "-s", "-1")
    x.wait_for_port(5201)
    x.client.sh(f"iperf3 -c {S4} {arguments}")


@scenario("A DNS answer over UDP", tests=("dns_udp",))
def dns_udp(x):
    """`dig` against dnsmasq"""
    dnsmasq(x)
    x.client.sh(f"dig +tries=1 @{S4} host.ustack.example")


@scenario("A DNS answer over UDP, IPv6", tests=("dns_udp_ipv6",))
def dns_udp_ipv6(x):
    """`dig` against dnsmasq"""
    dnsmasq(x)
    x.client.sh(f"dig +tries=1 @{S6} AAAA host.ustack.example")


@scenario("A DNS answer too long for UDP: truncated there, whole over TCP",
          tests=("dns_truncated_udp", "dns_truncated", "dns_truncated_as_client"))
def dns_truncated(x):
    """`dig` against dnsmasq, 24 TXT records of 200 bytes"""
    dnsmasq(x)
    x.client.sh(f"dig +tries=1 @{S4} TXT long.ustack.example")


@scenario("Several questions on one TCP connection", tests=("dns_tcp", "dns_tcp_as_client"))
def dns_tcp(x):
    """`dig +tcp +keepopen` against dnsmasq"""
    dnsmasq(x)
    questions = " ".join(["host.ustack.example", "AAAA host.ustack.example",
                          "TXT long.ustack.example", "nothing.ustack.example"])
    x.client.sh(f"dig +tcp +keepopen +tries=1 @{S4} {questions}")


def dnsmasq(x):
    """dnsmasq that knows two names of ustack.example."""
    long = [f"--txt-record=long.ustack.example,{noise(100, n).hex()}" for n in range(24)]
    x.server.spawn("dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                   "--bind-interfaces", "--local=/ustack.example/", "--pid-file",
                   "--host-record=host.ustack.example,192.0.2.1,2001:db8::1", *long)
    x.wait_for_port(53)
