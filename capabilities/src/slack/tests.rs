use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::error::{Attempt, CallError, Fate};
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);
const TS: &str = "1700000000.000100";

fn connector(script: &Script) -> Slack {
    Slack::new(&format!("{}/api", script.origin), "xoxb-secret".into()).unwrap()
}

fn draft() -> ChannelDraft {
    ChannelDraft {
        name: "inc-2026-0001-logins".to_owned(),
        marker: "INC-2026-0001".to_owned(),
        private: false,
    }
}

fn ok() -> Reply {
    Reply::json(200, json!({ "ok": true, "warning": "something new" }))
}

fn refused(code: &str) -> Reply {
    Reply::json(200, json!({ "ok": false, "error": code }))
}

fn channel(id: &str, name: &str, creator: &str, purpose: &str) -> Value {
    json!({
        "id": id, "name": name, "creator": creator, "is_archived": true,
        "purpose": { "value": purpose, "creator": "", "last_set": 0 },
        "topic": { "value": "", "creator": "", "last_set": 0 },
    })
}

fn created(id: &str, name: &str) -> Reply {
    Reply::json(200, json!({ "ok": true, "channel": channel(id, name, "UBOT", "") }))
}

fn listed(channels: Vec<Value>, cursor: &str) -> Reply {
    let metadata = json!({ "next_cursor": cursor });
    let body = json!({ "ok": true, "channels": channels, "response_metadata": metadata });
    Reply::json(200, body)
}

fn message() -> Message {
    Message { text: "hello".to_owned(), blocks: vec![blocks::section("*hello*")] }
}

fn sent() -> MessageRef {
    MessageRef { channel: "C012AB3CD".to_owned(), ts: TS.to_owned() }
}

async fn ensured(replies: Vec<Reply>) -> (Result<Channel, CallError>, Vec<String>) {
    let script = Script::start(replies).await;
    let outcome = connector(&script).ensure_channel(&draft()).await;
    let lines = script.lines("slack");
    let methods = lines.iter().map(|line| line.split('/').next_back().unwrap_or_default());
    (outcome, methods.map(str::to_owned).collect())
}

/// The fate and message of a posted message that is answered so.
async fn check(reply: Reply, fate: Fate, words: &str) {
    let script = Script::start([reply]).await;
    let error =
        connector(&script).send_message(Attempt::First, &KEY, "C012AB3CD", &message()).await.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, words));
    script.finish("slack");
}

#[tokio::test]
async fn new_channel_gets_its_marker() {
    let (channel, methods) = ensured(vec![created("C012AB3CD", &draft().name), ok()]).await;
    assert_eq!(channel.unwrap().id, "C012AB3CD");
    assert_eq!(methods, ["conversations.create", "conversations.setPurpose"]);
}

#[tokio::test]
async fn channel_with_the_marker_is_adopted_from_any_page() {
    let name = draft().name;
    let foreign = channel("C0AAAAAAA", &name, "UBOT", "Harmony: INC-2026-00012");
    let suffixed = format!("{name}-2");
    let ours = channel("C0BBBBBBB", &suffixed, "UBOT", "Harmony: INC-2026-0001");
    let (channel, methods) =
        ensured(vec![refused("name_taken"), listed(vec![foreign], "next"), listed(vec![ours], "")]).await;
    assert_eq!(channel.unwrap().id, "C0BBBBBBB");
    assert_eq!(methods.len(), 3);
}

#[tokio::test]
async fn channel_that_we_made_but_did_not_mark_is_adopted() {
    let orphan = channel("C0AAAAAAA", &draft().name, "UBOT", "");
    let (channel, methods) = ensured(vec![
        refused("name_taken"),
        listed(vec![orphan], ""),
        Reply::json(200, json!({ "ok": true, "user_id": "UBOT" })),
        ok(),
    ])
    .await;
    assert_eq!(channel.unwrap().id, "C0AAAAAAA");
    assert_eq!(methods[3], "conversations.setPurpose");
}

#[tokio::test]
async fn channel_of_somebody_else_leaves_us_a_suffix() {
    let name = draft().name;
    let theirs = channel("C0AAAAAAA", &name, "UOTHER", "");
    let (channel, _) = ensured(vec![
        refused("name_taken"),
        listed(vec![theirs], ""),
        Reply::json(200, json!({ "ok": true, "user_id": "UBOT" })),
        refused("name_taken"),
        created("C0CCCCCCC", &format!("{name}-3")),
        ok(),
    ])
    .await;
    assert_eq!(channel.unwrap().name, format!("{name}-3"));
}

#[tokio::test]
async fn repetition_that_changes_nothing_succeeds() {
    let script = Script::start([
        refused("already_in_channel"),
        ok(),
        refused("already_in_channel"),
        refused("already_archived"),
        refused("already_pinned"),
        ok(),
        ok(),
    ])
    .await;
    let slack = connector(&script);
    let users = ["U012A3CDE".to_owned(), "U012A3CDF".to_owned()];
    slack.invite("C012AB3CD", &users).await.unwrap();
    slack.archive("C012AB3CD").await.unwrap();
    slack.pin(&sent()).await.unwrap();
    slack.set_topic("C012AB3CD", "P1").await.unwrap();
    slack.invite("C012AB3CD", &[]).await.unwrap();
    let text_only = Message { text: "done".to_owned(), blocks: Vec::new() };
    slack.update_message(&sent(), &text_only).await.unwrap();
    let received = script.finish("slack");
    assert_eq!(received[0].body["users"], "U012A3CDE,U012A3CDF");
    assert_eq!(received[1].body["users"], "U012A3CDE");
    assert_eq!(received[6].body["blocks"][0]["text"]["text"], "done");
}

#[tokio::test]
async fn message_carries_its_key() {
    let answer = json!({ "ok": true, "channel": "C012AB3CD", "ts": TS, "message": {} });
    let script = Script::start([Reply::json(200, answer)]).await;
    let posted =
        connector(&script).send_message(Attempt::First, &KEY, "C012AB3CD", &message()).await.unwrap();
    assert_eq!(posted, sent());
    let received = script.finish("slack");
    assert_eq!(received[0].header("authorization"), "Bearer xoxb-secret");
    assert_eq!(received[0].header("content-type"), "application/json; charset=utf-8");
    let metadata = &received[0].body["metadata"];
    assert_eq!(metadata["event_payload"], json!({ "key": KEY }));
}

#[tokio::test]
async fn again_finds_the_message_among_others() {
    let nested = json!({ "event_type": "other", "event_payload": { "deep": { "list": [1] } } });
    let ours = json!({ "event_type": "harmony_effect", "event_payload": { "key": KEY } });
    let page = |ts: &str, metadata: &Value, cursor: &str| {
        let body = json!({
            "ok": true,
            "messages": [{ "type": "message", "ts": "1.2" }, { "ts": ts, "metadata": metadata }],
            "response_metadata": { "next_cursor": cursor },
        });
        Reply::json(200, body)
    };
    let script = Script::start([page("1.1", &nested, "next"), page(TS, &ours, "")]).await;
    let found = connector(&script).send_message(Attempt::Again, &KEY, "C012AB3CD", &message()).await.unwrap();
    assert_eq!(found, sent());
    assert_eq!(script.lines("slack"), ["GET /api/conversations.history"; 2]);
}

#[tokio::test]
async fn thread_is_completed_in_its_order_by_whoever_tries_again() {
    let replies: Vec<(Uuid, Message)> = (1..4).map(|key| (Uuid::from_u128(key), message())).collect();
    let posted = |ts: &str| Reply::json(200, json!({ "ok": true, "channel": "C012AB3CD", "ts": ts }));
    let script = Script::start([posted("2.1"), refused("internal_error")]).await;
    let failed = connector(&script).send_replies(Attempt::First, &sent(), &replies).await.unwrap_err();
    assert_eq!(failed.after_a_part().fate(), Fate::Unknown);
    let received = script.finish("slack");
    let key = |place: usize| received[place].body["metadata"]["event_payload"]["key"].clone();
    assert_eq!((key(0), key(1)), (json!(replies[0].0), json!(replies[1].0)));
    assert_eq!(received[0].body["thread_ts"], TS);

    let ours = json!({ "event_type": "harmony_effect", "event_payload": { "key": replies[0].0 } });
    let there = json!({
        "ok": true, "has_more": false,
        "messages": [{ "type": "message", "ts": TS }, { "type": "message", "ts": "2.1", "metadata": ours }],
    });
    let script = Script::start([Reply::json(200, there), posted("2.2"), posted("2.3")]).await;
    connector(&script).send_replies(Attempt::Again, &sent(), &replies).await.unwrap();
    let received = script.finish("slack");
    let keys: Vec<&Value> =
        received[1..].iter().map(|one| &one.body["metadata"]["event_payload"]["key"]).collect();
    assert_eq!(keys, [&json!(replies[1].0), &json!(replies[2].0)]);
}

#[tokio::test]
async fn reply_is_found_below_its_message_by_its_key() {
    let posted = Reply::json(200, json!({ "ok": true, "channel": "C012AB3CD", "ts": "2.1" }));
    let script = Script::start([posted]).await;
    let reply = connector(&script).send_reply(&KEY, &sent(), &message()).await.unwrap();
    assert_eq!(reply, MessageRef { ts: "2.1".to_owned(), ..sent() });
    let received = script.finish("slack");
    assert_eq!(received[0].body["thread_ts"], TS);
    assert_eq!(received[0].body["metadata"]["event_payload"], json!({ "key": KEY }));

    let thread = |key: Uuid| {
        let metadata = json!({ "event_type": "harmony_effect", "event_payload": { "key": key } });
        let messages = json!([{ "type": "message", "ts": TS }, { "type": "message", "ts": "2.1", "metadata": metadata }]);
        Reply::json(200, json!({ "ok": true, "messages": messages }))
    };
    let script = Script::start([thread(KEY), thread(Uuid::from_u128(8))]).await;
    let slack = connector(&script);
    assert_eq!(slack.find_reply(&sent(), &KEY).await.unwrap(), Some(reply));
    assert_eq!(slack.find_reply(&sent(), &KEY).await.unwrap(), None);
    assert_eq!(script.lines("slack"), ["GET /api/conversations.replies"; 2]);
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    for status in Contract::load("slack").refusals() {
        let fate = match status {
            401 | 403 => Fate::Unauthorized,
            420 | 429 => Fate::Limited { retry_after: None },
            500.. => Fate::Unknown,
            _ => Fate::Rejected,
        };
        let words = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or("no reason given");
        check(Reply::status(status), fate, words).await;
    }
}

#[tokio::test]
async fn every_refusal_has_its_fate() {
    let limited = |s: Option<u64>| Fate::Limited { retry_after: s.map(Duration::from_secs) };
    let channel = "channel_not_found";
    check(refused(channel), Fate::Rejected, channel).await;
    check(refused("invalid_auth"), Fate::Unauthorized, "invalid_auth").await;
    check(refused("internal_error"), Fate::Unknown, "internal_error").await;
    check(refused("request_timeout"), Fate::Unavailable, "request_timeout").await;
    check(refused("ratelimited"), limited(None), "ratelimited").await;
    let wait = refused("rate_limited").with("retry-after", "4");
    check(wait, limited(Some(4)), "rate_limited").await;
    let scope = json!({ "ok": false, "error": "missing_scope", "needed": "chat:write" });
    let words = "missing_scope (needs chat:write)";
    check(Reply::json(200, scope), Fate::Unauthorized, words).await;
    let hints = json!({
        "ok": false, "error": "invalid_blocks",
        "response_metadata": { "messages": ["[ERROR] no text"] },
    });
    let words = "invalid_blocks; [ERROR] no text";
    check(Reply::json(200, hints), Fate::Rejected, words).await;
    let wait = Reply::json(429, json!({ "ok": false, "error": "ratelimited" }));
    check(wait.with("retry-after", "30"), limited(Some(30)), "ratelimited").await;
    check(Reply::status(503), Fate::Unknown, "Service Unavailable").await;
    let unread = "the answer is not what was agreed (line 1, column 1)";
    check(Reply::text(200, "<html>"), Fate::Unknown, unread).await;
    let redirect = "the answer is a redirect, which is not followed";
    let reply = Reply::status(302).with("location", "http://127.0.0.1:1/");
    check(reply, Fate::Rejected, redirect).await;
}

#[tokio::test]
async fn limited_method_is_left_alone_and_the_others_are_not() {
    let wait = Reply::json(429, json!({ "ok": false, "error": "ratelimited" })).with("retry-after", "1");
    let script = Script::start([wait, ok(), ok()]).await;
    let slack = connector(&script);
    let began = Instant::now();
    let refused = slack.archive("C012AB3CD").await.unwrap_err();
    assert_eq!((refused.status(), refused.message()), (Some(429), "ratelimited"));
    // A clone is another step of the same process.
    let held = slack.clone().archive("C012AB3CD").await.unwrap_err();
    let Fate::Limited { retry_after: Some(left) } = held.fate() else { panic!("{held}") };
    assert!(left <= Duration::from_secs(1) && held.status().is_none(), "{held}");
    slack.set_topic("C012AB3CD", "P1").await.unwrap();
    tokio::time::sleep(left).await;
    slack.archive("C012AB3CD").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    let [archive, topic] = ["POST /api/conversations.archive", "POST /api/conversations.setTopic"];
    assert_eq!(script.lines("slack"), [archive, topic, archive]);
}

#[tokio::test]
async fn replies_reach_whoever_asked() {
    let script = Script::start([ok(), ok(), ok()]).await;
    let base_url = format!("{}/api", script.origin);
    let replies = SlackReplies::new(&base_url, "xoxb-secret".into()).unwrap();
    replies.ephemeral("C012AB3CD", "U012A3CDE", "not you").await.unwrap();
    let form = super::blocks::notice("Reject", "Nothing was decided.");
    replies.open_modal("13345224609.738474920.8088930838d88f008e0", form).await.unwrap();
    let address = "https://harmony.example.com/".parse().unwrap();
    let shown = vec![
        super::blocks::header("Waits for you"),
        super::blocks::section_with_link("*Run it*", "decide", "Look and decide", address),
    ];
    replies.publish_home("U012A3CDE", super::blocks::home(shown)).await.unwrap();
    let lines = script.lines("slack");
    let publish = "POST /api/views.publish";
    assert_eq!(lines, ["POST /api/chat.postEphemeral", "POST /api/views.open", publish]);
}

#[tokio::test]
async fn respond_calls_slack_alone_and_without_the_token() {
    let script = Script::start([Reply::text(200, "ok")]).await;
    let base_url = format!("{}/api", script.origin);
    let replies = SlackReplies::new(&base_url, "xoxb-secret".into()).unwrap();
    for address in [
        "https://example.com/actions/T/1",
        "https://hooks.slack.com.example.com/actions",
        "https://hooks.slack.com:8443/actions",
        "http://hooks.slack.com/actions",
        "https://user@hooks.slack.com/actions",
        "http://127.0.0.1:1/actions",
        "https://169.254.169.254/",
        "nonsense",
    ] {
        let error = replies.respond(address, "text").await.unwrap_err();
        assert_eq!(error.fate(), Fate::Rejected, "{address}");
    }
    let own = format!("{}/response/1", script.origin);
    replies.respond(&own, "noted").await.unwrap();
    let received = script.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("authorization"), "");
    assert_eq!(received[0].body["text"], "noted");
}

#[test]
fn title_mentions_nobody() {
    assert_eq!(
        escape("<!channel> & <https://evil|good>"),
        "&lt;!channel&gt; &amp; &lt;https://evil|good&gt;"
    );
}
