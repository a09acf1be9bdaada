"""What is written about the chart, and the files beside it."""

import json
import re

import jsonschema
import pytest
import values_table
import yaml

from chart import CHART, COMPONENTS, EXAMPLES, pods, variant
from test_schemas import validate
from test_security import violations

ROOT = CHART.parent.parent


def test_the_table_of_values_is_current():
    assert values_table.README.read_text() == values_table.readme(), "run scripts/chart docs"


def test_every_value_is_explained():
    assert values_table.undocumented() == []


def test_the_schema_knows_every_value_and_no_other():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)

    def keys(node, value, path=""):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        if node.get("additionalProperties") is not False:
            return
        known = set(node["properties"]) - ({"global"} if not path else set())
        optional = {"externalTrafficPolicy"} if path.endswith(".service") else set()
        assert known - optional - set(value) == set(), f"{path} lacks a default"
        for key, inner in value.items():
            if isinstance(inner, dict) and key != "resources":
                keys(node["properties"][key], inner, f"{path}.{key}")

    keys(schema, yaml.safe_load((CHART / "values.yaml").read_text()))


def test_versions_are_the_ones_that_are_tested():
    workspace = (ROOT / "Cargo.toml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in workspace
    kafka = re.search("<kafka.version>(.*)<", (ROOT / "scripts/lib/kafka-pom.xml").read_text())[1]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["kafka"]["image"].endswith(f":{kafka}")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("stores-*.yaml")), ids=lambda path: path.stem)
def test_stores_of_the_examples_are_valid(path):
    manifests = list(yaml.safe_load_all(path.read_text()))
    for manifest in manifests:
        # Kinds that operators bring along.
        if manifest["apiVersion"].endswith(("cnpg.io/v1", "strimzi.io/v1beta2", "mariadb.com/v1alpha1", "spotahome.com/v1")):
            continue
        validate(json.dumps(manifest), "1.37.0")
    for owner, _, spec in pods(manifests):
        assert not list(violations(spec)), owner


@pytest.mark.parametrize("name", ["bitnami", "operators", "zookeeper"])
def test_examples_run_nothing_that_is_elsewhere(name):
    values = yaml.safe_load((EXAMPLES / f"values-{name}.yaml").read_text())
    elsewhere = {store for store, own in values.items() if own.get("enabled") is False}
    running = {labels["app.kubernetes.io/component"] for _, labels, _ in pods(variant(f"example-{name}"))}
    assert elsewhere and not elsewhere & running
    assert running >= set(COMPONENTS)


def test_every_selector_and_reference_finds_something():
    for name in ("values", "notification-channels", "names", "example-operators"):
        manifests = variant(name)
        names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
        assert len(names) == len(manifests), "two of a kind with one name"
        labels = [labels for _, labels, _ in pods(manifests)]
        for m in manifests:
            if m["kind"] == "Service":
                assert any(m["spec"]["selector"].items() <= own.items() for own in labels), m["metadata"]["name"]
            if m["kind"] == "StatefulSet":
                assert ("Service", m["spec"]["serviceName"]) in names
        for owner, _, spec in pods(manifests):
            if "serviceAccountName" in spec:
                assert ("ServiceAccount", spec["serviceAccountName"]) in names, owner
            for volume in spec["volumes"]:
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in names, owner


def test_commands_of_the_architecture_find_what_they_name():
    manifests = variant("values")
    assert (ROOT / "helm").resolve() == CHART
    assert all(m["metadata"]["labels"]["app.kubernetes.io/name"] == "obs-tools-usage" for m in manifests)
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    assert {("Service", "obs-tools-usage-gateway"), ("Deployment", "obs-tools-usage-gateway")} <= names
