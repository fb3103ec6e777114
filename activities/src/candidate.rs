//! Candidates: deciding about one, making its incident, and paging somebody who may promote it.

use std::time::Duration;

use harmony_blueprints::contracts::{
    CandidateRef, EvaluateReply, EvaluateRequest, Evaluated, StepReply, capability,
};
use harmony_capabilities::{
    error::{Attempt, CallError, Fate},
    pagerduty::IncidentDraft,
};
use harmony_eventlog::{Begin, CandidateStatus, LogError, StoredCandidate};
use harmony_incidents::{
    IncidentId, OrgId, RuleSet,
    attestation::StartClaim,
    log::Authority,
    policy::Manual,
    promotion::{AUTO_ACTOR, CandidateId, Outcome, parse_workflow_id},
};
use harmony_promotion::{self as promotion, Asker, Page, Ruling};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{
    begin::milliseconds,
    effects::{Hold, busy, made, with_heartbeat},
    failure,
    flags::capability_flag,
    services::{PagingService, Services},
};

impl Services {
    /// Asks the engine and keeps what it says; a duplicate goes on record with the incident that it is one of.
    pub(crate) async fn evaluate(&self, request: EvaluateRequest) -> Result<EvaluateReply, ActivityError> {
        let (org, candidate_id) = identity(&request)?;
        let rules = self.rules.current();
        let reply = |evaluated| EvaluateReply {
            candidate: CandidateRef { org: org.clone(), candidate_id: candidate_id.clone() },
            evaluated,
            patience_ms: milliseconds(rules.policy.step_patience),
        };
        let asked = self.asker(&request, &org, &rules)?;
        let Some((actor, authority)) = asked else {
            let reason = "workflows started straight at Temporal are not accepted here".to_owned();
            return Ok(reply(Evaluated::Refused { reason, page: false }));
        };
        let asker = Asker { actor: &actor, authority, justification: "", now: request.occurred_at };
        let log = self.log.as_ref();
        let ruling = promotion::decide(log, &org, &candidate_id, asker, &rules.promotion)
            .await
            .map_err(|error| failure::log(&error))?;
        let Some(ruling) = ruling else {
            return Err(failure::last(
                "InvalidInput",
                format!("input.candidateId: there is no candidate {candidate_id}; submit it first"),
            ));
        };
        let stored = match ruling {
            Ruling::Decided(stored) => stored,
            Ruling::Declined(decision) => {
                return Ok(reply(Evaluated::Refused { reason: decision.because, page: false }));
            }
            Ruling::Refused(refusal) => {
                let kept = self.kept(&org, &candidate_id).await?;
                // The page of one that was dismissed ends. Whoever set a policy up believes that somebody hears of it.
                let page = kept.status == CandidateStatus::Dismissed || kept.candidate.policy_id.is_some();
                return Ok(reply(Evaluated::Refused { reason: refusal.to_string(), page }));
            }
        };
        let Some(decision) = stored.decision.clone() else {
            return Err(failure::last(
                "Log",
                format!("candidate {candidate_id} was decided about by nothing"),
            ));
        };
        let decided = Box::new(decision);
        Ok(reply(match decided.outcome {
            Outcome::Promote => Evaluated::Promoted(decided),
            Outcome::Defer => Evaluated::Deferred { page: decided.lacks_only_authority(), decided },
            Outcome::Suppress => {
                let noted = promotion::note(log, &org, &stored, rules.rules())
                    .await
                    .map_err(|error| failure::log(&error))?;
                Evaluated::Suppressed { decided, incident: noted }
            }
        }))
    }

    /// Who asks, with what authority; none where a start past our doors is not accepted.
    fn asker(
        &self,
        request: &EvaluateRequest,
        org: &OrgId,
        rules: &RuleSet,
    ) -> Result<Option<(String, Authority)>, ActivityError> {
        let initiator = request.initiator_id.as_str();
        if let Some(start) = &request.start {
            let claim = StartClaim {
                org: org.as_str(),
                workflow_id: &request.workflow_id,
                principal_id: &start.principal_id,
                requested_at: &start.requested_at,
                input_digest: &request.input_digest,
            };
            if start.principal_id != initiator || !self.attestation.start_holds(&claim, &start.attestation) {
                let problem = "input.start.attestation: it does not hold for this input";
                return Err(failure::last("InvalidInput", problem));
            }
        } else if rules.policy.manual_starts == Manual::Refuse {
            return Ok(None);
        }
        // Nobody in person: the least authority, which anybody who may start workflows may use.
        if initiator.is_empty() || initiator == AUTO_ACTOR {
            return Ok(Some((AUTO_ACTOR.to_owned(), Authority::AutoEngine)));
        }
        let principal = rules.directory.get(initiator).ok_or_else(|| {
            failure::last(
                "InvalidInput",
                format!("input.context.initiator_id: nobody of the id {initiator:?} is in the directory"),
            )
        })?;
        Ok(Some((principal.id.clone(), rules.access.authority(principal, org, None))))
    }

    /// Makes the incident, and writes the start of initiate with it.
    pub(crate) async fn open_candidate(&self, candidate: CandidateRef) -> Result<IncidentId, ActivityError> {
        let CandidateRef { org, candidate_id } = &candidate;
        let stored = self.kept(org, candidate_id).await?;
        let rules = self.rules.current();
        promotion::open(self.log.as_ref(), &self.attestation, org, &stored, rules.rules())
            .await
            .map_err(|error| failure::log(&error))
    }

    /// Pages who is on call. The incident at PagerDuty that a candidate came from is paging already: it gets a note. The
    /// page of one that was dismissed ends.
    pub(crate) async fn page_candidate(
        &self,
        ctx: &ActivityContext,
        candidate: CandidateRef,
    ) -> Result<StepReply, ActivityError> {
        let CandidateRef { org, candidate_id } = &candidate;
        let stored = self.kept(org, candidate_id).await?;
        if stored.status == CandidateStatus::Dismissed {
            return self.end_page_of(ctx, org, &stored).await;
        }
        if !stored.page_id.is_empty() {
            return Ok(made(&stored.page_id, &[], ""));
        }
        if !matches!(stored.status, CandidateStatus::Deferred | CandidateStatus::Refused) {
            return Ok(skipped("it does not wait any more"));
        }
        if !stored.decision.as_ref().is_some_and(|decision| decision.lacks_only_authority()) {
            return Ok(skipped("it lacks more than the authority to be promoted"));
        }
        if !self.flags.value(&capability_flag(capability::PAGERDUTY), true).await.on {
            return Ok(skipped("PagerDuty is switched off"));
        }
        let Some(paging) = &self.paging else { return Ok(skipped("PagerDuty is not configured")) };
        let rules = self.rules.current();
        let page = promotion::page(self.log.as_ref(), org, &stored, &rules.promotion)
            .await
            .map_err(|error| failure::log(&error))?;
        let key = match page {
            Page::Key(key) => key,
            // Whoever was paged about the others sees this one too.
            Page::Joined(page_id) => {
                self.remember_page(&candidate, &page_id).await?;
                return Ok(made(&page_id, &[], ""));
            }
        };
        let hold = Hold::new(ctx, key, Duration::ZERO);
        let begun = self.begin_page(&candidate, &hold).await?;
        let again = begun == Begin::Again;
        let paged = match begun {
            Begin::Done(result) => page_result(&hold, result)?,
            Begin::Busy(left) => return Err(busy(left)),
            Begin::Fresh | Begin::Again => {
                let outcome = with_heartbeat(ctx, self.send_page(paging, org, &stored, key)).await;
                self.end_page(&candidate, &hold, again, outcome).await?
            }
        };
        self.remember_page(&candidate, &paged.external_ref).await?;
        Ok(paged)
    }

    /// Resolves the page that asked for somebody, unless others still wait with it.
    async fn end_page_of(
        &self,
        ctx: &ActivityContext,
        org: &OrgId,
        dismissed: &StoredCandidate,
    ) -> Result<StepReply, ActivityError> {
        if dismissed.page_id.is_empty() {
            return Ok(skipped("nobody was paged about it"));
        }
        if dismissed.candidate.pagerduty_incident_id.is_some() {
            return Ok(skipped("its incident at PagerDuty is its sender's to resolve"));
        }
        let waited_with = promotion::is_waited_with(self.log.as_ref(), org, dismissed);
        if waited_with.await.map_err(|error| failure::log(&error))? {
            return Ok(skipped("others wait with its page"));
        }
        if !self.flags.value(&capability_flag(capability::PAGERDUTY), true).await.on {
            return Ok(skipped("PagerDuty is switched off"));
        }
        let Some(paging) = &self.paging else { return Ok(skipped("PagerDuty is not configured")) };
        // Resolved twice it is resolved once.
        let resolved =
            with_heartbeat(ctx, async { paging.pagerduty.resolve(&dismissed.page_id).await }).await;
        let resolved = resolved.map_err(|error| failure::call(&error))?;
        Ok(made(&resolved.id, &[], &resolved.html_url))
    }

    async fn remember_page(&self, candidate: &CandidateRef, page_id: &str) -> Result<(), ActivityError> {
        let CandidateRef { org, candidate_id } = candidate;
        let remember = |kept: &mut StoredCandidate| page_id.clone_into(&mut kept.page_id);
        promotion::remember(self.log.as_ref(), org, candidate_id, remember)
            .await
            .map_err(|error| failure::log(&error))
    }

    /// The ledger's row, by which PagerDuty's webhook about this page is known as ours.
    async fn begin_page(&self, candidate: &CandidateRef, hold: &Hold) -> Result<Begin, ActivityError> {
        let subject = (&candidate.candidate_id).into();
        self.log
            .begin_effect(&candidate.org, &subject, &hold.key, "page", &hold.owner, Duration::ZERO)
            .await
            .map_err(|error| failure::log(&error))
    }

    async fn send_page(
        &self,
        paging: &PagingService,
        org: &OrgId,
        stored: &StoredCandidate,
        key: Uuid,
    ) -> Result<StepReply, CallError> {
        let text = self.call_for_help(org, stored);
        if let Some(id) = &stored.candidate.pagerduty_incident_id {
            // Notes have no key at PagerDuty, so it is looked for first, whichever attempt this is.
            paging.pagerduty.add_note(Attempt::Again, &key, id, &text).await?;
            return Ok(made(id, &[], ""));
        }
        let severity = stored.decision.as_ref().map(|decision| decision.severity.as_str_name());
        let title = &stored.candidate.title;
        let draft = IncidentDraft {
            key,
            title: format!("{} candidate waits: {title}", severity.unwrap_or(&stored.candidate.severity)),
            service_id: paging.service_id.clone(),
            high_urgency: true,
            details: text,
            escalation_policy_id: None,
        };
        let incident = paging.pagerduty.ensure_incident(&draft).await?;
        Ok(made(&incident.id, &[], &incident.html_url))
    }

    /// Writes down how a try at a page ended.
    async fn end_page(
        &self,
        candidate: &CandidateRef,
        hold: &Hold,
        again: bool,
        outcome: Result<StepReply, CallError>,
    ) -> Result<StepReply, ActivityError> {
        let org = &candidate.org;
        let ended = match &outcome {
            Ok(reply) => {
                let result = serde_json::to_value(reply).unwrap_or_default();
                self.log.complete_effect(org, &hold.key, &result).await
            }
            // What surely did not happen leaves no row.
            Err(error) if !again && error.fate() != Fate::Unknown => {
                self.log.forget_effect(org, &hold.key, &hold.owner).await
            }
            Err(_) => Ok(()),
        };
        ended.map_err(|error| failure::log(&error))?;
        outcome.map_err(|error| failure::call(&error))
    }

    /// What whoever is paged reads.
    fn call_for_help(&self, org: &OrgId, stored: &StoredCandidate) -> String {
        let because = stored.decision.as_ref().map(|decision| decision.because.as_str());
        let because = because.unwrap_or(&stored.refused_because);
        let id = stored.id();
        let link = match &self.console {
            Some(console) => {
                let origin = console.as_str().trim_end_matches('/');
                format!("\n{origin}/orgs/{org}/candidates/{id}")
            }
            None => String::new(),
        };
        format!(
            "Candidate {id} of {} is no incident yet: {because}.\nPromote it: harmony candidate promote {id} --org {org}{link}",
            stored.candidate.source
        )
    }

    async fn kept(&self, org: &OrgId, id: &CandidateId) -> Result<StoredCandidate, ActivityError> {
        let found = self.log.candidate(org, id).await.map_err(|error| failure::log(&error))?;
        found.ok_or_else(|| failure::log(&LogError::Corrupt { place: format!("candidate {id}") }))
    }
}

fn skipped(reason: &str) -> StepReply {
    StepReply { skipped: Some(reason.to_owned()), ..StepReply::default() }
}

/// What came of a page, from its row in the ledger.
fn page_result(hold: &Hold, result: serde_json::Value) -> Result<StepReply, ActivityError> {
    serde_json::from_value(result)
        .map_err(|error| failure::last("Ledger", format!("effect {} is unreadable: {error}", hold.key)))
}

fn identity(request: &EvaluateRequest) -> Result<(OrgId, CandidateId), ActivityError> {
    let (org, candidate) = parse_workflow_id(&request.workflow_id).ok_or_else(|| {
        let shown: String = request.workflow_id.chars().take(200).collect();
        let expected = "candidate.promote-<candidate>, such as candidate.promote-evt-1";
        failure::last("InvalidInput", format!("workflow id {shown:?} is not valid: {expected}"))
    })?;
    if request.candidate_id != candidate.as_str() {
        let shown: String = request.candidate_id.chars().take(80).collect();
        return Err(failure::last(
            "InvalidInput",
            format!("input.candidateId: {shown:?} is not the candidate of workflow {}", request.workflow_id),
        ));
    }
    Ok((org, candidate))
}
