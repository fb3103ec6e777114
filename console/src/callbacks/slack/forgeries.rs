//! A hundred thousand callbacks that must not count: forged, expired, replayed, and signed by Slack but about another
//! incident, gate or organisation. Each goes the way of a real one, from the raw bytes to the judge, only without the
//! network and the store. Genuine ones are mixed in, so that a door that refuses everything fails too.

use std::time::Instant;

use harmony_capabilities::slack::signature;
use harmony_incidents::{
    Access, Answer, Command, Context, Directory, GateStatus, Head, IncidentId, OrgId, Policy, Rules,
    WorkflowId, WorkflowType, judge,
    log::{Authority, Cause, GateState, IncidentState, Level, Severity, State},
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{field, interaction, work::Wish};
use crate::{
    callbacks::seen::Seen,
    decisions::{self, Place, Proposal},
};

const CALLBACKS: u64 = 100_000;
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const DIRECTORY: &str = r#"
    [[principal]]
    id = "commander"
    slack_user_id = "U0COMMANDER"
    roles = { default = ["incident-commander"] }
    [[principal]]
    id = "elsewhere"
    slack_user_id = "U0ELSEWHERE"
    roles = { acme = ["incident-commander"] }
    [[principal]]
    id = "viewer"
    slack_user_id = "U0VIEWER"
    roles = { default = ["incident-viewer"] }
    [[principal]]
    id = "operator"
    slack_user_id = "U0OPERATOR"
    roles = { default = ["org-admin"] }
"#;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// One gate of each of two incidents, in each of two organisations; the second incident's is settled.
struct World {
    incidents: Vec<IncidentState>,
    directory: Directory,
    seen: Seen,
    secret: SecretString,
    now: Timestamp,
}

fn incident(org: &OrgId, number: u64) -> IncidentState {
    let incident = IncidentId::new(2026, number);
    let workflow_id = WorkflowId::new(WorkflowType::Remediate, org, &incident).to_string();
    // Another one for each.
    let digest = vec![u8::try_from(number * 16).unwrap() + u8::try_from(org.as_str().len()).unwrap(); 32];
    let mut gate = GateState {
        gate_id: format!("{workflow_id}#1/approve"),
        status: if number == 1 { GateStatus::Pending } else { GateStatus::Approved }.into(),
        level: 1,
        digest,
        due_us: i64::MAX / 2,
        requester: "operator".to_owned(),
        four_eyes: true,
        workflow_id,
        blueprint: "remediate".to_owned(),
        attempt: 1,
        ..GateState::default()
    };
    gate.levels.push(Level { roles: vec!["incident-commander".to_owned()], timeout_ms: 1, page: false });
    let mut state = IncidentState {
        org: org.to_string(),
        incident: incident.to_string(),
        seq: 9,
        gates: vec![gate],
        ..IncidentState::default()
    };
    state.set_state(State::Open);
    state.set_severity(Severity::P1);
    state
}

/// What somebody sent.
struct Callback {
    timestamp: String,
    signature: String,
    body: String,
}

impl World {
    fn new() -> Self {
        let orgs = ["default", "acme"].map(|org| org.parse::<OrgId>().unwrap());
        Self {
            incidents: orgs.iter().flat_map(|org| [incident(org, 1), incident(org, 2)]).collect(),
            directory: Directory::parse(DIRECTORY).unwrap(),
            seen: Seen::default(),
            secret: SECRET.into(),
            now: Timestamp::now(),
        }
    }

    fn gate(&self, index: usize) -> &GateState {
        &self.incidents[index].gates[0]
    }

    fn value(&self, index: usize) -> Value {
        let gate = self.gate(index);
        json!({
            "org": self.incidents[index].org,
            "workflowId": gate.workflow_id,
            "gateId": gate.gate_id,
            "digest": hex::encode(&gate.digest),
        })
    }

    fn signed(&self, user: &str, trigger: u64, value: &Value, age_s: i64) -> Callback {
        let payload = json!({
            "type": "block_actions",
            "user": { "id": user },
            "trigger_id": format!("{trigger}.1"),
            "actions": [{ "action_id": "approve", "action_ts": "1.2", "value": value.to_string() }],
        });
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish();
        let timestamp = (self.now.as_second() - age_s).to_string();
        Callback { signature: signature::sign(&self.secret, &timestamp, body.as_bytes()), timestamp, body }
    }

    /// Whether any decision of it counts.
    fn counts(&self, callback: &Callback) -> bool {
        let body = callback.body.as_bytes();
        signature::verify(&self.secret, &callback.timestamp, &callback.signature, body).is_ok()
            && self.seen.is_new(&callback.signature, Instant::now())
            && field(body, "payload").is_some_and(|payload| self.is_decided(&payload))
    }

    fn is_decided(&self, payload: &str) -> bool {
        let Ok(interaction) = serde_json::from_str(payload) else { return false };
        let clicks = interaction::clicks(&interaction).unwrap_or_default();
        clicks.iter().any(|click| {
            let Wish::Decide { decision, gate_id, digest, reason } = &click.wish else { return false };
            let Some(approver) = self.directory.by_slack_user(&click.person.user) else { return false };
            let Some(named) = decisions::named(&click.org, gate_id) else { return false };
            let Some(incident) = named.incident() else { return false };
            let known = |state: &&IncidentState| {
                state.org == click.org.as_str() && state.incident == incident.as_str()
            };
            let Some(state) = self.incidents.iter().find(known).cloned() else { return false };
            let Some(place) = Place::new(named, incident.into(), state, gate_id) else { return false };
            let proposal = Proposal {
                org: &click.org,
                gate_id,
                digest: Some(digest.clone()),
                decision: *decision,
                reason: reason.clone(),
                approver,
                decision_id: click.id,
                source: "slack",
                break_glass: false,
                justification: None,
            };
            self.is_accepted(&place.state, &place.command(&proposal, self.now))
        })
    }

    fn is_accepted(&self, state: &IncidentState, command: &Command) -> bool {
        let context = Context {
            actor: "operator".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause::default(),
            occurred_at: self.now,
        };
        let access = Access::built_in();
        let rules = Rules {
            directory: &self.directory,
            access: &access,
            policy: &Policy::default(),
            auto_escalate_p1: true,
            promotion: &harmony_incidents::promotion::Policies::default(),
        };
        let judged = judge(Head { state }, command, &context, rules).unwrap();
        matches!(judged.answer, Answer::Judged { verdict } if verdict.accepted)
    }

    /// A callback that must not count.
    fn attack(&self, dice: &mut Dice, number: u64) -> (&'static str, Callback) {
        let good = || self.signed("U0COMMANDER", number, &self.value(0), 0);
        match number % 20 {
            // Expired, or from the future; the signature is right.
            0..4 => {
                // The window moves on while the test runs.
                let away = i64::try_from(900 + dice.below(1_000_000)).unwrap();
                let age_s = if dice.below(2) == 0 { away } else { -away };
                ("expired", self.signed("U0COMMANDER", number, &self.value(0), age_s))
            }
            // Without the secret: any digits, or those of something else.
            4..10 => {
                let mut callback = Callback { signature: String::new(), ..self.unsigned(number) };
                callback.signature =
                    (0..4).fold("v0=".to_owned(), |text, _| text + &format!("{:016x}", dice.next()));
                ("forged", callback)
            }
            10..12 => {
                let other = SecretString::from(format!("{:x}", dice.next()));
                let mut callback = self.unsigned(number);
                callback.signature = signature::sign(&other, &callback.timestamp, callback.body.as_bytes());
                ("signed with another secret", callback)
            }
            12..14 => {
                let mut callback = good();
                let place = usize::try_from(dice.below(u64::try_from(callback.body.len()).unwrap())).unwrap();
                let mut bytes = callback.body.into_bytes();
                bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
                callback.body = String::from_utf8(bytes).unwrap();
                ("changed after it was signed", callback)
            }
            14 => {
                let mut callback = good();
                let later = self.now.as_second() + i64::try_from(1 + dice.below(299)).unwrap();
                callback.timestamp = later.to_string();
                ("signed for another time", callback)
            }
            15 => {
                let mut value = self.value(0);
                let other = usize::try_from(1 + dice.below(3)).unwrap();
                let names = ["org", "workflowId", "gateId", "digest"];
                let name = names[usize::try_from(dice.below(4)).unwrap()];
                value[name] = self.value(other)[name].clone();
                // Two incidents of one organisation have that in common.
                if value == self.value(0) {
                    value["digest"] = self.value(other)["digest"].clone();
                }
                ("one part of another gate", self.signed("U0COMMANDER", number, &value, 0))
            }
            16 => {
                let settled = if dice.below(2) == 0 { 1 } else { 3 };
                ("a settled gate", self.signed("U0COMMANDER", number, &self.value(settled), 0))
            }
            17 => {
                let (user, index) = [("U0COMMANDER", 2), ("U0ELSEWHERE", 0), ("U0OPERATOR", 2)]
                    [usize::try_from(dice.below(3)).unwrap()];
                ("another organisation", self.signed(user, number, &self.value(index), 0))
            }
            18 => {
                let mut value = self.value(0);
                value["digest"] = json!(format!("{:064x}", dice.next()));
                ("another digest", self.signed("U0COMMANDER", number, &value, 0))
            }
            _ => {
                let user = ["U0VIEWER", "U0OPERATOR", "U0STRANGER"][usize::try_from(dice.below(3)).unwrap()];
                ("somebody who may not", self.signed(user, number, &self.value(0), 0))
            }
        }
    }

    fn unsigned(&self, number: u64) -> Callback {
        let body = format!("payload=%7B%22type%22%3A%22block_actions%22%2C%22n%22%3A{number}%7D");
        Callback { timestamp: self.now.as_second().to_string(), signature: String::new(), body }
    }
}

#[test]
fn of_a_hundred_thousand_callbacks_that_must_not_count_none_does() {
    let world = World::new();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut last = None;
    for number in 0..CALLBACKS {
        // A genuine one, and its replay.
        if number % 1_000 == 0 {
            let genuine = world.signed("U0COMMANDER", number, &world.value(0), 0);
            assert!(world.counts(&genuine), "a genuine callback is refused");
            last = Some(genuine);
        } else if number % 100 == 0 {
            assert!(!world.counts(last.as_ref().unwrap()), "{number}: replayed");
        } else {
            let (what, callback) = world.attack(&mut dice, number);
            assert!(!world.counts(&callback), "{number}: {what}: {}", callback.body);
        }
    }
}
