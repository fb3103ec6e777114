//! Each connector against its stand-in, which loses an answer after doing the work: the repeated
//! call leaves exactly one effect, and everything that was sent is as the vendor describes it.

use harmony_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Received;
use super::contract::Contract;
use crate::address::{self, Address};
use crate::confluence::{Confluence, PageDraft, markdown_to_storage};
use crate::error::{Attempt, Fate};
use crate::github::GitHub;
use crate::jira::Jira;
use crate::pagerduty::{self, PagerDuty};
use crate::slack::{ChannelDraft, Message, Slack, blocks};
use crate::statuspage::{self, Statuspage};
use crate::tracker::IssueDraft;

const KEY: Uuid = Uuid::from_u128(7);

/// One stand-in, from outside.
struct StandIn {
    address: Address,
    http: reqwest::Client,
    vendor: &'static str,
}

impl StandIn {
    fn new(vendor: &'static str, origin: &str) -> Self {
        let address = Address::parse(origin).unwrap();
        let http = address::client(&address).unwrap();
        Self { address, http, vendor }
    }

    /// Loses the answer to the next call of this kind, after the work.
    async fn lose(&self, method: &str, path: &str) {
        let order = json!({
            "match": { "method": method, "path": path },
            "times": 1,
            "fault": "drop-after",
        });
        let url = self.address.resource(&["_sandbox", "faults"]);
        let answer = self.http.post(url).json(&order).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    async fn state(&self) -> Value {
        self.get("state").await
    }

    /// How many things of this kind there are.
    async fn count(&self, kind: &str) -> usize {
        self.state().await[kind].as_array().unwrap().len()
    }

    /// Everything that was sent is as the vendor describes it. (The stand-in keeps no headers:
    /// they are checked beside each vendor.)
    async fn check_contract(&self) {
        let contract = Contract::load(self.vendor);
        let requests = self.get("requests").await;
        let requests = requests.as_array().unwrap();
        assert!(!requests.is_empty());
        for request in requests {
            contract.check_without_headers(&Received {
                method: request["method"].as_str().unwrap().to_owned(),
                path: request["path"].as_str().unwrap().to_owned(),
                query: Received::parse_query(request["query"].as_str().unwrap_or_default()),
                headers: Vec::new(),
                body: request["body"].clone(),
            });
        }
    }

    async fn get(&self, what: &str) -> Value {
        let url = self.address.resource(&["_sandbox", what]);
        let answer = self.http.get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }
}

async fn sandbox() -> Sandbox {
    let options = SandboxOptions::on_free_ports("signing".into());
    Sandbox::start(options).await.unwrap()
}

#[tokio::test]
async fn slack_keeps_one_channel_and_one_message() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("slack", &sandbox.origins().slack);
    let slack = Slack::new(&sandbox.base_urls().slack, "xoxb-1-2-sandbox".into()).unwrap();
    let draft = ChannelDraft {
        name: "inc-2026-0001-logins".to_owned(),
        marker: "INC-2026-0001".to_owned(),
        private: false,
    };
    stand_in.lose("POST", "conversations.create").await;
    let lost = slack.ensure_channel(&draft).await.unwrap_err();
    assert_eq!(lost.fate(), Fate::Unknown);
    let channel = slack.ensure_channel(&draft).await.unwrap();
    assert_eq!(slack.ensure_channel(&draft).await.unwrap(), channel);
    assert_eq!(channel.name, draft.name);
    assert_eq!(stand_in.count("channels").await, 1);

    let message = Message { text: "It begins.".to_owned(), blocks: vec![blocks::section("*It begins.*")] };
    stand_in.lose("POST", "chat.postMessage").await;
    let first = slack.send_message(Attempt::First, &KEY, &channel.id, &message);
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    let again = slack.send_message(Attempt::Again, &KEY, &channel.id, &message);
    let sent = again.await.unwrap();
    assert_eq!(slack.count_messages(&channel.id, &KEY).await.unwrap(), 1);

    slack.set_topic(&channel.id, "INC-2026-0001").await.unwrap();
    slack.update_message(&sent, &message).await.unwrap();
    for _ in 0..2 {
        slack.pin(&sent).await.unwrap();
    }
    for _ in 0..2 {
        slack.archive(&channel.id).await.unwrap();
    }
    stand_in.check_contract().await;
}

#[tokio::test]
async fn pagerduty_keeps_one_incident_and_one_note() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("pagerduty", &sandbox.origins().pagerduty);
    let from = "oncall@example.com".to_owned();
    let base_url = sandbox.base_urls().pagerduty;
    let pagerduty = PagerDuty::new(&base_url, "pd-sandbox".into(), from).unwrap();
    let draft = pagerduty::IncidentDraft {
        key: KEY,
        title: "Logins fail".to_owned(),
        service_id: "PSERVICE".to_owned(),
        high_urgency: true,
        details: "since 09:00".to_owned(),
        escalation_policy_id: None,
    };
    stand_in.lose("POST", "/incidents").await;
    let lost = pagerduty.ensure_incident(&draft).await.unwrap_err();
    assert_eq!(lost.fate(), Fate::Unknown);
    let incident = pagerduty.ensure_incident(&draft).await.unwrap();
    assert_eq!(stand_in.count("incidents").await, 1);

    stand_in.lose("POST", "/notes").await;
    let id = incident.id.as_str();
    let first = pagerduty.add_note(Attempt::First, &KEY, id, "restarted");
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    let again = pagerduty.add_note(Attempt::Again, &KEY, id, "restarted");
    again.await.unwrap();
    assert_eq!(stand_in.count("notes").await, 1);

    for _ in 0..2 {
        let resolved = pagerduty.resolve(id).await.unwrap();
        assert_eq!(resolved.status, pagerduty::IncidentStatus::Resolved);
    }
    let found = pagerduty.ensure_incident(&draft).await.unwrap();
    assert_eq!(found.id, incident.id);
    stand_in.check_contract().await;
}

#[tokio::test]
async fn statuspage_keeps_one_incident_and_one_update() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("statuspage", &sandbox.origins().statuspage);
    let base_url = sandbox.base_urls().statuspage;
    let statuspage = Statuspage::new(&base_url, "sp-sandbox".into(), "page1").unwrap();
    let draft = statuspage::IncidentDraft {
        name: "Logins fail".to_owned(),
        body: "We are looking into it.".to_owned(),
        status: statuspage::IncidentStatus::Investigating,
        impact: Some(statuspage::Impact::Major),
        components: Vec::new(),
    };
    stand_in.lose("POST", "/incidents").await;
    let first = statuspage.create_incident(Attempt::First, &KEY, &draft);
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    let again = statuspage.create_incident(Attempt::Again, &KEY, &draft);
    let incident = again.await.unwrap();
    assert_eq!(statuspage.count_incidents(&KEY).await.unwrap(), 1);

    let update = statuspage::Update {
        status: statuspage::IncidentStatus::Resolved,
        body: "It is over.".to_owned(),
        components: Vec::new(),
    };
    stand_in.lose("PATCH", "/incidents").await;
    let first = statuspage.update_incident(Attempt::First, &KEY, &incident.id, &update);
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    let again = statuspage.update_incident(Attempt::Again, &KEY, &incident.id, &update);
    again.await.unwrap();
    let updates = &stand_in.state().await["incidents"][0]["incident_updates"];
    assert_eq!(updates.as_array().unwrap().len(), 2);
    stand_in.check_contract().await;
}

#[tokio::test]
async fn confluence_keeps_one_page() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("confluence", &sandbox.origins().confluence);
    let base_url = sandbox.base_urls().confluence;
    let confluence = Confluence::new(&base_url, "bot@example.com", "cf".into()).unwrap();
    let mut draft = PageDraft {
        space_key: "OPS".to_owned(),
        parent_id: None,
        title: "Review INC-2026-0001".to_owned(),
        storage: markdown_to_storage("# Summary\n\n- <b>all</b> of it & more\n\n```sh\nls\n```"),
        labels: vec!["post-mortem".to_owned()],
    };
    let lost_calls = [("POST", "/pages"), ("POST", "/properties"), ("POST", "/label")];
    for (method, path) in lost_calls {
        stand_in.lose(method, path).await;
        let lost = confluence.ensure_page(&KEY, &draft).await.unwrap_err();
        assert_eq!(lost.fate(), Fate::Unknown, "{path}");
    }
    let page = confluence.ensure_page(&KEY, &draft).await.unwrap();
    assert_eq!((page.version, stand_in.count("pages").await), (1, 1));

    draft.storage = markdown_to_storage("# Summary, corrected");
    let corrected = confluence.ensure_page(&KEY, &draft).await.unwrap();
    assert_eq!((&corrected.id, corrected.version), (&page.id, 2));

    let other = Uuid::from_u128(8);
    let refused = confluence.ensure_page(&other, &draft).await.unwrap_err();
    assert_eq!(refused.fate(), Fate::Rejected);
    stand_in.check_contract().await;
}

fn follow_up() -> IssueDraft {
    IssueDraft {
        action: "Alert on queue length".to_owned(),
        lines: vec!["Owner: Olivia".to_owned()],
        link: "https://harmony.example/orgs/default/incidents/INC-2026-0001".to_owned(),
    }
}

#[tokio::test]
async fn jira_issue_whose_answer_got_lost_is_found_once_the_search_knows_it() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("jira", &sandbox.origins().jira);
    let base_url = sandbox.base_urls().jira;
    let jira = Jira::new(&base_url, "bot@example.com", "jira".into(), "OPS", "Task").unwrap();
    stand_in.lose("POST", "/issue").await;
    let lost = jira.create_issue(&KEY, &follow_up()).await.unwrap_err();
    assert_eq!(lost.fate(), Fate::Unknown);
    let found = loop {
        match jira.find_issue(&KEY).await.unwrap() {
            Some(found) => break found,
            None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert_eq!((found.name.as_str(), jira.count_issues(&KEY).await.unwrap()), ("OPS-1", 1));
    assert_eq!(jira.find_issue(&Uuid::from_u128(8)).await.unwrap(), None);
    assert_eq!(jira.find_project().await.unwrap(), "OPS");
    assert_eq!(stand_in.count("issues").await, 1);
    stand_in.check_contract().await;
}

#[tokio::test]
async fn github_issue_whose_answer_got_lost_is_found() {
    let sandbox = sandbox().await;
    let stand_in = StandIn::new("github", &sandbox.origins().github);
    let repository = "acme/shop".parse().unwrap();
    let github = GitHub::new(&sandbox.base_urls().github, "gh".into(), repository).unwrap();
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
    stand_in.lose("POST", "/issues").await;
    let lost = github.create_issue(&KEY, &follow_up()).await.unwrap_err();
    assert_eq!(lost.fate(), Fate::Unknown);
    let found = github.find_issue(&KEY, since).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), github.count_issues(&KEY, since).await.unwrap()), ("acme/shop#1", 1));
    assert_eq!(github.find_issue(&Uuid::from_u128(8), since).await.unwrap(), None);
    assert_eq!(github.find_repository().await.unwrap(), "acme/shop");
    assert_eq!(stand_in.count("issues").await, 1);
    stand_in.check_contract().await;
}
