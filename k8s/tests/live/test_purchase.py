"""What `helm test` does, against the shop that the manifests make."""

import subprocess

from chart import named
from cluster import binary, key_files, translate
from load import Caller


def helm_test(shop, port):
    """The test's pod: its first container, then its second, which is given the gateway's port."""
    pod = named(shop.manifests, "Pod", "test-purchase")["spec"]
    places = {"/run/staff": str(shop.directory), "/run/secrets/shop/tls.key": key_files(shop.manifests, shop.directory / "key")["IDENTITY_KEY_FILE"]}
    (staff,) = pod["initContainers"]
    environment = {variable["name"]: translate(variable["value"], places) for variable in staff["env"]}
    (shop.directory / "token").unlink(missing_ok=True)
    subprocess.run([binary("basket"), *(translate(argument, places) for argument in staff["args"])], env=environment, check=True)
    script = named(shop.manifests, "ConfigMap", "test")["data"]["purchase.sh"]
    given = {variable["name"]: translate(variable["value"], places) for variable in pod["containers"][0]["env"]}
    environment = {**given, "SHOP": f"http://127.0.0.1:{port}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_chart_s_own_test_buys_something(shop):
    done = helm_test(shop, shop.gateway)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bought product" in done.stdout and "POST /api/guests: 201" in done.stdout


def test_the_chart_s_own_test_notices_when_nothing_can_be_bought(shop):
    done = helm_test(shop, shop.cluster.pods["product"][0].ports["http"])
    assert done.returncode != 0 and "404" in done.stderr


def test_strangers_change_nothing_through_the_gateway_or_past_it(shop):
    ports = [shop.gateway, shop.cluster.pods["product"][0].ports["http"]]
    for port, path in zip(ports, ["/api/products", "/products"]):
        status, text = Caller(port).call("POST", path, {"name": "Gift", "price": "0.00", "stock_quantity": 1, "category": "kitchen"})
        assert status == 401 and "token_missing" in text, text
