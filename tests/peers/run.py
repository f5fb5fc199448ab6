"""Other servers as partners: `run.py [--only STEP] [--first SERVER] [--keep]`.

Each part starts its servers anew, with certificates of the kind that it is about.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import steps
from authority import Authority
from names import Names
from people import PASSWORD, Failure, Person, Registrar
from servers import Ejabberd, Prosody, Verona
from strangers import Mute, Silent, Stranger
from slixmpp.exceptions import IqError, IqTimeout

SERVERS = {"verona": Verona, "prosody": Prosody, "ejabberd": Ejabberd}

# Verona with little patience: what else takes minutes takes seconds.
HASTY = {
    "limits": "unlimited = true\nunanswered_secs = 2\nbind_secs = 8",
    "s2s": "queue_secs = 3\nretry_secs_max = 1",
}
# It may take so much longer on a machine that is busy.
SLACK = 12


class Rig:
    """Names, an authority and the servers that are up."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.names, self.authority = Names(), Authority(self.folder / "ca")
        self.up, self.count = [], 0

    async def start(self, server, domain=None, **options):
        self.count += 1
        domain = domain or f"{server.name}{self.count}.lit"
        server = server(self.folder / f"{self.count}-{server.name}", domain, self, **options)
        server.known = set()

        async def make(name):
            if isinstance(server, Ejabberd):
                await asyncio.wait_for(Registrar(server, name).made, 30)
            else:
                await asyncio.to_thread(server.add_account, name, PASSWORD)
            server.known.add(name)

        async def make_again(name):
            """An account that a killed ejabberd may or may not remember."""
            if isinstance(server, Ejabberd):
                try:
                    await make(name)
                except Failure:
                    pass

        server.make, server.make_again = make, make_again
        if isinstance(server, Prosody):
            # Read at the start.
            for name in ("romeo", "juliet"):
                await make(name)
        self.up.append(server)
        await asyncio.to_thread(server.start)
        return server

    def down(self):
        for server in self.up:
            server.kill()
        self.up.clear()


async def talk(first, second, room=True):
    """All that flows between two servers."""
    romeo, juliet = await steps.both_in(first, second)
    await steps.know_each_other(romeo, juliet)
    await steps.chat(romeo, juliet)
    await steps.ask(romeo, juliet, first, second)
    juliet = await steps.leave(romeo, juliet)
    if room:
        await steps.meet(romeo, juliet, second)
    return romeo, juliet


async def external(rig, first, second):
    """Certificates of an authority on both sides, none is taken without (SASL EXTERNAL)."""
    one = await rig.start(first, strict=True)
    other = await rig.start(second, strict=True)
    await talk(one, other)


async def dialback(rig, first, second):
    """Certificates that nobody has signed: dialback, in both directions."""
    one = await rig.start(first, kind="own")
    other = await rig.start(second, kind="own")
    await talk(one, other)


async def direct(rig, first, second):
    """Both are found by `_xmpps-server` alone: TLS from the first byte."""
    one = await rig.start(first, direct=True)
    other = await rig.start(second, direct=True)
    await talk(one, other, room=False)


async def kill(rig, first, second):
    """The partner is killed in mid-flow and returns."""
    one, other = await rig.start(first), await rig.start(second)
    romeo, juliet = await steps.both_in(one, other)
    await steps.survive_a_kill(romeo, juliet, other)


async def spoof(rig, first, second):
    """A stranger who claims to be the partner proves nothing, and nothing of his gets in."""
    one, other = await rig.start(first), await rig.start(second)
    romeo, _ = await steps.both_in(one, other)
    await asyncio.to_thread(steps.claim_to_be, one, other, romeo.boundjid.bare)
    await asyncio.sleep(1)
    if any(item[0] == "message" for item in romeo.heard):
        raise Failure("a stanza of a stranger was taken")


async def silent(rig, first, second):
    """A server that takes connections and says nothing: senders hear so, and nobody else waits."""
    mute = Silent()
    rig.names.server("silent.lit", "127.0.0.1", mute.port)
    await delay_nobody(rig, first, second, "silent.lit", "the server does not answer")
    mute.close()


async def mute(rig, first, second):
    """A server that negotiates and then never answers: senders hear so, and nobody else waits."""
    mute = Mute("mute.lit", rig.authority.issue(rig.folder / "mute", ["mute.lit"]))
    rig.names.server("mute.lit", "127.0.0.1", mute.port)
    await delay_nobody(rig, first, second, "mute.lit", "negotiates and then does not answer")
    if b"answer 1" not in mute.taken:
        raise Failure(f"it was not sent anything: {mute.taken}")
    mute.close()


async def delay_nobody(rig, first, second, domain, cause):
    one, other = await rig.start(first, settings=HASTY), await rig.start(second)
    romeo, juliet = await steps.both_in(one, other)
    await steps.chat(romeo, juliet)
    for number in range(200):
        romeo.say(f"nobody@{domain}", f"answer {number}")
    question = asyncio.create_task(steps.condition_of(romeo["xep_0199"].send_ping(domain, timeout=40)))
    slowest = await steps.slowest_ping(romeo, juliet, seconds=5)
    await steps.chat(romeo, juliet)
    if slowest > 2:
        raise Failure(f"somebody else was answered after {slowest:.1f} s")
    # RFC 6120 §8.3.3.17: type "wait".
    for number in range(200):
        await romeo.hears("refused", f"nobody@{domain}", "remote-server-timeout", "wait",
                          f"id-answer {number}", within=3 + SLACK)
    if await question != ("remote-server-timeout", "wait"):
        raise Failure(f"a question was answered with {question.result()}")
    await one.says_why(domain, cause)


async def expired(rig, first, second):
    """A partner whose certificate has ended is refused by who asks for one, and senders hear so."""
    one = await rig.start(first, strict=True, settings=HASTY)
    other = await rig.start(second, kind="expired")
    await one.make("romeo")
    # Who makes accounts is ready to answer.
    if "juliet" not in other.known:
        await other.make("juliet")
    romeo = await Person(one, "romeo").come()
    jid = f"juliet@{other.domain}"
    romeo.say(jid, "art thou there?")
    await romeo.hears("refused", jid, "remote-server-timeout", "wait", within=3 + SLACK)
    await one.says_why(other.domain, "expired")
    await steps.hears_nothing_from(romeo, other)


async def renewed(rig, first, second):
    """RFC 6120 §13.7.2.3: a certificate ends while the streams stand, and later there is a new one."""
    one = await rig.start(first, strict=True, settings=HASTY, clock=True)
    other = await rig.start(second, kind="brief", strict=True)
    romeo, juliet = await steps.both_in(one, other)
    await steps.chat(romeo, juliet)
    if not steps.connections(one, other):
        raise Failure("no connection is found")
    one.turn("+2d")
    await steps.until(lambda: not steps.connections(one, other), "the end of the streams")
    ended = [line for line in one.text().splitlines() if "server stream ended" in line]
    if not ended or not all("a certificate has expired" in line for line in ended):
        raise Failure(f"the streams ended otherwise: {ended}")
    # The stream error reaches the partner.
    await steps.until(lambda: "a certificate has expired" in other.text(), "the reset at the partner")
    romeo.say(juliet.boundjid.bare, "art thou there?")
    await romeo.hears("refused", juliet.boundjid.bare, "remote-server-timeout", "wait",
                      within=3 + SLACK)
    await one.says_why(other.domain, "expired")
    await steps.hears_nothing_from(romeo, other, juliet)
    juliet.abort()
    await asyncio.to_thread(other.stop)
    other.certify("valid")
    other.configure()
    await asyncio.to_thread(other.start)
    await other.make_again("juliet")
    juliet = await Person(other, "juliet").come()
    romeo.heard.clear()
    await steps.chat(romeo, juliet)


async def bidi(rig, first, second):
    """XEP-0288: both directions flow over one connection, whoever has opened it."""
    for caller in ("romeo", "juliet"):
        one, other = await rig.start(first, strict=True), await rig.start(second, strict=True)
        romeo, juliet = await steps.both_in(one, other)
        speaker, listener = (romeo, juliet) if caller == "romeo" else (juliet, romeo)
        speaker.say(listener.boundjid.bare, "speak")
        await listener.hears("message", speaker.boundjid.bare, "speak")
        await steps.know_each_other(romeo, juliet)
        await steps.chat(romeo, juliet)
        await steps.ask(romeo, juliet, one, other)
        opened = steps.connections(one, other)
        expected = other.s2s if caller == "romeo" else one.s2s
        if opened != [expected]:
            raise Failure(f"{caller} spoke first, and connections are to {opened}, not [{expected}]")
        standing = one.status(other.domain)
        if (standing["state"], standing["inbound"]) != ("connected", int(caller == "juliet")):
            raise Failure(f"{caller} spoke first: {standing}")
        established = one.text().count(" stream established ")
        if established != int(caller == "romeo"):
            raise Failure(f"{caller} spoke first, and {one.name} opened {established} streams")
        for server in (one, other):
            server.kill()


async def gone(rig, first, second):
    """A user in a room of the partner goes with the server: in order, or found out by an error."""
    one, other = await rig.start(first), await rig.start(second)
    romeo, juliet = await steps.both_in(one, other)
    nurse = await steps.enter(one, "nurse")
    room = f"garden@{other.rooms}.{other.domain}"
    await steps.open_room(juliet, room)
    for person, nick in ((romeo, "romeo"), (nurse, "nurse")):
        await steps.join(person, room, nick)
        await juliet.sees("available", f"{room}/{nick}")
    # The nurse has no session that waits for her: she leaves with the server.
    await asyncio.to_thread(one.stop)
    await juliet.sees("unavailable", f"{room}/nurse")
    # Romeo's waits, also for a server that starts anew; this one does not.
    await steps.find_gone(juliet, room, "romeo")
    await asyncio.to_thread(one.start)
    for person in (romeo, nurse):
        person.abort()
    tybalt = await steps.enter(one, "tybalt")
    # A partner that could not reach us may wait a while before it tries again.
    for _ in range(10):
        try:
            await steps.join(tybalt, room, "tybalt", within=4)
        except Failure:
            continue
        break
    else:
        raise Failure("nobody can enter the room any more")
    juliet.heard.clear()
    one.kill()
    await steps.find_gone(juliet, room, "tybalt")


async def certificates(rig, first, second):
    """A caller with a certificate of a wrong kind is not offered EXTERNAL, with a right one it is."""
    one = await rig.start(first)
    # RFC 6120 §13.7.1.4: otherName SRVName and XmppAddr.
    service, address = "otherName:1.3.6.1.5.5.7.8.7;IA5STRING", "otherName:1.3.6.1.5.5.7.8.5;UTF8"
    for number, (kind, name, right) in enumerate((
            ("valid", "caller.lit", True), ("valid", f"{service}:_xmpp-server.caller.lit", True),
            ("valid", f"{address}:caller.lit", True), ("valid", "*.caller.lit", False),
            ("valid", "other.lit", False), ("valid", f"{service}:_xmpp-client.caller.lit", False),
            ("valid", f"{address}:romeo@caller.lit", False), ("common", "caller.lit", False),
            ("expired", "caller.lit", False), ("early", "caller.lit", False),
            ("mail", "caller.lit", False), ("own", "caller.lit", False))):
        certs = rig.authority.issue(rig.folder / f"caller-{number}", [name], kind)
        stranger = Stranger(one.s2s, "caller.lit", one.domain)
        features = await asyncio.to_thread(stranger.encrypt, certs)
        if ("EXTERNAL" in features) != right:
            raise Failure(f"{kind} for {name}: {features}")
        stranger.close()


async def flood(rig, first, second):
    """One domain sends as much as it can; nobody of another domain waits for that."""
    one = await rig.start(first, settings={"limits": ""})
    other = await rig.start(second)
    romeo, juliet = await steps.both_in(one, other)
    await steps.chat(romeo, juliet)
    await one.make("paris")
    calm = await steps.slowest_ping(romeo, juliet, seconds=3)
    certs = rig.authority.issue(rig.folder / "flood", ["flood.lit"])
    rig.names.server("flood.lit", "127.0.0.1", 9)
    before = steps.memory(one)
    floods = [Stranger(one.s2s, "flood.lit", one.domain) for _ in range(4)]
    for stranger in floods:
        await asyncio.to_thread(stranger.authenticate, certs)
    stop = threading.Event()
    works = [asyncio.create_task(asyncio.to_thread(steps.pour, stranger, one.domain, stop))
             for stranger in floods]
    slowest = await steps.slowest_ping(romeo, juliet, seconds=8)
    await steps.chat(romeo, juliet)
    stop.set()
    poured = sum(await asyncio.gather(*works))
    grown = steps.memory(one) - before
    print(f"    {poured // 1024} KiB poured, {grown} MiB more memory; the slowest ping took "
          f"{slowest:.2f} s, without the flood {calm:.2f} s", flush=True)
    if slowest > 2:
        raise Failure(f"a ping of another domain took {slowest:.1f} s, {calm:.1f} s without the flood")
    if poured < 1024 * 1024 or grown > 64:
        raise Failure(f"{poured} bytes were poured, {one.name} has grown by {grown} MiB")


PARTS = {
    "external": external,
    "dialback": dialback,
    "direct": direct,
    "kill": kill,
    "expired": expired,
    "spoof": spoof,
    "silent": silent,
    "mute": mute,
    "renewed": renewed,
    "bidi": bidi,
    "gone": gone,
    "certificates": certificates,
    "flood": flood,
}
# What a partner cannot do is left out, with the reason.
UNABLE = {
    ("ejabberd", "direct"): "ejabberd 23.01 takes direct TLS but does not call by it",
    ("ejabberd", "bidi"): "ejabberd 23.01 does not have XEP-0288",
    # What does not hang on who the partner is is tried once.
    ("ejabberd", "silent"): "tried with prosody",
    ("ejabberd", "mute"): "tried with prosody",
    ("ejabberd", "certificates"): "tried with prosody",
    ("ejabberd", "flood"): "tried with prosody",
}


async def play(options, folder):
    passed, failed = 0, 0
    first = SERVERS[options.first]
    for second in options.second or ["prosody", "ejabberd"]:
        for name, part in PARTS.items():
            if options.only and name not in options.only or (second, name) in UNABLE:
                continue
            title = f"{options.first} and {second}: {part.__doc__}"
            began = time.monotonic()
            rig = Rig(folder / f"{second}-{name}")
            try:
                await asyncio.wait_for(part(rig, first, SERVERS[second]), 180)
            except (Failure, RuntimeError, OSError, asyncio.TimeoutError, IqError, IqTimeout) as error:
                failed += 1
                print(f"FAILED {title}\n{error!r}", flush=True)
                traceback.print_exc()
                print(f"asked: {sorted(set(rig.names.asked))}", flush=True)
                for server in rig.up:
                    print(f"--- {server.name} said\n{server.tail(30)}", flush=True)
            else:
                passed += 1
                print(f"ok {title} ({time.monotonic() - began:.1f} s)", flush=True)
            finally:
                rig.down()
                rig.names.close()
    return passed, failed


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", choices=SERVERS, default="verona")
    parser.add_argument("--second", choices=SERVERS, action="append")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--keep", action="store_true", help="leave the folder with the logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="verona-peers-"))
    passed, failed = asyncio.run(play(options, folder))
    if failed or options.keep:
        print(f"logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
