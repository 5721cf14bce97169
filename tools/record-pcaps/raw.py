"""A TCP server without a kernel: it says what it is told to, right or wrong."""

import socket
import struct
import time

from checksum import checksum
from ends import C4, S4

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ETH_P_IP = 0x0800
MSS = 1460


class Segment:
    """A received segment; `seq` and `ack` count from the ISNs."""

    def __init__(self, server, data):
        header = (data[0] & 15) * 4
        self.source, _, seq, ack, offset, self.flags, self.window = struct.unpack(
            ">HHIIBBH", data[header:header + 16])
        self.wire_seq = seq
        self.seq = (seq - server.their_isn) & 0xFFFFFFFF
        self.ack = (ack - server.isn) & 0xFFFFFFFF
        end = struct.unpack(">H", data[2:4])[0]
        self.payload = data[header + (offset >> 4) * 4:end]

    @property
    def end(self):
        return self.seq + len(self.payload) + bool(self.flags & FIN) + bool(self.flags & SYN)


class RawServer:
    """Takes the server's address away from its kernel and speaks for it, with MSS as the only
    option, so that windows are what they look like."""

    def __init__(self, x, port=9000, window=65000):
        x.server.sh(f"ip addr del {S4}/24 dev rec0 && ip route add 10.88.0.0/24 dev rec0")
        with x.server.inside():
            self.input = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            self.input.bind(("rec0", ETH_P_IP))
            self.output = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.port, self.window = port, window
        self.isn, self.their_isn, self.peer = 0x10000000, 0, None
        self.arrived = 0

    def expect(self, wanted, limit=10.0):
        """The next segment for which `wanted` holds; what comes before it is taken note of."""
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            self.input.settimeout(left)
            data, (*_, kind, _, _) = self.input.recvfrom(65536)
            if kind == socket.PACKET_OUTGOING or data[9] != 6:
                continue
            segment = Segment(self, data)
            if segment.flags & SYN:
                self.their_isn, self.peer = segment.wire_seq, segment.source
                segment.seq = 0
            if segment.seq <= self.arrived:
                self.arrived = max(self.arrived, segment.end)
            if wanted(segment):
                return segment
        raise TimeoutError("the client does not say what was expected of it")

    def say(self, flags=ACK, seq=1, payload=b"", ack=None, window=None, options=b""):
        """Sends one segment."""
        ack = self.arrived if ack is None else ack
        window = self.window if window is None else window
        tcp = struct.pack(
            ">HHIIBBHHH", self.port, self.peer, (self.isn + seq) & 0xFFFFFFFF,
            (self.their_isn + ack) & 0xFFFFFFFF if flags & ACK else 0,
            (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options + payload
        ends = socket.inet_aton(S4) + socket.inet_aton(C4)
        tcp = tcp[:16] + checksum(ends + struct.pack(">HH", 6, len(tcp)) + tcp) + tcp[18:]
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + ends
        ip = ip[:10] + checksum(ip) + ip[12:]
        self.output.sendto(ip + tcp, (C4, 0))

    def accept(self):
        """The server's part of the handshake; the client's window after it."""
        self.expect(lambda segment: segment.flags & SYN)
        self.say(SYN | ACK, seq=0, options=struct.pack(">BBH", 2, 4, MSS))
        return self.expect(lambda segment: segment.flags & ACK and segment.ack == 1).window

    def finish(self, seq):
        """Says FIN at `seq`, and waits for the client's."""
        self.say(FIN | ACK, seq=seq)
        fin = self.expect(lambda segment: segment.flags & FIN)
        self.say(seq=seq + 1, ack=fin.end)
