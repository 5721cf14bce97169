"""Loss, repetition and reordering."""

from ends import PAGE, S4, curl, drain, nginx, noise, pair
from pcapng import FROM_CLIENT, FROM_SERVER
from registry import scenario
from rules import both, lose_first_copies, nth
from scenarios.transfers import upload


@scenario("Segments of a download are lost: SACK names the holes, the server fills them",
          rule=nth(FROM_SERVER, {5, 12, 13}))
def loss_download(x):
    """`curl` from nginx, 5th, 12th and 13th data segment lost"""
    nginx(x, file=noise(80000))
    curl(x, f"http://{S4}/file")


@scenario("A retransmission is lost too, and SACK of later segments could tell",
          rule=lose_first_copies(FROM_SERVER, 5, 2))
def loss_retransmission_sack(x):
    """`curl` from nginx, the 5th data segment lost twice"""
    nginx(x, file=noise(80000))
    curl(x, f"http://{S4}/file")


@scenario("Loss without SACK: duplicate ACKs alone name the hole",
          client={"net.ipv4.tcp_sack": 0}, rule=nth(FROM_SERVER, {5}))
def loss_download_no_sack(x):
    """`curl` from nginx, client with `tcp_sack=0`, 5th data segment lost"""
    nginx(x, file=noise(60000))
    curl(x, f"http://{S4}/file")


@scenario("A retransmission is lost as well: only the timer is left",
          rule=lose_first_copies(FROM_SERVER, 4, 3))
def loss_retransmission(x):
    """`curl` from nginx, the 4th data segment lost three times over"""
    nginx(x, file=noise(12000))
    curl(x, f"http://{S4}/file")


@scenario("The last segment is lost: no duplicate ACK can tell, a probe or the timer must",
          rule=nth(FROM_SERVER, {14}))
def loss_tail(x):
    """`curl` from nginx, the 14th and last data segment lost"""
    nginx(x, file=noise(20000 - 300 - 1448))
    curl(x, f"http://{S4}/file")


@scenario("SYN,ACK lost: the server repeats it",
          rule=nth(FROM_SERVER, {1}, of=lambda packet: packet.syn))
def loss_syn_ack(x):
    """`curl` from nginx, first SYN,ACK lost"""
    nginx(x, page=PAGE)
    curl(x, f"http://{S4}/page")


@scenario("The server's FIN is lost: it repeats it from FIN-WAIT-1",
          rule=nth(FROM_SERVER, {1}, of=lambda packet: packet.fin))
def loss_fin(x):
    """Python sockets: the server sends 3 kB and closes, its first FIN lost"""
    ours, theirs = pair(x)
    theirs.send(noise(3000))
    drain(ours, 3000)
    x.link.settle(0.1)
    theirs.close()
    drain(ours)
    ours.close()
    x.link.settle(0.5)


@scenario("Segments of an upload are lost: we report the holes by SACK",
          rule=nth(FROM_CLIENT, {4, 9, 10}))
def loss_upload(x):
    """`curl -T` to `http.server`, 4th, 9th and 10th data segment lost"""
    upload(x)


@scenario("Segments of an upload come out of order and twice: D-SACK, no duplicate bytes",
          rule=both(nth(FROM_CLIENT, {5, 11}, 0.004), nth(FROM_CLIENT, {7, 20}, "twice")))
def reorder_upload(x):
    """`curl -T` to `http.server`, two data segments held back by 4 ms, two doubled"""
    upload(x)
