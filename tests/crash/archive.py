"""An account's archive as a client reads it (XEP-0313)."""

import os

from stanzas import CLIENT
from stream import Refused

MAM = "{urn:xmpp:mam:2}"
RSM = "{http://jabber.org/protocol/rsm}"
FORWARD = "{urn:xmpp:forward:0}"
PAGE = 100
PAGES_MAX = 100


class Archive:
    """Remembers how far it was read."""

    def __init__(self, jid):
        self.jid = jid
        self.last = None

    def catch_up(self, stream):
        """All that came since it was read last: texts with their ids, in order."""
        found = []
        for _ in range(PAGES_MAX):
            page, complete = self.page(stream, f"<after>{self.last}</after>" if self.last else "")
            found += page
            if page:
                self.last = page[-1][1]
            if complete:
                return found
            if not page:
                raise Refused(f"the archive of {self.jid} has an empty page, and is not complete")
        raise Refused(f"the archive of {self.jid} has no end")

    def look(self, stream):
        """Asks for the last page alone."""
        self.page(stream, "<before/>")

    def page(self, stream, place):
        number = os.urandom(6).hex()
        stream.send(
            f"<iq type='set' id='{number}'><query xmlns='{MAM[1:-1]}' queryid='{number}'>"
            f"<set xmlns='{RSM[1:-1]}'><max>{PAGE}</max>{place}</set></query></iq>")
        found = []
        while True:
            element = stream.wait(lambda e: e.tag.startswith(CLIENT))
            result = element.find(MAM + "result")
            if result is not None and result.get("queryid") == number:
                message = result.find(f"{FORWARD}forwarded/{CLIENT}message")
                text = message.findtext(CLIENT + "body")
                if text is not None:
                    found.append((text, result.get("id")))
            elif element.tag == CLIENT + "iq" and element.get("id") == number:
                if element.get("type") != "result":
                    raise Refused(f"a page of the archive of {self.jid}")
                fin = element.find(MAM + "fin")
                return found, fin is not None and fin.get("complete") in ("true", "1")
