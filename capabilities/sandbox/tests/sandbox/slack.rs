use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Vendor, World, answer_of, check};

fn error(answer: &Value) -> &str {
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"].as_str().unwrap()
}

#[tokio::test]
async fn a_channel_lives_from_creation_to_archive() {
    let world = World::start().await;
    let channel = world.channel("inc-2026-0001-checkout").await;
    for (method, arguments) in [
        ("auth.test", json!({})),
        ("conversations.setTopic", json!({"channel": channel, "topic": "INC-1"})),
        ("conversations.setPurpose", json!({"channel": channel, "purpose": "Checkout"})),
        ("conversations.invite", json!({"channel": channel, "users": "U0COMMANDER,U0000ONCALL"})),
        ("conversations.info", json!({"channel": channel, "include_num_members": true})),
        ("conversations.join", json!({"channel": channel})),
        ("chat.postEphemeral", json!({"channel": channel, "user": "U0COMMANDER", "text": "psst"})),
        ("conversations.archive", json!({"channel": channel})),
    ] {
        let answer = world.slack(method, arguments).await;
        assert_eq!(answer["ok"], true, "{method}: {answer}");
    }
    let listed = world.get(Vendor::Slack, "/conversations.list?limit=1").await.body;
    assert_eq!(listed["channels"][0]["topic"]["value"], "INC-1");
    let others = world.get(Vendor::Slack, "/conversations.list?exclude_archived=true").await.body;
    assert_eq!(others["channels"], json!([]));
    let state = world.state(Vendor::Slack).await;
    assert_eq!(
        state["channels"][0],
        json!({
            "id": channel, "name": "inc-2026-0001-checkout", "topic": "INC-1",
            "purpose": "Checkout", "is_archived": true, "is_private": false,
            "members": ["U0000ONCALL", "U00HARMONY", "U0COMMANDER"],
        })
    );
    assert_eq!(state["messages"][0]["ephemeralFor"], "U0COMMANDER");
}

#[tokio::test]
async fn messages_are_found_again_by_their_metadata() {
    let world = World::start().await;
    let channel = world.channel("inc-1").await;
    let metadata = json!({"event_type": "harmony", "event_payload": {"key": "k-1"}});
    let posted = world
        .slack("chat.postMessage", json!({"channel": channel, "text": "one", "metadata": metadata}))
        .await;
    let ts = posted["ts"].as_str().unwrap();
    world.slack("chat.postMessage", json!({"channel": "#inc-1", "text": "two"})).await;
    let updated =
        world.slack("chat.update", json!({"channel": channel, "ts": ts, "text": "one, edited"})).await;
    assert_eq!(updated["text"], "one, edited");
    world.slack("pins.add", json!({"channel": channel, "timestamp": ts})).await;
    let path = format!("/conversations.history?channel={channel}");
    let plain = world.get(Vendor::Slack, &path).await.body;
    assert_eq!(plain["messages"][1]["text"], "one, edited");
    assert_eq!(plain["messages"][1]["metadata"], Value::Null);
    assert_eq!(plain["pin_count"], 1);
    let path = format!("{path}&include_all_metadata=true&limit=1");
    let first = world.get(Vendor::Slack, &path).await.body;
    assert_eq!((&first["messages"][0]["text"], &first["has_more"]), (&json!("two"), &json!(true)));
    let cursor = first["response_metadata"]["next_cursor"].as_str().unwrap();
    let second = world.get(Vendor::Slack, &format!("{path}&cursor={cursor}")).await.body;
    assert_eq!(second["messages"][0]["metadata"], metadata);
    let kept = &world.state(Vendor::Slack).await["messages"][0];
    assert_eq!((&kept["pinned"], &kept["metadata"]), (&json!(true), &metadata));
}

#[tokio::test]
async fn forms_are_read_like_json() {
    let world = World::start().await;
    let channel = world.channel("inc-1").await;
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}]);
    let form = [("channel", channel), ("text", "hi".to_owned()), ("blocks", blocks.to_string())];
    let request = world.request(Vendor::Slack, Method::POST, "/chat.postMessage").form(&form);
    let answer = answer_of(request).await;
    check(Vendor::Slack, &Method::POST, "/chat.postMessage", &answer);
    assert_eq!(answer.body["message"]["blocks"][0]["text"]["text"], "hello");
}

#[tokio::test]
async fn channels_are_refused_by_their_names() {
    let world = World::start().await;
    let long = "x".repeat(81);
    world.channel("taken").await;
    for (name, expected) in [
        (json!("taken"), "name_taken"),
        (json!("Has Capitals"), "invalid_name_specials"),
        (json!("---"), "ok"),
        (json!(long), "invalid_name_maxlength"),
        (json!(""), "invalid_name_required"),
        (json!(null), "invalid_name_required"),
    ] {
        let answer = world.slack("conversations.create", json!({"name": name})).await;
        let got = if answer["ok"] == true { "ok" } else { error(&answer) };
        assert_eq!(got, expected, "{name}");
    }
}

#[tokio::test]
async fn what_slack_refuses_is_refused_by_the_same_name() {
    let world = World::start().await;
    let channel = world.channel("open").await;
    let archived = world.channel("archived").await;
    let posted = world.slack("chat.postMessage", json!({"channel": archived, "text": "x"})).await;
    world.slack("conversations.archive", json!({"channel": archived})).await;
    let url = format!("{}/_sandbox/slack/channels", world.origin(Vendor::Slack));
    let foreign = answer_of(world.http.post(url).json(&json!({"name": "foreign"}))).await;
    let foreign = foreign.body["channel"]["id"].clone();
    let nowhere = "C0NOWHERE00";
    let button = json!([{"type": "actions", "elements": [{"type": "button"}]}]);
    for (method, arguments, expected) in [
        ("chat.postMessage", json!({"channel": nowhere, "text": "x"}), "channel_not_found"),
        ("chat.postMessage", json!({"channel": archived, "text": "x"}), "is_archived"),
        ("chat.postMessage", json!({"channel": foreign, "text": "x"}), "not_in_channel"),
        ("chat.postMessage", json!({"channel": channel}), "no_text"),
        ("chat.postMessage", json!({"channel": channel, "blocks": button}), "invalid_blocks"),
        ("chat.postMessage", json!({"channel": channel, "blocks": 3}), "invalid_blocks_format"),
        ("chat.postMessage", json!({"channel": channel, "text": "x".repeat(40_001)}), "msg_too_long"),
        (
            "chat.postMessage",
            json!({"channel": channel, "text": "x", "metadata": {"event_type": "y"}}),
            "invalid_metadata_format",
        ),
        (
            "chat.update",
            json!({"channel": channel, "ts": "1700000000.000001", "text": "x"}),
            "message_not_found",
        ),
        ("chat.update", json!({"channel": archived, "ts": posted["ts"], "text": "x"}), "is_inactive"),
        (
            "chat.postEphemeral",
            json!({"channel": channel, "user": "U0000VIEWER", "text": "x"}),
            "user_not_in_channel",
        ),
        ("conversations.archive", json!({"channel": archived}), "already_archived"),
        ("conversations.archive", json!({"channel": foreign}), "not_in_channel"),
        ("conversations.history", json!({"channel": foreign}), "not_in_channel"),
        ("conversations.history", json!({"channel": channel, "cursor": "?"}), "invalid_cursor"),
        ("conversations.info", json!({"channel": nowhere}), "channel_not_found"),
        ("conversations.invite", json!({"channel": channel, "users": "U0NOBODY00"}), "user_not_found"),
        ("conversations.invite", json!({"channel": channel, "users": "U00HARMONY"}), "cant_invite_self"),
        ("conversations.setTopic", json!({"channel": channel, "topic": "x".repeat(251)}), "too_long"),
        ("pins.add", json!({"channel": channel, "timestamp": "1700000000.000001"}), "message_not_found"),
        ("users.info", json!({"user": "U0NOBODY00"}), "user_not_found"),
        ("users.lookupByEmail", json!({"email": "nobody@example.com"}), "users_not_found"),
        (
            "views.open",
            json!({"trigger_id": "1.2.3", "view": {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": []}}),
            "invalid_trigger_id",
        ),
        (
            "views.publish",
            json!({"user_id": "nobody", "view": {"type": "home", "blocks": []}}),
            "user_not_found",
        ),
        ("conversations.replies", json!({"channel": channel, "ts": "1700000000.000001"}), "thread_not_found"),
        ("chat.unheardOf", json!({}), "unknown_method"),
    ] {
        let answer = world.slack(method, arguments.clone()).await;
        assert_eq!(error(&answer), expected, "{method} {arguments} {answer}");
    }
}

#[tokio::test]
async fn thread_is_read_apart_from_the_channel() {
    let world = World::start().await;
    let channel = world.channel("inc-2026-0001").await;
    let above = world.slack("chat.postMessage", json!({"channel": channel, "text": "Run it"})).await;
    let reply = |text: &str| json!({"channel": channel, "text": text, "thread_ts": above["ts"]});
    for text in ["1 of 2", "2 of 2"] {
        assert_eq!(world.slack("chat.postMessage", reply(text)).await["ok"], true);
    }
    let thread = json!({"channel": channel, "ts": above["ts"]});
    let thread = world.slack("conversations.replies", thread).await;
    let texts: Vec<&Value> =
        thread["messages"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["Run it", "1 of 2", "2 of 2"], "the oldest first");
    let history = world.slack("conversations.history", json!({"channel": channel})).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1, "{history}");
}

#[tokio::test]
async fn people_are_known_by_id_and_address() {
    let world = World::start().await;
    let by_id = world.get(Vendor::Slack, "/users.info?user=U0COMMANDER").await.body;
    assert_eq!(by_id["user"]["name"], "commander");
    let path = "/users.lookupByEmail?email=oncall%40corp.example";
    let by_address = world.get(Vendor::Slack, path).await.body;
    assert_eq!(by_address["user"]["id"], "U0000ONCALL");
}

#[tokio::test]
async fn a_token_is_needed() {
    let world = World::start().await;
    let url = format!("{}/auth.test", world.sandbox.base_urls().slack);
    let none = answer_of(world.http.post(&url)).await;
    assert_eq!((none.status, error(&none.body)), (200, "not_authed"));
    let basic = answer_of(world.http.post(&url).basic_auth("a", Some("b"))).await;
    assert_eq!(error(&basic.body), "invalid_auth");
}
