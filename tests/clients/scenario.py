"""What every client is put through: contacts, chat, several devices, being away, a restart."""

import subprocess
import traceback

from bots import PASSWORD, Failure
from server import DOMAIN


class Scenario:
    """Romeo and Juliet, both with the same client."""

    def __init__(self, server, folder, client, name, tls):
        self.server, self.folder, self.client, self.tls = server, folder, client, tls
        self.name = name
        self.romeo_jid = f"romeo-{name}@{DOMAIN}"
        self.juliet_jid = f"juliet-{name}@{DOMAIN}"
        self.clients = []
        self.failures = []

    def play(self):
        """Plays all steps, stops at the first that fails; returns how many passed."""
        passed = 0
        steps = [self.log_in, *self.invitations(), self.subscribe_both_ways, self.chat_both_ways, self.reach_two_devices,
                 self.keep_messages_over_a_restart, self.leave_in_sight]
        if hasattr(self.client, "push_to"):
            steps.insert(4, self.wake_by_push)
        try:
            for step in steps:
                title = f"{self.name}: {step.__doc__}"
                try:
                    step()
                except (Failure, OSError, RuntimeError, subprocess.SubprocessError) as error:
                    self.failures.append(title)
                    print(f"FAILED {title}\n{error}", flush=True)
                    if not isinstance(error, Failure):
                        traceback.print_exc()
                    print(f"--- {self.server.name} said\n{self.server.tail(15)}", flush=True)
                    break
                passed += 1
                print(f"ok {title}", flush=True)
        finally:
            for client in self.clients:
                client.end()
        return passed

    def invitations(self):
        may = getattr(self.client, "registers", False) and hasattr(self.server, "invite")
        return [self.invite] if may else []

    def invite(self):
        "who is invited makes an account with the token, and has who invited as a contact"
        name = f"nurse-{self.name}"
        token = self.server.invite(name, self.juliet_jid)
        nurse = self.enter(f"{name}@{DOMAIN}", "hall", token)
        nurse.events.expect("registered")
        nurse.has_contact(self.juliet_jid)
        nurse.sees(self.juliet.full)
        self.juliet.has_contact(nurse.jid)
        self.juliet.sees(nurse.full)
        self.leave(nurse)
        self.juliet.sees(nurse.full, "unavailable")

    def enter(self, jid, resource, token=None):
        client = self.client(
            self.server, self.folder, jid, resource, self.tls, *([token] if token else []))
        self.clients.append(client)
        client.online()
        return client

    def leave(self, client):
        client.quit()
        self.clients.remove(client)

    def log_in(self):
        "accounts made on the command line log in over TLS, with SCRAM where the client can"
        for jid in (self.romeo_jid, self.juliet_jid):
            self.server.add_account(jid, PASSWORD)
        self.romeo = self.enter(self.romeo_jid, "orchard")
        self.juliet = self.enter(self.juliet_jid, "balcony")

    def subscribe_both_ways(self):
        "each adds the other and sees the presence"
        self.romeo.add(self.juliet_jid)
        self.juliet.asked(self.romeo_jid)
        self.juliet.allow(self.romeo_jid)
        self.romeo.sees(self.juliet.full)
        self.juliet.add(self.romeo_jid)
        self.romeo.asked(self.juliet_jid)
        self.romeo.allow(self.juliet_jid)
        self.juliet.sees(self.romeo.full)
        self.romeo.has_contact(self.juliet_jid)
        self.juliet.has_contact(self.romeo_jid)

    def chat_both_ways(self):
        "chat goes both ways"
        self.romeo.say(self.juliet_jid, "Shall I hear more?")
        self.juliet.hears(self.romeo_jid, "Shall I hear more?")
        self.juliet.say(self.romeo_jid, "What's in a name & a <tag>?")
        self.romeo.hears(self.juliet_jid, "What's in a name & a <tag>?")

    def reach_two_devices(self):
        "a message to the account reaches both of its devices"
        chamber = self.enter(self.juliet_jid, "chamber")
        self.romeo.sees(chamber.full)
        chamber.sees(self.romeo.full)
        self.romeo.say(self.juliet_jid, "By whose direction?")
        self.juliet.hears(self.romeo_jid, "By whose direction?")
        chamber.hears(self.romeo_jid, "By whose direction?")
        self.leave(chamber)
        self.romeo.sees(chamber.full, "unavailable")

    def wake_by_push(self):
        "who is away is notified by the service of the app, once for each message"
        shop_jid = f"shop-{self.name}@{DOMAIN}"
        self.server.add_account(shop_jid, PASSWORD)
        shop = self.enter(shop_jid, "app")
        shop.serve(DOMAIN)
        self.juliet.push_to(shop.full, "phone")
        self.leave(self.juliet)
        self.romeo.sees(self.juliet.full, "unavailable")
        summary = "FORM_TYPE=urn:xmpp:push:summary message-count="
        for count, line in enumerate(["O, speak again", "bright angel"], 1):
            self.romeo.say(self.juliet_jid, line)
            shop.notified("phone", f"{summary}{count}")
        self.juliet = self.enter(self.juliet_jid, "balcony")
        self.juliet.hears_late(self.romeo_jid, "O, speak again")
        self.juliet.hears_late(self.romeo_jid, "bright angel")
        self.romeo.sees(self.juliet.full)
        self.juliet.sees(self.romeo.full)
        self.leave(shop)

    def keep_messages_over_a_restart(self):
        "messages to who is away wait, through a restart, in order and stamped; the roster stays"
        lines = ["Sleep dwell upon thine eyes", "peace in thy breast", "would I were sleep"]
        self.leave(self.juliet)
        self.romeo.sees(self.juliet.full, "unavailable")
        for line in lines:
            self.romeo.say(self.juliet_jid, line)
        # His own echo comes behind them on the same stream, so they have been handled by then.
        self.romeo.say(self.romeo_jid, "Good night")
        self.romeo.hears(self.romeo_jid, "Good night")
        self.server.restart()
        self.romeo.closed()
        self.leave(self.romeo)
        self.romeo = self.enter(self.romeo_jid, "orchard")
        self.juliet = self.enter(self.juliet_jid, "balcony")
        self.romeo.has_contact(self.juliet_jid)
        self.juliet.has_contact(self.romeo_jid)
        self.romeo.sees(self.juliet.full)
        self.juliet.sees(self.romeo.full)
        for line in lines:
            self.juliet.hears_late(self.romeo_jid, line)
        self.juliet.in_order(lines)

    def leave_in_sight(self):
        "who leaves is seen leaving"
        self.leave(self.juliet)
        self.romeo.sees(self.juliet.full, "unavailable")
        self.leave(self.romeo)
