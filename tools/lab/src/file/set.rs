//! Values by dotted keys: `experiment.duration`, `link.last.loss`, `flow.*.congestion`.

use toml::{Table, Value};

use super::error::Problem;

/// Sets `key` to `value`. Entries of `link` and `flow` go by their name, their number from 0, or
/// `*` for all; a key without a dot is one of `experiment`. Every part of the key but the last must
/// exist; whether the last one does, reading the whole file again tells.
pub(super) fn set(document: &mut Table, key: &str, value: &Value) -> Result<(), Problem> {
    if !key.contains('.') {
        return set(document, &format!("experiment.{key}"), value);
    }
    let words: Vec<_> = key.split('.').collect();
    match set_in(document, &words, value) {
        Ok(()) => Ok(()),
        Err(message) => Err(Problem::new(key, message)),
    }
}

fn set_in(table: &mut Table, words: &[&str], value: &Value) -> Result<(), String> {
    match words {
        [] | [""] => Err("the key ends with a dot".into()),
        [last] => {
            table.insert((*last).into(), value.clone());
            Ok(())
        }
        [first, rest @ ..] => {
            // `link.x.back` may be left out of the file.
            if *first == "back" {
                table.entry("back").or_insert(Value::Table(Table::new()));
            }
            let known: Vec<_> = table.keys().map(|key| format!("`{key}`")).collect();
            let inner = table.get_mut(*first);
            let inner =
                inner.ok_or_else(|| format!("there is no `{first}`, but {}", known.join(", ")))?;
            match inner {
                Value::Table(inner) => set_in(inner, rest, value),
                Value::Array(list) => set_in_list(list, first, rest, value),
                _ => Err(format!("`{first}` is a value: nothing is inside of it")),
            }
        }
    }
}

fn set_in_list(
    list: &mut [Value],
    list_name: &str,
    words: &[&str],
    value: &Value,
) -> Result<(), String> {
    let [which, rest @ ..] = words else {
        return Err(format!("`{list_name}` is a list: name one of it"));
    };
    let names: Vec<_> = list
        .iter()
        .filter_map(name_of)
        .map(|name| format!("`{name}`"))
        .collect();
    let mut found = false;
    for (index, entry) in list.iter_mut().enumerate() {
        let is_meant =
            *which == "*" || name_of(entry) == Some(*which) || which.parse() == Ok(index);
        if !is_meant {
            continue;
        }
        found = true;
        let Value::Table(table) = entry else {
            return Err(format!(
                "`{list_name}` holds values: nothing is inside of them"
            ));
        };
        if rest.is_empty() {
            return Err(format!("which key of `{which}`?"));
        }
        set_in(table, rest, value)?;
    }
    if found {
        Ok(())
    } else {
        Err(format!(
            "there is no {list_name} `{which}`, but {}",
            names.join(", ")
        ))
    }
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

/// A value as a user writes it on the command line: a number, `true`, a quoted text or list as in
/// TOML; everything else is a text.
pub(super) fn value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A value as a label writes it.
pub(super) fn label(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let parts: Vec<_> = list.iter().map(label).collect();
            parts.join("/")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Table {
        "[experiment]\nseed = 1\n[[link]]\nname = \"a\"\n[[link]]\nname = \"b\"\n"
            .parse()
            .unwrap()
    }

    #[test]
    fn keys_reach_names_numbers_and_all() {
        let mut table = document();
        for (key, text) in [
            ("seed", "7"),
            ("link.a.loss", "1%"),
            ("link.1.rate", "5mbit"),
            ("link.*.delay", "1ms"),
            ("link.b.back.loss", "0.5"),
        ] {
            set(&mut table, key, &value(text)).unwrap();
        }
        let expected = "[experiment]\nseed = 7\n[[link]]\nname = \"a\"\nloss = \"1%\"\ndelay = \"1ms\"\n[[link]]\nname = \"b\"\nrate = \"5mbit\"\ndelay = \"1ms\"\nback = { loss = 0.5 }\n";
        assert_eq!(table, expected.parse::<Table>().unwrap());
    }

    #[test]
    fn keys_that_lead_nowhere_are_told_what_there_is() {
        let mut table = document();
        for (key, words) in [
            (
                "lnik.a.loss",
                "there is no `lnik`, but `experiment`, `link`",
            ),
            ("link.c.loss", "there is no link `c`, but `a`, `b`"),
            ("link.a", "which key"),
            ("experiment.seed.x", "nothing is inside"),
            ("link.a.", "ends with a dot"),
        ] {
            let problem = set(&mut table, key, &value("1")).expect_err(key);
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }

    #[test]
    fn texts_need_no_quotes() {
        assert_eq!(value("1%"), Value::String("1%".into()));
        assert_eq!(value("7"), Value::Integer(7));
        assert_eq!(value("true"), Value::Boolean(true));
        assert_eq!(label(&value("[\"a\", \"b\"]")), "a/b");
    }
}
