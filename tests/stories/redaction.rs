//! Taking a text out by hand: the command shows what goes, asks on the terminal, and does nothing without a yes.

use serde_json::{Value, json};

use crate::world::{POLICY, World, refusal};

const SECRET: &str = "the password is SWORDFISH99";

#[tokio::test]
async fn text_is_shown_before_it_is_taken_out_and_only_a_yes_takes_it() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Payments time out", "P2").await;
    let noted = world.post(&format!("incidents/{id}/notes"), json!({ "note": SECRET })).await;
    let seq = noted["seq"].to_string();
    let redact = ["log", "redact", &id, &seq, "--reason", "a password"];
    let holds = async |world: &World| {
        let export = world.harmony(&["log", "export"]);
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        String::from_utf8_lossy(&export.stdout).contains(SECRET)
    };

    let (code, said) = refusal(&world.harmony(&redact));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(SECRET) && said.contains("nobody can be asked here"), "{said}");
    for answer in ["n", "", "later"] {
        let (code, shown) = world.harmony_answered(&redact, answer).await;
        assert_eq!(code, Some(1), "{answer}: {shown}");
        assert!(shown.contains(SECRET) && shown.contains("[y/N]"), "{shown}");
        assert!(shown.contains("nothing was taken out"), "{shown}");
    }
    assert!(holds(&world).await);

    let (code, shown) = world.harmony_answered(&redact, "y").await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(!holds(&world).await);
    world.verified().await;
}

/// A runbook that prints a text of its own, and one that it is given.
const PRINTS: &str = "\
# Print

```bash {\"name\":\"own\"}
printf 'zz-%s-zz\\n' output
```

```bash {\"name\":\"given\"}
echo \"$WORD\"
```
";

/// Every text that people, runbooks and machines put into an incident, each with a word of its own.
const WORDS: [&str; 16] = [
    "title",
    "summary",
    "note",
    "update",
    "severity",
    "time",
    "reason",
    "input",
    "output",
    "decision",
    "signal",
    "help",
    "resolution",
    "section",
    "action",
    "comment",
];

fn word(name: &str) -> String {
    format!("zz-{name}-zz")
}

/// An incident with all of them, led to its published review.
async fn told(world: &World) -> String {
    std::fs::write(world.dir.path().join("runbooks/print.md"), PRINTS).unwrap();
    let body = json!({
        "title": format!("Login loops {}", word("title")), "severity": "P2", "summary": word("summary"),
    });
    let made = world.post("incidents", body).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    world.completed(&id, "initiate").await;
    let at = |path: &str| format!("incidents/{id}/{path}");
    world.post(&at("notes"), json!({ "note": word("note") })).await;
    world.post(&at("update"), json!({ "message": word("update") })).await;
    world.post(&at("severity"), json!({ "severity": "P1", "reason": word("severity") })).await;
    let time =
        json!({ "moment": "mitigated", "at": jiff::Timestamp::now().to_string(), "reason": word("time") });
    world.post(&at("times"), time).await;
    let signal =
        json!({ "signalId": "s1", "source": "probe", "signalType": "ALERT", "summary": word("signal") });
    world.post(&at("signals"), signal).await;
    world.post(&at("escalate"), json!({ "reason": word("help") })).await;
    let remediation = json!({
        "runbook": "runbooks/print.md", "reason": word("reason"), "env": { "WORD": word("input") },
    });
    world.post(&at("remediate"), remediation).await;
    let gate = world.gate(&id).await;
    let decision = json!({ "decision": "approved", "digest": gate["digest"], "reason": word("decision") });
    let (status, verdict) = world.decide_as("commander", &gate, decision).await;
    assert_eq!(status, 200, "{verdict}");
    world.completed(&id, "remediate").await;
    world.post(&at("close-out"), json!({ "resolutionSummary": word("resolution") })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.completed(&id, "close-out").await;
    for section in ["summary", "impact", "contributing-factors"] {
        let text = if section == "impact" { word("section") } else { format!("what we know: {section}") };
        world.post(&at("review"), json!({ "section": section, "text": text })).await;
    }
    let item = json!({ "incidentId": id, "action": word("action"), "owner": "oncall", "due": "2027-01-31" });
    let item = world.post("follow-ups", item).await;
    let follow_up = item["followUp"]["id"].as_str().or(item["id"].as_str()).unwrap();
    world.post(&format!("follow-ups/{follow_up}"), json!({ "comment": word("comment") })).await;
    // The review holds most of them once more.
    world.post(&at("post-mortem"), json!({})).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.completed(&id, "post-mortem").await;
    id
}

/// Everything that the installation tells of the incident, by where it stands: what doors answer, and its files. Temporal
/// and the vendors are not its own: what they were told is named when a text is taken out.
async fn everything(world: &World, id: &str, cookie: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let http = reqwest::Client::new();
    for path in [
        format!("incidents/{id}"),
        format!("incidents/{id}/events?limit=200"),
        format!("incidents/{id}/timeline"),
        format!("incidents/{id}/review"),
        format!("incidents/{id}/similar"),
        format!("incidents/{id}/changes"),
        "incidents".to_owned(),
        "follow-ups".to_owned(),
        "approvals".to_owned(),
        "audit?limit=200".to_owned(),
        "insights".to_owned(),
        "log/export".to_owned(),
    ] {
        let request = http.get(format!("{}/api/orgs/default/{path}", world.text("/api")));
        let answer = request.bearer_auth(world.text("/token")).send().await.unwrap();
        // A review with a text that was taken out is gone as a whole, and says so.
        let is_gone = path.ends_with("/review") && answer.status().as_u16() == 404;
        assert!(answer.status().is_success() || is_gone, "{path}: {}", answer.status());
        all.push((path, answer.bytes().await.unwrap().to_vec()));
    }
    for page in [
        format!("incidents/{id}"),
        format!("incidents/{id}/review"),
        "incidents".to_owned(),
        "follow-ups".to_owned(),
        "approvals".to_owned(),
        "audit".to_owned(),
        "runbooks".to_owned(),
    ] {
        let request = http.get(format!("{}/orgs/default/{page}", world.text("/console")));
        let answer = request.header("cookie", cookie).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "page {page}");
        all.push((format!("page {page}"), answer.bytes().await.unwrap().to_vec()));
    }
    let mut folders = vec![world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            // What the stand-ins remember is what vendors would: the answer to a redaction names them.
            if path.is_dir() && path.ends_with("sandbox") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("temporal.db") && !name.ends_with("print.md") {
                all.push((format!("file {name}"), std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    all
}

/// Signs in as a person does, and gives the cookie.
async fn signed_in(world: &World) -> String {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let console = world.text("/console");
    let answer = http
        .post(format!("{console}/sign-in"))
        .header("origin", console)
        .header("sec-fetch-site", "same-origin")
        .form(&[("token", world.text("/token"))])
        .send()
        .await
        .unwrap();
    let cookies = answer.headers().get_all("set-cookie").iter();
    let cookies: Vec<&str> = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next()).collect();
    assert!(!cookies.is_empty(), "{}", answer.status());
    cookies.join("; ")
}

#[tokio::test]
async fn every_text_of_an_incident_is_gone_from_everywhere_once_it_is_taken_out() {
    let world = World::start(POLICY).await;
    let id = told(&world).await;
    let cookie = signed_in(&world).await;
    let export = world.harmony(&["log", "export"]).stdout;
    let old = world.dir.path().parent().unwrap().join(format!("{id}-{}.jsonl", std::process::id()));
    std::fs::write(&old, &export).unwrap();
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    for name in WORDS {
        let word = word(name);
        let before = everything(&world, &id, &cookie).await;
        assert!(before.iter().any(|(_, bytes)| holds(bytes, &word)), "{word} is nowhere");
        let records = world.records(&id).await;
        let record = records.iter().find(|record| record["payload"].to_string().contains(&word));
        let record = record.unwrap_or_else(|| panic!("no record holds {word}"));
        let fields = record["payload"].as_object().unwrap();
        let field = fields.iter().find(|(_, value)| value.as_str().is_some_and(|text| text.contains(&word)));
        let field = field.map(|(field, _)| field);
        let redact = json!({ "seq": record["seq"], "field": field, "reason": "it must go" });
        let path = format!("incidents/{id}/redact");
        let (status, answer) = world.api(reqwest::Method::POST, &path, Some(redact)).await;
        assert_eq!(status, 200, "{word}: {answer}, {record:#}");
        let left: Vec<String> = everything(&world, &id, &cookie)
            .await
            .into_iter()
            .filter(|(_, bytes)| holds(bytes, &word))
            .map(|(place, _)| place)
            .collect();
        let held = world.records(&id).await.into_iter().filter(|one| one.to_string().contains(&word));
        let held: Vec<Value> = held.collect();
        assert!(
            left.is_empty(),
            "{word}, taken out of record {}, is still in {left:?}: {held:#?}",
            record["seq"]
        );
    }
    world.verified().await;
    let key = world.harmony(&["log", "checkpoint", "--print-key"]).stdout;
    let key = String::from_utf8(key).unwrap();
    let verified =
        world.harmony(&["log", "verify", "--file", old.to_str().unwrap(), "--verifier-key", key.trim()]);
    std::fs::remove_file(&old).unwrap();
    assert!(verified.status.success(), "an older export: {}", String::from_utf8_lossy(&verified.stderr));
}
