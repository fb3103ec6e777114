//! GitHub's own examples of its webhooks, as Octokit publishes them (`catalog/src/inbound/fixtures/README.md`), delivered
//! to the door: twice each and in twenty orders they leave one state, and nothing that is forged is read.

use harmony_catalog::fold::is_settled;
use harmony_eventlog::catalog::ReleaseFilter;
use harmony_incidents::OrgId;
use serde_json::{Value, json};

use crate::{
    deploys::{github, post, signature, world_of},
    world::World,
};

const EXAMPLES: &str = include_str!("../../../catalog/src/inbound/fixtures/octokit.json");

/// The repositories of the examples, each with the environments that they name.
const CATALOG: &str = r#"
    [[environments]]
    id = "env-prod"
    name = "production"
    region = "eu-central-1"
    cluster = "prod-1"

    [[environments]]
    id = "env-pages"
    name = "github-pages"

    [[environments]]
    id = "env-staging"
    name = "staging"

    [[services]]
    id = "svc-hello-world"
    name = "hello-world"
    repo = "github.com/Codertocat/Hello-World"
    environments = ["env-prod", "env-pages", "env-staging"]
    adapters = ["external"]

    [[services]]
    id = "svc-octo"
    name = "octo"
    repo = "github.com/octo-org/octo-repo"
    environments = ["env-prod", "env-pages", "env-staging"]
    adapters = ["external"]
"#;

struct Example {
    event: String,
    delivery: String,
    payload: Value,
}

fn examples() -> Vec<Example> {
    let all: Vec<Value> = serde_json::from_str(EXAMPLES).unwrap();
    let example = |(number, one): (usize, Value)| Example {
        event: one["event"].as_str().unwrap().to_owned(),
        delivery: format!("72d3162e-cc78-11e3-81ab-{number:012}"),
        payload: one["payload"].clone(),
    };
    all.into_iter().enumerate().map(example).collect()
}

/// Numbers that look random and are the same in every run: xorshift64.
struct Shuffle(u64);

impl Shuffle {
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let other = usize::try_from(self.0 % (u64::try_from(last).unwrap() + 1)).unwrap();
            order.swap(last, other);
        }
        order
    }
}

/// Each example twice, in this order of all of them.
async fn delivered(world: &World, examples: &[Example], order: &[usize]) {
    for place in order {
        let Example { event, delivery, payload } = &examples[place % examples.len()];
        github(world, event, delivery, payload).await;
    }
}

/// The releases as the API shows them, and when each was settled.
async fn state(world: &World) -> Vec<Value> {
    let filter = ReleaseFilter { limit: 100, ..ReleaseFilter::default() };
    let mut shown = Vec::new();
    for one in world.log.releases(&OrgId::default(), &filter).await.unwrap() {
        let id = one.release.release_id.clone();
        let mut release = world.get("viewer", &format!("releases/{id}")).await.ok(200);
        if is_settled(one.release.status()) {
            release["settledAtUs"] = json!(one.release.settled_at_us);
        }
        shown.push(release);
    }
    shown.sort_by_key(|one| one["id"].to_string());
    shown
}

#[tokio::test]
async fn every_example_twice_and_in_twenty_orders_leaves_one_state() {
    let examples = examples();
    let in_order: Vec<usize> = (0..examples.len() * 2).collect();
    let world = world_of(CATALOG).await;
    delivered(&world, &examples, &in_order).await;
    let expected = state(&world).await;
    let statuses: Vec<(&str, &str, &str)> = expected
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap();
            (text("serviceId"), text("envId"), text("status"))
        })
        .collect();
    for told in [
        ("svc-hello-world", "env-prod", "Active"),
        ("svc-hello-world", "env-pages", "Promoting"),
        ("svc-hello-world", "env-staging", "Draft"),
        ("svc-octo", "env-prod", "Active"),
    ] {
        assert!(statuses.contains(&told), "{told:?} in {statuses:?}");
    }
    assert_eq!(statuses.len(), 4, "{statuses:?}");
    let mut shuffle = Shuffle(0x6F63_746F_6B69_7421);
    for _ in 0..20 {
        let order = shuffle.order(examples.len() * 2);
        let world = world_of(CATALOG).await;
        delivered(&world, &examples, &order).await;
        assert_eq!(state(&world).await, expected, "{order:?}");
    }
}

#[tokio::test]
async fn no_example_that_is_forged_is_read() {
    let world = world_of(CATALOG).await;
    for Example { event, delivery, payload } in &examples() {
        let body = payload.to_string();
        let mut other = payload.clone();
        other["sender"]["login"] = json!("somebody-else");
        for forged in [
            String::new(),
            signature("another-secret", &body),
            signature("github-secret", &other.to_string()),
            signature("github-secret", &body).replace("sha256=", "sha1="),
        ] {
            let headers = [
                ("X-GitHub-Event", event.as_str()),
                ("X-GitHub-Delivery", delivery.as_str()),
                ("X-Hub-Signature-256", forged.as_str()),
            ];
            post(&world, "/webhooks/github", &headers, &body).await.problem(401);
        }
    }
    assert!(state(&world).await.is_empty());
}
