//! Proof that labels mean something: a mechanism is disabled, and a test that names its
//! requirement must fail.
//!
//! `mechanisms.toml` holds the mechanisms, each as one replacement in one file. They are tried in a
//! copy of the workspace under `target/mechanisms`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use serde::Deserialize;

use crate::ran::Ran;
use crate::requirements::Requirements;
use crate::sources::Sources;

/// One mechanism, and how to disable it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mechanism {
    /// What it is, in a few words.
    name: String,
    /// The requirements that it serves.
    ids: Vec<String>,
    file: String,
    /// A piece of the file that stands there once.
    find: String,
    /// What it becomes.
    replace: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "mechanism")]
    mechanisms: Vec<Mechanism>,
}

/// What came of disabling one.
enum Verdict {
    /// These tests failed, of so many that name its ids; not all were tried.
    Caught(Vec<String>, usize),
    Missed(usize),
    DoesNotCompile(String),
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Caught(..) => "caught",
            Self::Missed(_) => "MISSED",
            Self::DoesNotCompile(_) => "BROKEN",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Caught(failed, of) => {
                let others = match failed.len() - 1 {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                format!("of {of} tests fails {}{others}", failed[0])
            }
            Self::Missed(of) => format!("none of {of} tests fails"),
            Self::DoesNotCompile(why) => format!("it does not compile: {why}"),
        }
    }
}

/// Reads the table; complains about what no longer fits the code.
pub(crate) fn read(
    root: &Path,
    path: &Path,
    requirements: &Requirements,
) -> Result<Vec<Mechanism>, Vec<String>> {
    let one = |why: String| vec![format!("{}: {why}", path.display())];
    let text = fs::read_to_string(path).map_err(|error| one(error.to_string()))?;
    let table: Table = toml::from_str(&text).map_err(|error| one(error.to_string()))?;
    let known = requirements.by_id();
    let mut complaints = Vec::new();
    for mechanism in &table.mechanisms {
        let name = &mechanism.name;
        for id in &mechanism.ids {
            if !known.contains_key(id.as_str()) {
                complaints.push(format!("mechanism {name:?}: no requirement {id}"));
            }
        }
        if let Err(why) = check_place(root, &mechanism.file, &mechanism.find) {
            complaints.push(format!("mechanism {name:?}: {why}"));
        }
    }
    if complaints.is_empty() {
        Ok(table.mechanisms)
    } else {
        Err(complaints)
    }
}

/// Whether `find` stands in the file once.
fn check_place(root: &Path, file: &str, find: &str) -> Result<(), String> {
    let text = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
    match text.matches(find).count() {
        1 => Ok(()),
        n => Err(format!("its text stands in {file} {n} times, not once")),
    }
}

impl Mechanism {
    /// Whether `text` stands in its name, its file or its ids.
    pub(crate) fn is_about(&self, text: &str) -> bool {
        self.name.contains(text) || self.file.contains(text) || self.ids.iter().any(|id| id == text)
    }
}

/// Draws `count` mechanisms by `seed` and disables one after the other; says how many were missed.
pub(crate) fn disable(
    root: &Path,
    mut mechanisms: Vec<Mechanism>,
    sources: &Sources,
    seed: u64,
    count: usize,
) -> Result<String, Vec<String>> {
    shuffle(&mut mechanisms, seed);
    mechanisms.truncate(count);
    let tree = root.join("target/mechanisms/tree");
    copy_workspace(root, &tree).map_err(|error| vec![error.to_string()])?;
    println!("seed {seed}, {} mechanisms", mechanisms.len());
    let all: BTreeSet<&str> = mechanisms
        .iter()
        .flat_map(|mechanism| covering(mechanism, sources))
        .collect();
    let intact = run(&tree, &all).map_err(|error| vec![error.to_string()])?;
    if !matches!(intact, Verdict::Missed(_)) {
        return Err(vec![format!(
            "before anything is disabled: {}",
            intact.detail()
        )]);
    }
    let mut missed = Vec::new();
    for (number, mechanism) in mechanisms.iter().enumerate() {
        let verdict =
            attempt(&tree, mechanism, sources).map_err(|error| vec![error.to_string()])?;
        let (word, detail) = (verdict.word(), verdict.detail());
        println!(
            "{:3} {word} {} ({}): {detail}",
            number + 1,
            mechanism.name,
            mechanism.ids.join(", ")
        );
        if !matches!(verdict, Verdict::Caught(..)) {
            missed.push(format!("{word}: {}: {detail}", mechanism.name));
        }
    }
    if missed.is_empty() {
        Ok(format!(
            "{} disabled, {} caught",
            mechanisms.len(),
            mechanisms.len()
        ))
    } else {
        Err(missed)
    }
}

/// Fisher and Yates, by splitmix64.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for last in (1..items.len()).rev() {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(last, ((mixed ^ (mixed >> 31)) % (last as u64 + 1)) as usize);
    }
}

/// Every file that git knows or would take.
fn copy_workspace(root: &Path, tree: &Path) -> io::Result<()> {
    let listing = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()?;
    for name in String::from_utf8_lossy(&listing.stdout).split_terminator('\0') {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue }; // deleted, not yet committed
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(tree))?;
        fs::write(to, bytes)?;
    }
    Ok(())
}

/// The tests that name an id of `mechanism`.
fn covering<'a>(mechanism: &Mechanism, sources: &'a Sources) -> BTreeSet<&'a str> {
    sources
        .labels
        .iter()
        .filter(|label| label.ids.iter().any(|id| mechanism.ids.contains(id)))
        .map(|label| label.test.as_str())
        .collect()
}

fn attempt(tree: &Path, mechanism: &Mechanism, sources: &Sources) -> io::Result<Verdict> {
    let path = tree.join(&mechanism.file);
    let intact = fs::read_to_string(&path)?;
    fs::write(
        &path,
        intact.replacen(&mechanism.find, &mechanism.replace, 1),
    )?;
    let verdict = run(tree, &covering(mechanism, sources));
    fs::write(&path, intact)?;
    verdict
}

/// Runs the tests in `covering`, quick ones first and no further than to the first target with a
/// failure; a test that leaves no line behind has failed.
fn run(tree: &Path, covering: &BTreeSet<&str>) -> io::Result<Verdict> {
    let ran = tree.with_file_name("ran");
    fs::write(&ran, "")?;
    let mut targets: BTreeMap<Target, Vec<&str>> = BTreeMap::new();
    for test in covering {
        targets.entry(Target::of(test)).or_default().push(test);
    }
    for (target, tests) in targets {
        let cargo = |last: &[&str]| {
            let mut command = Command::new("timeout");
            command
                .args(["300", "cargo", "test", "-q"])
                .args(&target.arguments)
                .args(last)
                .current_dir(tree)
                .env("CARGO_TARGET_DIR", tree.with_file_name("build"))
                .env("USTACK_COVERS", &ran)
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command
        };
        let built = cargo(&["--no-run"]).output()?;
        if !built.status.success() {
            let text = String::from_utf8_lossy(&built.stderr).into_owned();
            let error = text.lines().find(|line| line.starts_with("error"));
            return Ok(Verdict::DoesNotCompile(error.unwrap_or("?").to_string()));
        }
        let filters = tests
            .iter()
            .filter_map(|test| Some(test.split_once("::")?.1));
        cargo(&["--"]).args(filters).output()?;
        let passed = Ran::read(&ran, tree).map_err(io::Error::other)?;
        let failed: Vec<_> = tests.iter().filter(|test| !passed.has(test)).collect();
        if !failed.is_empty() {
            let failed = failed.iter().map(ToString::to_string).collect();
            return Ok(Verdict::Caught(failed, covering.len()));
        }
    }
    Ok(Verdict::Missed(covering.len()))
}

/// What `cargo test` is given to run some tests, in the order in which targets are tried.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    /// Unit tests, scripts, other tests, and those that take a minute.
    cost: u8,
    arguments: Vec<String>,
}

impl Target {
    fn of(test: &str) -> Self {
        let (file, _) = test.split_once("::").unwrap_or((test, ""));
        let parts: Vec<&str> = file.split('/').collect();
        let (package, rest) = match parts[..] {
            // What plays the scripts stands above what they test.
            ["tcp", "tests", "scripts", ..] => ("packetdrill", &parts[1..]),
            ["tcp", ref rest @ ..] => ("ustack-tcp", rest),
            ["udp", ref rest @ ..] => ("ustack-udp", rest),
            ["tools", tool, ref rest @ ..] => (tool, rest),
            ref rest => ("ustack", rest),
        };
        let (cost, kind) = match *rest {
            ["tests", "scripts", ..] => (1, vec!["--test", "scripts"]),
            ["tests", test @ ("states" | "soak.rs"), ..] => (3, vec!["--test", test]),
            ["tests", test, ..] => (2, vec!["--test", test]),
            _ => (0, vec!["--lib"]),
        };
        let mut arguments = vec!["-p", package];
        if package == "ustack-tcp" {
            arguments.extend(["--features", "testing"]);
        }
        arguments.extend(kind.iter().map(|word| word.trim_end_matches(".rs")));
        Self {
            cost,
            arguments: arguments.into_iter().map(str::to_string).collect(),
        }
    }
}

/// Where the table lies.
pub(crate) fn path(crate_root: &Path) -> PathBuf {
    crate_root.join("mechanisms.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_how_to_run_its_test() {
        let command = |test| Target::of(test).arguments.join(" ");
        assert_eq!(
            command("tcp/tests/scripts/a/b.pkt"),
            "-p packetdrill --test scripts"
        );
        assert_eq!(
            command("tcp/tests/states/main.rs::x"),
            "-p ustack-tcp --features testing --test states"
        );
        assert_eq!(command("src/ip/tests/icmp.rs::x"), "-p ustack --lib");
        assert_eq!(command("tests/garbage.rs::x"), "-p ustack --test garbage");
        assert_eq!(command("udp/src/a.rs::x"), "-p ustack-udp --lib");
        let quick = Target::of("udp/src/a.rs::x");
        assert!(quick < Target::of("tcp/tests/states/main.rs::x"));
    }

    /// `tools/mutants` has a table of its own, and runs too long for anybody to notice soon.
    #[test]
    fn the_mutants_made_by_hand_find_their_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join("tools/mutants/by-hand.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let mutants = table["mutant"].as_array().unwrap();
        assert!(mutants.len() >= 20);
        for mutant in mutants {
            let [name, file, find] =
                ["name", "file", "find"].map(|key| mutant[key].as_str().unwrap());
            check_place(&root, file, find).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }

    #[test]
    fn a_seed_draws_the_same_every_time() {
        let draw = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
