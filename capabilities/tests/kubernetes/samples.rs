//! The sample runbooks in `runbooks/kubernetes` do on a real API server what they say, and nothing in a dry run.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use harmony_runner::{
    CellOutcome, CellRun, Ended, OutcomeLimits, Progress, Runbook, RunbookRoot, Runner, parse,
};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    control_plane::{self, ADMIN, NODE},
    world::{CLUSTER, World},
};

/// A namespace with two ready pods, and a sample; `None` where there is no control plane or no `kubectl`.
async fn world() -> Option<World> {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        control_plane::left_out("the sample runbooks on Kubernetes", "kubectl is not installed");
        return None;
    }
    let world = World::new().await?;
    world.workload("checkout:1", json!({})).await;
    Some(world)
}

struct Sample<'a> {
    world: &'a World,
    text: String,
    runbook: Runbook,
}

impl<'a> Sample<'a> {
    fn new(world: &'a World, name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runbooks");
        let text = RunbookRoot::new(root).unwrap().load(&format!("kubernetes/{name}")).unwrap().text;
        let runbook = parse(&text).unwrap();
        assert!(runbook.refused.is_empty() && runbook.warnings.is_empty(), "{name}: {runbook:?}");
        Self { world, text, runbook }
    }

    /// Runs one cell with these inputs, as the administrator.
    async fn cell(&self, name: &str, given: &[(&str, &str)], dry: bool) -> CellOutcome {
        let cell = self.runbook.cell(name).unwrap_or_else(|| panic!("no cell {name}"));
        assert!(!dry || self.runbook.runs_dry(cell), "{name} does not run dry");
        let mut given: BTreeMap<String, String> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if self.runbook.inputs.iter().any(|input| input.name == "NAMESPACE") {
            given.insert("NAMESPACE".to_owned(), self.world.namespace.clone());
        }
        let inputs = self.runbook.inputs(&given).unwrap();
        let mut env: BTreeMap<String, String> =
            inputs.values.into_iter().map(|input| (input.name, input.value)).collect();
        let kubeconfig = self.world.plane.kubeconfig(CLUSTER, ADMIN);
        env.insert("KUBECONFIG".to_owned(), kubeconfig.display().to_string());
        if dry {
            env.insert("HARMONY_DRY_RUN".to_owned(), "1".to_owned());
        }
        let run = CellRun {
            snapshot: self.text.clone(),
            cell: name.to_owned(),
            env,
            carried: BTreeMap::new(),
            secrets: BTreeMap::new(),
            workdir: std::env::temp_dir(),
            timeout: Duration::from_secs(300),
            limits: OutcomeLimits::default(),
            printed: None,
            job: None,
        };
        let (sender, _progress) = watch::channel(Progress::default());
        Runner::new(Vec::new()).run_cell(run, sender, std::future::pending()).await.unwrap()
    }

    async fn succeeds(&self, name: &str, given: &[(&str, &str)], dry: bool) -> String {
        let outcome = self.cell(name, given, dry).await;
        assert_eq!(outcome.ended, Ended::Exited(0), "{name}: {}{}", outcome.stdout_tail, outcome.stderr_tail);
        outcome.stdout_tail
    }
}

#[tokio::test]
async fn deployment_is_restarted_scaled_and_rolled_back() {
    let Some(world) = world().await else { return };
    let inputs = [("DEPLOYMENT", "checkout")];
    let restart = Sample::new(&world, "restart.md");
    restart.succeeds("look", &inputs, false).await;
    restart.succeeds("postcheck", &inputs, false).await;
    restart.succeeds("restart", &inputs, true).await;
    assert_eq!(world.now().await["metadata"]["generation"], 1, "a dry run changes nothing");
    restart.succeeds("restart", &inputs, false).await;
    restart.succeeds("postcheck", &inputs, false).await;
    assert_eq!(world.replica_sets().await.len(), 2);

    let scale = Sample::new(&world, "scale.md");
    let three = [("DEPLOYMENT", "checkout"), ("REPLICAS", "3")];
    scale.succeeds("scale", &three, true).await;
    assert_eq!(world.now().await["spec"]["replicas"], 2);
    for cell in ["look", "scale", "postcheck"] {
        scale.succeeds(cell, &three, false).await;
    }
    assert_eq!(world.now().await["status"]["readyReplicas"], 3);
    let four = [("DEPLOYMENT", "checkout"), ("REPLICAS", "4")];
    let other = scale.cell("postcheck", &four, false).await;
    assert!(other.stderr_tail.contains("it has 3 replicas, and not 4"), "{}", other.stderr_tail);

    world.take("kubectl", "checkout:2").await;
    let rollback = Sample::new(&world, "rollback.md");
    rollback.succeeds("postcheck", &inputs, false).await;
    rollback.succeeds("rollback", &inputs, true).await;
    let image = async || world.now().await["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image().await, "checkout:2");
    for cell in ["show-history", "rollback", "postcheck"] {
        rollback.succeeds(cell, &inputs, false).await;
    }
    assert_eq!(image().await, "checkout:1");
}

#[tokio::test]
async fn traffic_fails_over_to_a_side_that_is_ready_and_to_no_other() {
    let Some(world) = world().await else { return };
    let template = json!({
        "metadata": { "labels": { "app": "checkout", "side": "green" } },
        "spec": { "nodeName": NODE, "containers": [{ "name": "app", "image": "checkout:1" }] },
    });
    let more = json!({ "selector": { "matchLabels": { "app": "checkout", "side": "green" } }, "template": template });
    world.ask(Method::DELETE, &format!("{}/checkout", world.workloads()), Value::Null).await.unwrap();
    world.workload("checkout:1", more).await;
    let service = json!({
        "spec": { "selector": { "app": "checkout", "side": "blue" }, "ports": [{ "port": 80 }] },
    });
    let path = format!("/api/v1/namespaces/{}/services", world.namespace);
    world.apply(&path, "shop", "v1", "Service", service).await;
    let restart = Sample::new(&world, "restart.md");
    restart.succeeds("postcheck", &[("DEPLOYMENT", "checkout")], false).await;

    let failover = Sample::new(&world, "failover.md");
    let to = |side| [("SERVICE", "shop"), ("TO", side)];
    let nowhere = failover.cell("look", &to("red"), false).await;
    assert!(nowhere.stderr_tail.contains("no pod with side=red is ready"), "{}", nowhere.stderr_tail);
    failover.succeeds("look", &to("green"), true).await;
    failover.succeeds("switch", &to("green"), true).await;
    let side = async || {
        world.ask(Method::GET, &format!("{path}/shop"), Value::Null).await.unwrap()["spec"]["selector"]
            .clone()
    };
    assert_eq!(side().await, json!({ "app": "checkout", "side": "blue" }));
    failover.succeeds("switch", &to("green"), false).await;
    failover.succeeds("postcheck", &to("green"), false).await;
    assert_eq!(side().await, json!({ "app": "checkout", "side": "green" }));
    let (tell, switch) = (failover.runbook.cell("tell").unwrap(), failover.runbook.cell("switch").unwrap());
    assert!(tell.manual && switch.approve);
}

#[tokio::test]
async fn node_is_drained_and_taken_back() {
    let Some(world) = world().await else { return };
    // A node of its own: the others' pods stay where they are.
    let node = format!("{}-node", world.namespace);
    let body = json!({ "metadata": { "name": node } });
    world.apply("/api/v1/nodes", &node, "v1", "Node", body).await;
    let pod = json!({ "spec": { "nodeName": node, "containers": [{ "name": "app", "image": "batch:1" }] } });
    let path = format!("/api/v1/namespaces/{}/pods", world.namespace);
    world.apply(&path, "batch", "v1", "Pod", pod).await;
    let drain = Sample::new(&world, "drain.md");
    let inputs = [("NODE", node.as_str()), ("GRACE", "0")];
    drain.succeeds("cordon", &inputs, true).await;
    let unschedulable = async || {
        let found = world.ask(Method::GET, &format!("/api/v1/nodes/{node}"), Value::Null).await.unwrap();
        found["spec"]["unschedulable"] == true
    };
    assert!(!unschedulable().await);
    let busy = drain.cell("postcheck", &inputs, false).await;
    assert!(busy.stdout_tail.contains("still there:"), "{}", busy.stdout_tail);
    for cell in ["look", "cordon"] {
        drain.succeeds(cell, &inputs, false).await;
    }
    assert!(unschedulable().await);
    // A pod that nothing brings back is not evicted without being told so.
    let alone = drain.cell("drain", &inputs, false).await;
    assert!(alone.stderr_tail.contains("declare no controller"), "{}", alone.stderr_tail);
    world.ask(Method::DELETE, &format!("{path}/batch?gracePeriodSeconds=0"), Value::Null).await.unwrap();
    for cell in ["drain", "postcheck", "uncordon"] {
        drain.succeeds(cell, &inputs, false).await;
    }
    assert!(!unschedulable().await);
}
