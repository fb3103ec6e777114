//! `harmony config check --live`: connects to everything that is configured, by harmless reads alone, and says which
//! setting a refusal is about.

use std::collections::BTreeMap;

use harmony_capabilities::{
    confluence::Confluence,
    error::{CallError, Fate},
    github::GitHub,
    jira::Jira,
    pagerduty::PagerDuty,
    slack::{Slack, SlackSockets},
    statuspage::Statuspage,
};
use harmony_incidents::{Role, RulesSource, policy::PageTarget};
use secrecy::SecretString;
use uuid::Uuid;

use super::temporal_setup::missing_search_attributes;
use crate::{
    checks::{Check, Process},
    config::Config,
    failure::Failure,
    flags::FlagService,
    vendor_settings::{
        ConfluenceSettings, GitHubSettings, JiraSettings, PagerDutySettings, SlackSettings,
        StatuspageSettings,
    },
};

/// What the app needs, as `deploy/slack-app.yaml` asks for it.
pub(crate) const SLACK_SCOPES: [&str; 9] = [
    "channels:history",
    "channels:manage",
    "channels:read",
    "chat:write",
    "commands",
    "groups:history",
    "groups:read",
    "groups:write",
    "pins:write",
];

/// Where the policy pages each role.
type Paged = BTreeMap<Role, PageTarget>;

/// Everything that is configured and that these processes talk to, asked.
pub(super) async fn checks(config: &Config, processes: &[Process]) -> Vec<Check> {
    let vendors = &config.vendors;
    let mut checks = vec![Check::new("temporal, live", temporal(config).await)];
    if processes.iter().any(|one| *one != Process::Runbooks) {
        checks.push(Check::new("database, live", database(config).await));
    }
    if let Some(settings) = &vendors.slack {
        checks.push(Check::new("slack, live", slack(settings).await));
        if let Some(token) = &settings.app_token {
            checks.push(Check::new("slack sockets, live", sockets(settings, token.clone()).await));
        }
    }
    if let Some(settings) = &vendors.pagerduty {
        // What is wrong with the files themselves is another check's to say.
        let rules = config.governance(FlagService::defaults()).map(|files| files.current());
        let paged = rules.map(|rules| rules.policy.paging.clone()).unwrap_or_default();
        checks.push(Check::new("pagerduty, live", pagerduty(settings, &paged).await));
    }
    if let Some(settings) = &vendors.statuspage {
        checks.push(Check::new("statuspage, live", statuspage(settings).await));
    }
    if let Some(settings) = &vendors.confluence {
        checks.push(Check::new("confluence, live", confluence(settings).await));
    }
    if let Some(settings) = &vendors.jira {
        checks.push(Check::new("jira, live", jira(settings).await));
    }
    if let Some(settings) = &vendors.github {
        checks.push(Check::new("github, live", github(settings).await));
    }
    checks
}

async fn database(config: &Config) -> Result<String, Failure> {
    let log = config.open_existing_log().await.map_err(Failure::from)?;
    log.ping().await.map_err(|error| {
        Failure::failed(format!("DATABASE_URL: {error}"), "start the database, or correct DATABASE_URL")
    })?;
    Ok("answers".to_owned())
}

async fn temporal(config: &Config) -> Result<String, Failure> {
    let client = config.temporal_client().await.map_err(Failure::from)?;
    let namespace = &config.temporal_namespace;
    let missing = missing_search_attributes(&client, namespace).await.map_err(|error| {
        Failure::failed(
            format!("TEMPORAL_NAMESPACE: {namespace} cannot be read: {error:#}"),
            "make it with `harmony temporal setup`, or correct TEMPORAL_NAMESPACE",
        )
    })?;
    if missing.is_empty() {
        return Ok(format!("answers, namespace {namespace} is set up"));
    }
    Err(Failure::failed(
        format!("TEMPORAL_NAMESPACE: {namespace} lacks the search attributes {}", missing.join(", ")),
        "run `harmony temporal setup`",
    ))
}

async fn slack(settings: &SlackSettings) -> Result<String, Failure> {
    let slack = Slack::new(&settings.base_url, settings.bot_token.clone())
        .map_err(|error| address("SLACK_BASE_URL", &error.to_string()))?;
    let granted = slack
        .granted_scopes()
        .await
        .map_err(|error| refused(&error, "SLACK_BOT_TOKEN", "SLACK_BOT_TOKEN", "SLACK_BASE_URL"))?;
    let Some(granted) = granted else {
        return Ok("the token is taken; which scopes it has is not said".to_owned());
    };
    let missing: Vec<&str> =
        SLACK_SCOPES.into_iter().filter(|scope| !granted.iter().any(|one| one == scope)).collect();
    if missing.is_empty() {
        return Ok("the token is taken and has every scope".to_owned());
    }
    Err(Failure::failed(
        format!("SLACK_BOT_TOKEN: it lacks the scopes {}", missing.join(", ")),
        "add them to the app (deploy/slack-app.yaml), install it again, and take its new token",
    ))
}

async fn sockets(settings: &SlackSettings, token: SecretString) -> Result<String, Failure> {
    let sockets = SlackSockets::new(&settings.base_url, token)
        .map_err(|error| address("SLACK_BASE_URL", &error.to_string()))?;
    sockets.check().await.map_err(|error| {
        let hint = "make an app-level token (xapp-…) with the scope connections:write";
        Failure {
            hint: hint.to_owned(),
            ..refused(&error, "SLACK_APP_TOKEN", "SLACK_APP_TOKEN", "SLACK_BASE_URL")
        }
    })?;
    Ok("the app's token may open them".to_owned())
}

async fn pagerduty(settings: &PagerDutySettings, paged: &Paged) -> Result<String, Failure> {
    let pagerduty = PagerDuty::new(&settings.base_url, settings.api_key.clone(), settings.from.clone())
        .map_err(|error| address("PAGERDUTY_BASE_URL", &error.to_string()))?;
    let found = pagerduty.find_service(&settings.service_id).await;
    found.map_err(|error| {
        refused(&error, "PAGERDUTY_API_KEY", "PAGERDUTY_SERVICE_ID", "PAGERDUTY_BASE_URL")
    })?;
    for (role, target) in paged {
        let setting = format!("HARMONY_POLICY: paging for {}", role.name());
        let wrong = |error: &CallError| refused(error, "PAGERDUTY_API_KEY", &setting, "PAGERDUTY_BASE_URL");
        if let Some(service) = &target.service {
            pagerduty.find_service(service).await.map_err(|error| wrong(&error))?;
        }
        if let Some(policy) = &target.escalation_policy {
            let people = pagerduty.on_call(policy).await.map_err(|error| wrong(&error))?;
            if people.is_empty() {
                return Err(Failure::failed(
                    format!("{setting}: nobody is on call under {policy}"),
                    "correct it, or fill the escalation policy at PagerDuty",
                ));
            }
        }
    }
    let named = if paged.is_empty() { "" } else { ", and what the policy pages" };
    Ok(format!("the key is taken; service {} is there{named}", settings.service_id))
}

async fn statuspage(settings: &StatuspageSettings) -> Result<String, Failure> {
    let statuspage = Statuspage::new(&settings.base_url, settings.api_key.clone(), settings.page_id.clone())
        .map_err(|error| address("STATUSPAGE_BASE_URL", &error.to_string()))?;
    // Nobody's key: what is asked is whether its incidents may be read.
    let found = statuspage.find_incident(&Uuid::nil()).await;
    found.map_err(|error| {
        refused(&error, "STATUSPAGE_API_KEY", "STATUSPAGE_PAGE_ID", "STATUSPAGE_BASE_URL")
    })?;
    Ok(format!("the key is taken; page {} is there", settings.page_id))
}

async fn confluence(settings: &ConfluenceSettings) -> Result<String, Failure> {
    let confluence = Confluence::new(&settings.base_url, settings.email.clone(), settings.api_token.clone())
        .map_err(|error| address("CONFLUENCE_BASE_URL", &error.to_string()))?;
    let found = confluence.find_space(&settings.space_key).await;
    found.map_err(|error| {
        refused(&error, "CONFLUENCE_API_TOKEN", "CONFLUENCE_SPACE_KEY", "CONFLUENCE_BASE_URL")
    })?;
    Ok(format!("the token is taken; space {} is there", settings.space_key))
}

async fn jira(settings: &JiraSettings) -> Result<String, Failure> {
    let JiraSettings { base_url, email, api_token, project_key, issue_type } = settings;
    let jira = Jira::new(base_url, email, api_token.clone(), project_key, issue_type)
        .map_err(|error| address("JIRA_BASE_URL", &error.to_string()))?;
    let found = jira.find_project().await;
    let key =
        found.map_err(|error| refused(&error, "JIRA_API_TOKEN", "JIRA_PROJECT_KEY", "JIRA_BASE_URL"))?;
    Ok(format!("the token is taken; project {key} is there"))
}

async fn github(settings: &GitHubSettings) -> Result<String, Failure> {
    let GitHubSettings { base_url, token, repository } = settings;
    let github = GitHub::new(base_url, token.clone(), repository.clone())
        .map_err(|error| address("GITHUB_BASE_URL", &error.to_string()))?;
    let found = github.find_repository().await;
    let name =
        found.map_err(|error| refused(&error, "GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_BASE_URL"))?;
    Ok(format!("the token is taken; repository {name} is there and has issues"))
}

fn address(setting: &str, problem: &str) -> Failure {
    Failure::usage(format!("{setting}: {problem}"), format!("correct {setting}"))
}

/// Which setting a refusal is about, in the vendor's own words.
fn refused(error: &CallError, token: &str, subject: &str, base_url: &str) -> Failure {
    let (setting, hint) = match error.fate() {
        Fate::Unauthorized => (token, "make a token that may do what docs/operations.md says"),
        Fate::Rejected => (subject, "correct it: what it names is not there, or the token may not see it"),
        Fate::Limited { .. } => (token, "ask again later: the vendor limits this token"),
        Fate::Unavailable | Fate::Unknown => (base_url, "see that the vendor can be reached from here"),
    };
    Failure::failed(format!("{setting}: {error}"), hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::{Json, Router, http::HeaderMap, routing::post};
    use harmony_sandbox::{Sandbox, SandboxOptions};
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_are_those_of_the_apps_manifest() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/slack-app.yaml");
        let manifest: serde_json::Value =
            serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(manifest["oauth_config"]["scopes"]["bot"], json!(SLACK_SCOPES));
    }

    /// A Slack that says which scopes the token has.
    async fn slack_with(scopes: &'static str) -> Result<String, Failure> {
        let answer = async move || {
            let mut headers = HeaderMap::new();
            headers.insert("x-oauth-scopes", scopes.parse().unwrap());
            let who = json!({ "ok": true, "url": "https://x.slack.com/", "team": "x", "team_id": "T1",
                "user": "harmony", "user_id": "U1", "bot_id": "B1", "is_enterprise_install": false });
            (headers, Json(who))
        };
        let router = Router::new().route("/api/auth.test", post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/api", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        slack(&SlackSettings { base_url, bot_token: "xoxb-1".into(), app_token: None }).await
    }

    #[tokio::test]
    async fn missing_scopes_are_named() {
        crate::install_crypto();
        let all = "channels:history,channels:manage,channels:read,chat:write,commands,groups:history,groups:read,groups:write,pins:write,more";
        assert!(slack_with(all).await.is_ok());
        let few = "channels:history,channels:manage,commands,groups:history,groups:read,pins:write";
        let failure = slack_with(few).await.unwrap_err();
        assert_eq!(
            failure.what,
            "SLACK_BOT_TOKEN: it lacks the scopes channels:read, chat:write, groups:write"
        );
        assert!(failure.hint.contains("deploy/slack-app.yaml"), "{}", failure.hint);
    }

    #[tokio::test]
    async fn refusal_names_the_setting_and_a_working_one_is_said_to_be() {
        crate::install_crypto();
        let sandbox = Sandbox::start(SandboxOptions::on_free_ports("unused".into())).await.unwrap();
        let urls = sandbox.base_urls();
        let slack_settings =
            || SlackSettings { base_url: urls.slack.clone(), bot_token: "xoxb-1".into(), app_token: None };
        let pagerduty_settings = || PagerDutySettings {
            base_url: urls.pagerduty.clone(),
            api_key: "sandbox".into(),
            from: "operator@example.com".to_owned(),
            service_id: "PSANDBOX".to_owned(),
        };
        let statuspage_settings = || StatuspageSettings {
            base_url: urls.statuspage.clone(),
            api_key: "sandbox".into(),
            page_id: "sandboxpage1".to_owned(),
        };
        let confluence_settings = || ConfluenceSettings {
            base_url: urls.confluence.clone(),
            email: "operator@example.com".to_owned(),
            api_token: "sandbox".into(),
            space_key: "OPS".to_owned(),
        };
        let jira_settings = || JiraSettings {
            base_url: urls.jira.clone(),
            email: "operator@example.com".to_owned(),
            api_token: "sandbox".into(),
            project_key: "OPS".to_owned(),
            issue_type: "Task".to_owned(),
        };
        let github_settings = || GitHubSettings {
            base_url: urls.github.clone(),
            token: "sandbox".into(),
            repository: "acme/shop".parse().unwrap(),
        };
        for found in [
            slack(&slack_settings()).await,
            sockets(&slack_settings(), "xapp-1".into()).await,
            pagerduty(&pagerduty_settings(), &BTreeMap::new()).await,
            statuspage(&statuspage_settings()).await,
            confluence(&confluence_settings()).await,
            jira(&jira_settings()).await,
            github(&github_settings()).await,
        ] {
            assert!(found.is_ok(), "{}", found.unwrap_err().what);
        }

        let http = reqwest::Client::new();
        let fail = async |origin: &str, status: u16, times: usize| {
            let mut url = url::Url::parse(origin).unwrap();
            url.set_path("/_sandbox/faults");
            let fault = json!({ "match": {}, "times": times, "fault": "status", "status": status });
            assert!(http.post(url).json(&fault).send().await.unwrap().status().is_success());
        };
        // What the policy pages is there, or is not, whatever the other setting names.
        let named = |service: &str| {
            let target = PageTarget {
                service: Some(service.to_owned()),
                escalation_policy: Some("PLEADS".to_owned()),
            };
            BTreeMap::from([(Role::Manager, target)])
        };
        let found = pagerduty(&pagerduty_settings(), &named("PMANAGERS")).await.unwrap();
        assert!(found.ends_with("and what the policy pages"), "{found}");
        let failure = pagerduty(&pagerduty_settings(), &named("XGONE")).await.unwrap_err();
        assert!(
            failure.what.starts_with("HARMONY_POLICY: paging for incident-manager: "),
            "{}",
            failure.what
        );

        // What the setting names is not there, and where the vendor should be is nobody.
        fail(&urls.pagerduty, 404, 1).await;
        fail(&urls.statuspage, 404, 1).await;
        fail(&urls.jira, 404, 1).await;
        fail(&urls.github, 404, 1).await;
        let nobody =
            ConfluenceSettings { base_url: "http://127.0.0.1:9".to_owned(), ..confluence_settings() };
        for (found, setting) in [
            (pagerduty(&pagerduty_settings(), &BTreeMap::new()).await, "PAGERDUTY_SERVICE_ID: "),
            (statuspage(&statuspage_settings()).await, "STATUSPAGE_PAGE_ID: "),
            (confluence(&nobody).await, "CONFLUENCE_BASE_URL: "),
            (jira(&jira_settings()).await, "JIRA_PROJECT_KEY: "),
            (github(&github_settings()).await, "GITHUB_REPOSITORY: "),
        ] {
            let failure = found.expect_err(setting);
            assert!(failure.what.starts_with(setting), "{}", failure.what);
        }

        for origin in
            [&urls.slack, &urls.pagerduty, &urls.statuspage, &urls.confluence, &urls.jira, &urls.github]
        {
            fail(origin, 401, 9).await;
        }
        for (found, setting) in [
            (slack(&slack_settings()).await, "SLACK_BOT_TOKEN: "),
            (sockets(&slack_settings(), "xapp-1".into()).await, "SLACK_APP_TOKEN: "),
            (pagerduty(&pagerduty_settings(), &BTreeMap::new()).await, "PAGERDUTY_API_KEY: "),
            (statuspage(&statuspage_settings()).await, "STATUSPAGE_API_KEY: "),
            (confluence(&confluence_settings()).await, "CONFLUENCE_API_TOKEN: "),
            (jira(&jira_settings()).await, "JIRA_API_TOKEN: "),
            (github(&github_settings()).await, "GITHUB_TOKEN: "),
        ] {
            let failure = found.unwrap_err();
            assert!(failure.what.starts_with(setting), "{}", failure.what);
        }

        for origin in
            [&urls.slack, &urls.pagerduty, &urls.statuspage, &urls.confluence, &urls.jira, &urls.github]
        {
            let mut url = url::Url::parse(origin).unwrap();
            url.set_path("/_sandbox/requests");
            let asked: serde_json::Value = http.get(url).send().await.unwrap().json().await.unwrap();
            let harmless = |one: &serde_json::Value| {
                let path = one["path"].as_str().unwrap();
                one["method"] == "GET"
                    || ["auth.test", "apps.connections.open"].iter().any(|it| path.ends_with(it))
            };
            let asked = asked.as_array().unwrap();
            assert!(asked.len() >= 2 && asked.iter().all(harmless), "{asked:?}");
        }
    }
}
