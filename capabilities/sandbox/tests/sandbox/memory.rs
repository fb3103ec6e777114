use std::path::Path;

use harmony_sandbox::{Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::json;

use crate::world::{Vendor, World};

async fn again(folder: &Path) -> World {
    World::with_memory(Some(folder.to_owned())).await
}

#[tokio::test]
async fn stand_in_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let world = again(folder.path()).await;
    let made = world.post(Vendor::Slack, "/conversations.create", json!({ "name": "inc-2026-0001" })).await;
    let channel = made.body["channel"]["id"].as_str().unwrap().to_owned();
    let said = json!({ "channel": channel, "text": "declared" });
    let first = world.post(Vendor::Slack, "/chat.postMessage", said).await;
    let space = world.get(Vendor::Confluence, "/spaces?keys=OPS").await.body["results"][0]["id"].clone();
    let page = json!({ "spaceId": space, "status": "current", "title": "Review", "body": { "representation": "storage", "value": "<p>It is over</p>" } });
    let page = world.post(Vendor::Confluence, "/pages", page).await;
    drop(world);

    let world = again(folder.path()).await;
    // What was made is there, can be changed, and no id is given twice.
    let ts = first.body["ts"].as_str().unwrap();
    let change = json!({ "channel": channel, "ts": ts, "text": "resolved" });
    assert_eq!(world.post(Vendor::Slack, "/chat.update", change).await.body["ok"], true);
    let taken = world.post(Vendor::Slack, "/conversations.create", json!({ "name": "inc-2026-0001" })).await;
    assert_eq!(taken.body["error"], "name_taken");
    let said = json!({ "channel": channel, "text": "it is back" });
    let second = world.post(Vendor::Slack, "/chat.postMessage", said).await;
    assert!(second.body["ts"].as_str() > Some(ts), "{second:?}");
    let id = page.body["id"].as_str().unwrap();
    let found = world.call(Vendor::Confluence, Method::GET, &format!("/pages/{id}"), None).await;
    assert_eq!(found.body["title"], "Review", "{found:?}");
    drop(world);

    // Another one without a folder knows nothing of it, and a file that is none is named.
    let world = World::start().await;
    let free = world.post(Vendor::Slack, "/conversations.create", json!({ "name": "inc-2026-0001" })).await;
    assert_eq!(free.body["ok"], true);
    let file = folder.path().join("slack.json");
    std::fs::write(&file, "{").unwrap();
    let options = SandboxOptions::on_free_ports("secret".to_owned().into());
    let options = SandboxOptions { memory: Some(folder.path().to_owned()), ..options };
    let error = Sandbox::start(options).await.unwrap_err().to_string();
    assert!(error.starts_with(&file.display().to_string()) && error.contains("delete it"), "{error}");
}
