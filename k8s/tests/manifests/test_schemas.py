"""Every manifest of every variant against the schemas of Kubernetes and of the kinds that others define."""

import copy
import functools
import json
import re

import jsonschema
import kubernetes_validate
import pytest
import yaml

from chart import MINORS, TOOLS, VARIANTS, helm, variant


def closed(schema):
    """The schema with unknown keys refused, which a cluster would drop without a word."""
    schema = copy.deepcopy(schema)
    stack = [schema]
    while stack:
        node = stack.pop()
        if not isinstance(node, dict):
            continue
        if "properties" in node and "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node["additionalProperties"] = False
        # Go lets a flag stand anywhere, Python in front only.
        node["pattern"] = re.sub(r"^\^\(\?i\)", "(?i)^", node.get("pattern", ""))
        stack += [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]
    # What every object has; the rest of it is checked with its labels.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@functools.cache
def kinds():
    """(API version, kind) → schema, of kinds that are no part of Kubernetes."""
    found = {}
    for path in (TOOLS / "kinds").glob("*.yaml"):
        for definition in yaml.safe_load_all(path.read_text()):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


@functools.cache
def validate(text, minor):
    """Validates a manifest, the same one once only: most are in every variant."""
    manifest = json.loads(text)
    schema = kinds().get((manifest["apiVersion"], manifest["kind"]))
    if schema:
        jsonschema.validate(manifest, schema)
    else:
        kubernetes_validate.validate(manifest, minor.removesuffix(".0"), strict=True)


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_manifest_is_valid(name, minor):
    for manifest in variant(name):
        # Made-up passwords, and their hashes, differ each time.
        validate(re.sub("[0-9a-f]{64}", "0" * 64, json.dumps(manifest)), minor)


@pytest.mark.parametrize("minor", MINORS)
def test_it_renders_the_same_on_each_minor(minor):
    fixed = ["gateway.admin.token=t", "redis.auth.password=p"]
    fixed += ["identity.internal.existingSecret=key", "notification.secrets.existingSecret=key"]
    fixed += [f"postgresql.auth.{key}=p" for key in ("password", "productPassword", "notificationPassword")]
    fixed += [f"mariadb.auth.{key}=p" for key in ("rootPassword", "password")]
    assert helm(values=fixed, minor=minor).stdout == helm(values=fixed).stdout


def test_a_cluster_that_cannot_stop_pods_gently_is_refused():
    assert "kubeVersion" in helm(minor="1.29.0").stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gateway.replica=3", "replica"),
        ("product.settings.http.port=0", "port"),
        ("kafka.enabled=false", "external/brokers"),
        ("redis.image=redis:latest", "image"),
        ("redis.external.url=redis-cluster://:p@a", "external/url"),
        ("gateway.settings.stop.grace=9s", "set shutdown.graceSeconds"),
        ("shutdown.lingerSeconds=35", "must be less than shutdown.graceSeconds"),
        ("redis.enabled=false", "set redis.external.host"),
        ("gatewayApi.enabled=true", "name the Gateway"),
        ("postgresql.enabled=false", "set postgresql.external"),
        ("mariadb.enabled=false", "set mariadb.external"),
    ],
)
def test_values_that_make_no_sense_are_refused(value, message):
    done = helm(values=[value])
    assert done.returncode != 0 and message in done.stderr, done.stderr or "accepted"
