//! Who we are to the API server, and what it says where that is not enough.

use harmony_capabilities::{
    deployments::{
        Adapter as _, Progress,
        k8s::{K8s, Settings},
    },
    error::Fate,
};
use serde_json::json;

use crate::world::{CLUSTER, READER, World, release};

#[tokio::test]
async fn who_may_only_look_is_told_so_by_the_api_server() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = world.site(&world.plane.kubeconfig(CLUSTER, READER));
    let first = release("rel-1", "1.1.0");
    let error = site.plan(&first).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!(
            "Kubernetes does not accept our credentials for deployments.apply (dry run): 403 deployments.apps \
             \"checkout\" is forbidden: User \"reader\" cannot patch resource \"deployments\" in API group \"apps\" in \
             the namespace \"{}\"",
            world.namespace
        )
    );
    // Without the right to look at pods a rollout cannot be followed, which is no failure of the rollout.
    let bad = release("rel-1", "missing");
    world.harmony().deploy(&bad).await;
    let error = loop {
        match site.adapter.status(&site.target, &bad).await {
            Ok(Progress::Running { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.fate(), Fate::Unauthorized);
    assert!(error.to_string().contains("cannot list resource \"replicasets\""), "{error}");
}

#[tokio::test]
async fn token_that_nobody_knows_is_refused_and_shown_nowhere() {
    let Some(world) = World::new().await else { return };
    let kubeconfig = world.plane.kubeconfig(CLUSTER, "stranger");
    let site = world.site(&kubeconfig);
    let error = site.plan(&release("rel-1", "1.1.0")).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unauthorized);
    assert_eq!(
        error.to_string(),
        "Kubernetes does not accept our credentials for deployments.get: 401 Unauthorized"
    );
    for shown in [format!("{error:?}"), format!("{:?}", site.adapter)] {
        assert!(!shown.contains("stranger-token"), "{shown}");
    }
}

#[tokio::test]
async fn certificate_that_nobody_vouches_for_is_not_talked_to() {
    let Some(world) = World::new().await else { return };
    let kubeconfig = world.plane.kubeconfig_to(CLUSTER, &world.plane.url(), "", READER);
    let site = world.site(&kubeconfig);
    let error = site.plan(&release("rel-1", "1.1.0")).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn cluster_that_is_not_ours_is_refused_before_anything_is_sent() {
    let Some(world) = World::new().await else { return };
    let mut site = world.harmony();
    site.target.cluster = "staging".to_owned();
    let error = site.plan(&release("rel-1", "1.1.0")).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "k8s cannot deploy there: the cluster \"staging\" is not one of those that this process knows (prod)"
    );
    let in_pod =
        K8s::new(Settings { in_cluster: Some("staging".to_owned()), ..Settings::default() }).unwrap();
    let error = in_pod.plan(&site.target, &release("rel-1", "1.1.0")).await.unwrap_err().to_string();
    assert!(error.contains("this process is in no pod with a service account's token"), "{error}");
}
