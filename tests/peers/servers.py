"""Verona and its partners, each with a domain of its own, on loopback and on ports that were free."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from server import HOST, ROOT, free_ports, listens  # noqa: E402


class Server:
    """A server process with its folder; a subclass says how it is set up and started.

    `kind` is that of its certificate (see authority.py). `direct`: it is found by direct TLS alone.
    `strict`: it takes no server without a valid certificate. `settings`: lines of Verona's config, by
    section. `clock`: a Verona whose clock can be turned.
    """

    name = "?"
    rooms = "conference"

    def __init__(self, folder, domain, rig, kind="valid", direct=False, strict=False, settings=None,
                 clock=False):
        self.settings, self.clock = settings or {}, clock
        self.folder, self.domain, self.rig = Path(folder), domain, rig
        self.folder.mkdir(parents=True)
        self.c2s, self.s2s, self.s2s_tls = free_ports(3)
        self.direct, self.strict = direct, strict
        self.process = None
        self.log = self.folder / "server.log"
        self.certify(kind)
        rig.names.server(domain, HOST, None if direct else self.s2s, self.s2s_tls if direct else None)
        rooms = f"{self.rooms}.{domain}"
        rig.names.server(rooms, HOST, None if direct else self.s2s, self.s2s_tls if direct else None)
        self.configure()

    def certify(self, kind):
        self.certs = self.rig.authority.issue(
            self.folder / "certs", [self.domain, f"{self.rooms}.{self.domain}"], kind)
        self.key, self.chain = self.certs / "privkey.pem", self.certs / "fullchain.pem"

    def configure(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def add_account(self, name, password):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def start(self, timeout=60):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment())
        end = time.monotonic() + timeout
        while not (listens(self.c2s) and listens(self.s2s)):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once:\n{self.tail()}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.name} does not listen:\n{self.tail()}")
            time.sleep(0.05)
        return self

    def stop(self, timeout=15):
        """Asks it to end, as the system does; one that stays is killed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines=40):
        return "\n".join(self.text().splitlines()[-lines:])


class Verona(Server):
    name = "verona"

    def configure(self):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.binary = Path(os.environ.get("VERONA") or target / "debug" / "verona")
        if not self.binary.exists():
            raise RuntimeError(f"{self.binary} is not there: cargo build -p verona-server")
        held = self.folder / "data" / "certs"
        held.mkdir(parents=True)
        self.certs = self.certs.rename(held / self.domain)
        self.key, self.chain = self.certs / "privkey.pem", self.certs / "fullchain.pem"
        self.config = self.folder / "verona.toml"
        self.config.write_text(f"""\
data_dir = "{self.folder}/data"

[[host]]
domain = "{self.domain}"
registration = "closed"

[listen]
c2s = ["{HOST}:{self.c2s}"]
c2s_tls = []
s2s = ["{HOST}:{self.s2s}"]
s2s_tls = ["{HOST}:{self.s2s_tls}"]
http = []
https = []
component = []

[limits]
{self.settings.get("limits", "unlimited = true")}

[security]
{self.settings.get("security", "")}

[s2s]
{self.settings.get("s2s", "")}
trust = ["{self.rig.authority.certificate}"]
require_certificate = {"true" if self.strict else "false"}

[dns]
servers = ["{self.rig.names.host}:{self.rig.names.port}"]

[log]
filter = "{os.environ.get("VERONA_LOG", "info")}"
""")

    def command(self):
        return [self.binary, "serve", "--config", self.config]

    def environment(self):
        if not self.clock:
            return super().environment()
        library = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
        if not library.exists():
            raise RuntimeError(f"{library} is not there")
        if not (self.folder / "clock").exists():
            self.turn("+0")
        return dict(super().environment(), LD_PRELOAD=str(library), FAKETIME_NO_CACHE="1",
                    FAKETIME_TIMESTAMP_FILE=str(self.folder / "clock"),
                    FAKETIME_DONT_FAKE_MONOTONIC="1")

    def turn(self, by):
        """Sets its clock apart from the others'; what measures time is left alone."""
        new = self.folder / "clock.new"
        new.write_text(by + "\n")
        new.rename(self.folder / "clock")

    def add_account(self, name, password):
        subprocess.run(
            [self.binary, "account", "add", f"{name}@{self.domain}", "--password-stdin", "--config",
             self.config],
            input=password + "\n", text=True, check=True, stdout=subprocess.DEVNULL)

    def status(self, domain):
        """How it stands with another server."""
        done = subprocess.run([self.binary, "status", "--json", "--config", self.config],
                              capture_output=True, text=True, check=True)
        others = json.loads(done.stdout)["servers"]
        return next((other for other in others if other["domain"] == domain), None)

    async def says_why(self, domain, cause, within=15):
        """Status and log tell the cause why a server cannot be reached."""
        end = time.monotonic() + within
        while True:
            told = (self.status(domain) or {}).get("failure") or ""
            logged = [line for line in self.text().splitlines()
                      if "no stream to another server" in line and domain in line]
            if cause in told and any(cause in line for line in logged):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{cause!r} is not the cause: {told!r}, in the log {logged[-3:]}")
            await asyncio.sleep(0.3)


class Prosody(Server):
    name = "prosody"
    rooms = "rooms"

    def configure(self):
        resolver = f"{self.rig.names.host}@{self.rig.names.port}"
        self.config = self.folder / "prosody.cfg.lua"
        self.config.write_text(f"""\
run_as_root = true
daemonize = false
data_path = "{self.folder}/data"
pidfile = "{self.folder}/prosody.pid"
interfaces = {{ "{HOST}" }}
c2s_ports = {{ {self.c2s} }}
s2s_ports = {{ {self.s2s} }}
s2s_direct_tls_ports = {{ {self.s2s_tls} }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = {"true" if self.strict else "false"}
use_ipv6 = false
authentication = "internal_plain"
storage = "internal"
unbound = {{
    resolvconf = false; hoststxt = false; forward = {{ "{resolver}" }};
    options = {{ ["do-not-query-localhost:"] = "no", ["module-config:"] = "iterator" }};
}}
modules_enabled = {{
    "disco", "roster", "saslauth", "tls", "ping", "offline", "smacks", "dialback", "s2s_bidi",
    "posix", "version",
}}
limits = {{ }}
s2s_timeout = 20
log = {{ debug = "*console" }}
ssl = {{ key = "{self.key}", certificate = "{self.chain}", cafile = "{self.rig.authority.certificate}" }}
VirtualHost "{self.domain}"
Component "{self.rooms}.{self.domain}" "muc"
""")

    def command(self):
        return ["prosody", "--config", self.config, "-F"]

    def add_account(self, name, password):
        accounts = self.folder / "data" / self.domain.replace("-", "%2d").replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')


class Ejabberd(Server):
    name = "ejabberd"

    def configure(self):
        self.config = self.folder / "ejabberd.yml"
        both = self.certs / "both.pem"
        both.write_text(self.chain.read_text() + self.key.read_text())
        resolver = self.rig.names
        octets = resolver.host.replace(".", ",")
        (self.folder / "inetrc").write_text(
            "{lookup, [dns]}.\n{resolv_conf, \"\"}.\n{hosts_file, \"\"}.\n"
            f"{{nameserver, {{{octets}}}, {resolver.port}}}.\n")
        self.config.write_text(f"""\
loglevel: debug
log_rotate_count: 0
hosts: ["{self.domain}"]
certfiles: ["{both}"]
ca_file: "{self.rig.authority.certificate}"
s2s_use_starttls: {"required_trusted" if self.strict else "required"}
s2s_cafile: "{self.rig.authority.certificate}"
outgoing_s2s_families: [ipv4]
s2s_max_retry_delay: 1
auth_password_format: plain
registration_timeout: infinity
listen:
  - {{port: {self.c2s}, ip: "{HOST}", module: ejabberd_c2s, starttls_required: true}}
  - {{port: {self.s2s}, ip: "{HOST}", module: ejabberd_s2s_in}}
  - {{port: {self.s2s_tls}, ip: "{HOST}", module: ejabberd_s2s_in, tls: true}}
acl: {{local: {{user_regexp: ""}}}}
access_rules: {{local: {{allow: local}}, c2s: {{allow: all}}, s2s: {{allow: all}}, register: {{allow: all}}}}
modules:
  mod_adhoc: {{}}
  mod_caps: {{}}
  mod_disco: {{}}
  mod_muc: {{access: [allow]}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_register: {{access: register, ip_access: all, password_strength: 0}}
  mod_roster: {{versioning: true}}
  mod_s2s_dialback: {{}}
  mod_stream_mgmt: {{}}
  mod_version: {{}}
""")

    def environment(self):
        control = Path("/usr/sbin/ejabberdctl").read_text()
        libraries = next(line.split("=", 1)[1] for line in control.splitlines()
                         if line.startswith("ERL_LIBS="))
        return dict(os.environ, ERL_LIBS=libraries.strip("'\""), ERL_CRASH_DUMP_BYTES="0",
                    ERL_INETRC=str(self.folder / "inetrc"), EJABBERD_CONFIG_PATH=str(self.config),
                    EJABBERD_LOG_PATH=str(self.folder / "ejabberd.log"))

    def command(self):
        return ["erl", "-noinput", "-mnesia", "dir", f'"{self.folder}/data"', "-s", "ejabberd"]

    def add_account(self, name, password):
        """In-band, as there is no control socket without a node name."""
        self.rig.register(self, name, password)

    def text(self):
        log = self.folder / "ejabberd.log"
        return super().text() + (log.read_text(errors="replace") if log.exists() else "")
