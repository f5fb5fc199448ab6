"""Clients as the scenario sees them.

A bot is a process that reads commands, a line each (`add JID`, `allow JID`, `say JID TEXT`, `quit`;
some `push JID NODE` and `serve HOST`), and tells what it sees, a line each:

    online FULL_JID MECHANISM TLS
    roster JID SUBSCRIPTION          of each item that came, by result or push
    presence FULL_JID available|unavailable
    asked JID                        a request to subscribe
    message JID live|STAMP TEXT      the stamp of XEP-0203 if there is one
    registered                       with the invitation it was started with
    pushing NODE
    serving
    notified NODE FIELD=VALUE...
    failed REASON
    closed
"""

import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PASSWORD = "r0m30myr0m30"
TIMEOUT = 15


class Failure(Exception):
    """The scenario did not go as it should."""


class Events:
    """What a client has told, in order; each thing can be expected once."""

    def __init__(self, name):
        self.name = name
        self.coming = queue.Queue()
        self.pending = []
        self.history = []

    def put(self, line):
        self.coming.put(line)

    def expect(self, *words, timeout=TIMEOUT):
        """Waits for a line whose words are these; `None` fits any word. Returns its words."""
        end = time.monotonic() + timeout
        while True:
            for line in self.pending:
                found = line.split(" ", len(words) - 1)
                if len(found) == len(words) and all(w in (None, f) for w, f in zip(words, found)):
                    self.pending.remove(line)
                    return found
            left = end - time.monotonic()
            try:
                line = self.coming.get(timeout=max(left, 0.001))
            except queue.Empty:
                wanted = " ".join(w or "*" for w in words)
                told = "\n    ".join(self.history[-20:])
                raise Failure(f"{self.name} waited for `{wanted}`, saw\n    {told}") from None
            self.history.append(line)
            self.pending.append(line)


def read_lines(stream, put):
    """Hands each line of a process to `put`, in a thread of its own."""
    def read():
        for line in stream:
            put(line.rstrip("\n"))
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


class Bot:
    """A client behind the line protocol."""

    # The mechanisms, by the begin of their names, of which the client must have taken one.
    mechanisms = ("SCRAM-",)

    # Whether it can make its account with an invitation (XEP-0445).
    registers = False

    def __init__(self, server, folder, account, resource, tls, token=None):
        self.jid, self.resource = account, resource
        self.full = f"{account}/{resource}"
        self.events = Events(f"{type(self).__name__} {self.full}")
        port = server.tls_port if tls == "direct" else server.port
        self.errors = open(folder / f"{account}-{resource}.log", "ab")
        self.process = subprocess.Popen(
            [*self.command(), self.full, "127.0.0.1", str(port), tls, str(server.certificate),
             *([token] if token else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        read_lines(self.process.stdout, self.events.put)
        self.write(PASSWORD)

    def command(self):
        raise NotImplementedError

    def write(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"{self.events.name} has ended") from None

    def online(self):
        """Waits until it is logged in, the way it should be."""
        _, full, mechanism, tls = self.events.expect("online", None, None, None)
        if full != self.full:
            raise Failure(f"{self.events.name} was bound as {full}")
        if not mechanism.startswith(self.mechanisms):
            raise Failure(f"{self.events.name} logged in by {mechanism}")
        if not tls.startswith("TLS"):
            raise Failure(f"{self.events.name} has no TLS: {tls}")

    def add(self, jid):
        self.write(f"add {jid}")

    def allow(self, jid):
        self.write(f"allow {jid}")

    def say(self, jid, text):
        self.write(f"say {jid} {text}")

    def asked(self, jid):
        self.events.expect("asked", jid)

    def has_contact(self, jid):
        self.events.expect("roster", jid, "both")

    def sees(self, full, kind="available"):
        self.events.expect("presence", full, kind)

    def hears(self, jid, text):
        self.events.expect("message", jid, "live", text)

    def hears_late(self, jid, text):
        """The message was kept while the account was away, and says since when."""
        _, _, stamp, _ = self.events.expect("message", jid, None, text)
        if stamp == "live":
            raise Failure(f"{self.events.name}: `{text}` came without a delay stamp")

    def in_order(self, texts):
        """These messages came one after the other."""
        said = [line.split(" ", 3)[3] for line in self.events.history if line.startswith("message ")]
        if [text for text in said if text in texts] != texts:
            raise Failure(f"{self.events.name} got them in another order or twice: {said}")

    def closed(self):
        self.events.expect("closed")

    def quit(self):
        if self.process.poll() is None:
            self.write("quit")
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()


class Slixmpp(Bot):
    """slixmpp, from PyPI."""

    registers = True

    def command(self):
        return [sys.executable, str(HERE / "slixmpp_bot.py")]

    def push_to(self, jid, node):
        self.write(f"push {jid} {node}")
        self.events.expect("pushing", node)

    def serve(self, host):
        """Is a push service from now on, for accounts of this host."""
        self.write(f"serve {host}")
        self.events.expect("serving")

    def notified(self, node, fields):
        _, _, told = self.events.expect("notified", node, None)
        if told != fields:
            raise Failure(f"{self.events.name} was told {told}")


class Libstrophe(Bot):
    """libstrophe, from Debian."""

    binary = None

    @classmethod
    def build(cls, folder):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libstrophe"],
                               check=True, capture_output=True, text=True).stdout.split()
        cls.binary = folder / "strophe_bot"
        subprocess.run(["cc", "-Wall", "-Wextra", "-O1", "-o", cls.binary,
                        HERE / "strophe_bot.c", *flags], check=True)

    def command(self):
        return [str(self.binary)]
