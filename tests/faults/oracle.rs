//! The oracle: holds the vendors, the log and the results of the workflows against each other and against what people
//! were told. What it finds is said in words; nothing found is the only good answer.
//!
//! It knows the rules from the contract, not from the code: the transitions below are written out once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use serde_json::Value;
use temporalio_client::{Client, UntypedWorkflow, WorkflowListOptions};

use crate::{hands::Hands, people::Told, vendors::Vendors, world::World};

/// From, to, least authority.
const TRANSITIONS: [(&str, &str, Authority); 11] = [
    ("PENDING", "OPEN", Authority::HumanOperator),
    ("PENDING", "CANCELLED", Authority::HumanOperator),
    ("OPEN", "CANCELLED", Authority::HumanOperator),
    ("OPEN", "MITIGATING", Authority::HumanOperator),
    ("OPEN", "RESOLVED", Authority::OnCallSre),
    ("MITIGATING", "RESOLVED", Authority::OnCallSre),
    ("RESOLVED", "CLOSED", Authority::HumanOperator),
    ("RESOLVED", "ARCHIVED", Authority::HumanOperator),
    ("CLOSED", "ARCHIVED", Authority::HumanOperator),
    ("CANCELLED", "ARCHIVED", Authority::HumanOperator),
    ("OPEN", "ARCHIVED", Authority::Nobody),
];
/// Longest wait for what is still under way; what is not over by then is found to be so.
const SETTLING: Duration = Duration::from_secs(180);
/// Nothing new for so long is quiet: the outbox tries again within seconds.
const QUIET: Duration = Duration::from_secs(5);
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Authority {
    AutoEngine,
    HumanOperator,
    OnCallSre,
    EmergencyOverride,
    Nobody,
}

fn authority(name: &str) -> Authority {
    match name {
        "AUTO_ENGINE" => Authority::AutoEngine,
        "HUMAN_OPERATOR" => Authority::HumanOperator,
        "ON_CALL_SRE" => Authority::OnCallSre,
        "EMERGENCY_OVERRIDE" => Authority::EmergencyOverride,
        other => panic!("authority {other}"),
    }
}

/// What was looked at, and what was found to be wrong.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) lost: Vec<String>,
    pub(crate) twice: Vec<String>,
    pub(crate) forbidden: Vec<String>,
    pub(crate) unverified: Vec<String>,
    pub(crate) records: usize,
    pub(crate) workflows: usize,
    /// How often each kind of record stands in the log.
    pub(crate) kinds: BTreeMap<String, usize>,
    /// Second effects at vendors without keys, each with its warning on record.
    pub(crate) warned_twins: usize,
    /// How many incidents ended in each state.
    pub(crate) states: BTreeMap<String, usize>,
}

impl Findings {
    pub(crate) fn all(&self) -> Vec<String> {
        let named =
            |name: &str, list: &[String]| list.iter().map(|one| format!("{name}: {one}")).collect::<Vec<_>>();
        [
            named("lost", &self.lost),
            named("twice", &self.twice),
            named("forbidden", &self.forbidden),
            named("unverified", &self.unverified),
        ]
        .concat()
    }
}

/// One incident's records, and where what is wrong with them is written.
struct Case<'a> {
    id: &'a str,
    records: &'a [Value],
    incident: &'a Value,
    findings: &'a mut Findings,
}

/// Looks at everything.
pub(crate) async fn judge(world: &World, hands: &Hands, told: &[Told], traces: &Path) -> Findings {
    let mut findings = Findings::default();
    settled(&world.client().await, hands, told).await;
    let vendors = Vendors::look(world).await;
    println!("         {}", vendors.count());
    let ids = vendors.ids();
    declared(hands, told, &mut findings).await;
    let client = world.client().await;
    let mut warnings = 0;
    for one in told {
        let records = hands.records(&one.incident).await;
        let incident = hands.incident(&one.incident).await;
        *findings.states.entry(incident["state"].as_str().unwrap().to_owned()).or_default() += 1;
        let mut case =
            Case { id: &one.incident, records: &records, incident: &incident, findings: &mut findings };
        case.is_whole();
        case.goes_by_the_table();
        case.gates_hold();
        case.cells_ran_as_recorded(traces);
        case.everything_told_is_on_record(one);
        case.steps_stand_at_the_vendors(&ids);
        case.workflows_agree(&client).await;
        let steps = records.iter().filter(|one| one["kind"] == "STEP_SUCCEEDED");
        warnings += steps.map(|one| one.to_string().matches("effect duplicated").count()).sum::<usize>();
    }
    findings.twice.extend(vendors.forbidden_twins());
    let twins = vendors.twins();
    findings.warned_twins = twins.min(warnings);
    if twins > warnings {
        findings.twice.push(format!("{twins} twins at the vendors, {warnings} warnings on record"));
    }
    nothing_runs(&client, hands, &mut findings).await;
    for what in ["verify", "replay"] {
        let report = hands.get(&format!("log/{what}")).await;
        let good = report["verified"] == true || report["findings"].as_array().is_some_and(Vec::is_empty);
        if !good {
            findings.unverified.push(format!("{what}: {report}"));
        }
    }
    findings
}

/// The update clock of an incident runs as long as the incident goes on.
const CLOCK: &str = "incident.updates";
/// The runs that end by themselves.
const UNDER_WAY: &str = "ExecutionStatus = 'Running' AND WorkflowType != 'incident.updates'";

fn goes_on(incident: &Value) -> bool {
    ["PENDING", "OPEN", "MITIGATING"].iter().any(|state| incident["state"] == *state)
}

/// Waits until nothing is under way any more: no run, and no record that is still to come.
async fn settled(client: &Client, hands: &Hands, told: &[Told]) {
    let began = Instant::now();
    let mut before = 0;
    loop {
        let running = client.count_workflows(UNDER_WAY, Default::default()).await;
        let mut records = 0;
        for one in told {
            records += hands.incident(&one.incident).await["seq"].as_u64().unwrap();
        }
        let quiet = running.is_ok_and(|running| running.count() == 0) && records == before;
        if quiet || began.elapsed() > SETTLING {
            return;
        }
        before = records;
        tokio::time::sleep(QUIET).await;
    }
}

/// What was declared is there, once, with consecutive numbers; and nothing else is.
async fn declared(hands: &Hands, told: &[Told], findings: &mut Findings) {
    let there: Vec<String> = hands.incidents().await;
    let believed: BTreeSet<&str> = told.iter().map(|one| one.incident.as_str()).collect();
    let found: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    findings.lost.extend(believed.difference(&found).map(|id| format!("{id} was declared")));
    findings.twice.extend(found.difference(&believed).map(|id| format!("{id} was declared by nobody")));
    let mut numbers: Vec<usize> =
        found.iter().map(|id| id.rsplit('-').next().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    if numbers != (1..=numbers.len()).collect::<Vec<_>>() {
        findings.lost.push(format!("the incidents' numbers have gaps: {numbers:?}"));
    }
}

/// No workflow is left over, and none ended but by completing.
async fn nothing_runs(client: &Client, hands: &Hands, findings: &mut Findings) {
    let options = WorkflowListOptions::builder().build();
    let mut listed = client.list_workflows("", options);
    while let Some(workflow) = listed.next().await {
        let workflow = workflow.unwrap();
        findings.workflows += 1;
        let status = format!("{:?}", workflow.status());
        let ticks = match workflow.id().strip_prefix(CLOCK).and_then(|rest| rest.strip_prefix('-')) {
            Some(incident) if status.contains("Running") => goes_on(&hands.incident(incident).await),
            Some(_) | None => false,
        };
        if !status.contains("Completed") && !ticks {
            findings.lost.push(format!("workflow {} is {status}", workflow.id()));
        }
    }
}

impl<'a> Case<'a> {
    fn of(&self, kind: &str) -> Vec<&'a Value> {
        let records: &'a [Value] = self.records;
        records.iter().filter(|one| one["kind"] == kind).collect()
    }

    fn lost(&mut self, what: impl std::fmt::Display) {
        self.findings.lost.push(format!("{}: {what}", self.id));
    }

    fn twice(&mut self, what: impl std::fmt::Display) {
        self.findings.twice.push(format!("{}: {what}", self.id));
    }

    fn forbidden(&mut self, what: impl std::fmt::Display) {
        self.findings.forbidden.push(format!("{}: {what}", self.id));
    }

    /// Records from 1 without a gap, and none twice.
    fn is_whole(&mut self) {
        self.findings.records += self.records.len();
        for record in self.records {
            let kind = record["kind"].as_str().unwrap().to_owned();
            *self.findings.kinds.entry(kind).or_default() += 1;
        }
        let seqs: Vec<u64> = self.records.iter().map(|one| one["seq"].as_u64().unwrap()).collect();
        if seqs != (1..=self.records.len() as u64).collect::<Vec<_>>() {
            self.lost(format!("records {seqs:?}"));
        }
        let events: BTreeSet<&str> =
            self.records.iter().map(|one| one["eventId"].as_str().unwrap()).collect();
        if events.len() != self.records.len() {
            self.twice("an event id stands twice");
        }
        for (what, one) in [("orphaned", "BLUEPRINT_ORPHANED"), ("resumed", "BLUEPRINT_RESUMED")] {
            if !self.of(one).is_empty() {
                self.lost(format!("a run was {what}"));
            }
        }
        let ends = |kind: &str| -> Vec<(String, u64)> { self.of(kind).into_iter().map(run_of).collect() };
        let (began, ended) = (ends("BLUEPRINT_STARTED"), ends("BLUEPRINT_COMPLETED"));
        for (list, what) in [(&began, "began"), (&ended, "ended")] {
            let unique: BTreeSet<_> = list.iter().collect();
            if unique.len() != list.len() {
                self.twice(format!("a blueprint's attempt {what} twice: {list:?}"));
            }
        }
        let (began, ended) =
            (began.into_iter().collect::<BTreeSet<_>>(), ended.into_iter().collect::<BTreeSet<_>>());
        let live = goes_on(self.incident);
        for run in began.difference(&ended).filter(|(id, _)| !(live && id.starts_with(CLOCK))) {
            self.lost(format!("the end of {run:?}"));
        }
    }

    /// Every change of state is one of the table, from the state that was held, with the authority it needs.
    fn goes_by_the_table(&mut self) {
        let mut state = "PENDING".to_owned();
        for record in self.of("INCIDENT_STATUS_CHANGED") {
            let (from, to) = (text(record, "from"), text(record, "to"));
            let from = if from.is_empty() { state.clone() } else { from };
            let who = authority(record["authority"].as_str().unwrap());
            let legal = TRANSITIONS.iter().any(|(a, b, least)| *a == from && *b == to && who >= *least);
            if from != state || !legal {
                self.findings.forbidden.push(format!("{}: {state} / {from} -> {to}", self.id));
            }
            state = to;
        }
        if self.incident["state"] != state.as_str() {
            self.lost(format!("state {} on record, {} shown", state, self.incident["state"]));
        }
    }

    /// Each gate opens once, is settled once, and only by somebody of its level; silence opens none.
    fn gates_hold(&mut self) {
        let decided_ids: Vec<String> = ["APPROVAL_DECIDED", "APPROVAL_REFUSED"]
            .iter()
            .flat_map(|kind| self.of(kind))
            .map(|one| text(one, "decisionId"))
            .filter(|id| !id.is_empty())
            .collect();
        let unique: BTreeSet<&String> = decided_ids.iter().collect();
        if unique.len() != decided_ids.len() {
            self.twice("a decision was judged twice");
        }
        let mut gates: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for record in self.records {
            if record["kind"].as_str().unwrap().starts_with("APPROVAL_") {
                gates.entry(text(record, "gateId")).or_default().push(record);
            }
        }
        for (gate, records) in gates {
            let count = |kind: &str| records.iter().filter(|one| one["kind"] == kind).count();
            if count("APPROVAL_REQUESTED") > 1 {
                self.twice(format!("gate {gate} was opened twice"));
            }
            let decided: Vec<&&Value> =
                records.iter().filter(|one| one["kind"] == "APPROVAL_DECIDED").collect();
            if decided.len() + count("APPROVAL_CANCELLED") > 1 {
                self.twice(format!("gate {gate} was settled twice"));
            }
            let levels = records.iter().find(|one| one["kind"] == "APPROVAL_REQUESTED");
            let levels = levels.map(|one| one["payload"]["levels"].clone()).unwrap_or_default();
            for record in decided {
                let (who, level) = (text(record, "approver"), record["payload"]["level"].as_u64().unwrap());
                let roles = &levels[usize::try_from(level - 1).unwrap()]["roles"];
                let approved = record["payload"]["approved"] == true;
                // Whoever asked may open other gates, but not the one before their own commands.
                let own = who == "operator" && approved && gate.contains("incident.remediate-");
                let passed = records.iter().any(|one| {
                    one["kind"] == "APPROVAL_TIMED_OUT" && one["payload"]["level"].as_u64() == Some(level)
                });
                if rank(&who) < least_rank(roles) || own || passed {
                    self.forbidden(format!("{who} decided level {level} of {gate}, passed: {passed}"));
                }
            }
        }
        if let Some(gate) = self.incident.get("gate").filter(|gate| gate.is_object()) {
            self.lost(format!("a gate still waits: {gate}"));
        }
    }

    /// A cell runs after an approval alone, and as often as its records say.
    fn cells_ran_as_recorded(&mut self, traces: &Path) {
        let trace = std::fs::read_to_string(traces.join(self.id)).unwrap_or_default();
        let started = self.of("RUNBOOK_CELL_STARTED");
        let approved = self.of("APPROVAL_DECIDED").into_iter().find(|one| {
            one["payload"]["approved"] == true && text(one, "gateId").contains("incident.remediate-")
        });
        let first = started.first().and_then(|one| one["seq"].as_u64());
        let allowed = approved.and_then(|one| one["seq"].as_u64());
        if first.is_some_and(|first| allowed.is_none_or(|allowed| allowed > first))
            || (!trace.is_empty() && allowed.is_none())
        {
            self.forbidden("a cell ran without an approval");
        }
        for cell in ["look", "act", "check"] {
            let began = trace.lines().filter(|line| *line == format!("{cell} began")).count();
            let ended = trace.lines().filter(|line| *line == format!("{cell} ended")).count();
            let of = |kind: &str| {
                self.of(kind).into_iter().filter(|one| text(one, "cell") == cell).collect::<Vec<_>>()
            };
            let (begun, finished) = (of("RUNBOOK_CELL_STARTED").len(), of("RUNBOOK_CELL_FINISHED"));
            let unknown = of("RUNBOOK_CELL_UNKNOWN").len();
            let good = finished.iter().filter(|one| one["payload"]["success"] == true).count();
            // Only what may be repeated is, beyond its records.
            if cell == "act" && began > begun {
                self.twice(format!("cell {cell} began {began} times, {begun} times on record"));
            }
            if ended < good {
                self.lost(format!("cell {cell} ended {ended} times, {good} times on record"));
            }
            if finished.len() + unknown < begun {
                self.lost(format!(
                    "cell {cell} began {begun} times, ended {} times on record",
                    finished.len() + unknown
                ));
            }
        }
    }

    /// Every note and every click that was acknowledged.
    fn everything_told_is_on_record(&mut self, told: &Told) {
        let notes = self.of("INCIDENT_NOTE_ADDED");
        let notes: Vec<String> = notes.iter().map(|one| one["payload"]["note"].to_string()).collect();
        for note in &told.notes {
            match notes.iter().filter(|one| one.contains(note.as_str())).count() {
                0 => self.lost(format!("the note {note:?}")),
                1 => {}
                more => self.twice(format!("the note {note:?} stands {more} times")),
            }
        }
        let title = self.incident["title"].as_str().unwrap_or_default();
        if title != told.title {
            self.lost(format!("declared as {:?}, shown as {title:?}", told.title));
        }
        let gates: BTreeSet<&String> = told.clicks.iter().collect();
        for gate in gates {
            let clicked = told.clicks.iter().filter(|one| *one == gate).count();
            let judged = ["APPROVAL_DECIDED", "APPROVAL_REFUSED"].iter().flat_map(|kind| self.of(kind));
            let judged = judged.filter(|one| text(one, "gateId") == *gate).count();
            if judged < clicked {
                self.lost(format!("{clicked} clicks on {gate} were acknowledged, {judged} are on record"));
            }
        }
    }

    /// What a step says it left at a vendor is there.
    fn steps_stand_at_the_vendors(&mut self, ids: &BTreeSet<String>) {
        let mut steps: BTreeMap<((String, u64), String), usize> = BTreeMap::new();
        for record in self.of("STEP_SUCCEEDED") {
            *steps.entry((run_of(record), text(record, "step"))).or_default() += 1;
            let reference = text(record, "externalRef");
            if !reference.is_empty() && !ids.contains(&reference) {
                let step = text(record, "step");
                self.findings
                    .lost
                    .push(format!("{}: {step} left {reference}, and no vendor knows it", self.id));
            }
        }
        for (step, count) in steps.into_iter().filter(|(_, count)| *count > 1) {
            self.twice(format!("step {step:?} succeeded {count} times"));
        }
    }

    /// What a workflow returned is what the log says of its end.
    async fn workflows_agree(&mut self, client: &Client) {
        let runs = self.incident["blueprints"].as_object().unwrap().clone();
        for (blueprint, run) in runs {
            if blueprint == "updates" && goes_on(self.incident) {
                continue;
            }
            let id = run["workflowId"].as_str().unwrap();
            let result =
                client.get_workflow_handle::<UntypedWorkflow>(id).get_result(Default::default()).await;
            let Ok(result) = result else {
                self.lost(format!("{blueprint}: no result: {:?}", result.err()));
                continue;
            };
            let result: Value = result
                .payloads
                .first()
                .map_or(Value::Null, |payload| serde_json::from_slice(&payload.data).unwrap_or_default());
            if result["status"] != run["status"] {
                self.lost(format!("{blueprint}: {} returned, {} on record", result["status"], run["status"]));
            }
        }
    }
}

/// Where a person of the sample directory stands: a level is filled by its roles and by those above them.
fn rank(who: &str) -> u8 {
    match who {
        "commander" | "oncall" => 1,
        "manager" => 2,
        "admin" | "operator" => 3,
        _ => 0,
    }
}

fn least_rank(roles: &Value) -> u8 {
    let ranks = roles.as_array().into_iter().flatten().map(|role| match role.as_str().unwrap() {
        "incident-commander" | "sre-oncall" => 1,
        "incident-manager" => 2,
        _ => 3,
    });
    ranks.min().unwrap_or(u8::MAX)
}

/// Whose record it is: workflow and attempt.
fn run_of(record: &Value) -> (String, u64) {
    let workflow = record["cause"]["workflowId"].as_str().unwrap_or_default().to_owned();
    (workflow, record["payload"]["attempt"].as_u64().unwrap_or_default())
}

fn text(record: &Value, name: &str) -> String {
    record["payload"][name].as_str().unwrap_or_default().to_owned()
}
