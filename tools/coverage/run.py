#!/usr/bin/env python3
"""Line coverage of tcp/, udp/ and src/ip by all tests that need neither a device nor root.

Needs cargo-llvm-cov and Debian's llvm-19 (its llvm-cov reads the profiles of current compilers).
Code of tests is not counted: files and modules under `#[cfg(test)]`, and the support in
tcp/src/testing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["tcp/src", "udp/src", "src/ip"]
NOT_COUNTED = re.compile(
    r"/tests/|/tests\.rs|/testing/|^tcp/src/congestion/model"
    r"|/(endpoint|flight|reassembler|reassembly)/model\.rs"
)
# Feature sets differ, so the packages are built in turns.
TESTS = [
    ["-p", "ustack-tcp", "-p", "ustack-udp", "--features", "ustack-tcp/testing"],
    ["-p", "packetdrill", "-p", "replay", "-p", "differential", "-p", "fuzz-cases"],
    ["-p", "ustack", "--lib", "--test", "sockets", "--test", "smoltcp_peer", "--test", "garbage",
     "--test", "life_of_a_segment"],
]
TOOLS = {
    "LLVM_COV": "llvm-cov-19",
    "LLVM_PROFDATA": "llvm-profdata-19",
    # Without this it would fetch a component of the toolchain by itself.
    "CARGO_LLVM_COV_SETUP": "no",
}


def llvm_cov(*arguments, capture=False):
    command = ["cargo", "llvm-cov", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **TOOLS}, stdout=subprocess.PIPE if capture else None, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    return done.stdout


def covered_lines(segments, last):
    """Execution count per line, as llvm-cov counts lines: a line has the highest count of the
    regions that begin on it or reach into it; one without a region is no code."""
    counts, wrapped, at = {}, None, 0
    for line in range(1, last + 1):
        here = []
        while at < len(segments) and segments[at][0] == line:
            here.append(segments[at])
            at += 1
        starts = [s for s in here if s[3] and s[4] and not s[5]]
        reaches = wrapped is not None and wrapped[3]
        skipped = here and not here[0][3] and here[0][4]
        if not skipped and (reaches or starts):
            counts[line] = max([s[2] for s in starts] + [wrapped[2] if reaches else 0])
        if here:
            wrapped = here[-1]
    return counts


def end_of_code(source):
    """Lines before the file's `#[cfg(test)] mod tests { … }`."""
    for number, line in enumerate(source):
        if line.strip() == "#[cfg(test)]" and re.match(r"\s*mod \w+ \{", source[number + 1]):
            return number
    return len(source)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uncovered", action="store_true", help="list the lines that no test runs")
    parser.add_argument("--report-only", action="store_true", help="use the profiles of the last run")
    options = parser.parse_args()
    if not options.report_only:
        llvm_cov("clean", "--workspace")
        for packages in TESTS:
            llvm_cov("--no-report", "--quiet", *packages)
    report = llvm_cov("report", "--json", "-p", "ustack", "-p", "ustack-tcp", "-p", "ustack-udp", capture=True)
    rooms = defaultdict(lambda: [0, 0])
    for file in json.loads(report)["data"][0]["files"]:
        path = Path(file["filename"])
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        room = next((room for room in ROOMS if name.startswith(room)), None)
        if room is None or NOT_COUNTED.search(name):
            continue
        source = path.read_text().split("\n")
        counts = covered_lines(file["segments"], end_of_code(source))
        rooms[room][0] += sum(count > 0 for count in counts.values())
        rooms[room][1] += len(counts)
        missing = [line for line, count in counts.items() if count == 0]
        if options.uncovered and missing:
            print(f"\n{name}")
            for line in missing:
                print(f"{line:5}  {source[line - 1].strip()}")
    print()
    for room in ROOMS:
        covered, lines = rooms[room]
        print(f"{room:8} {covered:6} of {lines:6} lines  {100 * covered / lines:6.2f} %")


if __name__ == "__main__":
    main()
