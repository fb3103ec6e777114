//! What `dev` prints when everything is up: the doors, a way in for each person of the sample directory, and what to try.

use harmony_sandbox::Origins;
use secrecy::ExposeSecret;

use super::{Installation, webhooks};
use crate::{
    commands::sign_in_link,
    output, sample,
    terminal::{Tone, span},
};

/// Prints it.
pub(super) async fn print(installation: &Installation) {
    let (config, origin) = (&installation.config, installation.origin());
    let dir = config.data_dir.display();
    let Origins { slack, pagerduty, statuspage, confluence, jira, github, mail } =
        installation.sandbox.origins();
    let row = |label: &str, value: &str| {
        output::spans(&[span(Tone::Strong, format!("{label:<11}")), value.into()]);
    };
    row("Slack", &format!("{slack}/  (a stand-in that you can click; who you are is chosen at its top)"));
    row("Console", &origin);
    row(
        "Others",
        &format!("PagerDuty {pagerduty}/  Statuspage {statuspage}/  Confluence {confluence}/  Mail {mail}/"),
    );
    row("Trackers", &format!("Jira {jira}/  GitHub {github}/"));
    row("Temporal", &format!("{}, namespace {}", config.temporal_address, config.temporal_namespace));
    row("Data", &format!("{dir}  (logs in {dir}/logs)"));
    row(
        "Webhooks",
        &format!(
            "{origin}/webhooks/alertmanager, grafana, pagerduty  (secrets in {dir}/{})",
            webhooks::FOLDER
        ),
    );
    let tokens = sample::known_tokens(config).unwrap_or_default();
    if !tokens.is_empty() {
        output::data("");
        output::data("Sign in as one of them; a link works once, within ten minutes:");
    }
    for (id, about) in sample::people() {
        let Some(token) = tokens.get(id) else { continue };
        let link = sign_in_link::ask(&origin, token).await.unwrap_or_else(|| origin.clone());
        output::spans(&[span(Tone::Strong, format!("  {id:<10}")), span(Tone::Faint, about)]);
        output::data(&format!("    link   {link}"));
        output::spans(&[span(Tone::Faint, format!("    token  {}", token.expose_secret()))]);
    }
    output::data("");
    output::data("Try, in another terminal:");
    let harmony = harmony(installation);
    for line in [
        format!("{harmony} incident declare \"Checkout is down\" --severity P1 --wait"),
        format!("{harmony} incident remediate 1 --runbook rollback-deployment.md --verify postcheck"),
        format!("HARMONY_TOKEN=$(cat {dir}/tokens/commander) {harmony} approval approve 1 --wait"),
        format!("{harmony} incident show 1 --follow"),
    ] {
        output::data(&format!("  {line}"));
    }
    output::data(&format!("Another link: {harmony} user link ID. Ctrl-c stops everything."));
}

/// The program, as it is called for this installation.
fn harmony(installation: &Installation) -> String {
    let config = &installation.config;
    match config.settings.get("HARMONY_DATA_DIR") {
        Some(_) => format!("harmony --data-dir {}", config.data_dir.display()),
        None => "harmony".to_owned(),
    }
}
