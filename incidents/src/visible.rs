//! Text from others, shown so that nothing in it can pass for something else.
//!
//! A character that takes no room, turns the direction of the line or moves the cursor lets a value look like another
//! one, or like a line of ours. Every place that shows such text to somebody who decides on it (the console, Slack, the
//! command line) shows these characters by their code point. What is stored, digested and run stays as it is.

use sha2::{Digest, Sha256};

/// Longest value that is shown whole beside others. A longer one is shown by its length and SHA-256.
pub const VALUE_CHARS: usize = 200;

/// The text with every invisible character as `<U+202E>`. Line ends and tabs stay.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) && !matches!(character, '\n' | '\t') {
            shown.push_str(&format!("<U+{:04X}>", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The text as [`visible`] shows it, on one line: ends of lines and tabs are shown, too.
pub fn line(text: &str) -> String {
    visible(text).replace('\n', "<U+000A>").replace('\t', "<U+0009>")
}

/// The value as a JSON string on one line, in which every character that cannot be seen is an escape.
pub fn quoted(value: &str) -> String {
    let mut shown = String::with_capacity(value.len() + 2);
    shown.push('"');
    for character in value.chars() {
        match character {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // A space that is none, such as the no-break space, looks like one.
            _ if is_invisible(character) || (character.is_whitespace() && character != ' ') => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    shown.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => shown.push(character),
        }
    }
    shown.push('"');
    shown
}

/// The value quoted; one of more than [`VALUE_CHARS`] characters by its length and SHA-256.
pub fn summary(value: &str) -> String {
    if is_short(value) { quoted(value) } else { fingerprint(value) }
}

/// Whether [`summary`] shows the value whole.
pub fn is_short(value: &str) -> bool {
    value.chars().nth(VALUE_CHARS).is_none()
}

/// A value by its length and SHA-256. Not quoted, so that no value can look like it.
pub fn fingerprint(value: &str) -> String {
    let (lines, characters) = (value.lines().count(), value.chars().count());
    let length = if lines > 1 { format!("{lines} lines, ") } else { String::new() };
    format!("({length}{characters} characters, SHA-256 {})", hex::encode(Sha256::digest(value)))
}

/// Whether a character cannot be seen where it stands: control and format characters, those that set the direction of
/// the text, fillers, and selectors of variants.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_code_point() {
        for (text, as_text, as_value) in [
            ("plain: é, 日本, עברית", "plain: é, 日本, עברית", "\"plain: é, 日本, עברית\""),
            ("a\nb\tc\rd", "a\nb\tc<U+000D>d", r#""a\nb\tc\rd""#),
            ("safe\u{202e}live", "safe<U+202E>live", r#""safe\u202elive""#),
            ("pro\u{200b}d", "pro<U+200B>d", r#""pro\u200bd""#),
            ("\u{1b}[2J\u{9b}1A\u{7f}", "<U+001B>[2J<U+009B>1A<U+007F>", r#""\u001b[2J\u009b1A\u007f""#),
            ("x\u{e0041}", "x<U+E0041>", r#""x\udb40\udc41""#),
            ("say \"no\" \\u202e", "say \"no\" \\u202e", r#""say \"no\" \\u202e""#),
            ("a\u{a0}b", "a\u{a0}b", r#""a\u00a0b""#),
            ("two\u{2028}lines", "two<U+2028>lines", r#""two\u2028lines""#),
        ] {
            assert_eq!(visible(text), as_text);
            assert_eq!(quoted(text), as_value);
            assert!(!line(text).contains(['\n', '\t']));
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }

    #[test]
    fn a_long_value_is_shown_by_its_length_and_digest() {
        let long = "x".repeat(VALUE_CHARS + 1);
        assert_eq!(summary(&long[1..]), format!("\"{}\"", "x".repeat(VALUE_CHARS)));
        let digest = hex::encode(Sha256::digest(&long));
        assert_eq!(summary(&long), format!("(201 characters, SHA-256 {digest})"));
    }
}
