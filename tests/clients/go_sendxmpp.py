"""go-sendxmpp, from Debian: one process listens, and each thing to send takes one of its own.

It has no roster, so contacts are added by raw presence; that a listener sees the contact's
presence after a new login is then what proves the roster. It logs in by PLAIN, which asks for TLS.
"""

import os
import re
import subprocess

from bots import PASSWORD, TIMEOUT, Bot, Events, Failure, read_lines
from server import DOMAIN
from stanzas import Stanzas, told

BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
# Its own word on a stream that is over; it would go on asking the dead stream as fast as it can.
OVER = re.compile(r"\d{4}/\d\d/\d\d \S+ |.*</stream:stream>")
SHOWN = re.compile(r"\d{4}-\S+ (\S+): (.*)")


class GoSendxmpp(Bot):
    """A listener that writes what it receives to its debug output."""

    mechanisms = ("PLAIN",)

    def __init__(self, server, folder, account, resource, tls):
        self.jid, self.resource = account, resource
        self.full = f"{account}/{resource}"
        self.events = Events(f"{type(self).__name__} {self.full}")
        port = server.tls_port if tls == "direct" else server.port
        self.config = folder / f"{account}-{resource}.rc"
        self.config.write_text(
            f"username: {account}\njserver: {DOMAIN}:{port}\npassword: {PASSWORD}\n")
        os.chmod(self.config, 0o600)
        self.tls = ["--tls"] if tls == "direct" else []
        self.secured = tls == "direct"
        self.mechanism = "PLAIN"
        self.stanzas = Stanzas()
        self.over = False
        self.debug = folder / f"{account}-{resource}.log"
        self.process = subprocess.Popen(
            [*self.command(), "--listen", "--debug", "--resource", resource],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            bufsize=1)
        read_lines(self.process.stdout, self.shown)
        read_lines(self.process.stderr, self.received)

    def command(self):
        return ["go-sendxmpp", "--file", str(self.config), *self.tls]

    def shown(self, line):
        """What its user sees."""
        found = SHOWN.fullmatch(line)
        if found:
            self.events.put(f"shown {found[1]} {found[2]}")

    def received(self, line):
        with self.debug.open("a") as log:
            log.write(line + "\n")
        if OVER.match(line):
            self.process.kill()
            self.events.put("closed")
            self.over = True
        if self.over:
            return
        for element in self.stanzas.feed(line + "\n"):
            if element.tag == "{urn:ietf:params:xml:ns:xmpp-tls}proceed":
                self.secured = True
            elif element.tag == SASL + "challenge":
                self.mechanism = "CHALLENGE"
            jid = element.findtext(f"{BIND}bind/{BIND}jid")
            if jid:
                tls = "TLS" if self.secured else "plain"
                self.events.put(f"online {jid} {self.mechanism} {tls}")
            for line in told(element):
                self.events.put(line)

    def send(self, text, *options):
        sent = subprocess.run([*self.command(), *options], input=text, text=True,
                              capture_output=True, timeout=TIMEOUT, check=False)
        if sent.returncode != 0:
            raise Failure(f"{self.events.name} could not send: {sent.stderr}")

    def add(self, jid):
        self.send(f"<presence type='subscribe' to='{jid}'/>", "--raw", jid)

    def allow(self, jid):
        self.send(f"<presence type='subscribed' to='{jid}'/>", "--raw", jid)

    def say(self, jid, text):
        self.send(text, jid)

    def has_contact(self, jid):
        """It never asks for the roster."""

    def hears(self, jid, text):
        super().hears(jid, text)
        self.events.expect("shown", jid, text)

    def hears_late(self, jid, text):
        super().hears_late(jid, text)
        self.events.expect("shown", jid, text)

    def quit(self):
        self.process.terminate()
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()
