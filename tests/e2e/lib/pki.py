# SPDX-License-Identifier: Apache-2.0
"""Authorities and certificates made with openssl(1), in a folder of their own: NAME.pem and NAME.key."""
import os
import subprocess

from lib import env


class Pki:
    def __init__(self, folder):
        self.folder = os.path.join(env.WORK, folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *args):
        os.makedirs(self.folder, exist_ok=True)
        subprocess.run(["openssl", *args], check=True, cwd=self.folder, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                     "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def certificate(self, name, issuer, kind="P-256", names="DNS:localhost,IP:127.0.0.1", days="30", subject="localhost"):
        """kind: rsa:BITS, or the name of a curve."""
        new = ["-newkey", kind] if kind.startswith("rsa") else ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
        self.openssl("req", *new, "-nodes", "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                     "-addext", f"subjectAltName={names}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial",
                     "-days", days, "-copy_extensions", "copy", "-out", f"{name}.pem")
