//! Candidates: taken once, changed by one, listed in pages, and made into exactly one incident.

use std::time::Duration;

use harmony_eventlog::{
    AttemptStatus, CandidateChange, CandidateFilter, CandidateStatus, Changed, LogError, OutboxItem,
    OutboxKind, PromotionAttempt, SharedLog, StoredCandidate,
};
use harmony_incidents::{
    IncidentId, OrgId, RuleSet,
    attestation::AttestationKeys,
    log::{Authority, State},
    promotion::{AUTO_ACTOR, Candidate, CandidateId, Outcome, Policies, PromotionPolicy, Reason},
};
use harmony_promotion::{self as promotion, Asker, Ruling};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::stores::{Backend, Rows, stories};
use crate::world::{World, begin, exported, id, named, note, rules, status};

stories! {
    candidate_is_taken_once_with_what_follows_it,
    same_id_with_another_document_names_what_differs,
    of_two_who_change_it_one_is_told_so,
    of_two_promotions_of_one_key_the_second_is_a_duplicate,
    pages_of_candidates_survive_what_comes_meanwhile,
    attempts_are_kept_for_ninety_days,
    organisations_never_see_each_others_candidates,
    history_replayed_in_a_fresh_store_gives_identical_incidents,
    candidates_at_once_make_one_incident,
    duplicate_of_what_is_being_promoted_is_linked_once_the_incident_is_there,
    promotion_that_broke_off_goes_on_with_the_same_incident,
    person_promotes_what_was_deferred_within_their_limit,
    redacted_text_is_in_no_candidate_any_more,
    minor_incident_silences_nothing_more_severe_and_no_other_rule,
    alert_that_returns_after_its_incident_ended_is_a_new_candidate,
    promotion_settles_what_waits_with_it_and_brings_what_was_seen,
    detections_grow_one_candidate_until_there_are_enough,
    attempt_says_what_was_asked_and_what_came_of_it,
}

fn candidate(id: &str, changes: Value) -> Candidate {
    let mut whole = json!({
        "candidateId": id, "policyId": "alerts", "source": "alertmanager", "title": format!("Trouble {id}"),
        "severity": "P3", "serviceName": "checkout", "environment": "production",
    });
    for (name, value) in changes.as_object().unwrap() {
        whole[name] = value.clone();
    }
    Candidate::parse(whole).unwrap()
}

fn received(id: &str, changes: Value) -> StoredCandidate {
    StoredCandidate::new(candidate(id, changes), "operator", begin())
}

fn candidate_id(id: &str) -> CandidateId {
    id.parse().unwrap()
}

fn policies() -> Policies {
    let alerts = "id = \"alerts\"\nversion = 1\nstaleness = \"30m\"\ndedupWindow = \"1h\"\n[eligibility]\nenvironments = [\"production\"]\n";
    let pages =
        "id = \"pages\"\nversion = 1\n[severityOverrides]\nP1 = \"AUTO_ENGINE\"\nP2 = \"AUTO_ENGINE\"\n";
    Policies::new([alerts, pages].map(|text| PromotionPolicy::from_toml(text).unwrap())).unwrap()
}

fn start(id: &str) -> OutboxItem {
    OutboxItem {
        kind: OutboxKind::Start,
        name: format!("candidate.promote-{id}"),
        payload: json!({ "workflowId": format!("candidate.promote-{id}") }),
    }
}

fn keys() -> AttestationKeys {
    AttestationKeys::parse(&"07".repeat(32)).unwrap()
}

fn machine(now: Timestamp) -> Asker<'static> {
    Asker { actor: AUTO_ACTOR, authority: Authority::AutoEngine, justification: "", now }
}

async fn submit(log: &SharedLog, one: &StoredCandidate) -> Result<StoredCandidate, LogError> {
    log.submit_candidate(&OrgId::default(), one, &[start(one.id().as_str())]).await
}

async fn kept(log: &SharedLog, id: &str) -> StoredCandidate {
    log.candidate(&OrgId::default(), &candidate_id(id)).await.unwrap().unwrap()
}

/// As the workflow does it: decide, then make the incident or note the duplicate.
async fn promote(log: &SharedLog, id: &str, asker: Asker<'_>) -> Ruling {
    let org = OrgId::default();
    let rules = RuleSet { promotion: policies().into(), ..rules() };
    let ruling =
        promotion::decide(log.as_ref(), &org, &candidate_id(id), asker, &policies()).await.unwrap().unwrap();
    if let Ruling::Decided(stored) = &ruling {
        if stored.status == CandidateStatus::Promoted {
            promotion::open(log.as_ref(), &keys(), &org, stored, rules.rules()).await.unwrap();
        } else {
            promotion::note(log.as_ref(), &org, stored, rules.rules()).await.unwrap();
        }
    }
    ruling
}

async fn candidate_is_taken_once_with_what_follows_it(on: Backend) {
    let world = World::new(on).await;
    let first = submit(&world.log, &received("a", json!({}))).await.unwrap();
    assert_eq!((first.status, first.version), (CandidateStatus::Received, 1));
    let later =
        StoredCandidate::new(candidate("a", json!({})), "admin", begin() + SignedDuration::from_mins(9));
    assert_eq!(submit(&world.log, &later).await.unwrap(), first, "the first stands");
    assert_eq!(kept(&world.other().await, "a").await, first);
    let claimed = world.log.claim(10, Duration::from_secs(60)).await.unwrap();
    let [pending] = claimed.as_slice() else { panic!("{claimed:?}") };
    assert_eq!((&pending.stream, &pending.item), (&None, &start("a")));
    world.log.done(&pending.id).await.unwrap();
    assert!(world.log.candidate(&OrgId::default(), &candidate_id("b")).await.unwrap().is_none());
}

async fn same_id_with_another_document_names_what_differs(on: Backend) {
    let world = World::new(on).await;
    submit(&world.log, &received("a", json!({}))).await.unwrap();
    let other = received("a", json!({ "title": "Something else", "confidence": 0.5 }));
    let error = submit(&world.log, &other).await.unwrap_err().to_string();
    assert!(error.ends_with("these fields differ: title, confidence"), "{error}");
    assert_eq!(kept(&world.log, "a").await, received("a", json!({})));
    assert_eq!(world.log.claim(10, Duration::from_secs(60)).await.unwrap().len(), 1, "nothing more follows");
}

async fn of_two_who_change_it_one_is_told_so(on: Backend) {
    let world = World::new(on).await;
    let first = submit(&world.log, &received("a", json!({}))).await.unwrap();
    let change = |status| StoredCandidate { status, version: first.version + 1, ..first.clone() };
    let (mine, theirs) = (change(CandidateStatus::Deferred), change(CandidateStatus::Suppressed));
    let org = OrgId::default();
    assert_eq!(world.log.change_candidate(&org, CandidateChange::to(&mine)).await.unwrap(), Changed::Stored);
    let told = world.log.change_candidate(&org, CandidateChange::to(&theirs)).await.unwrap();
    assert_eq!(told, Changed::Stale(Box::new(mine.clone())));
    assert_eq!(kept(&world.log, "a").await, mine);
    let nobody = received("b", json!({}));
    assert!(world.log.change_candidate(&org, CandidateChange::to(&nobody)).await.is_err());
}

async fn of_two_promotions_of_one_key_the_second_is_a_duplicate(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    let mut stored = Vec::new();
    for id in ["a", "b", "c"] {
        let key = if id == "c" { "other" } else { "5xx" };
        stored.push(submit(&world.log, &received(id, json!({ "dedupKey": key }))).await.unwrap());
    }
    let promoted = |one: &StoredCandidate, at| StoredCandidate {
        status: CandidateStatus::Promoted,
        decided_at: Some(at),
        version: one.version + 1,
        ..one.clone()
    };
    let at = begin() + SignedDuration::from_hours(2);
    let ask = async |candidate: StoredCandidate, since| {
        let change = CandidateChange { alone_since: Some(since), ..CandidateChange::to(&candidate) };
        world.log.change_candidate(&org, change).await.unwrap()
    };
    assert_eq!(ask(promoted(&stored[0], begin()), begin()).await, Changed::Stored);
    assert_eq!(ask(promoted(&stored[1], at), begin()).await, Changed::Duplicate(candidate_id("a")));
    assert_eq!(kept(&world.log, "b").await, stored[1], "nothing was written");
    assert_eq!(
        ask(promoted(&stored[2], at), begin()).await,
        Changed::Stored,
        "another key is another trouble"
    );
    let window = begin() + SignedDuration::from_secs(1);
    assert_eq!(ask(promoted(&stored[1], at), window).await, Changed::Stored, "the window has passed");
}

async fn pages_of_candidates_survive_what_comes_meanwhile(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    for (index, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        // Two at the same moment are told apart by their ids.
        let at = begin() + SignedDuration::from_secs(i64::try_from(index / 2).unwrap());
        submit(&world.log, &StoredCandidate::new(candidate(id, json!({})), "operator", at)).await.unwrap();
    }
    let mut filter = CandidateFilter { limit: 2, ..CandidateFilter::default() };
    let mut seen = Vec::new();
    for page in 0..3 {
        let found = world.log.candidates(&org, &filter).await.unwrap();
        filter.after = found.last().map(|last| (last.received_at, last.id().clone()));
        seen.extend(found.iter().map(|one| one.id().to_string()));
        let late = begin() + SignedDuration::from_hours(1);
        let more = StoredCandidate::new(candidate(&format!("late{page}"), json!({})), "operator", late);
        submit(&world.log, &more).await.unwrap();
    }
    assert_eq!(seen, ["e", "d", "c", "b", "a"]);
    let deferred = CandidateFilter {
        statuses: vec![CandidateStatus::Deferred],
        limit: 10,
        ..CandidateFilter::default()
    };
    assert!(world.log.candidates(&org, &deferred).await.unwrap().is_empty());
}

async fn attempts_are_kept_for_ninety_days(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    let attempt = |days: i64| {
        let started_at = begin() + SignedDuration::from_hours(24 * days);
        PromotionAttempt {
            candidate_id: candidate_id("a"),
            attempt_id: format!("day {days}"),
            authority_type: "AUTO_ENGINE".to_owned(),
            authority_id: AUTO_ACTOR.to_owned(),
            policy_id: "alerts".to_owned(),
            policy_version: 1,
            decision: Some(Outcome::Defer),
            decision_id: "00".repeat(32),
            incident_id: Some(id(1)),
            reason: "P1 needs ON_CALL_SRE at least".to_owned(),
            started_at,
            completed_at: started_at + SignedDuration::from_millis(12),
            duration_ms: 12,
            status: AttemptStatus::Success,
            error: None,
        }
    };
    for (day, expected) in [(0, 1), (1, 2), (90, 3), (91, 3), (200, 1)] {
        world.log.log_attempt(&org, &attempt(day)).await.unwrap();
        assert_eq!(world.count(Rows::Attempts).await, expected, "day {day}");
    }
    assert_eq!(world.log.attempts(&org, &candidate_id("a")).await.unwrap().last(), Some(&attempt(200)));
    assert_eq!(world.log.attempts(&org, &candidate_id("b")).await.unwrap(), []);
    // Another organisation's lines are its own.
    world.log.log_attempt(&"acme".parse().unwrap(), &attempt(900)).await.unwrap();
    assert_eq!(world.count(Rows::Attempts).await, 2);
}

async fn organisations_never_see_each_others_candidates(on: Backend) {
    let world = World::new(on).await;
    let acme: OrgId = "acme".parse().unwrap();
    let theirs = received("a", json!({ "dedupKey": "5xx", "title": "Acme" }));
    world.log.submit_candidate(&acme, &theirs, &[start("acme:a")]).await.unwrap();
    let all = CandidateFilter { limit: 10, ..CandidateFilter::default() };
    assert!(world.log.candidate(&OrgId::default(), theirs.id()).await.unwrap().is_none());
    assert!(world.log.candidates(&OrgId::default(), &all).await.unwrap().is_empty());
    let ours = submit(&world.log, &received("a", json!({ "dedupKey": "5xx" }))).await.unwrap();
    assert_eq!(ours.candidate.title, "Trouble a", "the same id in another organisation is another candidate");
    promote(&world.log, "a", machine(begin())).await;
    assert_eq!(world.log.candidate(&acme, theirs.id()).await.unwrap().unwrap(), theirs);
    let promoted = promotion::decide(world.log.as_ref(), &acme, theirs.id(), machine(begin()), &policies())
        .await
        .unwrap();
    let Some(Ruling::Decided(stored)) = promoted else { panic!("not decided") };
    assert_eq!(stored.status, CandidateStatus::Promoted, "their key is not ours");
}

/// What was received on one night, as an installation kept it: a candidate a line, with the moment it came.
const HISTORY: &str = include_str!("fixtures/candidates.jsonl");

async fn replay(log: &SharedLog) -> Vec<String> {
    let mut told = Vec::new();
    for line in HISTORY.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let at: Timestamp = line["receivedAt"].as_str().unwrap().parse().unwrap();
        let candidate = Candidate::parse(line["candidate"].clone()).unwrap();
        let id = candidate.candidate_id.to_string();
        submit(log, &StoredCandidate::new(candidate, "alertmanager", at)).await.unwrap();
        promote(log, &id, machine(at)).await;
        let kept = kept(log, &id).await;
        let incident = kept.incident.as_ref().map_or("-", IncidentId::as_str).to_owned();
        let because = kept.decision.map_or(kept.refused_because, |decision| decision.because);
        told.push(format!("{id:<8} {:<10} {incident:<13} {because}", kept.status.name()));
    }
    told
}

async fn history_replayed_in_a_fresh_store_gives_identical_incidents(on: Backend) {
    let (one, other) = (World::new(on).await, World::new(on).await);
    let told = replay(&one.log).await;
    assert_eq!(replay(&other.log).await, told);
    assert_eq!(one.exported(None).await, other.exported(None).await, "byte for byte");
    assert_eq!(replay(&one.log).await, told, "the same candidates again change nothing");
    assert_eq!(exported(one.log.clone(), None).await, other.exported(None).await);
    one.verified().await;
    insta::allow_duplicates! {
        insta::assert_snapshot!("history", told.join("\n"));
    }
}

async fn candidates_at_once_make_one_incident(on: Backend) {
    let world = World::new(on).await;
    let ids: Vec<String> = (0..12).map(|index| format!("c{index}")).collect();
    for id in &ids {
        submit(&world.log, &received(id, json!({ "dedupKey": "5xx" }))).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for id in ids.clone() {
        let log = world.log.clone();
        tasks.spawn(async move { promote(&log, &id, machine(begin())).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(world.count(Rows::Incidents).await, 1);
    let mut promoted = 0;
    for id in &ids {
        promoted += usize::from(kept(&world.log, id).await.status == CandidateStatus::Promoted);
    }
    assert_eq!(promoted, 1);
    world.verified().await;
}

async fn duplicate_of_what_is_being_promoted_is_linked_once_the_incident_is_there(on: Backend) {
    let world = World::new(on).await;
    let (org, rules, policies) = (OrgId::default(), rules(), policies());
    for id in ["a", "b"] {
        submit(&world.log, &received(id, json!({ "correlationKey": "5xx" }))).await.unwrap();
    }
    let decide = async |id: &str| {
        let id = candidate_id(id);
        let asked =
            promotion::decide(world.log.as_ref(), &org, &id, machine(begin()), &policies).await.unwrap();
        let Some(Ruling::Decided(stored)) = asked else { panic!("not decided") };
        *stored
    };
    let (first, duplicate) = (decide("a").await, decide("b").await);
    assert_eq!((duplicate.status, &duplicate.incident), (CandidateStatus::Suppressed, &None));
    let noted = promotion::note(world.log.as_ref(), &org, &duplicate, rules.rules()).await.unwrap();
    assert_eq!(noted, None, "there is nothing to note it on yet");
    let incident = promotion::open(world.log.as_ref(), &keys(), &org, &first, rules.rules()).await.unwrap();
    assert_eq!(kept(&world.log, "b").await.incident, Some(incident.clone()));
    // The other way round: the incident was made in between.
    let again = promotion::note(world.log.as_ref(), &org, &duplicate, rules.rules()).await.unwrap();
    assert_eq!(again, Some(incident.clone()));
    let state = world.log.state(&org, &incident).await.unwrap().unwrap();
    let about: Vec<&str> = state.candidates.iter().map(|one| one.candidate_id.as_str()).collect();
    assert_eq!(about, ["a", "b"], "each once");
    world.verified().await;
}

async fn promotion_that_broke_off_goes_on_with_the_same_incident(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    submit(&world.log, &received("a", json!({ "correlationKey": "5xx" }))).await.unwrap();
    let (a, policies) = (candidate_id("a"), policies());
    let decide = async |now| {
        let asked = promotion::decide(world.log.as_ref(), &org, &a, machine(now), &policies).await.unwrap();
        let Some(Ruling::Decided(stored)) = asked else { panic!("not decided") };
        *stored
    };
    let first = decide(begin()).await;
    // Decided, and nobody lived to make the incident. The next worker asks an hour later.
    let again = decide(begin() + SignedDuration::from_hours(1)).await;
    assert_eq!(again, first, "what was decided stays decided");
    let rules = rules();
    let open = async |stored: &StoredCandidate| {
        promotion::open(world.log.as_ref(), &keys(), &org, stored, rules.rules()).await.unwrap()
    };
    // Made, and nobody lived to say so: the same call is made again with what was read before.
    let incident = open(&first).await;
    assert_eq!(open(&first).await, incident);
    assert_eq!(open(&kept(&world.log, "a").await).await, incident);
    assert_eq!(world.count(Rows::Incidents).await, 1);
    let state = world.log.state(&org, &incident).await.unwrap().unwrap();
    assert_eq!((state.state(), state.decision_id), (State::Open, first.decision.unwrap().decision_id));
    assert_eq!(state.declared_by, AUTO_ACTOR);
    assert_eq!(state.acknowledged_at_us, 0, "nobody has looked yet");
    let records = world.log.records(&org, &incident, 0, 10).await.unwrap();
    let causes: Vec<_> = records.iter().map(|entry| entry.record.cause.clone().unwrap()).collect();
    assert!(causes.iter().all(|cause| cause.request_id == "a"), "the session is the candidate: {causes:?}");
    let opened = format!("{:?}", records[2].record.payload);
    assert!(opened.contains("Auto-promotion from correlation"), "{opened}");
    world.verified().await;
}

async fn person_promotes_what_was_deferred_within_their_limit(on: Backend) {
    let world = World::new(on).await;
    submit(&world.log, &received("a", json!({ "severity": "P1" }))).await.unwrap();
    let Ruling::Decided(deferred) = promote(&world.log, "a", machine(begin())).await else {
        panic!("refused")
    };
    assert_eq!(deferred.status, CandidateStatus::Deferred);
    assert!(deferred.decision.as_ref().unwrap().lacks_only_authority());
    let person = |actor, authority, justification| Asker {
        actor,
        authority,
        justification,
        now: begin() + SignedDuration::from_hours(3),
    };
    let operator = person("operator", Authority::HumanOperator, "");
    let Ruling::Declined(decision) = promote(&world.log, "a", operator).await else { panic!("not declined") };
    assert_eq!(decision.because, "P1 needs ON_CALL_SRE at least, not HUMAN_OPERATOR");
    assert_eq!(kept(&world.log, "a").await, *deferred, "it stays for somebody who may");
    let override_ = person("operator", Authority::EmergencyOverride, "because");
    assert!(matches!(promote(&world.log, "a", override_).await, Ruling::Refused(_)));
    let Ruling::Decided(promoted) =
        promote(&world.log, "a", person("oncall", Authority::OnCallSre, "")).await
    else {
        panic!("refused")
    };
    assert_eq!((promoted.status, promoted.decided_by.as_str()), (CandidateStatus::Promoted, "oncall"));
    let state = world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap();
    assert_eq!((state.state(), state.declared_by.as_str()), (State::Open, "oncall"));
    assert_ne!(state.acknowledged_at_us, 0, "whoever promotes it has it");
    assert_eq!(world.count(Rows::Attempts).await, 4);
}

async fn redacted_text_is_in_no_candidate_any_more(on: Backend) {
    let world = World::new(on).await;
    let secret = "password swordfish-7731 in the alert";
    submit(&world.log, &received("a", json!({ "summary": secret, "correlationKey": "5xx" }))).await.unwrap();
    let waiting = world.log.claim(1, Duration::from_secs(60)).await.unwrap();
    world.log.done(&waiting[0].id).await.unwrap();
    promote(&world.log, "a", machine(begin())).await;
    let duplicate = received("b", json!({ "summary": format!("again: {secret}"), "correlationKey": "5xx" }));
    submit(&world.log, &duplicate).await.unwrap();
    promote(&world.log, "b", machine(begin())).await;
    world.say(named(1), "n1", note("looked at it")).await.unwrap();
    world.say(named(1), "s1", status(State::Mitigating)).await.unwrap();
    let redact = harmony_incidents::Command::Redact {
        seq: 1,
        field: Some("summary".to_owned()),
        reason: "a password".to_owned(),
    };
    world.say(named(1), "r1", redact).await.unwrap();
    assert_eq!(world.store.holding("swordfish").await, Vec::<String>::new());
    assert_eq!(kept(&world.log, "b").await.candidate.summary.as_deref(), Some("again: [redacted]"));
    // The fingerprint stays: the same candidate is still the same one.
    let again = received("a", json!({ "summary": secret, "correlationKey": "5xx" }));
    assert_eq!(submit(&world.log, &again).await.unwrap().status, CandidateStatus::Promoted);
    world.verified().await;
}

async fn minor_incident_silences_nothing_more_severe_and_no_other_rule(on: Backend) {
    let world = World::new(on).await;
    let of = |id: &str, rule: &str, severity: &str| {
        let changes =
            json!({ "policyId": "pages", "correlationKey": "group", "dedupKey": rule, "severity": severity });
        received(id, changes)
    };
    let mut statuses = Vec::new();
    for (id, rule, severity) in
        [("disk", "disk", "P4"), ("again", "disk", "P4"), ("worse", "disk", "P1"), ("site", "site", "P3")]
    {
        submit(&world.log, &of(id, rule, severity)).await.unwrap();
        promote(&world.log, id, machine(begin())).await;
        let stored = kept(&world.log, id).await;
        statuses.push((stored.status, stored.incident.map(|incident| incident.to_string())));
    }
    let made = |status, number: u64| (status, Some(id(number).to_string()));
    assert_eq!(
        statuses,
        [
            made(CandidateStatus::Promoted, 1),
            made(CandidateStatus::Suppressed, 1),
            made(CandidateStatus::Promoted, 2),
            made(CandidateStatus::Promoted, 3),
        ]
    );
    // Without a key of its own a candidate is about the same as what it is correlated with, unless it is more severe.
    for (id, severity, expected) in
        [("mild", "P4", CandidateStatus::Suppressed), ("P1", "P1", CandidateStatus::Suppressed)]
    {
        let changes = json!({ "policyId": "pages", "correlationKey": "group", "severity": severity });
        submit(&world.log, &received(id, changes)).await.unwrap();
        promote(&world.log, id, machine(begin())).await;
        assert_eq!(kept(&world.log, id).await.status, expected, "{id}");
    }
    world.verified().await;
}

async fn alert_that_returns_after_its_incident_ended_is_a_new_candidate(on: Backend) {
    let world = World::new(on).await;
    let changes = || json!({ "correlationKey": "group", "dedupKey": "disk" });
    submit(&world.log, &received("first", changes())).await.unwrap();
    promote(&world.log, "first", machine(begin())).await;
    world.say(named(1), "cancel", status(State::Cancelled)).await.unwrap();
    let later = begin() + SignedDuration::from_mins(5);
    submit(&world.log, &StoredCandidate::new(candidate("second", changes()), "alertmanager", later))
        .await
        .unwrap();
    promote(&world.log, "second", machine(later)).await;
    let second = kept(&world.log, "second").await;
    assert_eq!((second.status, second.incident), (CandidateStatus::Promoted, Some(id(2))));
}

async fn promotion_settles_what_waits_with_it_and_brings_what_was_seen(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    for (id, rule, severity) in
        [("a", "one", "P1"), ("b", "two", "P1"), ("c", "three", "P2"), ("d", "four", "P1")]
    {
        let group = if id == "d" { "other" } else { "group" };
        let signals =
            json!([{ "signalId": format!("seen-{id}"), "source": "alertmanager", "summary": "Seen" }]);
        let changes =
            json!({ "correlationKey": group, "dedupKey": rule, "severity": severity, "signals": signals });
        submit(&world.log, &received(id, changes)).await.unwrap();
        promote(&world.log, id, machine(begin())).await;
        assert_eq!(kept(&world.log, id).await.status, CandidateStatus::Deferred, "{id}");
    }
    let mut paged = kept(&world.log, "b").await;
    paged.version += 1;
    paged.page_id = "PPAGE".to_owned();
    world.log.change_candidate(&org, CandidateChange::to(&paged)).await.unwrap();
    // Whoever promotes one of them takes the page, and the others with it.
    let person =
        Asker { actor: "commander", authority: Authority::OnCallSre, justification: "", now: begin() };
    promote(&world.log, "a", person).await;
    let mut statuses = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let stored = kept(&world.log, id).await;
        statuses.push((stored.status, stored.incident.is_some()));
    }
    assert_eq!(
        statuses,
        [
            (CandidateStatus::Promoted, true),
            (CandidateStatus::Suppressed, true),
            (CandidateStatus::Suppressed, true),
            (CandidateStatus::Deferred, false),
        ]
    );
    let starts = world.log.claim(20, Duration::from_secs(60)).await.unwrap();
    let initiate = starts.iter().find(|one| one.item.name == "promotion/a").unwrap();
    assert_eq!(initiate.item.payload["input"]["context"]["pagerduty_incident_id"], "PPAGE");
    let state = world.log.state(&org, &id(1)).await.unwrap().unwrap();
    let seen: Vec<&str> = state.signals.iter().map(|signal| signal.signal_id.as_str()).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for id in ["seen-a", "seen-b", "seen-c"] {
        assert!(seen.contains(&id), "{id} in {seen:?}");
    }
    assert_eq!(state.candidates.len(), 3);
    world.verified().await;
}

async fn detections_grow_one_candidate_until_there_are_enough(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    let policy = "id = \"many\"\nversion = 1\n[eligibility]\nminSignals = 3\n";
    let policies = Policies::new([PromotionPolicy::from_toml(policy).unwrap()]).unwrap();
    let detect = async |id: &str, signals: &[&str]| {
        let signals: Vec<Value> =
            signals.iter().map(|one| json!({ "signalId": one, "source": "alertmanager" })).collect();
        let changes = json!({ "policyId": "many", "dedupKey": "rule", "signals": signals });
        let log = world.log.as_ref();
        promotion::take_detections(log, &keys(), &policies, &org, candidate(id, changes), "alertmanager")
            .await
            .unwrap();
    };
    let decide = async || {
        let asker = machine(Timestamp::now());
        promotion::decide(world.log.as_ref(), &org, &candidate_id("a"), asker, &policies)
            .await
            .unwrap()
            .unwrap()
    };
    let all = CandidateFilter { limit: 10, ..CandidateFilter::default() };
    detect("a", &["one"]).await;
    let Ruling::Decided(few) = decide().await else { panic!("not decided") };
    assert_eq!(few.decision.unwrap().reasons, [Reason::Ineligible]);
    detect("b", &["two"]).await;
    assert_eq!(kept(&world.log, "a").await.status, CandidateStatus::Suppressed, "two are not enough");
    // Known ones again, and the third.
    detect("c", &["one", "two", "three"]).await;
    detect("c", &["three"]).await;
    let found = world.log.candidates(&org, &all).await.unwrap();
    let [grown] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((grown.status, grown.candidate.signals.len()), (CandidateStatus::Received, 3));
    let mut starts = world.log.claim(10, Duration::from_secs(60)).await.unwrap();
    starts.retain(|pending| pending.item.kind == OutboxKind::Start);
    assert_eq!(starts.len(), 2, "it is decided about again: {starts:?}");
    let Ruling::Decided(enough) = decide().await else { panic!("not decided") };
    assert_eq!(enough.status, CandidateStatus::Promoted);
}

async fn attempt_says_what_was_asked_and_what_came_of_it(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    submit(&world.log, &received("a", json!({ "severity": "P1" }))).await.unwrap();
    promote(&world.log, "a", machine(begin())).await;
    let person =
        Asker { actor: "commander", authority: Authority::OnCallSre, justification: "", now: begin() };
    promote(&world.log, "a", person).await;
    submit(&world.log, &received("b", json!({ "policyId": "nobody" }))).await.unwrap();
    promote(&world.log, "b", machine(begin())).await;
    let a = promotion::attempts(world.log.as_ref(), &org, &candidate_id("a")).await.unwrap().unwrap();
    let [deferred, promoted] = a.as_slice() else { panic!("{a:?}") };
    assert_eq!((deferred.decision, &deferred.incident_id), (Some(Outcome::Defer), &None));
    assert!(deferred.reason.contains("P1 needs ON_CALL_SRE"), "{deferred:?}");
    assert_eq!((promoted.decision, &promoted.incident_id), (Some(Outcome::Promote), &Some(id(1))));
    assert_eq!(
        (promoted.authority_type.as_str(), promoted.authority_id.as_str()),
        ("ON_CALL_SRE", "commander")
    );
    assert_eq!((promoted.policy_id.as_str(), promoted.policy_version), ("alerts", 1));
    assert!(promoted.started_at <= promoted.completed_at && promoted.attempt_id != deferred.attempt_id);
    let b = promotion::attempts(world.log.as_ref(), &org, &candidate_id("b")).await.unwrap().unwrap();
    assert_eq!((b[0].status, b[0].decision), (AttemptStatus::Error, None));
    assert!(b[0].error.as_deref().unwrap().contains("there is no policy nobody"), "{b:?}");
    assert!(promotion::attempts(world.log.as_ref(), &org, &candidate_id("c")).await.unwrap().is_none());
}
