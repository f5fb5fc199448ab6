"""Those who keep the server busy until it is gone."""

import itertools
import threading

from server import DOMAIN
from stanzas import CLIENT
from stream import SM, Gone, Refused, Stream, message, roster_set

PASSWORD = "p4rt1ng"
CONTACTS = 25
WINDOW = 8
# A round stays far below what the server keeps for one who is away.
MESSAGES_MAX = 300
ACCOUNTS_MAX = 12


class Worker:
    """A thread of the load. `working` is set when it has got its first acknowledgement."""

    def __init__(self, port, ledger):
        self.port, self.ledger = port, ledger
        self.working = threading.Event()
        self.fault = None

    def run(self):
        try:
            self.work()
        except Gone:
            pass
        except Refused as refusal:
            self.fault = f"{type(self).__name__} was refused: {refusal}"
        finally:
            self.working.set()


class Sender(Worker):
    """Sends messages to those who are away, and a roster set behind every few of them."""

    # Over all rounds, so that no text is used twice.
    numbers = itertools.count(1)

    def __init__(self, port, ledger, name, receivers, chance):
        super().__init__(port, ledger)
        self.name, self.receivers, self.chance = name, receivers, chance
        # All stanzas since stream management began that are not acknowledged, in order.
        self.unacked = []
        self.counted = 0
        self.received = 0

    def work(self):
        self.stream = Stream(self.port)
        self.stream.login(self.name, PASSWORD, "rig")
        managed = any(True for _ in self.stream.features.iter(SM + "sm"))
        if managed:
            self.stream.send("<enable xmlns='urn:xmpp:sm:3'/>")
            self.stream.wait(lambda e: e.tag == SM + "enabled")
        sent = 0
        while True:
            batch = [self.message() for _ in range(self.chance.randint(0, 4))]
            batch = batch if sent < MESSAGES_MAX else []
            sent += len(batch)
            batch.append(self.roster_set())
            self.unacked += batch
            ask = "<r xmlns='urn:xmpp:sm:3'/>" if managed else ""
            self.stream.send("".join(stanza["xml"] for stanza in batch) + ask)
            self.read(block=False)
            while sum("jid" in stanza for stanza in self.unacked) >= WINDOW:
                self.read(block=True)

    def message(self):
        receiver = self.chance.choice(self.receivers)
        text = f"{self.name} {next(self.numbers)}"
        xml = message(f"{receiver}@{DOMAIN}", text.replace(" ", "-"), text)
        return {"xml": xml, "to": receiver, "text": text}

    def roster_set(self):
        jid = f"contact-{self.chance.randrange(CONTACTS)}@{DOMAIN}"
        number = f"set-{next(self.numbers)}"
        self.ledger.item_asked(self.name, jid, number)
        return {"xml": roster_set(number, jid, number), "jid": jid, "id": number}

    def read(self, block):
        self.stream.receive(block)
        while self.stream.inbox:
            element = self.stream.inbox.pop(0)
            if element.tag == SM + "a":
                self.acknowledge(int(element.get("h")) - self.counted)
                continue
            if element.tag == SM + "r":
                self.stream.send(f"<a xmlns='urn:xmpp:sm:3' h='{self.received}'/>")
                continue
            self.received += element.tag.startswith(CLIENT)
            if element.get("type") == "error":
                raise Refused(f"{element.tag} {element.get('id')}")
            elif element.tag == CLIENT + "iq" and element.get("type") == "result":
                ids = [stanza.get("id") for stanza in self.unacked]
                if element.get("id") in ids:
                    self.acknowledge(ids.index(element.get("id")) + 1)

    def acknowledge(self, count):
        """The first `count` of what is unacknowledged is on the disk, says the server."""
        if count <= 0:
            return
        if count > len(self.unacked):
            raise Refused(f"acknowledged {count} of {len(self.unacked)}")
        for stanza in self.unacked[:count]:
            if "jid" in stanza:
                self.ledger.item_kept(self.name, stanza["jid"], stanza["id"])
            else:
                self.ledger.message_kept(stanza["to"], stanza["text"])
        del self.unacked[:count]
        self.counted += count
        self.working.set()


class Registrar(Worker):
    """Makes accounts, each on a stream of its own."""

    numbers = itertools.count(1)

    def work(self):
        for _ in range(ACCOUNTS_MAX):
            name = f"new-{next(self.numbers)}"
            stream = Stream(self.port)
            stream.register(name, PASSWORD)
            self.ledger.account_kept(name)
            self.working.set()
            stream.close()
