"""Holds what kube-score and checkov say of the rendered manifests against what is written down about it.

usage: findings.py FINDINGS SCORES CHECKOV [--partly]

SCORES is a folder with kube-score's JSON, one file a rendered file; CHECKOV is checkov's JSON. Every finding must stand in
FINDINGS with its reason, and every entry there must be one that there is (--partly: not all was rendered, so that some may
have nothing to be about). FINDINGS is a list of

    id: the tool's own name for it (CKV_K8S_11, container-image-pull-policy)
    objects: patterns of Kind/name   (fnmatch, as kustomize and the chart name them)
    why: a sentence
"""

import fnmatch
import json
import pathlib
import sys

import yaml

# kube-score's grade for what is in order; below it is a warning (5) or worse (1).
IN_ORDER = 10


def scores(folder):
    """What kube-score found: id, object, sentence, file."""
    for path in sorted(folder.glob("*.json")):
        for one in json.loads(path.read_text()):
            name = f"{one['type_meta']['kind']}/{one['object_meta']['name']}"
            for check in one["checks"]:
                if check["skipped"] or check["grade"] >= IN_ORDER:
                    continue
                said = "; ".join(comment["summary"] for comment in check["comments"] or [])
                yield check["check"]["id"], name, said or check["check"]["name"], path.stem


def checks(path):
    """What checkov found, in the same form. It answers a list where it looked at several kinds of files."""
    answers = json.loads(path.read_text())
    for answer in answers if isinstance(answers, list) else [answers]:
        if answer["summary"]["parsing_errors"]:
            sys.exit(f"checkov could not read {answer['results']['parsing_errors']}")
        for one in answer["results"]["failed_checks"]:
            kind, name = one["resource"].split(".")[0], one["resource"].split(".")[-1]
            yield one["check_id"], f"{kind}/{name}", one["check_name"], pathlib.Path(one["file_path"]).stem


def main():
    listed = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    found = [*scores(pathlib.Path(sys.argv[2])), *checks(pathlib.Path(sys.argv[3]))]
    used, unknown = set(), set()
    for finding, name, said, where in found:
        patterns = [
            (number, pattern)
            for number, entry in enumerate(listed)
            if entry["id"] == finding
            for pattern in entry["objects"]
            if fnmatch.fnmatchcase(name, pattern)
        ]
        used.update(patterns)
        if not patterns:
            unknown.add(f"{finding}: {name} ({where}): {said}")
    stale = [
        f"{entry['id']}: {pattern}"
        for number, entry in enumerate(listed)
        for pattern in entry["objects"]
        if (number, pattern) not in used
    ]
    if "--partly" in sys.argv:
        stale = []
    for one in sorted(unknown):
        print(f"a finding without a reason in {sys.argv[1]}: {one}", file=sys.stderr)
    for one in stale:
        print(f"{sys.argv[1]} has a reason for what is no finding any more: {one}", file=sys.stderr)
    if not found:
        print("neither tool found anything, not even what is known: did they look?", file=sys.stderr)
    if unknown or stale or not found:
        sys.exit(1)
    print(f"findings: {len(found)} of kube-score and checkov, each with a reason; {len(listed)} reasons")


main()
