//! Other field managers: what is theirs stays theirs.

use harmony_capabilities::deployments::{DeploymentError, FieldConflict, Progress};
use serde_json::json;

use crate::world::{World, image, release};

const FIELD: &str = r#".spec.template.spec.containers[name="app"].image"#;

#[tokio::test]
async fn image_of_another_manager_is_refused_with_its_owner() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    world.take("argocd-controller", "checkout:1.0.1").await;
    let site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let error = site.plan(&first).await.unwrap_err();
    let owner = FieldConflict { owner: "argocd-controller".to_owned(), field: FIELD.to_owned() };
    assert_eq!(error, DeploymentError::Conflict(vec![owner]));
    assert_eq!(
        error.to_string(),
        format!(
            "another field manager owns what would be changed: {FIELD} belongs to \"argocd-controller\"; have it let go \
             of the field, or name it in takeOverFrom"
        )
    );
    assert_eq!(image(&world.now().await), "checkout:1.0.1");
}

#[tokio::test]
async fn what_the_plan_did_not_name_is_not_taken() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let plan = site.plan(&first).await.unwrap();
    assert_eq!(plan.document["takeOverFrom"], json!(["platform-team"]));
    // The same image, so that the plan's beginning still holds, and another owner.
    world.take("argocd-controller", "checkout:1.0.0").await;
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert!(
        matches!(&error, DeploymentError::Conflict(fields) if fields.iter().any(|one| one.owner == "argocd-controller")),
        "{error}"
    );
    assert_eq!(image(&world.now().await), "checkout:1.0.0");
}

#[tokio::test]
async fn image_that_somebody_took_back_is_a_failure_and_is_not_adopted() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let plan = site.plan(&first).await.unwrap();
    site.apply(&first, &plan).await.unwrap();
    site.active(&first).await;
    world.take("kubectl-set", "checkout:1.0.9").await;
    let Progress::Failed { reason } = site.status(&first).await else { panic!("another image runs") };
    assert_eq!(reason, "the image of app was changed to checkout:1.0.9 by kubectl-set");
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert!(matches!(&error, DeploymentError::Stale(_)), "{error}");
    let error = site.plan(&release("rel-2", "1.2.0")).await.unwrap_err();
    assert!(matches!(&error, DeploymentError::Conflict(_)), "{error}");
}
