"""An aioxmpp client with its own stream management, that speaks the line protocol of bots.py.

usage: aioxmpp_bot.py FULL_JID HOST PORT starttls|direct CAFILE, the password as first line of stdin

It tells more than the others: `managed` when its session can be resumed, `suspended`, `resumed` and
`begun` of its session, and `acknowledged TEXT` of what it has said.
"""

import asyncio
import datetime
import os
import sys

import aioxmpp
import aioxmpp.connector
import aioxmpp.dispatcher

CONNECTORS = {
    "starttls": aioxmpp.connector.STARTTLSConnector,
    "direct": aioxmpp.connector.XMPPOverTLSConnector,
}


def tell(*words):
    print(*words, flush=True)


class Bot:
    def __init__(self, jid, password, peer):
        self.client = client = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(jid), aioxmpp.make_security_layer(password), override_peer=[peer])
        client.backoff_start = datetime.timedelta(milliseconds=100)
        client.on_stream_established.connect(self.began)
        client.on_stream_suspended.connect(lambda reason: tell("suspended"))
        client.on_stream_resumed.connect(lambda: tell("resumed"))
        client.on_failure.connect(lambda error: tell("failed", repr(error)))
        client.on_stopped.connect(self.ended)
        dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, self.message)
        client.presence = aioxmpp.PresenceState(True)
        self.over = asyncio.Event()
        self.typed = b""

    def began(self):
        stream = self.client.stream
        tell("begun", self.client.local_jid)
        tell("managed" if stream.sm_enabled and stream.sm_resumable else "unmanaged")

    def ended(self):
        tell("closed")
        self.over.set()

    def message(self, message):
        stamp = message.xep0203_delay[0].stamp if message.xep0203_delay else None
        when = stamp.strftime("%Y-%m-%dT%H:%M:%SZ") if stamp else "live"
        tell("message", message.from_.bare(), when, message.body.any())

    def say(self, to, text):
        message = aioxmpp.Message(
            type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        message.body[None] = text
        token = self.client.enqueue(message)

        def done(future):
            try:
                future.result()
                tell("acknowledged", text)
            except Exception as error:
                tell("unacknowledged", text, repr(error))

        asyncio.ensure_future(wait(token)).add_done_callback(done)

    def typing(self):
        read = os.read(0, 65536)
        *lines, self.typed = (self.typed + (read or b"quit\n")).split(b"\n")
        for line in lines:
            words = line.decode().split(" ", 2)
            if words[0] == "say":
                self.say(*words[1:])
            else:
                self.client.stop()


async def wait(token):
    await token


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    return line.decode().rstrip("\n")


async def main():
    # The authority of the server comes by SSL_CERT_FILE.
    jid, host, port, tls, _ = sys.argv[1:]
    bot = Bot(jid, read_line(), (host, int(port), CONNECTORS[tls]()))
    asyncio.get_running_loop().add_reader(0, bot.typing)
    await bot.over.wait()


asyncio.run(main())
