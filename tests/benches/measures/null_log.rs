//! A log that judges and answers as the real ones do and writes nothing anywhere: no hash, no encoding, no store. It is
//! what the blueprints would cost if nothing were recorded.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use harmony_eventlog::{
    Append, Appended, Begin, CandidateChange, CandidateFilter, Candidates, Changed, Done, EffectSubject,
    Entry, Fanout, Filter, Job, KnownEffect, Ledger, Log, LogError, Outbox, OutboxId, OutboxItem, Outputs,
    Pending, PromotionAttempt, Report, SinkName, StoredCandidate, StreamHead, StreamState, Subscribed,
    Subscriptions, Target,
    catalog::{AuditFilter, CatalogFilter, ReleaseFilter, RunFilter, StoredRelease, StoredRun},
    fanout::{Lane, LaneBacklog},
    verify::Row,
};
use harmony_incidents::{
    Answer, Head, IncidentId, OrgId, StreamId, fold,
    log::{IncidentState, Record},
    promotion::CandidateId,
    stakeholders::{DeliveryProblem, Subscription, SubscriptionId},
};
use serde_json::Value;

/// See the module.
#[derive(Default)]
pub(crate) struct NullLog(Mutex<Known>);

#[derive(Default)]
struct Known {
    states: HashMap<String, IncidentState>,
    answers: HashMap<String, Answer>,
}

impl NullLog {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Log for NullLog {
    async fn append(&self, append: Append<'_>) -> Result<Appended, LogError> {
        let mut known = self.known();
        let incident = match &append.target {
            Target::Named(stream) => stream.clone(),
            Target::New { year } => IncidentId::new(*year, known.states.len() as u64 + 1).into(),
        };
        let answered = |answer, state: Option<IncidentState>| Appended {
            stream: incident.clone(),
            answer,
            records: vec![],
            repeated: state.is_none(),
            same_run: true,
            state,
            follow_ups: vec![],
        };
        if let Some(answer) = known.answers.get(append.key) {
            return Ok(answered(answer.clone(), None));
        }
        let mut state = known.states.remove(incident.as_str()).unwrap_or_default();
        let judged = (append.judge)(Head { state: &state });
        if let Ok(judged) = &judged {
            for payload in &judged.payloads {
                let record = Record {
                    org: append.org.to_string(),
                    incident: incident.to_string(),
                    seq: state.seq + 1,
                    occurred_at_us: append.context.occurred_at.as_microsecond(),
                    actor: append.context.actor.clone(),
                    authority: append.context.authority.into(),
                    cause: Some(append.context.cause.clone()),
                    payload: Some(payload.clone()),
                    ..Record::default()
                };
                state = fold::fold(state, &record);
            }
        }
        known.states.insert(incident.to_string(), state.clone());
        let judged = judged?;
        known.answers.insert(append.key.to_owned(), judged.answer.clone());
        Ok(answered(judged.answer, Some(state)))
    }

    async fn state(&self, _: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        Ok(self.known().states.get(incident.as_str()).cloned())
    }

    async fn carry_out(&self, _: Job<'_>) -> Result<Done, LogError> {
        Err(LogError::ReadOnly)
    }

    async fn catalog_state(&self, _: &OrgId, _: &StreamId) -> Result<Option<StreamState>, LogError> {
        Ok(None)
    }

    async fn catalog(&self, _: &OrgId, _: &CatalogFilter) -> Result<Vec<StreamState>, LogError> {
        Ok(vec![])
    }

    async fn releases(&self, _: &OrgId, _: &ReleaseFilter) -> Result<Vec<StoredRelease>, LogError> {
        Ok(vec![])
    }

    async fn runs(&self, _: &OrgId, _: &RunFilter) -> Result<Vec<StoredRun>, LogError> {
        Ok(vec![])
    }

    async fn audit(&self, _: &OrgId, _: &AuditFilter) -> Result<Vec<Record>, LogError> {
        Ok(vec![])
    }

    async fn records(&self, _: &OrgId, _: &StreamId, _: u64, _: u32) -> Result<Vec<Entry>, LogError> {
        Ok(vec![])
    }

    async fn streams(&self, _: &OrgId) -> Result<Vec<StreamId>, LogError> {
        Ok(vec![])
    }

    async fn rows(&self, _: &OrgId, _: &StreamId, _: u64, _: u32) -> Result<Vec<Row>, LogError> {
        Ok(vec![])
    }

    async fn chain_head(&self, _: &OrgId, _: &StreamId) -> Result<Option<StreamHead>, LogError> {
        Ok(None)
    }

    async fn list(&self, _: &OrgId, _: &Filter) -> Result<Vec<IncidentState>, LogError> {
        Ok(vec![])
    }

    async fn verify(&self, _: &OrgId) -> Result<Report, LogError> {
        Err(LogError::ReadOnly)
    }

    async fn answer(&self, _: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        Ok(self.known().answers.get(key).cloned())
    }

    async fn ping(&self) -> Result<(), LogError> {
        Ok(())
    }
}

#[async_trait]
impl Outbox for NullLog {
    async fn enqueue(&self, _: &OrgId, _: Option<&StreamId>, _: &OutboxItem) -> Result<(), LogError> {
        Err(LogError::ReadOnly)
    }

    async fn claim(&self, _: u32, _: Duration) -> Result<Vec<Pending>, LogError> {
        Ok(vec![])
    }

    async fn done(&self, _: &OutboxId) -> Result<(), LogError> {
        Ok(())
    }

    async fn later(&self, _: &OutboxId, _: Duration, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        Ok((0, Duration::ZERO))
    }
}

#[async_trait]
impl Fanout for NullLog {
    async fn claim_lanes(&self, _: &SinkName, _: u32, _: Duration) -> Result<Vec<Lane>, LogError> {
        Ok(vec![])
    }

    async fn settle_lane(&self, _: &Lane, _: u64, _: Option<(Duration, &str)>) -> Result<(), LogError> {
        Ok(())
    }

    async fn lane_backlog(&self, _: &SinkName) -> Result<LaneBacklog, LogError> {
        Err(LogError::ReadOnly)
    }
}

#[async_trait]
impl Ledger for NullLog {
    async fn begin_effect(
        &self,
        _: &OrgId,
        _: &EffectSubject,
        _: &str,
        _: &str,
        _: &str,
        _: Duration,
    ) -> Result<Begin, LogError> {
        Ok(Begin::Fresh)
    }

    async fn known_effect(&self, _: &OrgId, _: &str) -> Result<Option<KnownEffect>, LogError> {
        Ok(None)
    }

    async fn complete_effect(&self, _: &OrgId, _: &str, _: &Value) -> Result<(), LogError> {
        Ok(())
    }

    async fn forget_effect(&self, _: &OrgId, _: &str, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    async fn release_effect(&self, _: &OrgId, _: &str, _: &str) -> Result<(), LogError> {
        Ok(())
    }
}

#[async_trait]
impl Candidates for NullLog {
    async fn submit_candidate(
        &self,
        _: &OrgId,
        _: &StoredCandidate,
        _: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        Err(LogError::ReadOnly)
    }

    async fn candidate(&self, _: &OrgId, _: &CandidateId) -> Result<Option<StoredCandidate>, LogError> {
        Ok(None)
    }

    async fn candidates(&self, _: &OrgId, _: &CandidateFilter) -> Result<Vec<StoredCandidate>, LogError> {
        Ok(vec![])
    }

    async fn change_candidate(&self, _: &OrgId, _: CandidateChange<'_>) -> Result<Changed, LogError> {
        Err(LogError::ReadOnly)
    }

    async fn log_attempt(&self, _: &OrgId, _: &PromotionAttempt) -> Result<(), LogError> {
        Ok(())
    }

    async fn attempts(&self, _: &OrgId, _: &CandidateId) -> Result<Vec<PromotionAttempt>, LogError> {
        Ok(vec![])
    }
}

#[async_trait]
impl Subscriptions for NullLog {
    async fn subscribe(&self, _: &OrgId, _: &Subscription) -> Result<Subscribed, LogError> {
        Err(LogError::ReadOnly)
    }

    async fn subscriptions(&self, _: &OrgId) -> Result<Vec<Subscription>, LogError> {
        Ok(vec![])
    }

    async fn unsubscribe(&self, _: &OrgId, _: &SubscriptionId) -> Result<bool, LogError> {
        Ok(false)
    }

    async fn mark_subscription(
        &self,
        _: &OrgId,
        _: &Subscription,
        _: Option<&DeliveryProblem>,
    ) -> Result<(), LogError> {
        Ok(())
    }
}

#[async_trait]
impl Outputs for NullLog {}
