//! What the connectors of issue trackers have in common: the issue that is to be there, and the one that is.
//!
//! A draft is plain text. Each connector writes it so that its tracker shows it as it is: nothing in it mentions anybody,
//! refers to another issue or becomes markup.

use uuid::Uuid;

/// The label of every issue that Harmony makes, by which its own are listed.
pub const LABEL: &str = "harmony";

/// How our key begins at a tracker: in a label at Jira, in the last line of an issue at GitHub.
pub const MARK: &str = "harmony-";

/// Jira takes no longer summary, and GitHub one character more.
const TITLE_CHARS: usize = 255;

/// The issue that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueDraft {
    /// What has to be done. As long as it is: an issue whose title cuts it short has all of it in its text.
    pub action: String,
    /// What else there is to know, a line each.
    pub lines: Vec<String>,
    /// Where people read more; empty for nowhere.
    pub link: String,
}

/// An issue that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The tracker's own id, which a move or a rename leaves alone.
    pub id: String,
    /// What people call it: `OPS-7`, `acme/shop#7`.
    pub name: String,
    /// Where people open it.
    pub url: String,
    /// Whether it carries what it is found again by.
    pub findable: bool,
}

impl IssueDraft {
    /// One line, cut to what the trackers take.
    pub(crate) fn title(&self) -> String {
        let line = one_line(&self.action);
        if line.chars().count() <= TITLE_CHARS {
            return line;
        }
        let mut short: String = line.chars().take(TITLE_CHARS - 1).collect();
        short.push('…');
        short
    }

    /// The lines of the text: all of the action where the title does not say all of it, then what else there is.
    pub(crate) fn text(&self) -> Vec<String> {
        let whole = self.title() == self.action;
        let action = self.action.lines().filter(|_| !whole).map(one_line);
        action.chain(self.lines.iter().map(|line| one_line(line))).collect()
    }
}

/// How our key stands at a tracker.
pub(crate) fn mark(key: &Uuid) -> String {
    format!("{MARK}{key}")
}

fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(action: &str) -> IssueDraft {
        IssueDraft {
            action: action.to_owned(),
            lines: vec!["Owner:\nOlivia".to_owned()],
            link: String::new(),
        }
    }

    #[test]
    fn title_is_one_line_and_the_text_has_what_it_leaves_out() {
        assert_eq!(draft("Add an alert").text(), ["Owner: Olivia"]);
        let two = draft("Add an alert\nand a runbook");
        assert_eq!(two.title(), "Add an alert and a runbook");
        assert_eq!(two.text(), ["Add an alert", "and a runbook", "Owner: Olivia"]);
        let long = draft(&"ü".repeat(256));
        assert_eq!((long.title().chars().count(), long.title().ends_with('…')), (255, true));
        assert_eq!(long.text()[0].chars().count(), 256);
    }
}
