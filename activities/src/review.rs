//! The review: rendered from the log, published once.
//!
//! The same log gives the same page: nothing goes in but records, the names of people and the policy's time zone. What was
//! rendered stands in the log with its digest, and what is published is taken from there, never rendered again.

use std::collections::BTreeMap;

use harmony_blueprints::contracts::{PublishDraft, RenderReply, RenderRequest, Scope, StepReply, capability};
use harmony_blueprints::messages::PageTarget;
use harmony_capabilities::confluence::{PageDraft, markdown_to_storage};
use harmony_catalog::views;
use harmony_eventlog::Entry;
use harmony_incidents::{
    Directory, LinkName,
    judge::payload,
    leading::FollowUpState,
    log::{IncidentState, PostMortemPublished, PostMortemRendered, Relation, Text, payload::Kind},
    story::{self, Known, Names as _, Told, Weight},
    timeline,
    times::Moment,
    words,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use minijinja::{Environment, UndefinedBehavior, context};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    channel::{incident_key, review_page},
    effects::made,
    failure,
    services::Services,
};

const NOT_CONFIGURED: &str = "Confluence is not configured";
/// Records of one read.
const PAGE: u32 = 500;

impl Services {
    pub(crate) async fn render(&self, request: RenderRequest) -> Result<RenderReply, ActivityError> {
        let scope = &request.scope;
        let entries = self.all_records(scope).await?;
        if let Some(known) = rendered(&entries, |p| p.attempt == scope.attempt) {
            return reply(known);
        }
        let state = self.state(scope).await?;
        let rules = self.rules.current();
        let about_timeline = Scope { step: format!("{}/timeline", scope.step), ..scope.clone() };
        let timeline_off = self.switched_off(&about_timeline, capability::TIMELINE).await?;
        let told: &[Entry] = if timeline_off.is_some() { &[] } else { &entries };
        let names = Known { directory: &rules.directory, gates: &state.gates };
        let markdown = self
            .review_template
            .render(&Rendered {
                state: &state,
                entries: &entries,
                told,
                names,
                zone: rules.policy.time_zone(),
            })
            .map_err(|error| failure::last("Template", format!("the review's template fails: {error:#}")))?;
        let title = title(scope, &request.title, &state);
        let space = match (&self.confluence, request.target.space_key.as_str()) {
            (Some(confluence), "") => confluence.space_key.clone(),
            (_, given) => given.to_owned(),
        };
        let target = PageTarget { space_key: space, ..request.target.clone() };
        let covers = json!({
            "incidentId": scope.stream,
            "labels": target.labels,
            "markdown": markdown,
            "parentId": target.parent_id,
            "spaceKey": target.space_key,
            "title": title,
        })
        .to_string();
        let record = PostMortemRendered {
            attempt: scope.attempt,
            digest: Sha256::digest(covers.as_bytes()).to_vec(),
            upto_seq: entries.last().map_or(0, |entry| entry.record.seq),
            page: Some(Text::plain(covers)),
        };
        self.record(scope, &scope.key(), payload(Kind::PostMortemRendered(record.clone()))).await?;
        reply(&record)
    }

    pub(crate) async fn publish(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: &PublishDraft,
    ) -> Result<StepReply, ActivityError> {
        let entries = self.all_records(scope).await?;
        let page = rendered(&entries, |p| hex::encode(&p.digest) == draft.digest)
            .and_then(|p| p.page.as_ref())
            .map(|page| page.text.clone())
            .filter(|text| hex::encode(Sha256::digest(text.as_bytes())) == draft.digest)
            .ok_or_else(|| {
                failure::last("Digest", "the page that was approved is not in the log any more")
            })?;
        let page: Value =
            serde_json::from_str(&page).map_err(|error| failure::last("Digest", error.to_string()))?;
        let wanted = PageDraft {
            space_key: draft.target.space_key.clone(),
            parent_id: draft.target.parent_id.clone(),
            title: draft.title.clone(),
            storage: markdown_to_storage(page["markdown"].as_str().unwrap_or_default()),
            labels: draft.target.labels.clone(),
        };
        let key = incident_key(scope, "review-page");
        // The same page may be published again after another review round: its ledger entry is the round's.
        let round = uuid::Uuid::new_v5(&key, draft.digest.as_bytes());
        let mut published = match &self.confluence {
            Some(space) => {
                self.perform(ctx, scope, capability::CONFLUENCE, round, async || {
                    let page = space.confluence.ensure_page(&key, &wanted).await?;
                    Ok(made(
                        &page.id,
                        &[
                            (LinkName::ConfluencePageId, &page.id),
                            (LinkName::ConfluencePageUrl, &page.url),
                            (LinkName::ConfluenceSpaceKey, &wanted.space_key),
                        ],
                        &page.url,
                    ))
                })
                .await?
            }
            None => self.skipped(scope, capability::CONFLUENCE, NOT_CONFIGURED).await?,
        };
        if published.skipped.is_some() {
            // A retry keeps the address on record: the console may listen elsewhere by now.
            published.url = published_at(&entries, scope.attempt, &draft.digest)
                .unwrap_or_else(|| review_page(self.console.as_ref(), scope));
        }
        let record = Kind::PostMortemPublished(PostMortemPublished {
            attempt: scope.attempt,
            digest: hex::decode(&draft.digest).unwrap_or_default(),
            page_id: published.external_ref.clone(),
            url: published.url.clone(),
        });
        self.record(scope, &format!("{}/published", scope.key()), payload(record)).await?;
        Ok(published)
    }

    pub(crate) async fn all_records(&self, scope: &Scope) -> Result<Vec<Entry>, ActivityError> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map_or(0, |entry| entry.record.seq);
            let more = self
                .log
                .records(&scope.org, &scope.stream, after, PAGE)
                .await
                .map_err(|error| failure::log(&error))?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }
}

fn rendered(entries: &[Entry], wanted: impl Fn(&PostMortemRendered) -> bool) -> Option<&PostMortemRendered> {
    entries.iter().rev().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
        Kind::PostMortemRendered(p) if wanted(p) => Some(p),
        _ => None,
    })
}

/// Where this attempt has published the review already.
fn published_at(entries: &[Entry], attempt: u32, digest: &str) -> Option<String> {
    entries.iter().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
        Kind::PostMortemPublished(p) if p.attempt == attempt && hex::encode(&p.digest) == digest => {
            Some(p.url.clone())
        }
        _ => None,
    })
}

/// What the workflow goes on with: what stands in the log.
fn reply(record: &PostMortemRendered) -> Result<RenderReply, ActivityError> {
    let covers = record.page.as_ref().map(|text| text.text.clone()).unwrap_or_default();
    let page: Value = serde_json::from_str(&covers)
        .map_err(|_| failure::last("Digest", "the rendered page is not in the log any more"))?;
    let text = |name: &str| page[name].as_str().unwrap_or_default().to_owned();
    Ok(RenderReply {
        digest: hex::encode(&record.digest),
        title: text("title"),
        target: PageTarget {
            space_key: text("spaceKey"),
            parent_id: page["parentId"].as_str().map(str::to_owned),
            labels: serde_json::from_value(page["labels"].clone()).unwrap_or_default(),
        },
        upto_seq: record.upto_seq,
        covers,
    })
}

/// The incident id makes it the only page of that title.
fn title(scope: &Scope, asked: &str, state: &IncidentState) -> String {
    let own = state.title.as_ref().map(Text::shown).unwrap_or_default();
    let asked = asked.trim();
    let title = if asked.is_empty() { own } else { asked };
    format!("{}: {title}", scope.stream).chars().take(250).collect()
}

/// What a review is made of.
struct Rendered<'a> {
    state: &'a IncidentState,
    entries: &'a [Entry],
    /// What the timeline tells of: all of them, or nothing where it is switched off.
    told: &'a [Entry],
    names: Known<'a>,
    zone: TimeZone,
}

const BUILT_IN: &str = include_str!("../templates/review.md");

/// What a template may name.
const NAMES: [&str; 13] = [
    "actions",
    "appendix",
    "cell",
    "changes",
    "corrections",
    "head",
    "incident",
    "metrics",
    "records",
    "resolution",
    "section",
    "timeline",
    "zone",
];

/// What reviews look like: minijinja, which gives Markdown.
pub struct ReviewTemplate(String);

impl Default for ReviewTemplate {
    fn default() -> Self {
        Self(BUILT_IN.to_owned())
    }
}

impl ReviewTemplate {
    /// Takes an organisation's own template, where it can render a review. The error says where it cannot.
    pub fn parse(source: String) -> Result<Self, String> {
        let template = Self(source);
        let unknown = Environment::new()
            .template_from_str(&template.0)
            .map_err(|error| format!("{error:#}"))?
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !NAMES.contains(&name.as_str()))
            .min();
        if let Some(unknown) = unknown {
            return Err(format!("there is no {unknown:?} in a review; use {}", NAMES.join(", ")));
        }
        let (state, directory) = (IncidentState::default(), Directory::default());
        let names = Known { directory: &directory, gates: &[] };
        let example = Rendered { state: &state, entries: &[], told: &[], names, zone: TimeZone::UTC };
        template.render(&example).map_err(|error| format!("{error:#}"))?;
        Ok(template)
    }

    /// Whether it is the one that comes with the program.
    pub fn is_built_in(&self) -> bool {
        self.0 == BUILT_IN
    }

    fn render(&self, given: &Rendered<'_>) -> Result<String, minijinja::Error> {
        let Rendered { state, entries, told, names, zone } = given;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        let sections: BTreeMap<String, String> = state
            .sections
            .iter()
            .map(|one| {
                (one.section.clone(), one.text.as_ref().map(Text::shown).unwrap_or_default().to_owned())
            })
            .collect();
        environment
            .add_function("section", move |name: String| sections.get(&name).cloned().unwrap_or_default());
        // Text in a table cell must not end the cell or the row.
        environment.add_function("cell", |text: String| text.replace('|', "\\|").replace(['\n', '\r'], " "));
        let shown = |text: &Option<Text>| text.as_ref().map(Text::shown).unwrap_or_default().to_owned();
        let minute = |at_us: i64| {
            let at =
                Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone());
            at.strftime("%Y-%m-%d %H:%M").to_string()
        };
        let between = |from: i64, to: Moment| match to.at_us(state) {
            0 => "not recorded".to_owned(),
            _ if from == 0 => "not recorded".to_owned(),
            to => span(to - from),
        };
        let since_declared = |to: Moment| between(state.created_at_us, to);
        let actions: Vec<Value> = state
            .action_items
            .iter()
            .map(|item| {
                json!({
                    "action": shown(&item.action), "owner": names.person(&item.owner), "due": item.due,
                    "state": FollowUpState::of(item).name(),
                })
            })
            .collect();
        let resolution = state.resolution.as_ref().map(|one| {
            json!({
                "type": one.r#type().as_str_name(), "by": names.person(&one.resolved_by),
                "summary": shown(&one.summary),
            })
        });
        // What people said is cause or company; a suspicion is no finding.
        let linked =
            state.changes.iter().filter(|one| matches!(one.relation(), Relation::Caused | Relation::Related));
        let changes: Vec<Value> = linked
            .map(|one| {
                let label = views::label(&one.version, &one.sha);
                json!({
                    "release": format!("{} ({label})", one.release_id), "service": one.service_id,
                    "environment": one.environment_id, "status": words::release_status(one.status()),
                    "relation": match one.relation() { Relation::Caused => "the cause", _ => "related" },
                    "reason": shown(&one.reason),
                })
            })
            .collect();
        environment.render_str(
            &self.0,
            context! {
                incident => json!({
                    "id": state.incident, "severity": state.severity().as_str_name(), "title": shown(&state.title),
                    "declaredAt": minute(state.created_at_us), "declaredBy": names.person(&state.declared_by),
                    "services": state.impacted_services,
                }),
                metrics => json!({
                    "detect": between(Moment::ImpactStarted.at_us(state), Moment::Detected),
                    "acknowledge": since_declared(Moment::Acknowledged),
                    "mitigate": since_declared(Moment::Mitigated),
                    "resolve": since_declared(Moment::Resolved),
                }),
                corrections => corrections(entries, names, &minute),
                actions, changes, resolution,
                zone => zone.iana_name().unwrap_or("UTC"),
                timeline => story(told, names, &minute),
                appendix => timeline::Query { incident_id: state.incident.clone(), ..Default::default() }
                    .answer(told.iter().map(|entry| &entry.record)),
                records => entries.len(),
                head => entries.last().map(|entry| hex::encode(&entry.hash)).unwrap_or_default(),
            },
        )
    }
}

/// Moments that were held to be at another time before.
fn corrections(entries: &[Entry], names: &Known<'_>, minute: &dyn Fn(i64) -> String) -> Vec<Value> {
    let corrected = |entry: &Entry| {
        let Kind::IncidentTimeSet(set) = entry.record.payload.as_ref()?.kind.as_ref()? else { return None };
        let moment: Moment = set.moment.parse().ok().filter(|_| set.before_us > 0)?;
        Some(json!({
            "moment": moment.words(), "at": minute(set.at_us), "before": minute(set.before_us),
            "who": names.person(&entry.record.actor), "seq": entry.record.seq,
            "reason": set.reason.as_ref().map(Text::shown).unwrap_or_default(),
        }))
    };
    entries.iter().filter_map(corrected).collect()
}

/// What people did and what came of it, a line each, with the records behind it: its own, and those of how Harmony
/// carried it out.
fn story(entries: &[Entry], names: &Known<'_>, minute: &dyn Fn(i64) -> String) -> Vec<Value> {
    struct Line {
        at_us: i64,
        told: Told,
        first: u64,
        last: u64,
    }
    let mut lines: Vec<Line> = Vec::new();
    for Entry { record, .. } in entries {
        let Some(kind) = record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) else { continue };
        let told = story::tell(kind, &record.actor, names);
        match lines.last_mut() {
            Some(line) if told.weight == Weight::Detail => line.last = record.seq,
            _ => lines.push(Line { at_us: record.occurred_at_us, told, first: record.seq, last: record.seq }),
        }
    }
    let cited = |line: &Line| {
        if line.first == line.last {
            line.first.to_string()
        } else {
            format!("{}–{}", line.first, line.last)
        }
    };
    lines
        .iter()
        .map(|line| {
            json!({ "at": minute(line.at_us), "who": line.told.who, "text": line.told.did, "records": cited(line) })
        })
        .collect()
}

/// `1h 2m 3s`, or milliseconds below a second.
fn span(microseconds: i64) -> String {
    let duration = SignedDuration::from_micros(microseconds);
    let rounded = if duration.as_secs() > 0 {
        SignedDuration::from_secs(duration.as_secs())
    } else {
        SignedDuration::from_millis(i64::try_from(duration.as_millis()).unwrap_or(0))
    };
    format!("{rounded:#}")
}

#[cfg(test)]
mod tests {
    use harmony_incidents::{
        log::{ChangeLinked, IncidentNoteAdded, IncidentTimeSet, Record, ReviewSection, StepSucceeded},
        zone::zone,
    };

    use super::*;

    fn change(release: &str, relation: Relation, reason: &str) -> ChangeLinked {
        ChangeLinked {
            release_id: release.to_owned(),
            service_id: "svc-shop".to_owned(),
            environment_id: "env-prod".to_owned(),
            sha: "9f3b7de".to_owned(),
            relation: relation.into(),
            reason: Text::optional(reason),
            ..ChangeLinked::default()
        }
    }

    fn rendered_with(changes: Vec<ChangeLinked>) -> String {
        let state =
            IncidentState { incident: "INC-2026-0001".to_owned(), changes, ..IncidentState::default() };
        rendered_from(&state, &[])
    }

    fn rendered_from(state: &IncidentState, entries: &[Entry]) -> String {
        let directory = Directory::parse(
            "[[principal]]\nid = \"commander\"\nname = \"Chris Commander\"\nroles.default = [\"incident-commander\"]\n",
        )
        .unwrap();
        let names = Known { directory: &directory, gates: &state.gates };
        let zone = zone("Europe/Berlin").unwrap();
        ReviewTemplate::default().render(&Rendered { state, entries, told: entries, names, zone }).unwrap()
    }

    #[test]
    fn review_lists_what_people_linked_and_nothing_else() {
        let without = rendered_with(vec![]);
        let suspicion = change("rel-2", Relation::Suspected, "Active 6 minutes before");
        let dismissed = change("rel-3", Relation::Dismissed, "not in use");
        assert_eq!(rendered_with(vec![suspicion, dismissed]), without);
        assert!(!without.contains("What changed"), "a review without a change reads as it did: {without}");

        let linked = vec![
            change("rel-1", Relation::Caused, "errors | began\nwith it"),
            change("rel-4", Relation::Related, ""),
        ];
        let page = rendered_with(linked.clone());
        let row = "| rel-1 (9f3b7de) | svc-shop | env-prod |  | the cause | errors \\| began with it |\n";
        assert!(page.contains("\n## What changed\n\n| release |") && page.contains(row), "{page}");
        assert!(page.contains("| related |  |\n\n"), "{page}");
        assert_eq!(page, rendered_with(linked), "the same log gives the same page");
    }

    fn record(seq: u64, minute: i64, kind: Kind) -> Entry {
        let record = Record {
            seq,
            occurred_at_us: 1_796_000_000_000_000 + minute * 60_000_000,
            actor: "commander".to_owned(),
            payload: Some(payload(kind)),
            ..Record::default()
        };
        Entry { record, canonical: Vec::new(), hash: vec![7; 32], stored_at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn review_is_written_for_people_and_cites_its_records() {
        let note = |text: &str| Kind::IncidentNoteAdded(IncidentNoteAdded { note: Some(Text::plain(text)) });
        let step = StepSucceeded { step: "channel".to_owned(), ..StepSucceeded::default() };
        let set = IncidentTimeSet {
            moment: Moment::Mitigated.name().to_owned(),
            at_us: 1_796_000_000_000_000,
            before_us: 1_796_000_300_000_000,
            reason: Text::optional("the graphs say so"),
        };
        let entries = [
            record(1, 0, note("errors | since 9")),
            record(2, 1, Kind::StepSucceeded(step.clone())),
            record(3, 2, Kind::StepSucceeded(step)),
            record(4, 10, Kind::IncidentTimeSet(set)),
        ];
        let section = ReviewSection {
            section: "impact".to_owned(),
            text: Some(Text::plain("Nobody could pay.")),
            ..Default::default()
        };
        let state = IncidentState { sections: vec![section], ..IncidentState::default() };
        let page = rendered_from(&state, &entries);
        for expected in [
            "## Impact\n\nNobody could pay.\n",
            "| when (Europe/Berlin) | who | what | records |",
            "errors \\| since 9 | 1–3 |\n",
            "| 2026-11-30 ",
            "Chris Commander",
            "from 2026-11-30 01:58, by Chris Commander (the graphs say so), record 4.",
            "## Appendix: the records",
            "Rendered from 4 records of the incident log",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        for left_out in ["## Summary", "## Lessons", "## Action items", "## What changed", "Nobody wrote"] {
            assert!(!page.contains(left_out), "{left_out}: {page}");
        }
    }

    #[test]
    fn template_that_could_not_render_a_review_is_refused_when_it_is_read() {
        assert!(ReviewTemplate::parse(ReviewTemplate::default().0).is_ok());
        for (source, expected) in [
            ("{{ incidnet.id }}", "there is no \"incidnet\" in a review"),
            ("{{ incident.nome }}", "undefined"),
            ("{% if %}", "syntax error"),
            ("{{ head | frobnicate }}", "frobnicate"),
        ] {
            let problem = ReviewTemplate::parse(source.to_owned()).err().unwrap();
            assert!(problem.contains(expected), "{source}: {problem}");
        }
    }
}
