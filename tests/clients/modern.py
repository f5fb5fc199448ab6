"""What a client is put through that does more than the usual: stream management, carbons, archive."""

from bots import Failure
from scenario import Scenario


class Modern(Scenario):
    """Romeo and Juliet, she with two devices."""

    def steps(self):
        first, *rest = super().steps()
        return [first, self.be_managed, *rest[:-1], self.copy_to_the_other_device,
                self.read_the_archive, rest[-1]]

    def be_managed(self):
        "streams are managed"
        for client in (self.romeo, self.juliet):
            client.events.expect("managed")

    def copy_to_the_other_device(self):
        "what one device sends and gets, the other has a copy of"
        chamber = self.enter(self.juliet_jid, "chamber")
        self.romeo.sees(chamber.full)
        chamber.say(self.romeo_jid, "Hist! Romeo, hist!")
        self.romeo.hears(self.juliet_jid, "Hist! Romeo, hist!")
        self.juliet.events.expect("carbon", "sent", chamber.full, "Hist! Romeo, hist!")
        self.romeo.say(chamber.full, "It is my soul")
        chamber.hears(self.romeo_jid, "It is my soul")
        self.juliet.events.expect("carbon", "received", self.romeo.full, "It is my soul")
        self.leave(chamber)
        self.romeo.sees(chamber.full, "unavailable")

    def read_the_archive(self):
        "both archives have all that was said, in order"
        said = [(self.juliet_jid, "Hist! Romeo, hist!"), (self.romeo_jid, "It is my soul")]
        for client, other in ((self.juliet, self.romeo_jid), (self.romeo, self.juliet_jid)):
            found = client.archive(other)
            if found[-2:] != said or len(found) < 7 or len(set(found)) != len(found):
                raise Failure(f"{client.events.name} has in its archive {found}")
