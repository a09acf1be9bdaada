"""Renders the chart, in every variant that the tests look at."""

import functools
import os
import pathlib
import subprocess

import yaml

CHART = pathlib.Path(__file__).resolve().parent.parent / "obs-tools-usage"
EXAMPLES = CHART.parent / "examples"
TOOLS = pathlib.Path(os.environ["SHOP_CHART_TOOLS"])
RELEASE = "obs-tools-usage"
COMPONENTS = ["gateway", "product", "basket", "payment", "notification"]
STORES = ["postgresql", "redis", "mariadb", "kafka"]
# The three newest minors.
MINORS = ["1.35.0", "1.36.0", "1.37.0"]

EXTERNAL = {
    "postgresql": ["postgresql.external.host=pg.example", "postgresql.external.existingSecret=pg",
                   "postgresql.external.notificationExistingSecret=pg"],
    "redis": ["redis.external.host=redis.example", "redis.external.existingSecret=redis"],
    "mariadb": ["mariadb.external.host=maria.example", "mariadb.external.existingSecret=maria"],
    "kafka": ["kafka.external.brokers={kafka-1.example:9093,kafka-2.example:9093}"],
}

# Each optional feature alone, on top of production's values.
FEATURES = {
    "no-notification": ["notification.enabled=false"],
    "notification-channels": [
        "notification.smtp.url=smtps://u:p@mail.example:465", "notification.webhook.url=https://hooks.example/shop",
        "notification.webhook.secret=whsec_" + "A" * 32,
    ],
    "ingress": ["ingress.enabled=true", "ingress.tls[0].secretName=shop-tls", "ingress.tls[0].hosts={shop.example.com}"],
    "gateway-api": [
        "gatewayApi.enabled=true", "gatewayApi.parentRefs[0].name=public",
        "gatewayApi.hostnames={shop.example.com}", "gatewayApi.grpcHostnames={grpc.shop.example.com}",
    ],
    "autoscaling": [f"{name}.autoscaling.enabled=true" for name in COMPONENTS],
    "monitoring": ["monitoring.serviceMonitor.enabled=true", "monitoring.prometheusRule.enabled=true"],
    "no-dashboards": ["monitoring.dashboards.enabled=false"],
    "no-network-policies": ["networkPolicy.enabled=false"],
    "no-budgets": ["podDisruptionBudget.enabled=false"],
    "tracing": ["settings.otel.endpoint=http://collector.monitoring:4317"],
    "registry": ["image.registry=registry.example/shop", "image.pullSecrets={registry}", "gateway.image.digest=sha256:" + "0" * 64],
    "own-secrets": [
        "gateway.admin.existingSecret=a", "postgresql.auth.existingSecret=b", "redis.auth.existingSecret=c",
        "mariadb.auth.existingSecret=d", "identity.internal.existingSecret=e", "notification.secrets.existingSecret=f",
    ],
    "identity-provider": [
        "identity.issuer=https://id.example/realms/shop", "identity.audience=shop", "identity.jwks.caSecret=authority",
        "identity.rolesClaim=realm_access.roles", "settings.identity.roles.shop-admins=operator",
    ],
    "identity-files": [
        "identity.issuer=https://id.example", "identity.audience=shop", "identity.jwks.existingConfigMap=keys",
        "identity.revoked.existingConfigMap=revoked",
    ],
    "identity-service-accounts": ["identity.internal.serviceAccountTokens=true"],
    "identity-off": ["identity.mode=off", "identity.allowAnonymous=true"],
    "listeners": [
        "gateway.settings.listeners.edge.address=0.0.0.0:8090", "gateway.settings.listeners.edge.proxy_protocol=accept",
        "gateway.settings.listeners.edge.proxy_protocol_from={10.0.0.0/8}",
        "gateway.settings.listeners.tills-of-the-old-town.address=0.0.0.0:8091",
        "gateway.settings.listeners.here.address=127.0.0.1:8092", "gateway.certificates={tills,partners}",
    ],
    "names": ["fullnameOverride=shop", "nameOverride=market"],
    "external-kafka-secure": [
        "kafka.enabled=false", "kafka.external.brokers={kafka.example:9094}", "kafka.external.securityProtocol=sasl_ssl",
        "kafka.external.tls.caSecret=ca", "kafka.external.tls.clientSecret=client", "kafka.external.sasl.username=shop",
        "kafka.external.sasl.password=" + "p" * 16,
    ],
    **{f"external-{store}": [f"{store}.enabled=false", *values] for store, values in EXTERNAL.items()},
}

# Name of a variant → values file and settings.
VARIANTS = {
    **{path.stem: ([path], []) for path in sorted(CHART.glob("values*.yaml"))},
    **{name: ([], values) for name, values in FEATURES.items()},
    **{f"example-{path.stem.removeprefix('values-')}": ([path], []) for path in sorted(EXAMPLES.glob("values-*.yaml"))},
}


def helm(*arguments, files=(), values=(), minor=MINORS[-1]):
    """Runs `helm template` and returns the finished process."""
    command = ["helm", "template", RELEASE, str(CHART), "--namespace", "shop", "--kube-version", minor, *arguments]
    for file in files:
        command += ["--values", str(file)]
    for value in values:
        command += ["--set", value]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(files=(), values=(), minor=MINORS[-1]):
    """The manifests of the chart with these values."""
    done = helm(files=files, values=values, minor=minor)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@functools.cache
def variant(name):
    """The manifests of one variant."""
    files, values = VARIANTS[name]
    return render(files, values)


def named(manifests, kind, name):
    """The one manifest of this kind and name, the release's prefix left out."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == f"{RELEASE}-{name}"]
    assert len(found) == 1, f"{len(found)} {kind} called {name}"
    return found[0]


def pods(manifests):
    """Every pod there will be: name of its owner, labels and spec."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            template = manifest["spec"]["template"]
            yield manifest["metadata"]["name"], template["metadata"]["labels"], template["spec"]
        elif manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["metadata"]["labels"], manifest["spec"]
