"""Those to whom the messages go: one kind for each way to be reached.

Each lives over all rounds: it works while the server does, and when the server is back it recovers
what it has missed, in the way of its kind, until it knows that nothing more waits.
"""

import time

from archive import Archive
from load import Worker
from managed import PASSWORD, RESOURCE, Managed
from server import DOMAIN
from stanzas import CLIENT
from stream import Gone, Refused, Stream

SID = "{urn:xmpp:sid:0}"
PING = "<ping xmlns='urn:xmpp:ping'/>"
# What has not come in all that time is lost.
PATIENCE = 8
# Well below what is kept for one who is away.
UNREAD_MAX = 250


class Receiver(Worker):
    """What all have in common: the account, and what came."""

    def __init__(self, port, ledger, name, chance):
        super().__init__()
        self.port, self.ledger, self.name, self.chance = port, ledger, name, chance
        self.archive = Archive(f"{name}@{DOMAIN}")

    def come_back(self, must_resume):
        """Only sessions do."""

    def note(self, element):
        text = element.findtext(CLIENT + "body")
        if element.tag != CLIENT + "message" or text is None:
            return
        if element.get("type") == "error":
            raise Refused(f"{self.name} got an error with `{text}`")
        self.ledger.came(self.name, text, stanza_id(element, self.name))

    def wait(self, read, awaited):
        """Reads until all has come that must come, and the answer to a ping behind it."""
        end = time.monotonic() + PATIENCE
        answered = False
        while not answered or awaited():
            if time.monotonic() > end:
                return
            for element in read():
                answered |= element.get("id") == "last"
                self.note(element)

    def recover(self):
        raise NotImplementedError


class Session(Receiver):
    """One with stream management: online all the time, acknowledging what it gets."""

    cuts = 0.0

    def __init__(self, port, ledger, name, chance):
        super().__init__(port, ledger, name, chance)
        self.session = Managed(port, name, lambda stanza: None, chance)

    def enter(self):
        self.session.enter()
        self.session.send([{"xml": "<presence/>"}])

    def come_back(self, must_resume):
        if self.session.id is None:
            return
        resumed = self.session.resume()
        if must_resume and not resumed:
            raise Refused(f"the session of {self.name} is gone behind a clean end")

    def work(self):
        if self.session.id is None:
            self.enter()
        self.working.set()
        while True:
            for element in self.session.read(block=False, patience=0.05):
                self.note(element)
            if self.chance.random() < self.cuts:
                self.session.cut()
                time.sleep(self.chance.choice([0, 0.05, 0.3]))
                if not self.session.resume():
                    raise Refused(f"the session of {self.name} is gone while the server runs")

    def recover(self):
        if self.session.id is None:
            self.enter()
        self.session.send([{"xml": f"<iq type='get' id='last'>{PING}</iq>"}])
        self.wait(lambda: self.session.read(block=False, patience=0.1),
                  lambda: self.ledger.awaited(self.name))
        self.session.answer()


class Online(Session):
    """Online, with stream management."""


class Hibernating(Session):
    """The same on a bad link: without a connection every now and then, and at the end too."""

    cuts = 0.15


class Offline(Receiver):
    """Away; comes when the server is back, takes what waits, and leaves."""

    def work(self):
        self.working.set()

    def recover(self):
        stream = Stream(self.port)
        stream.login(self.name, PASSWORD, RESOURCE)
        stream.send(f"<presence/><iq type='get' id='last'>{PING}</iq>")
        self.wait(lambda: read(stream, 0.1), lambda: self.ledger.awaited(self.name))
        stream.close()


class Plain(Receiver):
    """Online without stream management: what it missed it finds in the archive."""

    # Messages that came since it was last available.
    unread = 0

    def work(self):
        stream = self.enter()
        stream.send("<presence/>")
        self.working.set()
        while True:
            for element in read(stream, 0.05):
                self.note(element)

    def enter(self):
        stream = Stream(self.port)
        stream.login(self.name, PASSWORD, RESOURCE)
        return stream

    def recover(self):
        stream = self.enter()
        found = self.archive.catch_up(stream)
        for text, number in found:
            self.ledger.came(self.name, text, number)
        self.unread += len(found)
        stream.close()


class ArchiveOnly(Plain):
    """Never takes a message; reads the archive from where it stood."""

    def work(self):
        self.working.set()

    def recover(self):
        super().recover()
        # Now and then it empties what waits too, or that would be full one day. XEP-0313 §6.1.1:
        # behind the archive nothing of it comes again.
        if self.unread > UNREAD_MAX:
            self.unread = 0
            stream = self.enter()
            self.archive.look(stream)
            stream.send(f"<presence/><iq type='get' id='last'>{PING}</iq>")
            self.wait(lambda: self.nothing(read(stream, 0.1)), lambda: False)
            stream.close()

    def nothing(self, elements):
        for element in elements:
            if element.findtext(CLIENT + "body") is not None:
                raise Refused(f"{self.name} has read the archive and gets messages yet")
        return elements


KINDS = [Online, Hibernating, Offline, Plain, ArchiveOnly]


def read(stream, patience):
    try:
        stream.receive(block=False, patience=patience)
    except Gone:
        if not stream.inbox:
            raise
    elements, stream.inbox = stream.inbox, []
    return elements


def stanza_id(element, name):
    """XEP-0359: the id that the account's own server gave."""
    for child in element.children:
        if child.tag == SID + "stanza-id" and child.get("by") == f"{name}@{DOMAIN}":
            return child.get("id")
    return None
