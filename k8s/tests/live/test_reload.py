"""An upgrade that changes routes of the gateway only."""

import time

from chart import named, render
from load import Caller


def test_routes_change_without_a_restart(shop):
    closed = render(values=[*shop.values, "gateway.settings.services.product.enabled=false"])
    templates = [named(m, "Deployment", "gateway")["spec"]["template"]["metadata"]["annotations"] for m in (shop.manifests, closed)]
    assert templates[0]["checksum/settings"] == templates[1]["checksum/settings"], "the pods would start anew"
    pods = list(shop.cluster.pods["gateway"])

    def statuses():
        return {Caller(pod.ports["http"]).call("GET", "/api/products?limit=1")[0] for pod in pods}

    assert statuses() == {200}
    for manifests, expected in ((closed, {503}), (shop.manifests, {200})):
        shop.cluster.update("gateway", manifests)
        deadline = time.monotonic() + 30
        while statuses() != expected:
            assert time.monotonic() < deadline, pods[0].log.read_text()[-2000:]
            time.sleep(0.1)
    assert pods == shop.cluster.pods["gateway"] and all(pod.process.poll() is None for pod in pods)
