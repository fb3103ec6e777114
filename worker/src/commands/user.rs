//! `harmony user …`: who is in the directory file, and their tokens.
//!
//! Works on the file alone, which `serve` and `worker` read again whenever it changes. What is not about the person named
//! stays as it is, comments too. A token is shown once, when it is made; the file holds its SHA-256.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand};
use harmony_incidents::{Directory, OrgId, Principal, Role};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    config::Config,
    failure::{Exit, Failure},
    keys, output,
};

/// What can be done with people.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a person or a machine, and print their token
    Add(AddArgs),
    /// Make a new token for somebody; the old one stops working
    Token(UserArgs),
    /// Take token, Slack user and roles from somebody; their name stays for the records that carry it
    Disable(UserArgs),
    /// List everybody
    #[command(visible_alias = "ls")]
    List,
    /// Print a link that signs somebody in at the console, once
    Link {
        /// Somebody of the sample directory [default: whose token is used]
        id: Option<String>,
    },
}

/// Somebody new.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The id that records carry
    id: String,
    /// For people to read [default: the id]
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    email: Option<String>,
    /// Slack user id, such as U0123456789
    #[arg(long, value_name = "ID")]
    slack_user: Option<String>,
    /// Role in the organisation, such as incident-responder; repeat for more
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<Role>,
}

/// Somebody who is there.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    /// Their id
    id: String,
}

/// Carries out one command.
pub(crate) fn run(config: &Config, command: &UserCommand, json: bool) -> anyhow::Result<ExitCode> {
    let path = config.directory_path();
    let text = match fs::read_to_string(&path) {
        // The first somebody begins the directory.
        Err(error) if error.kind() == ErrorKind::NotFound && matches!(command, UserCommand::Add(_)) => {
            String::new()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure {
                what: format!("there is no directory of people: {} does not exist", path.display()),
                hint: "begin one with `harmony user add ID --role ROLE`, or set HARMONY_DIRECTORY".to_owned(),
                exit: Exit::NotFound,
            }
            .into());
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let directory = parse(&text, &path)?;
    match command {
        // Taken before: it asks the server.
        UserCommand::Link { .. } => {}
        UserCommand::List => list(&directory, &config.org, json),
        UserCommand::Add(args) => {
            if directory.get(&args.id).is_some() {
                return Err(Failure::usage(
                    format!("{} is in the directory already", args.id),
                    format!("for a new token: harmony user token {}", args.id),
                )
                .into());
            }
            let (token, hash) = new_token()?;
            let principal = Principal {
                cost_center: String::new(),
                id: args.id.clone(),
                name: args.name.clone().unwrap_or_else(|| args.id.clone()),
                email: args.email.clone(),
                slack_user_id: args.slack_user.clone(),
                token_sha256: Some(hash),
                roles: BTreeMap::from([(config.org.clone(), args.roles.clone())]),
            };
            let added = format!("{}\n\n{}", text.trim_end(), block(&principal)?);
            write(&path, added.trim_start())?;
            show_token(&args.id, &token, json);
        }
        UserCommand::Token(args) => {
            let (token, hash) = new_token()?;
            write(
                &path,
                &changed(&text, &args.id, |principal| principal.token_sha256 = Some(hash.clone()))?,
            )?;
            show_token(&args.id, &token, json);
        }
        UserCommand::Disable(args) => {
            let disabled = changed(&text, &args.id, |principal| {
                principal.token_sha256 = None;
                principal.slack_user_id = None;
                principal.roles.clear();
            })?;
            write(&path, &disabled)?;
            if json {
                output::json(&json!({ "id": args.id, "disabled": true }));
            } else {
                output::data(&format!("{} has no token, no Slack user and no role any more", args.id));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(directory: &Directory, org: &OrgId, json: bool) {
    let roles = |principal: &Principal| -> Vec<&'static str> {
        principal.roles.get(org).into_iter().flatten().map(|role| role.name()).collect()
    };
    if json {
        let people: Vec<_> = directory
            .principals()
            .iter()
            .map(|one| {
                json!({
                    "id": one.id, "name": one.name, "roles": roles(one),
                    "slackUserId": one.slack_user_id, "hasToken": one.token_sha256.is_some(),
                })
            })
            .collect();
        return output::json(&json!({ "users": people }));
    }
    let rows: Vec<Vec<String>> = directory
        .principals()
        .iter()
        .map(|one| {
            let token = if one.token_sha256.is_some() { "yes" } else { "no" };
            vec![one.id.clone(), one.name.clone(), token.to_owned(), roles(one).join(", ")]
        })
        .collect();
    output::table(&["ID", "NAME", "TOKEN", "ROLES"], &rows);
}

fn show_token(id: &str, token: &str, json: bool) {
    if json {
        output::json(&json!({ "id": id, "token": token }));
    } else {
        output::data(token);
        output::say(&format!("the token of {id}: it is shown this once"));
    }
}

/// A token and its SHA-256.
pub(crate) fn new_token() -> anyhow::Result<(String, String)> {
    let token = format!("hmy_{}", keys::random_hex()?);
    let hash = hex::encode(Sha256::digest(token.as_bytes()));
    Ok((token, hash))
}

fn role(text: &str) -> Result<Role, String> {
    let known = || Role::ALL.map(Role::name).join(", ");
    serde_json::from_value(json!(text)).map_err(|_| format!("not a role; the roles are {}", known()))
}

fn parse(text: &str, path: &Path) -> Result<Directory, Failure> {
    Directory::parse(text).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()), "correct the file; nothing was changed")
    })
}

/// The text with somebody's entry changed, and nothing else.
fn changed(text: &str, id: &str, change: impl Fn(&mut Principal)) -> anyhow::Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].trim() == "[[principal]]").collect();
    for (place, start) in starts.iter().enumerate() {
        let next = starts.get(place + 1).copied().unwrap_or(lines.len());
        // Comments before the next entry are about that one.
        let about_next = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
        let end = next - lines[*start..next].iter().rev().take_while(|line| about_next(line)).count();
        let entry = Directory::parse(&lines[*start..end].join("\n"));
        let Some(principal) = entry.ok().and_then(|entry| entry.get(id).cloned()) else { continue };
        let mut principal = principal;
        change(&mut principal);
        let block = block(&principal)?;
        let whole = [&lines[..*start], &[block.trim_end()], &lines[end..]].concat().join("\n");
        return Ok(format!("{}\n", whole.trim_end()));
    }
    Err(Failure {
        exit: Exit::NotFound,
        what: format!("there is no {id} in the directory"),
        hint: "list everybody: harmony user list".to_owned(),
    }
    .into())
}

/// An entry as it stands in the file.
pub(crate) fn block(principal: &Principal) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Entry<'a> {
        principal: [&'a Principal; 1],
    }
    toml::to_string(&Entry { principal: [principal] }).context("the entry cannot be written as TOML")
}

/// Writes the file whole or not at all, and only one that can be read again. Who may read it stays as it is.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    parse(text, path)?;
    let permissions = fs::metadata(path).map(|found| found.permissions());
    keys::write_private(path, text)?;
    if let Ok(permissions) = permissions {
        fs::set_permissions(path, permissions)
            .with_context(|| format!("cannot set who reads {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const FILE: &str = "# Who there is.\n\n[[principal]]\nid = \"a\"\nroles = { default = [\"sre-oncall\"] }\n\n\
                        # The second.\n[[principal]]\nid = \"b\"\ntoken_sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n";

    #[test]
    fn first_person_begins_the_directory_and_nothing_else_does() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("directory.toml");
        let folder = home.path().to_string_lossy().into_owned();
        let given = |key: &str| (key == "HARMONY_DATA_DIR").then(|| folder.clone());
        let config = Config::new(Settings::collect(&given, &|_| None, None)).unwrap();

        for command in [UserCommand::List, UserCommand::Token(UserArgs { id: "ada".to_owned() })] {
            let failure = run(&config, &command, true).unwrap_err().downcast::<Failure>().unwrap();
            assert_eq!(failure.exit, Exit::NotFound);
            assert!(failure.hint.contains("harmony user add") && !path.exists(), "{}", failure.hint);
        }
        for id in ["ada", "bea"] {
            let added = AddArgs {
                id: id.to_owned(),
                name: None,
                email: None,
                slack_user: None,
                roles: vec![role("incident-commander").unwrap()],
            };
            run(&config, &UserCommand::Add(added), true).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[[principal]]\nid = \"ada\"\n"), "{text}");
        let directory = Directory::parse(&text).unwrap();
        let ids: Vec<&str> = directory.principals().iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["ada", "bea"]);
    }

    #[test]
    fn only_the_entry_of_who_is_named_changes() {
        let hash = "00".repeat(32);
        let text = changed(FILE, "a", |principal| principal.token_sha256 = Some(hash.clone())).unwrap();
        let (before, after) = (Directory::parse(FILE).unwrap(), Directory::parse(&text).unwrap());
        assert_eq!(after.get("b"), before.get("b"));
        assert_eq!(after.get("a").unwrap().roles, before.get("a").unwrap().roles);
        assert_eq!(after.get("a").unwrap().token_sha256.as_deref(), Some(hash.as_str()));
        assert!(
            text.starts_with("# Who there is.\n") && text.contains("\n# The second.\n[[principal]]\n"),
            "{text}"
        );

        let text = changed(&text, "b", |principal| principal.token_sha256 = None).unwrap();
        assert_eq!(Directory::parse(&text).unwrap().get("b").unwrap().token_sha256, None);
        assert!(changed(FILE, "c", |_| {}).is_err());
    }
}
