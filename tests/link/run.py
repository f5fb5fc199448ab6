"""Two servers with XEP-0198 between them on a bad line, and one of them killed again and again.

People at both talk with each other all the time. Whatever becomes of the line, every message arrives,
once and in order; whatever becomes of a server, what it has acknowledged to its sender arrives, in
order, and at most with repeats under the same id.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / place) for place in ("clients", "crash", "peers")]

from authority import Authority  # noqa: E402
from cable import Cable  # noqa: E402
from managed import PASSWORD  # noqa: E402
from names import Names  # noqa: E402
from servers import Verona  # noqa: E402
from stream import Gone, Refused  # noqa: E402
from talkers import Line, Talker  # noqa: E402

PAIRS = 3
# A peer that does not answer for so long is gone; a look at it comes as often.
UNANSWERED = 2
SETTINGS = {
    "limits": f"unlimited = true\nunanswered_secs = {UNANSWERED}\nbind_secs = 5",
    "s2s": "retry_secs_max = 1",
    # Of the people: what is between the servers is looked at.
    "security": "require_tls = false",
}
# How long it may take until something moves again, and until all has arrived.
PATIENCE = 40
# A line that carries nothing and does not say so costs its time.
SILENCES = 6


class Failure(Exception):
    """Something was lost, doubled or out of order, or does not go on."""


class House:
    """Two servers, the cables in front of them, and people."""

    def __init__(self, folder, chance, kind):
        self.folder, self.chance = folder, chance
        self.names, self.authority = Names(), Authority(folder / "ca")
        self.servers = [
            Verona(folder / domain, domain, self, kind=kind, strict=kind == "valid",
                   settings=SETTINGS)
            for domain in ("capulet.lit", "montague.lit")]
        self.cables = [Cable(server.s2s, chance) for server in self.servers]
        for server, cable in zip(self.servers, self.cables):
            self.names.server(server.domain, "127.0.0.1", cable.port)
        self.talkers, self.lines = [], []

    def open(self, at_once):
        """Everybody begins to talk; unless `at_once`, those at the first server begin, so that the one
        stream which that opens carries both directions (XEP-0288)."""
        for number in range(PAIRS):
            lines = [Line(f"juliet{number} to romeo{number}"), Line(f"romeo{number} to juliet{number}")]
            pair = []
            for place, name in enumerate((f"juliet{number}", f"romeo{number}")):
                self.servers[place].add_account(name, PASSWORD)
                pair.append(Talker(self.servers[place], name, lines[place], lines[1 - place],
                                   random.Random(self.chance.random())))
            pair[0].to, pair[1].to = pair[1].jid, pair[0].jid
            self.talkers += pair
            self.lines += lines
        for server in self.servers:
            server.start()
        seconds = self.talkers[1::2]
        for talker in self.talkers:
            talker.enter()
            if talker in seconds and not at_once:
                talker.quiet.set()
            talker.thread.start()
        self.until(lambda: all(len(line.heard) for line in self.lines[::2]), "the first messages")
        for talker in seconds:
            talker.quiet.clear()

    def heard(self):
        return [len(line.heard) for line in self.lines]

    def check(self):
        faults = [talker.fault for talker in self.talkers if talker.fault]
        faults += [fault for line in self.lines for fault in line.faults]
        if faults:
            raise Failure("; ".join(faults[:10]))

    def until(self, holds, what):
        end = time.monotonic() + PATIENCE
        while not holds():
            self.check()
            if time.monotonic() > end:
                raise Failure(f"not within {PATIENCE} s: {what}; heard {self.heard()}, "
                              f"owed {[sorted(line.owed())[:5] for line in self.lines]}")
            time.sleep(0.005)

    def flows(self):
        """Waits until something has arrived in each direction."""
        before = self.heard()
        self.until(lambda: all(now > then for now, then in zip(self.heard(), before)),
                   "messages in each direction")

    def settle(self):
        """Nobody says more; all that is owed arrives, and nothing beyond it."""
        for talker in self.talkers:
            talker.quiet.set()
        self.until(lambda: not any(talker.session.unacked for talker in self.talkers),
                   "the acknowledgements of the own servers")
        self.until(lambda: not any(line.owed() for line in self.lines), "what is owed")
        time.sleep(1)
        self.check()

    def must_have_been_safe(self):
        for cable in self.cables:
            if b"<message" in cable.seen:
                raise Failure("a message went over the line in the clear")

    def text(self):
        return "\n".join(f"--- {server.domain}\n{server.tail(40)}" for server in self.servers)

    def close(self):
        for talker in self.talkers:
            talker.ended.set()
        for server in self.servers:
            server.kill()
        for cable in self.cables:
            cable.close()
        self.names.close()


def cuts_of_two(house, count):
    """Each direction has a stream of its own."""
    house.open(at_once=True)
    return cuts(house, count)


def cuts_of_one(house, count):
    """One stream carries both directions."""
    house.open(at_once=False)
    told = cuts(house, count)
    calls = house.servers[1].text().count(" stream established ")
    return f"{told}; {calls} streams were opened by the server that was called"


def cuts(house, count):
    """The line is cut in the middle of what it carries: at any byte, with a reset or in order, or it
    carries nothing any more, in one direction or in both."""
    full = 0
    ways = ["reset"] * 5 + ["close"] * 5
    plan = [house.chance.choice(ways) for _ in range(count)]
    for number in range(SILENCES * count // 100):
        plan[house.chance.randrange(count)] = ("silent", "deaf")[number % 2]
    for how in plan:
        house.flows()
        time.sleep(house.chance.uniform(0, 0.05))
        full += sum([cable.cut(how) for cable in house.cables]) > 0
        if house.chance.random() < 0.2:
            # And again while the next stream is negotiated.
            time.sleep(house.chance.uniform(0, 0.3))
            for cable in house.cables:
                cable.cut("reset")
    house.flows()
    house.settle()
    if full < count / 2:
        raise Failure(f"only {full} of {count} cuts had something on the line")
    resumed = sum(server.text().count('"resumed"') for server in house.servers)
    if resumed < count / 2:
        raise Failure(f"only {resumed} of {count} streams were resumed")
    return f"{count} cuts, {full} of them with bytes on the line; {resumed} streams resumed"


def kills(house, count):
    """One of the servers is killed while people talk, and comes back."""
    house.open(at_once=True)
    for line in house.lines:
        line.may_repeat = True
    for number in range(count):
        house.flows()
        time.sleep(house.chance.uniform(0, 0.4))
        server = house.servers[number % 2]
        server.kill()
        time.sleep(house.chance.choice([0, 0, 0.5]))
        server.start()
    house.flows()
    house.settle()
    repeats = sum(line.repeats for line in house.lines)
    unknown = sum(len(line.unknown) for line in house.lines)
    return f"{count} kills; {repeats} messages came again, {unknown} were never acknowledged"


def play(part, folder, chance, count, kind):
    house = House(folder, chance, kind)
    try:
        began = time.monotonic()
        told = part(house, count)
        house.must_have_been_safe()
        acknowledged = sum(len(line.acknowledged) for line in house.lines)
        print(f"ok {part.__name__} ({time.monotonic() - began:.0f} s)")
        print(f"note: {told}; {acknowledged} messages acknowledged, 0 lost", flush=True)
    except (Failure, Gone, Refused, RuntimeError, OSError) as error:
        traceback.print_exc()
        print(f"FAILED {part.__name__}: {error}\n{house.text()}", flush=True)
        return False
    finally:
        house.close()
    return True


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=100, help="of each kind")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--long", action="store_true", help="2,000 cuts of each kind, 200 kills")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    if options.long:
        options.cuts, options.kills = 2_000, 200
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="verona-link-"))
    parts = [(cuts_of_two, options.cuts, "valid"), (cuts_of_one, options.cuts, "valid"),
             (kills, options.kills, "own")]
    passed = [play(part, folder / part.__name__, chance, count, kind)
              for part, count, kind in parts if count]
    if all(passed):
        shutil.rmtree(folder)
    else:
        print(f"logs and data are in {folder}")
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed", flush=True)
    # Threads that hang must not keep a failure from being told.
    os._exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()
