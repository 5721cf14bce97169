//! All connections of a stack, a few at a time, while it goes on.

use std::collections::{BTreeMap, BTreeSet};

use ustack::{TcpListener, TcpStream};

use super::{PLAIN, V4, at, net};

#[tokio::test(start_paused = true)]
async fn what_lives_all_the_while_is_met_once_whatever_comes_and_goes() {
    let net = net(PLAIN);
    let listener = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap();
    let open = async || {
        let open = TcpStream::connect(&net.client, listener.local_addr());
        let (open, accepted) = tokio::join!(open, listener.accept());
        (open.unwrap(), accepted.unwrap().0)
    };
    let mut lasting = Vec::new();
    let mut passing = Vec::new();
    for number in 0..400 {
        if number % 2 == 0 {
            lasting.push(open().await);
        } else {
            passing.push(open().await);
        }
    }
    let mut listing = net.server.listing();
    let mut met = BTreeMap::<_, u32>::new();
    let (mut found, mut slices) = (Vec::new(), 0);
    while listing.next(&mut found) {
        assert!(found.len() <= 64, "a slice of {}", found.len());
        for one in found.drain(..) {
            *met.entry((one.flow.remote, one.key)).or_default() += 1;
        }
        slices += 1;
        // Between two slices, connections end and others take their places.
        for _ in 0..20 {
            drop(passing.pop());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        for _ in 0..10 {
            passing.push(open().await);
        }
    }
    assert!(slices >= 400 / 64, "{slices}");
    assert!(met.values().all(|count| *count == 1), "each key once");
    let met: BTreeSet<_> = met.keys().map(|(remote, _)| *remote).collect();
    for (client, _) in &lasting {
        assert!(
            met.contains(&client.local_addr()),
            "{} was missed",
            client.local_addr()
        );
    }
}
