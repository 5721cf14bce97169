//! `pcaps/README.md` names every capture once, with tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_capture_has_its_line_and_its_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("../../pcaps");
    let files: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let sources: String = ["tests", "tests/captures"]
        .iter()
        .flat_map(|folder| fs::read_dir(here.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut named = BTreeSet::new();
    for line in fs::read_to_string(folder.join("README.md"))
        .unwrap()
        .lines()
    {
        let Some(row) = line.strip_prefix("| `") else {
            continue;
        };
        let columns: Vec<&str> = row.split(" | ").collect();
        let [file, _, _, tests] = columns[..] else {
            panic!("{line}")
        };
        assert!(
            named.insert(file.trim_end_matches('`').to_owned()),
            "{file} twice"
        );
        for test in tests.trim_end_matches(" |").split(", ") {
            let function = format!("fn {}()", test.trim_matches('`'));
            assert!(sources.contains(&function), "{file}: no test {test}");
        }
    }
    assert_eq!(named, files);
}
