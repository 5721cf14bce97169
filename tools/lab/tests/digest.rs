//! The same experiment gives the same result to the bit on every machine: here is what it gave on
//! another one.
//!
//! The digest is over datagrams, so that it holds link model, engine, UDP and IP fast, and not
//! every decision of TCP; that TCP's runs repeat is tested where the engine is.

use std::fmt::Write as _;

use lab::{Experiment, Options};
use sha2::{Digest, Sha256};

const EXPERIMENT: &str = r#"
[experiment]
name = "digest"
duration = "5s"
seed = 4242

[[link]]
name = "a"
rate = "2mbit"
delay = "10ms"
jitter = "3ms"
loss = "2%"
reorder = "2%"
duplicate = "2%"
corrupt = "1%"
queue = "5kB"

[[link]]
name = "b"
rate = "1500kbit"
delay = "3ms"
gemodel = "1%/30%"
codel = true

[[flow]]
name = "talk"
count = 3
stagger = "7ms"
kind = "messages"
transport = "udp"
size = "900B"
every = "11ms"

[[change]]
at = "3s"
link = "b"
rate = "1mbit"
delay = "20ms"
"#;

/// Of the run with everything that it recorded, every float to its last bit.
const EXPECTED: &str = "fe82c87d6c57e2a88f2b8823b1e031608153cc155177f5a7cd2069b20c24a0ee";

#[test]
fn the_digest_is_that_of_every_other_machine() {
    let experiment = Experiment::parse(EXPERIMENT).expect("an experiment");
    let recording = experiment.run(Options::default()).expect("a run");
    let run = &recording.runs[0];
    assert!(
        run.links[0].lost > 10 && run.links[2].overflowed > 10,
        "{:?}",
        run.links
    );
    let mut digest = String::new();
    // Floats are written in the shortest form that reads back as the same bits.
    for byte in Sha256::digest(format!("{run:?}")) {
        let _ = write!(digest, "{byte:02x}");
    }
    assert_eq!(digest, EXPECTED, "{:#?}", run.links);
}
