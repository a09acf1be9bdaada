"""Every metric that alerts and dashboards ask for, in the `/metrics` of processes that have seen some life, or, where that life
has no part for it, among those that the programs register."""

import http.client
import json
import re
import socket

import pytest

from chart import CHART, variant
from stores import wait
from test_purchase import test_the_chart_s_own_test_buys_something as buy

# Prometheus's own.
NOT_OURS = ("up",)

# Those of Stripe's client are there where Stripe takes the money, those of certificates where TLS is, which is not here. Their names and labels are read where they
# are documented, in a table that a test of the code's compares with what is registered.
DOCUMENTED = re.compile(r"stripe_|\w*certificate_expiry")
TABLE = CHART.parents[1] / "docs/metrics.md"

# What Prometheus adds to every series.
ADDED = {"namespace", "job", "pod", "service", "instance"}


def asked():
    """Every (metric, labels) with where it is asked for."""
    expressions = []
    (rule,) = [m for m in variant("monitoring") if m["kind"] == "PrometheusRule"]
    for group in rule["spec"]["groups"]:
        expressions += [(entry.get("alert") or entry["record"], entry["expr"]) for entry in group["rules"]]
    for path in sorted((CHART / "files/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            expressions += [(f"{path.stem}: {panel['title']}", target["expr"]) for target in panel.get("targets", [])]
        for variable in board["templating"]["list"]:
            if found := re.match(r"label_values\((.*), \w+\)", variable["query"]):
                query = found[1] if "{" in found[1] else found[1] + "{}"
                expressions.append((f"{path.stem}: ${variable['name']}", query))
    for place, expression in expressions:
        for name, labels in re.findall(r"([a-z_][a-z0-9_]*)\{([^}]*)\}", expression):
            if name not in NOT_OURS:
                yield place, name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
        by = re.findall(r"by \(([^)]*)\)", expression)
        names = [name for name, _ in re.findall(r"([a-z_][a-z0-9_]*)\{([^}]*)\}", expression) if name not in NOT_OURS]
        for labels in by:
            for name in names:
                yield place, name, {label.strip() for label in labels.split(",")}


def live(shop):
    """Metric → labels, over all pods."""
    found = {}
    for pod in shop.cluster.all_pods():
        status, text = pod.get("/metrics", port="admin" if "admin" in pod.ports else "http")
        assert status == 200
        for name, labels in re.findall(r"^([a-z_][a-z0-9_]*)(?:\{([^}]*)\})? ", text, flags=re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def documented():
    """Metric → labels, as the table of metrics has them; a histogram by the names of its series."""
    found = {}
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|", flags=re.MULTILINE)
    for name, kind, labels in row.findall(TABLE.read_text()):
        series = [name + part for part in ("_bucket", "_count", "_sum")] if kind == "histogram" else [name]
        for each in series:
            found[each] = set(re.findall(r"`(\w+)`", labels))
    return found


def call(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.fixture(scope="module")
def scraped(shop):
    buy(shop)
    # A failure, a head that never ends, and an event that nobody can read.
    assert call(shop.gateway, "GET", "/api/products/999999999") == 404
    for pod in shop.cluster.pods["gateway"]:
        with socket.create_connection(("127.0.0.1", pod.ports["http"]), timeout=30) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\n")
            stream.recv(1024)
    shop.stores.produce("stock-events", "1", "{}")
    pod = shop.cluster.pods["product"][0]
    wait(lambda: "kafka_dead_letters_total" in live(shop), pod.process, pod.log, 60)
    return live(shop)


def rows(is_documented):
    found = [row for row in asked() if bool(DOCUMENTED.match(row[1])) == is_documented]
    return [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in found]


def has(there, place, name, labels):
    assert name in there, f"{place} asks for {name}"
    assert labels - ADDED <= there[name] | {"le"}, f"{place} asks {name} for {labels}, which has {there[name]}"


@pytest.mark.parametrize(("place", "name", "labels"), rows(is_documented=False))
def test_it_exists_with_its_labels(scraped, place, name, labels):
    has(scraped, place, name, labels)


@pytest.mark.parametrize(("place", "name", "labels"), rows(is_documented=True))
def test_what_is_not_here_is_documented_with_its_labels(place, name, labels):
    has(documented(), place, name, labels)
