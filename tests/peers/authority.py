"""A certificate authority of our own, and certificates of the right and the wrong kinds."""

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

DAY = timedelta(days=1)


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
        """Writes fullchain.pem and privkey.pem for domains, or names of other kinds as openssl has
        them; `kind` is valid, brief (for one more day), expired, early (valid from next year), common
        (the first domain is its CN and nothing else), mail (for nothing but e-mail) or own (signed by
        itself)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        key, chain, request = (folder / name for name in ("privkey.pem", "fullchain.pem", "csr.pem"))
        names = ",".join(name if ":" in name else f"DNS:{name}" for name in domains)
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
               "-subj", f"/CN={domains[0] if kind == 'common' else 'rig'}"]
        # Without any extension a certificate is of a version that is refused for that alone.
        extensions = ["-addext", "basicConstraints=CA:FALSE"]
        if kind != "common":
            extensions += ["-addext", f"subjectAltName={names}"]
        if kind == "mail":
            extensions += ["-addext", "extendedKeyUsage=emailProtection"]
        if kind == "own":
            openssl("req", "-x509", *new, *extensions, "-days", 30, "-out", chain)
            return folder
        openssl("req", *new, *extensions, "-out", request)
        now = datetime.now(timezone.utc)
        begin, end = {
            "expired": (now - 60 * DAY, now - 30 * DAY),
            "early": (now + 365 * DAY, now + 395 * DAY),
            "brief": (now - DAY, now + DAY),
        }.get(kind, (now - DAY, now + 30 * DAY))
        self.sign(request, chain, (begin, end))
        request.unlink()
        return folder

    def sign(self, request, chain, between):
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
        begin, end = (time.strftime("%Y%m%d%H%M%SZ") for time in between)
        openssl("ca", "-batch", "-notext", "-config", config, "-cert", self.certificate, "-keyfile",
                self.key, "-startdate", begin, "-enddate", end, "-in", request, "-out", chain)
