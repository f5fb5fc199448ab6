"""Real gateways carry chat between Verona and other networks: `run.py [--only irc|slidge] [--keep]`."""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import slixmpp

from people import Failure, IrcClient, RawComponent, User
from programs import DOMAIN, IRC, SECRET, SLIDGE, Biboumi, Ngircd, Server, Slidge, free_ports, wait_until

PASSWORD = "r0m30myr0m30"


class Rig:
    """A Verona, and what the scenarios start beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.server = Server(folder / "server")
        self.programs = []
        self.people = []

    def add(self, program):
        self.programs.append(program)
        return program

    async def user(self, name):
        jid = f"{name}@{DOMAIN}"
        self.server.add_account(jid, PASSWORD)
        user = User(self.server, f"{jid}/phone", PASSWORD)
        self.people.append(user)
        await user.enter()
        return user

    async def end(self):
        for person in self.people:
            try:
                await person.leave()
            except (OSError, asyncio.TimeoutError):
                pass
        for program in reversed(self.programs):
            program.end()


async def irc(rig):
    "a channel of ngircd through biboumi: joined, spoken in both ways, left, and found again"
    ngircd, biboumi = rig.add(Ngircd(rig.folder)), rig.add(Biboumi(rig.folder))
    ngircd.start()
    biboumi.start(rig.server)
    room = f"#verona%{ngircd.address}@{IRC}"
    tybalt = IrcClient("tybalt")
    rig.people.append(tybalt)
    await tybalt.enter(ngircd.address, ngircd.port, "#verona")

    juliet = await rig.user("juliet")
    items = await juliet.plugin["xep_0030"].get_items(jid=DOMAIN)
    assert any(item[0] == IRC for item in items["disco_items"]["items"]), items
    info = await juliet.plugin["xep_0030"].get_info(jid=IRC)
    assert any(identity[0] == "conference" for identity in info["disco_info"]["identities"]), info

    await juliet.join(room)
    await juliet.events.expect("tybalt in the room", lambda event: event[:2] == ("presence", f"{room}/tybalt"))
    await tybalt.saw("juliet's arrival", lambda line: line.startswith(":juliet!") and " JOIN " in line)

    juliet.send_message(mto=room, mbody="What's in a name & a <tag>? Ünï", mtype="groupchat")
    await tybalt.saw("her words", lambda line: line.startswith(":juliet!") and line.endswith("PRIVMSG #verona :What's in a name & a <tag>? Ünï"))
    await juliet.hears("groupchat", f"{room}/juliet", "What's in a name & a <tag>? Ünï")
    tybalt.write("PRIVMSG #verona :Peace? I hate the word")
    await juliet.hears("groupchat", f"{room}/tybalt", "Peace? I hate the word")
    for n in range(50):
        tybalt.write(f"PRIVMSG #verona :line {n}")
    for n in range(50):
        await juliet.hears("groupchat", f"{room}/tybalt", f"line {n}")
    tybalt.write("PRIVMSG juliet :A word with one of you")
    await juliet.hears("chat", f"tybalt%{ngircd.address}@{IRC}", "A word with one of you")
    juliet.send_message(mto=f"tybalt%{ngircd.address}@{IRC}", mbody="Speak", mtype="chat")
    await tybalt.saw("the answer", lambda line: line.startswith(":juliet!") and line.endswith("PRIVMSG tybalt :Speak"))

    # The gateway dies: she sees everybody leave, and a message for it waits.
    biboumi.end(kill=True)
    await juliet.events.expect("tybalt leave", lambda event: event == ("presence", f"{room}/tybalt", "unavailable"))
    await tybalt.saw("juliet leave", lambda line: line.startswith(":juliet!") and " QUIT " in line)
    try:
        await juliet.join(room)
        raise Failure("she has joined a room of a gateway that is away")
    except slixmpp.exceptions.PresenceError as error:
        assert error.condition == "service-unavailable", error
    biboumi.start(rig.server)
    await juliet.join(room)
    await tybalt.saw("juliet's return", lambda line: line.startswith(":juliet!") and " JOIN " in line)
    tybalt.write("PRIVMSG #verona :What, art thou back?")
    await juliet.hears("groupchat", f"{room}/tybalt", "What, art thou back?")


async def slidge(rig):
    "an echo through slidge, which fills the roster and speaks in the user's name"
    echo = rig.add(Slidge(rig.folder))
    echo.start(rig.server)
    romeo = await rig.user("romeo")
    narcissus = f"narcissus@{SLIDGE}"
    form = await romeo.plugin["xep_0077"].get_registration(jid=SLIDGE)
    assert form["register"], form
    iq = romeo.make_iq_set(ito=SLIDGE)
    iq["register"]["form"]["type"] = "submit"
    iq["register"]["form"].add_field(var="FORM_TYPE", ftype="hidden", value="jabber:iq:register")
    iq["register"]["form"].add_field(var="username", value="romeo")
    await iq.send()
    # XEP-0356 §4: the gateway has put itself and its contact into the roster.
    await romeo.events.expect("the gateway in the roster", lambda event: event == ("roster", SLIDGE, "both"))
    await romeo.events.expect("Narcissus in the roster", lambda event: event == ("roster", narcissus, "both"))
    await romeo.events.expect("Narcissus online", lambda event: event[0] == "presence" and event[1].startswith(narcissus) and event[2] == "available")

    romeo.send_message(mto=narcissus, mbody="Is anyone here?", mtype="chat")
    # XEP-0356 §5: what he said elsewhere is copied to him as his own, and the answer follows.
    await romeo.events.expect("his own words", lambda event: event == ("carbon", narcissus, "From another device: Is anyone here?"))
    await romeo.events.expect("the echo", lambda event: event[0] == "chat" and event[1].startswith(narcissus) and event[2] == "Echo: Is anyone here?")
    romeo.send_message(mto=narcissus, mbody="Who is in my roster?", mtype="chat")
    await romeo.events.expect("his roster", lambda event: event[0] == "chat" and event[2] == f"{SLIDGE} {narcissus}")
    archive = await romeo.plugin["xep_0313"].retrieve(with_jid=slixmpp.JID(narcissus))
    bodies = [result["mam_result"]["forwarded"]["stanza"]["body"] for result in archive["mam"]["results"]]
    said = [body for body in bodies if body]
    assert "From another device: Is anyone here?" in said and "Echo: Is anyone here?" in said, said


async def operator(rig):
    "components come with a reload and go with one, are called, and what waits for them survives a kill"
    server = rig.server
    before = server.config.read_text()
    juliet = await rig.user("juliet")
    (port,) = free_ports(1)
    server.config.write_text(before + f"""
[[component]]
domain = "sms.{DOMAIN}"
secret = "{SECRET}"
connect = ["127.0.0.1:{port}"]
[[component]]
domain = "*.fax.{DOMAIN}"
secret = "{SECRET}"
""")
    server.command_line("reload")
    sms = await RawComponent(f"sms.{DOMAIN}", SECRET, "jabber:component:connect").be_called(port)
    fax = await RawComponent(f"fax.{DOMAIN}", SECRET).connect(server.component_port)
    rig.people += [sms, fax]
    # The streams of components that stay go on, whatever else is read anew.
    server.command_line("reload")
    for component, domain in ((sms, f"sms.{DOMAIN}"), (fax, f"verona.fax.{DOMAIN}")):
        juliet.send_message(mto=f"nurse@{domain}", mbody="Hie to high fortune", mtype="chat")
        await component.expect(f"<message to='nurse@{domain}' from='juliet@{DOMAIN}/phone'")
        component.send(f"<message from='nurse@{domain}' to='juliet@{DOMAIN}' type='chat'>"
                       "<body>Honest nurse, farewell</body></message>")
        await juliet.hears("chat", f"nurse@{domain}", "Honest nurse, farewell")

    # What was acknowledged for one that is away lives through a kill.
    await fax.leave()
    rig.people.remove(fax)
    wait_until("fax leaves", lambda: fax.domain not in server.connected())
    for n in range(20):
        juliet.send_message(mto=f"nurse@fax.{DOMAIN}", mbody=f"page {n}", mtype="chat")
    await juliet.plugin["xep_0199"].ping(DOMAIN)
    await asyncio.sleep(0.5)
    server.kill()
    server.start()
    fax = await RawComponent(f"fax.{DOMAIN}", SECRET).connect(server.component_port)
    rig.people.append(fax)
    for n in range(20):
        await fax.expect(f"<body>page {n}</body>.*?<delay ")

    # One that the config names no more ends.
    server.config.write_text(before)
    server.command_line("reload")
    await fax.expect("<host-gone ")


SCENARIOS = {"irc": irc, "slidge": slidge, "operator": operator}


async def play(rig, name):
    try:
        async with asyncio.timeout(150):
            await SCENARIOS[name](rig)
    finally:
        await rig.end()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--keep", action="store_true", help="leave the folder with the logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="verona-components-"))
    passed, failed = 0, 0
    for name in options.only or SCENARIOS:
        began = time.monotonic()
        rig = None
        try:
            rig = Rig(folder / name)
            os.environ["SSL_CERT_FILE"] = str(rig.server.certificate)
            rig.server.start()
            asyncio.run(play(rig, name))
            rig.server.stop()
            passed += 1
            print(f"ok {name}: {SCENARIOS[name].__doc__} ({time.monotonic() - began:.1f} s)", flush=True)
        except (Failure, AssertionError, RuntimeError, OSError, TimeoutError, TypeError, KeyError,
                subprocess.CalledProcessError) as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
            if not isinstance(error, Failure):
                traceback.print_exc()
            if rig is not None:
                print(f"--- verona\n{rig.server.tail(20)}")
                for program in rig.programs:
                    print(program.tail())
        finally:
            if rig is not None:
                rig.server.kill()
                for program in rig.programs:
                    program.end()
    if failed:
        print(f"logs are in {folder}")
    elif not options.keep:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
