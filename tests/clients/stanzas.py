"""Stanzas out of the bytes of a stream, with the standard library's parser."""

import re
import xml.etree.ElementTree as ET

CLIENT = "{jabber:client}"
ROSTER = "{jabber:iq:roster}"
DELAY = "{urn:xmpp:delay}"
HEADER = re.compile(r"(?:<\?xml[^>]*>\s*)?<(?:stream:)?stream\s[^>]*>")


class Stanzas:
    """What a stream brings; a new stream header begins anew."""

    def __init__(self):
        self.parser = None
        self.rest = ""

    def feed(self, text):
        """Takes text as it came, gives each element that is complete, and a header as itself."""
        self.rest += text
        while header := HEADER.search(self.rest):
            before, self.rest = self.rest[:header.start()], self.rest[header.end():]
            if self.parser is not None:
                yield from self.parse(before)
            self.parser, self.depth = ET.XMLPullParser(("start", "end")), 0
            yield from self.parse(header[0])
        if self.parser is not None:
            # What may be the begin of a new header waits for the rest of it.
            cut = self.rest.find("<?xml")
            cut = self.rest.rfind("<") if cut < 0 else cut
            if ">" in self.rest[cut:] and not self.rest.startswith("<?xml", cut):
                cut = len(self.rest)
            piece, self.rest = self.rest[:cut], self.rest[cut:]
            yield from self.parse(piece)

    def parse(self, text):
        self.parser.feed(text)
        for event, element in self.parser.read_events():
            if event == "start":
                self.depth += 1
                if self.depth == 1:
                    self.root = element
                    yield element
            else:
                self.depth -= 1
                if self.depth == 1:
                    self.root.clear()
                    yield element


def told(element):
    """The lines of the line protocol that a stanza is worth."""
    sender, kind = element.get("from", ""), element.get("type")
    if element.tag == CLIENT + "message" and element.find(CLIENT + "body") is not None:
        delay = element.find(DELAY + "delay")
        stamp = "live" if delay is None else delay.get("stamp")
        yield f"message {sender.split('/')[0]} {stamp} {element.findtext(CLIENT + 'body')}"
    elif element.tag == CLIENT + "presence":
        if kind in (None, "unavailable"):
            yield f"presence {sender} {kind or 'available'}"
        elif kind == "subscribe":
            yield f"asked {sender.split('/')[0]}"
    elif element.tag == CLIENT + "iq":
        for item in element.iterfind(f"{ROSTER}query/{ROSTER}item"):
            yield f"roster {item.get('jid')} {item.get('subscription', 'none')}"
