//! Stakeholders: people, addresses and channels that follow incidents without taking part, and what they are told.
//!
//! A subscription names what is followed ([`Topic`]) and who is told ([`Recipient`]). One message follows each change
//! that matters to somebody who only waits for the outcome ([`change`]): never a note, a gate or a step. Who may be told
//! is decided when a message is sent, by the incident as it is then ([`may_reach`]): a drill reaches nobody, a private
//! incident nobody but the people it names.
//!
//! Subscriptions are rows beside the log and no records: an address is personal data that its owner takes back, and no
//! incident changes because somebody reads about it.

use std::{fmt, str::FromStr};

use harmony_protos::log::{IncidentState, Phase, Severity, State, Text, payload::Kind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::IncidentId,
    leading, machine, sentence,
    story::{self, Names},
    visible, words,
};

/// Subscriptions that one organisation can have.
pub const MOST_SUBSCRIPTIONS: usize = 1_000;
/// Longest address that SMTP carries (RFC 5321, 4.5.3.1.3, without the angle brackets).
const ADDRESS_CHARS: usize = 254;
/// Longest part before the `@` (RFC 5321, 4.5.3.1.1).
const LOCAL_PART_CHARS: usize = 64;
/// Longest name of a service.
const SERVICE_CHARS: usize = 128;
/// Longest title in a subject line; mail programs show less.
const TITLE_CHARS: usize = 120;

/// What is wrong with a subscription that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// No topic.
    #[error("{0:?} cannot be followed: use incident:INC-2026-0042, service:NAME, severity:P1 or all")]
    Topic(String),
    /// No address. The address is not repeated: it may hold anything.
    #[error("not an e-mail address: {0}")]
    Address(&'static str),
    /// No channel.
    #[error("{0:?} is not the id of a Slack channel: it begins with C or G, such as C0123ABCD")]
    Channel(String),
    /// No recipient.
    #[error("{0:?} is not a recipient: use person:ID, email:ADDRESS or slack:CHANNEL")]
    Recipient(String),
}

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topic {
    /// One incident.
    Incident(IncidentId),
    /// Every incident that names this service.
    Service(String),
    /// Every incident of this severity, and what becomes of it when the severity changes.
    Severity(Severity),
    /// Every incident.
    All,
}

impl Topic {
    /// Whether a change of this incident belongs to it.
    pub fn covers(&self, state: &IncidentState, change: Change) -> bool {
        match self {
            Self::Incident(incident) => state.incident == incident.as_str(),
            Self::Service(service) => {
                state.service_name == *service || state.impacted_services.contains(service)
            }
            Self::Severity(severity) => {
                state.severity() == *severity
                    || matches!(change, Change::Severity { from, .. } if from == *severity)
            }
            Self::All => true,
        }
    }

    /// What is followed, in words that stand behind "you follow".
    pub fn words(&self) -> String {
        match self {
            Self::Incident(incident) => incident.to_string(),
            Self::Service(service) => format!("incidents of {}", visible::line(service)),
            Self::Severity(severity) => format!("{} incidents", severity.as_str_name()),
            Self::All => "every incident".to_owned(),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incident(incident) => write!(formatter, "incident:{incident}"),
            Self::Service(service) => write!(formatter, "service:{service}"),
            Self::Severity(severity) => write!(formatter, "severity:{}", severity.as_str_name()),
            Self::All => formatter.write_str("all"),
        }
    }
}

impl FromStr for Topic {
    type Err = SubscriptionError;
    fn from_str(text: &str) -> Result<Self, SubscriptionError> {
        let unknown = || SubscriptionError::Topic(text.chars().take(80).collect());
        match text.trim().split_once(':') {
            None if text.trim() == "all" => Ok(Self::All),
            Some(("incident", id)) => id.parse().map(Self::Incident).map_err(|_| unknown()),
            Some(("severity", word)) => words::severity(word).map(Self::Severity).map_err(|_| unknown()),
            Some(("service", name)) => {
                let name = name.trim();
                let fits = (1..=SERVICE_CHARS).contains(&name.chars().count())
                    && !name.chars().any(char::is_control);
                fits.then(|| Self::Service(name.to_owned())).ok_or_else(unknown)
            }
            Some(_) | None => Err(unknown()),
        }
    }
}

/// An address that mail can be sent to as it stands: ASCII, no blanks, no line breaks, no quoted part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = SubscriptionError;
    fn from_str(text: &str) -> Result<Self, SubscriptionError> {
        let refused = |why| Err(SubscriptionError::Address(why));
        if text.len() > ADDRESS_CHARS {
            return refused("it has at most 254 characters");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused("it has only visible ASCII characters, without blanks and line breaks");
        }
        let Some((local, domain)) = text.rsplit_once('@') else { return refused("it has no @") };
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let dotted = |part: &str| part.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
        if local.len() > LOCAL_PART_CHARS || !dotted(local) {
            return refused("before the @ are 1 to 64 letters, digits and marks, such as jo.doe+alerts");
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !domain.split('.').all(is_label) {
            return refused("behind the @ is a host name, such as example.com");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The id of a Slack channel, such as `C0123ABCD`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelId(String);

impl ChannelId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelId {
    type Err = SubscriptionError;
    fn from_str(text: &str) -> Result<Self, SubscriptionError> {
        let fits = (3..=21).contains(&text.len())
            && text.starts_with(['C', 'G'])
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| SubscriptionError::Channel(text.chars().take(40).collect()))
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Recipient {
    /// A principal, by e-mail at the address that the directory has when a message is sent.
    Person(String),
    /// An address of nobody whom Harmony knows.
    Email(EmailAddress),
    /// A channel in Slack.
    Channel(ChannelId),
}

impl Recipient {
    /// What makes two recipients the same one: the host of an address, and in practice all of it, has no case.
    fn identity(&self) -> String {
        match self {
            Self::Email(address) => format!("email:{}", address.0.to_ascii_lowercase()),
            Self::Person(_) | Self::Channel(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => write!(formatter, "person:{id}"),
            Self::Email(address) => write!(formatter, "email:{}", address.0),
            Self::Channel(channel) => write!(formatter, "slack:{}", channel.0),
        }
    }
}

impl FromStr for Recipient {
    type Err = SubscriptionError;
    fn from_str(text: &str) -> Result<Self, SubscriptionError> {
        let unknown = || SubscriptionError::Recipient(text.chars().take(80).collect());
        match text.split_once(':') {
            Some(("person", id)) if !id.is_empty() && !id.chars().any(char::is_control) => {
                Ok(Self::Person(id.to_owned()))
            }
            Some(("email", address)) => address.parse().map(Self::Email),
            Some(("slack", channel)) => channel.parse().map(Self::Channel),
            Some(_) | None => Err(unknown()),
        }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = SubscriptionError;
            fn try_from(text: String) -> Result<Self, SubscriptionError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
as_text!(Topic);
as_text!(Recipient);

/// A subscription's id: made of what is followed and who is told, so that each pair has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionId(String);

impl SubscriptionId {
    /// Of this pair.
    pub fn of(subject: &Topic, to: &Recipient) -> Self {
        let digest = Sha256::digest(format!("{subject}\n{}", to.identity()));
        Self(format!("sub-{}", &hex::encode(digest)[..20]))
    }

    /// One that somebody names; it need not exist.
    pub fn named(text: &str) -> Self {
        Self(text.chars().take(64).collect())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryProblem {
    /// When.
    pub at: Timestamp,
    /// What it was about.
    pub incident: IncidentId,
    /// Why, in the words of the mail server or of Slack.
    pub reason: String,
}

/// Somebody is told of what becomes of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// What is followed.
    pub subject: Topic,
    /// Who is told.
    pub to: Recipient,
    /// Who subscribed them.
    pub by: String,
    /// When; what was subscribed again after it was taken back has another time, and links of its own.
    pub at: Timestamp,
    /// The last message that was given up, until one arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeliveryProblem>,
}

impl Subscription {
    /// A new one, made at this time.
    pub fn new(subject: Topic, to: Recipient, by: &str, at: Timestamp) -> Self {
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        Self { id: SubscriptionId::of(&subject, &to), subject, to, by: by.to_owned(), at, problem: None }
    }
}

/// A change that stakeholders are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An incident was declared.
    Declared,
    /// Its severity is another one.
    Severity {
        /// As it was.
        from: Severity,
        /// As it is.
        to: Severity,
    },
    /// Somebody published an update.
    Update,
    /// It no longer hurts: the remediation was verified.
    Mitigated,
    /// It is over.
    Resolved,
    /// It was declared by mistake.
    Cancelled,
    /// Its review can be read.
    ReviewPublished,
}

/// The change that a record is, if stakeholders are told of it.
pub fn change(kind: &Kind) -> Option<Change> {
    if let Kind::IncidentCreated(created) = kind {
        return (!created.drill).then_some(Change::Declared);
    }
    if let Kind::IncidentSeverityChanged(changed) = kind {
        return Some(Change::Severity { from: changed.from(), to: changed.to() });
    }
    if let Kind::IncidentUpdated(updated) = kind {
        return updated.message.is_some().then_some(Change::Update);
    }
    if let Kind::PhaseChanged(changed) = kind {
        return (changed.to() == Phase::Verified && changed.from() != Phase::Verified)
            .then_some(Change::Mitigated);
    }
    if let Kind::IncidentStatusChanged(changed) = kind {
        return match changed.to() {
            State::Resolved => Some(Change::Resolved),
            State::Cancelled => Some(Change::Cancelled),
            State::Unspecified
            | State::Pending
            | State::Open
            | State::Mitigating
            | State::Closed
            | State::Archived => None,
        };
    }
    matches!(kind, Kind::PostMortemPublished(_)).then_some(Change::ReviewPublished)
}

/// Whether this recipient may be told of an incident as it is now.
pub fn may_reach(state: &IncidentState, to: &Recipient) -> bool {
    if state.drill {
        return false;
    }
    match to {
        // Whoever sees everything is not thereby named.
        Recipient::Person(id) => leading::is_visible(state, id, false),
        Recipient::Email(_) | Recipient::Channel(_) => !state.private,
    }
}

/// What a stakeholder is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub subject: String,
    /// Lines of the text, without the link and the way to unsubscribe.
    pub lines: Vec<String>,
}

/// Tells a change: what changed by this record of this actor, and how the incident is now.
pub fn notice(state: &IncidentState, change: Change, kind: &Kind, actor: &str, names: &dyn Names) -> Notice {
    let title = visible::line(shown(state.title.as_ref()));
    let mut title: String = title.chars().take(TITLE_CHARS).collect();
    if title.is_empty() {
        "without a title".clone_into(&mut title);
    }
    let severity = state.severity().as_str_name();
    let subject = format!("[{severity}] {} {title}: {}", state.incident, headline(change));
    let mut lines = vec![what_changed(state, change, kind, actor, names), String::new()];
    lines.push(format!("Severity: {severity}"));
    lines.push(format!("Status: {}", words::status(state.state(), state.phase())));
    if !machine::is_over(state.state()) {
        let commander = state.responders.iter().find(|one| one.role == "commander");
        let commander = commander
            .map_or_else(|| "nobody yet".to_owned(), |one| visible::line(&names.person(&one.principal)));
        lines.push(format!("Commander: {commander}"));
        if let Some(due) = leading::next_update_us(state) {
            lines.push(format!("Next update due: {}", sentence::moment(due)));
        }
    }
    Notice { subject, lines }
}

/// The end of a subject line.
fn headline(change: Change) -> String {
    match change {
        Change::Declared => "declared".to_owned(),
        Change::Severity { from, to } => {
            format!("severity {} → {}", from.as_str_name(), to.as_str_name())
        }
        Change::Update => "update".to_owned(),
        Change::Mitigated => "mitigated".to_owned(),
        Change::Resolved => "resolved".to_owned(),
        Change::Cancelled => "cancelled".to_owned(),
        Change::ReviewPublished => "review published".to_owned(),
    }
}

fn what_changed(
    state: &IncidentState,
    change: Change,
    kind: &Kind,
    actor: &str,
    names: &dyn Names,
) -> String {
    let person = |id: &str| visible::line(&names.person(id));
    let because = |sentence: String, why: &str| {
        let why = visible::visible(why.trim());
        if why.is_empty() { format!("{sentence}.") } else { format!("{sentence}: {why}") }
    };
    match (change, kind) {
        (Change::Update, Kind::IncidentUpdated(updated)) => {
            format!("{}: {}", person(actor), visible::visible(shown(updated.message.as_ref()).trim()))
        }
        (Change::Mitigated, _) => "The incident is mitigated.".to_owned(),
        (Change::Resolved, _) => {
            let resolution = state.resolution.as_ref();
            let by = resolution.map(|one| one.resolved_by.as_str()).filter(|by| !by.is_empty());
            let summary = resolution.map_or("", |one| shown(one.summary.as_ref()));
            because(format!("Resolved by {}", person(by.unwrap_or(actor))), summary)
        }
        (Change::Cancelled, Kind::IncidentStatusChanged(changed)) => {
            because(format!("Cancelled by {}", person(actor)), shown(changed.reason.as_ref()))
        }
        (Change::ReviewPublished, Kind::PostMortemPublished(published)) => {
            because("The review is published".to_owned(), &published.url)
        }
        _ => {
            let told = story::tell(kind, actor, names);
            format!("{} {}", visible::line(&told.who), visible::visible(&told.did))
        }
    }
}

fn shown(text: Option<&Text>) -> &str {
    text.map_or("", Text::shown)
}

#[cfg(test)]
mod tests {
    use harmony_protos::log::{
        IncidentCreated, IncidentNoteAdded, IncidentSeverityChanged, IncidentStatusChanged, IncidentUpdated,
        PhaseChanged, PostMortemPublished, Resolution, Responder,
    };

    use super::*;

    struct Plain;

    impl Names for Plain {
        fn person(&self, id: &str) -> String {
            format!("Mx {id}")
        }

        fn gate(&self, _: &str) -> String {
            String::new()
        }
    }

    fn state() -> IncidentState {
        IncidentState {
            incident: "INC-2026-0042".to_owned(),
            state: State::Open.into(),
            phase: Phase::Triaging.into(),
            severity: Severity::P1.into(),
            title: Some(Text::plain("Checkout is down")),
            service_name: "checkout".to_owned(),
            impacted_services: vec!["cart".to_owned()],
            ..IncidentState::default()
        }
    }

    fn to(text: &str) -> Recipient {
        text.parse().unwrap()
    }

    #[test]
    fn topics_are_read_as_they_are_written() {
        for text in ["incident:INC-2026-0042", "service:checkout", "service:a:b", "severity:P1", "all"] {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
        assert_eq!("severity:sev2".parse::<Topic>().unwrap().to_string(), "severity:P2");
        let long = format!("service:{}", "x".repeat(129));
        for bad in
            ["", "everything", "incident:42", "service: ", "service:a\nb", "severity:P9", "team:x", &long]
        {
            assert!(bad.parse::<Topic>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_that_could_be_more_than_an_address_are_refused() {
        for good in ["jo@example.com", "jo.doe+alerts@mail.example.co.uk", "root@localhost"] {
            assert_eq!(good.parse::<EmailAddress>().unwrap().as_str(), good);
        }
        let long_local = format!("{}@example.com", "x".repeat(65));
        let long = format!("jo@{}", "example.".repeat(40));
        for bad in [
            "",
            "jo",
            "@example.com",
            "jo@",
            "jo@example..com",
            "jo@-example.com",
            ".jo@example.com",
            "jo..doe@example.com",
            "jo doe@example.com",
            "jo@example.com ",
            "jo@example.com\r\nBcc: all@example.com",
            "jo@example.com\nX: y",
            "jo\0@example.com",
            "jö@example.com",
            "jo@exämple.com",
            "\"jo\"@example.com",
            "jo@example.com,al@example.com",
            "Jo <jo@example.com>",
            "jo@[127.0.0.1]",
            &long_local,
            &long,
        ] {
            let error = bad.parse::<EmailAddress>().unwrap_err().to_string();
            assert!(error.starts_with("not an e-mail address: "), "{bad:?}: {error}");
            assert!(bad.len() < 4 || !error.contains(bad), "the address is not repeated: {error}");
        }
    }

    #[test]
    fn channels_are_named_by_their_ids() {
        for good in ["C0123ABCD", "G0123ABCD"] {
            assert_eq!(to(&format!("slack:{good}")).to_string(), format!("slack:{good}"));
        }
        for bad in
            ["slack:", "slack:#ops", "slack:c0123", "slack:U0123ABCD", "slack:C<!channel>", "person:", "x"]
        {
            assert!(bad.parse::<Recipient>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_pair_has_one_id_however_its_address_is_written() {
        let topic: Topic = "severity:P1".parse().unwrap();
        let one = SubscriptionId::of(&topic, &to("email:Jo@Example.com"));
        assert_eq!(one, SubscriptionId::of(&topic, &to("email:jo@example.com")));
        assert_ne!(one, SubscriptionId::of(&Topic::All, &to("email:jo@example.com")));
        assert_ne!(one, SubscriptionId::of(&topic, &to("person:jo")));
    }

    #[test]
    fn a_topic_covers_what_it_names() {
        let covers = |topic: &str, change| topic.parse::<Topic>().unwrap().covers(&state(), change);
        for (topic, expected) in [
            ("incident:INC-2026-0042", true),
            ("incident:INC-2026-0043", false),
            ("service:checkout", true),
            ("service:cart", true),
            ("service:search", false),
            ("severity:P1", true),
            ("severity:P2", false),
            ("all", true),
        ] {
            assert_eq!(covers(topic, Change::Update), expected, "{topic}");
        }
        let raised = Change::Severity { from: Severity::P2, to: Severity::P1 };
        assert!(covers("severity:P2", raised) && covers("severity:P1", raised));
        assert!(!covers("severity:P3", raised));
    }

    #[test]
    fn only_changes_that_matter_are_told() {
        let text = |text: &str| Some(Text::plain(text));
        let moved = |to: State| {
            Kind::IncidentStatusChanged(IncidentStatusChanged { to: to.into(), ..Default::default() })
        };
        let phase = |to: Phase| Kind::PhaseChanged(PhaseChanged { to: to.into(), ..Default::default() });
        for (kind, expected) in [
            (Kind::IncidentCreated(IncidentCreated::default()), Some(Change::Declared)),
            (Kind::IncidentCreated(IncidentCreated { drill: true, ..Default::default() }), None),
            (
                Kind::IncidentUpdated(IncidentUpdated { message: text("x"), ..Default::default() }),
                Some(Change::Update),
            ),
            (Kind::IncidentUpdated(IncidentUpdated { title: text("x"), ..Default::default() }), None),
            (moved(State::Open), None),
            (moved(State::Mitigating), None),
            (moved(State::Resolved), Some(Change::Resolved)),
            (moved(State::Cancelled), Some(Change::Cancelled)),
            (moved(State::Closed), None),
            (phase(Phase::Verified), Some(Change::Mitigated)),
            (phase(Phase::Remediating), None),
            (Kind::PostMortemPublished(PostMortemPublished::default()), Some(Change::ReviewPublished)),
            (Kind::IncidentNoteAdded(IncidentNoteAdded { note: text("x") }), None),
        ] {
            assert_eq!(change(&kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn drills_reach_nobody_and_private_incidents_only_whom_they_name() {
        let open = state();
        let all = ["person:viewer", "person:oncall", "email:jo@example.com", "slack:C0123ABCD"];
        assert!(all.iter().all(|one| may_reach(&open, &to(one))));
        let drill = IncidentState { drill: true, ..state() };
        assert!(!all.iter().any(|one| may_reach(&drill, &to(one))));
        let private = IncidentState { private: true, private_to: vec!["oncall".to_owned()], ..state() };
        let reached: Vec<_> = all.iter().filter(|one| may_reach(&private, &to(one))).collect();
        assert_eq!(reached, [&"person:oncall"]);
    }

    #[test]
    fn a_notice_says_what_changed_and_how_it_stands() {
        let declared = Kind::IncidentCreated(IncidentCreated {
            title: Some(Text::plain("Checkout is down")),
            severity: Severity::P1.into(),
            ..Default::default()
        });
        let told = notice(&state(), Change::Declared, &declared, "operator", &Plain);
        assert_eq!(told.subject, "[P1] INC-2026-0042 Checkout is down: declared");
        assert_eq!(
            told.lines,
            [
                "Mx operator declared a P1: Checkout is down",
                "",
                "Severity: P1",
                "Status: INVESTIGATING",
                "Commander: nobody yet",
            ]
        );
        let mut commanded = state();
        commanded.responders =
            vec![Responder { role: "commander".into(), principal: "oncall".into(), empowered: true }];
        commanded.next_update_due_us = 1_764_413_000_000_000;
        let raised = Change::Severity { from: Severity::P2, to: Severity::P1 };
        let kind = Kind::IncidentSeverityChanged(IncidentSeverityChanged {
            from: Severity::P2.into(),
            to: Severity::P1.into(),
            reason: Some(Text::plain("all regions")),
            ..Default::default()
        });
        let told = notice(&commanded, raised, &kind, "oncall", &Plain);
        assert_eq!(told.subject, "[P1] INC-2026-0042 Checkout is down: severity P2 → P1");
        assert!(told.lines.contains(&"Commander: Mx oncall".to_owned()), "{told:?}");
        assert!(told.lines.contains(&"Next update due: 2025-11-29 10:43:20 UTC".to_owned()), "{told:?}");
        let mut over = commanded;
        over.state = State::Resolved.into();
        over.resolution = Some(Resolution {
            summary: Some(Text::plain("Rolled back")),
            resolved_by: "oncall".into(),
            ..Default::default()
        });
        let kind = Kind::IncidentStatusChanged(IncidentStatusChanged::default());
        let told = notice(&over, Change::Resolved, &kind, "operator", &Plain);
        assert_eq!(
            told.lines,
            ["Resolved by Mx oncall: Rolled back", "", "Severity: P1", "Status: RESOLVED"]
        );
    }

    #[test]
    fn a_title_cannot_add_lines_to_a_subject() {
        let mut forged = state();
        forged.title = Some(Text::plain(format!("Down\r\nBcc: all@example.com {}", "x".repeat(500))));
        let kind = Kind::IncidentUpdated(IncidentUpdated::default());
        let told = notice(&forged, Change::Update, &kind, "operator", &Plain);
        assert!(
            !told.subject.contains(['\r', '\n']) && told.subject.chars().count() < 200,
            "{}",
            told.subject
        );
    }
}
