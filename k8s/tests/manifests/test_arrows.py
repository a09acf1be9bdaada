"""NetworkPolicies, judged as a cluster would: which pod reaches which, on which port, is exactly the architecture's arrows."""

import ipaddress

import pytest

from chart import VARIANTS, pods, render, variant

PORTS = {
    "gateway": {"http": 8080, "admin": 9083},
    "product": {"http": 8080, "grpc": 50050},
    "basket": {"http": 8081, "grpc": 50051},
    "payment": {"http": 8082, "grpc": 50052},
    "notification": {"http": 8084, "grpc": 50053},
    "postgresql": {"postgresql": 5432},
    "redis": {"redis": 6379},
    "mariadb": {"mariadb": 3306},
    "kafka": {"kafka": 9092, "controller": 9093},
    "test": {},
    # Not of this release.
    "prometheus": {},
    "stranger": {"http": 8080},
    "dns": {"dns": 53},
}
OUTSIDE = {
    "prometheus": ({"kubernetes.io/metadata.name": "monitoring"}, {"app.kubernetes.io/name": "prometheus"}),
    "stranger": ({"kubernetes.io/metadata.name": "elsewhere"}, {"app.kubernetes.io/name": "stranger"}),
    "dns": ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
}
SHOP = {"kubernetes.io/metadata.name": "shop"}

ARROWS = {
    *{("gateway", to, port) for to in ("product", "basket", "payment") for port in ("http", "grpc")},
    ("basket", "product", "grpc"),
    ("payment", "product", "grpc"),
    ("payment", "basket", "grpc"),
    ("product", "payment", "grpc"),
    ("product", "postgresql", "postgresql"),
    ("basket", "redis", "redis"),
    ("payment", "mariadb", "mariadb"),
    ("product", "kafka", "kafka"),
    ("basket", "kafka", "kafka"),
    ("payment", "kafka", "kafka"),
    ("kafka", "kafka", "kafka"),
    ("kafka", "kafka", "controller"),
    *{("prometheus", to, "http") for to in ("product", "basket", "payment")},
    ("prometheus", "gateway", "admin"),
    *{(who, "dns", "dns") for who in ("gateway", "product", "basket", "payment", "kafka", "test")},
}
# The gateway is for everybody who may send anything at all.
CLIENTS = {(who, "gateway", "http") for who in ("test", "prometheus", "stranger", "dns")}
NOTIFICATION = {
    ("gateway", "notification", "http"),
    ("payment", "notification", "grpc"),
    ("notification", "postgresql", "postgresql"),
    ("notification", "kafka", "kafka"),
    ("notification", "dns", "dns"),
    ("prometheus", "notification", "http"),
}


def selects(selector, labels):
    assert set(selector) <= {"matchLabels"}, selector
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


class Cluster:
    """The pods of a release beside some of others."""

    def __init__(self, manifests):
        self.policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
        self.pods = {labels["app.kubernetes.io/component"]: (SHOP, labels) for _, labels, _ in pods(manifests)}
        self.pods |= OUTSIDE

    def policies_of(self, name, direction):
        namespace, labels = self.pods[name]
        if namespace is not SHOP:
            return []
        return [p for p in self.policies if direction in p["policyTypes"] and selects(p["podSelector"], labels)]

    def is_peer(self, peer, name):
        namespace, labels = self.pods[name]
        if "ipBlock" in peer:
            return False
        if "namespaceSelector" in peer:
            at_home = selects(peer["namespaceSelector"], namespace)
        else:
            at_home = namespace is SHOP
        return at_home and selects(peer.get("podSelector", {}), labels)

    def lets(self, name, direction, other, target, port):
        """Whether the policies of `name` let it talk with `other`, towards `port` of `target`."""
        mine = self.policies_of(name, direction)
        if not mine:
            return True
        key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
        for policy in mine:
            for rule in policy.get(key) or []:
                fits = peers not in rule or any(self.is_peer(peer, other) for peer in rule[peers])
                numbers = [PORTS[target].get(p["port"], p["port"]) for p in rule.get("ports", [])]
                if fits and (not numbers or PORTS[target][port] in numbers):
                    return True
        return False

    def reaches(self, a, b, port):
        return self.lets(a, "Egress", b, b, port) and self.lets(b, "Ingress", a, b, port)

    def matrix(self):
        """Every (from, to, port) that is open, between pods of which at least one is ours."""
        return {
            (a, b, port)
            for a in self.pods
            for b in self.pods
            for port in PORTS[b]
            if (a not in OUTSIDE or b not in OUTSIDE) and self.reaches(a, b, port)
        }


@pytest.mark.parametrize("name", ["values", "values-staging"])
def test_exactly_the_arrows_of_the_architecture_are_open(name):
    assert Cluster(variant(name)).matrix() == ARROWS | CLIENTS | NOTIFICATION


def test_notifications_have_no_other_arrows_than_their_own():
    assert Cluster(variant("no-notification")).matrix() == ARROWS | CLIENTS


def test_without_policies_everything_is_open():
    cluster = Cluster(variant("no-network-policies"))
    assert ("stranger", "postgresql", "postgresql") in cluster.matrix()


def test_clients_of_the_gateway_can_be_named():
    manifests = render(values=["networkPolicy.clients[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=elsewhere"])
    gateway = {arrow for arrow in Cluster(manifests).matrix() if arrow[1] == "gateway"}
    assert gateway == {("test", "gateway", "http"), ("stranger", "gateway", "http"), ("prometheus", "gateway", "admin")}


def test_listeners_are_open_to_the_same_clients_but_for_those_of_the_pod_itself(monkeypatch):
    more = {"edge": 8090, "listener-8091": 8091, "here": 8092}
    monkeypatch.setitem(PORTS, "gateway", PORTS["gateway"] | more)
    # The test's own pod asks one port and no other.
    clients = {who for who, _, _ in CLIENTS} - {"test"}
    open_too = {(who, "gateway", port) for who in clients for port in ("edge", "listener-8091")}
    assert Cluster(variant("listeners")).matrix() == ARROWS | CLIENTS | NOTIFICATION | open_too


def outward(manifests, component):
    """Rules for traffic that leaves the cluster or goes anywhere: (ports, peers)."""
    policy = next(
        m for m in manifests if m["kind"] == "NetworkPolicy" and m["metadata"]["labels"].get("app.kubernetes.io/component") == component
    )
    rules = policy["spec"]["egress"]
    return [
        ([p["port"] for p in rule["ports"]], rule.get("to"))
        for rule in rules
        if "to" not in rule or any("ipBlock" in peer for peer in rule["to"])
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("values", {}),
        ("external-postgresql", {"product": [5432]}),
        ("external-redis", {"basket": [6379]}),
        ("external-mariadb", {"payment": [3306]}),
        ("external-kafka", {"product": [9093], "basket": [9093], "payment": [9093]}),
        ("tracing", {"gateway": [4317], "product": [4317], "basket": [4317], "payment": [4317]}),
        ("identity-provider", {"gateway": [443], "product": [443], "basket": [443], "payment": [443]}),
        ("identity-files", {}),
        ("identity-service-accounts", {"product": [443, 6443], "basket": [443, 6443], "payment": [443, 6443]}),
    ],
)
def test_only_what_is_elsewhere_is_reached_elsewhere(name, expected):
    manifests = variant(name)
    for component in ("gateway", "product", "basket", "payment"):
        ports = [ports for ports, _ in outward(manifests, component)]
        assert ports == ([expected[component]] if component in expected else []), component


def test_notifications_reach_the_world_but_nothing_private():
    ((ports, peers),) = outward(variant("values"), "notification")
    assert ports == [443, 465, 587]

    def open_to(address):
        address = ipaddress.ip_address(address)
        return any(
            address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
            and not any(address in ipaddress.ip_network(closed) for closed in peer["ipBlock"]["except"])
            for peer in peers
            if ipaddress.ip_network(peer["ipBlock"]["cidr"]).version == address.version
        )

    assert open_to("93.184.216.34") and open_to("2606:2800:220:1::1")
    for private in ("10.0.0.1", "172.20.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "fd00::1", "fe80::1"):
        assert not open_to(private), private


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_is_under_a_policy_of_its_own(name):
    cluster = Cluster(variant(name))
    if not cluster.policies:
        return
    for pod in set(cluster.pods) - set(OUTSIDE):
        for direction in ("Ingress", "Egress"):
            # Its own, and the one that closes everything.
            assert len(cluster.policies_of(pod, direction)) == 2, pod
