"""Those who keep the server busy until it is gone."""

import itertools
import threading
import time

from managed import PASSWORD, Managed
from server import DOMAIN
from stanzas import CLIENT
from stream import Gone, Refused, Stream, message, roster_set

CONTACTS = 25
WINDOW = 8
# A round stays far below what the server keeps for one who is away.
MESSAGES_MAX = 300
ACCOUNTS_MAX = 12


class Worker:
    """A thread of the load. `working` is set when there is something to lose."""

    def __init__(self):
        self.working = threading.Event()
        self.fault = None

    def run(self):
        try:
            self.work()
        except Gone:
            pass
        except Refused as refusal:
            self.fault = f"{type(self).__name__} was refused: {refusal}"
        except Exception as error:
            self.fault = f"{type(self).__name__} failed: {type(error).__name__}: {error}"
            raise
        finally:
            self.working.set()


class Sender(Worker):
    """Sends messages, and a roster set behind every few of them; loses its connection now and then
    and resumes its session."""

    # Over all rounds, so that no text is used twice.
    numbers = itertools.count(1)

    def __init__(self, port, ledger, name, receivers, chance):
        super().__init__()
        self.ledger, self.name, self.receivers, self.chance = ledger, name, receivers, chance
        self.session = Managed(port, name, self.acknowledged, chance)

    def come_back(self, must_resume):
        """After a restart: a session that was written down has to be there, one that was killed
        cannot be."""
        if self.session.id is None:
            return
        resumed = self.session.resume()
        if must_resume and not resumed:
            raise Refused(f"the session of {self.name} is gone behind a clean end")
        # What it sends again is done before anybody compares.
        while resumed and self.session.unacked:
            self.session.send([])
            self.read(block=True)

    def work(self):
        if self.session.id is None:
            self.session.enter()
        sent = 0
        while True:
            batch = [self.message() for _ in range(self.chance.randint(0, 4))]
            batch = batch if sent < MESSAGES_MAX else []
            sent += len(batch)
            batch.append(self.roster_set())
            self.session.send(batch)
            self.read(block=False)
            while sum("jid" in stanza for stanza in self.session.unacked) >= WINDOW:
                self.read(block=True)
            if self.chance.random() < 0.03:
                self.session.cut()
                if not self.session.resume():
                    raise Refused(f"the session of {self.name} is gone while the server runs")
            if sent >= MESSAGES_MAX:
                time.sleep(0.01)

    def message(self):
        receiver = self.chance.choice(self.receivers)
        text = f"{self.name} {next(self.numbers)}"
        xml = message(f"{receiver}@{DOMAIN}", text.replace(" ", "-"), text)
        self.ledger.message_sent()
        return {"xml": xml, "to": receiver, "text": text}

    def roster_set(self):
        jid = f"contact-{self.chance.randrange(CONTACTS)}@{DOMAIN}"
        number = f"set-{next(self.numbers)}"
        self.ledger.item_asked(self.name, jid, number)
        return {"xml": roster_set(number, jid, number), "jid": jid, "id": number}

    def read(self, block):
        for element in self.session.read(block):
            if element.get("type") == "error":
                told = [child.tag for child in element.find(CLIENT + "error")]
                raise Refused(f"{element.get('id')} of {self.name}: {told}")
            if element.tag == CLIENT + "iq" and element.get("type") == "result":
                # A result follows its commit, whether or not `h` has got so far.
                for stanza in self.session.unacked:
                    if stanza.get("id") == element.get("id"):
                        self.ledger.item_kept(self.name, stanza["jid"], stanza["id"])

    def acknowledged(self, stanza):
        if "jid" in stanza:
            self.ledger.item_kept(self.name, stanza["jid"], stanza["id"])
        else:
            self.ledger.message_kept(self.name, stanza["to"], stanza["text"])
        self.working.set()


class Registrar(Worker):
    """Makes accounts, each on a stream of its own."""

    numbers = itertools.count(1)

    def __init__(self, port, ledger):
        super().__init__()
        self.port, self.ledger = port, ledger
        # A server that ends may say so before it closes the connection.
        self.may_be_refused = False

    def work(self):
        for _ in range(ACCOUNTS_MAX):
            name = f"new-{next(self.numbers)}"
            stream = Stream(self.port)
            try:
                stream.register(name, PASSWORD)
            except Refused:
                if self.may_be_refused:
                    return
                raise
            self.ledger.account_kept(name)
            self.working.set()
            stream.close()
