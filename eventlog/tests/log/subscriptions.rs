//! Subscriptions: one for each pair, as many as an organisation may have, gone when they are taken back. And what they
//! live on: one outbox item for each change that matters, written with it.

use std::time::Duration;

use harmony_eventlog::{Onward, OutboxKind, SharedLog, Subscribed};
use harmony_incidents::{
    Command, OrgId,
    judge::payload,
    log::{IncidentCreated, IncidentUpdated, Severity, State, Text, payload::Kind},
    stakeholders::{DeliveryProblem, MOST_SUBSCRIPTIONS, Recipient, Subscription, SubscriptionId, Topic},
};
use jiff::SignedDuration;

use crate::stores::{Backend, stories};
use crate::world::{World, ask, begin, declaration, exported, id, named, new, note, say, status};

stories! {
    subscription_is_kept_once_for_its_pair_until_it_is_taken_back,
    organisations_never_see_each_others_subscriptions,
    there_are_never_more_subscriptions_than_an_organisation_may_have,
    last_delivery_is_noted_at_the_subscription_that_it_was_for,
    change_that_matters_is_in_the_outbox_once_and_only_where_somebody_listens,
    drill_puts_nothing_into_the_outbox,
    subscription_is_in_no_export,
}

fn subscription(subject: &str, to: &str) -> Subscription {
    Subscription::new(
        subject.parse::<Topic>().unwrap(),
        to.parse::<Recipient>().unwrap(),
        "operator",
        begin(),
    )
}

async fn add(log: &SharedLog, one: &Subscription) -> Subscribed {
    log.subscribe(&OrgId::default(), one).await.unwrap()
}

async fn subscription_is_kept_once_for_its_pair_until_it_is_taken_back(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    let one = subscription("severity:P1", "email:jo@example.com");
    assert_eq!(add(&world.log, &one).await, Subscribed::Stored(one.clone()));
    let later = Subscription { by: "viewer".to_owned(), ..one.clone() };
    assert_eq!(
        add(&world.other().await, &later).await,
        Subscribed::Known(one.clone()),
        "the first one stands"
    );
    let other = subscription("all", "slack:C0123ABCD");
    add(&world.log, &other).await;
    let all = world.other().await.subscriptions(&org).await.unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.contains(&one) && all.contains(&other) && all.is_sorted_by_key(|one| one.id.clone()));
    assert!(!world.log.unsubscribe(&org, &SubscriptionId::named("sub-of-nobody")).await.unwrap());
    assert!(world.log.unsubscribe(&org, &one.id).await.unwrap());
    assert!(!world.log.unsubscribe(&org, &one.id).await.unwrap(), "once");
    assert_eq!(world.log.subscriptions(&org).await.unwrap(), [other]);
    assert_eq!(add(&world.log, &later).await, Subscribed::Stored(later), "and may come back");
}

async fn organisations_never_see_each_others_subscriptions(on: Backend) {
    let world = World::new(on).await;
    let (org, acme): (OrgId, OrgId) = (OrgId::default(), "acme".parse().unwrap());
    let one = subscription("all", "person:viewer");
    add(&world.log, &one).await;
    assert!(world.log.subscriptions(&acme).await.unwrap().is_empty());
    assert!(!world.log.unsubscribe(&acme, &one.id).await.unwrap());
    assert_eq!(world.log.subscribe(&acme, &one).await.unwrap(), Subscribed::Stored(one.clone()));
    assert!(world.log.unsubscribe(&acme, &one.id).await.unwrap());
    assert_eq!(world.log.subscriptions(&org).await.unwrap(), [one]);
}

async fn there_are_never_more_subscriptions_than_an_organisation_may_have(on: Backend) {
    let world = World::new(on).await;
    for number in 0..MOST_SUBSCRIPTIONS - 2 {
        let one = subscription("all", &format!("email:jo{number}@example.com"));
        assert!(matches!(add(&world.log, &one).await, Subscribed::Stored(_)));
    }
    // Two are left, and six want them at once.
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let log = world.other().await;
        tasks.spawn(async move { add(&log, &subscription("all", &format!("person:p{number}"))).await });
    }
    let stored =
        tasks.join_all().await.into_iter().filter(|one| matches!(one, Subscribed::Stored(_))).count();
    assert_eq!(stored, 2);
    assert_eq!(add(&world.log, &subscription("all", "person:late")).await, Subscribed::Full);
    let known = subscription("all", "email:jo0@example.com");
    assert_eq!(
        add(&world.log, &known).await,
        Subscribed::Known(known.clone()),
        "one that is there is no more"
    );
    assert_eq!(world.log.subscriptions(&OrgId::default()).await.unwrap().len(), MOST_SUBSCRIPTIONS);
}

async fn last_delivery_is_noted_at_the_subscription_that_it_was_for(on: Backend) {
    let world = World::new(on).await;
    let org = OrgId::default();
    let one = subscription("severity:P1", "email:jo@example.com");
    add(&world.log, &one).await;
    let problem = DeliveryProblem { at: begin(), incident: id(1), reason: "550 no such user".to_owned() };
    world.log.mark_subscription(&org, &one, Some(&problem)).await.unwrap();
    let marked = world.other().await.subscriptions(&org).await.unwrap().remove(0);
    assert_eq!(marked, Subscription { problem: Some(problem.clone()), ..one.clone() });
    // A delivery to one that was taken back and made again says nothing about the new one.
    let earlier = Subscription { at: begin() - SignedDuration::from_secs(1), ..one.clone() };
    world.log.mark_subscription(&org, &earlier, None).await.unwrap();
    assert_eq!(world.log.subscriptions(&org).await.unwrap()[0].problem, Some(problem.clone()));
    world.log.mark_subscription(&org, &marked, None).await.unwrap();
    assert_eq!(world.log.subscriptions(&org).await.unwrap(), std::slice::from_ref(&one));
    world.log.unsubscribe(&org, &one.id).await.unwrap();
    world.log.mark_subscription(&org, &one, Some(&problem)).await.unwrap();
    assert!(world.log.subscriptions(&org).await.unwrap().is_empty());
}

async fn change_that_matters_is_in_the_outbox_once_and_only_where_somebody_listens(on: Backend) {
    let world = World::new(on).await;
    say(&world.log, ask(new(), "d0", declaration("Nobody listens", Severity::P3))).await.unwrap();
    let listening = world.store.open_for(Onward { sinks: Vec::new(), notices: true }).await;
    let update = IncidentUpdated { message: Some(Text::plain("we look")), ..IncidentUpdated::default() };
    let update = Command::Record { payload: payload(Kind::IncidentUpdated(update)) };
    for (target, key, command) in [
        (new(), "d1", declaration("Checkout is down", Severity::P1)),
        (new(), "d1", declaration("Checkout is down", Severity::P1)),
        (named(2), "s1", status(State::Open)),
        (named(2), "n1", note("disk full")),
        (named(2), "u1", update),
        (named(2), "s2", status(State::Resolved)),
    ] {
        say(&listening, ask(target, key, command)).await.unwrap();
    }
    let claimed = world.log.claim(20, Duration::from_secs(60)).await.unwrap();
    let notices: Vec<(&str, u64)> = claimed
        .iter()
        .filter(|one| one.item.kind == OutboxKind::Notice)
        .map(|one| (one.item.name.as_str(), one.item.payload["seq"].as_u64().unwrap()))
        .collect();
    let records = world.log.records(&OrgId::default(), &id(2).into(), 0, 50).await.unwrap();
    let resolved = records
        .iter()
        .find(|entry| {
            let kind = entry.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
            matches!(kind, Some(Kind::IncidentStatusChanged(one)) if one.to() == State::Resolved)
        })
        .unwrap();
    let last = resolved.record.seq;
    let expected = [
        ("INC-2026-0002/1".to_owned(), 1),
        ("INC-2026-0002/4".to_owned(), 4),
        (format!("INC-2026-0002/{last}"), last),
    ];
    let expected: Vec<(&str, u64)> = expected.iter().map(|(name, seq)| (name.as_str(), *seq)).collect();
    assert_eq!(notices, expected);
}

async fn drill_puts_nothing_into_the_outbox(on: Backend) {
    let world = World::new(on).await;
    let listening = world.store.open_for(Onward { sinks: Vec::new(), notices: true }).await;
    let incident = IncidentCreated {
        title: Some(Text::plain("Practice")),
        severity: Severity::P1.into(),
        drill: true,
        ..IncidentCreated::default()
    };
    say(&listening, ask(new(), "d1", Command::Declare { incident })).await.unwrap();
    say(&listening, ask(named(1), "s1", status(State::Cancelled))).await.unwrap();
    assert!(world.log.claim(20, Duration::from_secs(60)).await.unwrap().is_empty());
}

async fn subscription_is_in_no_export(on: Backend) {
    let world = World::told(on).await;
    add(&world.log, &subscription("all", "email:jo.doe@example.com")).await;
    assert!(!exported(world.other().await, None).await.contains("jo.doe"));
    world.verified().await;
}
