//! Decisions on gates, whichever door they come through.
//!
//! A decision is a command like every other: the door that verified who decides appends it, the judge gives the verdict
//! in that transaction, and the run that waits is woken through the outbox. So a decision needs neither Temporal nor a
//! worker to count. A refused one is on record, too; of a flood, its number is ([`Uncounted`]).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use harmony_catalog::judge::flow_of;
use harmony_eventlog::{
    Append, Appended, LogError, OutboxKind, SharedLog, StreamState, Target, catalog::ReleaseFilter,
};
use harmony_incidents::{
    Answer, Command, Context, GateId, GateStatus, HasStatus, IncidentId, OrgId, Principal, Rules,
    RulesSource, RunStatus, StreamId, WorkflowId,
    command::{Attested, Decision, DecisionInput, DecisionPayload, Verdict},
    judge,
    log::{Authority, Cause, GateState, IncidentState},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{App, error::RefusedDecision};

/// Refusals are counted by the minute, as the judge does.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A decision that somebody makes.
pub(crate) struct Proposal<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) gate_id: &'a str,
    /// Digest that the decider saw, in hex.
    pub(crate) digest: Option<String>,
    pub(crate) decision: Decision,
    pub(crate) reason: Option<String>,
    pub(crate) approver: &'a Principal,
    pub(crate) decision_id: Uuid,
    /// `api`, `cli`, `console` or `slack`.
    pub(crate) source: &'static str,
    /// Claims `EMERGENCY_OVERRIDE`, and why.
    pub(crate) break_glass: bool,
    pub(crate) justification: Option<String>,
}

/// Where a gate is.
pub(crate) struct Place {
    /// An incident's, or that of a release's service.
    pub(crate) stream: StreamId,
    /// The incident, or the blueprints and gates of the service's releases.
    pub(crate) state: IncidentState,
    workflow_id: WorkflowId,
    attempt: u32,
}

/// What a gate id names.
pub(crate) struct Named {
    workflow_id: WorkflowId,
    attempt: u32,
}

impl Named {
    /// The incident, where it is a gate of one.
    pub(crate) fn incident(&self) -> Option<IncidentId> {
        self.workflow_id.parts().map(|(_, _, incident)| incident)
    }
}

/// What a gate id names, if it is this organisation's.
pub(crate) fn named(org: &OrgId, gate_id: &str) -> Option<Named> {
    let id: GateId = gate_id.parse().ok()?;
    let (workflow_id, attempt, _) = id.parts()?;
    let (_, of) = workflow_id.kind_and_org()?;
    (of == *org).then_some(Named { workflow_id, attempt })
}

/// Where the gate is that an id names; `None` where there is neither such a gate nor a run that could open it.
pub(crate) async fn place(app: &App, org: &OrgId, gate_id: &str) -> Result<Option<Place>, LogError> {
    let Some(named) = named(org, gate_id) else { return Ok(None) };
    let log = &app.doors.log;
    if let Some(incident) = named.incident() {
        let Some(state) = log.state(org, &incident).await? else { return Ok(None) };
        return Ok(Place::new(named, incident.into(), state, gate_id));
    }
    let Some((_, _, release)) = named.workflow_id.release() else { return Ok(None) };
    let filter = ReleaseFilter { ids: vec![release], limit: 1, ..ReleaseFilter::default() };
    let Some(found) = log.releases(org, &filter).await?.pop() else { return Ok(None) };
    let stream = StreamId::from(found.service);
    let service = log.catalog_state(org, &stream).await?.and_then(StreamState::service);
    Ok(service.and_then(|service| Place::new(named, stream, flow_of(&service), gate_id)))
}

impl Place {
    /// Where there is such a gate, or a run that could open it.
    pub(crate) fn new(named: Named, stream: StreamId, state: IncidentState, gate_id: &str) -> Option<Self> {
        let Named { workflow_id, attempt } = named;
        let place = Self { stream, state, workflow_id, attempt };
        (place.gate(gate_id).is_some() || place.is_running()).then_some(place)
    }

    /// The gate itself.
    pub(crate) fn gate(&self, gate_id: &str) -> Option<&GateState> {
        self.state.gates.iter().find(|gate| gate.gate_id == gate_id)
    }

    fn is_running(&self) -> bool {
        self.state
            .blueprints
            .iter()
            .any(|one| one.workflow_id == self.workflow_id.as_str() && one.is(RunStatus::Running))
    }

    /// The decision as a command, made now. That this door hands it in is its attestation.
    pub(crate) fn command(&self, proposal: &Proposal<'_>, decided_at: Timestamp) -> Command {
        let payload = DecisionPayload {
            decision: proposal.decision,
            approver_id: proposal.approver.id.clone(),
            approver_name: None,
            approver_roles: None,
            gate_id: Some(proposal.gate_id.to_owned()),
            digest: proposal.digest.clone(),
            reason: proposal.reason.clone(),
            timestamp: None,
            source: Some(proposal.source.to_owned()),
            decision_id: Some(proposal.decision_id.to_string()),
            attestation: None,
            break_glass: proposal.break_glass,
            justification: proposal.justification.clone(),
        };
        let input = DecisionInput {
            workflow_id: self.workflow_id.clone(),
            attempt: self.attempt,
            payload: Ok(payload),
            attested: Attested::Yes,
            decided_at,
            counted: true,
        };
        Command::Decide { input: Box::new(input) }
    }

    /// Appends the decision; the verdict, or why it does not count. A decision that was judged gets its first verdict.
    pub(crate) async fn decide(
        &self,
        app: &App,
        rules: Rules<'_>,
        context: &Context,
        proposal: &Proposal<'_>,
    ) -> Result<Result<Verdict, Box<RefusedDecision>>, LogError> {
        let command = self.command(proposal, context.occurred_at);
        let appended = app
            .doors
            .log
            .append(Append {
                org: proposal.org,
                target: Target::Named(self.stream.clone()),
                key: &format!("decision/{}", proposal.decision_id),
                command: &command,
                context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, context, rules),
                follow: &|_| vec![],
            })
            .await?;
        wake(app, &appended);
        if let Answer::Judged { verdict: Verdict { counted_from: Some(minute), gate_id, .. } } =
            &appended.answer
            && !appended.repeated
        {
            let gate_id = gate_id.clone().unwrap_or_default();
            Uncounted::add(
                app,
                Flood { org: proposal.org.clone(), stream: self.stream.clone(), gate_id, minute: *minute },
            );
        }
        Ok(read(appended.answer, proposal.gate_id, proposal.decision_id))
    }
}

/// Sends on at once whom an append wakes, so that nobody waits until somebody looks into the outbox.
pub(crate) fn wake(app: &App, appended: &Appended) {
    for item in appended.follow_ups.iter().filter(|item| item.kind == OutboxKind::Wake) {
        app.doors.temporal.send_ahead(item);
    }
}

/// What whoever decided is told while Temporal does not answer.
pub(crate) fn away(app: &App) -> Option<String> {
    let address = app.doors.temporal.reachable().err()?;
    Some(format!("the decision counts; it is carried out when {address} answers"))
}

/// The verdict that an answer holds, or why the decision does not count.
fn read(answer: Answer, gate_id: &str, decision_id: Uuid) -> Result<Verdict, Box<RefusedDecision>> {
    let refused = |because: String, gate_status: GateStatus| {
        Box::new(RefusedDecision {
            because,
            gate_id: gate_id.to_owned(),
            gate_status,
            decision_id: Some(decision_id.to_string()),
        })
    };
    match answer {
        Answer::Judged { verdict } if verdict.accepted => Ok(verdict),
        Answer::Judged { verdict } => {
            Err(refused(verdict.refused_because.unwrap_or_else(|| "refused".to_owned()), verdict.status))
        }
        // The incident was over when the decision came: the gate was cancelled instead.
        Answer::Settled { settled } => {
            let reason = settled.reason.unwrap_or_else(|| "nobody needs to decide this any more".to_owned());
            Err(refused(format!("{}: {reason}", settled.status), settled.status))
        }
        other => {
            tracing::error!(?other, "a decision was answered with something else than a verdict");
            Err(refused("malformed: it was not judged".to_owned(), GateStatus::None))
        }
    }
}

/// A minute of one gate in which more decisions were refused than are recorded one by one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flood {
    org: OrgId,
    stream: StreamId,
    /// Empty for decisions on no gate that is known.
    gate_id: String,
    minute: Timestamp,
}

/// Refusals that are to be put on record as a number, once their minute is over. A process that is killed before loses
/// that number, and nothing else.
#[derive(Default)]
pub(crate) struct Uncounted(Mutex<BTreeMap<Flood, u32>>);

impl Uncounted {
    fn add(app: &App, flood: Flood) {
        let mut floods = app.uncounted.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = floods.entry(flood.clone()).or_default();
        *number += 1;
        if *number > 1 {
            return;
        }
        let left = (flood.minute + MINUTE).duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        let app = app.clone();
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            app.uncounted.record(&app.doors.log, &*app.doors.rules, &flood).await;
        });
    }

    /// Puts the number of a minute on record, however long the store is away.
    async fn record(&self, log: &SharedLog, rules: &dyn RulesSource, flood: &Flood) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(flood);
        let Some(not_recorded) = counted else { return };
        let command =
            Command::CountRefusals { gate_id: flood.gate_id.clone(), minute: flood.minute, not_recorded };
        let key = format!("refused/{}/{}", flood.gate_id, Uuid::now_v7());
        let context = Context {
            actor: "harmony".to_owned(),
            authority: Authority::None,
            cause: Cause { request_id: key.clone(), ..Cause::default() },
            occurred_at: Timestamp::now(),
        };
        let mut pause = Duration::from_secs(1);
        loop {
            let rules = rules.current();
            let appended = log
                .append(Append {
                    org: &flood.org,
                    target: Target::Named(flood.stream.clone()),
                    key: &key,
                    command: &command,
                    context: &context,
                    expected_seq: None,
                    run_id: None,
                    judge: &|head| judge(head, &command, &context, rules.rules()),
                    follow: &|_| vec![],
                })
                .await;
            match appended {
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_mins(1));
                }
                Err(error) => {
                    tracing::error!(%error, not_recorded, "refusals were not counted");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}
