"""No acknowledgement leaves before what it covers is on the disk, says the trace of system calls.

Senders with stream management send messages that are kept in one log or in two, and roster sets.
Then for every `<a h='N'/>` and every result of a set in the trace: each thing that it covers was
written to a file and a sync of that file, begun behind the write, had returned, before the call that
sent the acknowledgement began.
"""

import argparse
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from managed import PASSWORD, Managed  # noqa: E402
from server import DOMAIN  # noqa: E402
from stanzas import CLIENT  # noqa: E402
from stream import Stream, message, roster_set  # noqa: E402
from calls import SYNCS, WRITES, Traced, read_trace  # noqa: E402

SENDERS = 4
BATCHES = 40
PATIENCE = 60
NO_ARCHIVE = "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>"
CONNECTION = re.compile(r"TCP(?:v6)?:\[.*:(\d+)->.*:(\d+)\]")
ACK = re.compile(r"<a xmlns='urn:xmpp:sm:3' h='(\d+)'/>")
RESULT = re.compile(r"<iq [^>]*?>")
TOKEN = re.compile(r"token-\d+-\d+")


class Sender:
    """What one client sent: the tokens of its stanzas in order; None where nothing is kept."""

    def __init__(self, server, number, chance):
        self.number, self.chance, self.tokens = number, chance, []
        self.session = Managed(server.port, f"sender-{number}", lambda stanza: None, chance)
        self.session.enter()
        self.port = self.session.stream.socket.getsockname()[1]
        if number % 2:
            # Its messages are in the log of the receiver alone: one place to be waited for.
            self.send(None, f"<iq type='set' id='prefs'>{NO_ARCHIVE}</iq>")

    def send(self, token, xml):
        self.tokens.append(token)
        self.session.send([{"xml": xml}], ask=self.chance.random() < 0.3)

    def send_batch(self):
        for _ in range(self.chance.randint(1, 5)):
            token = f"token-{self.number}-{len(self.tokens)}"
            # Three times, so that one of them is in one piece wherever a page ends.
            said = " ".join([token] * 3)
            if self.chance.random() < 0.3:
                jid = f"contact-{self.chance.randrange(9)}@{DOMAIN}"
                self.send(token, roster_set(token, jid, said))
            else:
                kind = self.chance.choice(["away", "online", "asleep"])
                self.send(token, message(f"{kind}@{DOMAIN}", token, said))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="verona-order-"))
    # A disk that takes its time: who does not wait for it is early by far.
    server = Traced(folder / "server", ["fsync,fdatasync:delay_exit=2000"], plain=True)
    try:
        server.start()
        senders = work(server, random.Random(options.seed))
        server.stop()
    finally:
        server.kill()
    wait_for_end(server.trace)
    calls = read_trace(server.trace)
    acks, faults = check(calls, senders)
    # Were it otherwise, the check would see it: without the syncs each acknowledgement is early.
    blind = [call for call in calls if call.name not in SYNCS]
    seen = len(check(blind, senders)[1])
    covered = sum(len(sender.tokens) for sender in senders)
    if acks < 20 or seen < acks:
        faults.append(f"the check is blind: {acks} acknowledgements, {seen} found without syncs")
    if not any(call.name == "fdatasync" and call.file.endswith("-wal") for call in calls):
        faults.append("SQLite was built without fdatasync: see .cargo/config.toml")
    for fault in faults[:20]:
        print(f"FAILED: {fault}")
    if faults:
        print(f"trace and data are in {folder}")
    else:
        shutil.rmtree(folder)
        print(f"acknowledged: {acks} times, {covered} stanzas, each behind its sync")
    print(f"{int(not faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


def work(server, chance):
    """The conversation that is traced."""
    senders = [f"sender-{number}" for number in range(SENDERS)]
    for name in senders + ["away", "online", "asleep"]:
        Stream(server.port).register(name, PASSWORD)
    receivers = []
    for name in ("online", "asleep"):
        receivers.append(Managed(server.port, name, lambda stanza: None, chance))
        receivers[-1].enter()
        receivers[-1].send([{"xml": "<presence/>"}])
        receivers[-1].read(block=True)
    receivers[1].cut()
    senders = [Sender(server, number, chance) for number in range(SENDERS)]
    for _ in range(BATCHES):
        for sender in senders:
            sender.send_batch()
            sender.session.read(block=False)
        receivers[0].read(block=False)
    end = time.monotonic() + PATIENCE
    while any(sender.session.unacked for sender in senders):
        if time.monotonic() > end:
            raise RuntimeError("not all is acknowledged")
        for sender in senders:
            sender.session.send([])
            for element in sender.session.read(block=True):
                if element.get("type") == "error":
                    raise RuntimeError(f"{CLIENT} error for {element.get('id')}")
    return senders


def wait_for_end(trace):
    """Strace ends a moment behind the server."""
    size = -1
    for _ in range(100):
        if trace.stat().st_size == size:
            return
        size = trace.stat().st_size
        time.sleep(0.1)


def check(calls, senders):
    """How many acknowledgements were sent, and what is wrong with them."""
    senders = {sender.port: sender for sender in senders}
    durable = covered(calls)
    acks, faults = 0, []
    for call in calls:
        sender = connection(call, senders)
        if sender is None or call.name not in WRITES:
            continue
        promised = []
        for match in ACK.finditer(call.text):
            promised.append((match[0], sender.tokens[:int(match[1])]))
        for match in RESULT.finditer(call.text):
            if "type='result'" in match[0] and (token := TOKEN.search(match[0])):
                promised.append((match[0], [token[0]]))
        for what, tokens in promised:
            acks += any(tokens)
            early = [token for token in tokens
                     if token and durable.get(token, float("inf")) >= call.begun]
            if early:
                faults.append(f"line {call.begun + 1}: {what} to {sender.number}, before {early[:3]}")
    return acks, faults


def connection(call, senders):
    match = CONNECTION.match(call.file)
    return match and senders.get(int(match[2]))


def covered(calls):
    """For each token the line at which the sync returned that covers its first write."""
    written, durable = {}, {}
    # By the line at which they matter: a write when it has returned, a sync when it begins.
    for call in sorted(calls, key=lambda c: c.begun if c.name in SYNCS else c.returned):
        if CONNECTION.match(call.file) or call.result < 0:
            continue
        if call.name in WRITES:
            for token in TOKEN.findall(call.text):
                written.setdefault(token, call.file)
        elif call.name in SYNCS:
            done = [token for token, file in written.items() if file == call.file]
            for token in done:
                if token not in durable:
                    durable[token] = call.returned
    return durable


if __name__ == "__main__":
    sys.exit(main())
