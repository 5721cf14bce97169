#!/usr/bin/env python3
"""Records pcaps/faults/ again, from nothing: conversations between two kernels that go wrong, each
at five delays and seeds, for `ustack explain`. Needs root. Packets are recorded up to 120 bytes, as
`tcpdump -s 120` does. With names, only those faults are recorded.

    sudo tools/record-pcaps/faults.py [--into DIRECTORY] [NAME…]
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile

from ends import C4, S4
from link import Link, open_tun
from netns import Namespace
from pcapng import Writer
from record import PCAPS, Bench
from scenarios.faults import FAULTS

# Seeds, and delays each way in seconds.
RUNS = [(1, 0.001), (2, 0.010), (3, 0.025), (4, 0.060), (5, 0.110)]
SNAP = 120
SECONDS_EACH = 120

HEAD = """# Conversations between kernels that go wrong

Each fault is recorded five times by `sudo tools/record-pcaps/faults.py` in throw-away network
namespaces, at round trips of 2, 20, 50, 120 and 220 ms and with other numbers each time. Packets
are recorded up to 120 bytes. `tools/explain/tests/kernels.rs` reads all of them and looks for the
cause in the first three lines of what is told. This page is written by the recorder.

| Files | What they show | Recorded with | At |
|---|---|---|---|
"""


class Wire(Link):
    """What gets lost before it comes to where packets are recorded is not seen there, as in a
    capture that somebody makes."""

    def deliver(self, packet, lost):
        if not (lost and packet.sender != self.vantage):
            super().deliver(packet, lost)

    def record(self, packet, lost):
        super().record(packet, False)


def record(fault, seed, delay, target):
    """One run of one fault."""
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="record-pcaps-"))
    partial = target / f"{fault.name}-{seed}.pcapng.tmp"
    tag = f"rec{os.getpid()}"
    signal.alarm(SECONDS_EACH)
    try:
        with Namespace(f"{tag}c") as client, Namespace(f"{tag}s") as server:
            client.sysctl(**fault.client)
            server.sysctl(**fault.server)
            fds = (open_tun(client, 1500, [f"{C4}/24"]), open_tun(server, 1500, [f"{S4}/24"]))
            writer = Writer(partial, fault.shows, SNAP)
            link = Wire(*fds, writer, delay, fault.vantage, fault.rule(seed, delay))
            link.start()
            fault.run(Bench(client, server, link, scratch), seed)
            link.settle(limit=3.0)
            link.stop()
            writer.close()
        partial.rename(target / f"{fault.name}-{seed}.pcapng")
    finally:
        signal.alarm(0)
        partial.unlink(missing_ok=True)
        shutil.rmtree(scratch)


def write_readme(target):
    """The table of pcaps/faults/README.md."""
    page = HEAD
    for fault in FAULTS:
        how = " ".join(fault.run.__doc__.split())
        point = "the client" if fault.vantage == "client" else "the server"
        page += f"| `{fault.name}-1.pcapng` to `-5` | {fault.shows} | {how} | {point} |\n"
    (target / "README.md").write_text(page)


def main(names, target):
    if os.geteuid() != 0:
        sys.exit("faults.py: namespaces and TUN devices need root: run it with sudo")
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            sys.exit(f"faults.py: no fault is named {name}; there are {', '.join(known)}")
    target.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names or known:
        for seed, delay in RUNS:
            try:
                record(known[name], seed, delay, target)
                size = (target / f"{name}-{seed}.pcapng").stat().st_size
                print(f"{name}-{seed:<8} {size:8} bytes", flush=True)
            except Exception as error:
                failed.append(f"{name}-{seed}")
                print(f"{name}-{seed:<8} failed: {error!r}", flush=True)
    write_readme(target)
    if failed:
        sys.exit(f"faults.py: failed: {', '.join(failed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="faults.py", description="Records the captures of pcaps/faults/ again, from nothing.")
    parser.add_argument("--into", type=pathlib.Path, default=PCAPS / "faults", metavar="DIRECTORY",
                        help="where the captures go (default: pcaps/faults/)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    asked = parser.parse_args()
    main(asked.names, asked.into)
