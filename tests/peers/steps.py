"""What two servers are put through together."""

import asyncio
import re
import socket
import struct
from pathlib import Path
from xml.etree import ElementTree

from people import PATIENCE, Failure, Person
from slixmpp.exceptions import XMPPError
from strangers import Stranger

TAKEN_AS_IT_IS = ("<query xmlns='http://jabber.org/protocol/muc#owner'>"
                  "<x xmlns='jabber:x:data' type='submit'/></query>")


async def both_in(first, second):
    for server, name in ((first, "romeo"), (second, "juliet")):
        if name not in server.known:
            await server.make(name)
    romeo, juliet = Person(first, "romeo"), Person(second, "juliet")
    await asyncio.gather(romeo.come(), juliet.come())
    return romeo, juliet


async def know_each_other(romeo, juliet):
    """Each adds the other across the servers and sees the presence."""
    for one, other in ((romeo, juliet), (juliet, romeo)):
        other_jid, one_jid = other.boundjid.bare, one.boundjid.bare
        one.send_presence_subscription(pto=other_jid)
        await other.sees("subscribe", one_jid)
        other.send_presence_subscription(pto=one_jid, ptype="subscribed")
        await one.sees("subscribed", other_jid)
        await one.sees("available", other_jid)


async def chat(romeo, juliet):
    """Messages go both ways, in order and as they are."""
    lines = [f"line {number} & <a tag>" for number in range(20)]
    for line in lines:
        romeo.say(juliet.boundjid.bare, line)
        juliet.say(romeo.boundjid.full, line)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        for line in lines:
            heard = await one.hears("message", other.boundjid.bare)
            if heard[2] != line:
                raise Failure(f"{one.boundjid} heard {heard[2]!r} before {line!r}")


async def ask(romeo, juliet, first, second):
    """Requests are answered by the other's client and by the other's server, errors come back."""
    await romeo["xep_0199"].send_ping(juliet.boundjid.full, timeout=20)
    await juliet["xep_0199"].send_ping(romeo.boundjid.full, timeout=20)
    await romeo["xep_0030"].get_info(jid=second.domain, timeout=20)
    await juliet["xep_0030"].get_info(jid=first.domain, timeout=20)
    await juliet["xep_0092"].get_version(first.domain, timeout=20)


async def leave(romeo, juliet):
    """Who leaves is seen leaving across the servers, who returns is seen coming."""
    juliet_jid = juliet.boundjid.bare
    romeo.heard.clear()
    await juliet.leave()
    await romeo.sees("unavailable", juliet_jid)
    again = Person(juliet.home, "juliet")
    await again.come()
    await romeo.sees("available", juliet_jid)
    await again.sees("available", romeo.boundjid.bare)
    return again


async def meet(romeo, juliet, second):
    """A user of the first server in a room of the second."""
    room = f"garden@{second.rooms}.{second.domain}"
    await open_room(juliet, room)
    await join(romeo, room, "romeo")
    await juliet.sees("available", f"{room}/romeo")
    for one, nick in ((romeo, "romeo"), (juliet, "juliet")):
        one.say(room, f"{nick} speaks", "groupchat")
        for other in (romeo, juliet):
            await other.hears("message", f"{room}/{nick}", f"{nick} speaks")
    romeo["xep_0045"].leave_muc(room, "romeo")
    await juliet.sees("unavailable", f"{room}/romeo")


async def open_room(person, room):
    nick = person.boundjid.user
    await join(person, room, nick)
    # A new room may be locked until its owner takes it as it is.
    form = person.make_iq_set(ito=room, sub=ElementTree.fromstring(TAKEN_AS_IT_IS))
    await form.send(timeout=20)


async def join(person, room, nick, within=PATIENCE):
    person["xep_0045"].join_muc(room, nick)
    await person.sees("available", f"{room}/{nick}", within)


async def find_gone(person, room, nick):
    """Speaks until the room finds that it cannot reach somebody: the first words may still be written
    to a connection that is about to break."""
    for _ in range(12):
        person.say(room, "art thou there?", "groupchat")
        try:
            return await person.sees("unavailable", f"{room}/{nick}", within=5)
        except Failure:
            pass
    raise Failure(f"{nick} is in {room} yet, for all that it knows")


async def enter(server, name):
    """Somebody without a session that lives through anything."""
    await server.make(name)
    return await Person(server, name, managed=False).come()


async def until(holds, what, within=PATIENCE):
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not holds():
        if loop.time() > end:
            raise Failure(f"not within {within} s: {what}")
        await asyncio.sleep(0.1)


async def slowest_ping(romeo, juliet, seconds):
    """How long the slowest answer of the other's server took, asked in both directions in turns."""
    loop = asyncio.get_running_loop()
    end, slowest = loop.time() + seconds, 0
    while loop.time() < end:
        for one, other in ((romeo, juliet), (juliet, romeo)):
            began = loop.time()
            await one["xep_0199"].send_ping(other.boundjid.domain, timeout=20)
            slowest = max(slowest, loop.time() - began)
        await asyncio.sleep(0.02)
    return slowest


async def condition_of(question):
    """The error with which a question is answered."""
    try:
        await question
    except XMPPError as error:
        return error.condition, error.etype
    return None


async def hears_nothing_from(romeo, server, juliet=None):
    """What somebody there says does not come in."""
    if juliet is None:
        juliet = await Person(server, "juliet").come()
    juliet.say(romeo.boundjid.bare, "wilt thou be gone?")
    try:
        await romeo.hears("message", within=5)
    except Failure:
        return
    raise Failure("a stanza of a server with an expired certificate was taken")


def connections(one, other):
    """The ports to which the connections go that stand between two servers."""
    ports = {one.s2s, other.s2s}
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state = line.split()[:4]
        port = int(remote.split(":")[1], 16)
        if state == "01" and port in ports:
            found.append(port)
    return found


def memory(server):
    """MiB that the server has in use."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def pour(stranger, domain, stop):
    """Sends without end, to nobody, to somebody who is away and to the server; gives the number of
    bytes."""
    body = f"<body>{'flood ' * 100}</body>"
    texts = [f"<message from='a@flood.lit' to='{to}@{domain}' type='chat'>{body}</message>"
             for to in ("nobody", "paris")]
    ping = "<ping xmlns='urn:xmpp:ping'/>"
    texts.append(f"<iq from='a@flood.lit' to='{domain}' type='get' id='f'>{ping}</iq>")
    text = "".join(texts * 10).encode()
    poured = 0
    # One that is held up must not hang.
    stranger.socket.settimeout(0.5)
    while not stop.is_set():
        try:
            poured += stranger.socket.send(text)
        except TimeoutError:
            continue
        except OSError:
            break
    stranger.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stranger.close()
    return poured


async def survive_a_kill(romeo, juliet, second, count=40):
    """The partner is killed and comes back: what was sent meanwhile arrives, and once."""
    jid = juliet.boundjid.bare
    lines = [f"killed {number}" for number in range(count)]
    for line in lines[:count // 2]:
        romeo.say(jid, line)
    # What it has taken is the partner's to keep, and not every partner does.
    for line in lines[:count // 2]:
        await juliet.hears("message", romeo.boundjid.bare, line)
    # Time for it to say so: by XEP-0198, or by answering a ping.
    await asyncio.sleep(2)
    second.kill()
    for line in lines[count // 2:]:
        romeo.say(jid, line)
    await asyncio.sleep(1)
    juliet.abort()
    await asyncio.to_thread(second.start)
    await second.make_again("juliet")
    again = Person(second, "juliet")
    await again.come()
    # Where what waited for her login meets what comes behind it, the order is the partner's. What comes
    # while she logs in a partner may send back: then he knows.
    missing, known = set(lines[count // 2:]), set(lines[:count // 2])
    for _ in range(45):
        missing -= {item[4].removeprefix("id-") for item in romeo.heard
                    if item[0] == "refused" and item[2] == "service-unavailable"}
        if not missing:
            break
        try:
            _, _, line = await again.hears("message", romeo.boundjid.bare, within=2)
        except Failure:
            continue
        if line in known:
            raise Failure(f"heard {line!r} twice")
        missing.discard(line)
        known.add(line)
    if missing:
        raise Failure(f"never heard {sorted(missing)}")
    refused = [item for item in romeo.heard
               if item[0] == "refused" and item[2] != "service-unavailable"]
    if refused:
        raise Failure(f"refused: {refused}")


def claim_to_be(first, second, victim):
    """Dialback with a key that the second server has not made, then a stanza all the same."""
    stranger = Stranger(first.s2s, second.domain, first.domain)
    stranger.encrypt()
    stranger.send(f"<db:result from='{second.domain}' to='{first.domain}'>{'ab' * 32}</db:result>")
    verdict = stranger.read_to(r"<db:result[^>]*type=['\"](\w+)['\"]").group(1)
    if verdict == "valid":
        raise Failure("a key of nobody was taken")
    stranger.send(f"<message from='juliet@{second.domain}' to='{victim}'><body>forged</body></message>")
    stranger.rest()
    unasked = Stranger(first.s2s, second.domain, first.domain)
    unasked.encrypt()
    unasked.send(f"<db:result from='{second.domain}' to='{first.domain}' type='valid'/>"
                 f"<db:verify from='{second.domain}' to='{first.domain}' id='1' type='valid'/>"
                 f"<message from='juliet@{second.domain}' to='{victim}'><body>forged</body></message>")
    unasked.rest()
