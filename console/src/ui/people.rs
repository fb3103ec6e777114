//! Who there is in the organisation, and what each may do: read from the directory, which is changed in its file.

use askama::Template;
use harmony_incidents::Right;

use super::{
    Page, html,
    visit::{Frame, Visit},
};
use crate::people::members;

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    people: Vec<Person>,
}

struct Person {
    id: String,
    name: String,
    roles: String,
    /// Whether Slack's clicks are known to be theirs.
    in_slack: bool,
    has_email: bool,
}

/// `GET …/people`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let people = members(&visit.caller).map(|(one, roles)| Person {
        id: one.id.clone(),
        name: one.display_name().to_owned(),
        roles: roles.join(", "),
        in_slack: one.slack_user_id.is_some(),
        has_email: one.email.is_some(),
    });
    let people = people.collect();
    html(&PeoplePage { frame: visit.frame("people"), people })
}
