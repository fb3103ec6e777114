//! What a member of a body may be, as the API's description says it: exactly what the handler of that body takes, so
//! that nobody who keeps to the description is refused for the form of a text.
//!
//! A body names one of these as its member's `value_type`. Patterns are written for every dialect of regular
//! expressions alike, so blanks are listed: dialects differ about which characters `\s` is.

use harmony_catalog::judge::{ADDRESS_LIMIT_CHARS as ADDRESS_CHARS, NAME_LIMIT_CHARS as NAME_CHARS};
use harmony_incidents::approvals::REVIEW_SECTIONS;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

/// Longest text, in bytes.
const TEXT_BYTES: usize = harmony_incidents::judge::TEXT_LIMIT_BYTES;

/// What stands between words, as `str::trim` takes it away.
macro_rules! blanks {
    () => {
        r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    };
}
/// What no line has.
macro_rules! controls {
    () => {
        r"\u0000-\u001f\u007f-\u009f"
    };
}

/// An incident's id: a number from 1, with leading zeros up to four digits.
macro_rules! incident_id {
    () => {
        "INC-[0-9]{4}-([1-9][0-9]{3,17}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
    };
}
/// What the catalog takes as the id of a service, an environment or a release.
macro_rules! catalog_id {
    () => {
        "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
    };
}
pub(crate) use {catalog_id, incident_id};

/// Whatever has more than blanks.
pub(crate) const NOT_BLANK: &str = concat!("[^", blanks!(), "]");
/// One line, blanks around it left out of account: [`crate::call::line()`].
const LINE: &str = concat!("^[", blanks!(), "]*[^", controls!(), "]{0,255}[", blanks!(), "]*$");
/// The same, and something in it: [`crate::call::required()`].
pub(crate) const REQUIRED_LINE: &str = concat!(
    "^[",
    blanks!(),
    "]*[^",
    controls!(),
    blanks!(),
    "][^",
    controls!(),
    "]{0,254}[",
    blanks!(),
    "]*$"
);
/// One line of 20 characters or more: what an emergency override is justified by.
pub(crate) const JUSTIFICATION: &str = concat!(
    "^[",
    blanks!(),
    "]*[^",
    controls!(),
    blanks!(),
    "][^",
    controls!(),
    "]{18,253}[^",
    controls!(),
    blanks!(),
    "][",
    blanks!(),
    "]*$"
);
/// A line as it is kept, to its last blank.
pub(crate) const KEPT_LINE: &str = concat!("^[^", controls!(), "]*$");
/// The same, and something in it.
pub(crate) const REQUIRED_KEPT_LINE: &str =
    concat!("^[^", controls!(), "]*[^", controls!(), blanks!(), "][^", controls!(), "]*$");
/// One word.
pub(crate) const KEPT_WORD: &str = concat!("^[^", controls!(), blanks!(), "]+$");
/// A web address, or nothing.
pub(crate) const ADDRESS: &str = concat!("^(https?://[^", controls!(), "]*)?$");
const SHORT_ADDRESS: &str = concat!("^(https?://[^", controls!(), "]{0,247})?$");
/// A key: printable ASCII, without a blank at either end.
pub(crate) const KEY: &str = "^[!-~]([ -~]*[!-~])?$";
/// A day of the calendar, or nothing.
const DAY: &str = "^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)?$";
/// An incident, a service, a severity, or all there is.
const TOPIC: &str = concat!(
    "^(all|incident:",
    incident_id!(),
    "|severity:(P[1-4]|SEV[1-4]|critical|high|medium|low)|service:[",
    blanks!(),
    "]*[^",
    controls!(),
    blanks!(),
    "]([^",
    controls!(),
    "]{0,126}[^",
    controls!(),
    blanks!(),
    "])?)$"
);

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident: $schema:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.build().into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

members! {
    /// One line of at most 255 characters; it may be empty.
    Line: matching(LINE);
    /// One line of 1 to 255 characters.
    RequiredLine: matching(REQUIRED_LINE);
    /// Text of at most 64 KiB; it may be empty.
    LongText: text().max_length(Some(TEXT_BYTES));
    /// Text of at most 64 KiB that is not blank.
    RequiredText: matching(NOT_BLANK).max_length(Some(TEXT_BYTES));
    /// Why: at most 2,000 characters; it may be empty.
    Reason: text().max_length(Some(crate::approvals::REASON_CHARS));
    /// Why: 1 to 2,000 characters.
    RequiredReason: matching(NOT_BLANK).max_length(Some(crate::approvals::REASON_CHARS));
    /// A day such as `2026-01-31`, or nothing.
    Day: matching(DAY);
    /// `INC-<year>-<number>`.
    Incident: matching(concat!("^", incident_id!(), "$"));
    /// The id of a service, an environment or a release.
    CatalogId: matching(concat!("^", catalog_id!(), "$"));
    /// A severity in one of its vocabularies.
    Severity: matching("^(P[1-4]|SEV[1-4]|critical|high|medium|low)$");
    /// A line of a release, kept as it is.
    Name: matching(KEPT_LINE).max_length(Some(NAME_CHARS));
    /// A line of a release without a blank in it.
    Word: matching(KEPT_WORD).max_length(Some(NAME_CHARS));
    /// An address on the web, or nothing.
    Address: matching(ADDRESS).max_length(Some(ADDRESS_CHARS));
    /// Where a release is on its way.
    ReleaseStatus: matching("^(Draft|Promoting|Active|Failed)$");
    /// A web address of at most 255 characters, or nothing.
    ShortAddress: matching(SHORT_ADDRESS);
    /// The address of a ticket: one that people may be led to, or nothing.
    Link: matching("^(https?://[A-Za-z0-9\\[][!-~]{0,246})?$");
    /// Where a ticket is made, or nothing.
    Tracker: matching("^(jira|github)?$");
    /// What repeats a request.
    Key: matching(KEY).max_length(Some(255));
    /// A state, by the machine's own word.
    State: matching("^(PENDING|OPEN|MITIGATING|RESOLVED|CLOSED|CANCELLED|ARCHIVED)$");
    /// A word of the status view, or of the machine.
    Status: matching("^(OPEN|INVESTIGATING|MITIGATED|PENDING|MITIGATING|RESOLVED|CLOSED|CANCELLED|ARCHIVED)$");
    /// A section of the review.
    Section: matching(&format!("^({})$", REVIEW_SECTIONS.join("|")));
    /// How an incident was resolved.
    Resolution: matching("^(FIXED|FALSE_POSITIVE|DUPLICATE|WONT_FIX)$");
    /// What kind of action somebody took.
    ActionKind: matching("^(NOTE|INVESTIGATION|PLAYBOOK_STEP|MITIGATION|ROLLBACK|COMMUNICATION|ESCALATION|OTHER)$");
    /// What kind of signal it is.
    SignalType: matching("^(ALERT|METRIC|LOG|TRACE|EVENT|DEPLOYMENT|ANOMALY|CUSTOM)$");
    /// The name of a threshold, its value, or whether one was breached.
    Threshold: matching(LINE).schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Boolean, Type::Null]));
    /// A moment of an incident.
    MomentName: matching("^(impactStarted|impact-started|detected|acknowledged|mitigated|resolved)$");
    /// What one incident has to do with another.
    Relation: matching("^(duplicate-of|duplicated-by|caused-by|cause-of|recurrence-of|recurred-as|related)$");
    /// What a subscription follows.
    Topic: matching(TOPIC);
    /// The id of a channel in Slack.
    Channel: matching("^[CG][A-Z0-9]{2,20}$");
    /// How urgent a follow-up is, or nothing.
    Priority: matching("^(high|medium|low)?$");
    /// What a follow-up becomes, or nothing.
    FollowUpState: matching("^(open|done|dropped)?$");
    /// The number of an attempt of a blueprint, from 1.
    Attempt: ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1_u32)).maximum(Some(u32::MAX));
    /// Any JSON.
    Anything: ObjectBuilder::new().schema_type(SchemaType::AnyValue);
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn matching(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern))
}
