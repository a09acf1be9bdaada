"""The restricted Pod Security Standard, secrets, and what linters of others object to."""

import base64
import json
import shutil
import subprocess

import pytest
import yaml

from chart import VARIANTS, pods, variant

# https://kubernetes.io/docs/concepts/security/pod-security-standards/, the profile "restricted".
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(spec):
    """What of a pod the restricted profile does not allow."""
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    if pod.get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes", []):
        if not (set(volume) - {"name"}) <= VOLUMES:
            yield f"volume {volume['name']}"
    for container in spec.get("initContainers", []) + spec["containers"]:
        own = container.get("securityContext", {})
        context = {**pod, **own}
        capabilities = own.get("capabilities", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser") != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "seLinuxOptions": "seLinuxOptions" not in context,
            "windowsOptions": "windowsOptions" not in context,
        }
        yield from (f"{container['name']}: {rule}" for rule, kept in rules.items() if not kept)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_runs_under_the_restricted_standard(name):
    for owner, _, spec in pods(variant(name)):
        assert not list(violations(spec)), owner


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_is_on_its_own(name):
    for owner, _, spec in pods(variant(name)):
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["enableServiceLinks"] is False, owner
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, owner
            for limit in ("cpu", "memory", "ephemeral-storage"):
                assert limit in container["resources"]["limits"] and limit in container["resources"]["requests"], owner


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_secret_is_in_secrets_only(name):
    manifests = variant(name)
    secrets = [m for m in manifests if m["kind"] == "Secret"]
    values = {base64.b64decode(value).decode() for secret in secrets for value in secret["data"].values()}
    assert all(values), "an empty secret"
    rest = json.dumps([m for m in manifests if m["kind"] != "Secret"])
    # Development's passwords are a word that is in no key.
    assert not [value for value in values if value in rest.replace("values-dev", "")]
    for owner, _, spec in pods(manifests):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                assert "secretKeyRef" not in json.dumps(variable), owner


@pytest.mark.parametrize("name", VARIANTS)
def test_every_secret_that_a_pod_reads_is_made_here_or_named_by_the_values(name):
    manifests = variant(name)
    made = {(m["metadata"]["name"], key) for m in manifests if m["kind"] == "Secret" for key in m["data"]}
    files, values = VARIANTS[name]
    theirs = " ".join(values) + " ".join(path.read_text() for path in files)
    for owner, _, spec in pods(manifests):
        for volume in spec.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                # ConfigMaps, and tokens that the kubelet makes, are none.
                secret = source.get("secret", {"items": []})
                for item in secret["items"]:
                    assert (secret["name"], item["key"]) in made or secret["name"] in theirs, owner


def text(name):
    return yaml.safe_dump_all(variant(name))


@pytest.mark.parametrize("name", VARIANTS)
def test_kube_score_has_nothing_to_object(name):
    # Tags are fixed, so asking the registry at each start adds nothing but a way to fail. The stores' own users have low
    # numbers, which their manifests say.
    command = ["kube-score", "score", "--kubernetes-version", "v1.37", "-o", "json", "-"]
    kinds = {m["kind"] for m in variant(name)}
    ignored = {"container-image-pull-policy"}
    # What a variant switches off it lacks.
    if "NetworkPolicy" not in kinds:
        ignored |= {"pod-networkpolicy"}
    if "PodDisruptionBudget" not in kinds:
        ignored |= {"deployment-has-poddisruptionbudget", "statefulset-has-poddisruptionbudget"}
    done = subprocess.run(command, input=text(name), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = [
        f"{result['object_name']}: {check['check']['id']}: {[c['summary'] for c in check['comments'] or []]}"
        for result in json.loads(done.stdout)
        for check in result["checks"]
        if check["grade"] == 1 and not check["skipped"] and check["check"]["id"] not in ignored
    ]
    assert not found


@pytest.mark.skipif(not shutil.which("kube-linter"), reason="kube-linter is not on PATH")
@pytest.mark.parametrize("name", VARIANTS)
def test_kube_linter_has_nothing_to_object(name):
    done = subprocess.run(["kube-linter", "lint", "-"], input=text(name), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
