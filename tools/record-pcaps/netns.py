"""Throw-away network namespaces: one per end, sockets and programs inside them."""

import contextlib
import ctypes
import os
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def enter(fd):
    """Moves the calling thread into the network namespace behind `fd`."""
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)} (run this as root)")


class Namespace:
    """A network namespace that lives as long as the `with` block around it."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.processes = []
        self.sh("ip link set lo up")
        # No router solicitation, no duplicate address detection: the captures show conversations.
        self.sysctl(**{
            "net.ipv6.conf.default.router_solicitations": 0,
            "net.ipv6.conf.default.accept_dad": 0,
            "net.ipv4.tcp_no_metrics_save": 1,
        })
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            if process.poll() is None:
                process.kill()
                process.wait()
        os.close(self.fd)
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    @contextlib.contextmanager
    def inside(self):
        """What the block opens (sockets, devices) belongs to this namespace for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        enter(self.fd)
        try:
            yield
        finally:
            enter(home)
            os.close(home)

    def sh(self, command, timeout=30, check=True):
        """Runs a shell command inside and waits for it."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, "sh", "-c", command],
            check=check, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def spawn(self, *command, **options):
        """Starts a program inside; it is ended with the namespace."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdout=options.pop("stdout", subprocess.DEVNULL),
            stderr=options.pop("stderr", subprocess.DEVNULL), **options,
        )
        self.processes.append(process)
        return process

    def sysctl(self, **settings):
        """Sets sysctls of this namespace."""
        for key, value in settings.items():
            path = "/proc/sys/" + key.replace(".", "/")
            self.sh(f"echo '{value}' > {path}")
