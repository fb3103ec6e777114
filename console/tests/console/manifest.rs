//! `deploy/slack-app.yaml` asks for exactly what the code uses: the scopes of the methods that the connector calls, the
//! addresses that the router has, the shortcuts that open a form.

use std::{collections::BTreeSet, fs, path::Path};

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::{
    workspace::{By, Workspace},
    world::World,
};

const MANIFEST: &str = include_str!("../../../deploy/slack-app.yaml");
const DESCRIPTION: &str = include_str!("../../../capabilities/sandbox/specs/slack.json");
/// Of the command and the shortcuts, which are no methods.
const COMMANDS: &str = "commands";

/// The values of a key, wherever it stands.
fn values(key: &str) -> BTreeSet<&'static str> {
    let prefix = format!("{key}: ");
    let lines = MANIFEST.lines().map(|line| line.trim().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

fn scopes() -> BTreeSet<&'static str> {
    let after = MANIFEST.split_once("\n    bot:\n").unwrap().1;
    after
        .lines()
        .take_while(|line| line.starts_with("      "))
        .filter_map(|line| line.trim().strip_prefix("- "))
        .collect()
}

/// The methods that the connector's source names.
fn methods() -> BTreeSet<String> {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../capabilities/src/slack");
    let sources: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs")
        })
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let known = description["paths"].as_object().unwrap().keys();
    known
        .map(|path| path.trim_start_matches('/').to_owned())
        .filter(|method| sources.contains(&format!("\"{method}\"")))
        .collect()
}

/// The scopes of which a method needs one; none where it needs no scope.
fn any_of(method: &str) -> BTreeSet<String> {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let verbs = description["paths"][format!("/{method}")].as_object().unwrap();
    let scopes = verbs.values().find_map(|verb| verb["x-bot-scopes-any-of"].as_array());
    scopes.into_iter().flatten().map(|scope| scope.as_str().unwrap().to_owned()).collect()
}

#[test]
fn scopes_are_enough_for_every_method_and_none_is_left_over() {
    let methods = methods();
    assert!(methods.contains("chat.postMessage") && methods.contains("views.open"), "{methods:?}");
    // A channel is public, or private where its incident is, and a method needs the scope of that kind.
    let suffice = |scopes: &BTreeSet<&str>| {
        methods.iter().all(|method| {
            ["channels", "groups"].into_iter().all(|kind| {
                let needed = any_of(method).into_iter().filter(|scope| {
                    let (family, _) = scope.split_once(':').unwrap();
                    family == kind || !["channels", "groups", "im", "mpim"].contains(&family)
                });
                let needed: Vec<String> = needed.collect();
                needed.is_empty() || needed.iter().any(|scope| scopes.contains(scope.as_str()))
            })
        })
    };
    let scopes = scopes();
    assert!(suffice(&scopes), "{scopes:?}");
    for scope in scopes.iter().filter(|scope| **scope != COMMANDS) {
        let fewer = scopes.iter().copied().filter(|other| other != scope).collect();
        assert!(!suffice(&fewer), "nothing needs {scope}");
    }
    assert!(scopes.contains(COMMANDS));
}

#[tokio::test]
async fn addresses_are_the_routers() {
    let world = World::new().await;
    let mut addresses = values("url");
    addresses.extend(values("request_url"));
    let paths: BTreeSet<&str> = addresses
        .iter()
        .map(|address| address.strip_prefix("https://harmony.example.com").unwrap())
        .collect();
    assert_eq!(paths, ["/slack/commands", "/slack/events", "/slack/interactions"].into());
    for path in paths {
        // There, and closed to whoever is not Slack.
        world.send(Request::post(path).body(Body::empty()).unwrap()).await.problem(401);
    }
}

#[tokio::test]
async fn every_shortcut_opens_its_form() {
    let workspace = Workspace::new(By::Http).await;
    // One that is used on a message has its own way.
    let names: Vec<_> = values("callback_id").into_iter().filter(|name| *name != "message-note").collect();
    for (number, name) in names.iter().enumerate() {
        workspace.did("shortcut", json!({ "callbackId": name, "userId": "U0OPERATOR" })).await;
        let views = workspace.state().await["views"].as_array().unwrap().clone();
        assert_eq!((views.len(), &views[number]["callback_id"]), (number + 1, &json!(name)));
    }
    workspace.did("shortcut", json!({ "callbackId": "somebody-elses", "userId": "U0OPERATOR" })).await;
    assert_eq!(workspace.state().await["views"].as_array().unwrap().len(), names.len());
}
