"""A pcapng writer for raw IP packets (draft-ietf-opsawg-pcapng §4)."""

import struct

LINKTYPE_RAW = 101
FROM_CLIENT = "client"
FROM_SERVER = "server"
# Bits 0-1 of epb_flags: 1 inbound, 2 outbound, seen from the server's device.
DIRECTION = {FROM_CLIENT: 1, FROM_SERVER: 2}


def option(code, value):
    """One option, padded to 32 bits."""
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def block(kind, body):
    """One block with both of its lengths."""
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


class Writer:
    """One section with one interface, times in nanoseconds."""

    def __init__(self, path, comment, snap=0):
        """Packets are cut after `snap` bytes, if that is not 0."""
        self.file, self.snap = open(path, "wb"), snap
        end = option(0, b"")
        section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + option(1, comment.encode()) + end
        self.file.write(block(0x0A0D0D0A, section))
        interface = struct.pack("<HHI", LINKTYPE_RAW, 0, snap)
        interface += option(2, b"rec0") + option(9, b"\x09") + end
        self.file.write(block(1, interface))

    def packet(self, nanos, data, sender, comment=None):
        """Appends a packet; `sender` decides its direction flag."""
        length, data = len(data), data[:self.snap or None]
        body = struct.pack("<IIIII", 0, nanos >> 32, nanos & 0xFFFFFFFF, len(data), length)
        body += data + b"\0" * (-len(data) % 4)
        if comment:
            body += option(1, comment.encode())
        body += option(2, struct.pack("<I", DIRECTION[sender])) + option(0, b"")
        self.file.write(block(6, body))

    def close(self):
        """Flushes and closes the file."""
        self.file.close()
