"""What the link does to packets: rules that look at each as it is sent.

A rule's maker is called once per recording, so that rules may count.
"""

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
