"""Two people at two servers who talk without end, and what of that has arrived."""

import threading
import time

from managed import Managed
from stanzas import CLIENT
from stream import Gone, Refused, message

# So many lines may be on their way before their sender waits.
WINDOW = 40
PAUSE = 0.02
BACK_WITHIN = 30


class Line:
    """One direction of a conversation. What is said are numbers, so that the order shows."""

    def __init__(self, name):
        self.name = name
        self.sent = self.last = self.repeats = 0
        self.acknowledged, self.heard, self.unknown = set(), set(), set()
        # Whether the receiver may hear something again: after a kill, what was under way.
        self.may_repeat = False
        self.faults = []

    def under_way(self):
        return self.sent - len(self.heard) - len(self.unknown - self.heard)

    def hear(self, number):
        if number in self.heard:
            self.repeats += 1
            if not self.may_repeat:
                self.faults.append(f"{self.name}: {number} came twice")
            return
        if number < self.last:
            self.faults.append(f"{self.name}: {number} came behind {self.last}")
        self.last = max(self.last, number)
        self.heard.add(number)

    def owed(self):
        """What has to arrive: all that was acknowledged, and all whose sender has its session yet."""
        return set(range(1, self.sent + 1)) - self.heard - (self.unknown - self.acknowledged)


class Talker:
    """Somebody with XEP-0198, whose session lives as long as the server."""

    def __init__(self, server, name, says, hears, chance):
        self.server, self.says, self.hears, self.chance = server, says, hears, chance
        self.session = Managed(server.c2s, name, self.acknowledged, chance)
        self.session.domain = server.domain
        self.to = None
        self.quiet, self.ended = threading.Event(), threading.Event()
        self.fault = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    @property
    def jid(self):
        return f"{self.session.name}@{self.server.domain}"

    def acknowledged(self, stanza):
        if "number" in stanza:
            self.says.acknowledged.add(stanza["number"])

    def enter(self):
        self.session.enter()
        self.session.send([{"xml": "<presence/>"}])

    def run(self):
        try:
            while not self.ended.is_set():
                try:
                    self.talk()
                except Gone:
                    self.come_back()
        except Exception as error:
            self.fault = f"{self.jid}: {type(error).__name__}: {error}"
            raise

    def talk(self):
        if not self.quiet.is_set() and self.says.under_way() < WINDOW:
            self.session.send([self.line() for _ in range(self.chance.randint(1, 3))])
        else:
            self.session.send([])
        for element in self.session.read(block=False, patience=PAUSE):
            self.note(element)
        # Whether clients answer is looked at elsewhere; who does not would be cut off here.
        self.session.answer()
        time.sleep(self.chance.uniform(0, PAUSE))

    def line(self):
        self.says.sent += 1
        number = self.says.sent
        text = f"{number} " + "&" * self.chance.choice([1, 1, 1, 40, 900])
        return {"xml": message(self.to, f"{self.session.name}-{number}", text), "number": number}

    def note(self, element):
        if element.tag != CLIENT + "message":
            return
        text = element.findtext(CLIENT + "body")
        if element.get("type") == "error":
            told = [child.tag for child in element.find(CLIENT + "error")]
            raise Refused(f"{element.get('id')} came back: {told}")
        if text is not None:
            self.hears.hear(int(text.split()[0]))

    def come_back(self):
        """The server is gone and comes again: a session that was killed is no more, and of what it had
        not acknowledged nobody knows."""
        end = time.monotonic() + BACK_WITHIN
        while True:
            try:
                if self.session.resume():
                    return
                self.enter_anew()
                return
            except Gone:
                if self.ended.is_set() or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def enter_anew(self):
        self.says.unknown |= {stanza["number"] for stanza in self.session.unacked
                              if "number" in stanza}
        self.session.unacked = []
        self.enter()
