"""The stores of a release on this machine: Redis and Kafka as the chart's files run them, the databases as its files make them."""

import os
import pathlib

import secrets
import subprocess
import time
import urllib.parse

from chart import RELEASE, named
from cluster import free_port, secret

POSTGRES = urllib.parse.urlsplit(os.environ["SHOP_TEST_POSTGRES_URL"])
MARIADB = urllib.parse.urlsplit(os.environ["SHOP_TEST_MARIADB_URL"])
KAFKA_LIBS = os.environ["SHOP_CHART_KAFKA_LIBS"]
# Names of this run alone: the databases' servers are shared.
RUN = secrets.token_hex(4)
VALUES = [
    f"product.settings.database.name=chart_{RUN}", f"product.settings.database.user=product_{RUN}",
    f"notification.settings.database.name=chart_n_{RUN}", f"notification.settings.database.user=notification_{RUN}",
    f"payment.settings.database.name=chart_{RUN}", f"payment.settings.database.user=payment_{RUN}",
]


class Stores:
    """Started from the manifests; `addresses` says where each is now."""

    def __init__(self, directory, manifests):
        self.directory = directory
        self.manifests = manifests
        self.processes = []
        self.addresses = {
            (f"{RELEASE}-postgresql", 5432): f"{POSTGRES.hostname}:{POSTGRES.port}",
            (f"{RELEASE}-mariadb", 3306): f"{MARIADB.hostname}:{MARIADB.port}",
        }
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)

    def start(self):
        self.redis()
        self.kafka()
        self.postgresql()
        self.mariadb()

    def file(self, store, name):
        return named(self.manifests, "ConfigMap", store)["data"][name]

    def run(self, name, command, environment=None):
        """Starts a server in a folder of its own."""
        place = self.directory / name
        place.mkdir(exist_ok=True)
        environment = {**os.environ, **(environment or {}), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        with (place / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process, place / "log"

    def executable(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def secret_files(self, name, keys):
        place = self.directory / f"{name}-secrets"
        place.mkdir()
        for key in keys:
            (place / key).write_text(secret(self.manifests, f"{RELEASE}-{name}", key))
        return place

    def redis(self):
        """redis.sh of the chart, and its probe."""
        place = self.directory / "redis"
        (place / "data").mkdir(parents=True)
        port = free_port()
        places = {
            "/run/secrets/shop": str(self.secret_files("redis", ["redis-password"])), "/run/redis": str(place),
            "dir /data": f"dir {place}/data", "port 6379": f"port {port}", "-h 127.0.0.1": f"-h 127.0.0.1 -p {port}",
        }
        scripts = {}
        for name in ("redis.sh", "ping.sh"):
            text = self.file("redis", name)
            for there, here in places.items():
                text = text.replace(there, here)
            scripts[name] = place / name
            scripts[name].write_text(text)
        process, log = self.run("redis", ["sh", str(scripts["redis.sh"])])
        wait(lambda: subprocess.run(["sh", str(scripts["ping.sh"])], check=False, capture_output=True).returncode == 0, process, log)
        self.addresses[f"{RELEASE}-redis", 6379] = f"127.0.0.1:{port}"

    def kafka(self):
        """As many brokers as the chart runs, by its script and its properties."""
        replicas = named(self.manifests, "StatefulSet", "kafka")["spec"]["replicas"]
        heap = "-Xms128m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        log4j = self.directory / "log4j.properties"
        log4j.write_text(self.file("kafka", "log4j.properties"))
        java = f'exec java $KAFKA_HEAP_OPTS -Dlog4j.configuration=file:{log4j} -cp "{KAFKA_LIBS}/*"'
        self.executable("kafka-storage.sh", f'{java} kafka.tools.StorageTool "$@"')
        self.executable("kafka-server-start.sh", f'{java} kafka.Kafka "$@"')
        self.executable("hostname", 'echo "$POD"')
        ports = {
            (number, there): free_port() for number in range(replicas) for there in (9092, 9093)
        }
        brokers = []
        for number in range(replicas):
            name = f"{RELEASE}-kafka-{number}"
            place = self.directory / name
            place.mkdir()
            for file in ("server.properties", "kafka.sh"):
                text = self.file("kafka", file).replace("/tmp/", f"{place}/own-")
                for (other, there), here in ports.items():
                    text = text.replace(f"{RELEASE}-kafka-{other}.{RELEASE}-kafka-headless:{there}", f"127.0.0.1:{here}")
                for there in (9092, 9093):
                    text = text.replace(f"://:{there}", f"://127.0.0.1:{ports[number, there]}")
                text = text.replace(f"$name.{RELEASE}-kafka-headless:9092", f"127.0.0.1:{ports[number, 9092]}")
                text = text.replace("/opt/kafka/bin", str(self.bin)).replace("/var/lib/kafka", f"{place}/data").replace("/etc/shop", str(place))
                assert "-kafka-headless" not in text, text
                (place / file).write_text(text)
            brokers.append(self.run(name, ["sh", str(place / "kafka.sh")], {"POD": name, "KAFKA_HEAP_OPTS": heap}))
            self.addresses[f"{name}.{RELEASE}-kafka-headless", 9092] = f"127.0.0.1:{ports[number, 9092]}"
        for (process, log), number in zip(brokers, range(replicas)):
            wait(lambda log=log: "Kafka Server started" in log.read_text(), process, log)
        self.brokers = [f"127.0.0.1:{ports[number, 9092]}" for number in range(replicas)]

    def produce(self, topic, key, text):
        """Puts a message into a topic, as a stranger could."""
        subprocess.run(
            ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_LIBS}/*", "kafka.tools.ConsoleProducer",
             "--bootstrap-server", ",".join(self.brokers), "--topic", topic,
             "--property", "parse.key=true", "--property", "key.separator=|"],
            input=f"{key}|{text}\n", text=True, check=True, capture_output=True,
        )

    def postgresql(self):
        """databases.sh of the chart, as the image runs it at the first start."""
        keys = ["password", "product-password", "notification-password"]
        script = self.file("postgresql", "databases.sh").replace("/run/secrets/shop", str(self.secret_files("postgresql", keys)))
        assert script.count("-U postgres") == 1
        environment = {**os.environ, "PGHOST": POSTGRES.hostname, "PGPORT": str(POSTGRES.port), "PGPASSWORD": POSTGRES.password,
                       "PGDATABASE": "postgres"}
        script = script.replace("-U postgres", f"-U {POSTGRES.username}")
        subprocess.run(["bash", "-euc", script], env=environment, check=True, capture_output=True)

    def mariadb(self):
        """What the image makes of the variables that the chart gives it."""
        container = named(self.manifests, "StatefulSet", "mariadb")["spec"]["template"]["spec"]["containers"][0]
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        key = pathlib.PurePath(given["MARIADB_PASSWORD_FILE"]).name
        password = secret(self.manifests, f"{RELEASE}-mariadb", key)
        name, user = given["MARIADB_DATABASE"], given["MARIADB_USER"]
        sql = f"CREATE DATABASE `{name}`; CREATE USER `{user}`@'%' IDENTIFIED BY '{password}'; GRANT ALL ON `{name}`.* TO `{user}`@'%'"
        self._mariadb(sql)

    def _mariadb(self, sql):
        subprocess.run(
            ["mariadb", "--no-defaults", "--protocol=tcp", "-h", MARIADB.hostname, "-P", str(MARIADB.port), "-u", MARIADB.username, "-e", sql],
            env={**os.environ, "MYSQL_PWD": MARIADB.password}, check=True, capture_output=True,
        )

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        url = POSTGRES.geturl()
        for name in (f"chart_{RUN}", f"chart_n_{RUN}"):
            subprocess.run(["psql", "-Xqc", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", url], check=False, capture_output=True)
        for user in (f"product_{RUN}", f"notification_{RUN}"):
            subprocess.run(["psql", "-Xqc", f"DROP ROLE IF EXISTS {user}", url], check=False, capture_output=True)
        self._mariadb(f"DROP DATABASE IF EXISTS chart_{RUN}; DROP USER IF EXISTS payment_{RUN}@'%'")


def wait(condition, process, log, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


