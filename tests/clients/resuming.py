"""What a client with stream management of its own is put through: the server goes away and comes back,
once in good order and once killed."""

from bots import PASSWORD
from scenario import Scenario


class Resuming(Scenario):
    """Romeo and Juliet, both with a client that resumes its sessions by itself."""

    def steps(self):
        return [self.log_in, self.go_on_behind_a_restart, self.lose_nothing_to_a_kill]

    def enter(self, jid, resource):
        client = self.client(self.server, self.folder, jid, resource, self.tls)
        self.clients.append(client)
        client.begins()
        return client

    def log_in(self):
        "a session that can be resumed; what is said is acknowledged"
        for jid in (self.romeo_jid, self.juliet_jid):
            self.server.add_account(jid, PASSWORD)
        self.romeo = self.enter(self.romeo_jid, "orchard")
        self.juliet = self.enter(self.juliet_jid, "balcony")
        self.exchange("Shall I hear more?")

    def exchange(self, text):
        self.romeo.say(self.juliet_jid, text)
        self.juliet.hears(self.romeo_jid, text)
        self.romeo.is_acknowledged(text)

    def go_on_behind_a_restart(self):
        "sessions go on behind a restart, and what was said meanwhile comes once"
        self.server.stop()
        for client in (self.romeo, self.juliet):
            client.events.expect("suspended")
        text = "I would not for the world they saw thee here"
        self.romeo.say(self.juliet_jid, text)
        self.server.start()
        for client in (self.romeo, self.juliet):
            client.events.expect("resumed")
        self.juliet.hears(self.romeo_jid, text)
        self.romeo.is_acknowledged(text)
        self.exchange("Good night, good night")
        self.juliet.in_order(["Shall I hear more?", text, "Good night, good night"])

    def lose_nothing_to_a_kill(self):
        "behind a kill sessions begin anew, and what was acknowledged is there"
        # Away, so that what is said to her is kept.
        self.leave(self.juliet)
        texts = ["By whose direction", "found'st thou out this place?"]
        for text in texts:
            self.romeo.say(self.juliet_jid, text)
            self.romeo.is_acknowledged(text)
        self.server.kill()
        self.romeo.events.expect("suspended")
        self.server.start()
        self.romeo.begins()
        self.juliet = self.enter(self.juliet_jid, "balcony")
        for text in texts:
            self.juliet.hears_late(self.romeo_jid, text)
        self.juliet.in_order(texts)
        self.exchange("By love")
        for client in (self.romeo, self.juliet):
            self.leave(client)
