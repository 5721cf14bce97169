//! Every committed input of every target, once.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fuzz_cases::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect()
}

/// Replays the corpus of one target; a failure names the file.
fn replay(target: &str) {
    let (_, run) = TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let dir = corpora().join(target);
    let files = names(&dir);
    assert!(!files.is_empty(), "{} is empty", dir.display());
    for file in files {
        let data = fs::read(dir.join(&file)).expect("a file");
        let result = catch_unwind(|| run(&data));
        assert!(
            result.is_ok(),
            "fuzz/corpus/{target}/{file} fails (see above)"
        );
    }
}

macro_rules! replayed {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        /// No corpus without a target, no target without a corpus, and all have a test above.
        #[test]
        fn every_target_has_its_corpus() {
            let tests = BTreeSet::from([$(stringify!($target).to_owned()),*]);
            let targets = TARGETS.map(|(name, _)| name.to_owned());
            assert_eq!(BTreeSet::from(targets), tests);
            assert_eq!(names(&corpora()), tests);
            let programs = tests.iter().map(|name| format!("{name}.rs")).collect();
            assert_eq!(names(&corpora().join("../fuzz_targets")), programs);
        }
    };
}

replayed!(
    capture_reader,
    fragments,
    grammars,
    icmp,
    ip_input,
    operations,
    tcp_endpoint,
    tcp_options,
    udp,
    vnet_header,
);
