"""Programs that the gateways need, each with a folder of its own, on loopback, ended by its process id."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from server import DOMAIN, HOST, Verona, free_ports  # noqa: E402

SECRET = "wherefore-art-thou-3f9a1c"
IRC, SLIDGE = f"irc.{DOMAIN}", f"echo.{DOMAIN}"


def wait_until(what, test, process=None, timeout=30):
    """Waits until `test` gives something, and gives that."""
    end = time.monotonic() + timeout
    while True:
        found = test()
        if found:
            return found
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: the program has ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {timeout} s")
        time.sleep(0.05)


def listens(address, port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((address, port)) == 0


class Server(Verona):
    """Verona with a door for components."""

    def configure(self):
        super().configure()
        (self.component_port,) = free_ports(1)
        text = self.config.read_text().replace(
            "component = []", f'component = ["{HOST}:{self.component_port}"]')
        self.config.write_text(text + f"""
[[component]]
domain = "{IRC}"
secret = "{SECRET}"
name = "IRC"

[[component]]
domain = "{SLIDGE}"
secret = "{SECRET}"

[[modules.privilege.grants]]
component = "{SLIDGE}"
roster = "both"
message = "outgoing"
presence = "managed_entity"
iq = {{ "http://jabber.org/protocol/pubsub" = "both", "http://jabber.org/protocol/pubsub#owner" = "set" }}
""")

    def command_line(self, *words):
        """What the server answers to its operator."""
        return subprocess.run([self.binary, *words, "--config", self.config], text=True, check=True,
                              capture_output=True).stdout

    def connected(self):
        """The components that are there, as the operator is told."""
        known = json.loads(self.command_line("status", "--json"))["components"]
        return {component["domain"] for component in known if component["connections"] > 0}

    def wait_for(self, component, process):
        wait_until(f"{component} connects", lambda: component in self.connected(), process)


class Program:
    """A program with a log."""

    def __init__(self, folder, name):
        self.folder, self.name = Path(folder) / name, name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        self.process = None

    def run(self, command, **options):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, **options)

    def end(self, kill=False):
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def tail(self, lines=30):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name}\n" + "\n".join(text.splitlines()[-lines:])


class Ngircd(Program):
    """An IRC server, on a loopback address of its own so that it can have its usual port."""

    port = 6667

    def __init__(self, folder):
        super().__init__(folder, "ngircd")
        self.address = ".".join(["127", *(str(random.randint(2, 250)) for _ in range(3))])

    def start(self):
        config = self.folder / "ngircd.conf"
        config.write_text(f"""\
[Global]
    Name = irc.montague.lit
    Info = IRC server of a test
    Listen = {self.address}
    Ports = {self.port}
    MotdPhrase = "Two households, both alike in dignity"
[Limits]
    MaxConnections = 50
    MaxConnectionsIP = 0
    MaxNickLength = 20
[Options]
    DNS = no
    Ident = no
    PAM = no
""")
        self.folder.chmod(0o755)
        self.folder.parent.chmod(0o755)
        self.run(["/usr/sbin/ngircd", "--nodaemon", "--config", str(config)])
        wait_until("ngircd listens", lambda: listens(self.address, self.port), self.process)


class Biboumi(Program):
    """The gateway to IRC."""

    def __init__(self, folder):
        super().__init__(folder, "biboumi")

    def start(self, server):
        config = self.folder / "biboumi.cfg"
        config.write_text(f"""\
hostname={IRC}
password={SECRET}
xmpp_server_ip={HOST}
port={server.component_port}
db_name={self.folder}/biboumi.sqlite
identd_port=0
log_level=1
""")
        self.run(["biboumi", str(config)])
        server.wait_for(IRC, self.process)


class Slidge(Program):
    """A gateway made with slidge, whose network is an echo."""

    def __init__(self, folder):
        super().__init__(folder, "slidge")

    def start(self, server):
        program = [sys.executable, "-m", "slidge", "--jid", SLIDGE, "--secret", SECRET,
                   "--server", HOST, "--port", str(server.component_port),
                   "--legacy-module", "echo_network", "--home-dir", str(self.folder),
                   "--user-jid-validator", f".*@{DOMAIN}"]
        self.run(program, env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"})
        server.wait_for(SLIDGE, self.process)
