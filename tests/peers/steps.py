"""What two servers are put through together."""

import asyncio

from xml.etree import ElementTree

from people import Failure, Person
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
    juliet["xep_0045"].join_muc(room, "juliet")
    await juliet.sees("available", f"{room}/juliet")
    # A new room may be locked until its owner takes it as it is.
    form = juliet.make_iq_set(ito=room, sub=ElementTree.fromstring(TAKEN_AS_IT_IS))
    await form.send(timeout=20)
    romeo["xep_0045"].join_muc(room, "romeo")
    await romeo.sees("available", f"{room}/romeo")
    await juliet.sees("available", f"{room}/romeo")
    for one, nick in ((romeo, "romeo"), (juliet, "juliet")):
        one.say(room, f"{nick} speaks", "groupchat")
        for other in (romeo, juliet):
            await other.hears("message", f"{room}/{nick}", f"{nick} speaks")
    romeo["xep_0045"].leave_muc(room, "romeo")
    await juliet.sees("unavailable", f"{room}/romeo")


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
    # Where what waited for her login meets what comes behind it, the order is the partner's.
    missing, known = set(lines[count // 2:]), set(lines[:count // 2])
    while missing:
        _, _, line = await again.hears("message", romeo.boundjid.bare, within=90)
        if line in known:
            raise Failure(f"heard {line!r} twice")
        missing.discard(line)
        known.add(line)
    refused = [item for item in romeo.heard if item[0] == "refused"]
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
