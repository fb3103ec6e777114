//! App Home: what waits for whoever looks, and what is open. Published anew each time that they look, with what they may see
//! by then; a view is shown to nobody else.

use std::time::Instant;

use harmony_capabilities::slack::{
    blocks::{self, Block, Style},
    escape,
};
use harmony_eventlog::{Filter, Sort};
use harmony_incidents::{
    LinkName, OrgId, Principal, Right, RuleSet, approvals as gates,
    leading::FollowUpState,
    log::{GateState, IncidentState, Severity},
    machine,
    status::link,
    visible, words,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{DECLARE_BUTTON, orders::person};
use crate::{
    App,
    approvals::waiting,
    auth::Caller,
    error::ApiError,
    follow_ups::{self, FollowUp, Wanted},
    incidents::every,
    views,
};

/// Gates and follow-ups of one organisation that are shown; the console has all of them.
const MINE: usize = 10;
/// Open incidents of one organisation that are shown.
const OPEN: usize = 15;
/// Slack's limit for a view.
const BLOCKS: usize = 100;
/// Longest title or action that is shown.
const TEXT_CHARS: usize = 200;

/// What of an event matters.
#[derive(Deserialize)]
struct Happened {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    challenge: Value,
    /// The same for every time that Slack sends it.
    #[serde(default)]
    event_id: String,
    #[serde(default)]
    event: Opened,
}

#[derive(Deserialize, Default)]
struct Opened {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    tab: String,
}

/// Takes an event, however it came. Slack is answered at once, and the tab is published behind it.
pub(super) fn take(app: &App, event: Value) -> Result<Option<Value>, ApiError> {
    let happened: Happened =
        serde_json::from_value(event).map_err(|error| ApiError::Malformed(format!("the event: {error}")))?;
    match happened.kind.as_str() {
        // Slack asks once whether this address is ours.
        "url_verification" => Ok(Some(json!({ "challenge": happened.challenge }))),
        "event_callback" if happened.event.kind == "app_home_opened" && happened.event.tab == "home" => {
            if app.seen.is_new(&format!("event/{}", happened.event_id), Instant::now()) {
                let (app, user) = (app.clone(), happened.event.user);
                tokio::spawn(async move { publish(&app, &user).await });
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

async fn publish(app: &App, user: &str) {
    let Some(replies) = &app.doors.slack_replies else {
        tracing::warn!(user, "App Home needs SLACK_BOT_TOKEN");
        return;
    };
    let shown = match blocks_for(app, user).await {
        Ok(shown) => shown,
        Err(error) => {
            tracing::warn!(user, problem = error.for_people(), "App Home cannot be made");
            vec![blocks::plain_section("This cannot be shown now. Look again in a while.")]
        }
    };
    if let Err(error) = replies.publish_home(user, blocks::home(shown)).await {
        tracing::warn!(user, %error, "App Home is not shown");
    }
}

/// What this person sees.
async fn blocks_for(app: &App, user: &str) -> Result<Vec<Block>, ApiError> {
    let rules = app.doors.rules.current();
    let Some(principal) = rules.directory.by_slack_user(user) else {
        let text = "Nobody in the directory has this Slack account: ask an administrator to put your member ID into it.";
        return Ok(vec![blocks::plain_section(text)]);
    };
    let orgs: Vec<&OrgId> =
        principal.roles.iter().filter(|(_, roles)| !roles.is_empty()).map(|(org, _)| org).collect();
    if orgs.is_empty() {
        return Ok(vec![blocks::plain_section("You have no role in any organisation.")]);
    }
    let mut shown = Vec::new();
    for org in &orgs {
        let Some(caller) = Caller::of(principal.clone(), (*org).clone(), rules.clone()) else { continue };
        if orgs.len() > 1 {
            shown.push(blocks::header(org.as_str()));
        }
        let home = Home { app, rules: &rules, caller: &caller };
        shown.extend(home.waiting().await?);
        shown.extend(home.follow_ups(principal).await?);
        shown.extend(home.open().await?);
    }
    shown.truncate(BLOCKS);
    Ok(shown)
}

/// One organisation's part.
struct Home<'a> {
    app: &'a App,
    rules: &'a RuleSet,
    caller: &'a Caller,
}

impl Home<'_> {
    /// Gates that this person may decide, what ends first at the top.
    async fn waiting(&self) -> Result<Vec<Block>, ApiError> {
        if !self.caller.may(Right::ReadGates, None) {
            return Ok(Vec::new());
        }
        let incidents = waiting(self.app, self.caller).await?;
        let mut mine: Vec<(&IncidentState, &GateState)> = incidents
            .iter()
            .flat_map(|state| state.gates.iter().map(move |gate| (state, gate)))
            .filter(|(state, gate)| {
                gates::waits_for(state, gate, &self.caller.principal, self.caller.rules())
            })
            .collect();
        mine.sort_by_key(|(_, gate)| gate.due_us);
        let mut shown = vec![blocks::header("Waits for you")];
        if mine.is_empty() {
            shown.push(blocks::section("No decision waits for you."));
        }
        shown.extend(mine.iter().take(MINE).map(|(state, gate)| self.gate(state, gate)));
        shown.extend(more(mine.len(), MINE));
        Ok(shown)
    }

    fn gate(&self, state: &IncidentState, gate: &GateState) -> Block {
        // A gate has one of its own where it was planned anew; a release that is for no incident has none.
        let severity = match (gate.severity(), state.severity()) {
            (Severity::Unspecified, Severity::Unspecified) => String::new(),
            (Severity::Unspecified, severity) | (severity, _) => format!("{} ", severity.as_str_name()),
        };
        let asked = format!(
            "*{}*\n{severity}{} · asked by {} · until {}",
            line(&gate.action),
            escape(&about(&state.incident, state)),
            line(&person(&self.rules.directory, &gate.requester)),
            moment(gate.due_us),
        );
        self.linked(&asked, "decide", "Look and decide", &["approvals", &gate.gate_id], state)
    }

    /// Follow-ups of this person that are open, what is due first at the top.
    async fn follow_ups(&self, principal: &Principal) -> Result<Vec<Block>, ApiError> {
        if !self.caller.may(Right::Read, None) {
            return Ok(Vec::new());
        }
        let open = std::iter::once(FollowUpState::Open.name());
        let wanted = Wanted::of(open, vec![principal.id.clone()], false)?;
        let mine = follow_ups::all(self.app, self.caller, &wanted).await?;
        if mine.is_empty() {
            return Ok(Vec::new());
        }
        let mut shown = vec![blocks::header("Your follow-ups")];
        shown.extend(mine.iter().take(MINE).map(|one| self.follow_up(one)));
        shown.extend(more(mine.len(), MINE));
        Ok(shown)
    }

    fn follow_up(&self, one: &FollowUp) -> Block {
        let due = match (one.due.is_empty(), one.overdue) {
            (true, _) => String::new(),
            (false, true) => format!(" · *was due {}*", line(&one.due)),
            (false, false) => format!(" · due {}", line(&one.due)),
        };
        let text = format!("{}\n{}{due}", line(&one.action), escape(&one.id));
        match self.page(&["incidents", &one.incident_id]) {
            Some(page) => blocks::section_with_link(&text, "open", "Open", page),
            None => blocks::section(&text),
        }
    }

    /// Incidents that are not over and that this person may see, the most severe first, and a button to declare one.
    async fn open(&self) -> Result<Vec<Block>, ApiError> {
        let mut shown = vec![blocks::header("Open incidents")];
        if self.caller.may(Right::Read, None) {
            let live = Filter {
                states: machine::live_words(),
                visible_to: self.caller.sees_only(),
                sort: Sort::MostSevereFirst,
                ..Filter::default()
            };
            let found = every(self.app, &self.caller.org, live).await?;
            if found.is_empty() {
                shown.push(blocks::section("No incident is open."));
            }
            shown.extend(found.iter().take(OPEN).map(|state| self.incident(state)));
            shown.extend(more(found.len(), OPEN));
        }
        if self.caller.may(Right::Respond, None) {
            let value = json!({ "org": self.caller.org });
            let declare = blocks::button(DECLARE_BUTTON, "Declare an incident", Some(Style::Danger), &value);
            shown.push(blocks::actions("home", vec![declare]));
        }
        Ok(shown)
    }

    fn incident(&self, state: &IncidentState) -> Block {
        let commander = match views::commander(state) {
            "" => "*nobody commands*".to_owned(),
            commander => format!("{} commands", line(&person(&self.rules.directory, commander))),
        };
        let channel =
            link(state, LinkName::SlackChannel).map(|id| format!(" · <#{}>", escape(id))).unwrap_or_default();
        let text = format!(
            "*{} {}* ({}) · {}\n{commander}{channel}",
            state.severity().as_str_name(),
            state.state().as_str_name(),
            words::phase_name(state.phase()),
            escape(&about(&state.incident, state)),
        );
        self.linked(&text, "open", "Open", &["incidents", &state.incident], state)
    }

    /// A text with a button to a page of the console; where people reach no console, the incident's channel.
    fn linked(&self, text: &str, action: &str, label: &str, path: &[&str], state: &IncidentState) -> Block {
        match (self.page(path), link(state, LinkName::SlackChannel)) {
            (Some(page), _) => blocks::section_with_link(text, action, label, page),
            (None, Some(channel)) if action == "decide" => {
                blocks::section(&format!("{text} · in <#{}>", escape(channel)))
            }
            (None, _) => blocks::section(text),
        }
    }

    /// A page of the organisation.
    fn page(&self, path: &[&str]) -> Option<Url> {
        let mut page = self.app.doors.site.console.clone()?;
        // An address of `http` or `https` has a path.
        if let Ok(mut segments) = page.path_segments_mut() {
            segments.pop_if_empty().extend(["orgs", self.caller.org.as_str()]).extend(path);
        }
        Some(page)
    }
}

/// An incident, or what a release is of, with its title.
fn about(id: &str, state: &IncidentState) -> String {
    let title: String = visible::line(&views::text(state.title.as_ref())).chars().take(TEXT_CHARS).collect();
    match (state.drill, title.is_empty()) {
        (_, true) => id.to_owned(),
        (false, false) => format!("{id} {title}"),
        (true, false) => format!("{id} DRILL: {title}"),
    }
}

/// One line of what people wrote, for Slack's mark-up.
fn line(text: &str) -> String {
    let short: String = visible::line(text).chars().take(TEXT_CHARS).collect();
    escape(&short)
}

fn more(all: usize, shown: usize) -> Option<Block> {
    (all > shown).then(|| blocks::section(&format!("and {} more", all - shown)))
}

/// A time, as each reader's Slack shows it.
fn moment(at_us: i64) -> String {
    let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("<!date^{}^{{date_short_pretty}} {{time}}|{}>", at.as_second(), at.strftime("%Y-%m-%d %H:%M UTC"))
}
