"""Profanity, from Debian: a program for a terminal, so the rig is its keyboard and reads its screen.

What goes over the wire is read in its log; that a message came is seen on the screen as well.
"""

import os
import re
import subprocess
import threading
import time
import xml.etree.ElementTree as ET

from bots import PASSWORD, TIMEOUT, Bot, Events, Failure
from stanzas import told

ACCOUNT = """\
[rig]
enabled=true
jid={jid}
password={password}
resource={resource}
server=127.0.0.1
port={port}
tls.policy={policy}
presence.last=online
presence.login=online
"""
SETTINGS = """\
[ui]
splash=false
wrap=true

[connection]
reconnect=0
autoping=0

[chatstates]
enabled=false

[notifications]
message=off
"""


class Profanity(Bot):
    """Profanity in a tmux of its own."""

    def __init__(self, server, folder, account, resource, tls):
        self.jid, self.resource = account, resource
        self.full = f"{account}/{resource}"
        self.events = Events(f"{type(self).__name__} {self.full}")
        self.mechanism, self.secured = "unknown", "plain"
        home = folder / f"profanity-{account}-{resource}-{time.monotonic_ns()}"
        for part in ("config", "data"):
            (home / part / "profanity").mkdir(parents=True)
        (home / "config" / "profanity" / "profrc").write_text(SETTINGS)
        accounts = home / "data" / "profanity" / "accounts"
        accounts.write_text(ACCOUNT.format(
            jid=account, password=PASSWORD, resource=resource,
            port=server.tls_port if tls == "direct" else server.port,
            policy="legacy" if tls == "direct" else "force"))
        accounts.chmod(0o600)
        self.log, self.socket = home / "log", home / "tmux"
        self.over = threading.Event()
        environment = {**os.environ, "XDG_CONFIG_HOME": f"{home}/config",
                       "XDG_DATA_HOME": f"{home}/data", "TERM": "xterm", "LANG": "C.UTF-8"}
        self.tmux("new-session", "-d", "-x", "160", "-y", "50",
                  "profanity", "-l", "DEBUG", "-f", str(self.log), "-a", "rig", env=environment)
        threading.Thread(target=self.follow_log, daemon=True).start()

    def tmux(self, *words, env=None):
        return subprocess.run(["tmux", "-S", self.socket, *words], env=env, text=True,
                              capture_output=True, timeout=TIMEOUT, check=False)

    def type(self, line):
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def screen(self):
        return self.tmux("capture-pane", "-p").stdout

    def follow_log(self):
        rest, at = "", 0
        while not self.over.is_set():
            if self.log.exists():
                with self.log.open(errors="replace") as log:
                    log.seek(at)
                    rest += log.read()
                    at = log.tell()
            *lines, rest = rest.split("\n")
            for line in lines:
                self.logged(line)
            time.sleep(0.02)

    def logged(self, line):
        auth = re.search(r"SENT: <auth .*mechanism=\"([^\"]+)\"", line)
        if auth:
            self.mechanism = auth[1]
        if "Certificate verification passed" in line:
            self.secured = "TLS"
        if "Lost connection" in line or "Closing socket" in line:
            self.events.put("closed")
        _, received, stanza = line.partition("xmpp: DBG: RECV: ")
        if received:
            self.received(stanza)

    def received(self, stanza):
        try:
            element = ET.fromstring(f"<stream xmlns='jabber:client'>{stanza}</stream>")[0]
        except ET.ParseError:
            return
        if element.tag.endswith("}presence") and element.get("from") == self.full:
            self.events.put(f"online {self.full} {self.mechanism} {self.secured}")
        for line in told(element):
            self.events.put(line)

    def sees_text(self, jid, text):
        """The text is on the screen, in the window of the contact."""
        self.type(f"/msg {jid}")
        end = time.monotonic() + TIMEOUT
        while text not in self.screen():
            if time.monotonic() > end:
                raise Failure(f"{self.events.name} does not show `{text}`:\n{self.screen()}")
            time.sleep(0.05)

    def add(self, jid):
        self.type(f"/roster add {jid}")
        self.type(f"/sub request {jid}")

    def allow(self, jid):
        self.type(f"/sub allow {jid}")

    def say(self, jid, text):
        self.type(f"/msg {jid} {text}")

    def hears(self, jid, text):
        super().hears(jid, text)
        self.sees_text(jid, text)

    def hears_late(self, jid, text):
        super().hears_late(jid, text)
        self.sees_text(jid, text)

    def quit(self):
        self.type("/quit")
        end = time.monotonic() + 5
        while self.tmux("has-session").returncode == 0 and time.monotonic() < end:
            time.sleep(0.05)
        self.end()

    def end(self):
        self.tmux("kill-server")
        self.over.set()
