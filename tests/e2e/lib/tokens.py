# SPDX-License-Identifier: Apache-2.0
"""Tokens as an issuer, or somebody who would like to be one, makes them."""
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import time

HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def b64(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(role=None, ttl=600, **more):
    claims = dict(more)
    if role is not None:
        claims["role"] = role
    if ttl is not None:
        claims["exp"] = int(time.time()) + ttl
    return claims


def hs(secret, claims, alg="HS256", **head):
    """Signed with a shared secret."""
    text = b64({"alg": alg, "typ": "JWT", **head}) + "." + b64(claims)
    key = secret if isinstance(secret, bytes) else secret.encode()
    return text + "." + b64(hmac.new(key, text.encode(), HASHES[alg[2:]]).digest())


def unsigned(claims, alg="none"):
    return b64({"alg": alg, "typ": "JWT"}) + "." + b64(claims) + "."


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], check=True, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


class Rsa:
    """An RSA key of an issuer (RS256), by the openssl program."""

    def __init__(self, folder, kid):
        self.kid = kid
        self.path = os.path.join(folder, f"{kid}.key")
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.path)
        text = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode()
        self.n = bytes.fromhex(re.search(r"=([0-9A-F]+)", text).group(1))
        self.pem = openssl("pkey", "-in", self.path, "-pubout")

    def jwk(self):
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": b64(self.n), "e": "AQAB"}

    def token(self, claims, **head):
        text = b64({"alg": "RS256", "typ": "JWT", "kid": self.kid, **head}) + "." + b64(claims)
        return text + "." + b64(openssl("dgst", "-sha256", "-sign", self.path, data=text.encode()))


class Ec:
    """A P-256 key of an issuer (ES256)."""

    def __init__(self, folder, kid):
        self.kid = kid
        self.path = os.path.join(folder, f"{kid}.key")
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.path)
        point = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")[-64:]
        self.x, self.y = point[:32], point[32:]

    def jwk(self):
        return {"kty": "EC", "crv": "P-256", "kid": self.kid, "x": b64(self.x), "y": b64(self.y)}

    def token(self, claims, **head):
        text = b64({"alg": "ES256", "typ": "JWT", "kid": self.kid, **head}) + "." + b64(claims)
        der = openssl("dgst", "-sha256", "-sign", self.path, data=text.encode())
        at, parts = 2, []
        for _ in range(2):  # two INTEGERs
            n = der[at + 1]
            parts.append(int.from_bytes(der[at + 2:at + 2 + n], "big").to_bytes(32, "big"))
            at += 2 + n
        return text + "." + b64(b"".join(parts))


def certificate(folder, name="127.0.0.1"):
    """A certificate that signs itself, for an address; (certificate, key)."""
    cert, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=issuer",
            "-addext", f"subjectAltName=IP:{name}", "-keyout", key, "-out", cert)
    return cert, key
