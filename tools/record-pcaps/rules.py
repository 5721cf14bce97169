"""What the link does to packets: rules that look at each as it is sent.

A rule's maker is called once per recording, so that rules may count.
"""

import random
import time


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


def sometimes(sender, chance, verdict="lose", seed=1, of=lambda packet: packet.payload > 0):
    """A rule: `verdict` for the packets of `sender` that `of` admits, each with this chance. A
    verdict may be a function that is asked for one with a random number below 1."""

    def make():
        draw = random.Random(seed).random

        def rule(packet):
            if packet.sender != sender or not of(packet) or draw() >= chance:
                return None
            return verdict(draw()) if callable(verdict) else verdict

        return rule

    return make


def between(sender, first, last, verdict="lose", of=lambda packet: True):
    """A rule: `verdict` for the packets of `sender` that `of` admits, from one number to another,
    counted from 1, repetitions as well."""

    def make():
        seen = 0

        def rule(packet):
            nonlocal seen
            if packet.sender != sender or not of(packet):
                return None
            seen += 1
            return verdict if first <= seen <= last else None

        return rule

    return make


def pause(sender, first, seconds, of):
    """A rule: from the `first` packet of `sender` that `of` admits on, all it sends waits until so
    many seconds later, and then arrives at once, in any order."""

    def make():
        seen, release = 0, None

        def rule(packet):
            nonlocal seen, release
            if packet.sender != sender:
                return None
            seen += bool(of(packet))
            if release is None and seen == first:
                release = time.monotonic() + seconds
            late = (release or 0) - time.monotonic()
            return late if late > 0 else None

        return rule

    return make


def congested(sender, numbers):
    """A rule: a router marks these ECN-capable data packets of `sender`, by their number from 1, with
    Congestion Experienced instead of dropping them (RFC 3168 §5)."""

    def make():
        seen = 0

        def rule(packet):
            nonlocal seen
            if packet.sender != sender or packet.ecn not in (1, 2):
                return None
            seen += 1
            return packet.marked() if seen in numbers else None

        return rule

    return make


def lose_window_update(sender):
    """A rule: the first segment of `sender` that opens a window it had closed is lost."""

    def make():
        closed = lost = False

        def rule(packet):
            nonlocal closed, lost
            if packet.sender != sender or packet.window is None or lost:
                return None
            lost = closed and packet.window > 0
            closed = packet.window == 0
            return "lose" if lost else None

        return rule

    return make
