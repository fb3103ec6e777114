//! Values for the chart in deploy/helm/harmony, and a manifest of the secrets that its pods read.

use std::path::Path;

use harmony_incidents::ticket::TicketKey;
use serde_json::Value;

use super::installation::{ACCESS, File, Site, Temporal, policy};
use crate::{keys, sample};

/// The two files, and what is done with them.
pub(super) fn installation(
    site: &Site,
    folder: &Path,
    directory: &str,
) -> anyhow::Result<(Vec<File>, Vec<String>)> {
    let ticket = keys::random_hex()?;
    let public = TicketKey::parse(&ticket)?.public();
    let files = vec![
        File { path: "values.yaml".to_owned(), text: values(site, directory, &public), mode: 0o644 },
        File { path: "secrets.yaml".to_owned(), text: secrets(site, &ticket)?, mode: 0o600 },
    ];
    let folder = folder.display();
    let mut next = vec![
        "kubectl create namespace harmony".to_owned(),
        format!(
            "kubectl --namespace harmony apply --filename {folder}/secrets.yaml   # then keep it apart from the database: HARMONY_SALT_KEY can never be changed"
        ),
        format!(
            "helm install harmony deploy/helm/harmony --namespace harmony --values {folder}/values.yaml --set image.repository=REGISTRY/harmony"
        ),
    ];
    if matches!(site.temporal, Temporal::Cloud { .. }) {
        next.insert(
            1,
            format!("put the API key into {folder}/secrets.yaml, as TEMPORAL_API_KEY of harmony-temporal"),
        );
    }
    Ok((files, next))
}

fn values(site: &Site, directory: &str, ticket_public: &str) -> String {
    let mut text = String::from(
        "# Values for the chart in deploy/helm/harmony; its values.yaml says what else there is. Runbooks are those of the\n\
         # image until `runbooks` has files.\n\nconfig:\n",
    );
    let ticket = ("HARMONY_TICKET_PUBLIC_KEY", ticket_public.to_owned());
    for (name, value) in site.settings().into_iter().chain([ticket]) {
        text.push_str(&format!("  {name}: {}\n", quoted(&value)));
    }
    text.push_str("\ngovernance:\n");
    block(&mut text, 2, "directory", directory);
    block(&mut text, 2, "policy", &policy());
    block(&mut text, 2, "accessPolicies", ACCESS);
    for (key, files) in [
        ("promotionPolicies", &sample::PROMOTION_POLICIES[..]),
        ("environmentPolicies", &sample::ENVIRONMENT_POLICIES[..]),
        ("updateTemplates", &sample::UPDATE_TEMPLATES[..]),
    ] {
        text.push_str(&format!("\n{key}:\n"));
        for (name, file) in files {
            block(&mut text, 2, name, file);
        }
    }
    text
}

fn secrets(site: &Site, ticket: &str) -> anyhow::Result<String> {
    let mut secrets = vec![
        (
            "database",
            vec![
                ("DATABASE_URL", site.postgres.clone().unwrap_or_default()),
                ("HARMONY_SALT_KEY", keys::random_hex()?),
            ],
        ),
        (
            "attestation",
            vec![
                ("HARMONY_ATTESTATION_KEY", keys::random_hex()?),
                ("HARMONY_CHECKPOINT_KEY", keys::random_hex()?),
            ],
        ),
        ("session", vec![("HARMONY_SESSION_KEY", keys::random_hex()?)]),
        ("ticket", vec![("HARMONY_TICKET_KEY", ticket.to_owned())]),
    ];
    if matches!(site.temporal, Temporal::Cloud { .. }) {
        secrets.push(("temporal", vec![("TEMPORAL_API_KEY", String::new())]));
    }
    let mut text = String::from(
        "# What the pods read. Keep this file as you keep secrets, apart from the database: HARMONY_SALT_KEY can never be\n\
         # changed. Tokens of Slack and the other vendors go into a Secret harmony-vendors (docs/operations.md).\n",
    );
    for (name, data) in secrets {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: harmony-{name}\nstringData:\n"
        ));
        for (key, value) in data {
            text.push_str(&format!("  {key}: {}\n", quoted(&value)));
        }
    }
    Ok(text)
}

/// A text that YAML reads as it is: JSON's form of it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A key, and a text of several lines below it.
fn block(text: &mut String, indent: usize, key: &str, value: &str) {
    let (margin, deeper) = (" ".repeat(indent), " ".repeat(indent + 2));
    text.push_str(&format!("{margin}{key}: |\n"));
    for line in value.trim_end().lines() {
        text.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("{deeper}{line}\n") });
    }
}
