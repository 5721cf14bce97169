//! `docs/conformance.md`: id, requirement, where in the code, tests, status; a summary on top.

use std::fmt::Write as _;

use crate::requirements::{Priority, Requirement, Requirements};
use crate::sources::{Label, Sources};

/// What is known of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Built, and a test names it.
    Tested,
    /// We do otherwise, a test says what, and the table says why.
    Deviates,
    /// Left out, and the table says why.
    NotBuilt,
    /// No test names it.
    Untested,
}

impl Status {
    /// What the table and the labels say of `requirement`: each id needs a test.
    pub(crate) fn of(requirement: &Requirement, sources: &Sources) -> Self {
        if requirement.not_built.is_some() {
            return Self::NotBuilt;
        }
        let has_test = |id: &String| sources.labels.iter().any(|label| label.ids.contains(id));
        match (requirement.ids.iter().all(has_test), &requirement.deviation) {
            (false, _) => Self::Untested,
            (true, Some(_)) => Self::Deviates,
            (true, None) => Self::Tested,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Tested => "tested",
            Self::Deviates => "deviates, tested",
            Self::NotBuilt => "not built",
            Self::Untested => "**no test**",
        }
    }
}

/// The whole document; `suites` is what `public-suites.md` says.
pub(crate) fn write(requirements: &Requirements, sources: &Sources, suites: &str) -> String {
    let mut out = String::from(
        "# Conformance\n\n\
         Made by `cargo run -p rfc-index` from `tools/rfc-index/requirements.toml`, the labels of \
         the tests and the citations in the code: do not edit. CI fails when a P0 or P1 id has no \
         test that ran, or when a test names an id that does not exist.\n\n\
         A label is a claim, and there is a test of the claims: \
         `cargo run -p rfc-index -- --disable 30 --seed 20261121` draws thirty of the mechanisms in \
         `tools/rfc-index/mechanisms.toml`, takes each away by one replacement in a copy of the \
         code, and fails unless a test that names one of its ids fails. Another seed draws others; \
         `--about TEXT` tries those of one id or file.\n\n\
         P0: any serious stack. P1: a trusted stack. P2: optional.\n\n",
    );
    summary(&mut out, requirements, sources);
    out.push_str(suites);
    for section in &requirements.sections {
        let _ = write!(
            out,
            "\n## {}\n\n| id | P | requirement | source | code | tests | status |\n|---|---|---|---|---|---|---|\n",
            section.title
        );
        for requirement in &section.requirements {
            row(&mut out, requirement, sources);
        }
    }
    out
}

fn summary(out: &mut String, requirements: &Requirements, sources: &Sources) {
    out.push_str("| | requirements | tested | of these, deviating | not built | without a test |\n|---|---|---|---|---|---|\n");
    for priority in [Priority::P0, Priority::P1, Priority::P2] {
        let rows: Vec<_> = requirements
            .iter()
            .filter(|row| row.priority == priority)
            .map(|row| Status::of(row, sources))
            .collect();
        let count = |status| rows.iter().filter(|&&row| row == status).count();
        let deviating = count(Status::Deviates);
        let _ = writeln!(
            out,
            "| {priority:?} | {} | {} | {deviating} | {} | {} |",
            rows.len(),
            count(Status::Tested) + deviating,
            count(Status::NotBuilt),
            count(Status::Untested),
        );
    }
    let scripts = sources
        .labels
        .iter()
        .filter(|label| label.is_script())
        .count();
    let _ = write!(
        out,
        "\n{} tests name requirements: {scripts} scripts (each over IPv4 and IPv6, with sequence \
         numbers in the middle of the space, just before 2^32 and at 0) and {} in Rust.\n\n",
        sources.labels.len(),
        sources.labels.len() - scripts
    );
}

fn row(out: &mut String, requirement: &Requirement, sources: &Sources) {
    let covers = |label: &&Label| requirement.ids.iter().any(|id| label.ids.contains(id));
    let tests: Vec<_> = sources
        .labels
        .iter()
        .filter(covers)
        .map(|label| link(&label.test))
        .collect();
    let mut code: Vec<_> = requirement
        .ids
        .iter()
        .flat_map(|id| sources.citing(id))
        .collect();
    code.sort_unstable();
    code.dedup();
    let code: Vec<_> = code.into_iter().map(link).collect();
    let mut status = Status::of(requirement, sources).word().to_string();
    for reason in [&requirement.deviation, &requirement.not_built]
        .into_iter()
        .flatten()
    {
        let _ = write!(status, ": {reason}");
    }
    let _ = writeln!(
        out,
        "| {} | {:?} | {} | {} | {} | {} | {status} |",
        requirement.ids.join(", "),
        requirement.priority,
        cell(&requirement.text),
        cell(&requirement.source),
        code.join("<br>"),
        tests.join("<br>"),
    );
}

/// A link from `docs/` to a file, named without its folders' common parts.
fn link(place: &str) -> String {
    let file = place.split("::").next().unwrap_or(place);
    let short = place
        .trim_start_matches("tcp/tests/scripts/")
        .trim_start_matches("tcp/");
    format!("[{short}](../{file})")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
