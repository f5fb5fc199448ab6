"""Other servers as partners: `run.py [--only STEP] [--first SERVER] [--keep]`.

Each part starts its servers anew, with certificates of the kind that it is about.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import steps
from authority import Authority
from names import Names
from people import PASSWORD, Failure, Person, Registrar
from servers import Ejabberd, Prosody, Verona
from strangers import Silent
from slixmpp.exceptions import IqError, IqTimeout

SERVERS = {"verona": Verona, "prosody": Prosody, "ejabberd": Ejabberd}


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
    """A server that takes connections and says nothing delays nobody else."""
    mute = Silent()
    rig.names.server("silent.lit", "127.0.0.1", mute.port)
    one, other = await rig.start(first), await rig.start(second)
    romeo, juliet = await steps.both_in(one, other)
    for number in range(200):
        romeo.say("nobody@silent.lit", f"answer {number}")
    await steps.chat(romeo, juliet)
    mute.close()


async def expired(rig, first, second):
    """A partner whose certificate has ended is refused by who asks for one."""
    one = await rig.start(first, strict=True)
    other = await rig.start(second, kind="expired")
    await one.make("romeo")
    romeo = await Person(one, "romeo").come()
    romeo.say(f"juliet@{other.domain}", "art thou there?")
    await asyncio.sleep(4)
    if "expired" not in one.text():
        raise Failure(f"{one.name} does not say why:\n{one.tail()}")
    romeo_jid = romeo.boundjid.bare
    await other.make("juliet") if isinstance(other, Ejabberd) else None
    juliet = await Person(other, "juliet").come()
    juliet.say(romeo_jid, "wilt thou be gone?")
    try:
        await romeo.hears("message", within=5)
    except Failure:
        return
    raise Failure("a stanza of a server with an expired certificate was taken")


PARTS = {
    "external": external,
    "dialback": dialback,
    "direct": direct,
    "kill": kill,
    "expired": expired,
    "spoof": spoof,
    "silent": silent,
}
# What a partner cannot do is left out, with the reason.
UNABLE = {
    ("ejabberd", "direct"): "ejabberd 23.01 takes direct TLS but does not call by it",
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
