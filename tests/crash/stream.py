"""A small XMPP client over a plain socket: just enough to load a server and to check what it kept."""

import base64
import hashlib
import hmac
import os
import select
import socket
import struct
from xml.sax.saxutils import escape, quoteattr

from server import DOMAIN, HOST
from stanzas import CLIENT, Stanzas

FEATURES = "{http://etherx.jabber.org/streams}features"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
SM = "{urn:xmpp:sm:3}"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"


class Gone(Exception):
    """The server closed the connection, or never took it."""


class Refused(Exception):
    """The server answered with an error."""


class Stream:
    """One stream to the server, from the header to the end."""

    def __init__(self, port, timeout=10, source="", domain=DOMAIN):
        self.domain = domain
        try:
            self.socket = socket.create_connection((HOST, port), timeout, (source, 0))
        except OSError as error:
            raise Gone(str(error)) from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox = []
        self.features = self.open()

    def open(self):
        self.stanzas = Stanzas()
        self.send(f"<stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
                  "xmlns:stream='http://etherx.jabber.org/streams'>")
        return self.wait(lambda e: e.tag == FEATURES)

    def send(self, text):
        try:
            self.socket.sendall(text.encode())
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self, block=True, patience=0):
        """Takes what has come into the inbox; with `block` waits until something has."""
        if not block and not select.select([self.socket], [], [], patience)[0]:
            return
        try:
            read = self.socket.recv(65536)
        except OSError as error:
            raise Gone(str(error)) from None
        if not read:
            raise Gone("closed")
        self.inbox += list(map(copy, self.stanzas.feed(read.decode())))

    def wait(self, wanted):
        """The first element that is wanted; what came before it is dropped."""
        while True:
            while self.inbox:
                element = self.inbox.pop(0)
                if wanted(element):
                    return element
            self.receive()

    def iq(self, kind, payload):
        """Asks and waits for the answer."""
        number = os.urandom(6).hex()
        self.send(f"<iq type='{kind}' id='{number}'>{payload}</iq>")
        answer = self.wait(lambda e: e.tag == CLIENT + "iq" and e.get("id") == number)
        if answer.get("type") != "result":
            raise Refused(f"{kind} {payload}")
        return answer

    def register(self, name, password):
        self.iq("set", "<query xmlns='jabber:iq:register'>"
                f"<username>{name}</username><password>{password}</password></query>")

    def login(self, name, password, resource):
        self.authenticate(name, password)
        self.bind(resource)

    def authenticate(self, name, password):
        offered = {m.text for m in self.features.iter(SASL + "mechanism")}
        for mechanism, digest in (("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-1", "sha1")):
            if mechanism in offered:
                self.scram(mechanism, digest, name, password)
                break
        else:
            raise Refused(f"no SCRAM among {offered}")
        self.features = self.open()

    def bind(self, resource):
        self.iq("set", f"<bind xmlns='{BIND}'><resource>{resource}</resource></bind>")

    def scram(self, mechanism, digest, name, password):
        nonce = os.urandom(12).hex()
        bare = f"n={name},r={nonce}"
        first = base64.b64encode(f"n,,{bare}".encode()).decode()
        self.send(f"<auth xmlns={quoteattr(SASL[1:-1])} mechanism='{mechanism}'>{first}</auth>")
        challenge = base64.b64decode(self.sasl("challenge")).decode()
        given = dict(part.split("=", 1) for part in challenge.split(","))
        without = f"c=biws,r={given['r']}"
        signed = f"{bare},{challenge},{without}".encode()
        salted = hashlib.pbkdf2_hmac(
            digest, password.encode(), base64.b64decode(given["s"]), int(given["i"]))
        key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        final = base64.b64encode(f"{without},p={proof}".encode()).decode()
        self.send(f"<response xmlns={quoteattr(SASL[1:-1])}>{final}</response>")
        self.sasl("success")

    def sasl(self, wanted):
        element = self.wait(lambda e: e.tag.startswith(SASL))
        if element.tag != SASL + wanted:
            raise Refused(f"SASL: {element.tag}")
        return element.text or ""

    def cut(self, reset):
        """Leaves without a word, as when a link is lost; with `reset` what is under way is lost."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        try:
            self.socket.sendall(b"</stream:stream>")
            self.socket.settimeout(2)
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        self.socket.close()


class copy:
    """An element as it was when it came; the parser's own is cleared behind it."""

    def __init__(self, element):
        self.tag, self.text, self.attributes = element.tag, element.text, dict(element.attrib)
        self.children = list(element)

    def get(self, name, default=None):
        return self.attributes.get(name, default)

    def iter(self, tag):
        for child in self.children:
            yield from child.iter(tag)

    def find(self, tag):
        return next((child for child in self.children if child.tag == tag), None)

    def findtext(self, tag):
        for child in self.children:
            if child.tag == tag:
                return child.text
        return None


def message(to, number, text):
    return f"<message to='{to}' type='chat' id='{number}'><body>{escape(text)}</body></message>"


def roster_set(number, jid, name):
    return (f"<iq type='set' id='{number}'><query xmlns='jabber:iq:roster'>"
            f"<item jid='{jid}' name='{name}'/></query></iq>")
