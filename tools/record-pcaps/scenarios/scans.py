"""Scans and packets made wrong on purpose."""

from ends import S4
from registry import scenario


@scenario("nmap's half-open and odd-flag probes of closed ports (SYN, NULL, FIN, Xmas, ACK)")
def scan_closed_ports(x):
    """`nmap -sS`, `-sN`, `-sF`, `-sX`, `-sA` against ports nobody listens on"""
    for kind in ("S", "N", "F", "X", "A"):
        x.client.sh(f"nmap -n -Pn --send-ip -s{kind} --max-retries 0 -p 81-82 {S4}", check=False)
