"""Buyers and lookers-on who go through the gateway and remember every answer that should not have been."""

import http.client
import json
import threading
import time


class Caller:
    """One connection kept open, as browsers and balancers keep theirs. Whoever has a token shows it."""

    def __init__(self, port, token=None):
        self.port = port
        self.token = token
        self.connection = None

    def call(self, method, path, body=None, headers=None):
        """Status and body. A kept connection that was closed while idle is no failure, where sending again is allowed."""
        kept = self.connection is not None
        try:
            return self._once(method, path, body, headers)
        except (ConnectionError, http.client.RemoteDisconnected):
            self.connection = None
            if not kept or method == "POST":
                raise
            return self._once(method, path, body, headers)

    def _once(self, method, path, body, headers):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
            if self.token:
                headers["Authorization"] = f"Bearer {self.token}"
            self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self.connection.getresponse()
            text = answer.read().decode()
        except Exception:
            self.connection.close()
            self.connection = None
            raise
        if answer.will_close:
            self.connection = None
        return answer.status, text

    def fresh(self, method, path, body=None):
        """The same over a connection of its own."""
        self.connection = None
        try:
            return self.call(method, path, body)
        finally:
            self.connection = None


class Load:
    """Threads that call until told to stop."""

    def __init__(self, port, product, buyers=3, readers=3):
        self.port = port
        self.product = product
        self.done = 0
        self.bought = 0
        self.failures = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        jobs = [(self._buy, number) for number in range(buyers)] + [(self._read, number) for number in range(readers)]
        self._threads = [threading.Thread(target=job, args=(number,), daemon=True) for job, number in jobs]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _checked(self, call, method, path, *rest):
        begun = time.monotonic()
        try:
            status, text = call(method, path, *rest)
        except Exception as error:  # Whatever a client may meet is what is counted here.
            status, text = 0, repr(error)
        with self._lock:
            self.done += 1
            if not 200 <= status < 300:
                self.failures.append(f"{method} {path}: {status} {text[:300]} after {time.monotonic() - begun:.2f} s")
        return json.loads(text) if 200 <= status < 300 and text else None

    def _read(self, number):
        caller = Caller(self.port)
        while not self._stop.wait(0.02):
            self._checked(caller.call, "GET", f"/api/products/{self.product}" if number % 2 else "/api/products?limit=3")

    def _buy(self, number):
        """Every call of a checkout, none of them with a key that would make it safe to send again; half over kept connections."""
        caller = Caller(self.port)
        call = caller.call if number % 2 else caller.fresh
        while not self._stop.wait(0.02):
            caller.token = None
            guest = self._checked(call, "POST", "/api/guests")
            if not guest:
                continue
            user, caller.token = guest["user_id"], guest["access_token"]
            self._checked(call, "POST", f"/api/baskets/{user}/items", {"product_id": self.product, "quantity": 1})
            payment = self._checked(call, "POST", "/api/payments", {"user_id": user, "method": "credit_card"})
            if payment and (paid := self._checked(call, "POST", f"/api/payments/{payment['id']}/process", {"payment_token": "tok_approve"})):
                assert paid["status"] == "completed"
                with self._lock:
                    self.bought += 1
            self._checked(caller.call, "GET", f"/api/baskets/{user}")
