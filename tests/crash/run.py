"""Kills the server under load, again and again: what it acknowledged must be there afterwards.

An account is acknowledged by the result of its registration, a roster item by the result of its
set, a message by the `h` of XEP-0198 that counts it. Of those none may be lost, to whoever they went:
each kind of receiver comes back in its own way and takes what it has missed. After dropping repeats
by stanza id each message came once, those of each sender in order; and both archives have it, under
the id under which it came. Every fourth end or so is a clean one: then every session has to go on.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from archive import Archive  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import Registrar, Sender  # noqa: E402
from managed import PASSWORD  # noqa: E402
from receivers import KINDS  # noqa: E402
from server import DOMAIN, Verona  # noqa: E402
from stanzas import ROSTER  # noqa: E402
from stream import Gone, Refused, Stream  # noqa: E402

SENDERS = 4
ROUNDS_MIN = 5
# A thread that has not ended by then hangs.
THREAD_SECS = 60


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="begin no round after that time")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--long", action="store_true", help="1,000 kills, however long that takes")
    options = parser.parse_args()
    if options.long:
        options.rounds, options.seconds = 1_000, 24 * 60 * 60
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="verona-crash-"))
    rig = Rig(Verona(folder / "server", plain=True), random.Random(seed))
    try:
        failed = rig.play(options)
    finally:
        rig.server.kill()
    print(rig.ledger.summary())
    if failed:
        print(f"--- the server said\n{rig.server.tail()}\nlogs and data are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{rig.kills} kills and {rig.stops} clean ends survived")
    print(f"{rig.passed} passed, {failed} failed", flush=True)
    # Threads that hang must not keep a failure from being told.
    os._exit(1 if failed or not rig.passed else 0)


class Rig:
    """A server, those who load it, and the ledger of what it has promised them."""

    def __init__(self, server, chance):
        self.server, self.chance, self.ledger = server, chance, Ledger()
        port = server.port
        names = [f"{kind.__name__.lower()}-{n}" for kind in KINDS for n in range(2)]
        self.receivers = [kind(port, self.ledger, name, self.dice())
                          for kind, name in zip([kind for kind in KINDS for _ in range(2)], names)]
        self.senders = [Sender(port, self.ledger, f"sender-{n}", names, self.dice())
                        for n in range(SENDERS)]
        self.archives = {worker.name: Archive(f"{worker.name}@{DOMAIN}")
                         for worker in self.senders + self.receivers}
        self.passed = self.kills = self.stops = 0

    def dice(self):
        return random.Random(self.chance.random())

    def play(self, options):
        """Rounds until there were enough; tells how many failed."""
        end = time.monotonic() + options.seconds
        try:
            self.server.start()
            for name in self.archives:
                Stream(self.server.port).register(name, PASSWORD)
            while self.kills < options.rounds and time.monotonic() < end:
                faults = self.round()
                if faults:
                    print(f"FAILED round {self.passed + 1}:", *faults[:20], sep="\n  ")
                    return 1
                self.passed += 1
                if self.passed % 25 == 0:
                    print(f"{self.kills} kills, {self.stops} clean ends", flush=True)
        except (Gone, Refused, RuntimeError, OSError) as error:
            traceback.print_exc()
            print(f"FAILED in round {self.passed + 1}: {type(error).__name__}: {error}")
            return 1
        if self.passed < min(ROUNDS_MIN, options.rounds):
            print(f"FAILED: only {self.passed} rounds in {options.seconds:.0f} s")
            return 1
        return 0

    def round(self):
        """One end of the server under load, and what of all that it promised is missing then."""
        is_kill = self.chance.random() < 0.8
        self.load(is_kill)
        self.server.start()
        for worker in self.senders + self.receivers:
            worker.come_back(must_resume=not is_kill)
        in_threads([receiver.recover for receiver in self.receivers])
        for receiver in self.receivers:
            self.ledger.compare_messages(receiver.name)
        for name in sorted(self.ledger.take_new_accounts()):
            try:
                self.enter(name).close()
            except Refused as refusal:
                self.ledger.faults.append(f"account {name} is lost: {refusal}")
        in_threads([lambda name=name: self.audit(name) for name in self.archives])
        self.kills += is_kill
        self.stops += not is_kill
        return self.ledger.take_faults()

    def load(self, is_kill):
        """All at work, and in the middle of it the end."""
        registrar = Registrar(self.server.port, self.ledger)
        workers = self.senders + self.receivers + [registrar]
        threads = []
        for worker in workers:
            worker.working.clear()
            threads.append(threading.Thread(target=worker.run, daemon=True))
            threads[-1].start()
        for worker in workers:
            worker.working.wait(10)
        time.sleep(self.chance.uniform(0, 0.8))
        if is_kill:
            self.server.kill()
        else:
            registrar.may_be_refused = True
            self.server.stop()
        for worker, thread in zip(workers, threads):
            thread.join(THREAD_SECS)
            if thread.is_alive():
                raise RuntimeError(f"{type(worker).__name__} hangs")
            if worker.fault:
                raise RuntimeError(worker.fault)

    def audit(self, name):
        """Roster and archive of an account, seen by a resource that takes no messages."""
        stream = self.enter(name)
        answer = stream.iq("get", f"<query xmlns='{ROSTER[1:-1]}'/>")
        roster = {item.get("jid"): item.get("name") for item in answer.iter(ROSTER + "item")}
        found = self.archives[name].catch_up(stream)
        stream.close()
        with self.ledger.lock:
            self.ledger.compare_roster(name, roster)
            self.ledger.compare_archive(name, found)

    def enter(self, name):
        stream = Stream(self.server.port)
        stream.login(name, PASSWORD, "audit")
        return stream


def in_threads(works):
    """Does things at once; the first error of all is raised."""
    errors = []

    def do(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREAD_SECS)
        if thread.is_alive():
            raise RuntimeError("somebody hangs who only takes what waits")
    if errors:
        raise errors[0]


if __name__ == "__main__":
    sys.exit(main())
