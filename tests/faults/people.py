"""Senders and receivers who talk while something is wrong."""

import random
import time

from managed import PASSWORD, RESOURCE, Managed
from receivers import stanza_id
from server import DOMAIN
from stanzas import CLIENT
from stream import Stream, message

PATIENCE = 30
PING = "<iq type='get' id='{}'><ping xmlns='urn:xmpp:ping'/></iq>"


class Failure(Exception):
    """Something is not as it must be."""


class Person:
    """An account with one session under stream management, that counts what it says and hears."""

    numbers = 0

    def __init__(self, server, name, source="", seconds=600):
        self.server, self.name = server, name
        Stream(server.port).register(name, PASSWORD)
        self.session = Managed(server.port, name, self.on_acknowledged, random.Random(1))
        self.session.source, self.session.max = source, seconds
        self.acknowledged, self.refused, self.reasons = {}, set(), set()
        # Texts with their ids, in the order in which they came first.
        self.heard, self.count = {}, 0

    def enter(self):
        self.session.enter()
        self.session.send([{"xml": "<presence/>"}])
        self.settle()

    def resume(self, source=""):
        self.session.source = source
        if not self.session.resume():
            raise Failure(f"{self.name} has no session to resume")
        self.settle()

    def on_acknowledged(self, stanza):
        if "text" in stanza:
            self.acknowledged[stanza["text"]] = time.monotonic()

    def say(self, to, filling="", payload=""):
        self.count += 1
        text = f"{self.name} {self.count}{filling}"
        number = f"{self.name}-{self.count}"
        xml = message(f"{to}@{DOMAIN}", number, text).replace("</message>", payload + "</message>")
        self.session.send([{"xml": xml, "text": text}], ask=False)
        return text

    def kept(self):
        """What the server has acknowledged and not refused."""
        refused = {number.rsplit("-", 1)[1] for number in self.refused}
        return [text for text in self.acknowledged if text.split()[1] not in refused]

    def settle(self, patience=PATIENCE):
        """Until all that it has sent is acknowledged, and what was sent to it is here."""
        self.count += 1
        number = f"last-{self.count}"
        self.session.send([{"xml": PING.format(number)}])
        self.until(lambda element: element.get("id") == number, patience)
        self.until(lambda element: not self.session.unacked, patience)
        self.session.answer()

    def until(self, wanted, patience=PATIENCE):
        end = time.monotonic() + patience
        is_there = wanted({})
        while not is_there:
            if time.monotonic() > end:
                raise Failure(f"{self.name} waits for something that does not come")
            for element in self.session.read(block=False, patience=0.05):
                self.note(element)
                is_there |= wanted(element)
            is_there |= wanted({})

    def hear(self, text, patience=PATIENCE):
        self.until(lambda _: text in self.heard, patience)

    def note(self, element):
        if element.tag == CLIENT + "message" and element.get("type") == "error":
            self.refused.add(element.get("id"))
            error = element.find(CLIENT + "error")
            self.reasons |= {(error.get("type"), child.tag.split("}")[1]) for child in error}
        text = element.findtext(CLIENT + "body")
        if element.tag != CLIENT + "message" or element.get("type") == "error" or text is None:
            return
        number = stanza_id(element, self.name)
        if self.heard.setdefault(text, number) != number:
            raise Failure(f"{self.name} got `{text[:40]}` as {self.heard[text]} and as {number}")

    def take_what_waits(self):
        """Comes anew, as on another device."""
        stream = Stream(self.server.port)
        stream.login(self.name, PASSWORD, RESOURCE)
        stream.send("<presence/>" + PING.format("last"))
        while True:
            element = stream.wait(lambda e: e.tag.startswith(CLIENT))
            if element.get("id") == "last":
                return stream.close()
            self.note(element)

    def must_have_heard(self, sender):
        """All that the sender was not refused, once and in order."""
        wanted = sender.kept()
        heard = [text for text in self.heard if text in sender.acknowledged]
        missing = [text[:20] for text in wanted if text not in self.heard]
        if missing:
            raise Failure(f"{self.name} misses {len(missing)} of {len(wanted)}: {missing[:5]}")
        order = [text for text in heard if text in set(wanted)]
        if order != wanted:
            raise Failure(f"{self.name} got messages out of order: {order[:9]}")
