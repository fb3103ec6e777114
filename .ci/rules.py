"""Prints the groups of a PrometheusRule as Prometheus itself reads them, and sees that its alarms have their cases.

usage: rules.py RULES CASES

For every alarm CASES has one that fires and one that does not; for every alarm that counts, one named "first failure".
"""

import pathlib
import re
import sys

import yaml


def cases(path):
    """Alarm, whether it fires, and the name of the test."""
    for test in yaml.safe_load(path.read_text())["tests"]:
        for case in test.get("alert_rule_test", []):
            yield case["alertname"], bool(case.get("exp_alerts")), test["name"]
        for case in test.get("promql_expr_test", []):
            for alert in re.findall(r'alertname="(\w+)"', case["expr"]):
                yield alert, bool(case["exp_samples"]), test["name"]


def main():
    groups = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = list(cases(pathlib.Path(sys.argv[2])))
    wanted = [
        (rule["alert"], what, any(alert == rule["alert"] and fires == firing for alert, firing, _ in known))
        for rule in rules
        for what, fires in (("that fires", True), ("that does not fire", False))
    ]
    wanted += [
        (
            rule["alert"],
            'named "first failure" that fires',
            any(alert == rule["alert"] and fires and "first failure" in name for alert, fires, name in known),
        )
        for rule in rules
        if re.search(r"\b(increase|rate)\(", rule["expr"])
    ]
    missing = [f"{sys.argv[2]} has no case of {alert} {what}" for alert, what, is_there in wanted if not is_there]
    for one in missing:
        print(one, file=sys.stderr)
    if missing or not rules:
        sys.exit(1)
    yaml.safe_dump({"groups": groups}, sys.stdout, sort_keys=False, allow_unicode=True)


main()
