//! Names of people in what is told outside: looked up when it is told, as the console does.

use harmony_blueprints::contracts::with_names;
use harmony_incidents::{Directory, promotion::AUTO_ACTOR, story::HARMONY};

/// A person by name; Harmony where nobody acted; the id where the directory has no name for it.
pub(crate) fn name(directory: &Directory, id: &str) -> String {
    if id == AUTO_ACTOR {
        return HARMONY.to_owned();
    }
    directory.name(id).to_owned()
}

/// A workflow's text with the names of whom it names. A mention that somebody typed in Slack becomes a name, too, so that
/// it reads well and notifies nobody.
pub(crate) fn named(directory: &Directory, text: &str) -> String {
    with_names(text, |id| {
        let user = id.split('|').next().unwrap_or(id);
        match directory.by_slack_user(user) {
            Some(known) => known.display_name().to_owned(),
            None => name(directory, id),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_mentions_become_names_and_nothing_else_changes() {
        let directory = "[[principal]]\nid = \"commander\"\nname = \"Chris Commander\"\nslack_user_id = \"U0C\"\n\
                         [[principal]]\nid = \"nameless\"\n";
        let directory = Directory::parse(directory).unwrap();
        for (text, expected) in [
            ("Update by <@commander>", "Update by Chris Commander"),
            ("<@commander> is commander", "Chris Commander is commander"),
            ("<@nameless>, <@gone>", "nameless, gone"),
            ("<@opx-candidate-processor> declared it", "Harmony declared it"),
            ("ask <@U0C|chris> or <@U0C>", "ask Chris Commander or Chris Commander"),
            ("commander < @b>", "commander < @b>"),
            ("a <@ b", "a <@ b"),
        ] {
            assert_eq!(named(&directory, text), expected);
        }
    }
}
