//! `#[covers("MUST-12", "SM-4")]` names the requirements that a test covers.
//!
//! The ids are those of `docs/conformance.md`. When the environment variable `USTACK_COVERS` names
//! a file, each such test adds a line to it once it has passed: `file.rs::name` and the ids, set
//! apart by tabs. `cargo run -p rfc-index` reads that file, so a requirement counts as tested only
//! if a test for it ran.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Names the requirements that this test covers. Stands below `#[test]`.
#[proc_macro_attribute]
pub fn covers(ids: TokenStream, item: TokenStream) -> TokenStream {
    let ids: Vec<String> = match ids.into_iter().try_fold(Vec::new(), read_id) {
        Ok(ids) if !ids.is_empty() => ids,
        Ok(_) => return error("covers needs an id: #[covers(\"MUST-12\")]"),
        Err(why) => return error(&why),
    };
    let mut item: Vec<TokenTree> = item.into_iter().collect();
    let is_fn =
        |pair: &[TokenTree]| matches!(&pair[0], TokenTree::Ident(word) if word.to_string() == "fn");
    let Some(name) = item
        .windows(2)
        .find(|pair| is_fn(pair))
        .map(|pair| pair[1].to_string())
    else {
        return error("covers stands on a test function");
    };
    let Some(TokenTree::Group(body)) = item.pop() else {
        return error("covers stands on a test function with a body");
    };
    let mut inside = note(&name, &ids);
    inside.extend(body.stream());
    item.push(TokenTree::Group(Group::new(Delimiter::Brace, inside)));
    item.into_iter().collect()
}

fn read_id(mut ids: Vec<String>, token: TokenTree) -> Result<Vec<String>, String> {
    match token {
        TokenTree::Literal(literal) => ids.push(literal.to_string().trim_matches('"').to_string()),
        TokenTree::Punct(comma) if comma.as_char() == ',' => {}
        other => return Err(format!("covers takes ids in quotes, not {other}")),
    }
    Ok(ids)
}

/// A guard that writes the line when the test ends, unless it ends in a panic.
fn note(name: &str, ids: &[String]) -> TokenStream {
    let ids = ids.join("\\t");
    format!(
        r#"
        let _covers = {{
            struct Ran;
            impl Drop for Ran {{
                fn drop(&mut self) {{
                    let Some(path) = ::std::env::var_os("USTACK_COVERS") else {{ return }};
                    if ::std::thread::panicking() {{ return }}
                    let line = concat!(file!(), "::{name}\t{ids}\n");
                    let file = ::std::fs::OpenOptions::new().append(true).create(true).open(path);
                    let wrote = file.and_then(|mut file| {{
                        ::std::io::Write::write_all(&mut file, line.as_bytes())
                    }});
                    assert!(wrote.is_ok(), "USTACK_COVERS: {{wrote:?}}");
                }}
            }}
            Ran
        }};
        "#
    )
    .parse()
    .unwrap_or_else(|_| error("covers wrote code that is none"))
}

fn error(why: &str) -> TokenStream {
    format!("compile_error!({why:?});")
        .parse()
        .unwrap_or_default()
}
