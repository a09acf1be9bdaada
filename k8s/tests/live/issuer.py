"""Somebody who signs tokens and shows his keys, as a cluster does for the accounts of its services."""

import base64
import functools
import http.server
import json
import subprocess
import tempfile
import threading
import time


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, given=None):
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


class Issuer:
    """Signs with RS256, as API servers do unless told otherwise."""

    def __init__(self, name, audience="shop", namespace="shop", release="obs-tools-usage"):
        self.name = name
        self.audience = audience
        self.accounts = f"system:serviceaccount:{namespace}:{release}-"
        self.key = tempfile.NamedTemporaryFile(suffix=".pem")
        self.key.write(openssl("genrsa", "2048"))
        self.key.flush()
        # Those who asked for the keys.
        self.asked = []

    @functools.cached_property
    def jwks(self):
        modulus = openssl("rsa", "-in", self.key.name, "-noout", "-modulus").decode().strip().removeprefix("Modulus=")
        key = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "e": "AQAB", "n": encoded(bytes.fromhex(modulus))}
        return json.dumps({"keys": [key]})

    def token(self, subject, audience):
        now = int(time.time())
        claims = {"iss": self.name, "sub": subject, "aud": [audience], "iat": now, "nbf": now, "exp": now + 3600}
        parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims)]
        signature = openssl("dgst", "-sha256", "-sign", self.key.name, given=".".join(parts).encode())
        return ".".join([*parts, encoded(signature)])

    def files(self, component):
        """What a pod finds below /run/identity, whatever the values ask for."""
        account = self.accounts + component
        certificate = openssl("req", "-x509", "-key", self.key.name, "-subj", "/CN=authority", "-days", "1").decode()
        return {
            "jwks.json": self.jwks, "revoked.json": "{}", "ca.crt": certificate, "cluster-ca.crt": certificate,
            "cluster-token": self.token(account, "https://kubernetes.default.svc"), "token": self.token(account, self.audience),
        }

    def serve(self):
        """Shows the keys to whoever has a token, on a port of this machine; the server has to be shut down."""
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.headers.get("Authorization", "").startswith("Bearer ")
                issuer.asked.append(known)
                self.send_response(200 if known else 401)
                self.end_headers()
                self.wfile.write(issuer.jwks.encode() if known else b"")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server
