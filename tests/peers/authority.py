"""A certificate authority of our own, and certificates of the right and the wrong kinds."""

import subprocess
from pathlib import Path


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")


class Authority:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.key, self.certificate = self.folder / "ca.key", self.folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", 30, "-subj", "/CN=Verona rig", "-keyout", self.key, "-out",
                self.certificate, "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, folder, domains, kind="valid"):
        """Writes fullchain.pem and privkey.pem for domains; `kind` is valid, expired or own (signed
        by nobody but itself)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        key, chain, request = (folder / name for name in ("privkey.pem", "fullchain.pem", "csr.pem"))
        names = ",".join(f"DNS:{domain}" for domain in domains)
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
               "-subj", f"/CN={domains[0]}"]
        extensions = ["-addext", f"subjectAltName={names}"]
        if kind == "own":
            openssl("req", "-x509", *new, *extensions, "-days", 30, "-out", chain)
            return folder
        openssl("req", *new, *extensions, "-out", request)
        dates = ["-not_before", "20200101000000Z", "-not_after", "20210101000000Z"]
        days = ["-days", 30]
        if kind == "expired" and not self.takes_dates():
            self.sign_expired(request, chain)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                    "-CAcreateserial", "-copy_extensions", "copy",
                    *(dates if kind == "expired" else days), "-out", chain)
        request.unlink()
        return folder

    def takes_dates(self):
        """`openssl x509` takes dates since 3.4; `openssl ca` always did."""
        text = subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True)
        return "-not_before" in text.stderr + text.stdout

    def sign_expired(self, request, chain):
        config, index = self.folder / "ca.cnf", self.folder / "index.txt"
        index.write_text("")
        config.write_text(f"""\
[ca]
default_ca = rig
[rig]
dir = {self.folder}
new_certs_dir = {self.folder}
database = {index}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
""")
        openssl("ca", "-batch", "-notext", "-config", config, "-cert", self.certificate, "-keyfile",
                self.key, "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-in",
                request, "-out", chain)
