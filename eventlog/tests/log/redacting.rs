//! Taking a text out: it is gone from every file, on record, once, and everything still verifies.

use std::collections::BTreeMap;

use harmony_eventlog::{LogError, OutboxItem, OutboxKind, export, export::Expected, verify::Redacted};
use harmony_incidents::{
    Answer, Command, OrgId, Refusal, WorkflowId, WorkflowType,
    command::Attested,
    judge::payload,
    log::{
        IncidentUpdated, PostMortemRendered, ReviewSectionWritten, RunbookCellFinished, Severity, State,
        StepFailed, Text, payload::Kind,
    },
};
use serde_json::json;

use crate::stores::{Backend, Rows, stories};
use crate::world::{World, ask, begin, decision, declaration, gate_request, id, named, new, note, status};

stories! {
    redacted_text_is_in_no_file_any_more,
    long_text_and_text_of_the_past_are_gone_after_closing_too,
    copies_in_answers_results_and_carried_out_items_are_gone_too,
    redacting_again_changes_nothing,
    one_field_goes_and_the_others_stay,
    what_is_not_there_is_not_redacted,
    every_kind_of_text_goes_with_its_copies,
}

const SECRET: &str = "Ms \"Miller\" of Köln, card 4711 0815";

fn redact(seq: u64, field: Option<&str>) -> Command {
    Command::Redact { seq, field: field.map(str::to_owned), reason: "a customer's name".to_owned() }
}

async fn assert_gone(world: &World) {
    let escaped = json!(SECRET).to_string();
    for text in [SECRET, escaped.trim_matches('"'), "4711 0815"] {
        assert_eq!(world.store.holding(text).await, [""; 0], "{text}");
    }
}

async fn redacted_text_is_in_no_file_any_more(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "secret", note(SECRET)).await.unwrap();
    for index in 0..300 {
        world.say(named(1), &format!("more{index}"), note(&format!("note {index}"))).await.unwrap();
    }
    assert!(!world.store.holding(SECRET).await.is_empty());
    let before = world.exported(None).await;

    let appended = world.say(named(1), "r", redact(5, Some("note"))).await.unwrap();
    assert_eq!((appended.answer, appended.records.len()), (Answer::Recorded, 1));
    assert_gone(&world).await;
    world.verified().await;
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    let expected = [Redacted { incident: id(1).to_string(), seq: 5, field: "note".to_owned() }];
    assert_eq!(report.redacted, expected);

    let after = world.exported(None).await;
    assert!(!after.contains("4711 0815"));
    assert_eq!(export::verify(after.as_bytes(), Expected::default()).unwrap().report.redacted, expected);
    let old = export::verify(before.as_bytes(), Expected::default()).unwrap().report;
    assert!(old.verified && old.redacted.is_empty());
    assert!(before.contains("4711 0815"));

    drop(world.other().await);
    assert_gone(&world).await;
}

async fn long_text_and_text_of_the_past_are_gone_after_closing_too(on: Backend) {
    let world = World::told(on).await;
    let long = format!("{SECRET} {}", "x".repeat(60_000));
    world.say(named(1), "secret", note(&long)).await.unwrap();
    world.say(named(2), "n4", note("after it")).await.unwrap();
    world.say(named(1), "r", redact(5, None)).await.unwrap();
    let other = world.other().await;
    assert!(other.verify(&OrgId::default()).await.unwrap().verified);
    drop(other);
    assert_gone(&world).await;
    assert_eq!(world.store.holding(&"x".repeat(64)).await, [""; 0]);
}

async fn copies_in_answers_results_and_carried_out_items_are_gone_too(on: Backend) {
    let world = World::told(on).await;
    let Command::OpenGate { mut request } = gate_request(1) else { panic!() };
    request.reason = SECRET.to_owned();
    let payload = json!({ "input": { "context": { "incidentTitle": SECRET } } });
    let item = OutboxItem { kind: OutboxKind::Start, name: "a".to_owned(), payload };
    let mut asked = ask(named(1), "gate", Command::OpenGate { request });
    asked.follow = vec![item];
    crate::world::say(&world.log, asked).await.unwrap();
    let (org, lease) = (OrgId::default(), std::time::Duration::from_secs(60));
    world.log.begin_effect(&org, &(&id(1)).into(), "e", "post", "me", lease).await.unwrap();
    world.log.complete_effect(&org, "e", &json!({ "said": format!("Why: {SECRET}") })).await.unwrap();

    let waiting = world.say(named(1), "r", redact(5, Some("reason"))).await.unwrap_err();
    assert!(matches!(waiting, LogError::Refused(Refusal::Illegal { .. })), "{waiting}");
    let claimed = world.log.claim(10, lease).await.unwrap();
    world.log.later(&claimed[0].id, lease, &format!("refused: {SECRET}")).await.unwrap();
    world.log.done(&claimed[0].id).await.unwrap();
    world.say(named(1), "r", redact(5, Some("reason"))).await.unwrap();
    assert_gone(&world).await;

    let answer = world.log.answer(&org, "gate").await.unwrap().unwrap();
    let Answer::GateOpened { gate } = answer else { panic!("{answer:?}") };
    assert_eq!((gate.request_reason.as_str(), gate.action.as_str()), ("[redacted]", "Run rollback"));
    let at = begin();
    let input = decision(&world.gate(1).await, "d", Attested::Yes, at);
    let decided = world.say(named(1), "decide", Command::Decide { input: Box::new(input) }).await.unwrap();
    assert!(matches!(decided.answer, Answer::Judged { .. }));
    world.verified().await;
}

async fn redacting_again_changes_nothing(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "r1", redact(3, Some("note"))).await.unwrap();
    let repeated = world.say(named(1), "r1", redact(3, Some("note"))).await.unwrap();
    assert!(repeated.repeated);
    for (key, command) in [("r2", redact(3, Some("note"))), ("r3", redact(3, None))] {
        let again = world.say(named(1), key, command).await.unwrap();
        assert_eq!((again.answer, again.records), (Answer::Unchanged, vec![]));
    }
    assert_eq!(world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap().seq, 5);
    world.say(named(1), "r4", redact(5, Some("reason"))).await.unwrap_err();
    let other = "it says whose".to_owned();
    let command = Command::Redact { seq: 5, field: Some("reason".to_owned()), reason: other };
    world.say(named(1), "r4", command).await.unwrap();
    world.verified().await;
}

async fn one_field_goes_and_the_others_stay(on: Backend) {
    let world = World::told(on).await;
    let closing = Command::ChangeStatus {
        to: State::Cancelled,
        reason: "nothing broke".to_owned(),
        justification: "seen by everybody on the call".to_owned(),
        resolution: None,
    };
    world.say(named(2), "c", closing).await.unwrap();
    world.say(named(2), "r", redact(3, Some("reason"))).await.unwrap();
    let row = world.log.rows(&OrgId::default(), &id(2), 2, 1).await.unwrap().remove(0);
    let texts: BTreeMap<&str, &str> =
        row.texts.iter().map(|(name, (_, _, text))| (name.as_str(), text.as_str())).collect();
    assert_eq!(texts, BTreeMap::from([("justification", "seen by everybody on the call")]));
    world.say(named(2), "r2", redact(3, None)).await.unwrap();
    assert!(world.log.rows(&OrgId::default(), &id(2), 2, 1).await.unwrap()[0].texts.is_empty());
    world.verified().await;
}

async fn what_is_not_there_is_not_redacted(on: Backend) {
    let world = World::told(on).await;
    let repeating = Command::Redact { seq: 3, field: None, reason: "it said: Disk full".replace('D', "d") };
    let reasonless = Command::Redact { seq: 3, field: None, reason: " ".to_owned() };
    for (command, why) in [
        (redact(0, None), "there is no record 0; this incident has 1 to 4"),
        (redact(5, None), "there is no record 5; this incident has 1 to 4"),
        (redact(3, Some("title")), "record 3 has no text \"title\"; its texts are note"),
        (redact(3, Some("")), "the field has no name; leave it out for every text of the record"),
        (reasonless, "a redaction needs a reason"),
        (repeating, "the reason repeats the text, and it stays on record: say why in other words"),
    ] {
        let error = world.say(named(1), "r", command).await.unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    let unknown = world.say(named(9), "r", redact(1, None)).await.unwrap_err();
    assert!(matches!(unknown, LogError::UnknownIncident(_)));
    world.say(new(), "d9", status(State::Open)).await.unwrap_err();
    assert_eq!(world.count(Rows::Texts).await, 6);
}

/// What people write, and what cells print.
const TOLD: &str =
    "Ms \"Miller\" of Köln, card 4711 0815\nasked twice whether her order was lost | and wrote again";

fn record(kind: Kind) -> Command {
    Command::Record { payload: payload(kind) }
}

fn started(input: &str) -> Command {
    Command::StartBlueprint {
        workflow_id: WorkflowId::new(WorkflowType::Remediate, &OrgId::default(), &id(1)),
        starter: "oncall".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: input.to_owned(),
    }
}

/// Every way in which a text comes into the log, by the field that it stands in then.
fn ways() -> Vec<(&'static str, Command)> {
    let text = || Some(Text::plain(TOLD));
    let line = Some(Text::plain(TOLD.replace('\n', " ")));
    let cell = |stdout: Option<Text>, stderr: Option<Text>| {
        record(Kind::RunbookCellFinished(RunbookCellFinished {
            stdout,
            stderr,
            ..RunbookCellFinished::default()
        }))
    };
    let section = ReviewSectionWritten { section: "impact".to_owned(), text: text() };
    let reason = Command::ChangeStatus {
        to: State::Cancelled,
        reason: TOLD.to_owned(),
        justification: String::new(),
        resolution: None,
    };
    vec![
        (
            "title",
            record(Kind::IncidentUpdated(IncidentUpdated { title: line, ..IncidentUpdated::default() })),
        ),
        (
            "message",
            record(Kind::IncidentUpdated(IncidentUpdated { message: text(), ..IncidentUpdated::default() })),
        ),
        ("note", note(TOLD)),
        ("text", record(Kind::ReviewSectionWritten(section))),
        ("reason", reason),
        ("input", started(&json!({ "env": { "CUSTOMER": TOLD } }).to_string())),
        ("stdout", cell(text(), None)),
        ("stderr", cell(None, text())),
    ]
}

/// Whatever Harmony makes of a text afterwards: quoted, in JSON, in JSON within JSON, in a table of Markdown.
async fn copied(world: &World) {
    let page = format!(
        "| 02:00 | {} | 7 |\n\n> {}",
        TOLD.replace('|', "\\|").replace('\n', " "),
        TOLD.replace('\n', "\n> ")
    );
    let rendered = PostMortemRendered {
        attempt: 1,
        page: Some(Text::plain(json!({ "markdown": page, "title": "INC" }).to_string())),
        ..PostMortemRendered::default()
    };
    let request =
        json!({ "activity": "channel.post", "args": { "text": TOLD.replace('"', "&quot;") } }).to_string();
    let failed = StepFailed {
        request: Some(Text::plain(request)),
        step: "update".to_owned(),
        ..StepFailed::default()
    };
    let quoted = record(Kind::RunbookCellFinished(RunbookCellFinished {
        stdout: Some(Text::plain(format!("+ echo {TOLD}"))),
        ..RunbookCellFinished::default()
    }));
    let Command::OpenGate { mut request } = gate_request(1) else { panic!() };
    request.reason = format!("asked to remediate: {TOLD}");
    request.covers = json!({ "env": { "A": json!({ "said": TOLD }).to_string() } }).to_string();
    for (key, command) in [
        ("rendered", record(Kind::PostMortemRendered(rendered))),
        ("failed", record(Kind::StepFailed(failed))),
        ("quoted", quoted),
        ("gate", Command::OpenGate { request }),
    ] {
        world.say(named(1), key, command).await.unwrap();
    }
    let (org, lease) = (OrgId::default(), std::time::Duration::from_secs(60));
    world.log.begin_effect(&org, &(&id(1)).into(), "e", "post", "me", lease).await.unwrap();
    world.log.complete_effect(&org, "e", &json!({ "said": TOLD })).await.unwrap();
}

async fn every_kind_of_text_goes_with_its_copies(on: Backend) {
    let parts = ["Miller", "card 4711", "her order was lost"];
    for (field, command) in ways() {
        let world = World::told(on).await;
        let (is_last, seq) =
            (matches!(command, Command::ChangeStatus { .. }), if field == "reason" { 9 } else { 5 });
        if is_last {
            copied(&world).await;
        }
        world.say(named(1), "told", command).await.unwrap();
        if !is_last {
            copied(&world).await;
        }
        let org = OrgId::default();
        let before = world.log.records(&org, &id(1), 0, 100).await.unwrap().len();
        let found = world.exported(None).await;
        assert!(parts.iter().all(|part| found.contains(part)), "{field}");

        let seq = world
            .log
            .rows(&org, &id(1), seq - 1, 100)
            .await
            .unwrap()
            .into_iter()
            .find(|row| row.texts.contains_key(field))
            .unwrap_or_else(|| panic!("{field} stands nowhere"))
            .seq;
        let redacted = world.say(named(1), "r", redact(seq, Some(field))).await.unwrap();
        assert_eq!(redacted.answer, Answer::Recorded);
        for part in parts {
            assert_eq!(world.store.holding(part).await, [""; 0], "{field}: {part}");
        }
        let file = world.exported(None).await;
        let state = serde_json::to_string(&world.log.state(&org, &id(1)).await.unwrap()).unwrap();
        let records = world.log.records(&org, &id(1), 0, 100).await.unwrap();
        let shown = format!("{:?}", records.iter().map(|one| &one.record.payload).collect::<Vec<_>>());
        for part in parts {
            assert!(![&file, &state, &shown].iter().any(|text| text.contains(part)), "{field}: {part}");
        }
        assert!(shown.contains("disk still full"), "what holds no copy stays");
        world.verified().await;
        let report = export::verify(file.as_bytes(), Expected::default()).unwrap().report;
        assert!(report.verified, "{field}: {:?}", report.findings);
        assert_eq!(report.redacted.len(), redacted.records.len(), "each has a record of its own");
        assert_eq!(records.len(), before + redacted.records.len());
        assert!(report.redacted.len() >= 6, "{field}: {:?}", report.redacted);
    }
    let world = World::new(on).await;
    world.say(new(), "d", declaration(&TOLD.replace('\n', " "), Severity::P1)).await.unwrap();
    world.say(named(1), "r", redact(1, None)).await.unwrap();
    assert_eq!(world.store.holding("Miller").await, [""; 0]);
}
