//! The API's description: one row an operation, schemas from the types that are read and shown.
//!
//! A test holds the rows against the router, both ways, so neither can be changed without the other.

use std::sync::OnceLock;

use axum::Json;
use harmony_catalog::{
    adapters::Adapter,
    judge::{self as catalog_judge, ADDRESS_LIMIT_CHARS, NAME_LIMIT_CHARS, PAIR_LIMIT},
};
use harmony_incidents::judge::{LIST_LIMIT, TEXT_LIMIT_BYTES, TITLE_LIMIT_CHARS};
use harmony_protos::{every_kind, kind_name};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    acts, approvals, blueprints, candidates, catalog, cursor, facts, follow_ups, incidents, leading, log,
    members::{self, catalog_id, incident_id},
    people, responders, resume, review, status, subscriptions, update_templates, views,
};

/// One operation below `/api/orgs/{org}`, or one that has no organisation.
struct Operation {
    method: &'static str,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    /// Name of the body's schema.
    body: Option<&'static str>,
    answers: &'static [Answer],
}

/// Name, description, and a type or a schema.
type Parameter = (&'static str, &'static str, &'static str);
/// Status, description, media type (empty for none), name of the schema (empty for any).
type Answer = (u16, &'static str, &'static str, &'static str);

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

const AT_MOST_200: Parameter = (
    "limit",
    "1 to 200, 50 by default.",
    r#"{ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }"#,
);
const AT_MOST_1000: Parameter = (
    "limit",
    "1 to 1000, 200 by default.",
    r#"{ "type": "integer", "minimum": 1, "maximum": 1000, "default": 200 }"#,
);

/// An incident's id: a number from 1, with leading zeros up to four digits.
const INCIDENT: &str = incident_id!();
/// A candidate's own name.
const CANDIDATE: &str = "^[A-Za-z0-9._-]{1,128}$";
/// What the catalog takes as the id of a service, an environment or a release.
const CATALOG_ID: &str = concat!("^", catalog_id!(), "$");
/// Any of several.
const REPEATABLE: &str = r#"{ "type": "array", "items": { "type": "string" } }"#;
const TIME: &str = r#"{ "type": "string", "format": "date-time" }"#;
/// Ids of the catalog.
const CATALOG_IDS: &str =
    concat!(r#"{ "type": "array", "items": { "type": "string", "pattern": "^"#, catalog_id!(), r#"$" } }"#);
const ONE_CATALOG_ID: &str = concat!(r#"{ "type": "string", "pattern": "^"#, catalog_id!(), r#"$" }"#);
const ONE_INCIDENT: &str = concat!(r#"{ "type": "string", "pattern": "^"#, incident_id!(), r#"$" }"#);
const INCIDENTS: &str =
    concat!(r#"{ "type": "array", "items": { "type": "string", "pattern": "^"#, incident_id!(), r#"$" } }"#);
const STATES: &str = r#"{ "type": "array", "items": { "enum": ["PENDING", "OPEN", "MITIGATING", "RESOLVED", "CLOSED", "CANCELLED", "ARCHIVED"] } }"#;
const STATUSES: &str = r#"{ "type": "array", "items": { "enum": ["OPEN", "INVESTIGATING", "MITIGATED", "RESOLVED", "CANCELLED"] } }"#;
const SEVERITIES: &str = r#"{ "type": "array", "items": { "enum": ["P1", "P2", "P3", "P4", "SEV1", "SEV2", "SEV3", "SEV4", "critical", "high", "medium", "low"] } }"#;
const CANDIDATE_STATUSES: &str = r#"{ "type": "array", "items": { "enum": ["RECEIVED", "PROMOTED", "DEFERRED", "SUPPRESSED", "REFUSED", "DISMISSED"] } }"#;
/// The kinds of records, which the log's schema has.
const KINDS: &str = "kinds";
/// A number of a record or a piece: 0 is before the first.
const NUMBER: &str = r#"{ "type": "integer", "minimum": 0, "maximum": 9223372036854775807 }"#;
/// Which cannot be left out.
const RELEASES: &str = concat!(
    r#"{ "type": "array", "minItems": 1, "items": { "type": "string", "pattern": "^"#,
    catalog_id!(),
    r#"$" } }"#
);
const DAY_OR_TIME: &str =
    r#"{ "type": "string", "oneOf": [{ "format": "date" }, { "format": "date-time" }] }"#;
const SEVERITY: &str = r#"{ "enum": ["P1", "P2", "P3", "P4"] }"#;
const FOLLOW_UP_STATES: &str = r#"{ "type": "array", "items": { "enum": ["open", "done", "dropped"] } }"#;
const SORTS: &str =
    r#"{ "enum": ["-createdAt", "newest", "createdAt", "oldest", "severity"], "default": "-createdAt" }"#;

/// What every cursor is.
const NEXT: &str = "`nextCursor` of the page before, as it was.";

/// What operations are grouped by, in the order that they are shown in.
const TAGS: &[(&str, &str)] = &[
    ("Incidents", "Declare, read and lead incidents."),
    ("Facts", "Put what happened on record."),
    ("Blueprints", "Start, stop and resume the workflows of an incident."),
    ("Approvals", "See what waits for a decision, and decide."),
    ("Review", "Write, read and sign off the review."),
    ("Follow-ups", "Track what is to be done after an incident."),
    ("Subscriptions", "Follow incidents by e-mail or Slack."),
    ("Candidates", "Hand in what may become an incident, and promote or dismiss it."),
    ("Catalog", "Describe services and environments, deploy releases, and see what changed."),
    ("People", "See who has a role."),
    ("Log", "Read, export, verify and redact the log."),
];

const SUBMITTED: &[Answer] = &[(200, "On record, or so already.", JSON, "Submitted")];
const STARTED: &[Answer] = &[(202, "Recorded; carried out by the workers.", JSON, "Started")];

const fn get(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    answers: &'static [Answer],
) -> Operation {
    Operation { method: "get", path, tag, summary, query, body: None, answers }
}

const fn post(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answers: &'static [Answer],
) -> Operation {
    Operation { method: "post", path, tag, summary, query: &[], body, answers }
}

const OPERATIONS: &[Operation] = &[
    get(
        "/incidents",
        "Incidents",
        "List incidents, newest first.",
        &[
            ("status", "Words of the status view; repeatable.", STATUSES),
            ("state", "Words of the state machine; repeatable.", STATES),
            ("severity", "`P1` to `P4`, or another view of them; repeatable.", SEVERITIES),
            ("serviceName", "Repeatable.", REPEATABLE),
            ("environment", "Repeatable.", REPEATABLE),
            ("projectId", "Repeatable.", REPEATABLE),
            ("correlationKey", "One that the incident or a signal of it has; repeatable.", REPEATABLE),
            ("traceId", "W3C trace id of the incident or of a signal.", "string"),
            ("searchQuery", "Part of a title.", "string"),
            ("drill", "`true` for drills alone, `false` for all others.", "boolean"),
            ("sort", "`-createdAt`: newest first.", SORTS),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_INCIDENTS),
        ],
        &[(200, "A page of incidents.", JSON, "IncidentList")],
    ),
    post(
        "/incidents",
        "Incidents",
        "Declare an incident.",
        Some("DeclareBody"),
        &[(201, "Declared.", JSON, "Declared")],
    ),
    get(
        "/incidents/{id}",
        "Incidents",
        "One incident.",
        &[("asOf", "As it was known at this time, such as `2026-01-31T10:42:00Z`.", TIME)],
        &[(200, "The incident.", JSON, "Incident"), (304, "Not changed since `If-None-Match`.", "", "")],
    ),
    get(
        "/incidents/{id}/events",
        "Log",
        "Records of an incident.",
        &[("after", "The seq to begin after.", NUMBER), AT_MOST_1000],
        &[(200, "Records, oldest first.", JSON, "EventList")],
    ),
    get(
        "/incidents/{id}/stream",
        "Log",
        "Records as they are made, as server-sent events.",
        &[("after", "The seq to begin after; `Last-Event-ID` comes before it.", NUMBER)],
        &[(200, "Events; their ids are seqs, their data a record.", EVENTS, "")],
    ),
    get(
        "/incidents/{id}/output",
        "Log",
        "What cells that run now have printed: masked, and gone some minutes after they have ended.",
        &[("after", "The number of a piece to begin after.", NUMBER)],
        &[(200, "Pieces, oldest first, and the number to ask after next.", JSON, "OutputPieces")],
    ),
    get(
        "/incidents/{id}/output/stream",
        "Log",
        "What cells print as they print it, as server-sent events.",
        &[("after", "The number of a piece to begin after; `Last-Event-ID` comes before it.", NUMBER)],
        &[(200, "Events; their ids are numbers, their data a piece.", EVENTS, "")],
    ),
    get(
        "/incidents/{id}/output/{seq}",
        "Log",
        "All that a cell printed, up to 10 MiB, masked: the file whose SHA-256 is in the record of its end.",
        &[],
        &[(200, "The file.", "text/plain", "")],
    ),
    post(
        "/incidents/{id}/actions",
        "Facts",
        "Record an action that was taken.",
        Some("ActionBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/cancel",
        "Blueprints",
        "Start a close-out that cancels.",
        Some("CancelBody"),
        STARTED,
    ),
    post(
        "/incidents/{id}/close",
        "Incidents",
        "Close where no review is required.",
        Some("Nothing"),
        SUBMITTED,
    ),
    post("/incidents/{id}/close-out", "Blueprints", "Start the close-out.", Some("CloseOutBody"), STARTED),
    post("/incidents/{id}/notes", "Facts", "Add a note.", Some("NoteBody"), SUBMITTED),
    post(
        "/incidents/{id}/post-mortem",
        "Blueprints",
        "Start the post-mortem.",
        Some("PostMortemBody"),
        STARTED,
    ),
    post(
        "/incidents/{id}/propose-dry-run",
        "Blueprints",
        "Start a remediation that does what a dry run showed, unless the runbook changed since.",
        Some("ProposeDryRunBody"),
        STARTED,
    ),
    post(
        "/incidents/{id}/redact",
        "Log",
        "Take a record's text out of the log.",
        Some("RedactBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/remediate",
        "Blueprints",
        "Start a remediation with a runbook.",
        Some("RemediateBody"),
        STARTED,
    ),
    post(
        "/incidents/{id}/duties",
        "Incidents",
        "Tick a duty of a role, or take that back.",
        Some("DutyBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/escalate",
        "Incidents",
        "Call the next level for help with the incident, or say that it is no longer needed.",
        Some("EscalateBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/private",
        "Incidents",
        "Make the incident visible to some people alone, or to everybody again.",
        Some("PrivateBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/relations",
        "Incidents",
        "Say what the incident has to do with another one.",
        Some("RelationBody"),
        SUBMITTED,
    ),
    get(
        "/incidents/{id}/similar",
        "Incidents",
        "Incidents that are like this one, with what they have in common and what helped then.",
        &[],
        &[(200, "The most alike first.", JSON, "SimilarList")],
    ),
    get(
        "/incidents/{id}/update-templates",
        "Incidents",
        "The templates for an update that fit this incident, with the text that each makes of it now.",
        &[],
        &[(200, "What is for one service or severity first.", JSON, "UpdateTemplateList")],
    ),
    post(
        "/incidents/{id}/times",
        "Incidents",
        "Say when a moment of the incident was, or correct it.",
        Some("TimeBody"),
        SUBMITTED,
    ),
    get(
        "/insights",
        "Incidents",
        "Figures over all incidents, by severity, month and service.",
        &[
            ("asOf", "As they were known at this time, such as `2026-01-31T10:42:00Z`.", TIME),
            (
                "since",
                "Of incidents declared at this time or later, or on this day or later (UTC).",
                DAY_OR_TIME,
            ),
            (
                "until",
                "Of incidents declared before this time, or up to the end of this day (UTC).",
                DAY_OR_TIME,
            ),
            ("serviceName", "Of incidents of this service.", "string"),
            ("severity", "Of incidents of this severity.", SEVERITY),
        ],
        &[(200, "The figures.", JSON, "")],
    ),
    get(
        "/follow-ups",
        "Follow-ups",
        "Follow-ups across incidents, the next that is due first.",
        &[
            ("state", "Repeatable.", FOLLOW_UP_STATES),
            ("owner", "Repeatable.", REPEATABLE),
            ("overdue", "`true` for those whose day is over.", "boolean"),
            ("incidentId", "Only of this incident.", ONE_INCIDENT),
            AT_MOST_1000,
        ],
        &[(200, "The follow-ups.", JSON, "FollowUpList")],
    ),
    post(
        "/follow-ups",
        "Follow-ups",
        "Add a follow-up to an incident.",
        Some("FollowUpBody"),
        &[(201, "Added.", JSON, "FollowUp")],
    ),
    get(
        "/follow-ups/{id}",
        "Follow-ups",
        "One follow-up.",
        &[],
        &[(200, "The follow-up.", JSON, "FollowUp")],
    ),
    post(
        "/follow-ups/{id}",
        "Follow-ups",
        "Do, drop, reopen, hand over or comment on a follow-up, link its ticket, or have one made in Jira or GitHub.",
        Some("FollowUpChangeBody"),
        &[
            (200, "The follow-up as it is now.", JSON, "FollowUp"),
            (202, "Its ticket is being made.", JSON, "Exporting"),
        ],
    ),
    get(
        "/subscriptions",
        "Subscriptions",
        "Who is told of what becomes of incidents: the caller's own, and for responders those of others.",
        &[("mine", "`true` for the caller's own alone.", "boolean")],
        &[(200, "The subscriptions.", JSON, "SubscriptionList")],
    ),
    post(
        "/subscriptions",
        "Subscriptions",
        "Follow an incident, a service, a severity or everything; one message for each change that matters.",
        Some("SubscribeBody"),
        &[
            (201, "Subscribed.", JSON, "SubscriptionView"),
            (200, "Subscribed already.", JSON, "SubscriptionView"),
        ],
    ),
    post(
        "/subscriptions/{id}/remove",
        "Subscriptions",
        "Unsubscribe.",
        Some("Nothing"),
        &[(200, "Unsubscribed.", JSON, "Unsubscribed")],
    ),
    post(
        "/incidents/{id}/resume",
        "Blueprints",
        "Start a lost run again, as the same attempt.",
        Some("ResumeBody"),
        &[(202, "Recorded; carried out by the workers.", JSON, "ResumedRuns")],
    ),
    post(
        "/incidents/{id}/retry",
        "Blueprints",
        "Try failed optional steps again.",
        Some("RetryBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/responders",
        "Incidents",
        "Assign a role to somebody, or release them.",
        Some("ResponderBody"),
        SUBMITTED,
    ),
    get(
        "/incidents/{id}/review",
        "Review",
        "The published review, else the one rendered last, as Markdown.",
        &[],
        &[(200, "The page.", JSON, "RenderedReview")],
    ),
    post(
        "/incidents/{id}/review",
        "Review",
        "Write a section of the review, or add an action item.",
        Some("ReviewBody"),
        SUBMITTED,
    ),
    post("/incidents/{id}/severity", "Incidents", "Change the severity.", Some("SeverityBody"), SUBMITTED),
    post(
        "/incidents/{id}/sign-off",
        "Review",
        "Sign the published review off.",
        Some("SignOffBody"),
        SUBMITTED,
    ),
    post("/incidents/{id}/signals", "Facts", "Record a signal.", Some("SignalBody"), SUBMITTED),
    post(
        "/incidents/{id}/slo-violations",
        "Facts",
        "Record a violated objective.",
        Some("SloViolationBody"),
        SUBMITTED,
    ),
    post(
        "/incidents/{id}/status",
        "Incidents",
        "Change the state. RESOLVED starts the close-out where the policy gates it.",
        Some("StatusBody"),
        &[
            (200, "On record, or so already.", JSON, "Submitted"),
            (202, "The close-out is recorded; it waits at its gate.", JSON, "Started"),
        ],
    ),
    post("/incidents/{id}/stop", "Blueprints", "Stop the running remediation.", Some("ReasonBody"), STARTED),
    post("/incidents/{id}/tags", "Facts", "Add or remove a tag.", Some("TagBody"), SUBMITTED),
    post("/incidents/{id}/tickets", "Facts", "Link a ticket.", Some("TicketBody"), SUBMITTED),
    get(
        "/incidents/{id}/timeline",
        "Log",
        "The timeline, one line a record, oldest first.",
        &[
            ("after", "Only records after this seq.", NUMBER),
            ("kinds", "Only these kinds, such as `APPROVAL_DECIDED`; repeatable.", KINDS),
            AT_MOST_1000,
        ],
        &[(200, "A page of lines.", JSON, "TimelineLines")],
    ),
    post(
        "/incidents/{id}/timeline",
        "Facts",
        "Put one fact on the timeline.",
        Some("TimelineBody"),
        &[(200, "The line that was added; none where it is so already.", JSON, "TimelineLines")],
    ),
    post(
        "/incidents/{id}/update",
        "Incidents",
        "Tell the channel, and the public page where asked; or change title and summary.",
        Some("UpdateBody"),
        SUBMITTED,
    ),
    post("/incidents/{id}/verify", "Incidents", "Say that it works again.", Some("Nothing"), SUBMITTED),
    get(
        "/approvals",
        "Approvals",
        "Gates that wait, newest first.",
        &[],
        &[(200, "The gates.", JSON, "GateList")],
    ),
    get(
        "/approvals/{gateId}",
        "Approvals",
        "A gate with everything that its digest covers.",
        &[],
        &[(200, "The gate.", JSON, "GateDetail")],
    ),
    post(
        "/approvals/{gateId}",
        "Approvals",
        "Decide on a gate, or pass it on to its next level.",
        Some("DecisionBody"),
        &[(200, "Accepted, or passed on.", JSON, "")],
    ),
    get(
        "/candidates",
        "Candidates",
        "Candidates, newest first.",
        &[
            ("status", "Repeatable.", CANDIDATE_STATUSES),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_CANDIDATES),
        ],
        &[(200, "A page of candidates.", JSON, "CandidateList")],
    ),
    post(
        "/candidates",
        "Candidates",
        "Hand a candidate in.",
        Some("CandidateBody"),
        &[(201, "Taken.", JSON, "CandidateTaken")],
    ),
    get(
        "/candidates/{id}",
        "Candidates",
        "One candidate and what was decided.",
        &[],
        &[(200, "The candidate.", JSON, "Candidate")],
    ),
    get(
        "/candidates/{id}/attempts",
        "Candidates",
        "What the promotion engine was asked about a candidate, and what it said.",
        &[],
        &[(200, "The attempts, oldest first.", JSON, "AttemptList")],
    ),
    post(
        "/candidates/{id}/dismiss",
        "Candidates",
        "Say that nothing becomes of a candidate that waits for a person.",
        Some("DismissBody"),
        &[(200, "Dismissed, or so already.", JSON, "")],
    ),
    post(
        "/candidates/{id}/promote",
        "Candidates",
        "Promote a candidate that was deferred.",
        Some("PromoteBody"),
        &[(201, "Promoted: there is an incident.", JSON, "")],
    ),
    get(
        "/incidents/{id}/changes",
        "Catalog",
        "What changed before an incident: linked by people, and suspected.",
        &[],
        &[(200, "The releases, the likeliest first.", JSON, "Changes")],
    ),
    post(
        "/incidents/{id}/changes",
        "Catalog",
        "Say how a release stands to an incident.",
        Some("ChangeBody"),
        &[(200, "On record at the incident and at the service.", JSON, "")],
    ),
    get(
        "/services",
        "Catalog",
        "Services with their latest releases and open incidents, by id.",
        &[
            ("searchQuery", "Part of an id or a name.", "string"),
            ("retired", "`true`: those that are retired, too.", "boolean"),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_IDS),
        ],
        &[(200, "A page of services.", JSON, "ServiceList")],
    ),
    post(
        "/services",
        "Catalog",
        "Write a service: all of it as it is from now on.",
        Some("ServiceBody"),
        &[(200, "Written.", JSON, "ServiceBody"), (201, "New.", JSON, "ServiceBody")],
    ),
    get("/services/{id}", "Catalog", "One service.", &[], &[(200, "The service.", JSON, "ServiceBody")]),
    post(
        "/services/{id}/retire",
        "Catalog",
        "Retire a service: nothing new happens to it.",
        Some("RetireBody"),
        &[(200, "Retired.", JSON, "ServiceBody")],
    ),
    get(
        "/environments",
        "Catalog",
        "Environments, by id.",
        &[
            ("searchQuery", "Part of an id or a name.", "string"),
            ("retired", "`true`: those that are retired, too.", "boolean"),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_IDS),
        ],
        &[(200, "A page of environments.", JSON, "EnvironmentList")],
    ),
    post(
        "/environments",
        "Catalog",
        "Write an environment: all of it as it is from now on.",
        Some("EnvironmentBody"),
        &[(200, "Written.", JSON, "EnvironmentBody"), (201, "New.", JSON, "EnvironmentBody")],
    ),
    get(
        "/environments/{id}",
        "Catalog",
        "One environment.",
        &[],
        &[(200, "The environment.", JSON, "EnvironmentBody")],
    ),
    post(
        "/environments/{id}/retire",
        "Catalog",
        "Retire an environment: nothing new happens in it.",
        Some("RetireBody"),
        &[(200, "Retired.", JSON, "EnvironmentBody")],
    ),
    get(
        "/releases",
        "Catalog",
        "Releases, the last created first.",
        &[
            ("serviceId", "Of these services; repeatable.", CATALOG_IDS),
            ("envId", "To this environment.", ONE_CATALOG_ID),
            ("since", "Created or settled at this time or later.", TIME),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_RELEASES),
        ],
        &[(200, "A page of releases.", JSON, "ReleaseList")],
    ),
    post(
        "/releases",
        "Catalog",
        "Deploy a release of a service to an environment, or record one that somebody else deployed.",
        Some("ReleaseBody"),
        &[(201, "On record.", JSON, "Release")],
    ),
    get("/releases/{id}", "Catalog", "One release.", &[], &[(200, "The release.", JSON, "Release")]),
    post(
        "/releases/{id}/deploy",
        "Catalog",
        "Let a draft go out once more, whose last run did not take it there.",
        Some("ReleaseStartBody"),
        &[(202, "It goes out.", JSON, "")],
    ),
    post(
        "/releases/{id}/resume",
        "Catalog",
        "Start the run of a release that was lost again, as the same attempt.",
        Some("ReleaseResumeBody"),
        &[(202, "It goes on.", JSON, "")],
    ),
    post(
        "/releases/{id}/rollback",
        "Catalog",
        "Deploy what was active before a release again, as a release of its own, through its gate.",
        Some("RollbackBody"),
        &[(202, "The new release, its workflow, and what the audit says of it.", JSON, "")],
    ),
    post(
        "/releases/{id}/promote",
        "Catalog",
        "Let a release's artifact go on to another environment, as a release of its own.",
        Some("ReleasePromoteBody"),
        &[(201, "The new release, and what the audit says of it.", JSON, "")],
    ),
    post(
        "/releases/{id}/status",
        "Catalog",
        "Tell what became of a release.",
        Some("ReleaseStatusBody"),
        &[(200, "The release.", JSON, "Release")],
    ),
    get(
        "/runs",
        "Catalog",
        "Runs that deployed and promoted releases, in time.",
        &[("releaseId", "Of these releases; repeatable.", RELEASES), AT_MOST_200],
        &[(200, "The runs with what they said.", JSON, "RunList")],
    ),
    get(
        "/runs/{id}",
        "Catalog",
        "One run with what it said.",
        &[],
        &[(200, "The run.", JSON, "WorkflowRun")],
    ),
    get(
        "/audit",
        "Log",
        "Who did what when, over all streams, the latest first; with `Accept: text/event-stream` what happens from now on.",
        &[
            ("subject", "About this: an id, or a stream (`svc/<id>`, `env/<id>`, an incident).", "string"),
            ("actor", "By this principal.", "string"),
            ("action", "This action, or those below it: `release` finds `release.create`.", "string"),
            ("since", "At this time or later; or a day in UTC.", DAY_OR_TIME),
            AT_MOST_200,
            ("cursor", NEXT, cursor::OF_AUDIT),
        ],
        &[(200, "A page of events.", JSON, "AuditList")],
    ),
    get(
        "/people",
        "People",
        "Who has a role in the organisation.",
        &[],
        &[(200, "The people, as the directory lists them.", JSON, "PersonList")],
    ),
    get(
        "/log/checkpoint",
        "Log",
        "A signed note over where every incident ends.",
        &[],
        &[(200, "The note.", "text/plain", "")],
    ),
    get(
        "/log/export",
        "Log",
        "Every record with its bytes, as JSON Lines; or those of some incidents, whole.",
        &[
            ("incidentId", "Only of this incident; repeatable.", INCIDENTS),
            (
                "since",
                "Only of incidents declared at this time or later, or on this day or later (UTC).",
                DAY_OR_TIME,
            ),
            (
                "until",
                "Only of incidents declared before this time, or up to the end of this day (UTC).",
                DAY_OR_TIME,
            ),
        ],
        &[(200, "Header, records, checkpoint.", "application/jsonl", "")],
    ),
    get(
        "/log/replay",
        "Log",
        "Fold every record again and compare.",
        &[],
        &[(200, "What was found.", JSON, "Report")],
    ),
    get(
        "/log/verify",
        "Log",
        "Check every byte, link, state and text.",
        &[],
        &[(200, "What was found.", JSON, "Report")],
    ),
];

/// What every operation may answer instead.
const PROBLEMS: [(u16, &str); 10] = [
    (400, "The request cannot be read."),
    (401, "Authentication is needed."),
    (403, "A right, a role or an authority is missing."),
    (404, "Not there, or not for this caller."),
    (405, "The method is not allowed."),
    (409, "Not in this state, or the key was used for something else."),
    (413, "The body is too long."),
    (422, "Well-formed, and still wrong."),
    (429, "Too many requests; `Retry-After` says when the next is taken."),
    (503, "The store does not answer; nothing is known to be recorded."),
];

/// Beside them, of a POST on one incident.
const STALE: (u16, &str) = (412, "The incident changed since `If-Match`; the problem says what did.");

fn takes_if_match(operation: &Operation) -> bool {
    operation.method == "post" && operation.path.starts_with("/incidents/{id}/")
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Json<&'static Value> {
    Json(document())
}

/// The whole description.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let schemas = schemas();
        let mut paths = Map::new();
        for operation in OPERATIONS {
            let path = format!("/api/orgs/{{org}}{}", operation.path);
            let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
            item[operation.method] = described(operation, &path, &schemas);
        }
        let tags: Vec<Value> = TAGS
            .iter()
            .map(|(name, description)| json!({ "name": name, "description": description }))
            .collect();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Harmony",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Incidents, from declaration to a signed-off review. Every change is judged by the log and is on record.",
                "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "security": [{ "token": [] }],
            "tags": tags,
            "paths": paths,
            "components": {
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
                "schemas": schemas,
            },
        })
    })
}

fn described(operation: &Operation, path: &str, schemas: &Value) -> Value {
    let mut parameters: Vec<Value> = path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next())
        .map(|name| {
            let (description, schema) = match name {
                "org" => (
                    "Organisation.",
                    json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$", "example": "default" }),
                ),
                "id" if path.contains("/follow-ups/") => (
                    "Follow-up.",
                    json!({ "type": "string", "pattern": format!("^{INCIDENT}-[1-9][0-9]{{0,17}}$") }),
                ),
                "id" if path.contains("/subscriptions/") => {
                    ("Subscription.", json!({ "type": "string", "pattern": "^sub-[0-9a-f]{20}$" }))
                }
                "id" if path.contains("/candidates/") => {
                    ("Candidate.", json!({ "type": "string", "pattern": CANDIDATE }))
                }
                "id" if !path.contains("/incidents/") => {
                    ("An id of the catalog.", json!({ "type": "string", "pattern": CATALOG_ID }))
                }
                "id" => ("Incident.", json!({ "type": "string", "pattern": format!("^{INCIDENT}$") })),
                "seq" => ("Record.", json!({ "type": "integer", "minimum": 1, "maximum": i64::MAX })),
                _ => ("Gate, percent-encoded.", json!({ "type": "string" })),
            };
            json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
        })
        .collect();
    for (name, description, kind) in operation.query {
        let schema = match *kind {
            KINDS => {
                let kinds: Vec<&str> = every_kind().iter().map(kind_name).collect();
                json!({ "type": "array", "items": { "enum": kinds } })
            }
            kind => serde_json::from_str(kind).unwrap_or_else(|_| json!({ "type": kind })),
        };
        parameters.push(json!({
            "name": name, "in": "query", "required": *kind == RELEASES, "description": description, "schema": schema,
        }));
    }
    if operation.method == "post" {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The same key with the same request happens once and gets the first answer.",
            "schema": { "type": "string", "maxLength": 255, "pattern": members::KEY },
        }));
    }
    if takes_if_match(operation) {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The incident's `ETag` as the caller saw it: another record since then is a 412.",
            "schema": { "type": "string", "pattern": "^(\\*|(W/)?(\"[0-9]{1,18}\"|[0-9]{1,18}))$", "example": "\"12\"" },
        }));
    }
    if operation.answers.iter().any(|(status, ..)| *status == 304) {
        parameters.push(json!({
            "name": "If-None-Match", "in": "header", "required": false,
            "description": "The `ETag` of an earlier answer: nothing is sent again that has not changed since.",
            "schema": { "type": "string", "example": "\"12\"" },
        }));
    }
    let mut described = json!({
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation_id(operation),
        "parameters": parameters,
        "responses": answers(operation),
    });
    if let Some(body) = operation.body {
        let schema = json!({ "$ref": format!("#/components/schemas/{body}") });
        // An empty body is an empty object.
        let names_some =
            |schema: &Value| schema["required"].as_array().is_some_and(|names| !names.is_empty());
        let is_required = names_some(&schemas[body])
            || names_some(&schemas[body]["else"])
            || schemas[body]["else"]["anyOf"].is_array();
        described["requestBody"] =
            json!({ "required": is_required, "content": { "application/json": { "schema": schema } } });
    }
    described
}

/// `get /incidents/{id}/events` as `getIncidentsIdEvents`.
fn operation_id(operation: &Operation) -> String {
    let mut id = operation.method.to_owned();
    for part in operation.path.split(['/', '-', '{', '}']).filter(|part| !part.is_empty()) {
        let (first, rest) = part.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id
}

fn answers(operation: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, description, media, schema) in operation.answers {
        let mut answer = json!({ "description": description });
        if !media.is_empty() {
            let schema = match (*media, *schema) {
                (JSON, "") => json!({ "type": "object" }),
                (_, "") => json!({ "type": "string" }),
                (_, name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
            };
            answer["content"] = json!({ *media: { "schema": schema } });
        }
        answers.insert(status.to_string(), answer);
    }
    let stale = takes_if_match(operation).then_some(STALE);
    for (status, description) in PROBLEMS.into_iter().chain(stale) {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let content = json!({ "application/problem+json": { "schema": schema } });
        answers.insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    Value::Object(answers)
}

fn schemas() -> Value {
    let mut collected: Vec<(String, RefOr<Schema>)> = Vec::new();
    macro_rules! add {
        ($($kind:ty),+ $(,)?) => {$(
            collected.push((<$kind as ToSchema>::name().into_owned(), <$kind as PartialSchema>::schema()));
            <$kind as ToSchema>::schemas(&mut collected);
        )+};
    }
    add!(
        acts::RetryBody,
        acts::UpdateBody,
        approvals::DecisionBody,
        candidates::DismissBody,
        candidates::PromoteBody,
        catalog::changes::ChangeBody,
        catalog::releases::ReleaseBody,
        catalog::releases::ReleasePromoteBody,
        catalog::releases::ReleaseStartBody,
        catalog::releases::RollbackBody,
        catalog::releases::ReleaseStatusBody,
        catalog::services::RetireBody,
        blueprints::CancelBody,
        blueprints::CloseOutBody,
        blueprints::PostMortemBody,
        blueprints::ProposeDryRunBody,
        blueprints::ReasonBody,
        blueprints::RemediateBody,
        facts::ActionBody,
        facts::NoteBody,
        facts::SignalBody,
        facts::SloViolationBody,
        facts::TagBody,
        facts::TicketBody,
        facts::TimelineBody,
        follow_ups::Exporting,
        follow_ups::FollowUp,
        follow_ups::FollowUpBody,
        follow_ups::FollowUpChangeBody,
        incidents::DeclareBody,
        leading::DutyBody,
        leading::EscalateBody,
        leading::PrivateBody,
        leading::RelationBody,
        leading::SimilarIncident,
        update_templates::Draft,
        leading::TimeBody,
        log::RedactBody,
        people::Person,
        responders::ResponderBody,
        resume::ReleaseResumeBody,
        resume::ResumeBody,
        review::ReviewBody,
        review::SignOffBody,
        status::Nothing,
        status::SeverityBody,
        status::StatusBody,
        subscriptions::ProblemView,
        subscriptions::SubscribeBody,
        subscriptions::SubscriptionView,
        views::Event,
        views::Gate,
        views::Incident,
        views::Summary,
    );
    let mut schemas: Map<String, Value> =
        collected.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    let members = schemas.values_mut().filter_map(|schema| schema.get_mut("properties")?.as_object_mut());
    members.flat_map(Map::values_mut).for_each(merge);
    for (name, condition) in conditions() {
        if let Some(schema) = schemas.get_mut(name) {
            *schema = with(schema.take(), &condition);
        }
    }
    for (name, schema) in written() {
        schemas.insert(name.to_owned(), schema);
    }
    Value::Object(schemas)
}

/// One schema of a member's own and what stands around it: utoipa puts a description, and that it may be null, beside a
/// schema of [`members`], where most readers look for neither.
fn merge(member: &mut Value) {
    let description = member["description"].as_str().or(member["allOf"][1]["description"].as_str());
    let description = description.map(str::to_owned);
    let is_own = |schema: &Value| schema.is_object() && schema["$ref"].is_null();
    let (own, may_be_null) = match (&member["allOf"], &member["oneOf"]) {
        (Value::Array(all), _) if all.len() == 2 && is_own(&all[0]) => (all[0].clone(), false),
        (_, Value::Array(one)) if one.len() == 2 && is_own(&one[0]) => (one[0].clone(), true),
        _ => return,
    };
    *member = own;
    if may_be_null {
        nullable(member);
    }
    if let Some(description) = description {
        member["description"] = description.into();
    }
}

/// Which members of a body go together.
fn conditions() -> [(&'static str, Value); 10] {
    let is =
        |name: &str, value: Value| json!({ "required": [name], "properties": { name: { "const": value } } });
    let says = |name: &str| json!({ "required": [name], "properties": { name: { "type": "string", "pattern": members::NOT_BLANK } } });
    let silent = |name: &str| json!({ "properties": { name: { "not": { "type": "string", "pattern": members::NOT_BLANK } } } });
    let empty = |names: &[&str]| {
        let each = names.iter().map(|name| ((*name).to_owned(), json!({ "maxLength": 0 })));
        json!({ "properties": each.collect::<Map<_, _>>() })
    };
    let absent = |names: &[&str]| {
        let each = names.iter().map(|name| ((*name).to_owned(), json!({ "type": "null" })));
        json!({ "properties": each.collect::<Map<_, _>>() })
    };
    [
        (
            "DeclareBody",
            json!({
                "if": { "required": ["recurrenceOf"], "properties": { "recurrenceOf": { "type": "string" } } },
                "else": {
                    "required": ["title", "severity"],
                    "properties": {
                        "title": { "type": "string", "pattern": members::REQUIRED_LINE }, "severity": { "type": "string" },
                    },
                },
            }),
        ),
        (
            "ActionBody",
            json!({
                "if": says("action"),
                "else": {
                    "required": ["actionKind", "label"],
                    "properties": {
                        "actionKind": { "type": "string" }, "label": { "type": "string", "pattern": members::NOT_BLANK },
                    },
                },
            }),
        ),
        ("EscalateBody", json!({ "if": is("clear", json!(true)), "else": says("reason") })),
        (
            "FollowUpChangeBody",
            json!({
                "if": { "required": ["to"], "properties": { "to": { "minLength": 1 } } },
                "then": empty(&["state", "owner", "due", "priority", "comment", "system", "ticket", "url"]),
                "else": {
                    "if": { "required": ["system"], "properties": { "system": { "minLength": 1 } } },
                    "then": { "required": ["ticket"], "properties": { "ticket": { "minLength": 1 } } },
                    "else": empty(&["ticket"]),
                },
            }),
        ),
        (
            "ReviewBody",
            json!({
                "if": { "required": ["section"], "properties": { "section": { "type": "string" } } },
                "then": with(says("text"), &json!({ "allOf": [absent(&["action", "owner", "due", "priority"])] })),
                "else": with(says("action"), &json!({ "allOf": [says("owner"), absent(&["section", "text"])] })),
            }),
        ),
        (
            "StatusBody",
            json!({
                "if": { "required": ["state"], "properties": { "state": { "type": "string" } } },
                "then": absent(&["status"]),
                "else": { "required": ["status"], "properties": { "status": { "type": "string" } } },
            }),
        ),
        (
            "TimelineBody",
            json!({ "properties": {
                "key": { "type": ["string", "null"], "maxLength": 255, "pattern": members::KEY },
                "payload": {
                    "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
                    "description": "Such as `{\"incidentNoteAdded\": {\"note\": \"…\"}}`.",
                    "properties": {
                        "incidentNoteAdded": reference("NoteBody"),
                        "incidentPlaybookActionExecuted": reference("ActionBody"),
                        "incidentSignalIngested": reference("SignalBody"),
                        "incidentSloViolationRecorded": reference("SloViolationBody"),
                        "incidentTagAdded": reference("TagBody"),
                        "incidentLinkedToTicket": reference("TicketBody"),
                    },
                },
            } }),
        ),
        (
            "UpdateBody",
            json!({
                "if": says("message"),
                "else": {
                    "anyOf": [says("title"), says("summary")],
                    "not": is("public", json!(true)),
                    "properties": { "next": { "type": "null" }, "template": { "maxLength": 0 } },
                },
            }),
        ),
        (
            "DecisionBody",
            json!({
                "if": is("escalate", json!(true)),
                "then": with(
                    absent(&["decision", "justification", "digest"]),
                    &json!({ "not": is("breakGlass", json!(true)) }),
                ),
                "else": {
                    "required": ["decision", "digest"],
                    "properties": { "decision": { "type": "string" }, "digest": { "type": "string" } },
                    "allOf": [
                        { "if": is("decision", json!("rejected")), "then": says("reason") },
                        {
                            "if": is("breakGlass", json!(true)),
                            "then": says("justification"),
                            "else": silent("justification"),
                        },
                    ],
                },
            }),
        ),
        (
            "PromoteBody",
            json!({
                "if": is("emergencyOverride", json!(true)),
                "then": {
                    "required": ["justification"],
                    "properties": { "justification": { "pattern": members::JUSTIFICATION } },
                },
            }),
        ),
    ]
}

/// What a candidate says of itself, as it is handed in and as it is shown.
fn candidate_fields() -> Value {
    let word = || json!({ "type": "string", "maxLength": TITLE_LIMIT_CHARS, "pattern": members::REQUIRED_KEPT_LINE });
    let line = || json!({ "type": "string", "maxLength": TITLE_LIMIT_CHARS, "pattern": members::KEPT_LINE });
    let text = || json!({ "type": "string", "maxLength": TEXT_LIMIT_BYTES });
    json!({
        "candidateId": { "type": "string", "pattern": CANDIDATE },
        "policyId": word(), "policyVersion": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
        "source": word(), "title": word(), "summary": text(),
        "severity": with(word(), &json!({ "description": "The source's own word; the policy maps it." })),
        "serviceName": line(), "environment": line(), "projectId": line(),
        "impactedServices": { "type": "array", "maxItems": LIST_LIMIT, "items": word(), "description": "In all at most 8 KiB." },
        "correlationRuleId": word(), "correlationRuleVersion": word(),
        "correlationKey": word(), "dedupKey": word(),
        "confidence": { "type": "number", "minimum": 0, "maximum": 1 },
        "detectedAt": { "type": "string", "format": "date-time" },
        "traceId": word(), "pagerdutyIncidentId": word(),
        "signals": { "type": "array", "maxItems": LIST_LIMIT, "items": candidate_signal(text()) },
    })
}

fn candidate_signal(summary: Value) -> Value {
    let word = || json!({ "type": "string", "maxLength": TITLE_LIMIT_CHARS, "pattern": members::REQUIRED_KEPT_LINE });
    json!({
        "type": "object", "required": ["signalId", "source"], "additionalProperties": false,
        "properties": {
            "signalId": word(), "source": word(), "summary": summary,
            "link": { "type": "string", "pattern": "^https?://[A-Za-z0-9\\[][!-~]*$", "maxLength": 2048 },
        },
    })
}

/// A candidate as it is handed in; the request's key names one that names itself not. What may be left out may be null,
/// too, and a version is of something that is named.
fn candidate_body() -> Value {
    const OPTIONAL: [&str; 12] = [
        "candidateId",
        "policyId",
        "policyVersion",
        "summary",
        "correlationRuleId",
        "correlationRuleVersion",
        "correlationKey",
        "dedupKey",
        "confidence",
        "detectedAt",
        "traceId",
        "pagerdutyIncidentId",
    ];
    let mut fields = candidate_fields();
    for name in OPTIONAL {
        nullable(&mut fields[name]);
    }
    for name in ["summary", "link"] {
        nullable(&mut fields["signals"]["items"]["properties"][name]);
    }
    let version_of = |version: &str, kind: &str, id: &str| {
        json!({
            "if": { "required": [version], "properties": { version: { "type": kind } } },
            "then": { "required": [id], "properties": { id: { "type": "string" } } },
        })
    };
    json!({
        "type": "object", "required": ["source", "title", "severity"], "additionalProperties": false,
        "properties": fields,
        "allOf": [
            version_of("policyVersion", "integer", "policyId"),
            version_of("correlationRuleVersion", "string", "correlationRuleId"),
        ],
    })
}

fn nullable(schema: &mut Value) {
    schema["type"] = json!([schema["type"], "null"]);
}

/// These properties and those.
fn with(mut these: Value, those: &Value) -> Value {
    for (name, schema) in those.as_object().into_iter().flatten() {
        these[name] = schema.clone();
    }
    these
}

fn labels() -> Value {
    json!({
        "type": "object", "maxProperties": PAIR_LIMIT,
        "propertyNames": { "maxLength": NAME_LIMIT_CHARS, "pattern": members::REQUIRED_KEPT_LINE },
        "additionalProperties": { "type": "string", "maxLength": ADDRESS_LIMIT_CHARS, "pattern": members::KEPT_LINE },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Members of a service.
fn service() -> Value {
    let name =
        || json!({ "type": "string", "maxLength": NAME_LIMIT_CHARS, "pattern": members::REQUIRED_KEPT_LINE });
    let line = |most: usize| json!({ "type": "string", "maxLength": most, "pattern": members::KEPT_LINE });
    let id = || json!({ "type": "string", "pattern": CATALOG_ID });
    let adapter = || json!({ "enum": Adapter::ALL.map(Adapter::name) });
    json!({
        "id": id(), "name": name(), "repo": line(ADDRESS_LIMIT_CHARS),
        "adapters": { "type": "object", "additionalProperties": false, "properties": {
            "deployments": { "type": "array", "uniqueItems": true, "items": adapter() },
        } },
        "environments": { "type": "array", "maxItems": catalog_judge::LIST_LIMIT, "items": {
            "type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {
                "id": id(), "name": { "type": "string", "description": "The environment's own; what is sent is left out of account." },
            },
        } },
        "dependsOn": { "type": "array", "maxItems": catalog_judge::LIST_LIMIT, "uniqueItems": true, "items": id() },
        "owner": line(NAME_LIMIT_CHARS),
        "targets": { "type": "array", "maxItems": catalog_judge::LIST_LIMIT, "items": {
            "type": "object", "required": ["envId", "adapter"], "additionalProperties": false,
            "properties": { "envId": id(), "adapter": adapter(), "settings": labels() },
        } },
        "labels": labels(), "retired": { "type": "boolean" },
    })
}

/// Members of a release.
fn release() -> Value {
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "format": "date-time" });
    json!({
        "id": text(), "serviceId": text(), "sha": text(), "version": text(), "envId": text(),
        "status": { "enum": ["Draft", "Promoting", "Active", "Failed"] },
        "promotedFrom": text(), "rollsBack": text(), "source": text(), "url": text(), "incident": text(),
        "createdAt": time(), "createdBy": text(), "settledAt": time(), "reason": text(),
        "standing": { "enum": ["current", "superseded", "rolledBack"] }, "replacedBy": text(),
    })
}

/// Schemas of answers that are put together where they are given.
fn written() -> [(&'static str, Value); 38] {
    let list = |name: &str, of: &str| {
        json!({
            "type": "object",
            "required": [name],
            "properties": {
                name: { "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } },
                "nextCursor": { "type": "string", "description": "The next page's `cursor` (or `after`); absent on the last." },
            },
        })
    };
    let items = |of: &str| json!({ "type": "array", "items": reference(of) });
    let time = || json!({ "type": "string", "format": "date-time" });
    let text = || json!({ "type": "string" });
    let catalog_id = || json!({ "type": "string", "pattern": CATALOG_ID });
    let name =
        || json!({ "type": "string", "maxLength": NAME_LIMIT_CHARS, "pattern": members::REQUIRED_KEPT_LINE });
    let line = || json!({ "type": "string", "maxLength": NAME_LIMIT_CHARS, "pattern": members::KEPT_LINE });
    let closed = |schema: Value| with(schema, &json!({ "additionalProperties": false }));
    let number = || json!({ "type": "integer", "minimum": 0 });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let placed = |what: &str| {
        object(&["incident", "seq", what], json!({ "incident": text(), "seq": number(), what: text() }))
    };
    [
        ("IncidentList", list("incidents", "Summary")),
        ("EventList", list("events", "Event")),
        (
            "OutputPieces",
            json!({
                "type": "object",
                "required": ["next", "pieces"],
                "properties": {
                    "next": number(),
                    "pieces": { "type": "array", "items": {
                        "type": "object",
                        "required": ["at", "attempt", "cell", "ended", "fromBytes", "number", "step", "text", "toBytes"],
                        "properties": {
                            "at": { "type": "string", "format": "date-time" },
                            "attempt": number(), "cell": text(), "ended": { "type": "boolean" }, "fromBytes": number(),
                            "number": number(), "step": text(), "text": text(), "toBytes": number(),
                        },
                    } },
                },
            }),
        ),
        ("GateList", list("approvals", "Gate")),
        ("PersonList", list("people", "Person")),
        ("TimelineLines", list("lines", "TimelineLine")),
        (
            "TimelineLine",
            object(
                &["seq", "at", "kind", "actor", "text", "eventId"],
                json!({
                    "seq": number(), "at": { "type": "string", "format": "date-time" }, "kind": text(),
                    "actor": text(), "text": text(), "eventId": text(),
                }),
            ),
        ),
        ("CandidateList", list("candidates", "Candidate")),
        (
            "AttemptList",
            object(
                &["candidateId", "attempts"],
                json!({ "candidateId": text(), "attempts": { "type": "array", "items": { "type": "object" } } }),
            ),
        ),
        (
            "FollowUpList",
            object(&["followUps", "total"], json!({ "followUps": items("FollowUp"), "total": number() })),
        ),
        (
            "SimilarList",
            object(
                &["incidentId", "similar"],
                json!({ "incidentId": text(), "similar": items("SimilarIncident") }),
            ),
        ),
        (
            "UpdateTemplateList",
            object(
                &["incidentId", "templates"],
                json!({ "incidentId": text(), "templates": items("Draft") }),
            ),
        ),
        ("SubscriptionList", list("subscriptions", "SubscriptionView")),
        (
            "Unsubscribed",
            object(&["id", "answer"], json!({ "id": text(), "answer": { "enum": ["removed"] } })),
        ),
        ("ServiceList", list("services", "ServiceLine")),
        (
            "ServiceLine",
            object(
                &["id", "name", "latestReleases", "openIncidents", "updatedAt", "auditTail"],
                with(
                    service(),
                    &json!({
                        "latestReleases": {
                            "type": "object", "description": "By environment, the release that tells most about it.",
                            "additionalProperties": reference("Release"),
                        },
                        "openIncidents": {
                            "type": "object", "description": "How many, by `critical`, `high`, `medium` and `low`.",
                            "additionalProperties": number(),
                        },
                        "updatedAt": time(),
                        "auditTail": object(&["stream", "seq"], json!({ "stream": text(), "seq": number() })),
                    }),
                ),
            ),
        ),
        ("ServiceBody", closed(object(&["id", "name"], service()))),
        ("EnvironmentList", list("environments", "EnvironmentBody")),
        (
            "EnvironmentBody",
            closed(object(
                &["id", "name"],
                json!({
                    "id": catalog_id(), "name": name(), "region": line(), "cluster": line(),
                    "policyRefs": { "type": "array", "maxItems": catalog_judge::LIST_LIMIT, "uniqueItems": true, "items": name() },
                    "production": {
                        "type": ["boolean", "null"],
                        "description": "By its name where it is left out. What is production says its region and cluster.",
                    },
                    "regionDefaulted": { "type": "boolean" }, "clusterDefaulted": { "type": "boolean" },
                    "labels": labels(), "retired": { "type": "boolean" },
                }),
            )),
        ),
        ("ReleaseList", list("releases", "Release")),
        ("Release", object(&["id", "serviceId", "sha", "version", "envId", "status"], release())),
        ("RunList", list("runs", "WorkflowRun")),
        (
            "WorkflowRun",
            object(
                &["id", "kind", "actor", "startedAt", "logs"],
                json!({
                    "id": text(), "kind": { "enum": ["Deploy", "Promote"] }, "actor": text(),
                    "startedAt": { "type": "string", "format": "date-time" },
                    "finishedAt": { "type": "string", "format": "date-time" },
                    "logs": { "type": "array", "items": object(
                        &["ts", "level", "message", "meta"],
                        json!({
                            "ts": time(), "level": { "enum": ["debug", "info", "warn", "error"] }, "message": text(),
                            "meta": { "type": "object" },
                        }),
                    ) },
                    "releaseId": text(), "envId": text(), "adapter": text(), "dryRun": { "type": "boolean" },
                    "outcome": text(), "reason": text(), "policies": { "type": "object" }, "workflowId": text(),
                }),
            ),
        ),
        ("AuditList", list("events", "AuditEvent")),
        (
            "AuditEvent",
            object(
                &["ts", "actor", "action", "subjectType", "subjectId", "metadata"],
                json!({
                    "ts": { "type": "string", "format": "date-time" }, "actor": text(), "action": text(),
                    "subjectType": text(), "subjectId": text(), "metadata": { "type": "object" },
                    "stream": text(), "seq": number(),
                }),
            ),
        ),
        (
            "Changes",
            object(
                &["linked", "suspected"],
                json!({ "linked": items("Change"), "suspected": items("Change") }),
            ),
        ),
        (
            "Change",
            object(
                &[
                    "id",
                    "serviceId",
                    "sha",
                    "version",
                    "envId",
                    "status",
                    "serviceName",
                    "environmentName",
                    "relation",
                    "reason",
                ],
                with(
                    release(),
                    &json!({
                        "serviceName": text(), "environmentName": text(),
                        "relation": { "enum": ["suspected", "caused", "related", "dismissed"] },
                        "reason": { "type": "string", "description": "Why it is suspected, or what people said." },
                        "changedAt": time(),
                        "before": { "type": "string", "description": "The release that was active before it." },
                    }),
                ),
            ),
        ),
        (
            "GateDetail",
            json!({ "allOf": [reference("Gate"), object(
                &["covers"],
                json!({ "covers": { "description": "All that the digest is about: what would run, where, with what." } }),
            )] }),
        ),
        ("CandidateBody", candidate_body()),
        (
            "Candidate",
            object(
                &[
                    "candidateId",
                    "status",
                    "source",
                    "title",
                    "severity",
                    "signals",
                    "receivedAt",
                    "submittedBy",
                ],
                with(
                    candidate_fields(),
                    &json!({
                        "status": { "enum": ["RECEIVED", "PROMOTED", "DEFERRED", "SUPPRESSED", "REFUSED", "DISMISSED"] },
                        "receivedAt": { "type": "string", "format": "date-time" }, "submittedBy": text(),
                        "incidentId": text(), "decidedAt": { "type": "string", "format": "date-time" },
                        "decidedBy": text(), "refusedBecause": text(), "decision": { "type": "object" },
                        "dismissed": { "type": "object" },
                    }),
                ),
            ),
        ),
        (
            "CandidateTaken",
            object(
                &["candidateId", "status", "workflowId"],
                json!({
                    "candidateId": text(), "status": text(), "workflowId": text(), "incidentId": text(),
                    "warning": text(),
                }),
            ),
        ),
        (
            "Declared",
            object(
                &["incidentId", "state", "workflowId"],
                json!({ "incidentId": text(), "state": text(), "workflowId": text(), "warning": text() }),
            ),
        ),
        (
            "Submitted",
            object(
                &["incidentId", "seq", "answer"],
                json!({
                    "incidentId": text(), "seq": number(), "answer": { "enum": ["recorded", "unchanged"] },
                    "state": text(), "phase": text(), "workflowId": text(), "warning": text(),
                }),
            ),
        ),
        (
            "Started",
            object(
                &["incidentId", "workflowId"],
                json!({
                    "incidentId": text(), "workflowId": text(), "attempt": number(), "warning": text(),
                    "gate": object(
                        &["gateId", "kind", "requiredRoles"],
                        json!({
                            "gateId": text(), "kind": text(),
                            "requiredRoles": { "type": "array", "items": text() },
                        }),
                    ),
                }),
            ),
        ),
        (
            // Not named as its own member: generators for Python trip over that.
            "ResumedRuns",
            object(
                &["incidentId", "resumed"],
                json!({ "incidentId": text(), "resumed": { "type": "array", "items": { "type": "object" } }, "warning": text() }),
            ),
        ),
        (
            "RenderedReview",
            object(
                &["title", "markdown", "digest", "seq", "uptoSeq", "published", "url"],
                json!({
                    "title": text(), "markdown": text(), "digest": text(), "seq": number(), "uptoSeq": number(),
                    "published": { "type": "boolean" }, "url": text(),
                }),
            ),
        ),
        (
            "Report",
            object(
                &["verified", "incidents", "catalog", "records", "findings", "redacted"],
                json!({ "verified": { "type": "boolean" }, "incidents": number(), "catalog": number(), "records": number(), "findings": { "type": "array", "items": placed("problem") }, "redacted": { "type": "array", "items": placed("field") } }),
            ),
        ),
        (
            "Problem",
            object(
                &["type", "title", "status", "detail", "hint"],
                json!({
                    "type": text(), "title": text(), "status": number(), "detail": text(), "hint": text(),
                    "actualSeq": number(),
                    "changes": { "type": "array", "items": { "$ref": "#/components/schemas/TimelineLine" } },
                }),
            ),
        ),
    ]
}
