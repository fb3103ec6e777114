//! `harmony user link`: an address that signs somebody in at the console, once, within ten minutes.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{config::Config, failure::Failure, output, sample};

/// How long to wait for a link.
const PATIENCE: Duration = Duration::from_secs(5);

/// A link for whose token this is; nothing where none can be had.
pub(crate) async fn ask(origin: &str, token: &SecretString) -> Option<String> {
    let http = harmony_capabilities::address::builder(origin).no_proxy().timeout(PATIENCE).build().ok()?;
    let asked = http.post(format!("{origin}/sign-in/code")).bearer_auth(token.expose_secret());
    let answer: Value = asked.send().await.ok()?.json().await.ok()?;
    Some(format!("{origin}{}", answer["path"].as_str()?))
}

/// Prints a link for somebody whose token is in the data directory, or for whose token is used.
pub(crate) async fn run(config: &Config, id: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let token = match id {
        Some(id) => sample::known_tokens(config)?.remove(id),
        None => config.token()?,
    };
    let token = token.ok_or_else(|| match id {
        Some(id) => Failure::not_found(
            format!("there is no token of {id} in {}", config.in_data_dir("tokens").display()),
            "it has those that `harmony dev` wrote; with another token: HARMONY_TOKEN=… harmony user link",
        ),
        None => {
            Failure::usage("no token is known", "set HARMONY_TOKEN, or name somebody of the sample directory")
        }
    })?;
    let origin = config.api_origin()?.context("no API is known: start `harmony dev` or set HARMONY_API")?;
    let origin = origin.as_str().trim_end_matches('/');
    let link = ask(origin, &token).await.ok_or_else(|| {
        Failure::failed(
            format!("{origin} gives no link"),
            "look whether it runs, and whether it knows the token",
        )
    })?;
    if json {
        output::json(&json!({ "link": link }));
    } else {
        output::data(&link);
        output::say("it signs in once, within ten minutes");
    }
    Ok(ExitCode::SUCCESS)
}
