//! Follow-ups across incidents: what is left to be done, by whom and until when.

use askama::Template;
use harmony_incidents::Right;
use serde_json::json;

use super::{
    Page,
    form::{Submission, encoded, see},
    html,
    leading::FollowUpLine,
    visit::{Frame, Visit},
};
use crate::follow_ups::{Wanted, all};

/// Lines of the page.
const LINES: usize = 200;

/// What can be shown: the word in the address, and on the page.
const VIEWS: [(&str, &str); 5] =
    [("", "Open"), ("overdue", "Overdue"), ("mine", "Mine"), ("done", "Done"), ("dropped", "Dropped")];

#[derive(Template)]
#[template(path = "follow_ups.html")]
struct FollowUpsPage {
    frame: Frame,
    lines: Vec<FollowUpLine>,
    total: usize,
    views: Vec<(&'static str, &'static str, bool)>,
    address: String,
}

/// `GET …/follow-ups`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    visit.query.only(&["view", "done"]).map_err(|error| visit.trouble(error))?;
    let asked = visit.query.one("view").unwrap_or_default();
    let view = VIEWS.iter().map(|(name, _)| *name).find(|name| *name == asked).unwrap_or_default();
    let state = if ["done", "dropped"].contains(&view) { view } else { "open" };
    let wanted = Wanted {
        states: vec![state.to_owned()],
        owners: if view == "mine" { vec![visit.caller.principal.id.clone()] } else { vec![] },
        overdue: view == "overdue",
    };
    let found = all(&visit.app, &visit.caller, &wanted).await?;
    let total = found.len();
    let may_respond = visit.may(Right::Respond, None);
    html(&FollowUpsPage {
        lines: found.into_iter().take(LINES).map(|one| FollowUpLine::of(&visit, one, may_respond)).collect(),
        total,
        views: VIEWS.iter().map(|(name, label)| (*name, *label, *name == view)).collect(),
        address: format!("/orgs/{}/follow-ups", visit.caller.org),
        frame: visit.frame("follow-ups"),
    })
}

/// `POST …/follow-ups/{id}`
pub(crate) async fn change(form: Submission) -> Page {
    let back = format!("/orgs/{}/follow-ups", form.caller.org);
    let id = encoded(form.path("id"));
    let mut body = form.json();
    // Elsewhere this field is about the form itself.
    if !form.field("to").is_empty() {
        body["to"] = json!(form.field("to"));
    }
    form.send(&format!("follow-ups/{id}"), &body, &back).await?;
    Ok(see(&back, "recorded"))
}
