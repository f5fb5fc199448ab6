"""People with slixmpp, as many as a step needs, in one loop."""

import asyncio
import ssl

import slixmpp

PASSWORD = "wherefore art thou"
PATIENCE = 25


class Failure(Exception):
    """Something that was due did not happen."""


def take_any_certificate(client):
    """What servers show each other is what this rig is about."""
    client.ssl_context.check_hostname = False
    client.ssl_context.verify_mode = ssl.CERT_NONE


class Person(slixmpp.ClientXMPP):
    """A client that notes what it hears, so that a step can wait for it."""

    def __init__(self, server, name, resource="rig", managed=True):
        super().__init__(f"{name}@{server.domain}/{resource}", PASSWORD)
        take_any_certificate(self)
        self.home = server
        self.heard, self.changed = [], asyncio.Event()
        self.auto_authorize, self.auto_subscribe = None, False
        for plugin in ("xep_0030", "xep_0045", "xep_0077", "xep_0092", "xep_0199"):
            self.register_plugin(plugin)
        if managed:
            self.register_plugin("xep_0198")
        self["xep_0077"].create_account = False
        self.add_event_handler("session_start", self.began)
        self.add_event_handler("failed_all_auth", lambda _: self.note("failed", "authentication"))
        self.add_event_handler("message", self.message)
        self.add_event_handler("message_error", self.refused)
        self.add_event_handler("groupchat_presence", self.seen_in_room)
        for kind in ("available", "unavailable", "subscribe", "subscribed", "unsubscribed", "error"):
            self.add_event_handler(
                f"presence_{kind}", lambda p, kind=kind: self.note(kind, p["from"].full))

    def note(self, *what):
        self.heard.append(what)
        self.changed.set()

    async def began(self, _):
        await self.get_roster()
        self.send_presence()
        self.note("online")

    def seen_in_room(self, presence):
        gone = presence["type"] in ("unavailable", "error")
        self.note(presence["type"] if gone else "available", presence["from"].full)

    def refused(self, message):
        error = message["error"]
        self.note("refused", message["from"].bare, error["condition"], error["type"], message["id"])

    def message(self, message):
        if message["type"] != "error" and message["body"]:
            who = message["from"]
            self.note("message", who.full if message["type"] == "groupchat" else who.bare,
                      message["body"])

    async def come(self):
        """Logs in and is seen."""
        self.connect(*self.address)
        await self.hears("online")
        return self

    @property
    def address(self):
        return "127.0.0.1", self.home.c2s

    async def hears(self, *what, within=PATIENCE):
        """Waits for something that begins like this; each is heard once."""
        def matches(item):
            return item[:len(what)] == what

        return await self.until(matches, what, within)

    async def sees(self, kind, jid, within=PATIENCE):
        """Waits for presence of a kind from an address or one of its resources."""
        def matches(item):
            return item[0] == kind and (item[1] == jid or item[1].split("/")[0] == jid)

        return await self.until(matches, (kind, jid), within)

    async def until(self, matches, what, within):
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while True:
            found = next((item for item in self.heard if matches(item)), None)
            if found is not None:
                self.heard.remove(found)
                return found
            left = end - loop.time()
            if left <= 0:
                raise Failure(f"{self.boundjid}: no {what} within {within} s, but {self.heard[-12:]}")
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                pass

    def say(self, to, body, kind="chat"):
        message = self.make_message(mto=to, mbody=body, mtype=kind)
        message["id"] = f"id-{body}"
        message.send()

    async def leave(self):
        self.disconnect()
        await asyncio.wait_for(self.disconnected, 10)


class Registrar(slixmpp.ClientXMPP):
    """Makes an account in-band and leaves."""

    def __init__(self, server, name):
        super().__init__(f"{name}@{server.domain}", PASSWORD)
        take_any_certificate(self)
        self.register_plugin("xep_0077")
        self["xep_0077"].force_registration = True
        self.made = asyncio.get_running_loop().create_future()
        self.add_event_handler("register", self.register)
        self.connect("127.0.0.1", server.c2s)

    async def register(self, _):
        iq = self.Iq()
        iq["type"] = "set"
        iq["register"]["username"] = self.boundjid.user
        iq["register"]["password"] = PASSWORD
        try:
            await iq.send()
        except slixmpp.exceptions.XMPPError as error:
            if not self.made.done():
                self.made.set_exception(Failure(f"cannot register: {error}"))
        else:
            if not self.made.done():
                self.made.set_result(True)
        self.disconnect()
