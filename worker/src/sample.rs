//! What `dev` and `demo` write where nothing is: a directory of seven principals, a policy, runbooks, services, and
//! everybody's tokens.
//!
//! Never overwrites a file. Each principal has a token in `<data-dir>/tokens`, which only the owner reads; the directory
//! holds its hash. The token of `operator` lies in `<data-dir>/token`, too, where the commands look for theirs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{config::Config, keys};

pub(crate) const RUNBOOKS: [(&str, &str); 8] = [
    ("drain-node.md", include_str!("../../runbooks/drain-node.md")),
    ("kubernetes/drain.md", include_str!("../../runbooks/kubernetes/drain.md")),
    ("kubernetes/failover.md", include_str!("../../runbooks/kubernetes/failover.md")),
    ("kubernetes/restart.md", include_str!("../../runbooks/kubernetes/restart.md")),
    ("kubernetes/rollback.md", include_str!("../../runbooks/kubernetes/rollback.md")),
    ("kubernetes/scale.md", include_str!("../../runbooks/kubernetes/scale.md")),
    ("restart-service.md", include_str!("../../runbooks/restart-service.md")),
    ("rollback-deployment.md", include_str!("../../runbooks/rollback-deployment.md")),
];

pub(crate) const PROMOTION_POLICIES: [(&str, &str); 2] = [
    ("alerts.toml", include_str!("../../policies/alerts.toml")),
    ("pagerduty.toml", include_str!("../../policies/pagerduty.toml")),
];

pub(crate) const ENVIRONMENT_POLICIES: [(&str, &str); 2] = [
    ("weekday.toml", include_str!("../../policies/environments/weekday.toml")),
    ("year-end.toml", include_str!("../../policies/environments/year-end.toml")),
];

pub(crate) const UPDATE_TEMPLATES: [(&str, &str); 4] = [
    ("investigating.toml", include_str!("../../templates/updates/investigating.toml")),
    ("monitoring.toml", include_str!("../../templates/updates/monitoring.toml")),
    ("public-investigating.toml", include_str!("../../templates/updates/public-investigating.toml")),
    ("public-resolved.toml", include_str!("../../templates/updates/public-resolved.toml")),
];

/// The file of the sample services.
pub(crate) const CATALOG: &str = "catalog.toml";

/// Id, name, Slack user of the sandbox, roles.
const PEOPLE: [(&str, &str, &str, &[&str]); 7] = [
    ("operator", "Olivia Operator", "U00OPERATOR", &EVERY_ROLE),
    ("admin", "Ada Admin", "U0000ADMIN", &EVERY_ROLE),
    ("commander", "Chris Commander", "U0COMMANDER", &["incident-commander"]),
    ("oncall", "Oskar Oncall", "U0000ONCALL", &["sre-oncall"]),
    ("manager", "Mara Manager", "U000MANAGER", &["incident-manager"]),
    ("viewer", "Vera Viewer", "U0000VIEWER", &["incident-viewer"]),
    ("deployer", "Dora Deployer", "U00DEPLOYER", &["deployer"]),
];

/// Whose token the commands of this machine use.
const OPERATOR: &str = "operator";

const EVERY_ROLE: [&str; 8] = [
    "incident-viewer",
    "incident-responder",
    "sre-oncall",
    "incident-commander",
    "incident-manager",
    "org-admin",
    "incident-approver",
    "deployer",
];

/// The head of the sample policy: what lets somebody try the gates with the `temporal` CLI.
const BY_HAND: &str = r#"# What has a gate, who may open it, how long each level has. What is not here has its default; an unknown name is an
# error. Read again whenever it changes.

# Decisions and starts sent straight to Temporal (`temporal workflow signal`, `temporal workflow start`): judged by the
# directory all the same, and marked as not attested. The default, for where it counts, is "refuse".
manual_signals = "accept"
manual_starts = "accept"

"#;

/// What a policy may say, with the defaults that people most often ask about.
pub(crate) const POLICY: &str = r#"# The time zone of reviews and of updates that begin as a template, such as "Europe/Berlin".
zone = "UTC"

# Slack channel in which owners are reminded of follow-ups that are overdue, once a week; else the incident's own.
#
# follow_ups_channel = "C0123ABCD"

# Nobody approves what they asked for themselves.
four_eyes = true

# Whether a P1 or P2 gate may be approved under EMERGENCY_OVERRIDE (approval approve --break-glass).
break_glass = true

# Those who may decide are reminded once a level, at half its time.
remind = true

# How many must approve, by gate: remediate, status-page, unknown-cell, manual-step, checkpoint, close-out,
# archive-channel, publish-review. One rejection rejects all the same.
#
# [quorum]
# remediate = 2

# Where a level is paged: PagerDuty's id of a service, of an escalation policy, or both, by role; the first of the level's
# roles that is named here counts. Without it, PAGERDUTY_SERVICE_ID. `harmony config check --live` looks whether they are
# there; a page that PagerDuty refuses goes to PAGERDUTY_SERVICE_ID and says why.
#
# [paging.incident-manager]
# service = "PABC123"
# escalation_policy = "PDEF456"

# For example, a P2 whose second level has ten minutes:
#
# [[urgent.P2]]
# roles = ["incident-commander", "sre-oncall"]
# within = "15m"
# [[urgent.P2]]
# roles = ["incident-manager"]
# within = "10m"
# page = true
"#;

/// What was written.
#[derive(Default)]
pub(crate) struct Written {
    /// Files that were not there before.
    pub(crate) files: Vec<String>,
}

/// Writes what is missing.
pub(crate) fn write_missing(config: &Config) -> anyhow::Result<Written> {
    keys::private_dir(&config.data_dir)?;
    let mut written = Written::default();
    let directory = config.in_data_dir("directory.toml");
    if !directory.exists() {
        let path = config.in_data_dir("token");
        let token = keys::read_or_make(&path, new_token)?;
        let mut tokens = tokens(config, |path| keys::read_or_make(path, new_token).map(Some))?;
        // Commands of this machine speak as operator.
        keys::write_private(&token_path(config, OPERATOR), token.expose_secret())?;
        tokens.insert(OPERATOR, token);
        write(&directory, &directory_file(&tokens), &mut written)?;
    }
    let policy = config.in_data_dir("policy.toml");
    if !policy.exists() {
        write(&policy, &[BY_HAND, POLICY].concat(), &mut written)?;
    }
    let runbooks = config.in_data_dir("runbooks");
    if !runbooks.exists() {
        let folder = runbooks.join("kubernetes");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, text) in RUNBOOKS {
            write(&runbooks.join(name), text, &mut written)?;
        }
    }
    let policies = config.in_data_dir("policies");
    if !policies.exists() {
        fs::create_dir(&policies).with_context(|| format!("cannot make {}", policies.display()))?;
        for (name, text) in PROMOTION_POLICIES {
            write(&policies.join(name), text, &mut written)?;
        }
    }
    let environments = policies.join("environments");
    if !environments.exists() {
        fs::create_dir(&environments).with_context(|| format!("cannot make {}", environments.display()))?;
        for (name, text) in ENVIRONMENT_POLICIES {
            write(&environments.join(name), text, &mut written)?;
        }
    }
    let templates = config.in_data_dir("templates").join("updates");
    if !templates.exists() {
        fs::create_dir_all(&templates).with_context(|| format!("cannot make {}", templates.display()))?;
        for (name, text) in UPDATE_TEMPLATES {
            write(&templates.join(name), text, &mut written)?;
        }
    }
    let catalog = config.in_data_dir(CATALOG);
    if !catalog.exists() {
        write(&catalog, include_str!("../../catalog/catalog.toml"), &mut written)?;
    }
    Ok(written)
}

/// Everybody of the sample directory: their id, and who they are in a few words.
pub(crate) fn people() -> impl Iterator<Item = (&'static str, String)> {
    PEOPLE.into_iter().map(|(id, name, _, roles)| {
        let roles = if roles.len() == EVERY_ROLE.len() { "every role".to_owned() } else { roles.join(", ") };
        let yours = if id == OPERATOR { "; commands of this machine are theirs" } else { "" };
        (id, format!("{name}, {roles}{yours}"))
    })
}

/// The tokens of the sample directory that are still where they were written, by whose they are.
pub(crate) fn known_tokens(config: &Config) -> anyhow::Result<BTreeMap<&'static str, SecretString>> {
    tokens(config, keys::read)
}

fn tokens(
    config: &Config,
    token: impl Fn(&Path) -> anyhow::Result<Option<SecretString>>,
) -> anyhow::Result<BTreeMap<&'static str, SecretString>> {
    let mut tokens = BTreeMap::new();
    for (id, ..) in PEOPLE {
        if let Some(token) = token(&token_path(config, id))? {
            tokens.insert(id, token);
        }
    }
    Ok(tokens)
}

fn token_path(config: &Config, id: &str) -> PathBuf {
    config.in_data_dir("tokens").join(id)
}

fn new_token() -> anyhow::Result<String> {
    Ok(format!("hmy_{}", keys::random_hex()?))
}

fn write(path: &Path, text: &str, written: &mut Written) -> anyhow::Result<()> {
    keys::write_private(path, text.trim_end())?;
    written.files.push(path.display().to_string());
    Ok(())
}

fn directory_file(tokens: &BTreeMap<&'static str, SecretString>) -> String {
    let mut text = String::from(
        "# Who there is. `token_sha256` is the SHA-256 of a bearer token: printf %s TOKEN | sha256sum\n\
         # Read again whenever it changes.\n",
    );
    for (id, name, slack, roles) in PEOPLE {
        text.push_str(&format!(
            "\n[[principal]]\nid = \"{id}\"\nname = \"{name}\"\nemail = \"{id}@example.com\"\nslack_user_id = \"{slack}\"\n"
        ));
        if let Some(token) = tokens.get(id) {
            let hash = hex::encode(Sha256::digest(token.expose_secret().as_bytes()));
            text.push_str(&format!("token_sha256 = \"{hash}\"\n"));
        }
        let roles: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
        text.push_str(&format!("roles = {{ default = [{}] }}\n", roles.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use harmony_incidents::{Access, Directory, OrgId, Policy, Right, Role, policy::Manual};

    use super::*;

    #[test]
    fn the_sample_directory_says_who_may_what() {
        let tokens = BTreeMap::from([(OPERATOR, SecretString::from("hmy_secret"))]);
        let directory = Directory::parse(&directory_file(&tokens)).unwrap();
        let (org, access) = (OrgId::default(), Access::built_in());
        let operator = directory.by_token("hmy_secret").unwrap();
        assert_eq!(operator.id, "operator");
        assert!(access.may(operator, Right::Administer, &org, None));
        let commander = directory.by_slack_user("U0COMMANDER").unwrap();
        assert_eq!(commander.roles(&org, None), [Role::Commander]);
        assert_eq!(directory.get("admin").unwrap().roles(&org, None).len(), 8);
        assert!(!access.may(directory.get("viewer").unwrap(), Right::Respond, &org, None));
        let deployer = directory.get("deployer").unwrap();
        assert!(access.may(deployer, Right::DeployExecute, &org, None));
        assert!(!access.may(deployer, Right::Respond, &org, None));
    }

    #[test]
    fn the_sample_policy_takes_what_is_sent_by_hand_and_keeps_the_rest() {
        let policy = Policy::parse(&[BY_HAND, POLICY].concat()).unwrap();
        assert_eq!((policy.manual_signals, policy.manual_starts), (Manual::Accept, Manual::Accept));
        assert_eq!(policy.urgent, Policy::default().urgent);
        let example: String = POLICY
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .skip_while(|line| !line.starts_with("[["))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Policy::parse(&example).unwrap().urgent["P2"].len(), 2);
    }

    #[test]
    fn the_sample_runbooks_parse() {
        for (name, text) in RUNBOOKS {
            let runbook = harmony_runner::parse(text).unwrap();
            assert!(runbook.cell("postcheck").is_some(), "{name}");
            assert!(runbook.refused.is_empty() && runbook.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn samples_are_written_once_and_never_over_something() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data").display().to_string();
        let flags = move |key: &str| (key == "HARMONY_DATA_DIR").then(|| dir.clone());
        let settings = crate::settings::Settings::collect(&flags, &|_| None, None);
        let config = Config::new(settings).unwrap();
        let first = write_missing(&config).unwrap();
        assert_eq!(first.files.len(), 19);
        // Everybody has a token of their own, and it is theirs.
        let directory = fs::read_to_string(config.in_data_dir("directory.toml")).unwrap();
        let directory = Directory::parse(&directory).unwrap();
        let tokens = known_tokens(&config).unwrap();
        assert_eq!(tokens.len(), PEOPLE.len());
        for (id, token) in &tokens {
            assert_eq!(directory.by_token(token.expose_secret()).unwrap().id, *id);
            let mode = fs::metadata(token_path(&config, id)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{id}");
        }
        let own = keys::read(&config.in_data_dir("token")).unwrap().unwrap();
        assert_eq!(own.expose_secret(), tokens[OPERATOR].expose_secret());
        let promotion = crate::promotion_policies::read(&config.promotion_policies_path()).unwrap();
        assert_eq!(promotion.names(), ["alerts 1", "pagerduty 1"]);
        let second = write_missing(&config).unwrap();
        assert!(second.files.is_empty());
        assert!(config.governance(crate::flags::FlagService::defaults()).is_ok());
        assert_eq!(config.runbook_root().unwrap().list().unwrap().len(), 8);
    }
}
