//! What a cell hands on to the next one: the variables it exported or changed.
//!
//! Left out: what bash keeps for itself, what was given and is unchanged, the
//! secrets, and whatever contains one in any form that is masked. What cannot be
//! handed on for another reason is named in a note, since a variable that is
//! silently empty in the next cell is dangerous. A variable that was unset
//! comes back in the next cell if it was given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

use super::group::MARK;
use super::launch::is_variable_name;
use super::mask::Masker;

/// The whole environment of a process on Linux is smaller.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Variables of the shell itself.
const OF_THE_SHELL: [&str; 5] = ["OLDPWD", "PWD", "SHLVL", "_", MARK];

/// What is handed on, and what could not be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exports {
    pub(super) variables: BTreeMap<String, String>,
    /// One line each, without any value.
    pub(super) notes: Vec<String>,
}

/// Reads what the wrapper left in `dir`: no more than `limit_bytes` of names and
/// values, as they would stand in an environment. A cell that replaced its shell
/// (`exec`) leaves nothing.
pub(super) fn read(
    dir: &Path,
    given: &BTreeMap<OsString, OsString>,
    secrets: &BTreeMap<String, SecretString>,
    masker: &Masker,
    limit_bytes: usize,
) -> Exports {
    let Ok(file) = File::open(dir.join("exports")) else {
        return Exports::default();
    };
    let mut bytes = Vec::new();
    let is_read = file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).is_ok();
    let entries = if is_read { complete(&bytes) } else { None };
    let Some(entries) = entries else {
        return Exports {
            variables: BTreeMap::new(),
            notes: vec!["no variable is carried on: the list of them is incomplete".to_owned()],
        };
    };
    let mut changed = BTreeMap::new();
    for (name, value) in entries.split(|byte| *byte == 0).filter_map(name_and_value) {
        let is_given = given.get(OsStr::new(name)).map(|given| given.as_encoded_bytes());
        let is_ours = OF_THE_SHELL.contains(&name) || name.starts_with("__harmony");
        if is_given != Some(value) && !is_ours && !secrets.contains_key(name) {
            changed.insert(name, value);
        }
    }
    within_limits(changed, masker, limit_bytes)
}

/// Reads what a cell left as the last message of its container: a line for each variable, as `jobs/cell.sh` writes them.
#[cfg(feature = "kubernetes")]
pub(super) fn of_message(
    message: Option<&str>,
    given: &BTreeMap<&str, &str>,
    secrets: &BTreeMap<String, SecretString>,
    masker: &Masker,
    limit_bytes: usize,
) -> Exports {
    let lines = message.and_then(|text| text.strip_prefix("harmony-exports/1\n")?.strip_suffix('.'));
    let Some(lines) = lines else {
        return Exports {
            variables: BTreeMap::new(),
            notes: vec!["no variable is carried on: the list of them is not there or incomplete".to_owned()],
        };
    };
    let mut values: BTreeMap<&str, String> = BTreeMap::new();
    let mut notes = Exports::default();
    let is_ours = |name: &str| OF_THE_SHELL.contains(&name) || name.starts_with("__harmony");
    for line in lines.lines() {
        if let Some(name) = line.strip_prefix('!').filter(|name| is_variable_name(name) && !is_ours(name)) {
            notes.note(
                name,
                "there is more than 3.7 KiB in all, which is what the message of a container has room for",
            );
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        if !is_variable_name(name) || is_ours(name) || secrets.contains_key(name) {
            continue;
        }
        // Kubernetes keeps text alone, and puts this in the place of anything else.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            notes.note(name, "it is not UTF-8");
            continue;
        }
        let value = unescaped(value);
        if given.get(name) != Some(&value.as_str()) {
            values.insert(name, value);
        }
    }
    let changed = values.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let mut exports = within_limits(changed, masker, limit_bytes);
    exports.notes.append(&mut notes.notes);
    exports
}

#[cfg(feature = "kubernetes")]
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(one) = characters.next() {
        match one {
            '\\' => out.push(match characters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            }),
            other => out.push(other),
        }
    }
    out
}

fn within_limits(changed: BTreeMap<&str, &[u8]>, masker: &Masker, limit_bytes: usize) -> Exports {
    let mut exports = Exports::default();
    let mut room_bytes = limit_bytes;
    for (name, value) in changed {
        let Ok(value) = std::str::from_utf8(value) else {
            exports.note(name, "it is not UTF-8");
            continue;
        };
        if masker.finds_in(value) {
            exports.note(name, "it contains a secret");
            continue;
        }
        let needed_bytes = name.len() + value.len() + 2;
        if needed_bytes > room_bytes {
            let limit = if limit_bytes.is_multiple_of(1024) {
                format!("{} KiB", limit_bytes / 1024)
            } else {
                format!("{limit_bytes} bytes")
            };
            exports.note(name, &format!("there is more than {limit} in all"));
            continue;
        }
        room_bytes -= needed_bytes;
        exports.variables.insert(name.to_owned(), value.to_owned());
    }
    exports
}

impl Exports {
    fn note(&mut self, name: &str, why: &str) {
        self.notes.push(format!("{name} is not carried on: {why}"));
    }
}

/// The entries, if the mark of completeness follows them.
fn complete(bytes: &[u8]) -> Option<&[u8]> {
    let entries = bytes.strip_suffix(b"\0")?;
    (entries.is_empty() || entries.ends_with(b"\0")).then_some(entries)
}

fn name_and_value(entry: &[u8]) -> Option<(&str, &[u8])> {
    let at = entry.iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(&entry[..at]).ok()?;
    is_variable_name(name).then_some((name, &entry[at + 1..]))
}
