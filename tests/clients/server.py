"""Servers under test, each in a folder of its own, on loopback and on ports that were free.

Verona is what is tested. Prosody is there so that the rigs can be checked without it: what fails
against both is the rig's own fault.
"""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
DOMAIN = "localhost"


def free_ports(count):
    """Ports that nobody listens on; the next who asks might get them too, but not at once."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind((HOST, 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((HOST, port)) == 0


class Server:
    """A server process with its folder; a subclass says how it is set up and started."""

    name = "?"

    def __init__(self, folder, plain=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port = free_ports(2)
        self.plain = plain
        self.process = None
        self.log = self.folder / "server.log"
        self.key, self.certificate = self.folder / "privkey.pem", self.folder / "fullchain.pem"
        self.make_certificate()
        self.configure()

    def make_certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "30", "-subj", f"/CN={DOMAIN}",
             "-addext", f"subjectAltName=DNS:{DOMAIN},DNS:conference.{DOMAIN}",
             "-keyout", self.key, "-out", self.certificate],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def configure(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def add_account(self, jid, password):
        raise NotImplementedError

    def start(self, timeout=30):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + timeout
        while not listens(self.port):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once:\n{self.tail()}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.name} does not listen:\n{self.tail()}")
            time.sleep(0.02)

    def stop(self, timeout=20):
        """Asks it to end, as the system does."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.name} did not stop:\n{self.tail()}") from None
        self.process = None

    def kill(self):
        """Ends it as a power cut would, but for the page cache."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        self.start()

    def tail(self, lines=40):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Verona(Server):
    """The server of this repository."""

    name = "verona"
    # Who may make an account from a client.
    registration = "open"

    def __init__(self, folder, plain=False, binary=None):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.binary = Path(binary or os.environ.get("VERONA") or target / "debug" / "verona")
        if not self.binary.exists():
            raise RuntimeError(f"{self.binary} is not there: cargo build -p verona-server")
        super().__init__(folder, plain)

    def configure(self):
        certs = self.folder / "data" / "certs" / DOMAIN
        certs.mkdir(parents=True, exist_ok=True)
        for file in (self.key, self.certificate):
            file.rename(certs / file.name)
        self.key, self.certificate = certs / self.key.name, certs / self.certificate.name
        self.config = self.folder / "verona.toml"
        self.config.write_text(f"""\
data_dir = "{self.folder}/data"

[[host]]
domain = "{DOMAIN}"
registration = "{self.registration}"

[listen]
c2s = ["{HOST}:{self.port}"]
c2s_tls = ["{HOST}:{self.tls_port}"]
s2s = []
s2s_tls = []
http = []
https = []
component = []

[limits]
unlimited = true

[security]
require_tls = {"false" if self.plain else "true"}
""")

    def command(self):
        return [self.binary, "serve", "--config", self.config]

    def add_account(self, jid, password):
        subprocess.run(
            [self.binary, "account", "add", jid, "--password-stdin", "--config", self.config],
            input=password + "\n", text=True, check=True, stdout=subprocess.DEVNULL)

    def invite(self, name, contact):
        """The token with which somebody makes an account of this name, and gets a contact."""
        made = subprocess.run(
            [self.binary, "invite", "--json", "--name", name, "--contact", contact,
             "--config", self.config],
            text=True, check=True, capture_output=True).stdout
        link = json.loads(made)["link"]
        start = f"xmpp:{name}@{DOMAIN}?register;preauth="
        if not link.startswith(start):
            raise RuntimeError(f"a strange link: {link}")
        return link.removeprefix(start)


class Prosody(Server):
    """The peer against which the rigs are tried out."""

    name = "prosody"

    def configure(self):
        self.config = self.folder / "prosody.cfg.lua"
        plain = "true" if self.plain else "false"
        self.config.write_text(f"""\
run_as_root = true
daemonize = false
data_path = "{self.folder}/data"
pidfile = "{self.folder}/prosody.pid"
interfaces = {{ "{HOST}" }}
c2s_ports = {{ {self.port} }}
c2s_direct_tls_ports = {{ {self.tls_port} }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = {"false" if self.plain else "true"}
allow_unencrypted_plain_auth = {plain}
authentication = "internal_plain"
storage = "internal"
modules_enabled = {{
    "disco", "roster", "saslauth", "tls", "ping", "offline", "register", "smacks", "posix",
}}
modules_disabled = {{ "s2s", "s2s_auth_certs" }}
allow_registration = true
log = {{ info = "*console" }}
ssl = {{ key = "{self.key}", certificate = "{self.certificate}" }}
VirtualHost "{DOMAIN}"
""")

    def command(self):
        return ["prosody", "--config", self.config, "-F"]

    def stop(self, timeout=5):
        # It may trip over a client that leaves while it stops, and then it stays (seen in 0.12.3).
        try:
            super().stop(timeout)
        except RuntimeError:
            pass

    def add_account(self, jid, password):
        accounts = self.folder / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        file = accounts / f"{jid.split('@')[0].replace('-', '%2d')}.dat"
        file.write_text(f'return {{ ["password"] = "{password}"; }};\n')


SERVERS = {"verona": Verona, "prosody": Prosody}
