//! What the audit trail says of records.

use harmony_catalog::audit;
use harmony_incidents::log::{
    ApprovalDecided, Authority, IncidentCreated, IncidentNoteAdded, Payload, Record, ReleaseCreated,
    ReleaseStatusChanged, Severity, Text, payload::Kind,
};
use harmony_protos::{every_kind, kind_name};
use serde_json::{Value, json};

use crate::world::{World, told};

fn shown(record: &Record) -> Value {
    serde_json::to_value(audit::event(record).unwrap()).unwrap()
}

fn of_an_incident(kind: Kind) -> Record {
    Record {
        org: "default".to_owned(),
        incident: "INC-2026-0001".to_owned(),
        seq: 7,
        occurred_at_us: 1_767_268_800_000_000,
        actor: "bob@blackroad.io".to_owned(),
        authority: Authority::OnCallSre.into(),
        payload: Some(Payload { kind: Some(kind) }),
        ..Record::default()
    }
}

#[test]
fn a_release_is_told_as_the_contracts_example_is() {
    let mut world = World::demo();
    world.demo_asks(&told("api", "rel-123", "env-prod", "9f3b7de", "Draft")).unwrap();
    assert_eq!(
        shown(&world.records["svc/svc-demo"][1]),
        json!({
            "ts": "2026-01-01T12:00:00Z", "actor": "alice@blackroad.io", "action": "deploy.create",
            "subjectType": "Release", "subjectId": "rel-123",
            "metadata": {
                "serviceId": "svc-demo", "envId": "env-prod", "sha": "9f3b7de", "status": "Draft", "source": "api"
            },
            "stream": "svc/svc-demo", "seq": 2
        })
    );
    assert_eq!(shown(&world.records["svc/svc-demo"][0])["action"], "service.write");
    assert_eq!(shown(&world.records["env/env-prod"][0])["subjectId"], "env-prod");
}

#[test]
fn an_incident_and_its_gates_are_told_without_a_word_of_what_people_wrote() {
    let secret = || Some(Text::plain("hunter2"));
    let created = of_an_incident(Kind::IncidentCreated(IncidentCreated {
        title: secret(),
        summary: secret(),
        severity: Severity::P1.into(),
        ..IncidentCreated::default()
    }));
    let mut decided = of_an_incident(Kind::ApprovalDecided(ApprovalDecided {
        gate_id: "incident.remediate-INC-2026-0001#1/approval".to_owned(),
        level: 1,
        approved: true,
        acted_as: "sre-oncall".to_owned(),
        attested: true,
        break_glass: true,
        reason: secret(),
        justification: secret(),
        ..ApprovalDecided::default()
    }));
    decided.authority = Authority::EmergencyOverride.into();
    let noted = of_an_incident(Kind::IncidentNoteAdded(IncidentNoteAdded { note: secret() }));
    assert_eq!(
        shown(&created),
        json!({
            "ts": "2026-01-01T12:00:00Z", "actor": "bob@blackroad.io", "action": "incident.declare",
            "subjectType": "Incident", "subjectId": "INC-2026-0001", "metadata": { "severity": "P1" },
            "stream": "INC-2026-0001", "seq": 7
        })
    );
    assert_eq!(
        shown(&decided),
        json!({
            "ts": "2026-01-01T12:00:00Z", "actor": "bob@blackroad.io", "action": "approval.decide",
            "subjectType": "Approval", "subjectId": "incident.remediate-INC-2026-0001#1/approval",
            "metadata": {
                "incidentId": "INC-2026-0001", "decision": "approved", "level": 1, "actedAs": "sre-oncall",
                "attested": true, "breakGlass": true, "authority": "EMERGENCY_OVERRIDE"
            },
            "stream": "INC-2026-0001", "seq": 7
        })
    );
    for record in [created, decided, noted] {
        assert!(!shown(&record).to_string().contains("hunter2"));
    }
}

#[test]
fn a_record_that_says_nothing_is_no_event() {
    assert_eq!(audit::event(&Record::default()), None);
    let lost = Record {
        incident: "nowhere".to_owned(),
        ..of_an_incident(Kind::IncidentNoteAdded(IncidentNoteAdded::default()))
    };
    assert_eq!(audit::event(&lost), None);
}

/// What an action is found by is what it is told from: of every kind, and of every way that one kind is told.
#[test]
fn an_action_is_found_among_the_kinds_that_are_told_so() {
    let mut kinds = every_kind();
    let promoted = ReleaseCreated { promoted_from: "rel-1".to_owned(), ..ReleaseCreated::default() };
    kinds.push(Kind::ReleaseCreated(promoted));
    for to in 0..5 {
        let changed = ReleaseStatusChanged { to, ..ReleaseStatusChanged::default() };
        kinds.push(Kind::ReleaseStatusChanged(changed));
    }
    for kind in kinds {
        let name = kind_name(&kind);
        let event = audit::event(&of_an_incident(kind)).unwrap();
        let found = audit::kinds_of(&event.action);
        assert!(found.contains(&name), "{} is not found as {name}: {found:?}", event.action);
        let (above, _) = event.action.split_once('.').unwrap();
        assert!(audit::kinds_of(above).contains(&name), "{name}");
    }
    assert_eq!(audit::kinds_of("release.fail"), ["RELEASE_STATUS_CHANGED"]);
    assert_eq!(audit::kinds_of("release"), ["RELEASE_CREATED", "RELEASE_STATUS_CHANGED"]);
    for nothing in ["release.f", "fail", "", "release.fail.", "RELEASE_CREATED"] {
        assert_eq!(audit::kinds_of(nothing), [""; 0], "{nothing}");
    }
}
