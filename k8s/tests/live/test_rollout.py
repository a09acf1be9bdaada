"""An upgrade of everything at once, under load: no request may be lost."""

import json
import re
import time

from chart import render
from load import Caller, Load


def said_about(load, shop):
    """Log lines of all pods that are about failures."""
    ids = {found for failure in load.failures for found in re.findall(r'"request_id":"([^"]+)"', failure)}
    for pod in shop.cluster.all_pods() + shop.cluster.gone:
        yield from (f"{pod.name}: {line}" for line in pod.log.read_text().splitlines() if any(i in line for i in ids))


def test_an_upgrade_loses_no_request(shop):
    status, text = Caller(shop.gateway, shop.token("kim", "catalogue")).call(
        "POST", "/api/products", {"name": "Rolling pin", "price": "3.00", "stock_quantity": 1_000_000, "category": "kitchen"}
    )
    assert status == 201, text
    product = json.loads(text)["id"]
    before = shop.cluster.all_pods()
    upgraded = render(values=[*shop.values, "settings.log.level=warn"])
    # Passwords are kept by a cluster, and made up anew here.
    upgraded = [m for m in upgraded if m["kind"] != "Secret"] + [m for m in shop.manifests if m["kind"] == "Secret"]

    with Load(shop.gateway, product) as load:
        shop.cluster.rollout(upgraded)

    print(f"{load.done} requests, {load.bought} purchases, {len(load.failures)} lost")
    assert not load.failures, f"{len(load.failures)} of {load.done}:\n" + "\n".join([*load.failures[:20], *said_about(load, shop)])
    assert load.bought > 20 and load.done > 500, "too little was going on to prove anything"
    assert len(shop.cluster.gone) == len(before) and not set(before) & set(shop.cluster.all_pods())
    late = [pod.name for pod in shop.cluster.gone if pod.killed]
    assert not late, f"{late} had to be killed"
    assert all(pod.process.returncode == 0 for pod in shop.cluster.gone)


def test_what_was_bought_meanwhile_is_sold_exactly_once(shop):
    """Orders taken during the upgrade reach the stock by events, whoever consumed them."""
    caller = Caller(shop.gateway, shop.token("sam", "support"))

    def page(path):
        status, text = caller.call("GET", path)
        assert status == 200, text
        return json.loads(text)

    def paid():
        cursor = ""
        while cursor is not None:
            found = page(f"/api/payments?status=completed&limit=100{cursor}")
            yield from (item for payment in found["payments"] for item in payment["items"])
            cursor = f"&cursor={found['next_cursor']}" if found["next_cursor"] else None

    (pin,) = [p for p in page("/api/products?limit=100&q=Rolling")["products"] if p["name"] == "Rolling pin"]
    wanted = sum(item["quantity"] for item in paid() if item["product_id"] == pin["id"])
    deadline = time.monotonic() + 60
    while (left := page(f"/api/products/{pin['id']}")["stock_quantity"]) != 1_000_000 - wanted:
        assert time.monotonic() < deadline, f"{wanted} were paid for, {1_000_000 - left} left the stock"
        time.sleep(0.2)
