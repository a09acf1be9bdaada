"""Every rendered configuration, read by the binaries themselves."""

import subprocess

import pytest

from chart import RELEASE, VARIANTS, variant
from cluster import BINARIES, binary, deployments


@pytest.mark.parametrize("name", VARIANTS)
def test_the_binaries_accept_their_settings(name, tmp_path):
    manifests = variant(name)
    checked = 0
    for deployment in deployments(manifests):
        component = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        if component == "notification" and not (BINARIES / "notification-service").exists():
            continue
        (config,) = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == deployment["metadata"]["name"]]
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        (tmp_path / "config.toml").write_text(config["data"]["config.toml"])
        environment = {}
        for variable in container.get("env", []):
            value = variable["value"]
            if variable["name"].endswith("_FILE"):
                (tmp_path / variable["name"]).write_text("secret")
                value = str(tmp_path / variable["name"])
            environment[variable["name"]] = value
        arguments = [argument.replace("/etc/shop", str(tmp_path)) for argument in container["args"]]
        done = subprocess.run([binary(component), *arguments, "--check"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{component}\n{done.stderr}\n{config['data']['config.toml']}"
        shown = subprocess.run([binary(component), *arguments, "--explain"], env=environment, capture_output=True, text=True, check=True)
        lost = [line for line in shown.stdout.splitlines() if "localhost" in line and line.endswith("default")]
        assert not lost, f"{component} would look in its own pod for {lost}"
        checked += 1
    assert checked >= 4, RELEASE
