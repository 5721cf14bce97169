"""Scans, and packets made wrong on purpose (`odd-…`)."""

from ends import S4, nginx, udp_echo_server
from registry import scenario


def nmap(x, arguments, source=40000):
    x.client.sh(f"nmap -n -Pn --send-ip --max-retries 0 -g {source} {arguments} {S4}", check=False)


@scenario("nmap's half-open and odd-flag probes of closed ports (SYN, NULL, FIN, Xmas, ACK)")
def scan_closed_ports(x):
    """`nmap -sS`, `-sN`, `-sF`, `-sX`, `-sA` against ports nobody listens on"""
    for kind in ("S", "N", "F", "X", "A"):
        x.client.sh(f"nmap -n -Pn --send-ip -s{kind} --max-retries 0 -p 81-82 {S4}", check=False)


@scenario("A connection made and reset at once, and half of one: an open port among closed ones",
          tests=("scan_open_ports",))
def scan_open_ports(x):
    """`nmap -sT` and `-sS` against nginx and a closed port"""
    nginx(x)
    x.client.sh(f"nmap -n -Pn --send-ip -sT --max-retries 0 -p 80-81 {S4}", check=False)
    nmap(x, "-sS -p 80-81")


@scenario("Probes without SYN, with all kinds of flags, of an open port and a closed one",
          tests=("odd_flags",))
def odd_flags(x):
    """`nmap -sN`, `-sF`, `-sX`, `-sA`, `-sW`, `-sM` and some `--scanflags` against nginx and a
    closed port"""
    nginx(x)
    kinds = ("-sN", "-sF", "-sX", "-sA", "-sW", "-sM", "-sS --scanflags SYNFIN",
             "-sS --scanflags SYNURGPSH", "-sS --scanflags SYNRST", "-sS --scanflags SYNACK",
             "-sS --scanflags URGACKPSHRSTSYNFIN")
    for number, kind in enumerate(kinds):
        nmap(x, f"{kind} -p 80-81", 40000 + number)


@scenario("Probes of UDP ports, one of which answers", tests=("scan_udp",))
def scan_udp(x):
    """`nmap -sU` against an echo server and a closed port"""
    udp_echo_server(x, S4)
    nmap(x, "-sU -p 7,9")


@scenario("nmap guesses the operating system: odd options, odd flags, ECN, echo requests with codes",
          tests=("scan_operating_system",))
def odd_operating_system(x):
    """`nmap -O` against nginx and a closed port"""
    nginx(x)
    x.client.sh(f"nmap -n -Pn --send-ip -O --max-os-tries 1 --max-retries 0 -p 80-81 {S4}", check=False)


@scenario("Probes cut into fragments of 8 bytes: the TCP header lies in three of them",
          tests=("odd_fragments",))
def odd_fragments(x):
    """`nmap -f -sS` against nginx and a closed port"""
    nginx(x)
    nmap(x, "-sS -f -p 80-81")


@scenario("hping3's oddities: no flags or all, reserved bits, wrong checksums, wrong header lengths, "
          "data on a SYN, no window, urgent pointers, our own address as source",
          tests=("hping_oddities",))
def odd_hping(x):
    """`hping3`, one packet of each kind, against nginx and a closed port"""
    nginx(x)
    kinds = [
        "", "-F -P -U", "-X", "-Y", "-R", "-R -A", "-F -A", "-A -w 0", "-A -M 1 -L 1",
        "-S", "-S -F", "-S -R", "-S -A", "-S -X -Y", "-S -F -R -P -A -U",
        "-S -b", "-S -O 4", "-S -O 6", "-S -O 15", "-S -d 100", "-S -d 1000", "-S -w 0", "-S -U",
        "-S -t 1", "-S -o 03", "-S -M 0", "-S -M 4294967295", "-S -y", "-S -x", "-S -g 8",
        "-S -f -d 64", "-S -G", f"-S --lsrr {S4}", "-S --tcp-mss 0", "-S --tcp-mss 1", "-S --tcp-timestamp",
        f"-S -a {S4}", "-S -a 127.0.0.1", "-S -a 224.0.0.1", "-S -a 255.255.255.255", "-S -s 0",
    ]
    others = ["-1", "-1 -C 13", "-1 -C 17", "-1 -C 8 -K 5", "-1 -d 1473", "-2 -p 9 -b", "-2 -p 0", "-0 -H 253"]
    calls = [f"-k -p {port} -s {41000 + number} {kind}"
             for port in (80, 81) for number, kind in enumerate(kinds)]
    # hping3 waits a second after its packet: they wait together.
    x.client.sh("".join(f"hping3 -c 1 -n -q {call} {S4} & sleep 0.04\n" for call in calls + others)
                + "wait", check=False, timeout=50)
