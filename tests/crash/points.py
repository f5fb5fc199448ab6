"""One history, and a fault at each of its writes and syncs in turn: the process is killed there, or
the disk refuses.

What was acknowledged is there behind it, once and in order, in both archives; what was refused was
refused with `resource-constraint`; the server is well again by itself when the disk is; nothing is
half. The faults are injected by strace into the running binary, with the disk it really writes to.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from archive import Archive  # noqa: E402
from calls import Traced, read_trace  # noqa: E402
from ledger import Ledger  # noqa: E402
from managed import PASSWORD, Managed  # noqa: E402
from receivers import stanza_id  # noqa: E402
from server import DOMAIN, Verona  # noqa: E402
from stanzas import CLIENT, ROSTER  # noqa: E402
from stream import Gone, Refused, Stream, message, roster_set  # noqa: E402

STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
ACCOUNTS = ["romeo", "juliet", "nurse"]
# What strace does at the chosen call, and whether the process outlives it.
FAULTS = {"kill": "signal=KILL", "full": "error=ENOSPC", "broken": "error=EIO"}
PATIENCE = 10
CALLS = "pwrite64,fsync,fdatasync,ftruncate"


class Point:
    """The history with one fault in it, in a folder of its own."""

    def __init__(self, folder, template, fault=None):
        self.folder, self.fault = folder, fault
        self.ledger = Ledger()
        self.archives = {name: Archive(f"{name}@{DOMAIN}") for name in ACCOUNTS}
        self.refused, self.faults, self.number = [], [], 0
        self.server = Traced(folder, calls=CALLS, plain=True)
        shutil.copytree(template.folder / "data", folder / "data", dirs_exist_ok=True)
        self.romeo = Managed(self.server.port, "romeo", self.acknowledged, random.Random(1))
        self.juliet = Managed(self.server.port, "juliet", lambda stanza: None, random.Random(2))

    def play(self):
        """Plays the history as far as it goes, and looks at what is left of it."""
        try:
            try:
                for part, history in enumerate((self.first, self.second)):
                    self.start(part)
                    history()
                    self.server.stop()
            except (Gone, RuntimeError) as error:
                # Only a fault may end a history early.
                if self.fault is None or (self.fault[1] != "kill" and not self.has_refused(error)):
                    raise
            self.server.kill()
            self.look()
        except (Gone, Refused, RuntimeError, OSError) as error:
            self.faults.append(f"{type(error).__name__}: {error}")
        finally:
            self.server.kill()
        return self.faults + self.ledger.take_faults()

    def start(self, part):
        """The server with the fault, if it is one of this part of the history."""
        self.server.inject = []
        self.server.trace = self.folder / f"trace-{part}"
        if self.fault and self.fault[0] == part:
            _, kind, call, number = self.fault
            self.server.inject = [f"{call}:{FAULTS[kind]}:when={number}"]
        self.server.start()

    def has_refused(self, error):
        """A server that cannot begin because of its disk may say so and end; and it may end late,
        without what it could not write down."""
        return isinstance(error, RuntimeError) and "ended at once" in str(error)

    def first(self):
        """Messages to who is there and who is away, contacts, a link that is lost, a retraction."""
        self.romeo.enter()
        self.juliet.enter()
        self.juliet.send([{"xml": "<presence/>"}])
        self.settle(self.juliet)
        for _ in range(3):
            self.say("juliet")
            self.say("nurse")
            self.add_contact()
            self.settle(self.romeo)
        self.settle(self.juliet)
        self.juliet.answer()
        self.juliet.cut()
        retracted = self.say("juliet")
        self.say("juliet")
        self.settle(self.romeo)
        if not self.juliet.resume():
            raise Refused("no session to resume")
        self.settle(self.juliet)
        self.retract(retracted)
        self.settle(self.romeo)
        self.take_what_waits("nurse")
        self.say("nurse")
        self.must_be_well()

    def second(self):
        """Behind a clean restart: sessions go on, and what waited waits."""
        for session in (self.romeo, self.juliet):
            resumed = session.resume()
            # What the disk refused to write down is gone, and its client begins anew.
            if not resumed and (self.fault is None or self.fault[1] == "kill"):
                raise Refused(f"{session.name} has no session behind the restart")
            if not resumed:
                session.enter()
        self.juliet.send([{"xml": "<presence/>"}])
        self.settle(self.juliet)
        for _ in range(2):
            self.say("juliet")
            self.say("nurse")
            self.add_contact()
            self.settle(self.romeo)
        self.settle(self.juliet)
        self.must_be_well()

    def say(self, receiver):
        self.number += 1
        text = f"romeo {self.number}"
        xml = message(f"{receiver}@{DOMAIN}", f"id-{self.number}", text)
        self.romeo.send([{"xml": xml, "to": receiver, "text": text, "id": f"id-{self.number}"}])
        return text

    def add_contact(self):
        self.number += 1
        name, jid = f"set-{self.number}", f"contact-{self.number % 2}@{DOMAIN}"
        self.ledger.item_asked("romeo", jid, name)
        self.romeo.send([{"xml": roster_set(name, jid, name), "jid": jid, "id": name}])

    def retract(self, text):
        xml = (f"<message to='juliet@{DOMAIN}' type='chat' id='retraction'>"
               f"<retract xmlns='urn:xmpp:message-retract:1' id='id-{text.split()[1]}'/></message>")
        self.romeo.send([{"xml": xml, "id": "retraction"}])
        self.retracted = text

    def acknowledged(self, stanza):
        # A refusal is an answer too; it comes before the count that covers it, or right behind.
        if "text" in stanza and stanza["id"] not in self.refused:
            self.ledger.message_kept("romeo", stanza["to"], stanza["text"])

    def settle(self, session):
        """Until all that a session has sent is acknowledged and all that was sent to it is here."""
        session.send([{"xml": f"<iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>"}])
        end = time.monotonic() + PATIENCE
        answered = False
        while not answered or session.unacked:
            if time.monotonic() > end:
                raise Refused(f"{session.name} waits for {len(session.unacked)} acknowledgements")
            for element in session.read(block=True):
                answered |= element.get("id") == "last"
                self.heard(session.name, element)

    def heard(self, name, element):
        if element.get("type") == "error":
            self.refusal(element)
        elif element.tag == CLIENT + "message" and element.findtext(CLIENT + "body"):
            text = element.findtext(CLIENT + "body")
            self.ledger.came(name, text, stanza_id(element, name))
        elif element.get("type") == "result" and element.get("id", "").startswith("set-"):
            number = element.get("id")
            jid = f"contact-{int(number.split('-')[1]) % 2}@{DOMAIN}"
            self.ledger.item_kept(name, jid, number)

    def refusal(self, element):
        """SECURITY §3, G3: what the disk refused is told to who sent it."""
        error = element.find(CLIENT + "error")
        if error.find(STANZAS + "resource-constraint") is None or error.get("type") != "wait":
            told = [child.tag for child in error]
            self.faults.append(f"{element.get('id')} was refused by {error.get('type')} {told}")
        if self.fault is None or self.fault[1] == "kill":
            self.faults.append(f"{element.get('id')} was refused, and the disk was not at fault")
        self.refused.append(element.get("id"))
        for stanzas in (self.ledger.waiting, self.ledger.missing):
            for texts in stanzas.values():
                texts.discard(element.get("id").replace("id-", "romeo "))

    def must_be_well(self):
        """The one fault is over: what is sent now is kept."""
        end = time.monotonic() + 5
        while True:
            before = len(self.refused)
            self.say("nurse")
            self.settle(self.romeo)
            if len(self.refused) == before:
                return
            if time.monotonic() > end:
                raise Refused("the disk is well again, the server is not")

    def take_what_waits(self, name):
        stream = Stream(self.server.port)
        stream.login(name, PASSWORD, "rig")
        stream.send("<presence/><iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>")
        while True:
            element = stream.wait(lambda e: e.tag.startswith(CLIENT))
            if element.get("id") == "last":
                return stream.close()
            self.heard(name, element)

    def look(self):
        """What is there behind the fault, in a server that has none."""
        self.server.command = lambda: Verona.command(self.server)
        self.server.start()
        for name in ("juliet", "nurse"):
            self.take_what_waits(name)
            self.ledger.compare_messages(name)
        retracted = getattr(self, "retracted", None)
        for name in ACCOUNTS:
            stream = Stream(self.server.port)
            stream.login(name, PASSWORD, "audit")
            found = self.archives[name].catch_up(stream)
            stands = retracted in [text for text, _ in found]
            if self.fault is None and stands:
                self.faults.append(f"{name} has in the archive what was retracted")
            self.ledger.missing.get(name, set()).discard(retracted)
            self.ledger.compare_archive(name, found)
            answer = stream.iq("get", f"<query xmlns='{ROSTER[1:-1]}'/>")
            roster = {item.get("jid"): item.get("name") for item in answer.iter(ROSTER + "item")}
            self.ledger.compare_roster(name, roster)
            stream.close()
        self.server.stop()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24, help="of all points, chosen by the seed")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", help="one point: PART,FAULT,CALL,NUMBER")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="verona-points-"))
    template = Verona(folder / "template", plain=True)
    template.start()
    for name in ACCOUNTS:
        Stream(template.port).register(name, PASSWORD)
    template.stop()

    base = Point(folder / "none", template)
    failed = [f"without a fault: {fault}" for fault in base.play()]
    points = all_points(base)
    total = len(points)
    if options.only:
        part, fault, call, number = options.only.split(",")
        points = [(int(part), fault, call, int(number))]
    elif not options.all:
        points = random.Random(options.seed).sample(points, min(options.count, total))
    refusals, tried = 0, 0
    if not failed:
        def play(point):
            place = Point(folder / "-".join(map(str, point)), template, point)
            faults = place.play()
            if not faults:
                shutil.rmtree(place.folder)
            return point, faults, len(place.refused)

        with ThreadPoolExecutor(3) as pool:
            for point, faults, refused in pool.map(play, points):
                tried += 1
                refusals += refused
                for fault in faults[:5]:
                    failed.append(f"{','.join(map(str, point))}: {fault}")
                    print(f"FAILED {failed[-1]}", flush=True)
    else:
        print(*failed, sep="\n")
    if failed:
        print(f"data is in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"note: {tried} of {total} points of failure, {refusals} stanzas were refused")
    print(f"{tried - len({text.split(':')[0] for text in failed})} passed, {len(failed)} failed")
    return 1 if failed or not tried else 0


def all_points(base):
    """Each call of the history that changes a file of the store or makes it durable, with each
    fault. strace counts the calls of each thread by itself."""
    points = []
    for part in range(2):
        counts = {}
        for call in read_trace(base.folder / f"trace-{part}"):
            if "/data/" in call.file:
                counts[call.name, call.thread] = counts.get((call.name, call.thread), 0) + 1
        for call in CALLS.split(","):
            most = max([n for (name, _), n in counts.items() if name == call], default=0)
            points += [(part, fault, call, number)
                       for number in range(1, most + 1) for fault in FAULTS]
    return points


if __name__ == "__main__":
    sys.exit(main())
