//! A release that comes to its end is a CDEvent beside its record: held to CDEvents' own schemas, once for each end, and
//! the same in every repetition.

use harmony_catalog::{
    Command, Facts, NewRelease,
    entity::{Environment, Service},
    inbound::{Reading, ReportKind, cdevents},
    judge_environment, judge_service,
    words::Source,
};
use harmony_eventlog::{CatalogAppend, StreamState};
use harmony_incidents::{
    Context, OrgId, Refusal, StreamId,
    log::{Authority, Cause, ReleaseStatus},
};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use crate::{
    receiver::Receiver,
    world::{SECRET, World, webhook},
};

macro_rules! schema {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            "../../../catalog/src/inbound/fixtures/cdevents/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

/// CDEvents' schema of this type of event.
fn validator(event_type: &str) -> Validator {
    let mut registry = Registry::new();
    for (name, schema) in [
        ("embeddedlinksarray", schema!("links/embeddedlinksarray")),
        ("embeddedlinkend", schema!("links/embeddedlinkend")),
        ("embeddedlinkpath", schema!("links/embeddedlinkpath")),
        ("embeddedlinkrelation", schema!("links/embeddedlinkrelation")),
        ("domainid", schema!("links/domainid")),
    ] {
        for base in ["https://cdevents.dev/0.6.0-draft/schema", "https://cdevents.dev/0.5.0/schema"] {
            registry = registry.add(format!("{base}/links/{name}"), schema.clone()).unwrap();
        }
    }
    let registry = registry.prepare().unwrap();
    let schema = match event_type {
        "dev.cdevents.service.deployed.0.3.0" => schema!("servicedeployed"),
        "dev.cdevents.service.upgraded.0.3.0" => schema!("serviceupgraded"),
        "dev.cdevents.service.rolledback.0.3.0" => schema!("servicerolledback"),
        "dev.cdevents.pipelinerun.finished.0.3.0" => schema!("pipelinerunfinished"),
        other => panic!("no schema of {other} is kept"),
    };
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .with_registry(&registry)
        .build(&schema)
        .unwrap()
}

async fn ask(world: &World, stream: &str, key: &str, command: Command) {
    let context = Context {
        actor: "deployer".to_owned(),
        authority: Authority::HumanOperator,
        cause: Cause::default(),
        occurred_at: "2026-11-29T10:00:00Z".parse().unwrap(),
    };
    let judge = |state: &StreamState, facts: &Facts| match state {
        StreamState::Service(state) => judge_service(state, &command, &context, facts),
        StreamState::Environment(state) => judge_environment(state, &command, &context),
        StreamState::Incident(_) => Err(Refusal::Invalid { explanation: "an incident".to_owned() }),
    };
    let stream: StreamId = stream.parse().unwrap();
    world
        .log
        .append_catalog(CatalogAppend {
            org: &OrgId::default(),
            stream: &stream,
            key,
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow: Vec::new(),
        })
        .await
        .unwrap();
}

fn release(id: &str, sha: &str, rolls_back: Option<&str>, at: &str) -> Command {
    Command::CreateRelease {
        release: Box::new(NewRelease {
            id: id.parse().unwrap(),
            env: "env-prod".parse().unwrap(),
            sha: sha.to_owned(),
            version: String::new(),
            promoted_from: None,
            rolls_back: rolls_back.map(|id| id.parse().unwrap()),
            source: Source::Api,
            url: String::new(),
            incident: None,
            status: ReleaseStatus::Active,
            at: Some(at.parse().unwrap()),
        }),
    }
}

/// A service with a release, a second one, one that fails, and a rollback of the second.
async fn told(world: &World) {
    let environment: Environment =
        serde_json::from_value(json!({ "id": "env-prod", "name": "prod", "region": "eu-1", "cluster": "one",
            "policyRefs": [] }))
        .unwrap();
    let command = Command::WriteEnvironment { environment: Box::new(environment), adapter: None };
    ask(world, "env/env-prod", "env", command).await;
    let service: Service = serde_json::from_value(json!({
        "id": "svc-shop", "name": "shop", "repo": "github.com/acme/shop",
        "adapters": { "deployments": ["external"] }, "environments": [{ "id": "env-prod", "name": "prod" }],
    }))
    .unwrap();
    ask(world, "svc/svc-shop", "svc", Command::WriteService { service: Box::new(service) }).await;
    ask(world, "svc/svc-shop", "1", release("rel-1", "aaaaaaa", None, "2026-11-29T09:00:00Z")).await;
    ask(world, "svc/svc-shop", "2", release("rel-2", "bbbbbbb", None, "2026-11-29T09:10:00Z")).await;
    let Command::CreateRelease { release: mut third } =
        release("rel-3", "ccccccc", None, "2026-11-29T09:20:00Z")
    else {
        unreachable!()
    };
    third.status = ReleaseStatus::Promoting;
    ask(world, "svc/svc-shop", "3", Command::CreateRelease { release: third }).await;
    let failed = Command::ChangeRelease {
        release: "rel-3".parse().unwrap(),
        to: ReleaseStatus::Failed,
        reason: "ProgressDeadlineExceeded".to_owned(),
        at: Some("2026-11-29T09:21:00Z".parse().unwrap()),
        run_id: None,
    };
    ask(world, "svc/svc-shop", "4", failed).await;
    ask(world, "svc/svc-shop", "5", release("rel-4", "aaaaaaa", Some("rel-2"), "2026-11-29T09:30:00Z")).await;
}

fn is_cdevent(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|one| one.starts_with("dev.cdevents."))
}

#[tokio::test]
async fn what_became_of_a_release_is_a_cdevent_beside_its_record() {
    let receiver = Receiver::start(SECRET).await;
    let world = World::new(&["delivery"]).await;
    told(&world).await;
    let _carrier = world.carry(vec![webhook("delivery", receiver.address, &[SECRET])]);
    world.settled("delivery").await;
    let taken = receiver.taken();
    let told: Vec<&Value> = taken.iter().filter(|event| is_cdevent(event)).collect();
    let seen: Vec<(&str, &str, &str)> = told
        .iter()
        .map(|event| {
            let text = |value: &'static str| event.pointer(value).and_then(Value::as_str).unwrap();
            (text("/type"), text("/data/customData/releaseId"), text("/time"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("dev.cdevents.service.deployed.0.3.0", "rel-1", "2026-11-29T09:00:00Z"),
            ("dev.cdevents.service.upgraded.0.3.0", "rel-2", "2026-11-29T09:10:00Z"),
            ("dev.cdevents.pipelinerun.finished.0.3.0", "rel-3", "2026-11-29T09:21:00Z"),
            ("dev.cdevents.service.rolledback.0.3.0", "rel-4", "2026-11-29T09:30:00Z"),
        ]
    );
    for event in &told {
        let event_type = event["type"].as_str().unwrap();
        let problems: Vec<String> =
            validator(event_type).iter_errors(&event["data"]).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{event_type}: {problems:?}\n{event:#}");
        assert_eq!(
            (&event["id"], &event["source"]),
            (&event["data"]["context"]["id"], &event["data"]["context"]["source"])
        );
        // Whoever receives it reads what happened.
        let read = cdevents::read(cdevents::Envelope::Structured, event.to_string().as_bytes()).unwrap();
        if let Reading::Reports(reports) = read {
            let expected =
                if event_type.contains("rolledback") { ReportKind::RollBack } else { ReportKind::Deploy };
            assert_eq!((reports[0].kind, reports[0].service.name.as_str()), (expected, "svc-shop"));
        }
        // The record of the same number came right before it.
        let place = taken.iter().position(|one| one == *event).unwrap();
        assert_eq!(taken[place - 1]["sequence"], event["sequence"]);
        assert_eq!(taken[place - 1]["recordhash"], event["recordhash"]);
    }
    assert_eq!(told[2]["data"]["subject"]["content"]["errors"], "ProgressDeadlineExceeded");
}

#[tokio::test]
async fn a_cdevent_that_is_not_taken_is_sent_again_with_its_record_and_the_same_id() {
    let receiver = Receiver::start(SECRET).await;
    let world = World::new(&["delivery"]).await;
    told(&world).await;
    // The records' subject is the stream `svc/svc-shop`.
    receiver.close_to(&["svc-shop"]);
    let _carrier = world.carry(vec![webhook("delivery", receiver.address, &[SECRET])]);
    receiver.until(|_| receiver.tries().iter().any(|(event, _)| is_cdevent(event))).await;
    let last = |taken: &[Value]| {
        taken
            .iter()
            .filter_map(|event| event["data"]["payload"]["releaseId"].as_str())
            .next_back()
            .map(str::to_owned)
    };
    assert_eq!(last(&receiver.taken()).as_deref(), Some("rel-1"), "nothing overtakes it");
    receiver.close_to(&[]);
    world.settled("delivery").await;
    let taken = receiver.taken();
    let ids = |events: &[Value]| {
        let mut ids: Vec<String> =
            events.iter().filter(|event| is_cdevent(event)).map(|event| event["id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&taken).len(), 4, "{taken:#?}");
    let tried: Vec<Value> = receiver.tries().into_iter().map(|(event, _)| event).collect();
    assert_eq!(ids(&tried), ids(&taken), "a repetition has the id of the first");
    let records = taken.iter().filter(|event| event["data"]["payload"]["releaseId"] == "rel-1").count();
    assert!(records >= 2, "its record goes out with it once more");
}
