"""Compares what the chart renders with what kustomize renders, object by object and field by field.

usage: compare_chart.py DIFFERENCES FOLDER NAME...

FOLDER holds NAME.yaml, from kustomize, and helm-NAME.yaml, from the chart. Every difference must stand in DIFFERENCES with
its reason, and every line of DIFFERENCES must be one that there is: a list of

    object: a pattern of Kind/name      (fnmatch, as kustomize names it)
    path: a pattern of the field        (fnmatch; names joined by slashes, list items by their name or their place)
    side: kustomize, helm or both       (who has the field; both have it with another value, if both)
    why: a sentence
"""

import base64
import fnmatch
import pathlib
import re
import sys

import yaml

# Kustomize adds a hash to what it generates, and the chart to the names of jobs.
GENERATED = re.compile(r"^(harmony-(?:attestation|database|governance|session|ticket))-[a-z0-9]{10}$")
JOBS = re.compile(r"^(harmony-(?:db-migrate|temporal-setup))-[a-f0-9]{8}$")


def plain(value, found):
    """The value with the hashes taken off names; `found` collects the patterns that were met."""
    if isinstance(value, dict):
        return {key: plain(one, found) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one, found) for one in value]
    if isinstance(value, str):
        for pattern in (GENERATED, JOBS):
            match = pattern.match(value)
            if match:
                found.add(pattern)
                return match[1]
    return value


def fields(value, path=""):
    """Leaves by their path. Items of a list that have names are found by them, so that order does not matter there."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from fields(one, f"{path}/{key}" if path else key)
    elif isinstance(value, list) and value:
        names = [one.get("name") if isinstance(one, dict) else None for one in value]
        by_name = all(names) and len(set(names)) == len(names)
        for place, one in enumerate(value):
            yield from fields(one, f"{path}/{names[place] if by_name else place}")
    else:
        yield path, value


def objects(path, found):
    result = {}
    for one in yaml.safe_load_all(path.read_text()):
        if one is None:
            continue
        one = plain(one, found)
        if one["kind"] == "Secret":
            # Kustomize breaks base64 into lines.
            one["data"] = {key: base64.b64decode(value) for key, value in one["data"].items()}
        name = f"{one['kind']}/{one['metadata']['name']}"
        if name in result:
            sys.exit(f"{path.name}: {name} is there twice")
        result[name] = dict(fields(one))
    return result


def differences(name, folder, found):
    kustomize, helm = (objects(folder / f"{prefix}{name}.yaml", found) for prefix in ("", "helm-"))
    for thing in sorted(kustomize.keys() | helm.keys()):
        if thing not in helm or thing not in kustomize:
            yield thing, "", "kustomize" if thing in kustomize else "helm", ""
            continue
        ours, theirs = kustomize[thing], helm[thing]
        for path in sorted(ours.keys() | theirs.keys()):
            if path not in theirs:
                yield thing, path, "kustomize", repr(ours[path])
            elif path not in ours:
                yield thing, path, "helm", repr(theirs[path])
            elif ours[path] != theirs[path]:
                yield thing, path, "both", f"kustomize {ours[path]!r}, helm {theirs[path]!r}"


def main():
    listed = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    folder, names = pathlib.Path(sys.argv[2]), sys.argv[3:]
    used, unknown, compared, found = set(), [], 0, set()
    for name in names:
        compared += len(objects(folder / f"{name}.yaml", found))
        for thing, path, side, values in differences(name, folder, found):
            for number, rule in enumerate(listed):
                if (
                    rule["side"] == side
                    and fnmatch.fnmatchcase(thing, rule["object"])
                    and fnmatch.fnmatchcase(path, rule.get("path", ""))
                ):
                    used.add(number)
                    break
            else:
                unknown.append(f"{name}: {thing}: {path or 'the object'}: {side} {values}")
    for one in unknown:
        print(f"not among the listed differences: {one}", file=sys.stderr)
    stale = [rule for number, rule in enumerate(listed) if number not in used]
    for rule in stale:
        print(f"a listed difference is none any more: {rule['object']} {rule.get('path', '')}", file=sys.stderr)
    if unknown or stale or found != {GENERATED, JOBS}:
        sys.exit(1)
    print(f"chart: {compared} objects as kustomize has them, but for {len(listed)} listed differences")


main()
