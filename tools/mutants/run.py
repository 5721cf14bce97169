#!/usr/bin/env python3
"""Breaks the TCP crate on purpose, one place at a time, and looks which test notices.

The mutants are drawn by a fixed seed from `cargo mutants --list`, plus those of `by-hand.toml`.
Each is applied in a scratch copy of the checked-out commit; the suite runs in stages, quickest
first, until one fails. A mutant that does not compile is replaced by the next one drawn.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BY_HAND = Path(__file__).with_name("by-hand.toml")
# Support for tests, compiled only with the feature `testing`; a stack without it is the same.
NOT_THE_STACK = "tcp/src/testing/"

TCP = ["cargo", "test", "--quiet", "-p", "ustack-tcp", "--features", "testing"]
# Name, command, and the seconds after which it is taken to hang (about ten times what it needs).
STAGES = [
    ("unit", [*TCP, "--lib"], 120),
    *[
        (name, [*TCP, "--test", name], 240)
        for name in ["receiving", "opening", "sending", "states", "soak", "recovery"]
    ],
    *[(name, [*TCP, "--test", name], 300) for name in ["transfer", "bad_links", "congestion"]],
    ("packetdrill", ["cargo", "test", "--quiet", "-p", "packetdrill"], 240),
    ("replay", ["cargo", "test", "--quiet", "-p", "replay"], 240),
    ("differential", ["cargo", "test", "--quiet", "--profile", "checked", "-p", "differential"], 600),
]


def drawn(seed):
    """All mutants of the stack in an order that depends on the seed only."""
    listing = subprocess.run(
        ["cargo", "mutants", "--list", "--json", "-p", "ustack-tcp"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout
    mutants = [m for m in json.loads(listing) if not m["file"].startswith(NOT_THE_STACK)]
    mutants.sort(key=lambda mutant: mutant["name"])
    random.Random(seed).shuffle(mutants)
    return [
        {"name": m["name"], "file": m["file"], "edit": span_edit(m["span"], m["replacement"])}
        for m in mutants
    ]


def by_hand():
    """The mutants of by-hand.toml; each names text that stands exactly once in its file."""
    return [
        {"name": f"{m['file']}: {m['name']}", "file": m["file"], "edit": text_edit(m)}
        for m in tomllib.loads(BY_HAND.read_text())["mutant"]
    ]


def span_edit(span, replacement):
    def offset(lines, place):
        # cargo-mutants counts lines and columns from one, columns in characters.
        return sum(map(len, lines[: place["line"] - 1])) + place["column"] - 1

    def edit(text):
        lines = text.splitlines(keepends=True)
        return text[: offset(lines, span["start"])] + replacement + text[offset(lines, span["end"]):]

    return edit


def text_edit(mutant):
    def edit(text):
        found = text.count(mutant["find"])
        if found != 1:
            sys.exit(f"{mutant['file']}: {mutant['name']}: its text stands {found} times, not once")
        return text.replace(mutant["find"], mutant["replace"])

    return edit


def passes(command, cwd, limit):
    """Whether a command ends well in time; it runs in a group of its own, which ends with it."""
    process = subprocess.Popen(
        command, cwd=cwd, start_new_session=True, env={**os.environ, "PROPTEST_FORK": "false"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False, "hangs"
    return process.returncode == 0, first_failure(output)


def first_failure(output):
    for line in output.splitlines():
        if line.startswith("---- ") and " stdout ----" in line:
            return line.split()[1]
    return "could not compile" if "could not compile" in output else "fails"


def judge(mutant, copy, stages):
    """Stage and test that noticed the mutant; None if nothing did, "unviable" if it is no code."""
    path = copy / mutant["file"]
    original = path.read_text()
    path.write_text(mutant["edit"](original))
    try:
        build = ["cargo", "check", "--quiet", "-p", "ustack-tcp", "--features", "testing"]
        if not passes(build, copy, 300)[0]:
            return "unviable", ""
        for name, command, limit in stages:
            fine, test = passes(command, copy, limit)
            if not fine:
                return name, test
        return None, ""
    finally:
        path.write_text(original)


def check_baseline(copy, stages):
    for name, command, _ in stages:
        fine, test = passes(command, copy, 1800)
        if not fine:
            sys.exit(f"{name} fails without any mutant: {test}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=9293)
    parser.add_argument("--count", type=int, default=100, help="how many to draw")
    parser.add_argument("--by-hand", action="store_true", help="those of by-hand.toml instead")
    parser.add_argument("--only", help="only mutants whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("mutants.csv"), help="also read: what is in it is not run again")
    parser.add_argument("--copy", type=Path, help="scratch copy to work in (its target directory stays warm)")
    parser.add_argument("--skip", default="", help="stages to leave out, with commas between")
    parser.add_argument("--skip-baseline", action="store_true")
    options = parser.parse_args()
    copy = options.copy or Path(tempfile.mkdtemp(prefix="ustack-mutants-"))
    if not (copy / "Cargo.toml").exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    stages = [stage for stage in STAGES if stage[0] not in options.skip.split(",")]
    if not options.skip_baseline:
        check_baseline(copy, stages)
    done = {}
    if options.out.exists():
        done = {row["mutant"]: row for row in csv.DictReader(options.out.open())}
    mutants = by_hand() if options.by_hand else drawn(options.seed)
    wanted = len(mutants) if options.by_hand else options.count
    tally = {"killed": 0, "survived": 0, "unviable": 0}
    with options.out.open("a", newline="") as file:
        table = csv.writer(file)
        if not done:
            table.writerow(["mutant", "verdict", "stage", "test", "seconds"])
        for mutant in mutants:
            if tally["killed"] + tally["survived"] >= wanted:
                break
            if options.only and options.only not in mutant["name"]:
                continue
            row = done.get(mutant["name"])
            if row is None:
                start = time.monotonic()
                stage, test = judge(mutant, copy, stages)
                verdict = "survived" if stage is None else "unviable" if stage == "unviable" else "killed"
                row = {"verdict": verdict}
                table.writerow([mutant["name"], verdict, stage or "", test, round(time.monotonic() - start)])
                file.flush()
                print(f"{verdict:9} {stage or '':12} {mutant['name']}", flush=True)
            tally[row["verdict"]] += 1
    print(", ".join(f"{count} {verdict}" for verdict, count in tally.items()))


if __name__ == "__main__":
    main()
