//! Which inputs a front matter declares, and which values they take.

use std::collections::BTreeMap;

use crate::{Runbook, parse};

const DECLARED: &str = "---
inputs:
  - name: SERVICE
    type: service
    default: checkout
  - name: REPLICAS
    type: number
    min: 1
    max: 10
  - name: MODE
    values: [fast, slow]
    required: false
  - name: NOTE
    pattern: '[a-z ]+'
    default: all well
  - name: DB_PASSWORD
    secret: true
---
# Scale
";

fn declared(inputs: &str) -> Result<Runbook, String> {
    parse(&format!("---\ninputs:\n{inputs}\n---\n")).map_err(|error| error.to_string())
}

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_that_are_given_win_over_defaults_and_secrets_are_names() {
    let runbook = parse(DECLARED).unwrap();
    let inputs = runbook.inputs(&given(&[("REPLICAS", "3"), ("SERVICE", "payments-api")])).unwrap();
    let values: Vec<_> =
        inputs.values.iter().map(|one| (one.name.as_str(), one.kind, one.value.as_str())).collect();
    assert_eq!(
        values,
        [("SERVICE", "service", "payments-api"), ("REPLICAS", "number", "3"), ("NOTE", "string", "all well")]
    );
    assert_eq!(inputs.secrets, ["DB_PASSWORD"]);
    assert!(inputs.env.is_empty());
}

#[test]
fn every_wrong_value_is_named_with_what_would_do() {
    let runbook = parse(DECLARED).unwrap();
    for (wrong, expected) in [
        (&[][..], "input REPLICAS: is required; give a number from 1 to 10"),
        (&[("REPLICAS", "11")], "input REPLICAS: 11 is out of range; give a number from 1 to 10"),
        (&[("REPLICAS", "1e3")], "input REPLICAS: \"1e3\" is not a number; give a number from 1 to 10"),
        (&[("REPLICAS", "NaN")], "input REPLICAS: \"NaN\" is not a number; give a number from 1 to 10"),
        (
            &[("REPLICAS", "2"), ("MODE", "warp")],
            "input MODE: \"warp\" is not one of fast, slow; give one of fast, slow",
        ),
        (
            &[("REPLICAS", "2"), ("SERVICE", "a b; rm")],
            "input SERVICE: \"a b; rm\" is not the id of a service; give the id of a service",
        ),
        (
            &[("REPLICAS", "2"), ("NOTE", "all well\nrm")],
            "input NOTE: expected text on one line; give text, matching [a-z ]+",
        ),
        (
            &[("REPLICAS", "2"), ("NOTE", "ALL")],
            "input NOTE: \"ALL\" does not match [a-z ]+; give text, matching [a-z ]+",
        ),
        (
            &[("REPLICAS", "2"), ("DB_PASSWORD", "x")],
            "input DB_PASSWORD: a secret is the runbook pool's own; leave it out",
        ),
        (
            &[("REPLICAS", "2"), ("REPLICA", "2")],
            "input REPLICA: not declared; the runbook has SERVICE, REPLICAS, MODE, NOTE, DB_PASSWORD",
        ),
        (
            &[("REPLICAS", "0"), ("MODE", "x")],
            "input REPLICAS: 0 is out of range; give a number from 1 to 10; \
             input MODE: \"x\" is not one of fast, slow; give one of fast, slow",
        ),
    ] {
        assert_eq!(runbook.inputs(&given(wrong)).unwrap_err(), expected, "{wrong:?}");
    }
}

#[test]
fn a_runbook_without_inputs_takes_plain_variables() {
    let inputs = parse("# x\n").unwrap().inputs(&given(&[("ANY", "thing")])).unwrap();
    assert_eq!((inputs.values.len(), inputs.env), (0, given(&[("ANY", "thing")])));
}

#[test]
fn declarations_that_cannot_be_refuse_the_file() {
    for (inputs, expected) in [
        ("  - name: 1x", "inputs[0] 1x: the name is a variable's"),
        ("  - name: PATH", "inputs[0] PATH: the name is the shell's or Harmony's own"),
        ("  - name: LD_PRELOAD", "inputs[0] LD_PRELOAD: the name is the shell's"),
        ("  - name: HARMONY_DRY_RUN", "inputs[0] HARMONY_DRY_RUN: the name is the shell's"),
        ("  - type: string", "inputs[0]: missing field `name`"),
        ("  - name: A\n    tipe: string", "inputs[0]: unknown field `tipe`"),
        (
            "  - name: A\n    type: text",
            "inputs[0] A: type \"text\" is not string, number, enum, service or release",
        ),
        ("  - name: A\n    type: enum", "inputs[0] A: an enum needs values"),
        ("  - name: A\n    type: number\n    default: x", "inputs[0] A: default: \"x\" is not a number"),
        ("  - name: A\n    values: [a]\n    default: b", "inputs[0] A: default: \"b\" is not one of a"),
        ("  - name: A\n    pattern: '('", "inputs[0] A: pattern: "),
        ("  - name: A\n    min: 1", "inputs[0] A: min and max belong to a number"),
        ("  - name: A\n    secret: true\n    default: x", "inputs[0] A: a secret has a name alone"),
        ("  - name: A\n  - name: A", "inputs[1] A: is declared twice"),
        ("  A: b", "inputs: expected a list"),
        ("  - [", ""),
    ] {
        let problem = declared(inputs).unwrap_err();
        let expected = format!("line 2: the front matter is not valid: {expected}");
        assert!(problem.starts_with(&expected), "{inputs}: {problem}");
    }
    let dry = parse("---\ndryRun: maybe\n---\n").unwrap_err().to_string();
    assert!(dry.contains("dryRun: expected env"), "{dry}");
}

#[test]
fn a_default_may_be_a_number() {
    let runbook = declared("  - name: A\n    type: number\n    default: 3").unwrap();
    assert_eq!(runbook.inputs(&given(&[])).unwrap().values[0].value, "3");
}
