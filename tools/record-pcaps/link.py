"""The link between the two namespaces: a TUN device in each, and a thread that carries packets
from one to the other, delays or loses the ones it was told to, and records them all.

A TUN device without offloads makes the kernel cut its segments to the MTU and complete their
checksums, so what is recorded is what a wire would carry. Times are those at the device of the end
that `vantage` names: what the other end sent is stamped as it arrives there. A packet the link
loses is recorded as well, with a comment that begins with "lost".
"""

import fcntl
import heapq
import os
import select
import struct
import threading
import time

from checksum import checksum
from pcapng import FROM_CLIENT, FROM_SERVER

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LOST = "lost on the way: the recorder dropped this packet"


def open_tun(namespace, mtu, addresses):
    """A TUN device named rec0 in `namespace`, up, with these addresses."""
    with namespace.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"rec0", IFF_TUN | IFF_NO_PI))
    commands = [f"ip link set rec0 mtu {mtu} addrgenmode none txqueuelen 2000"]
    commands += [f"ip addr add {address} dev rec0" for address in addresses]
    namespace.sh(" && ".join([*commands, "ip link set rec0 up"]))
    return fd


class Later:
    """A verdict: the packet arrives, and once more so many seconds later."""

    def __init__(self, seconds):
        self.seconds = seconds


class Refuse:
    """A verdict: the packet is lost, and a router sends this packet back to its sender."""

    def __init__(self, answer):
        self.answer = answer


class Inject:
    """A verdict: the packet arrives, and the link sends these to these ends in the other's name."""

    def __init__(self, packets):
        self.packets = packets


class Packet:
    """As much of an IP packet as a loss rule looks at."""

    def __init__(self, data, sender):
        self.data = data
        self.sender = sender
        self.version = data[0] >> 4
        self.protocol = data[9] if self.version == 4 else data[6]
        header = (data[0] & 15) * 4 if self.version == 4 else 40
        self.flags, self.payload, self.seq, self.window = 0, 0, None, None
        later = self.version == 4 and struct.unpack(">H", data[6:8])[0] & 0x1FFF
        if self.protocol == 6 and not later and len(data) >= header + 20:
            self.flags = data[header + 13]
            self.seq = data[header + 4:header + 8]
            self.window = int.from_bytes(data[header + 14:header + 16], "big")
            self.payload = len(data) - header - (data[header + 12] >> 4) * 4

    @property
    def syn(self):
        return bool(self.flags & 2)

    @property
    def fin(self):
        return bool(self.flags & 1)

    @property
    def ecn(self):
        """The two bits of ECN in the IP header."""
        return (self.data[1] if self.version == 4 else self.data[1] >> 4) & 3

    def marked(self):
        """The packet as a router leaves it that marks it Congestion Experienced."""
        data = bytearray(self.data)
        if self.version == 6:
            data[1] |= 0x30
            return bytes(data)
        data[1] |= 3
        data[10:12] = b"\0\0"
        data[10:12] = checksum(bytes(data[:(data[0] & 15) * 4]))
        return bytes(data)

    @property
    def noise(self):
        """Multicast chatter and neighbour discovery, which is no part of a conversation."""
        if self.version == 6:
            return self.data[24] == 0xFF or (self.protocol == 58 and 130 <= self.data[40] <= 137)
        return 224 <= self.data[16] <= 239


def other_end(end):
    """The end at the other side of the link."""
    return FROM_SERVER if end == FROM_CLIENT else FROM_CLIENT


class Link(threading.Thread):
    """Carries packets until `stop`; `rule(packet)` answers None, "lose", "twice", a number of
    extra seconds to hold the packet back, the bytes it is changed to on the way, or a verdict of
    one of the classes above."""

    def __init__(self, client, server, writer, delay, vantage, rule):
        super().__init__(daemon=True)
        self.fds = {FROM_CLIENT: client, FROM_SERVER: server}
        self.writer, self.delay, self.vantage, self.rule = writer, delay, vantage, rule
        self.queue, self.count, self.start_time = [], 0, time.monotonic()
        self.quit_read, self.quit_write = os.pipe()
        self.last = time.monotonic()

    def run(self):
        poller = select.poll()
        for fd in (*self.fds.values(), self.quit_read):
            poller.register(fd, select.POLLIN)
        while True:
            wait = None
            if self.queue:
                wait = max(0, (self.queue[0][0] - time.monotonic()) * 1000)
            ready = [fd for fd, _ in poller.poll(wait)]
            if self.quit_read in ready:
                return
            for sender, fd in self.fds.items():
                if fd in ready:
                    self.take(sender, fd)
            while self.queue and self.queue[0][0] <= time.monotonic():
                self.deliver(*heapq.heappop(self.queue)[2:])

    def take(self, sender, fd):
        """Reads everything a device has."""
        while True:
            try:
                packet = Packet(os.read(fd, 65536), sender)
            except BlockingIOError:
                return
            if packet.noise:
                continue
            self.send(packet, self.rule(packet))

    def send(self, packet, verdict):
        """What becomes of a packet that its sender has handed to the link."""
        lost = verdict == "lose" or isinstance(verdict, Refuse)
        if packet.sender == self.vantage:
            self.record(packet, lost)
        if isinstance(verdict, bytes):
            packet = Packet(verdict, packet.sender)
        self.enqueue(packet, lost, verdict if isinstance(verdict, float) else 0.0)
        if verdict == "twice":
            self.enqueue(packet)
        if isinstance(verdict, Later):
            self.enqueue(packet, extra=verdict.seconds)
        if isinstance(verdict, Inject):
            for end, data in verdict.packets:
                self.enqueue(Packet(data, other_end(end)))
        if isinstance(verdict, Refuse):
            self.enqueue(Packet(verdict.answer, other_end(packet.sender)))

    def enqueue(self, packet, lost=False, extra=0.0):
        self.count += 1
        due = time.monotonic() + self.delay + extra
        heapq.heappush(self.queue, (due, self.count, packet, lost))

    def deliver(self, packet, lost):
        """The packet reaches the other end, unless it is lost."""
        if packet.sender != self.vantage:
            self.record(packet, lost)
        if not lost:
            try:
                os.write(self.fds[other_end(packet.sender)], packet.data)
            except OSError:
                pass  # The other end is being torn down.

    def record(self, packet, lost):
        self.last = time.monotonic()
        nanos = int((self.last - self.start_time) * 1e9)
        self.writer.packet(nanos, packet.data, packet.sender, LOST if lost else None)

    def settle(self, quiet=0.3, limit=10.0):
        """Waits until nothing was recorded for `quiet` seconds, at most `limit`."""
        end = time.monotonic() + limit
        while time.monotonic() < end and (self.queue or time.monotonic() - self.last < quiet):
            time.sleep(0.02)

    def stop(self):
        os.write(self.quit_write, b"x")
        self.join(timeout=10)
        for fd in (*self.fds.values(), self.quit_read, self.quit_write):
            os.close(fd)
