"""Servers that are none: what only a raw socket can do to the door for servers."""

import re
import socket
import ssl
import threading

STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
          "xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='{local}' to='{to}'>")


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

    def encrypt(self):
        """STARTTLS without a certificate of its own, then a new stream."""
        self.open()
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.read_to("<proceed")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=self.to)
        self.text = ""
        return self.open()

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

    def close(self):
        self.listener.close()
        for connection in self.held:
            connection.close()
