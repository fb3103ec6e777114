//! Both forms, and what is wrong in them.

use super::*;

const SAMPLE: &str = include_str!("../../catalog.toml");

const COMPONENTS: &str = r#"
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: checkout
  title: Checkout
  annotations:
    github.com/project-slug: blackroad/checkout
    harmony.dev/environments: env-staging, env-prod
    harmony.dev/adapters: k8s
  labels:
    tier: "1"
spec:
  type: service
  lifecycle: production
  owner: group:default/team-checkout
  system: shop
  dependsOn:
    - component:default/payments
    - component:search
    - resource:default/orders-db
---
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: payments
  namespace: money
  annotations:
    backstage.io/source-location: url:https://gitlab.example/money/payments/-/tree/main/service/
spec:
  type: service
  owner: money/team-payments
---
---
apiVersion: backstage.io/v1alpha1
kind: API
metadata:
  name: payments-api
spec:
  type: openapi
  definition: {$text: ./openapi.yaml}
"#;

#[test]
fn sample_describes_three_services_in_two_environments() {
    let described = Description::parse("catalog.toml", SAMPLE).unwrap();
    let environments: Vec<_> = described.environments.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(environments, ["env-staging", "env-prod"]);
    let services: Vec<_> = described.services.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(services, ["svc-checkout", "svc-payments", "svc-search"]);
    for service in &described.services {
        assert_eq!(service.environments.len(), 2, "{}", service.id);
        assert!(!service.adapters.deployments.is_empty() && !service.repo.is_empty());
    }
    let prod = &described.environments[1];
    assert!(prod.is_production() && !prod.region.is_empty() && !prod.cluster.is_empty());
    let samples = [
        include_str!("../../../policies/environments/weekday.toml"),
        include_str!("../../../policies/environments/year-end.toml"),
    ];
    let policies = samples.map(|text| crate::windows::EnvironmentPolicy::parse("a.toml", text).unwrap());
    let policies = crate::windows::EnvironmentPolicies::new(policies).unwrap();
    for environment in &described.environments {
        assert_eq!(policies.warnings(&environment.policy_refs), Vec::<String>::new());
    }
}

#[test]
fn targets_say_which_environments_and_adapters_there_are() {
    let text = r#"
        [[services]]
        id = "svc-a"
        name = "A"
        repo = "https://github.com/blackroad/a.git"
        dependsOn = ["svc-b"]

        [[services.targets]]
        environment = "env-prod"
        adapter = "k8s"
        settings = { namespace = "shop", deployment = "a" }

        [[services.targets]]
        environment = "env-staging"
        adapter = "runbook"
    "#;
    let service = Description::parse("a.toml", text).unwrap().services.remove(0);
    insta::assert_json_snapshot!(service);
}

#[test]
fn components_are_services_and_nothing_else_is() {
    let described = Description::parse("catalog-info.yaml", COMPONENTS).unwrap();
    insta::assert_json_snapshot!(serde_json::json!({
        "services": described.services, "notes": described.notes, "environments": described.environments
    }));
}

#[test]
fn what_is_wrong_in_toml_names_file_line_and_key() {
    let service = "[[services]]\nid = \"svc-a\"\nname = \"A\"\n";
    let target = "[[services.targets]]\nenvironment = \"env-a\"\nadapter = \"k8s\"\n";
    let environment = "[[environments]]\nid = \"env-a\"\nname = \"a\"\n";
    let cases = [
        ("[[services]\n".to_owned(), "a.toml:1: "),
        ("[[service]]\n".to_owned(), "a.toml:1: service: unknown field `service`"),
        ("[[services]]\nid = \"svc-a\"\n".to_owned(), "a.toml:1: services[0]: missing field `name`"),
        (service.replace("svc-a", "svc a"), "a.toml:2: services[0].id: "),
        (
            format!("{service}adapters = [\"heroku\"]\n"),
            "a.toml:4: services[0].adapters[0]: adapter \"heroku\"",
        ),
        (format!("{service}retired = true\n"), "a.toml:4: services[0].retired: unknown field `retired`"),
        (
            format!("{service}dependsOn = [\"svc-a\"]\n"),
            "a.toml:1: services[0].dependsOn: names the service itself",
        ),
        (format!("{service}{service}"), "a.toml:4: services[1].id: described twice"),
        (format!("{environment}{environment}"), "a.toml:4: environments[1].id: described twice"),
        (format!("{environment}production = \"yes\"\n"), "a.toml:4: environments[0].production: "),
        (
            format!("{service}environments = [\"env-b\"]\n{target}"),
            "a.toml:1: services[0].targets[0].environment: not among",
        ),
        (format!("{service}{target}{target}"), "a.toml:1: services[0].targets[1].environment: has a target"),
        (
            format!("{service}adapters = [\"aws\"]\n{target}"),
            "a.toml:1: services[0].targets[0].adapter: not among",
        ),
        ("#".repeat(FILE_BYTES + 1), "a.toml: longer than 1048576 bytes"),
    ];
    let mut wrong = String::new();
    for (text, expected) in cases {
        let error = Description::parse("a.toml", &text).unwrap_err().to_string();
        if !error.starts_with(expected) {
            wrong.push_str(&format!("{error}\nand not {expected}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_wrong_in_yaml_names_file_document_and_key() {
    let with = |from: &str, to: &str| COMPONENTS.replacen(from, to, 1);
    let laughs: String = (1..12).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
        let before = level - 1;
        text + &format!(
            "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n"
        )
    });
    let cases = [
        ("a: [".to_owned(), "c.yaml:"),
        ("just text".to_owned(), "c.yaml: document 1: invalid type: string"),
        ("kind: Component\n".to_owned(), "c.yaml: document 1: missing field `apiVersion`"),
        (
            with("backstage.io/v1alpha1", "v1"),
            "c.yaml: document 1: apiVersion: \"v1\": expected backstage.io",
        ),
        (with("name: checkout", "name: check out"), "c.yaml: document 1: metadata.name: "),
        (with("owner: money/team-payments", "color: red"), "c.yaml: document 2: spec: missing field `owner`"),
        (
            with("  dependsOn:\n    - component", "  dependsOn:\n    - component: {}\n    - component"),
            "c.yaml: document 1: spec.dependsOn[0]: ",
        ),
        (
            with("component:search", "component:checkout"),
            "c.yaml: document 1: spec.dependsOn[1]: names the component",
        ),
        (
            with("adapters: k8s", "adapters: k8s, heroku"),
            "c.yaml: document 1: metadata.annotations[harmony.dev/adapters]: adapter \"heroku\"",
        ),
        (
            with("env-staging, env-prod", "env staging"),
            "c.yaml: document 1: metadata.annotations[harmony.dev/environments]: ",
        ),
        (
            with("name: payments\n  namespace: money", "name: checkout"),
            "c.yaml: document 2: metadata.name: described twice",
        ),
        (laughs, "c.yaml: document 1: repetition limit exceeded"),
    ];
    let mut wrong = String::new();
    for (text, expected) in cases {
        let error = Description::parse("c.yaml", &text)
            .map_or_else(|error| error.to_string(), |read| format!("{read:?}"));
        if !error.starts_with(expected) {
            wrong.push_str(&format!("{error}\nand not {expected}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_is_described_in_two_files() {
    let one = || ("a.toml".to_owned(), Description::parse("a.toml", SAMPLE).unwrap());
    let other = || ("b.yaml".to_owned(), Description::parse("b.yaml", COMPONENTS).unwrap());
    let both = Description::merged([one(), other()]).unwrap();
    assert_eq!((both.services.len(), both.notes.len()), (5, 2));
    let error = Description::merged([other(), one(), ("c.toml".to_owned(), one().1)]).unwrap_err();
    assert_eq!(error.to_string(), "c.toml: environment env-staging is described in a.toml, too");
}
