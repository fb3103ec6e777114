use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Vendor, World};

async fn pace(world: &World, vendor: Vendor, order: Value) -> u16 {
    let url = format!("{}/_sandbox/limits", world.origin(vendor));
    world.http.post(url).json(&order).send().await.unwrap().status().as_u16()
}

async fn counted(world: &World, vendor: Vendor) -> Value {
    let url = format!("{}/_sandbox/limits", world.origin(vendor));
    world.http.get(url).send().await.unwrap().json().await.unwrap()
}

/// Status and `Retry-After` of one look at the incidents of a page.
async fn look(world: &World) -> (u16, Option<u64>) {
    let answer =
        world.request(Vendor::Statuspage, Method::GET, "/pages/page1/incidents").send().await.unwrap();
    let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().parse().unwrap());
    (answer.status().as_u16(), wait)
}

#[tokio::test]
async fn nobody_is_limited_until_it_is_asked_for() {
    let world = World::start().await;
    for _ in 0..70 {
        assert_eq!(look(&world).await, (200, None));
    }
    assert_eq!(pace(&world, Vendor::Statuspage, json!({ "speed": 1 })).await, 200);
    for _ in 0..60 {
        assert_eq!(look(&world).await, (200, None));
    }
    let (status, wait) = look(&world).await;
    assert!(status == 420 && wait.is_some_and(|wait| (1..=60).contains(&wait)), "{status} {wait:?}");
    let counts = counted(&world, Vendor::Statuspage).await;
    assert_eq!(counts, json!({ "speed": 1, "limited": 1, "tooEarly": 0 }));
    assert_eq!(pace(&world, Vendor::Statuspage, json!({ "speed": 0 })).await, 200);
    assert_eq!(look(&world).await, (200, None));
}

#[tokio::test]
async fn messages_are_counted_for_each_channel() {
    let world = World::start().await;
    let [one, other] = [world.channel("inc-1").await, world.channel("inc-2").await];
    pace(&world, Vendor::Slack, json!({ "speed": 1 })).await;
    let post = async |channel: &str| {
        let body = json!({ "channel": channel, "text": "again" });
        let request = world.request(Vendor::Slack, Method::POST, "/chat.postMessage");
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    for _ in 0..10 {
        assert_eq!(post(&one).await, 200);
    }
    assert_eq!(post(&one).await, 429);
    assert_eq!(post(&other).await, 200);
}

#[tokio::test]
async fn order_that_cannot_be_understood_changes_nothing() {
    let world = World::start().await;
    for order in [json!({ "speed": -1 }), json!({ "speed": "fast" }), json!({}), json!([1])] {
        assert_eq!(pace(&world, Vendor::PagerDuty, order).await, 400);
    }
    assert_eq!(counted(&world, Vendor::PagerDuty).await["speed"], 0);
}
