"""What middleboxes do to packets of IPv4 and TCP without IP options."""

import struct

from checksum import checksum

TCP, OPTIONS = 20, 40
RST = 4


def finish(packet):
    """The packet with the checksums that it should have."""
    packet = bytearray(packet)
    packet[10:12] = packet[36:38] = b"\0\0"
    packet[10:12] = checksum(bytes(packet[:TCP]))
    pseudo = packet[12:20] + struct.pack(">HH", 6, len(packet) - TCP)
    packet[36:38] = checksum(bytes(pseudo + packet[TCP:]))
    return bytes(packet)


def number(packet, at):
    """32 bits."""
    return int.from_bytes(packet[at:at + 4], "big")


def ack(packet):
    """The acknowledgment number."""
    return number(packet, TCP + 8)


def option(packet, kind):
    """Where an option of this kind begins, if there is one."""
    at, end = OPTIONS, TCP + (packet[TCP + 12] >> 4) * 4
    while at < end:
        if packet[at] == kind:
            return at
        if packet[at] == 0:
            return None
        at += 1 if packet[at] == 1 else max(2, packet[at + 1])
    return None


def without_option(packet, kind):
    """The packet with NOPs in the place of an option."""
    packet, at = bytearray(packet), option(packet, kind)
    if at is not None:
        length = packet[at + 1]
        packet[at:at + length] = b"\x01" * length
    return finish(packet)


def with_length(packet, kind, length):
    """The packet with another length in an option."""
    packet, at = bytearray(packet), option(packet, kind)
    if at is not None:
        packet[at + 1] = length
    return finish(packet)


def with_window(packet, window):
    """The packet with another window."""
    packet = bytearray(packet)
    packet[TCP + 14:TCP + 16] = struct.pack(">H", window)
    return finish(packet)


def reset(packet, back, ttl):
    """A RST to the receiver of a segment in its sender's name; `back`: the other way round."""
    header = bytearray(packet[:OPTIONS])
    payload = len(packet) - TCP - (packet[TCP + 12] >> 4) * 4
    seq = (number(packet, TCP + 4) + payload) & 0xFFFFFFFF
    if back:
        seq = ack(packet)
        header[12:20] = header[16:20] + header[12:16]
        header[TCP:TCP + 4] = header[TCP + 2:TCP + 4] + header[TCP:TCP + 2]
    header[2:4], header[8] = struct.pack(">H", OPTIONS), ttl
    header[TCP + 4:TCP + 16] = struct.pack(">IIBBH", seq, 0, 5 << 4, RST, 0)
    return finish(header)
