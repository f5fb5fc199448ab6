"""A resolver of our own: the only one that the servers of the rig ask, on loopback.

It answers A, SRV and nothing else, from a table; other names do not exist. Every question is noted,
so that a step can tell what was asked.
"""

import socket
import struct
import threading

A, SRV = 1, 33
NXDOMAIN = 3


def name_at(packet, at):
    """The name at a place of a question, which is never compressed, and the place behind it."""
    labels = []
    while packet[at]:
        end = at + 1 + packet[at]
        labels.append(packet[at + 1:end].decode("ascii").lower())
        at = end
    return ".".join(labels), at + 1


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class Names:
    """Answers for `addresses` {name: IPv4} and `services` {name: [(priority, weight, port, host)]}."""

    def __init__(self, host="127.0.0.1"):
        self.addresses, self.services, self.asked = {}, {}, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.host, self.port = self.socket.getsockname()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                packet, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            try:
                answer = self.answer(packet)
            except (IndexError, UnicodeDecodeError, struct.error):
                continue
            self.socket.sendto(answer, peer)

    def answer(self, packet):
        ident, flags = struct.unpack(">HH", packet[:4])
        name, end = name_at(packet, 12)
        kind, _ = struct.unpack(">HH", packet[end:end + 4])
        self.asked.append((name, kind))
        records = self.records(name, kind)
        known = name in self.addresses or name in self.services
        code = 0 if known else NXDOMAIN
        reply = struct.pack(">HHHHHH", ident, 0x8480 | (flags & 0x0100) | code, 1, len(records), 0, 0)
        reply += packet[12:end + 4]
        for data in records:
            reply += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 5, len(data)) + data
        return reply

    def records(self, name, kind):
        if kind == A and name in self.addresses:
            return [socket.inet_aton(self.addresses[name])]
        if kind == SRV:
            services = self.services.get(name, [])
            return [struct.pack(">HHH", *service[:3]) + encoded(service[3]) for service in services]
        return []

    def server(self, domain, address, port=None, tls_port=None):
        """Says where a domain's server is; a port of None means that there is no such record."""
        # ejabberd asks the system for addresses, which knows this name alone.
        host = "localhost"
        self.addresses[host] = address
        for service, number in (("_xmpp-server", port), ("_xmpps-server", tls_port)):
            name = f"{service}._tcp.{domain}"
            self.services.pop(name, None)
            if number:
                self.services[name] = [(0, 5, number, host)]

    def close(self):
        self.socket.close()
