"""Which changes of values start pods anew."""

import pytest

from chart import COMPONENTS, named, render

FIXED = [
    "gateway.admin.token=t", "redis.auth.password=p", "identity.internal.existingSecret=key", "notification.secrets.existingSecret=key",
    *[f"postgresql.auth.{key}=p" for key in ("password", "productPassword", "notificationPassword")],
    *[f"mariadb.auth.{key}=p" for key in ("rootPassword", "password")],
]


def templates(*values):
    manifests = render(values=[*FIXED, *values])
    return {name: named(manifests, "Deployment", name)["spec"]["template"] for name in COMPONENTS}


@pytest.fixture(scope="module")
def before():
    return templates()


@pytest.mark.parametrize(
    ("value", "restarted"),
    [
        ("gateway.settings.services.product.urls={http://a:1,http://b:2}", []),
        ("gateway.settings.rate_limit.requests=5", []),
        ("gateway.settings.circuit_breaker.timeout=1s", []),
        ("gateway.settings.load_balancer.strategy=random", []),
        ("gateway.settings.limits.uri=4096", []),
        ("gateway.settings.http.body_limit=2097152", []),
        ("gateway.settings.discovery.timeout=1s", []),
        ("gateway.settings.tls.redirect=true", []),
        ("gateway.settings.workers=2", ["gateway"]),
        ("gateway.settings.http.port=9000", ["gateway"]),
        ("gateway.settings.limits.head=8192", ["gateway"]),
        ("gateway.settings.tls.reload_interval=1m", ["gateway"]),
        ("gateway.settings.admin.state_file=/data/admin.json", ["gateway"]),
        ("gateway.settings.log.level=debug", ["gateway"]),
        ("gateway.admin.token=other", ["gateway"]),
        ("product.settings.database.pool.max=4", ["product"]),
        ("postgresql.auth.productPassword=other", ["product"]),
        ("postgresql.auth.notificationPassword=other", ["notification"]),
        ("redis.auth.password=other", ["basket"]),
        ("mariadb.auth.password=other", ["payment"]),
        ("mariadb.auth.rootPassword=other", []),
        ("settings.log.level=debug", COMPONENTS),
        ("listen=::", COMPONENTS),
        ("identity.leeway=5s", [name for name in COMPONENTS if name != "gateway"]),
        ("gateway.replicas=7", []),
    ],
)
def test_a_change_reaches_the_pods_that_it_concerns_and_no_other(before, value, restarted):
    after = templates(value)
    assert [name for name in COMPONENTS if after[name] != before[name]] == restarted
