"""Servers that are none: what only raw sockets do, to a door for servers and behind one."""

import re
import socket
import ssl
import threading

STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
          "xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='{local}' to='{to}'>")

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"


class Stranger:
    """A connection to a server's door for servers, read as text."""

    def __init__(self, port, local, to, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.local, self.to, self.text = local, to, ""

    def send(self, text):
        self.socket.sendall(text.encode())

    def read_to(self, pattern):
        """Reads to a pattern; everything up to its end is taken."""
        while True:
            found = re.search(pattern, self.text, re.S)
            if found:
                self.text = self.text[found.end():]
                return found
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"closed before {pattern}: {self.text}")
            self.text += more.decode()

    def open(self):
        self.send(STREAM.format(local=self.local, to=self.to))
        return self.read_to(r"<stream:features.*?(</stream:features>|/>)").group(0)

    def encrypt(self, certs=None):
        """STARTTLS, with the certificate in a folder if one is given, then a new stream."""
        self.open()
        self.send(f"<starttls xmlns='{TLS}'/>")
        self.read_to("<proceed")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certs is not None:
            context.load_cert_chain(certs / "fullchain.pem", certs / "privkey.pem")
        self.socket = context.wrap_socket(self.socket, server_hostname=self.to)
        self.text = ""
        return self.open()

    def authenticate(self, certs):
        """SASL EXTERNAL (XEP-0178), up to a stream on which stanzas are taken."""
        self.encrypt(certs)
        self.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>")
        self.read_to("<success")
        self.text = ""
        self.open()

    def rest(self):
        """All that comes until the other side closes."""
        try:
            while more := self.socket.recv(65536):
                self.text += more.decode()
        except (OSError, ssl.SSLError):
            pass
        return self.text

    def close(self):
        self.socket.close()


class Silent:
    """Takes connections and says nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.held = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.held.append(self.listener.accept()[0])
            except OSError:
                return
            threading.Thread(target=self.meet, args=(self.held[-1],), daemon=True).start()

    def meet(self, connection):
        """What it does with a connection."""

    def close(self):
        self.listener.close()
        for connection in self.held:
            connection.close()


class Mute(Silent):
    """Negotiates as a server does, takes all that it is sent, and answers nothing of it."""

    def __init__(self, domain, certs):
        self.domain, self.taken = domain, b""
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certs / "fullchain.pem", certs / "privkey.pem")
        super().__init__()

    def meet(self, connection):
        try:
            self.greet(connection, f"<starttls xmlns='{TLS}'><required/></starttls>", b"<starttls")
            connection.sendall(f"<proceed xmlns='{TLS}'/>".encode())
            connection = self.context.wrap_socket(connection, server_side=True)
            self.held.append(connection)
            self.greet(connection, f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism>"
                       "</mechanisms>", b"<auth")
            connection.sendall(f"<success xmlns='{SASL}'/>".encode())
            self.greet(connection, "<sm xmlns='urn:xmpp:sm:3'/>", b"<enable")
            while more := connection.recv(65536):
                self.taken += more
        except (OSError, EOFError):
            pass

    def greet(self, connection, features, answer):
        """A header and the features, and all up to what they are answered with."""
        read_from(connection, b"version=")
        header = STREAM.format(local=self.domain, to="").replace(" to=''", " id='mute'")
        connection.sendall(f"{header}<stream:features>{features}</stream:features>".encode())
        read_from(connection, answer)


def read_from(connection, wanted):
    text = b""
    while wanted not in text:
        more = connection.recv(65536)
        if not more:
            raise EOFError(f"closed before {wanted}")
        text += more
