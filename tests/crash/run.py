"""Kills the server under load, again and again: what it acknowledged must be there afterwards.

An account is acknowledged by the result of its registration, a roster item by the result of its
set. A message to somebody who is away has no answer of its own, but a result follows the commit of
its set, and commits keep their order: so a message is acknowledged by the result of a set that was
sent behind it on the same stream, or by the `h` of XEP-0198 that counts it.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from ledger import Ledger  # noqa: E402
from load import PASSWORD, Registrar, Sender  # noqa: E402
from server import DOMAIN, SERVERS  # noqa: E402
from stanzas import CLIENT, ROSTER  # noqa: E402
from stream import Gone, Refused, Stream, message  # noqa: E402

SENDERS = [f"sender-{n}" for n in range(4)]
RECEIVERS = [f"receiver-{n}" for n in range(6)]
ROUNDS_MIN = 5


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="verona")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="begin no round after that time")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="verona-crash-"))
    server = SERVERS[options.server](folder / "server", plain=True)
    ledger, passed, failed = Ledger(), 0, 0
    end = time.monotonic() + options.seconds
    try:
        server.start()
        for name in SENDERS + RECEIVERS:
            Stream(server.port).register(name, PASSWORD)
        while passed < options.rounds and time.monotonic() < end:
            load(server, ledger, chance)
            server.start()
            faults = check(server, ledger)
            if faults:
                failed += 1
                print(f"FAILED round {passed + failed}:", *faults[:20], sep="\n  ", flush=True)
                break
            passed += 1
        if passed < min(ROUNDS_MIN, options.rounds) and not failed:
            failed += 1
            print(f"FAILED: only {passed} rounds in {options.seconds:.0f} s")
    except (Gone, Refused, RuntimeError, OSError) as error:
        failed += 1
        print(f"FAILED in round {passed + failed}: {type(error).__name__}: {error}")
    finally:
        server.kill()
    print(ledger.summary())
    if failed:
        print(f"--- {server.name} said\n{server.tail()}\nlogs and data are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def load(server, ledger, chance):
    """Senders and a registrar at work, and in the middle of it the end."""
    workers = [Sender(server.port, ledger, name, RECEIVERS, random.Random(chance.random()))
               for name in SENDERS]
    workers.append(Registrar(server.port, ledger))
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for worker in workers:
        worker.working.wait(10)
    time.sleep(chance.uniform(0.05, 1.0))
    server.kill()
    for thread in threads:
        thread.join()
    for worker in workers:
        if worker.fault:
            raise RuntimeError(worker.fault)


def check(server, ledger):
    """What of all that was acknowledged is missing now."""
    faults = []
    for name in sorted(ledger.take_new_accounts()):
        try:
            login(server, name).close()
        except Refused as refusal:
            faults.append(f"account {name} is lost: {refusal}")
    for name in SENDERS:
        stream = login(server, name)
        answer = stream.iq("get", f"<query xmlns='{ROSTER[1:-1]}'/>")
        roster = {item.get("jid"): item.get("name") for item in answer.iter(ROSTER + "item")}
        faults += ledger.compare_roster(name, roster)
        stream.close()
    for name in RECEIVERS:
        faults += ledger.compare_messages(name, drain(server, name, ledger.awaited(name)))
    return faults


def login(server, name):
    stream = Stream(server.port)
    stream.login(name, PASSWORD, "rig")
    return stream


def drain(server, name, awaited):
    """All messages that wait for an account: up to one it sends itself, or all it must get."""
    stream = login(server, name)
    stream.send("<presence/>" + message(f"{name}@{DOMAIN}/rig", "last", "last"))
    stream.socket.settimeout(5)
    texts, last = [], False
    try:
        while not last or awaited - set(texts):
            element = stream.wait(lambda e: e.tag == CLIENT + "message")
            text = element.findtext(CLIENT + "body")
            last |= text == "last"
            if text and text != "last":
                texts.append(text)
    except Gone:
        # What has not come in all that time is lost.
        pass
    stream.close()
    return texts


if __name__ == "__main__":
    sys.exit(main())
