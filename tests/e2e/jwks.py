#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The keys of a token issuer whose server hangs, lies, sends too much, redirects, rotates its keys, or answers by TLS."""
import http.server
import json
import signal
import ssl
import tempfile
import threading
import time

from lib import env, net, tap, tokens
from lib.daemon import Daemon
from lib.tap import ok, same

OPERATOR = "operator-key-of-the-tests-0123456789"


class Issuer:
    """A server of keys that does what `mode` says."""

    def __init__(self, cert=None):
        self.mode, self.keys, self.hits, self.location = "keys", [], 0, None
        self.over = threading.Event()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def reply(self, status, body, **fields):
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass

            def do_GET(self):
                issuer.hits += 1
                if issuer.mode == "hang":
                    issuer.over.wait(60)
                elif issuer.mode == "drip":  # a byte now and then, for ever
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    try:
                        while not issuer.over.wait(0.2):
                            self.wfile.write(b" ")
                    except OSError:
                        pass
                elif issuer.mode == "html":
                    self.reply(200, b"<html>down for maintenance</html>")
                elif issuer.mode == "error":
                    self.reply(500, b"{}")
                elif issuer.mode == "large":
                    self.reply(200, b'{"keys":[' + b" " * (2 << 20) + b"]}")
                elif issuer.mode == "redirect":
                    self.reply(302, b"", Location=issuer.location)
                else:
                    self.reply(200, json.dumps({"keys": issuer.keys}).encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "http"
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*cert)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.url = f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.over.set()
        self.server.shutdown()


def ask(d, token=None, **headers):
    """A request to an operator's route: there is no policy, so a good token gets 403, a bad one 401."""
    if token:
        headers["Authorization"] = "Bearer " + token
    return d.call("GET", "/v1/ops/dlq/stats", None, {k.replace("_", "-"): v for k, v in headers.items()})


def becomes(d, token, status, what, seconds=15):
    last = []

    def check():
        last[:] = [ask(d, token)]
        return last[0].status == status
    ok(net.wait_for(check, seconds, 0.05), what, lambda: f"{last}\n{d.log_tail()}")


def never_fetched(issuer, a):
    """Until there are keys."""
    for mode in ("hang", "html", "error", "large", "drip"):
        issuer.mode = mode
        hits = issuer.hits
        with Daemon(name="jwks", settings={"auth.jwks_url": issuer.url, "auth.operator_key": OPERATOR}, access=True) as d:
            d.start("/version")
            ok(net.wait_for(lambda: issuer.hits > hits, 10), f"{mode}: asked for keys")
            answer = ask(d, a.token(tokens.claims_of("admin")))
            same((answer.status, answer.fields.get("retry-after")), (503, "30"), f"{mode}: a token cannot be judged yet")
            ok(answer.error, f"{mode}: and says so", answer)
            same(ask(d, None).status, 403, f"{mode}: without a token nothing waits")
            same(ask(d, a.token({}), X_Operator_Key=OPERATOR).status, 200, f"{mode}: the operator key goes first")
            if mode != "drip":
                ok(mode == "hang" or net.wait_for(lambda: "auth.jwks_failed" in d.log(), 10), f"{mode}: is said", d.log_tail)
            if mode == "error":
                issuer.mode, issuer.keys = "keys", [a.jwk()]
                becomes(d, a.token(tokens.claims_of("admin")), 403, f"{mode}: tried again, then tokens are good")
                ok("auth.jwks " in d.log(), "and that is said", d.log_tail)
            began = time.monotonic()
            same(d.stop(), 0, f"{mode}: stops")
            ok(time.monotonic() - began < 5, f"{mode}: at once", time.monotonic() - began)


def forged(d, a, other):
    """What a good issuer did not sign."""
    good = tokens.claims_of("admin")
    for what, token, error in (
            ("signed by another key under this kid", other.token(good, kid=a.kid), "invalid token"),
            ("HS256 with the public key as the secret", tokens.hs(a.pem, good, kid=a.kid), "invalid token"),
            ("HS256 with the modulus as the secret", tokens.hs(a.n, good, kid=a.kid), "invalid token"),
            ("HS256 with an empty secret", tokens.hs(b"", good, kid=a.kid), "invalid token"),
            ("HS256 with the configured secret, which is not in force", tokens.hs("s" * 40, good), "invalid token"),
            ("alg none", tokens.unsigned(good), "invalid token"),
            ("alg None", tokens.unsigned(good, "None"), "invalid token"),
            ("with a crit header", a.token(good, crit=["exp"]), "invalid token"),
            ("a key of its own (jwk)", other.token(good, jwk=other.jwk(), kid=a.kid), "invalid token"),
            ("expired", a.token(tokens.claims_of("admin", -10)), "token expired"),
            ("not valid yet", a.token(tokens.claims_of("admin", nbf=int(time.time()) + 100)), "invalid token"),
            ("issued in the future", a.token(tokens.claims_of("admin", iat=int(time.time()) + 100)), "invalid token"),
            ("cut", a.token(good)[:-4], "invalid token"),
            ("with a changed claim", a.token(good).replace(".", ".e", 1), "invalid token"),
            ("no token at all", "x", "invalid token")):
        answer = ask(d, token)
        same((answer.status, answer.error), (401, error), what)


def rotation(issuer, folder):
    a, b, c = tokens.Rsa(folder, "a"), tokens.Ec(folder, "b"), tokens.Rsa(folder, "c")
    issuer.mode, issuer.keys = "keys", [a.jwk(), {"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, {"kty": "EC", "crv": "P-256", "kid": "z"}]
    settings = {"auth.jwks_url": issuer.url, "auth.jwt_secret": "s" * 40, "auth.operator_key": "short",
                "auth.operator_key_next": OPERATOR}
    with Daemon(name="jwks", settings=settings, access=True) as d:
        d.start("/version")
        becomes(d, a.token(tokens.claims_of("admin")), 403, "a good token is good")
        ok("keys=1 skipped=2" in d.log(), "keys that cannot be used are skipped", d.log_tail)
        ok("auth.secret_unused" in d.log() and d.log().count("auth.short_key") == 1, "what is odd about the settings is said", d.log)
        forged(d, a, c)
        hits = issuer.hits
        issuer.keys = [b.jwk()]
        old = a.token(tokens.claims_of("admin"))
        becomes(d, b.token(tokens.claims_of("admin")), 403, "an unknown kid fetches the document again")
        same(issuer.hits, hits + 1, "once")
        same(ask(d, old).status, 401, "what the removed key signed is not good any more, remembered or not")
        issuer.keys = [c.jwk()]
        for i in range(20):
            ask(d, c.token(tokens.claims_of("admin"), kid=f"guess-{i}"))
        same(ask(d, b.token(tokens.claims_of("admin"), alg="ES384")).status, 401, "another algorithm under a known kid is not good")
        same(ask(d, b.token(tokens.claims_of("admin"))).status, 403, "known ones go on")
        same(issuer.hits, hits + 1, "further unknown kids fetch nothing, within five minutes")
        # other settings
        d.config["auth"]["jwks_url"] = ""
        d.write_config()
        d.process.send_signal(signal.SIGHUP)
        becomes(d, tokens.hs("s" * 40, tokens.claims_of("admin")), 403, "reloaded to a secret: its tokens are good")
        same(ask(d, b.token(tokens.claims_of("admin"))).status, 401, "and those of the issuer are not")
        same(ask(d, tokens.hs("s" * 40, tokens.claims_of("admin"), "HS512")).status, 403, "HS512, too")
        same(ask(d, tokens.hs("t" * 40, tokens.claims_of("admin"))).status, 401, "another secret is not")
        same(ask(d, tokens.unsigned(tokens.claims_of("admin"))).status, 401, "alg none is not")


def tls(folder):
    cert = tokens.certificate(folder)
    plain, secure = Issuer(), Issuer(cert)
    a = tokens.Rsa(folder, "t")
    plain.keys = secure.keys = [a.jwk()]
    good = a.token(tokens.claims_of("admin"))
    with Daemon(name="jwks", settings={"auth.jwks_url": secure.url, "auth.jwks_ca": cert[0]}, access=True) as d:
        d.start("/version")
        becomes(d, good, 403, "by TLS, with a certificate of our own")
    with Daemon(name="jwks", settings={"auth.jwks_url": secure.url}, access=True) as d:
        d.start("/version")
        ok(net.wait_for(lambda: "auth.jwks_failed" in d.log(), 10), "a certificate that nobody knows is not believed", d.log_tail)
        same(ask(d, good).status, 503, "so there are no keys")
    secure.mode, secure.location = "redirect", plain.url
    hits = plain.hits
    with Daemon(name="jwks", settings={"auth.jwks_url": secure.url, "auth.jwks_ca": cert[0]}, access=True) as d:
        d.start("/version")
        ok(net.wait_for(lambda: "auth.jwks_failed" in d.log(), 10), "a redirect to http is not followed", d.log_tail)
        same((ask(d, good).status, plain.hits), (503, hits), "nobody was asked there")
        secure.mode = "keys"
        becomes(d, good, 403, "and it heals")
    d = Daemon(name="jwks", settings={"auth.jwks_url": "http://keys.example.com/"}, access=True)
    status, _, err = d.run("--check")
    ok(status != 0 and "auth.jwks_url" in err and "https" in err, "http from elsewhere is refused", err)
    d.remove()
    plain.close()
    secure.close()


def main():
    folder = tempfile.mkdtemp(prefix="jwks-", dir=env.WORK)
    issuer = Issuer()
    never_fetched(issuer, tokens.Rsa(folder, "a0"))
    rotation(issuer, folder)
    tls(folder)
    issuer.close()


if __name__ == "__main__":
    tap.run(main)
