//! The files of an installation, made in memory and checked before any is written.

use std::{collections::BTreeMap, path::Path};

use harmony_incidents::{Directory, OrgId, Principal, Role};

use super::{InstallationKind, kubernetes};
use crate::{
    commands::user,
    config::Config,
    failure::{Failure, Failures},
    sample,
    settings::{FILE, Settings},
};

/// The rights that come with the program.
pub(super) const ACCESS: &str = include_str!("../../../../incidents/src/authority/policies.cedar");
const SERVER_SETTINGS: &str = include_str!("../../../../deploy/systemd/harmony.toml");
const POOL_SETTINGS: &str = include_str!("../../../../deploy/systemd/runbooks.toml");
const TEMPORAL_UNIT: &str = include_str!("../../../../deploy/systemd/harmony-temporal.service");
const UNITS: [(&str, &str); 3] = [
    ("harmony-console.service", include_str!("../../../../deploy/systemd/harmony-console.service")),
    ("harmony-runbooks.service", include_str!("../../../../deploy/systemd/harmony-runbooks.service")),
    ("harmony-worker.service", include_str!("../../../../deploy/systemd/harmony-worker.service")),
];

/// Read by the owner alone.
const PRIVATE: u32 = 0o600;
/// Read by the owner's group, too.
const GROUP: u32 = 0o640;
/// Read by everybody.
const OPEN: u32 = 0o644;

/// What a site says for itself.
pub(super) struct Site {
    /// Id of the first person.
    pub(super) admin: String,
    /// Where the log is, if it is not SQLite in the data directory.
    pub(super) postgres: Option<String>,
    /// Where people reach the console.
    pub(super) console_url: Option<String>,
    /// Where workflows run.
    pub(super) temporal: Temporal,
}

/// Where workflows run.
pub(super) enum Temporal {
    /// A server of one's own: where it is expected, unless said otherwise.
    Server { address: Option<String>, namespace: Option<String> },
    /// Temporal Cloud, with an API key.
    Cloud { namespace: String },
}

impl Site {
    /// Settings that a site gives, by name.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        let mut set = |name, value: Option<String>| settings.extend(value.map(|value| (name, value)));
        match &self.temporal {
            Temporal::Server { address, namespace } => {
                set("TEMPORAL_ADDRESS", address.clone());
                set("TEMPORAL_NAMESPACE", namespace.clone());
            }
            Temporal::Cloud { namespace } => {
                set("TEMPORAL_ADDRESS", Some(format!("{namespace}.tmprl.cloud:7233")));
                set("TEMPORAL_NAMESPACE", Some(namespace.clone()));
                set("TEMPORAL_TLS", Some("true".to_owned()));
            }
        }
        set("HARMONY_CONSOLE_URL", self.console_url.clone());
        settings
    }

    /// Whether Temporal is started on the same machine.
    fn starts_temporal(&self) -> bool {
        matches!(self.temporal, Temporal::Server { address: None, .. })
    }

    /// What is wrong with what was given, in the words of the settings that it becomes.
    fn check(&self, kind: InstallationKind) -> anyhow::Result<()> {
        match &self.postgres {
            None if kind == InstallationKind::Kubernetes => {
                return Err(Failure::usage(
                    "on Kubernetes the log is kept in PostgreSQL, and no address of one was given",
                    "give it: --postgres postgres://USER:PASSWORD@HOST/DATABASE",
                )
                .into());
            }
            Some(address) if !address.starts_with("postgres://") && !address.starts_with("postgresql://") => {
                return Err(Failure::usage(
                    "the address of PostgreSQL does not begin with postgres://",
                    "give it: --postgres postgres://USER:PASSWORD@HOST/DATABASE",
                )
                .into());
            }
            _ => {}
        }
        if let Temporal::Cloud { namespace } = &self.temporal
            && (!namespace.contains('.') || namespace.contains(['/', ':']))
        {
            return Err(Failure::usage(
                format!("{namespace:?} is no namespace of Temporal Cloud"),
                "give it with its account, such as harmony.a1b2c",
            )
            .into());
        }
        let given: BTreeMap<_, _> = self
            .settings()
            .into_iter()
            .chain(self.postgres.clone().map(|address| ("DATABASE_URL", address)))
            .collect();
        let settings = Settings::collect(&|key| given.get(key).cloned(), &|_| None, None);
        Config::new(settings).map(drop).map_err(Failures::into)
    }
}

/// One file.
pub(super) struct File {
    /// Below the folder.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) mode: u32,
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>, mode: u32) -> Self {
        Self { path: path.into(), text: text.into(), mode }
    }

    /// Whether everybody may read it, and so enter its folder.
    pub(super) fn is_open(&self) -> bool {
        self.mode & 0o044 != 0
    }
}

/// All of it.
pub(super) struct Installation {
    pub(super) files: Vec<File>,
    /// Of the first person; the directory holds its hash.
    pub(super) token: String,
    /// Commands that bring it up.
    pub(super) next: Vec<String>,
}

impl Installation {
    /// An installation of this kind in this folder.
    ///
    /// # Errors
    /// What is wrong with what the site gives.
    pub(super) fn new(kind: InstallationKind, site: &Site, folder: &Path) -> anyhow::Result<Self> {
        site.check(kind)?;
        let (token, directory) = directory(&site.admin)?;
        let (files, next) = match kind {
            InstallationKind::Laptop => laptop(site, folder, &token, &directory),
            InstallationKind::Server => server(site, folder, &directory),
            InstallationKind::Kubernetes => kubernetes::installation(site, folder, &directory)?,
        };
        Ok(Self { files, token, next })
    }
}

/// A token, and a directory with whose it is.
fn directory(admin: &str) -> anyhow::Result<(String, String)> {
    let (token, hash) = user::new_token()?;
    let principal = Principal {
        cost_center: String::new(),
        id: admin.to_owned(),
        name: admin.to_owned(),
        email: None,
        slack_user_id: None,
        token_sha256: Some(hash),
        roles: BTreeMap::from([(OrgId::default(), vec![Role::Admin, Role::Manager, Role::Commander])]),
    };
    let text = format!(
        "# Who there is: docs/access.md. `harmony user add ID --role ROLE` adds somebody; read again when it changes.\n\n{}",
        user::block(&principal)?
    );
    Directory::parse(&text)
        .map_err(|error| Failure::usage(error.to_string(), "give another id: --admin ID"))?;
    Ok((token, text))
}

/// What is in a data directory.
fn data(folder: &str, directory: &str) -> Vec<File> {
    let mut files = vec![
        File::new(format!("{folder}/directory.toml"), directory, PRIVATE),
        File::new(format!("{folder}/policy.toml"), policy(), PRIVATE),
        File::new(format!("{folder}/policies.cedar"), ACCESS, PRIVATE),
    ];
    for (below, samples) in [
        ("policies", &sample::PROMOTION_POLICIES[..]),
        ("policies/environments", &sample::ENVIRONMENT_POLICIES[..]),
        ("templates/updates", &sample::UPDATE_TEMPLATES[..]),
    ] {
        files.extend(
            samples.iter().map(|(name, text)| File::new(format!("{folder}/{below}/{name}"), *text, PRIVATE)),
        );
    }
    files
}

/// The policy of a new installation.
pub(super) fn policy() -> String {
    format!(
        "# What has a gate, who may open it, how long each level has. What is not here has its default (docs/access.md); an\n\
         # unknown name is an error. Read again whenever it changes.\n\n{}",
        sample::POLICY
    )
}

fn runbooks(folder: &str, mode: u32) -> impl Iterator<Item = File> {
    sample::RUNBOOKS.into_iter().map(move |(name, text)| File::new(format!("{folder}/{name}"), text, mode))
}

fn laptop(site: &Site, folder: &Path, token: &str, directory: &str) -> (Vec<File>, Vec<String>) {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut settings = "# Settings of this installation, found by commands that are run in this folder, or by HARMONY_CONFIG. Its keys\n\
                        # are those of docs/operations.md; `harmony config init FILE` writes all of them, each with what it is for.\n"
        .to_owned();
    set(&mut settings, "HARMONY_DATA_DIR", &at("data"));
    set(&mut settings, "HARMONY_RUNBOOKS", &at("runbooks"));
    set_all(&mut settings, site);
    let mut files = vec![
        File::new(FILE, settings, PRIVATE),
        // Whose the commands of this machine are.
        File::new("data/token", format!("{token}\n"), PRIVATE),
    ];
    files.extend(data("data", directory));
    files.extend(runbooks("runbooks", PRIVATE));
    let mut next = vec![format!("cd {}", folder.display())];
    if site.starts_temporal() {
        next.push(
            "temporal server start-dev --headless --db-filename temporal.db   # in a terminal of its own"
                .to_owned(),
        );
    }
    next.extend(secrets_needed(site));
    next.extend(migrate(site, "harmony"));
    next.extend(
        [
            "harmony config check",
            "harmony temporal setup",
            "harmony worker       # in a terminal of its own",
            "harmony serve        # in another: http://127.0.0.1:8088",
            "harmony incident declare",
        ]
        .map(str::to_owned),
    );
    (files, next)
}

fn server(site: &Site, folder: &Path, directory: &str) -> (Vec<File>, Vec<String>) {
    let (mut settings, mut pool) = (SERVER_SETTINGS.to_owned(), POOL_SETTINGS.to_owned());
    set_all(&mut settings, site);
    for (name, value) in site.settings().iter().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        set(&mut pool, name, value);
    }
    let mut files = vec![
        File::new("etc/harmony/harmony.toml", settings, GROUP),
        File::new("etc/harmony/runbooks.toml", pool, GROUP),
    ];
    files.extend(runbooks("etc/harmony/runbooks", OPEN));
    files.extend(data("var/lib/harmony", directory));
    let temporal = site.starts_temporal().then_some(("harmony-temporal.service", TEMPORAL_UNIT));
    files.extend(
        UNITS
            .into_iter()
            .chain(temporal)
            .map(|(name, text)| File::new(format!("etc/systemd/system/{name}"), text, OPEN)),
    );
    let mut next = Vec::new();
    if folder != Path::new("/") {
        next.push(format!("cp -r --no-clobber {}/. /", folder.display()));
    }
    let accounts = if temporal.is_some() {
        "harmony harmony-runbooks harmony-temporal"
    } else {
        "harmony harmony-runbooks"
    };
    next.push(format!(
        "for account in {accounts}; do useradd --system --user-group --no-create-home --shell /usr/sbin/nologin \"$account\"; done"
    ));
    next.push("chown -R harmony:harmony /var/lib/harmony && chmod 700 /var/lib/harmony".to_owned());
    next.push(
        "chgrp harmony /etc/harmony/harmony.toml && chgrp harmony-runbooks /etc/harmony/runbooks.toml"
            .to_owned(),
    );
    next.extend(secrets_needed(site));
    let as_harmony = "runuser -u harmony -- env HARMONY_CONFIG=/etc/harmony/harmony.toml harmony";
    next.push(format!("{as_harmony} config check --for worker --for console"));
    next.extend(migrate(site, as_harmony));
    next.push("systemctl daemon-reload".to_owned());
    if temporal.is_some() {
        next.push("systemctl enable --now harmony-temporal".to_owned());
    }
    next.push(format!("{as_harmony} temporal setup"));
    next.push("systemctl enable --now harmony-worker harmony-console harmony-runbooks".to_owned());
    (files, next)
}

fn migrate(site: &Site, harmony: &str) -> Option<String> {
    site.postgres.as_ref().map(|_| format!("{harmony} db migrate"))
}

fn secrets_needed(site: &Site) -> Option<String> {
    matches!(site.temporal, Temporal::Cloud { .. }).then(|| {
        "put TEMPORAL_API_KEY into the environment of each process, or into its settings file".to_owned()
    })
}

fn set_all(text: &mut String, site: &Site) {
    for (name, value) in site.settings() {
        set(text, name, &value);
    }
    if let Some(address) = &site.postgres {
        set(text, "DATABASE_URL", address);
    }
}

/// Sets a key of a settings file where it stands, also behind a #, or at the end.
fn set(text: &mut String, name: &str, value: &str) {
    let line = format!("{name} = {}", toml::Value::String(value.to_owned()));
    let is_here = |line: &&str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{name} = "));
    let lines: Vec<&str> = text.lines().collect();
    *text = match lines.iter().position(is_here) {
        Some(place) => [&lines[..place], &[line.as_str()], &lines[place + 1..]].concat().join("\n"),
        None => [&lines[..], &[line.as_str()]].concat().join("\n"),
    };
    text.push('\n');
}
