//! `harmony sandbox`: the stand-ins alone.

use harmony_sandbox::{Sandbox, SandboxOptions};
use secrecy::SecretString;

use crate::{cli::SandboxArgs, commands::stopped, config::Config, failure::Failure, keys, output};

/// Runs until it is stopped.
pub(crate) async fn run(config: &Config, args: &SandboxArgs, json: bool) -> anyhow::Result<()> {
    let after = |offset: u16| if args.port == 0 { Some(0) } else { args.port.checked_add(offset) };
    let ports = (after(1), after(2), after(3), after(4), after(5), after(6), after(7));
    let (
        Some(pagerduty_port),
        Some(statuspage_port),
        Some(confluence_port),
        Some(jira_port),
        Some(github_port),
        Some(mail_port),
        Some(smtp_port),
    ) = ports
    else {
        let what = format!("--port {}: the seven ports after it do not exist", args.port);
        return Err(Failure::usage(what, "take a lower port").into());
    };
    let given = args.signing_secret.clone().map(SecretString::from);
    let signing_secret = match given.or_else(|| config.slack_signing_secret.clone()) {
        Some(secret) => secret,
        None => SecretString::from(keys::random_hex()?),
    };
    // A tracker signs with the first of the secrets that Harmony takes from it.
    let of_tracker = |setting: &str| {
        let given = config.settings.get(setting).and_then(|given| given.split(',').map(str::trim).next());
        given.map_or_else(|| signing_secret.clone(), SecretString::from)
    };
    let options = SandboxOptions {
        slack_port: args.port,
        pagerduty_port,
        statuspage_port,
        confluence_port,
        jira_port,
        github_port,
        mail_port,
        smtp_port,
        harmony_url: args.harmony.clone(),
        jira_webhook_secret: of_tracker("JIRA_WEBHOOK_SECRET"),
        github_webhook_secret: of_tracker("HARMONY_GITHUB_SECRET"),
        signing_secret,
        memory: None,
    };
    let sandbox = Sandbox::start(options).await.map_err(|error| {
        Failure::failed(
            format!("the sandbox does not start: {error}"),
            "take another --port, or leave it out",
        )
    })?;
    let origins = sandbox.origins();
    if json {
        output::json(&origins);
    } else {
        output::data(&format!("slack       {}", origins.slack));
        output::data(&format!("pagerduty   {}", origins.pagerduty));
        output::data(&format!("statuspage  {}", origins.statuspage));
        output::data(&format!("confluence  {}", origins.confluence));
        output::data(&format!("jira        {}", origins.jira));
        output::data(&format!("github      {}", origins.github));
        output::data(&format!("mail        {}  ({})", origins.mail, sandbox.base_urls().mail));
        if args.harmony.is_none() {
            output::say("clicks and webhooks go nowhere: name Harmony's origin with --harmony URL");
        }
    }
    stopped().await;
    Ok(())
}
