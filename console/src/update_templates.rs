//! Templates for updates: texts that an organisation has agreed on before it needs them, by severity and service.
//!
//! One TOML file each; the text is a minijinja template. Everything that can be wrong with one is found when it is read:
//! an unknown variable, a filter that does not exist, or an internal word in a text for the public. What a template makes
//! is a draft: people see it, may change it, and send it as any other update. The record names the template and its
//! version.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_incidents::{
    Right, clock,
    judge::Rules,
    log::{IncidentState, Severity},
    words as vocabulary,
};
use jiff::Timestamp;
use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{call::Call, error::ApiError, views::text};

/// Longest text of a template, in bytes: what a Slack message shows without being cut is 4,000 characters.
const TEXT_LIMIT_BYTES: usize = 4_000;

/// What a text may say, with what it is in an example.
const VARIABLES: [(&str, &str); 9] = [
    ("commander", "Chris Commander"),
    ("incident", "INC-2026-0042"),
    ("next_update", "14:25 UTC"),
    ("public_title", "We are investigating an issue with checkout"),
    ("services", "checkout"),
    ("severity", "P1"),
    ("since", "2026-11-29 14:05 UTC"),
    ("state", "OPEN"),
    ("title", "Checkout returns 500"),
];

/// What a text for the public may say: no name of a person, and not the internal title.
const PUBLIC_VARIABLES: [&str; 4] = ["next_update", "public_title", "services", "since"];

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    title: String,
    #[serde(default)]
    severities: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    public: bool,
    message: String,
}

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateTemplate {
    name: String,
    version: u32,
    title: String,
    /// Empty for every severity.
    severities: Vec<Severity>,
    /// Empty for every service.
    services: Vec<String>,
    public: bool,
    message: String,
}

impl UpdateTemplate {
    /// Reads one from the text of its file, whose name is the template's. The error names the field and what would do.
    pub fn parse(name: &str, source: &str) -> Result<Self, String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(is_name) {
            return Err(format!("a template's name is 1 to 40 of a-z, 0-9 and -, not {name:?}"));
        }
        let file: File = toml::from_str(source).map_err(|error| error.to_string())?;
        if file.version == 0 {
            return Err("version: count from 1".to_owned());
        }
        if file.title.trim().is_empty() || file.title.len() > 80 || file.title.contains(char::is_control) {
            return Err("title: one line of 1 to 80 characters, for whoever chooses".to_owned());
        }
        let severities = file
            .severities
            .iter()
            .map(|word| {
                vocabulary::severity(word).map_err(|_| format!("severities: {word:?} is not one of P1 to P4"))
            })
            .collect::<Result<_, _>>()?;
        let message = file.message.trim().to_owned();
        if message.is_empty() || message.len() > TEXT_LIMIT_BYTES {
            return Err(format!("message: a text of 1 to {TEXT_LIMIT_BYTES} bytes"));
        }
        let template = Self {
            name: name.to_owned(),
            version: file.version,
            title: file.title.trim().to_owned(),
            severities,
            services: file.services,
            public: file.public,
            message,
        };
        template.check()?;
        Ok(template)
    }

    /// Whether it can be rendered, and says only what it may.
    fn check(&self) -> Result<(), String> {
        let environment = environment();
        let parsed =
            environment.template_from_str(&self.message).map_err(|error| format!("message: {error:#}"))?;
        let mut used: Vec<String> = parsed.undeclared_variables(false).into_iter().collect();
        used.sort_unstable();
        for name in used {
            if !VARIABLES.iter().any(|(known, _)| *known == name) {
                let known: Vec<&str> = VARIABLES.iter().map(|(known, _)| *known).collect();
                return Err(format!("message: there is no variable {name:?}; use {}", known.join(", ")));
            }
            if self.public && !PUBLIC_VARIABLES.contains(&name.as_str()) {
                return Err(format!(
                    "message: {name:?} is internal, and this text is for the public; use {}",
                    PUBLIC_VARIABLES.join(", ")
                ));
            }
        }
        let example: serde_json::Map<String, Value> =
            VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let rendered = parsed.render(&example).map_err(|error| format!("message: {error:#}"))?;
        if rendered.trim().is_empty() {
            return Err("message: it says nothing".to_owned());
        }
        Ok(())
    }

    /// What a record calls it.
    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn fits(&self, state: &IncidentState) -> bool {
        let is_affected =
            |service: &String| state.service_name == *service || state.impacted_services.contains(service);
        (self.severities.is_empty() || self.severities.contains(&state.severity()))
            && (self.services.is_empty() || self.services.iter().any(is_affected))
    }

    fn render(&self, facts: &Value) -> Result<String, String> {
        let rendered = environment().render_str(&self.message, facts);
        rendered
            .map(|text| text.trim().to_owned())
            .map_err(|error| format!("template {}: {error:#}", self.reference()))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(false);
    for (name, filter) in [("upper", str::to_uppercase as fn(&str) -> String), ("lower", str::to_lowercase)] {
        environment.add_filter(name, move |text: String| filter(&text));
    }
    environment
}

/// All templates of an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateTemplates(Vec<UpdateTemplate>);

impl UpdateTemplates {
    /// In the order in which they are offered: what is for one service or severity before what is for all.
    pub fn new(mut templates: Vec<UpdateTemplate>) -> Self {
        templates.sort_by_key(|one| (one.services.is_empty(), one.severities.is_empty(), one.name.clone()));
        Self(templates)
    }

    /// Their names with their versions.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(UpdateTemplate::reference).collect()
    }

    fn fitting<'a>(&'a self, state: &'a IncidentState) -> impl Iterator<Item = &'a UpdateTemplate> {
        self.0.iter().filter(|one| one.fits(state))
    }
}

/// Gives the templates as they are now.
pub trait UpdateTemplateSource: Send + Sync {
    /// An error says which file is wrong, and how.
    fn current(&self) -> Result<UpdateTemplates, String>;
}

/// What the texts may say of an incident, as it is now.
fn facts(state: &IncidentState, rules: Rules<'_>, now: Timestamp) -> Value {
    let zone = rules.policy.time_zone();
    let minute = |at_us: i64, format: &str| {
        let at = Timestamp::from_microsecond(at_us).map(|at| at.to_zoned(zone.clone()));
        at.map(|at| at.strftime(format).to_string()).unwrap_or_default()
    };
    let commanders: Vec<&str> = state
        .responders
        .iter()
        .filter(|one| one.role == "commander")
        .map(|one| rules.directory.name(&one.principal))
        .collect();
    let services = match state.impacted_services.as_slice() {
        [] if state.service_name.is_empty() => "our services".to_owned(),
        [] => state.service_name.clone(),
        several => several.join(", "),
    };
    let next = clock::next_update(rules.policy, state.severity(), now);
    json!({
        "commander": if commanders.is_empty() { "nobody yet".to_owned() } else { commanders.join(", ") },
        "incident": state.incident,
        "next_update": if next > 0 { minute(next, "%H:%M %Z") } else { "as soon as there is news".to_owned() },
        "public_title": match text(state.public_title.as_ref()) {
            none if none.is_empty() => format!("We are investigating an issue with {services}"),
            title => title,
        },
        "services": services,
        "severity": state.severity().as_str_name(),
        "since": minute(state.created_at_us, "%Y-%m-%d %H:%M %Z"),
        "state": state.state().as_str_name(),
        "title": text(state.title.as_ref()),
    })
}

/// A template that fits an incident, with the text that it makes of it now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Draft {
    /// What a request names it by.
    pub(crate) name: String,
    pub(crate) version: u32,
    /// What people choose it by.
    pub(crate) title: String,
    /// Whether it is for the public status page, too.
    pub(crate) public: bool,
    pub(crate) message: String,
    #[serde(skip)]
    pub(crate) reference: String,
}

fn draft(template: &UpdateTemplate, facts: &Value) -> Result<Draft, String> {
    Ok(Draft {
        name: template.name.clone(),
        version: template.version,
        title: template.title.clone(),
        public: template.public,
        message: template.render(facts)?,
        reference: template.reference(),
    })
}

fn unreadable(problem: String) -> ApiError {
    ApiError::NotConfigured {
        detail: problem,
        hint: "correct the file; `harmony config check` reads them all",
    }
}

/// The drafts for this incident, the most specific first; else what is wrong with a template.
pub(crate) fn drafts(
    source: &dyn UpdateTemplateSource,
    state: &IncidentState,
    rules: Rules<'_>,
) -> Result<Vec<Draft>, String> {
    let facts = facts(state, rules, Timestamp::now());
    source.current()?.fitting(state).map(|one| draft(one, &facts)).collect()
}

/// The draft of this name.
pub(crate) fn named(
    source: &dyn UpdateTemplateSource,
    state: &IncidentState,
    rules: Rules<'_>,
    name: &str,
) -> Result<Draft, ApiError> {
    let drafts = drafts(source, state, rules).map_err(unreadable)?;
    let known: Vec<String> = drafts.iter().map(|one| one.name.clone()).collect();
    drafts.into_iter().find(|one| one.name == name).ok_or_else(|| {
        let known = if known.is_empty() { "there is none for it".to_owned() } else { known.join(", ") };
        ApiError::Invalid(format!("template {name:?} is not one for this incident; use {known}"))
    })
}

/// `GET …/incidents/{id}/update-templates`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (incident, state) = call.incident(Right::Respond).await?;
    let source = call.app.doors.update_templates.as_ref();
    let templates = drafts(source, &state, call.caller.rules()).map_err(unreadable)?;
    Ok(Json(json!({ "incidentId": incident, "templates": templates })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_template_is_found_when_it_is_read() {
        let good = "version = 1\ntitle = \"Hello\"\n";
        for (name, source, expected) in [
            ("Hello", format!("{good}message = \"x\""), "1 to 40 of a-z"),
            ("hello", format!("{good}message = \"\""), "message: a text of"),
            ("hello", format!("{good}message = \"{{{{ titel }}}}\""), "there is no variable \"titel\""),
            ("hello", format!("{good}message = \"{{{{ title | shout }}}}\""), "shout"),
            ("hello", format!("{good}message = \"{{% if %}}\""), "message:"),
            ("hello", format!("{good}message = \"{{{{ '' }}}}\""), "says nothing"),
            ("hello", format!("{good}public = true\nmessage = \"{{{{ title }}}}\""), "\"title\" is internal"),
            ("hello", format!("{good}public = true\nmessage = \"{{{{ commander }}}}\""), "is internal"),
            ("hello", format!("{good}severities = [\"P9\"]\nmessage = \"x\""), "severities: \"P9\""),
            ("hello", format!("{good}sevirities = [\"P1\"]\nmessage = \"x\""), "unknown field"),
            ("hello", "version = 0\ntitle = \"Hello\"\nmessage = \"x\"".to_owned(), "count from 1"),
            ("hello", "version = 1\ntitle = \" \"\nmessage = \"x\"".to_owned(), "title: one line"),
        ] {
            let problem = UpdateTemplate::parse(name, &source).unwrap_err();
            assert!(problem.contains(expected), "{source}: {problem}");
        }
    }

    #[test]
    fn text_says_what_is_so_now_and_when_the_next_one_comes() {
        let source = "version = 2\ntitle = \"Hello\"\nmessage = \"{{ severity | lower }} {{ services }} by {{ commander }}, next {{ next_update }}\"";
        let template = UpdateTemplate::parse("hello", source).unwrap();
        let state = IncidentState {
            severity: Severity::P1.into(),
            impacted_services: vec!["checkout".to_owned(), "cart".to_owned()],
            ..IncidentState::default()
        };
        let policy = harmony_incidents::Policy::parse("zone = \"Europe/Berlin\"").unwrap();
        let rules = harmony_incidents::RuleSet { policy, ..Default::default() };
        let now = "2026-11-29T10:00:00Z".parse().unwrap();
        let text = template.render(&facts(&state, rules.rules(), now)).unwrap();
        assert_eq!(text, "p1 checkout, cart by nobody yet, next 11:20 CET");
    }
}
