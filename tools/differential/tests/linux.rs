//! Scripts between ustack and the kernel, in real time: a namespace and a TUN device for each.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use differential::real::{Case, examine};
use libtest_mimic::{Arguments, Failed, Trial};
use link::namespace::{Namespace, become_root_of_a_namespace};

/// The runs of one test; `differential linux` plays more.
const RUNS: u64 = 20;
/// They wait more than they work.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    // Where this machine lets nobody make namespaces, nothing can be played, and with CI=true
    // that is a failure.
    let obstacle = become_root_of_a_namespace().and_then(|()| Namespace::create().map(drop));
    let obstacle: Option<Arc<str>> = obstacle.err().map(|error| error.to_string().into());
    let trials = (1..=RUNS).map(|seed| {
        let name = format!("linux::seed_{seed}");
        match obstacle.clone() {
            None => Trial::test(name, move || play(seed)),
            Some(reason) => {
                println!("ignored: {name}: {reason}");
                let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
                Trial::test(name, move || Err(Failed::from(&*reason))).with_ignored_flag(!is_ci)
            }
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn play(seed: u64) -> Result<(), Failed> {
    let case = Case::draw(seed);
    let outcome = case.run()?;
    let wrong = case.check(&outcome).wrong;
    if wrong.is_empty() {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Err(examine(seed, &case, &outcome, &wrong, folder).into())
}
