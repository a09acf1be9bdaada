"""Every rendered configuration, read by the binaries themselves."""

import pathlib
import subprocess

import pytest

from chart import RELEASE, VARIANTS, variant
from cluster import MOUNTS, binary, deployments, key_files, secret, translate
from issuer import Issuer


@pytest.mark.parametrize("name", VARIANTS)
def test_the_binaries_accept_their_settings(name, tmp_path):
    manifests = variant(name)
    checked = 0
    keys = key_files(variant("values"), tmp_path / "keys")
    places = {place: str(tmp_path) for place in MOUNTS}
    # What a pod of these variants finds on its volumes.
    issuer = Issuer("https://id.example")
    files = issuer.files("product")
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    # What stores and brokers of others are called with over TLS.
    theirs = {"_CA_FILE": files["ca.crt"], "_CERT_FILE": files["ca.crt"], "_KEY_FILE": pathlib.Path(issuer.key.name).read_text()}
    for deployment in deployments(manifests):
        component = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        (config,) = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == deployment["metadata"]["name"]]
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        (tmp_path / "config.toml").write_text(translate(config["data"]["config.toml"], places))
        # What belongs to Secrets of others is not in the manifests.
        made = {
            item["path"]: secret(manifests, source["secret"]["name"], item["key"])
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source.get("secret", {"items": []})["items"]
            if any(m["kind"] == "Secret" and m["metadata"]["name"] == source["secret"]["name"] for m in manifests)
        }
        environment = {}
        for variable in container.get("env", []):
            value = variable["value"]
            if variable["name"].endswith("_FILE"):
                # Keys of others are keys, too.
                if variable["name"] in keys:
                    other = pathlib.Path(keys[variable["name"]]).read_text()
                else:
                    other = next((text for end, text in theirs.items() if variable["name"].endswith(end)), "secret")
                given = made.get(variable["name"].removesuffix("_FILE"), other)
                (tmp_path / variable["name"]).write_text(given)
                value = str(tmp_path / variable["name"])
            environment[variable["name"]] = value
        arguments = [translate(argument, places) for argument in container["args"]]
        done = subprocess.run([binary(component), *arguments, "--check"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{component}\n{done.stderr}\n{config['data']['config.toml']}"
        shown = subprocess.run([binary(component), *arguments, "--explain"], env=environment, capture_output=True, text=True, check=True)
        defaults = [line for line in shown.stdout.splitlines() if line.endswith("default")]
        # A sender is called by nobody, and a host by nobody where a URL names others.
        uncalled = ["email.from ", *(["redis.host "] if "\n[redis]\nurl = " in config["data"]["config.toml"] else [])]
        lost = [line for line in defaults if "localhost" in line and not line.startswith(tuple(uncalled))]
        assert not lost, f"{component} would look in its own pod for {lost}"
        checked += 1
    assert checked >= 4, RELEASE
