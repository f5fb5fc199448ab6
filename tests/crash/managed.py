"""A session with XEP-0198 that outlives its connections, as the clients of phones have it."""

from server import DOMAIN
from stanzas import CLIENT
from stream import SM, Gone, Refused, Stream

PASSWORD = "p4rt1ng"
RESOURCE = "rig"
SHUTDOWN = "{urn:ietf:params:xml:ns:xmpp-streams}system-shutdown"


class Managed:
    """A session of an account; `acknowledged` is called with each stanza that the server answers
    for, in the order in which they were sent."""

    def __init__(self, port, name, acknowledged, chance):
        self.port, self.name, self.acknowledged, self.chance = port, name, acknowledged, chance
        # From which address it comes, and for how many seconds it may be away.
        self.source, self.max = "", 600
        # Where the account is.
        self.domain = DOMAIN
        self.id = None
        self.stream = None

    def enter(self):
        """Logs in anew: what was not acknowledged by then stays so."""
        self.stream = Stream(self.port, source=self.source, domain=self.domain)
        self.stream.login(self.name, PASSWORD, RESOURCE)
        self.stream.send(f"<enable xmlns='urn:xmpp:sm:3' resume='true' max='{self.max}'/>")
        enabled = self.stream.wait(lambda e: e.tag in (SM + "enabled", SM + "failed"))
        if enabled.tag != SM + "enabled" or enabled.get("resume") not in ("true", "1"):
            raise Refused(f"{self.name} gets no session that can be resumed")
        self.id = enabled.get("id")
        self.received = self.counted = 0
        self.unacked = []

    def resume(self):
        """Goes on with the session on a new connection, and sends again what the server has not
        handled (§5). False when the server knows the session no longer."""
        self.stream = Stream(self.port, source=self.source, domain=self.domain)
        self.stream.authenticate(self.name, PASSWORD)
        self.stream.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{self.id}' h='{self.received}'/>")
        answer = self.stream.wait(lambda e: e.tag in (SM + "resumed", SM + "failed"))
        if answer.get("h") is not None:
            self.count(int(answer.get("h")))
        if answer.tag == SM + "failed":
            self.id = None
            self.stream.close()
            return False
        self.stream.send("".join(stanza["xml"] for stanza in self.unacked))
        return True

    def send(self, stanzas, ask=True):
        self.unacked += stanzas
        ask = "<r xmlns='urn:xmpp:sm:3'/>" if ask else ""
        self.stream.send("".join(stanza["xml"] for stanza in stanzas) + ask)

    def read(self, block, patience=0):
        """The stanzas that have come; requests are answered, mostly, as slow clients do."""
        self.stream.receive(block, patience)
        stanzas = []
        while self.stream.inbox:
            element = self.stream.inbox.pop(0)
            if element.tag == SM + "a":
                self.count(int(element.get("h")))
            elif element.tag == SM + "r":
                if self.chance.random() < 0.7:
                    self.answer()
            elif element.tag.startswith(CLIENT):
                self.received += 1
                stanzas.append(element)
            elif element.find(SHUTDOWN) is not None:
                raise Gone("the server goes away")
            else:
                told = [child.tag for child in element.children]
                raise Refused(f"{self.name}: {element.tag} {told}")
        return stanzas

    def answer(self):
        self.stream.send(f"<a xmlns='urn:xmpp:sm:3' h='{self.received}'/>")

    def count(self, h):
        """The first of what is unacknowledged is on the disk, says the server."""
        count = h - self.counted
        if not 0 <= count <= len(self.unacked):
            raise Refused(f"{self.name}: h={h} behind {self.counted}, {len(self.unacked)} under way")
        for stanza in self.unacked[:count]:
            self.acknowledged(stanza)
        del self.unacked[:count]
        self.counted = h

    def cut(self):
        """Loses the connection, in one of the ways in which that happens."""
        self.stream.cut(reset=self.chance.random() < 0.5)
