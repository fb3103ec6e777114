//! The review of an incident: what people write, what was rendered, and the records it stands on.

use askama::Template;
use axum::response::{Html, IntoResponse};
use harmony_incidents::{
    HasStatus, IncidentId, Right, RunStatus,
    approvals::REVIEW_SECTIONS,
    log::{IncidentState, PostMortemRendered, State},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Page,
    form::Submission,
    gate_card::{self, GateCard},
    html,
    incidents::Line,
    markdown, offers,
    timeline::{self, Timeline},
    visit::{Frame, Visit},
};
use crate::{error::ApiError, review, views};

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewPage {
    frame: Frame,
    head: Line,
    address: String,
    action: String,
    sections: Vec<Section>,
    items: Vec<Item>,
    /// What is missing before it may be proposed.
    missing: Vec<String>,
    may_write: bool,
    may_propose: bool,
    is_published: bool,
    rendered: Option<Rendered>,
    gates: Vec<GateCard>,
    sign_off: SignOff,
    timeline: Timeline,
    key: Uuid,
    sections_key: Uuid,
}

struct Section {
    name: &'static str,
    label: String,
    text: String,
    html: String,
    author: String,
    seq: u64,
    /// Without it a P1 or P2 cannot be proposed.
    required: bool,
}

struct Item {
    action: String,
    owner: String,
    due: String,
    seq: u64,
}

/// The page as it was rendered last.
struct Rendered {
    seq: u64,
    upto: u64,
    html: String,
    published: bool,
    href: String,
}

/// How it stands with the sign-off.
struct SignOff {
    by: String,
    digest: String,
    /// Whether this reader may, now.
    offered: bool,
}

/// `GET …/incidents/{id}/review`
pub(crate) async fn page(visit: Visit) -> Page {
    let (id, state) = visit.incident().await?;
    let org = &visit.caller.org;
    let may_write = visit.may(Right::Respond, Some(&state));
    let may_propose = may_write && visit.may(Right::ConfluenceWrite, Some(&state));
    let missing = offers::missing(&visit, &state);
    let over = state.state() == State::Resolved;
    let running =
        state.blueprints.iter().any(|one| one.blueprint == "post-mortem" && one.is(RunStatus::Running));
    let mut gates = Vec::new();
    for gate in gate_card::pending(&state).into_iter().filter(|gate| gate.blueprint == "post-mortem") {
        gates.push(gate_card::card(&visit, &state, gate));
    }
    let address = format!("/orgs/{org}/incidents/{id}");
    let rendered = rendered(&visit, &id, &state).await?;
    let mut timeline = timeline::read(&visit, &id, &state, before(&visit), "").await?;
    timeline.without_proposals();
    html(&ReviewPage {
        frame: visit.frame("incidents"),
        head: Line::of(&visit, &state),
        action: format!("{address}/do/"),
        address,
        sections: sections(&visit, &state),
        items: state
            .action_items
            .iter()
            .map(|item| Item {
                action: views::text(item.action.as_ref()),
                owner: visit.name(&item.owner),
                due: item.due.clone(),
                seq: item.seq,
            })
            .collect(),
        may_propose: may_propose && over && missing.is_empty() && !running,
        missing,
        may_write,
        is_published: rendered.as_ref().is_some_and(|page| page.published),
        rendered,
        gates,
        sign_off: sign_off(&visit, &state),
        timeline,
        key: Uuid::now_v7(),
        sections_key: Uuid::now_v7(),
    })
}

/// `POST …/preview`: a text as it will be shown, for a page that shows it while somebody writes.
pub(crate) async fn preview(form: Submission) -> Page {
    let text = form.fields.iter().find(|(name, _)| name == "text").map(|(_, text)| text.as_str());
    Ok(Html(markdown::rendered(text.unwrap_or_default())).into_response())
}

fn before(visit: &Visit) -> u64 {
    visit.query.one("before").and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn sections(visit: &Visit, state: &IncidentState) -> Vec<Section> {
    let one = |name: &'static str| {
        let written = state.sections.iter().find(|section| section.section == name);
        let text = written.map(|section| views::text(section.text.as_ref())).unwrap_or_default();
        let mut label = name.replace('-', " ");
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Section {
            name,
            label,
            html: markdown::rendered(&text),
            text,
            author: written.map(|section| visit.name(&section.author)).unwrap_or_default(),
            seq: written.map(|section| section.seq).unwrap_or_default(),
            required: harmony_incidents::approvals::REQUIRED_SECTIONS.contains(&name),
        }
    };
    REVIEW_SECTIONS.into_iter().map(one).collect()
}

fn sign_off(visit: &Visit, state: &IncidentState) -> SignOff {
    let review = state.review.as_ref();
    let published = review.is_some_and(|review| review.published);
    SignOff {
        by: review.map(|review| visit.name(&review.signed_off_by)).unwrap_or_default(),
        digest: review.filter(|_| published).map(|review| hex::encode(&review.digest)).unwrap_or_default(),
        offered: published && state.state() == State::Resolved && visit.may(Right::SignOff, Some(state)),
    }
}

async fn rendered(
    visit: &Visit,
    id: &IncidentId,
    state: &IncidentState,
) -> Result<Option<Rendered>, ApiError> {
    let Some(review) = &state.review else { return Ok(None) };
    let page = review::rendered(&visit.app, &visit.caller.org, id, state).await?;
    Ok(page.map(|(seq, page)| shown(seq, &page, review.published, &review.url)))
}

fn shown(seq: u64, page: &PostMortemRendered, published: bool, url: &str) -> Rendered {
    let text = page.page.as_ref().map(|text| text.shown()).unwrap_or_default();
    let covers: Value = serde_json::from_str(text).unwrap_or_default();
    let source = covers["markdown"].as_str().unwrap_or("[redacted]");
    Rendered {
        seq,
        upto: page.upto_seq,
        html: markdown::rendered(source),
        published,
        href: if markdown::is_web(url) { url.to_owned() } else { String::new() },
    }
}
