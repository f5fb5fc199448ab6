"""Somebody with an XMPP client, and somebody with an IRC client."""

import asyncio
import hashlib
import re
from pathlib import Path

import slixmpp

TIMEOUT = 20


class Failure(Exception):
    """Something did not happen."""


class Events:
    """What somebody has seen; each thing can be expected once."""

    def __init__(self, name):
        self.name, self.seen, self.history = name, [], []
        self.news = asyncio.Event()

    def put(self, event):
        self.seen.append(event)
        self.history.append(event)
        self.news.set()

    async def expect(self, what, test, timeout=TIMEOUT):
        end = asyncio.get_running_loop().time() + timeout
        while True:
            for event in self.seen:
                if test(event):
                    self.seen.remove(event)
                    return event
            self.news.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self.news.wait()
            except TimeoutError:
                last = "\n    ".join(str(event) for event in self.history[-12:])
                raise Failure(f"{self.name} waited for {what}, saw\n    {last}") from None


class User(slixmpp.ClientXMPP):
    """A user of Verona."""

    def __init__(self, server, jid, password):
        super().__init__(jid, password)
        self.events = Events(jid)
        self.house = server
        for plugin in ("xep_0030", "xep_0045", "xep_0077", "xep_0004", "xep_0199", "xep_0280", "xep_0313"):
            self.register_plugin(plugin)
        self.auto_authorize = None
        self.auto_subscribe = False
        self.ca_certs = Path(server.certificate)
        self.add_event_handler("session_start", lambda _: self.events.put(("online",)))
        self.add_event_handler("message", self.heard)
        self.add_event_handler("carbon_sent", self.carbon)
        self.add_event_handler("presence", self.saw)
        self.add_event_handler("roster_update", self.listed)

    async def enter(self):
        self.connect("127.0.0.1", self.house.port)
        await self.events.expect("the login", lambda event: event[0] == "online")
        await self.plugin["xep_0280"].enable()
        await self.get_roster()
        self.send_presence()

    def heard(self, message):
        body = message["body"]
        if body:
            self.events.put((message["type"], str(message["from"]), body))

    def carbon(self, message):
        sent = message["carbon_sent"]
        self.events.put(("carbon", str(sent["to"]), sent["body"]))

    def saw(self, presence):
        self.events.put(("presence", str(presence["from"]), presence["type"]))

    def listed(self, iq):
        for jid, item in iq["roster"]["items"].items():
            self.events.put(("roster", str(jid), item["subscription"]))

    async def hears(self, kind, who, text):
        await self.events.expect(
            f"{text!r} from {who}",
            lambda event: event[0] == kind and event[1] == who and event[2] == text)

    async def join(self, room):
        for kind in ("got_online", "got_offline"):
            event = f"muc::{room}::{kind}"
            self.del_event_handler(event, self.saw)
            self.add_event_handler(event, self.saw)
        await self.plugin["xep_0045"].join_muc_wait(room, "juliet", timeout=TIMEOUT)

    async def leave(self):
        self.disconnect()
        await self.wait_until("disconnected", 10)


class RawComponent:
    """A component without a library: what it receives is one text."""

    def __init__(self, domain, secret, ns="jabber:component:accept"):
        self.domain, self.secret, self.ns, self.text = domain, secret, ns, ""

    async def connect(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.send(f"<stream:stream to='{self.domain}' xmlns='{self.ns}' "
                  "xmlns:stream='http://etherx.jabber.org/streams'>")
        stream_id = (await self.expect(r" id='([^']+)'")).group(1)
        self.send(f"<handshake>{self.proof(stream_id)}</handshake>")
        await self.expect("<handshake/>")
        return self

    async def be_called(self, port):
        """Waits to be connected to (jabber:component:connect), and lets the server prove the secret."""
        called = asyncio.get_running_loop().create_future()

        def welcome(reader, writer):
            if not called.done():
                called.set_result((reader, writer))
        self.listener = await asyncio.start_server(welcome, "127.0.0.1", port)
        self.reader, self.writer = await asyncio.wait_for(called, TIMEOUT)
        await self.expect(f"<stream:stream xmlns='{self.ns}'[^>]* from='{self.domain}'")
        self.send("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' "
                  f"xmlns='{self.ns}' from='{self.domain}' id='3BF96D32'>")
        await self.expect(f"<handshake>{self.proof('3BF96D32')}</handshake>")
        self.send("<handshake/>")
        return self

    def proof(self, stream_id):
        return hashlib.sha1((stream_id + self.secret).encode()).hexdigest()

    def send(self, text):
        self.writer.write(text.encode())

    async def expect(self, pattern):
        end = asyncio.get_running_loop().time() + TIMEOUT
        while not (found := re.search(pattern, self.text)):
            try:
                async with asyncio.timeout_at(end):
                    data = await self.reader.read(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise Failure(f"{self.domain} waited for {pattern}, saw {self.text}")
            self.text += data.decode()
        self.text = self.text[found.end():]
        return found

    async def leave(self):
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), 5)
        except OSError:
            pass  # The server was faster.


class IrcClient:
    """Somebody on IRC, line by line."""

    def __init__(self, nick):
        self.nick, self.events = nick, Events(nick)

    async def enter(self, address, port, channel):
        self.reader, self.writer = await asyncio.open_connection(address, port)
        self.task = asyncio.create_task(self.read())
        self.write(f"NICK {self.nick}")
        self.write(f"USER {self.nick} 0 * :{self.nick}")
        await self.saw("the welcome", lambda line: " 001 " in line)
        self.write(f"JOIN {channel}")
        await self.saw("its own arrival", lambda line: " JOIN " in line and channel in line)

    def write(self, line):
        self.writer.write(line.encode() + b"\r\n")

    async def read(self):
        while line := await self.reader.readline():
            line = line.decode(errors="replace").rstrip("\r\n")
            if line.startswith("PING "):
                self.write("PONG " + line[5:])
            else:
                self.events.put(line)

    async def saw(self, what, test):
        return await self.events.expect(what, test)

    async def leave(self):
        self.write("QUIT")
        self.writer.close()
        self.task.cancel()
