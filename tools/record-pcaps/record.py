#!/usr/bin/env python3
"""Records the captures of pcaps/ again, from nothing: kernel clients and servers in two throw-away
network namespaces, joined by a link of this program's own. Needs root and the programs of PROGRAMS
below, which it looks for first. Takes some minutes. With names, only those captures are recorded;
`--into` leaves pcaps/ as it is and records into another directory.

    sudo tools/record-pcaps/record.py [--into DIRECTORY] [NAME…]
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from ends import C4, C6, S4, S6
from link import Link, open_tun
from netns import Namespace
from pcapng import Writer
from registry import SCENARIOS
from scenarios import KINDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PCAPS = ROOT / "pcaps"
# What is needed, and the Debian package it comes in.
PROGRAMS = {
    "ip": "iproute2", "ss": "iproute2", "curl": "curl", "wget": "wget", "nginx": "nginx",
    "socat": "socat", "nc": "netcat-openbsd", "nmap": "nmap", "hping3": "hping3",
    "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "ping": "iputils-ping",
    "traceroute": "traceroute", "iperf3": "iperf3", "git": "git", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "sshd": "openssh-server", "chromium": "chromium",
}
SECONDS_EACH = 60


class Bench:
    """What a scenario works with: both namespaces, the link, a scratch directory."""

    def __init__(self, client, server, link, scratch):
        self.client, self.server, self.link, self.scratch = client, server, link, scratch

    def wait_for_port(self, port, udp=False):
        """Waits until something in the server's namespace has bound `port`."""
        kind = "u" if udp else "t"
        for _ in range(200):
            if self.server.sh(f"ss -Hln{kind} 'sport = :{port}'").stdout.strip():
                return
            time.sleep(0.05)
        raise TimeoutError(f"nothing listens on port {port}")


def record(wanted, target):
    """One scenario into one file of the directory `target`."""
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="record-pcaps-"))
    scratch.chmod(0o755)
    partial = target / f"{wanted['name']}.pcapng.tmp"
    tag = f"rec{os.getpid()}"
    signal.alarm(SECONDS_EACH)
    try:
        with Namespace(f"{tag}c") as client, Namespace(f"{tag}s") as server:
            client.sysctl(**wanted["client"])
            server.sysctl(**wanted["server"])
            fds = (
                open_tun(client, wanted["mtu"], [f"{C4}/24", f"{C6}/64"]),
                open_tun(server, wanted["mtu"], [f"{S4}/24", f"{S6}/64"]),
            )
            writer = Writer(partial, wanted["shows"])
            link = Link(*fds, writer, wanted["delay"], wanted["vantage"], wanted["rule"]())
            link.start()
            wanted["run"](Bench(client, server, link, scratch))
            link.settle()
            link.stop()
            writer.close()
        partial.rename(target / f"{wanted['name']}.pcapng")
    finally:
        signal.alarm(0)
        partial.unlink(missing_ok=True)
        shutil.rmtree(scratch)


HEAD = """# Recorded conversations

Each file holds one conversation between Linux's own stacks (or one kind of it), recorded by
`sudo tools/record-pcaps/record.py` in throw-away network namespaces, and replayed by
`cargo test -p replay`: one side's packets go into ustack, and what comes out is checked against
what the kernel on the other side answered.

Files are pcapng with raw IP packets and nanosecond times, in Wireshark's terms
`LINKTYPE_RAW`. The client is 10.88.0.1 or fd88::1, the server 10.88.0.2 or fd88::2. Times are those
at the server's device (`simultaneous-open`: at the client's); a packet that the link lost carries a
comment that begins with `lost`. This page is written by the recorder.

`faults/` holds conversations that go wrong, for `ustack explain`; its own page lists them.

Besides the tests named here, `tools/replay/tests/kernel.rs` reads all TCP captures (the kernel's
own segments keep every rule the stack's are held to), and most are replayed again with other
sequence numbers, with NewReno and with small buffers.

"""

TABLE = """
## {kind}

| File | What it shows | Recorded with | Replayed by |
|---|---|---|---|
"""


def row(one):
    """One capture's line of the page."""
    tests = ", ".join(f"`{test}`" for test in one["tests"])
    how = " ".join(one["how"].split())
    return f"| `{one['name']}.pcapng` | {one['shows']} | {how} | {tests} |\n"


def write_readme(target):
    """The tables of pcaps/README.md."""
    page = HEAD
    for kind in KINDS:
        page += TABLE.format(kind=kind.__doc__.strip().rstrip("."))
        page += "".join(row(one) for one in SCENARIOS if one["kind"] == kind.__name__)
    (target / "README.md").write_text(page)


def arguments():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="record.py", description="Records the captures of pcaps/ again, from nothing.")
    parser.add_argument("--into", type=pathlib.Path, default=PCAPS, metavar="DIRECTORY",
                        help="where the captures go (default: pcaps/)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    return parser.parse_args()


def check(names, known):
    """Ends the program when it cannot record what was asked for."""
    if os.geteuid() != 0:
        sys.exit("record.py: namespaces and TUN devices need root: run it with sudo")
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        packages = sorted({PROGRAMS[program] for program in missing})
        sys.exit(f"record.py: not installed: {', '.join(missing)}; "
                 f"apt-get install {' '.join(packages)}")
    for name in names:
        if name not in known:
            sys.exit(f"record.py: no recording is named {name}; there are {', '.join(known)}")


def main(names, target):
    known = {one["name"]: one for one in SCENARIOS}
    check(names, known)
    target.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names or known:
        try:
            record(known[name], target)
            size = (target / f"{name}.pcapng").stat().st_size
            print(f"{name:28} {size:8} bytes", flush=True)
        except Exception as error:
            failed.append(name)
            print(f"{name:28} failed: {error!r}", flush=True)
    write_readme(target)
    if failed:
        sys.exit(f"record.py: failed: {', '.join(failed)}")


if __name__ == "__main__":
    asked = arguments()
    main(asked.names, asked.into)
