//! The review: rendered from the log, published once.
//!
//! The same log gives the same page: nothing but records goes in. What was rendered stands in the log with its digest,
//! and what is published is taken from there, never rendered again.

use harmony_blueprints::contracts::{PublishDraft, RenderReply, RenderRequest, Scope, StepReply, capability};
use harmony_blueprints::messages::PageTarget;
use harmony_capabilities::confluence::{PageDraft, markdown_to_storage};
use harmony_catalog::views;
use harmony_eventlog::Entry;
use harmony_incidents::{
    LinkName,
    judge::payload,
    log::{IncidentState, PostMortemPublished, PostMortemRendered, Relation, Text, payload::Kind},
    timeline,
    times::Moment,
    words,
};
use jiff::{SignedDuration, Timestamp};
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

const TEMPLATE: &str = include_str!("../templates/review.md");
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
        let template = self.review_template.as_deref().unwrap_or(TEMPLATE);
        let about_timeline = Scope { step: format!("{}/timeline", scope.step), ..scope.clone() };
        let timeline_off = self.switched_off(&about_timeline, capability::TIMELINE).await?;
        let told: &[Entry] = if timeline_off.is_some() { &[] } else { &entries };
        let markdown = markdown(template, &state, &entries, told)
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

/// `told` is what the timeline tells of; `entries` is everything.
fn markdown(
    template: &str,
    state: &IncidentState,
    entries: &[Entry],
    told: &[Entry],
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    let sections: std::collections::BTreeMap<String, String> = state
        .sections
        .iter()
        .map(|one| (one.section.clone(), one.text.as_ref().map(Text::shown).unwrap_or_default().to_owned()))
        .collect();
    environment.add_function("section", move |name: String| {
        sections.get(&name).cloned().unwrap_or_else(|| "Nobody wrote this section yet.".to_owned())
    });
    // Text in a table cell must not end the cell or the row.
    environment.add_function("cell", |text: String| text.replace('|', "\\|").replace(['\n', '\r'], " "));
    let shown = |text: &Option<Text>| text.as_ref().map(Text::shown).unwrap_or_default().to_owned();
    let since = |at: i64| if at == 0 { "not recorded".to_owned() } else { span(at - state.created_at_us) };
    let actions: Vec<Value> = state
        .action_items
        .iter()
        .map(|item| json!({ "action": shown(&item.action), "owner": item.owner, "due": item.due }))
        .collect();
    let resolution = state.resolution.as_ref().map(|one| {
        json!({ "type": one.r#type().as_str_name(), "by": one.resolved_by, "summary": shown(&one.summary) })
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
    let declared = Timestamp::from_microsecond(state.created_at_us).unwrap_or(Timestamp::UNIX_EPOCH);
    environment.render_str(
        template,
        context! {
            incident => json!({
                "id": state.incident, "severity": state.severity().as_str_name(), "title": shown(&state.title),
                "declaredAt": declared.to_string(), "declaredBy": state.declared_by, "services": state.impacted_services,
            }),
            metrics => json!({
                "acknowledge": since(Moment::Acknowledged.at_us(state)),
                "mitigate": since(Moment::Mitigated.at_us(state)),
                "resolve": since(Moment::Resolved.at_us(state)),
            }),
            actions, changes, resolution,
            timeline => timeline::Query { incident_id: state.incident.clone(), ..Default::default() }
                .answer(told.iter().map(|entry| &entry.record)),
            records => entries.len(),
            head => entries.last().map(|entry| hex::encode(&entry.hash)).unwrap_or_default(),
        },
    )
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
    use harmony_incidents::log::ChangeLinked;

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
        markdown(TEMPLATE, &state, &[], &[]).unwrap()
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
        assert!(page.contains("| related |  |\n\n## Contributing factors"), "{page}");
        assert_eq!(page, rendered_with(linked), "the same log gives the same page");
    }
}
