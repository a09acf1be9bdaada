"""One shop for all tests of this folder."""

import pathlib
import shutil
import subprocess
import tempfile

import pytest

from chart import render
from cluster import Cluster, binary, key_files
from stores import VALUES, Stores


class Shop:
    """The release's manifests, its stores and its pods."""

    def __init__(self, directory):
        self.values = [
            *VALUES,
            # Tests come from one address.
            "gateway.settings.rate_limit.enabled=false",
            # Two of each are what there is to replace one by one; more is only slower here.
            "gateway.replicas=2",
            # A test waits for it.
            "gateway.settings.http.header_timeout=1s",
            "payment.settings.provider.sandbox=true",
            # This machine may be slow; what is looked for is lost, not late.
            "basket.settings.product.timeout=15s", "payment.settings.product.timeout=15s", "payment.settings.basket.timeout=15s",
        ]
        self.manifests = render(values=self.values)
        self.stores = Stores(directory / "stores", self.manifests)
        self.cluster = None
        self.directory = directory

    def start(self):
        self.stores.start()
        self.cluster = Cluster(self.directory / "pods", self.stores.addresses)
        self.cluster.apply(self.manifests)

    def token(self, user, *roles):
        """One for the staff, by the command that NOTES.txt shows."""
        command = [binary("basket"), "token", "--user", user, *(word for role in roles for word in ("--role", role))]
        environment = key_files(self.manifests, self.directory / "key")
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def gateway(self):
        return self.cluster.services["gateway", "http"].port

    def close(self):
        if self.cluster:
            self.cluster.close()
        self.stores.close()


@pytest.fixture(scope="session")
def shop():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="shop-chart-"))
    shop = Shop(directory)
    try:
        shop.start()
        yield shop
    finally:
        shop.close()
        shutil.rmtree(directory, ignore_errors=True)
