//! Two organisations with incidents of the same names: whatever one asks or does, the other's rows are neither seen nor
//! touched. Every query and command of the trait is here.

use std::time::Duration;

use harmony_eventlog::{
    Begin, CandidateChange, CandidateFilter, Changed, Checkpoint, Export, Filter, LogError, OutboxItem,
    OutboxKind, StoredCandidate, Target, history::state_at, replay::replay,
};
use harmony_incidents::{
    Command, OrgId,
    log::{Severity, State},
    promotion::Candidate,
};
use serde_json::json;

use crate::{
    stores::{Backend, stories},
    world::{Ask, World, ask, begin, declaration, id, named, new, note, say, status},
};

stories! {
    whatever_one_organisation_asks_it_gets_its_own,
    whatever_one_organisation_does_the_others_rows_stay,
}

const LEASE: Duration = Duration::from_secs(60);

fn acme() -> OrgId {
    "acme".parse().unwrap()
}

fn nobody() -> OrgId {
    "nobody".parse().unwrap()
}

fn candidate(summary: &str) -> StoredCandidate {
    let candidate: Candidate = serde_json::from_value(json!({
        "candidateId": "c-1", "policyId": "alerts", "source": "prometheus", "title": "5xx", "severity": "high",
        "summary": summary, "correlationKey": "5xx",
    }))
    .unwrap();
    StoredCandidate::new(candidate, "operator", begin())
}

async fn say_as(world: &World, org: &OrgId, target: Target, key: &str, command: Command) {
    say(&world.log, Ask { org: org.clone(), ..ask(target, key, command) }).await.unwrap();
}

/// The story of [`World::told`] beside one of acme's under the same ids and keys.
async fn two(on: Backend) -> World {
    let world = World::told(on).await;
    say_as(&world, &acme(), new(), "d1", declaration("Acme's own", Severity::P4)).await;
    say_as(&world, &acme(), named(1), "n1", note("acme's note")).await;
    world
}

async fn whatever_one_organisation_asks_it_gets_its_own(on: Backend) {
    let world = two(on).await;
    let (log, acme, nobody) = (&world.log, acme(), nobody());
    let all = Filter { limit: 100, ..Filter::default() };

    assert_eq!(log.streams(&acme).await.unwrap(), [id(1).into()]);
    assert_eq!(log.streams(&nobody).await.unwrap(), []);
    assert_eq!(log.list(&acme, &all).await.unwrap().len(), 1);
    assert!(log.list(&nobody, &all).await.unwrap().is_empty());
    for search in ["checkout", "search", "slow"] {
        let search = Filter { search: vec![search.to_owned()], ..all.clone() };
        assert!(log.list(&acme, &search).await.unwrap().is_empty());
    }
    let state = log.state(&acme, &id(1)).await.unwrap().unwrap();
    assert_eq!((state.title.unwrap().shown().to_owned(), state.seq), ("Acme's own".to_owned(), 2));
    assert_eq!(log.state(&acme, &id(2)).await.unwrap(), None);
    assert_eq!(log.records(&acme, &id(1), 0, 100).await.unwrap().len(), 2);
    assert!(log.records(&acme, &id(2), 0, 100).await.unwrap().is_empty());
    assert_eq!(log.rows(&acme, &id(1), 0, 100).await.unwrap().len(), 2);
    assert!(log.rows(&acme, &id(2), 0, 100).await.unwrap().is_empty());
    assert_eq!(log.chain_head(&acme, &id(1)).await.unwrap().unwrap().seq, 2);
    assert!(log.chain_head(&acme, &id(2)).await.unwrap().is_none());
    assert!(log.answer(&acme, "d1").await.unwrap().is_some());
    assert!(log.answer(&acme, "d2").await.unwrap().is_none());
    assert!(state_at(log.as_ref(), &acme, &id(1), 3).await.unwrap().is_none());
    for (org, records) in [(&acme, 2), (&OrgId::default(), 6), (&nobody, 0)] {
        let report = log.verify(org).await.unwrap();
        assert!(report.verified && report.records == records, "{report:?}");
        assert_eq!(replay(log.as_ref(), org).await.unwrap().records, records);
        let checkpoint = Checkpoint::of(log.as_ref(), org).await.unwrap();
        assert_eq!(checkpoint.heads().iter().map(|head| head.seq).sum::<u64>(), records);
    }
    let mut export = Export::begin(log.clone(), acme.clone(), None).await.unwrap();
    let mut file = String::new();
    while let Some(lines) = export.next().await.unwrap() {
        file.push_str(&lines);
    }
    assert_eq!(file.lines().count(), 3);
    assert!(!file.contains("Checkout") && !file.contains("disk full"));

    log.submit_candidate(&acme, &candidate("acme's"), &[]).await.unwrap();
    let own = OrgId::default();
    assert!(log.candidate(&own, candidate("").id()).await.unwrap().is_none());
    assert!(
        log.candidates(&own, &CandidateFilter { limit: 9, ..Default::default() }).await.unwrap().is_empty()
    );
    // Another document under the same id is another organisation's business.
    log.submit_candidate(&own, &candidate("ours"), &[]).await.unwrap();
    let theirs = log.candidate(&acme, candidate("").id()).await.unwrap().unwrap();
    assert_eq!(theirs.candidate.summary.as_deref(), Some("acme's"));
}

async fn whatever_one_organisation_does_the_others_rows_stay(on: Backend) {
    let world = two(on).await;
    let (log, acme, own) = (&world.log, acme(), OrgId::default());
    let before = world.exported(None).await;

    let refused = say(log, Ask { org: acme.clone(), ..ask(named(2), "x", note("x")) }).await.unwrap_err();
    assert!(matches!(refused, LogError::UnknownIncident(_)), "{refused:?}");
    let redact = |seq| Command::Redact { seq, field: None, reason: "a name".to_owned() };
    say_as(&world, &acme, named(1), "r", redact(2)).await;
    say_as(&world, &acme, named(1), "s", status(State::Cancelled)).await;
    assert_eq!(world.exported(None).await, before);

    let item = |name: &str| OutboxItem {
        kind: OutboxKind::Start,
        name: name.to_owned(),
        payload: json!({ "of": name }),
    };
    log.enqueue(&acme, Some(&id(1)), &item("one")).await.unwrap();
    log.enqueue(&own, Some(&id(1)), &item("one")).await.unwrap();
    let claimed = log.claim(10, LEASE).await.unwrap();
    let mut orgs: Vec<&str> = claimed.iter().map(|pending| pending.org.as_str()).collect();
    orgs.sort_unstable();
    assert_eq!(orgs, ["acme", "default"]);

    let effect = async |org: &OrgId, owner| {
        log.begin_effect(org, &(&id(1)).into(), "channel", "post", owner, LEASE).await.unwrap()
    };
    assert_eq!(effect(&own, "worker-1").await, Begin::Fresh);
    assert_eq!(effect(&acme, "worker-2").await, Begin::Fresh);
    log.release_effect(&acme, "channel", "worker-1").await.unwrap();
    log.forget_effect(&acme, "channel", "worker-1").await.unwrap();
    log.complete_effect(&acme, "channel", &json!("theirs")).await.unwrap();
    assert!(matches!(effect(&own, "worker-3").await, Begin::Busy(_)), "it is still worker-1's");
    assert_eq!(effect(&acme, "worker-3").await, Begin::Done(json!("theirs")));

    log.submit_candidate(&own, &candidate("ours"), &[]).await.unwrap();
    log.submit_candidate(&acme, &candidate("theirs"), &[]).await.unwrap();
    let mut promoted = candidate("theirs");
    promoted.version = 2;
    promoted.status = harmony_eventlog::CandidateStatus::Promoted;
    promoted.decided_at = Some(begin());
    let change = CandidateChange { alone_since: Some(begin()), ..CandidateChange::to(&promoted) };
    assert_eq!(log.change_candidate(&acme, change).await.unwrap(), Changed::Stored);
    assert_eq!(log.candidate(&own, promoted.id()).await.unwrap().unwrap(), candidate("ours"));
    let mut ours = candidate("ours");
    ours.version = 2;
    let change = CandidateChange { alone_since: Some(begin()), ..CandidateChange::to(&ours) };
    assert_eq!(
        log.change_candidate(&own, change).await.unwrap(),
        Changed::Stored,
        "theirs is no duplicate of it"
    );
}
