//! What stands after the language on a fence: `{ name=rollback idempotent=true }`
//! or `{"name":"rollback","idempotent":"true"}`.
//!
//! The same reading as runme's, with one difference: runme skips what it does
//! not understand, we refuse it. An attribute that is misspelt is a cell that
//! quietly does something else, and a cell is what a human approves.
//! Braces that hold no attributes at all (`{1,3-5}`, as documentation sites
//! use them to highlight lines) are left alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Language and attributes of one fence, from its info string as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// Lower case; empty if none is given.
    pub(super) language: String,
    pub(super) attributes: Result<BTreeMap<String, String>, Malformed>,
}

/// Attributes that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) problem: String,
    /// The name, where that could be read; else empty.
    pub(super) name: String,
}

/// Reads an info string. A problem with the attributes is kept beside the
/// language, since only the caller knows whether this block matters.
pub(super) fn read(info: &str) -> Info {
    let info = info.trim();
    let (head, braces) = match info.find('{') {
        Some(at) => info.split_at(at),
        None => (info, ""),
    };
    let language = head.split_whitespace().next().unwrap_or("").to_lowercase();
    Info { language, attributes: attributes(braces) }
}

/// What a cell may say: what we obey or refuse, and what runme's editors and lists use, which changes nothing here.
const KNOWN: [&str; 19] = [
    "approve",
    "background",
    "category",
    "closeTerminalOnSuccess",
    "cwd",
    "dryRun",
    "excludeFromRunAll",
    "id",
    "idempotent",
    "interactive",
    "interpreter",
    "manual",
    "mimeType",
    "name",
    "openTerminalOnError",
    "promptEnv",
    "tag",
    "terminalRows",
    "timeout",
];

/// Whether an attribute means something, here or to runme.
pub(super) fn is_known(attribute: &str) -> bool {
    KNOWN.contains(&attribute)
}

/// A boolean attribute, spelt as runme accepts it.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "True" | "TRUE" | "1" | "t" | "T" => Some(true),
        "false" | "False" | "FALSE" | "0" | "f" | "F" => Some(false),
        _ => None,
    }
}

/// A time such as `90s`, `5m`, `1h` or `500ms`. A bare number is refused: it
/// does not say its unit.
pub(super) fn duration(value: &str) -> Option<Duration> {
    let digits = value.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn attributes(braces: &str) -> Result<BTreeMap<String, String>, Malformed> {
    let Some(inside) = braces.strip_prefix('{') else {
        return Ok(BTreeMap::new());
    };
    let mut found = BTreeMap::new();
    let read = if inside.trim_start().starts_with('"') {
        json(braces, &mut found)
    } else {
        words(inside, &mut found)
    };
    match read {
        Ok(()) => Ok(found),
        Err(problem) => Err(Malformed { problem, name: found.remove("name").unwrap_or_default() }),
    }
}

fn json(braces: &str, found: &mut BTreeMap<String, String>) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_str(braces).into_iter::<Pairs>();
    let Pairs(pairs) = match values.next() {
        Some(Ok(pairs)) => pairs,
        Some(Err(error)) => return Err(format!("not a JSON object: {error}")),
        None => return Err("not a JSON object".to_owned()),
    };
    for (key, value) in pairs {
        let value = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        add(found, key, value)?;
    }
    Ok(())
}

/// The members of an object as they are written, those that are given twice, too.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Members)
    }
}

fn add(found: &mut BTreeMap<String, String>, key: String, value: String) -> Result<(), String> {
    if found.contains_key(&key) {
        return Err(format!("{key} is given twice"));
    }
    found.insert(key, value);
    Ok(())
}

/// `key=value` pairs up to the closing brace; a value may stand in quotes.
fn words(inside: &str, found: &mut BTreeMap<String, String>) -> Result<(), String> {
    let mut rest = inside.trim_start();
    loop {
        if rest.starts_with('}') {
            return Ok(());
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=' || c == '}')
            .ok_or("the closing brace is missing")?;
        let (key, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            check_key(key)?;
            let (value, after) = value_of(key, value)?;
            add(found, key.to_owned(), value)?;
            rest = after.trim_start();
        } else if is_decoration(key) {
            rest = after.trim_start();
        } else {
            return Err(format!("{key:?} is not of the form key=value"));
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let mut chars = key.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
    if starts && chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Ok(());
    }
    Err(format!("{key:?} is not an attribute's name"))
}

fn value_of<'a>(key: &str, text: &'a str) -> Result<(String, &'a str), String> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let end = quoted.find(quote).ok_or_else(|| format!("the quote after {key}= is not closed"))?;
            return Ok((quoted[..end].to_owned(), &quoted[end + 1..]));
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '}').ok_or("the closing brace is missing")?;
    let (value, after) = text.split_at(end);
    if value.is_empty() || value.contains(['=', '"', '\'', '{']) {
        return Err(format!("{key}={value} is malformed"));
    }
    Ok((value.to_owned(), after))
}

/// `.class`, `#id` and line ranges belong to whoever renders the page.
fn is_decoration(word: &str) -> bool {
    word.starts_with(['.', '#'])
        || (!word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || ",-".contains(c)))
}
