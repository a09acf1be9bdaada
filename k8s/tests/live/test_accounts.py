"""The same release with tokens of service accounts between its services, beside the one of the other tests, on the same stores."""

import json

import pytest

from chart import render
from cluster import Cluster
from issuer import Issuer
from load import Caller


@pytest.fixture(scope="module")
def accounts(shop, tmp_path_factory):
    issuer = Issuer("https://kubernetes.default.svc.cluster.local", audience="shop.obs-tools-usage")
    server = issuer.serve()
    one_each = [f"{name}.replicas=1" for name in ("gateway", "product", "basket", "payment", "notification")]
    manifests = render(values=[*shop.values, *one_each, "identity.internal.serviceAccountTokens=true"])
    # Passwords and keys are those of the release.
    manifests = [m for m in manifests if m["kind"] != "Secret"] + [m for m in shop.manifests if m["kind"] == "Secret"]
    here = f"http://127.0.0.1:{server.server_port}"
    cluster = Cluster(tmp_path_factory.mktemp("accounts"), shop.stores.addresses, issuer.files, {"https://kubernetes.default.svc/": f"{here}/"})
    try:
        cluster.apply(manifests)
        yield cluster, issuer
    finally:
        cluster.close()
        server.shutdown()
        issuer.key.close()


def test_a_guest_buys_where_services_show_tokens_of_their_accounts(shop, accounts):
    cluster, issuer = accounts
    port = cluster.services["gateway", "http"].port
    staff = Caller(port, shop.token("kim", "catalogue"))

    def call(caller, method, path, body=None):
        status, text = caller.call(method, path, body)
        assert 200 <= status < 300, text
        return json.loads(text) if text else None

    product = call(staff, "POST", "/api/products", {"name": "Sieve", "price": "4.00", "stock_quantity": 2, "category": "kitchen"})["id"]
    guest = call(Caller(port), "POST", "/api/guests")
    buyer, user = Caller(port, guest["access_token"]), guest["user_id"]
    call(buyer, "POST", f"/api/baskets/{user}/items", {"product_id": product, "quantity": 1})
    payment = call(buyer, "POST", "/api/payments", {"user_id": user, "method": "credit_card"})
    assert call(buyer, "POST", f"/api/payments/{payment['id']}/process", {"payment_token": "tok_approve"})["status"] == "completed"
    assert issuer.asked and all(issuer.asked), "the keys are shown to nobody who is unknown"
    # Only who signs for guests has the suite's own key.
    having = {name for name, pods in cluster.pods.items() if any("IDENTITY_KEY" in pod.files.secrets for pod in pods)}
    assert having == {"basket"}


def test_a_token_of_another_account_is_no_service_s(shop, accounts):
    cluster, issuer = accounts
    port = cluster.pods["basket"][0].ports["http"]
    guest = json.loads(Caller(port).call("POST", "/guests")[1])
    path = f"/baskets/{guest['user_id']}"
    assert Caller(port, guest["access_token"]).call("POST", "/baskets", {})[0] == 201
    seen = {
        component: Caller(port, issuer.token(issuer.accounts + component, issuer.audience)).call("GET", path)[0]
        for component in ("payment", "product", "elsewhere")
    }
    # A service that baskets are not for is told so; who is none is a user, and it is not his.
    assert seen == {"payment": 200, "product": 403, "elsewhere": 404}
