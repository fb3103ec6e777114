use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Vendor::Confluence, World, answer_of, check};

async fn space(world: &World) -> String {
    let listed = world.get(Confluence, "/spaces?keys=OPS").await.body;
    listed["results"][0]["id"].as_str().unwrap().to_owned()
}

fn draft(space: &str, title: &str) -> Value {
    json!({
        "spaceId": space,
        "status": "current",
        "title": title,
        "body": {"representation": "storage", "value": "<h2>Impact</h2><script>x</script>"},
    })
}

fn change(id: &str, title: &str, version: u32) -> Value {
    json!({
        "id": id,
        "status": "current",
        "title": title,
        "body": {"representation": "storage", "value": "<p>second</p>"},
        "version": {"number": version, "message": "edited"},
    })
}

async fn add_labels(world: &World, id: &str, labels: Value) -> Answer {
    let origin = world.sandbox.origins().confluence;
    let url = format!("{origin}/wiki/rest/api/content/{id}/label");
    let request = world.http.post(url).basic_auth("a@example.com", Some("t"));
    let answer = answer_of(request.json(&labels)).await;
    check(Confluence, &Method::POST, &format!("/content/{id}/label"), &answer);
    answer
}

#[tokio::test]
async fn a_page_is_written_found_labelled_and_rewritten() {
    let world = World::start().await;
    let space = space(&world).await;
    let created = world.post(Confluence, "/pages", draft(&space, "Post-mortem INC-1")).await;
    assert_eq!(created.status, 200, "{created:?}");
    let id = created.body["id"].as_str().unwrap().to_owned();
    let path = format!("/pages?space-id={space}&title=Post-mortem%20INC-1&status=current,archived");
    let found = world.get(Confluence, &path).await.body;
    assert_eq!(found["results"][0]["id"], json!(id));
    let page = format!("/pages/{id}");
    let updated = world.put(Confluence, &page, change(&id, "Post-mortem INC-1", 2)).await;
    assert_eq!(updated.body["version"]["number"], 2);
    let read = world.get(Confluence, &format!("{page}?body-format=storage&include-labels=true")).await.body;
    assert_eq!(read["body"]["storage"]["value"], "<p>second</p>");
    let labels = json!([{"prefix": "global", "name": "post-mortem"}, {"prefix": "global", "name": "P1"}]);
    assert_eq!(add_labels(&world, &id, labels.clone()).await.body["size"], 2);
    assert_eq!(add_labels(&world, &id, labels).await.body["size"], 2);
    let labels = world.get(Confluence, &format!("{page}/labels")).await.body;
    assert_eq!(labels["results"][1]["name"], "p1");
    let state = world.state(Confluence).await;
    let kept = &state["pages"][0];
    assert_eq!(kept["labels"], json!(["post-mortem", "p1"]));
    let address = format!(
        "{}{}",
        created.body["_links"]["base"].as_str().unwrap(),
        created.body["_links"]["webui"].as_str().unwrap()
    );
    assert_eq!(kept["url"], json!(address));
    let web = world.http.get(&address).send().await.unwrap();
    let policy = web.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox; default-src 'none'"), "{policy}");
    assert!(web.text().await.unwrap().contains("<p>second</p>"));
}

#[tokio::test]
async fn properties_have_versions_of_their_own() {
    let world = World::start().await;
    let space = space(&world).await;
    let created = world.post(Confluence, "/pages", draft(&space, "Review")).await;
    let path = format!("/pages/{}/properties", created.body["id"].as_str().unwrap());
    let owner = json!({"key": "harmony-owner", "value": {"key": "k-1"}});
    let property = world.post(Confluence, &path, owner.clone()).await;
    assert_eq!(property.status, 200);
    assert_eq!(world.post(Confluence, &path, owner).await.status, 409);
    let found = world.get(Confluence, &format!("{path}?key=harmony-owner")).await.body;
    assert_eq!(found["results"][0]["value"]["key"], "k-1");
    let one = format!("{path}/{}", property.body["id"].as_str().unwrap());
    let write = |number: u32| json!({"key": "harmony-owner", "value": 2, "version": {"number": number}});
    assert_eq!(world.put(Confluence, &one, write(3)).await.status, 409);
    assert_eq!(world.put(Confluence, &one, write(2)).await.body["value"], 2);
    assert_eq!(world.get(Confluence, &one).await.body["version"]["number"], 2);
    let requests = world.requests(Confluence).await;
    assert_eq!(requests[2]["idempotencyKey"], "k-1");
}

#[tokio::test]
async fn conflicts_and_bad_requests_are_refused() {
    let world = World::start().await;
    let space = space(&world).await;
    let created = world.post(Confluence, "/pages", draft(&space, "Review")).await;
    let id = created.body["id"].as_str().unwrap();
    let twin = world.post(Confluence, "/pages", draft(&space, "review")).await;
    assert_eq!(twin.status, 400);
    let title = twin.body["errors"][0]["title"].as_str().unwrap();
    assert!(title.starts_with("A page with this title already exists"), "{title}");
    assert_eq!(world.post(Confluence, "/pages", draft("7", "Review")).await.status, 200);
    let other = world.post(Confluence, "/pages", draft(&space, "Other")).await;
    assert_eq!(other.status, 200);
    let page = format!("/pages/{id}");
    assert_eq!(world.put(Confluence, &page, change(id, "Review", 3)).await.status, 409);
    assert_eq!(world.put(Confluence, &page, change(id, "Other", 2)).await.status, 400);
    assert_eq!(world.get(Confluence, "/pages/999").await.status, 404);
    let mut untitled = draft(&space, "x");
    untitled.as_object_mut().unwrap().remove("title");
    assert_eq!(world.post(Confluence, "/pages", untitled).await.status, 400);
    let mut orphan = draft(&space, "Orphan");
    orphan["parentId"] = json!("424242");
    assert_eq!(world.post(Confluence, "/pages", orphan).await.status, 404);
    let mut huge = draft(&space, "Huge");
    huge["body"]["value"] = json!("x".repeat(5 * 1024 * 1024));
    assert_eq!(world.post(Confluence, "/pages", huge).await.status, 413);
    let url = format!("{}/pages", world.sandbox.base_urls().confluence);
    assert_eq!(answer_of(world.http.get(url)).await.status, 401);
}

#[tokio::test]
async fn listings_come_in_pages() {
    let world = World::start().await;
    let space = space(&world).await;
    for title in ["One", "Two", "Three"] {
        world.post(Confluence, "/pages", draft(&space, title)).await;
    }
    let first = world.get(Confluence, &format!("/pages?space-id={space}&limit=2")).await.body;
    assert_eq!(first["results"].as_array().unwrap().len(), 2);
    let next = first["_links"]["next"].as_str().unwrap();
    let next = next.strip_prefix("/wiki/api/v2").unwrap();
    let second = world.get(Confluence, next).await.body;
    assert_eq!(second["results"][0]["title"], "Three");
    assert_eq!(second["_links"]["next"], Value::Null);
}
