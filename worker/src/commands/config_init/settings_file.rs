//! A `harmony.toml` that names every setting and sets none.
//!
//! What each is for comes from docs/operations.md, which a test holds against the settings that there are.

use crate::settings::{KEYS, Kind};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");
/// Width of the comments.
const WIDTH: usize = 100;

/// The file's text.
pub(super) fn text() -> String {
    let mut text = String::from(
        "# Settings of Harmony. A flag wins over the environment, which wins over this file. Take the # away from what\n\
         # you set. `harmony config check` says where each setting was found and what is wrong.\n",
    );
    for (names, default, what) in rows() {
        let keys: Vec<_> = KEYS.iter().filter(|(key, _)| names.contains(key)).collect();
        if keys.is_empty() {
            continue;
        }
        let default = if default == "–" { String::new() } else { format!(" [default: {default}]") };
        text.push('\n');
        for line in wrapped(&format!("{what}{default}")) {
            text.push_str(&format!("# {line}\n"));
        }
        for (key, kind) in keys {
            let secret = if *kind == Kind::Secret { "  # a secret: better in the environment" } else { "" };
            text.push_str(&format!("#{key} = \"\"{secret}\n"));
        }
    }
    text
}

/// The rows of the table of settings: their names, their default, what they are for.
fn rows() -> impl Iterator<Item = (Vec<&'static str>, String, String)> {
    let table = OPERATIONS.split("## Configure").nth(1).unwrap_or_default();
    table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| {
        let mut cells = line.trim_matches('|').splitn(3, " | ").map(str::trim);
        let names = cells.next()?.split(", ").map(|name| name.trim_matches('`')).collect();
        Some((names, bare(cells.next()?), bare(cells.next()?)))
    })
}

/// Markdown as it reads without its signs.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        bare.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    bare.push_str(rest);
    bare.replace(['`', '['], "")
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < WIDTH) {
            Some(line) => {
                let gap = if line.is_empty() { "" } else { " " };
                line.push_str(gap);
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_named_once_and_none_is_set() {
        let text = text();
        let set: toml::Table = toml::from_str(&text).unwrap();
        assert!(set.is_empty(), "{set:?}");
        for (key, _) in KEYS {
            assert_eq!(text.matches(&format!("\n#{key} = \"\"")).count(), 1, "{key} in {text}");
        }
        // Without its #, each line is one that the file may have.
        let all = text.replace("\n#HARMONY_", "\nHARMONY_");
        assert!(toml::from_str::<toml::Table>(&all).unwrap().len() > 20);
        assert!(text.contains("# how long a request to a vendor may take [default: 20 s]\n"), "{text}");
        assert!(!text.contains("]("), "{text}");
    }
}
