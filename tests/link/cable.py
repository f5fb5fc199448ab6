"""The line between two servers: it carries bytes with a delay, and is cut in all the ways of lines."""

import collections
import random
import socket
import struct
import threading
import time

# What was read at one end waits that long, so that there is always something on the way.
DELAY = 0.004
CHUNK = 16 * 1024
# More than that on the way, and the end it comes from waits.
HELD_MAX = 256 * 1024
SEEN_MAX = 1024 * 1024


class Way:
    """One direction of a connection: what was read and is not written yet."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.held = collections.deque()
        self.bytes = 0
        self.silent = self.ended = False


class Wire:
    """A connection, with its two ends."""

    def __init__(self, near, far):
        self.ends = (near, far)
        self.ways = (Way(near, far), Way(far, near))


class Cable:
    """Stands in front of a server's port. One thread does everything, so that a cut is one moment."""

    def __init__(self, port, dice=None):
        self.behind = port
        self.dice = dice or random.Random()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.wires = []
        self.closed = False
        # The first of what was carried, to see that nobody speaks in the clear.
        self.seen = b""
        threading.Thread(target=self.carry, daemon=True).start()

    def carry(self):
        # To look every millisecond is simpler than to be told, and cheap for a line or two.
        while True:
            with self.lock:
                if self.closed:
                    return
                self.turn()
            time.sleep(0.001)

    def turn(self):
        try:
            self.join(self.listener.accept()[0])
        except BlockingIOError:
            pass
        for wire in list(self.wires):
            try:
                for way in wire.ways:
                    self.read(way)
                    self.write(way, time.monotonic() - DELAY)
            except OSError:
                self.drop(wire, reset=True)
            else:
                if all(way.ended and not way.held for way in wire.ways):
                    self.drop(wire, reset=False)

    def join(self, near):
        try:
            far = socket.create_connection(("127.0.0.1", self.behind), 5)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self.wires.append(Wire(near, far))

    def read(self, way):
        if way.ended or way.bytes >= HELD_MAX:
            return
        try:
            data = way.source.recv(CHUNK)
        except BlockingIOError:
            return
        if not data:
            way.ended = True
            if not way.silent:
                way.held.append((time.monotonic(), b""))
            return
        if len(self.seen) < SEEN_MAX:
            self.seen += data
        if not way.silent:
            way.held.append((time.monotonic(), data))
            way.bytes += len(data)

    def write(self, way, due):
        while way.held and way.held[0][0] <= due:
            since, data = way.held.popleft()
            if not data:
                way.sink.shutdown(socket.SHUT_WR)
                continue
            try:
                sent = way.sink.send(data)
            except BlockingIOError:
                sent = 0
            way.bytes -= sent
            if sent < len(data):
                way.held.appendleft((since, data[sent:]))
                return

    def cut(self, how):
        """Cuts all connections, at a byte that chance chooses in each direction; tells how many had
        something on the way. `how`: reset, close, silent (both ways), deaf (one way)."""
        with self.lock:
            full = 0
            for wire in list(self.wires):
                full += any(way.held for way in wire.ways)
                try:
                    for way in wire.ways:
                        self.write_some(way)
                except OSError:
                    pass
                if how in ("silent", "deaf"):
                    ways = wire.ways if how == "silent" else [self.dice.choice(wire.ways)]
                    for way in ways:
                        way.silent = True
                        way.held.clear()
                        way.bytes = 0
                else:
                    self.drop(wire, reset=how == "reset")
            return full

    def write_some(self, way):
        """Of what is on the way, a part that ends anywhere."""
        data = b"".join(data for _, data in way.held)
        way.held.clear()
        way.bytes = 0
        if data and not way.silent:
            way.sink.send(data[:self.dice.randint(0, len(data))])

    def drop(self, wire, reset):
        self.wires.remove(wire)
        for end in wire.ends:
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def standing(self):
        """Connections that carry both ways."""
        with self.lock:
            return sum(not any(way.silent or way.ended for way in wire.ways) for wire in self.wires)

    def close(self):
        with self.lock:
            self.closed = True
            self.listener.close()
            for wire in list(self.wires):
                self.drop(wire, reset=True)
