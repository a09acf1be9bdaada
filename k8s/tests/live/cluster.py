"""Enough of a cluster on this machine: pods are processes, Services are balancers of connections, updates roll.

What counts is read from the manifests: arguments, files, probes, preStop, grace periods, the update strategy. Only addresses
are changed, to loopback.
"""

import asyncio
import base64
import collections
import dataclasses
import http.client
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

from chart import RELEASE

BINARIES = pathlib.Path(os.environ["SHOP_CHART_BINARIES"])
# Where a pod's volumes are.
MOUNTS = ["/etc/shop", "/run/secrets/shop", "/run/identity"]
# How long kube-proxy and its like take to hear that a pod goes. Seconds on a busy cluster; preStop has to outlast it.
NEWS_TAKES = 2.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """One port of a Service: each connection goes to the next ready pod, and stays with it."""

    def __init__(self, loop):
        self.endpoints = []
        self.port = free_port()
        self._turn = itertools.count()
        # The loop itself holds on to tasks weakly.
        self._tasks = set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self.port), loop
        ).result()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            endpoints = self.endpoints
            if not endpoints:
                return
            port = endpoints[next(self._turn) % len(endpoints)]
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
            finally:
                there_writer.close()
        except OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def close(self):
        self._server.close()


async def pump(reader, writer):
    """Hands on bytes until the end, then the end."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


@dataclasses.dataclass
class Files:
    """What a pod finds on its volumes."""

    root: pathlib.Path
    config: str
    secrets: dict
    # What the kubelet and others put there: keys and tokens.
    identity: dict

    def write(self):
        self.root.mkdir(parents=True)
        self.mount({"config.toml": self.config, **self.secrets, **self.identity})

    def mount(self, contents):
        """As the kubelet does: files are links into a link to a folder, and the middle link is swapped."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="..", dir=self.root))
        for name, text in contents.items():
            (folder / name).write_text(text)
        (self.root / "..next").symlink_to(folder.name)
        (self.root / "..next").rename(self.root / "..data")
        for name in contents:
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"..data/{name}")


class Pod:
    """A process run as the pod's template says."""

    def __init__(self, component, template, files, number):
        self.component = component
        self.container = template["spec"]["containers"][0]
        self.grace = template["spec"]["terminationGracePeriodSeconds"]
        self.ports = {port["name"]: free_port() for port in self.container["ports"]}
        self.ready = False
        self.killed = False
        files.write()
        self.files = files
        self.log = files.root / "log"
        mounts = {place: str(files.root) for place in MOUNTS}
        arguments = [translate(argument, mounts) for argument in self.container["args"]]
        for name, port in self.ports.items():
            arguments += ["--set", f"{name}.host=127.0.0.1", "--set", f"{name}.port={port}"]
        environment = {v["name"]: translate(v["value"], mounts) for v in self.container.get("env", [])}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [binary(component), *arguments], env=environment, stdout=log, stderr=log, cwd=files.root
            )
        self.name = f"{component}-{number}"
        self.stopping = threading.Event()
        self._probes = threading.Thread(target=self._probe, daemon=True)
        self._probes.start()

    def _probe(self):
        startup, readiness = self.container["startupProbe"], self.container["readinessProbe"]
        for _ in range(startup["failureThreshold"]):
            if self._ask(startup):
                break
            if self.stopping.wait(startup["periodSeconds"]):
                return
        failures = 0
        while not self.stopping.is_set():
            failures = 0 if self._ask(readiness) else failures + 1
            if failures == 0:
                self.ready = True
            elif failures >= readiness["failureThreshold"]:
                self.ready = False
            self.stopping.wait(readiness["periodSeconds"])

    def _ask(self, probe):
        try:
            return self.get(probe["httpGet"]["path"], probe.get("timeoutSeconds", 1))[0] == 200
        except OSError:
            return False

    def get(self, path, timeout=5, port="http"):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def terminate(self):
        """As the kubelet does: preStop, SIGTERM, and SIGKILL when the grace period is over."""
        deadline = time.monotonic() + self.grace
        time.sleep(self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.killed = True
            self.process.kill()
            self.process.wait()
        self.stopping.set()


def binary(component):
    return str(BINARIES / ("gateway" if component == "gateway" else f"{component}-service"))


def translate(text, places):
    for there, here in places.items():
        text = text.replace(there, here)
    return text


class Cluster:
    """
    Runs the Deployments of a release. `addresses` are those of stores: (host, port) → host:port on this machine. `account` makes
    what is on the volume of a component's identity: file → content. `urls` are what else is elsewhere here.
    """

    def __init__(self, directory, addresses, account=lambda component: {}, urls=None):
        self.directory = directory
        self.urls = urls or {}
        self.account = account
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.addresses = dict(addresses)
        self.services = {}
        self.pods = collections.defaultdict(list)
        self.gone = []
        self._number = itertools.count()
        self._watching = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def apply(self, manifests):
        """The first installation: everything at once."""
        for manifest in manifests:
            if manifest["kind"] == "Service" and manifest["spec"].get("clusterIP") != "None":
                component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
                for port in manifest["spec"]["ports"]:
                    key = manifest["metadata"]["name"], port["port"]
                    if key not in self.addresses:
                        service = self.services[component, port["targetPort"]] = Service(self.loop)
                        self.addresses[key] = f"127.0.0.1:{service.port}"
        for deployment in deployments(manifests):
            for _ in range(deployment["spec"]["replicas"]):
                self._start(deployment, manifests)
        for component in {component for component, _ in self.services}:
            self.wait(lambda component=component: all(pod.ready for pod in self.pods[component]), component)

    def rollout(self, manifests):
        """An upgrade: every Deployment replaces its pods one by one, all Deployments at the same time."""
        threads = [threading.Thread(target=self._roll, args=(d, manifests)) for d in deployments(manifests)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _roll(self, deployment, manifests):
        component = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        endings = []
        for old in list(self.pods[component]):
            new = self._start(deployment, manifests)
            self.wait(lambda new=new: new.ready, new.name)
            time.sleep(deployment["spec"]["minReadySeconds"])
            ending = threading.Thread(target=self._remove, args=(old,))
            ending.start()
            endings.append(ending)
        for ending in endings:
            ending.join()

    def _start(self, deployment, manifests):
        component = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        template = deployment["spec"]["template"]
        number = next(self._number)
        root = self.directory / f"{component}-{number}"
        config = self._config(deployment, manifests).replace("/run/identity", str(root))
        files = Files(root, config, secrets(template, manifests), self.account(component))
        pod = Pod(component, template, files, number)
        self.pods[component].append(pod)
        return pod

    def update(self, component, manifests):
        """An upgrade that leaves the Deployment of the component as it is: only its ConfigMap changes."""
        (deployment,) = [d for d in deployments(manifests) if d["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        for pod in self.pods[component]:
            files = pod.files
            files.mount({"config.toml": self._config(deployment, manifests), **files.secrets, **files.identity})

    def _config(self, deployment, manifests):
        (found,) = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == deployment["metadata"]["name"]]
        return self.rewritten(found["data"]["config.toml"])

    def rewritten(self, text):
        """The text with every address on this machine."""
        text = translate(text, self.urls)
        for (host, port), address in self.addresses.items():
            text = text.replace(f"{host}:{port}", address)
            here, number = address.split(":")
            text = re.sub(rf'host = "{host}"(.*?)port = {port}\n', rf'host = "{here}"\1port = {number}\n', text, flags=re.DOTALL)
        assert not re.search("obs-tools-usage(?!-(basket|payment|product)\" = )", text.replace("shop.obs-tools-usage", "")), text
        return text

    def _remove(self, pod):
        """A deletion: the news travels while the pod already counts its time."""

        def hear():
            time.sleep(NEWS_TAKES)
            self.pods[pod.component].remove(pod)

        news = threading.Thread(target=hear)
        news.start()
        pod.terminate()
        news.join()
        self.gone.append(pod)

    def _watch(self):
        while not self._watching.wait(0.05):
            for (component, target), service in list(self.services.items()):
                service.endpoints = [pod.ports[target] for pod in list(self.pods[component]) if pod.ready]

    def wait(self, condition, what, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [p for pods in list(self.pods.values()) for p in list(pods) if p.process.poll() not in (None, 0)]
            assert not dead, f"{dead[0].name} ended:\n" + dead[0].log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{what} is not ready: " + "\n".join(
                p.log.read_text()[-1500:] for pods in list(self.pods.values()) for p in list(pods) if not p.ready
            )
            time.sleep(0.05)

    def all_pods(self):
        return [pod for pods in self.pods.values() for pod in pods]

    def close(self):
        pods = self.all_pods()
        for pod in pods:
            pod.stopping.set()
            pod.process.send_signal(signal.SIGTERM)
        for pod in pods:
            try:
                pod.process.wait(15)
            except subprocess.TimeoutExpired:
                pod.process.kill()
                pod.process.wait()
        self._watching.set()
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _hang_up(self):
        for service in self.services.values():
            service.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def deployments(manifests):
    return [m for m in manifests if m["kind"] == "Deployment"]


def secret(manifests, name, key):
    (found,) = [m for m in manifests if m["kind"] == "Secret" and m["metadata"]["name"] == name]
    return base64.b64decode(found["data"][key]).decode()


def secrets(template, manifests):
    """Name of the file → content, of the projected volume."""
    return {
        item["path"]: secret(manifests, source["secret"]["name"], item["key"])
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source.get("secret", {"items": []})["items"]
    }


def key_files(manifests, directory):
    """The suite's own key and what others check with, as variables of a program that has them."""
    directory.mkdir(exist_ok=True)
    made = {"IDENTITY_KEY": "tls.key", "IDENTITY_TRUSTED": "tls.crt"}
    for variable, key in made.items():
        (directory / variable).write_text(secret(manifests, f"{RELEASE}-identity", key))
    return {f"{variable}_FILE": str(directory / variable) for variable in made}
