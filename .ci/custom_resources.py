"""Validates custom resources against the definitions found in the given folders, unknown fields included.

usage: custom_resources.py FOLDER-OF-RENDERED-YAML FOLDER-WITH-DEFINITIONS...
"""

import pathlib
import sys

import jsonschema
import yaml

BUILT_IN = ("v1", "apps/", "autoscaling/", "batch/", "networking.k8s.io/", "policy/", "rbac.authorization.k8s.io/")


def strict(schema):
    """A schema that refuses what it does not name, as the API server does with --validate=strict."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key not in ("properties", "items", "format")}
    if "items" in schema:
        made["items"] = strict(schema["items"])
    if "properties" in schema:
        made["properties"] = {name: strict(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def definitions(folders):
    found = {}
    for folder in folders:
        for path in pathlib.Path(folder).rglob("*.y*ml"):
            text = path.read_text(errors="replace")
            if "kind: CustomResourceDefinition" not in text:
                continue
            try:
                documents = list(yaml.safe_load_all(text))
            except yaml.YAMLError:
                continue  # a template, not a definition
            for one in documents:
                if not isinstance(one, dict) or one.get("kind") != "CustomResourceDefinition":
                    continue
                spec = one["spec"]
                for version in spec["versions"]:
                    schema = version.get("schema", {}).get("openAPIV3Schema")
                    if schema:
                        name = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                        found[name] = schema
    return found


def main():
    known = definitions(sys.argv[2:])
    problems, checked = [], 0
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text()):
            # Helm leaves documents of nothing but comments.
            if one is None or one["apiVersion"].startswith(BUILT_IN):
                continue
            name = (one["apiVersion"], one["kind"])
            where = f"{path.name}: {one['kind']} {one['metadata']['name']}"
            if name not in known:
                problems.append(f"{where}: no definition of {name[0]} {name[1]} was found")
                continue
            checked += 1
            schema = strict(known[name])
            # Every object has these; some definitions leave them out.
            for field in ("apiVersion", "kind", "metadata"):
                schema["properties"][field] = {}
            for error in jsonschema.Draft7Validator(schema).iter_errors(one):
                place = "/".join(map(str, error.absolute_path))
                problems.append(f"{where}: {place}: {error.message}")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems or not checked:
        sys.exit(1)
    print(f"custom resources: {checked} valid")


main()
