use std::{path::Path, sync::atomic::AtomicU16};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};

use super::*;

const STATUSPAGE: &str = "cap-golden.connectors.statuspage-enabled";

fn settings(pairs: &[(&str, &str)]) -> Result<FlagSettings, Failures> {
    let environment =
        |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    FlagSettings::new(&Settings::collect(&|_| None, &environment, None))
}

fn write(path: &Path, flag: &Value) {
    fs::write(path, json!({ "flags": { STATUSPAGE: flag } }).to_string()).unwrap();
}

fn flag(variant: &str) -> Value {
    let variants = json!({ "on": true, "off": false, "odd": "maybe" });
    json!({ "state": "ENABLED", "variants": variants, "defaultVariant": variant })
}

#[test]
fn where_flags_are_is_said_or_explained() {
    let service = |address: &str| FlagSettings::Service { address: address.to_owned(), authority: None };
    for (pairs, expected) in [
        (&[][..], Ok(FlagSettings::Defaults)),
        (&[("FLAGD_HOST", "flagd")], Ok(service("http://flagd:8013"))),
        (&[("FLAGD_HOST", "::1"), ("FLAGD_PORT", "9")], Ok(service("http://[::1]:9"))),
        (&[("FLAGD_HOST", "flagd"), ("FLAGD_TLS", "true")], Ok(service("https://flagd:8013"))),
        (&[("FLAGD_OFFLINE_FLAG_SOURCE_PATH", "f.json")], Ok(FlagSettings::File("f.json".into()))),
        (&[("FLAGD_PORT", "8013")], Err("FLAGD_HOST: FLAGD_PORT")),
        (&[("FLAGD_HOST", "flagd"), ("FLAGD_PORT", "0")], Err("FLAGD_PORT")),
        (&[("FLAGD_HOST", "flagd"), ("FLAGD_PORT", "http")], Err("FLAGD_PORT")),
        (&[("FLAGD_HOST", "http://flagd")], Err("FLAGD_HOST")),
        (&[("FLAGD_HOST", "flagd"), ("FLAGD_TLS", "yes")], Err("FLAGD_TLS")),
    ] {
        match (settings(pairs), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(failure), Err(key)) => assert!(failure.to_string().starts_with(key), "{failure}"),
            (found, expected) => panic!("{pairs:?}: {found:?}, expected {expected:?}"),
        }
    }
    let all = settings(&[("FLAGD_HOST", "a/b"), ("FLAGD_PORT", "0"), ("FLAGD_TLS", "yes")]).unwrap_err();
    assert_eq!(Vec::from(all).len(), 3);
}

#[tokio::test]
async fn file_is_read_again_and_a_bad_one_leaves_the_last_known_value() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("flags.json");
    let service = FlagService::start(FlagSettings::File(path.clone())).await.unwrap();
    let now = async || service.value(STATUSPAGE, true).await;
    let (on, off) = (|from| FlagValue { on: true, from }, |from| FlagValue { on: false, from });
    assert_eq!(now().await, on(FlagSource::Default), "no file yet");
    write(&path, &flag("off"));
    assert_eq!(now().await, off(FlagSource::Service));
    for broken in ["{", "{\"flags\": 1}", ""] {
        fs::write(&path, broken).unwrap();
        assert_eq!(now().await, off(FlagSource::LastKnown), "{broken}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(now().await, off(FlagSource::LastKnown), "the file is gone");
    write(&path, &flag("odd"));
    assert_eq!(now().await, off(FlagSource::LastKnown), "neither true nor false");
    write(&path, &json!({ "state": "DISABLED", "variants": { "off": false }, "defaultVariant": "off" }));
    assert_eq!(now().await, on(FlagSource::Default), "a flag that is not in use has its default");
    let targeted = json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on",
        "targeting": { "if": [{ "==": [1, 1] }, "off", "on"] } });
    write(&path, &targeted);
    assert_eq!(now().await, off(FlagSource::Service), "a rule decides before the default variant");
}

#[tokio::test]
async fn flag_without_a_default_variant_has_ours_and_leaves_the_others_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("flags.json");
    let service = FlagService::start(FlagSettings::File(path.clone())).await.unwrap();
    let undecided = json!({ "state": "ENABLED", "variants": { "on": true, "off": false } });
    let mut null = undecided.clone();
    null["defaultVariant"] = Value::Null;
    for other in [undecided, null] {
        let file = json!({ "flags": { STATUSPAGE: flag("off"), "cap-other-enabled": other } });
        fs::write(&path, file.to_string()).unwrap();
        let value = async |name: &str| service.value(name, true).await;
        assert_eq!(value(STATUSPAGE).await, FlagValue { on: false, from: FlagSource::Service });
        assert_eq!(value("cap-other-enabled").await, FlagValue { on: true, from: FlagSource::Default });
    }
}

/// 0 stands for a flagd that does not answer in time.
#[derive(Clone, Default)]
struct Says(Arc<AtomicU16>, Arc<AtomicBool>);

async fn resolve(
    State(Says(status, on)): State<Says>,
    Json(question): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if status.load(Ordering::Relaxed) == 0 {
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
    let known = question["flagKey"] == STATUSPAGE;
    let body = match (status.is_success(), known) {
        (true, true) if on.load(Ordering::Relaxed) => {
            json!({ "value": true, "reason": "STATIC", "variant": "on", "metadata": {} })
        }
        // The Connect protocol leaves out what has its default.
        (true, true) => json!({ "reason": "STATIC", "variant": "off" }),
        (true, false) => {
            let absent = json!({ "code": "not_found", "message": "FLAG_NOT_FOUND" });
            return (StatusCode::NOT_FOUND, Json(absent));
        }
        (false, _) => json!({ "code": "unavailable", "message": "starting" }),
    };
    (status, Json(body))
}

#[tokio::test]
async fn flagd_is_asked_and_its_absence_leaves_the_last_known_value() {
    crate::install_crypto();
    let says = Says::default();
    let route = "/flagd.evaluation.v1.Service/ResolveBoolean";
    let router = Router::new().route(route, post(resolve)).with_state(says.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    says.0.store(200, Ordering::Relaxed);
    let found = settings(&[("FLAGD_HOST", "127.0.0.1"), ("FLAGD_PORT", &port)]).unwrap();
    let service = FlagService::start(found).await.unwrap();
    let now = async || service.value(STATUSPAGE, true).await;
    assert_eq!(now().await, FlagValue { on: false, from: FlagSource::Service });
    says.1.store(true, Ordering::Relaxed);
    assert_eq!(now().await, FlagValue { on: true, from: FlagSource::Service });
    says.1.store(false, Ordering::Relaxed);
    assert_eq!(now().await, FlagValue { on: false, from: FlagSource::Service });
    let unknown = service.value("cap-x-enabled", true).await;
    assert_eq!(unknown, FlagValue { on: true, from: FlagSource::Default });
    for status in [503, 0] {
        says.0.store(status, Ordering::Relaxed);
        assert_eq!(now().await, FlagValue { on: false, from: FlagSource::LastKnown }, "{status}");
    }
    server.abort();
    drop(server.await);
    assert_eq!(now().await, FlagValue { on: false, from: FlagSource::LastKnown });
    let never_known = service.value("cap-x-enabled", true).await;
    assert_eq!(never_known, FlagValue { on: true, from: FlagSource::Default });
    assert_eq!(lock(&service.said).len(), 1, "said once");
}
