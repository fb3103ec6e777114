//! In-process stand-ins for those Harmony talks to: Slack (Web API and interactions), PagerDuty
//! (REST v2 and Events v2), Statuspage v1, Confluence Cloud v2, Jira Cloud v3, GitHub (issues,
//! both with their webhooks), and a mail server.
//!
//! `harmony sandbox`, `dev`, `demo` and the end-to-end tests start one [`Sandbox`]: an
//! HTTP server each on loopback that keep what they are told in memory and answer with the
//! vendors' own rules, refusals and error shapes. Requests are checked against the
//! descriptions in `specs/`.
//!
//! Guaranteed: every port is bound before [`Sandbox::start`] returns; every vendor request is
//! on `GET /_sandbox/requests`, in order and without its credentials; a fault asked for with
//! `POST /_sandbox/faults` hits the next matching requests and no others; work that has begun
//! is finished even when the client hangs up, as it is at a vendor.
//!
//! Left to others: whether what Harmony sends makes sense. The sandbox knows no incident.

mod call;
mod clock;
mod confluence;
mod faults;
mod github;
mod inspection;
mod jira;
mod keep;
mod limits;
mod mail;
mod overview;
mod pagerduty;
mod requests;
mod server;
mod slack;
mod spec;
mod stand_in;
mod statuspage;
mod webhook;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;
use serde::Serialize;

use crate::server::{Listener, Server};

/// How to start a [`Sandbox`]. A port of 0 takes a free one.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Port of the Slack stand-in.
    pub slack_port: u16,
    /// Port of the PagerDuty stand-in.
    pub pagerduty_port: u16,
    /// Port of the Statuspage stand-in.
    pub statuspage_port: u16,
    /// Port of the Confluence stand-in.
    pub confluence_port: u16,
    /// Port of the Jira stand-in.
    pub jira_port: u16,
    /// Port of the GitHub stand-in.
    pub github_port: u16,
    /// Port where the mail stand-in shows what it took.
    pub mail_port: u16,
    /// Port where it takes mail.
    pub smtp_port: u16,
    /// Origin of Harmony's HTTP server, where clicks and webhooks are delivered. May be set later with
    /// [`Sandbox::set_harmony_url`].
    pub harmony_url: Option<String>,
    /// Secret with which interactions are signed, as `SLACK_SIGNING_SECRET`.
    pub signing_secret: SecretString,
    /// Secret with which Jira's webhooks are signed, as `JIRA_WEBHOOK_SECRET`.
    pub jira_webhook_secret: SecretString,
    /// Secret with which GitHub's webhooks are signed, as `HARMONY_GITHUB_SECRET`.
    pub github_webhook_secret: SecretString,
    /// Folder in which they keep what they remember between two runs, one file each; it must be there. Without it they
    /// forget.
    pub memory: Option<PathBuf>,
}

impl SandboxOptions {
    /// Free ports, no address of Harmony yet, and one secret for all that is signed.
    pub fn on_free_ports(signing_secret: SecretString) -> Self {
        Self {
            slack_port: 0,
            pagerduty_port: 0,
            statuspage_port: 0,
            confluence_port: 0,
            jira_port: 0,
            github_port: 0,
            mail_port: 0,
            smtp_port: 0,
            harmony_url: None,
            jira_webhook_secret: signing_secret.clone(),
            github_webhook_secret: signing_secret.clone(),
            signing_secret,
            memory: None,
        }
    }
}

/// One address a vendor.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Origins {
    /// Slack.
    pub slack: String,
    /// PagerDuty.
    pub pagerduty: String,
    /// Statuspage.
    pub statuspage: String,
    /// Confluence.
    pub confluence: String,
    /// Jira.
    pub jira: String,
    /// GitHub.
    pub github: String,
    /// Mail that was taken; as a base address, where mail is handed in.
    pub mail: String,
}

/// Running stand-ins. Dropping it stops them.
#[derive(Debug)]
pub struct Sandbox {
    origins: Origins,
    harmony_url: HarmonyUrl,
    smtp: mail::SmtpServer,
    _servers: [Server; 7],
}

impl Sandbox {
    /// Binds the ports on 127.0.0.1 and serves them on tasks of the current runtime.
    ///
    /// When it returns, every stand-in accepts connections.
    ///
    /// # Errors
    /// A port cannot be bound, or what is kept in the folder cannot be read.
    pub async fn start(options: SandboxOptions) -> io::Result<Sandbox> {
        let slack = Listener::bind(options.slack_port).await?;
        let pagerduty = Listener::bind(options.pagerduty_port).await?;
        let statuspage = Listener::bind(options.statuspage_port).await?;
        let confluence = Listener::bind(options.confluence_port).await?;
        let jira = Listener::bind(options.jira_port).await?;
        let github = Listener::bind(options.github_port).await?;
        let mail = Listener::bind(options.mail_port).await?;
        let (smtp, letters) = mail::start(options.smtp_port).await?;
        let origins = Origins {
            slack: slack.origin().to_owned(),
            pagerduty: pagerduty.origin().to_owned(),
            statuspage: statuspage.origin().to_owned(),
            confluence: confluence.origin().to_owned(),
            jira: jira.origin().to_owned(),
            github: github.origin().to_owned(),
            mail: mail.origin().to_owned(),
        };
        let harmony_url = HarmonyUrl::default();
        if let Some(origin) = &options.harmony_url {
            harmony_url.set(origin);
        }
        let memory = options.memory.as_deref();
        let servers = [
            slack.serve(
                slack::Slack::new(
                    &origins.slack,
                    harmony_url.clone(),
                    options.signing_secret,
                    slack::Sockets::start().await?,
                ),
                memory,
            )?,
            pagerduty.serve(pagerduty::PagerDuty::new(&origins.pagerduty), memory)?,
            statuspage.serve(statuspage::Statuspage::new(&origins.statuspage), memory)?,
            confluence.serve(confluence::Confluence::new(&origins.confluence), memory)?,
            jira.serve(
                jira::Jira::new(&origins.jira, harmony_url.clone(), options.jira_webhook_secret),
                memory,
            )?,
            github.serve(
                github::GitHub::new(&origins.github, harmony_url.clone(), options.github_webhook_secret),
                memory,
            )?,
            mail.serve(letters, memory)?,
        ];
        Ok(Sandbox { origins, harmony_url, smtp, _servers: servers })
    }

    /// Where clicks and webhooks go from now on: the origin of Harmony's HTTP server.
    pub fn set_harmony_url(&self, origin: &str) {
        self.harmony_url.set(origin);
    }

    /// `http://127.0.0.1:PORT` of each stand-in.
    pub fn origins(&self) -> Origins {
        self.origins.clone()
    }

    /// What the `*_BASE_URL` settings take: the origins with the path of the vendor's API.
    pub fn base_urls(&self) -> Origins {
        Origins {
            slack: format!("{}/api", self.origins.slack),
            pagerduty: self.origins.pagerduty.clone(),
            statuspage: format!("{}/v1", self.origins.statuspage),
            confluence: format!("{}/wiki/api/v2", self.origins.confluence),
            jira: self.origins.jira.clone(),
            github: self.origins.github.clone(),
            mail: format!("smtp://{}", self.smtp.address),
        }
    }
}

/// The origin of Harmony's HTTP server, shared with the stand-ins that deliver clicks and webhooks.
#[derive(Clone, Debug, Default)]
pub(crate) struct HarmonyUrl(Arc<RwLock<Option<String>>>);

impl HarmonyUrl {
    fn set(&self, origin: &str) {
        let origin = origin.trim_end_matches('/').to_owned();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
