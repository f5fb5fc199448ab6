"""A slixmpp client that speaks the line protocol of bots.py.

usage: slixmpp_bot.py FULL_JID HOST PORT starttls|direct CAFILE [TOKEN], the password as first line of
stdin; with a token it makes its account first (XEP-0445)
"""

import asyncio
import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import slixmpp
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

PUSH = "{urn:xmpp:push:0}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
FORM = "{jabber:x:data}"


def tell(*words):
    print(*words, flush=True)


class Bot(slixmpp.ClientXMPP):
    def __init__(self, jid, password, token):
        super().__init__(jid, password)
        self.token = token
        if token:
            self.register_plugin("xep_0077")
            self.ask_for_fields = self["xep_0077"].get_registration
            self["xep_0077"].get_registration = self.show_invitation
            self.add_event_handler("register", self.register)
        self.auto_authorize = None
        self.auto_subscribe = False
        self.register_plugin("xep_0203")
        self.add_event_handler("session_start", self.began)
        self.add_event_handler("failed_all_auth", lambda _: tell("failed", "authentication"))
        self.add_event_handler("connection_failed", lambda e: tell("failed", repr(e)))
        self.add_event_handler("disconnected", lambda _: self.ended())
        self.add_event_handler("roster_update", self.roster_came)
        self.add_event_handler("presence_available", lambda p: self.presence("available", p))
        self.add_event_handler("presence_unavailable", lambda p: self.presence("unavailable", p))
        self.add_event_handler("presence_subscribe", lambda p: tell("asked", p["from"].bare))
        self.add_event_handler("message", self.message)
        self.over = asyncio.Event()
        self.typed = b""

    async def show_invitation(self):
        """Before it is asked which fields there are to fill in, the token is shown."""
        # Else it keeps what it does not know back until there is a session.
        self._always_send_everything = True
        request = self.make_iq_set(ito=self.boundjid.domain)
        request.append(ElementTree.Element("{urn:xmpp:pars:0}preauth", token=self.token))
        await request.send()
        self._always_send_everything = False
        return await self.ask_for_fields()

    async def register(self, form):
        if "username" not in form["register"]["fields"]:
            tell("failed", "registration")
        request = self.make_iq_set()
        request["register"]["username"] = self.boundjid.user
        request["register"]["password"] = self.password
        await request.send()
        tell("registered")

    async def began(self, _):
        tls = self.socket.version() if hasattr(self.socket, "version") else "plain"
        await self.get_roster()
        self.send_presence()
        tell("online", self.boundjid.full, self["feature_mechanisms"].mech.name, tls)

    def ended(self):
        tell("closed")
        self.over.set()

    def roster_came(self, iq):
        if iq["type"] == "error":
            tell("failed", "roster")
            return
        for jid, item in iq["roster"]["items"].items():
            tell("roster", jid.bare, item["subscription"])

    def presence(self, kind, presence):
        tell("presence", presence["from"].full, kind)

    def message(self, message):
        stamp = message.get_plugin("delay", check=True)
        when = stamp["stamp"].strftime("%Y-%m-%dT%H:%M:%SZ") if stamp else "live"
        tell("message", message["from"].bare, when, message["body"])

    def typing(self):
        """Takes what stdin has; the loop tells of new bytes only, so no line may stay behind."""
        read = os.read(0, 65536)
        *lines, self.typed = (self.typed + (read or b"quit\n")).split(b"\n")
        for line in lines:
            self.command(line.decode().split(" ", 2))

    def command(self, words):
        if words[0] == "add":
            self.update_roster(slixmpp.JID(words[1]), name="", groups=[])
            self.send_presence_subscription(pto=words[1])
        elif words[0] == "allow":
            self.send_presence_subscription(pto=words[1], ptype="subscribed")
        elif words[0] == "say":
            self.send_message(mto=words[1], mbody=words[2], mtype="chat")
        elif words[0] == "push":
            asyncio.ensure_future(self.push(words[1], words[2]))
        elif words[0] == "serve":
            self.register_handler(Callback(
                "notifications", MatchXPath("{jabber:client}iq/" + PUBSUB + "pubsub"), self.notified))
            self.send_presence(pto=words[1])
            tell("serving")
        else:
            self.disconnect()

    async def push(self, jid, node):
        iq = self.make_iq_set()
        iq.append(ET.Element(PUSH + "enable", {"jid": jid, "node": node}))
        await iq.send()
        tell("pushing", node)

    def notified(self, iq):
        publish = iq.xml.find(f"{PUBSUB}pubsub/{PUBSUB}publish")
        form = publish.find(f"{PUBSUB}item/{PUSH}notification/{FORM}x")
        fields = {f.get("var"): f.findtext(FORM + "value") for f in form.iter(FORM + "field")}
        iq.reply().send()
        tell("notified", publish.get("node"), *(f"{k}={v}" for k, v in sorted(fields.items())))


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    return line.decode().rstrip("\n")


async def main():
    jid, host, port, tls, cafile, *token = sys.argv[1:]
    bot = Bot(jid, read_line(), *(token or [None]))
    bot.ca_certs = Path(cafile)
    bot.enable_direct_tls = tls == "direct"
    bot.enable_starttls = tls == "starttls"
    bot.connect(host, int(port))
    asyncio.get_running_loop().add_reader(0, bot.typing)
    await bot.over.wait()


asyncio.run(main())
