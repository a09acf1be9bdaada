"""What `helm test` does, against the shop that the manifests make."""

import subprocess

from chart import named


def test_the_chart_s_own_test_buys_something(shop):
    script = named(shop.manifests, "ConfigMap", "test")["data"]["purchase.sh"]
    environment = {"SHOP": f"http://127.0.0.1:{shop.gateway}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bought product" in done.stdout


def test_the_chart_s_own_test_notices_when_nothing_can_be_bought(shop):
    script = named(shop.manifests, "ConfigMap", "test")["data"]["purchase.sh"]
    product = shop.cluster.pods["product"][0].ports["http"]
    environment = {"SHOP": f"http://127.0.0.1:{product}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 and "404" in done.stderr
