//! Making stanzas, and making others of them.

use verona_xml::{Frame, ScanError, Writer, escape_attr};

use super::assemble::{Head, assemble, index, offset, push_attr, push_raw, scan};
use super::kind::{IqType, Kind, MessageType, NotAStanza, PresenceType, presence_type};
use super::text::{Child, Stanza};
use crate::error::StanzaError;
use crate::jid::Jid;
use crate::ns;

impl Stanza {
    /// Takes a stanza from a stream, with `from` set to who sent it when that is known from the
    /// stream (RFC 6120 §8.1.2.1). `content_ns` is the stream's content namespace.
    ///
    /// A `to` that is no JID is kept as it came and told by [`Stanza::to_malformed`]. Without a
    /// language of its own it gets that of its stream, where that is another than ours is anyway
    /// (RFC 6120 §8.1.5).
    pub fn adopt(
        frame: &Frame<'_>,
        content_ns: &str,
        from: Option<&Jid>,
    ) -> Result<Self, NotAStanza> {
        if frame.ns() != content_ns {
            return Err(NotAStanza::Unsupported);
        }
        // A carriage return by itself is legal (XML 1.0 §2.11), but there are parsers that stumble over
        // it in an attribute: whoever could send one could end the streams of others. Rewritten, it is
        // a line feed or a space, as it means.
        let returns = memchr::memchr(b'\r', frame.text.as_bytes()).is_some();
        if frame.index.is_plain() && !frame.needs_stream_bindings(content_ns) && !returns {
            return index(frame, content_ns, from, frame.root_lang());
        }
        let text = frame.standalone(content_ns).map_err(|error| match error {
            ScanError::TooLarge => NotAStanza::TooLarge,
            _ => NotAStanza::NotWellFormed,
        })?;
        scan(&text, content_ns, from, frame.root_lang())
    }

    /// Reads a stanza that the server wrote or stored itself.
    pub fn parse(text: &str) -> Result<Self, NotAStanza> {
        scan(text, ns::CLIENT, None, "")
    }

    /// A presence that the server makes: `type`, from, to, id as written (not unescaped).
    pub fn presence(kind: Option<&str>, from: &Jid, to: Option<&Jid>, id: Option<&str>) -> Self {
        let kind = kind.unwrap_or_default();
        let mut head = Head { name: "presence", to: to.cloned(), ..Head::default() };
        head.from = Some(from.clone());
        let mut rest = String::new();
        if let Some(id) = id {
            push_raw(&mut rest, "id", id);
        }
        if !kind.is_empty() {
            push_raw(&mut rest, "type", kind);
        }
        assemble(head, Kind::Presence(presence_type(kind)), &rest, "", None)
    }

    /// The same stanza to somebody else.
    pub fn with_to(&self, to: &Jid) -> Self {
        let mut text = String::with_capacity(self.text.len().saturating_add(64));
        text.push_str(self.name_part());
        push_attr(&mut text, "to", to.as_str());
        let to_end = offset(text.len());
        text.push_str(self.text.get(self.to_end as usize..).unwrap_or_default());
        let mut changed = self.moved(to_end, self.to_end);
        changed.text = text.into();
        changed.to = Some(to.clone());
        changed.to_end = to_end;
        changed
    }

    /// The same stanza between two others, as a server sends it on an account's behalf.
    pub fn between(&self, from: &Jid, to: &Jid) -> Self {
        let mut text = String::with_capacity(self.text.len().saturating_add(64));
        text.push_str(self.name_part());
        push_attr(&mut text, "to", to.as_str());
        let to_end = offset(text.len());
        push_attr(&mut text, "from", from.as_str());
        let from_end = offset(text.len());
        text.push_str(self.text.get(self.from_end as usize..).unwrap_or_default());
        let mut changed = self.moved(from_end, self.from_end);
        changed.text = text.into();
        changed.to = Some(to.clone());
        changed.from = Some(from.clone());
        changed.to_malformed = false;
        changed.to_end = to_end;
        changed.from_end = from_end;
        changed
    }

    /// Writes the stanza as one to somebody else.
    pub fn write_to(&self, to: &Jid, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name_part().as_bytes());
        out.extend_from_slice(b" to='");
        escape_attr(to.as_str(), out);
        out.push(b'\'');
        let rest = self.text.get(self.to_end as usize..).unwrap_or_default();
        out.extend_from_slice(rest.as_bytes());
    }

    /// The same stanza with one more child, given as XML that the server wrote.
    pub fn with_child(&self, child: &str) -> Self {
        let (head, body) = self.split();
        let body = [body, child].concat();
        self.rebuilt(head, &body)
    }

    /// The same stanza without the children for which `drop` says so; itself when there are none.
    pub fn without(&self, drop: impl Fn(&Child<'_>) -> bool) -> Self {
        if !self.children().any(|child| drop(&child)) {
            return self.clone();
        }
        let (head, body) = self.split();
        let start = self.text.len().saturating_sub(self.tail_len());
        let start = start.saturating_sub(body.len());
        let mut kept = String::with_capacity(body.len());
        let mut from = start;
        for part in &self.children {
            if drop(&self.child_at(part)) {
                kept.push_str(self.text.get(from..part.whole.start as usize).unwrap_or_default());
                from = part.whole.end as usize;
            }
        }
        let end = start.saturating_add(body.len());
        kept.push_str(self.text.get(from..end).unwrap_or_default());
        self.rebuilt(head, &kept)
    }

    /// The same stanza with the id under which an archive keeps it (XEP-0359 §3).
    pub fn with_stanza_id(&self, id: &str, by: &Jid) -> Self {
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("stanza-id", ns::SID).attr("id", id).attr("by", by.as_str()).end();
        self.with_child(&writer.finish())
    }

    /// The result that answers this request (RFC 6120 §8.2.3), with a payload that the server wrote.
    pub fn result(&self, payload: &str) -> Self {
        self.answer(Kind::Iq(IqType::Result), "result", payload)
    }

    /// Writes what [`Stanza::result`] makes, for who only needs its text: nothing is looked for in the
    /// payload.
    pub fn write_result(&self, payload: &str, out: &mut Vec<u8>) {
        let mut head = String::with_capacity(160);
        head.push_str("<iq");
        if let Some(to) = &self.from {
            push_attr(&mut head, "to", to.as_str());
        }
        if let Some(from) = self.to.as_ref().filter(|_| !self.to_malformed) {
            push_attr(&mut head, "from", from.as_str());
        }
        if let Some(id) = self.id_raw() {
            push_raw(&mut head, "id", id);
        }
        push_raw(&mut head, "type", "result");
        out.extend_from_slice(head.as_bytes());
        if payload.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.push(b'>');
            out.extend_from_slice(payload.as_bytes());
            out.extend_from_slice(b"</iq>");
        }
    }

    /// The error that answers this stanza; None where none is due (RFC 6120 §8.3.1).
    pub fn error_answer(&self, error: &StanzaError) -> Option<Self> {
        if self.is_answer() {
            return None;
        }
        let kind = match self.kind {
            Kind::Message(_) => Kind::Message(MessageType::Error),
            Kind::Presence(_) => Kind::Presence(PresenceType::Error),
            Kind::Iq(_) => Kind::Iq(IqType::Error),
        };
        let mut writer = Writer::new(ns::CLIENT);
        error.write(&mut writer);
        Some(self.answer(kind, "error", &writer.finish()))
    }

    fn answer(&self, kind: Kind, type_: &str, payload: &str) -> Self {
        let mut head = Head { name: self.name(), ..Head::default() };
        head.to.clone_from(&self.from);
        head.from.clone_from(&self.to);
        if self.to_malformed {
            head.from = None;
        }
        let mut rest = String::new();
        if let Some(id) = self.id_raw() {
            push_raw(&mut rest, "id", id);
        }
        push_raw(&mut rest, "type", type_);
        assemble(head, kind, &rest, payload, None)
    }

    /// The stanza with other content. What the server wrote into it is read like anything else.
    fn rebuilt(&self, head: &str, body: &str) -> Self {
        let text = if body.is_empty() {
            [head, "/>"].concat()
        } else {
            [head, ">", body, "</", self.name(), ">"].concat()
        };
        match Self::parse(&text) {
            Ok(mut stanza) => {
                stanza.to_malformed = self.to_malformed;
                stanza
            }
            // Both parts were proven when they came in, so this is not reached.
            Err(_) => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use verona_xml::{Event, Scanner};

    use super::*;
    use crate::stanza::text::OWN;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text).expect("a stanza")
    }

    fn adopted(text: &str, header: &str) -> Stanza {
        let mut scanner = Scanner::stream(OWN);
        let whole = [header, text].concat();
        let mut input = whole.as_bytes();
        assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Open(_)))));
        let from = Jid::parse("juliet@capulet.lit/balcony").unwrap();
        match scanner.next(&mut input) {
            Ok(Some(Event::Element(frame))) => {
                Stanza::adopt(&frame, ns::CLIENT, Some(&from)).expect("a stanza")
            }
            other => panic!("{other:?}"),
        }
    }

    const HEADER: &str = "<stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x'>";

    #[test]
    fn the_sender_is_who_the_stream_says() {
        let got = adopted(
            "<message from='tybalt@capulet.lit' id='a' to='ROMEO@montague.lit'>\
             <body>Art thou?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
            HEADER,
        );
        assert_eq!(
            got.text(),
            "<message to='romeo@montague.lit' from='juliet@capulet.lit/balcony' id='a'>\
             <body>Art thou?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        );
        assert_eq!(got.id_raw(), Some("a"));
        let names: Vec<_> = got.children().map(|child| (child.name, child.ns)).collect();
        assert_eq!(
            names,
            [("body", ns::CLIENT), ("active", "http://jabber.org/protocol/chatstates")]
        );
    }

    #[test]
    fn what_the_stream_header_binds_moves_into_the_stanza() {
        let got = adopted("<iq type='get' id='1'><x:q a='1'/></iq>", HEADER);
        let child = got.payload().unwrap();
        assert_eq!((child.name, child.ns), ("q", "urn:x"));
        assert!(child.tree().is_some(), "{}", child.text);
    }

    #[test]
    fn the_language_of_the_stream_goes_with_the_stanza() {
        let from = "from='juliet@capulet.lit/balcony'";
        let got = |stream: &str, own: &str| {
            let header = HEADER.replace(" xmlns:x", &format!(" {stream} xmlns:x"));
            adopted(&format!("<message id='1'{own}><x:a/></message>"), &header).text().to_owned()
        };
        let expected =
            |lang: &str| format!("<message {from} id='1'{lang}><a xmlns='urn:x'/></message>");
        for (stream, own, lang) in [
            ("xml:lang='de-CH'", "", " xml:lang='de-CH'"),
            // A server must not change what a stanza says itself.
            ("xml:lang='de'", " xml:lang='it'", " xml:lang='it'"),
            ("xml:lang='de'", " xml:lang=''", " xml:lang=''"),
            // What every stream of ours says goes without saying, and so does what nobody said.
            ("xml:lang='en'", "", ""),
            ("xml:lang='EN'", "", ""),
            ("", "", ""),
            ("xml:lang=''", "", ""),
            ("xml:lang='no language'", "", ""),
            ("xml:lang='&lt;'", "", ""),
        ] {
            assert_eq!(got(stream, own), expected(lang), "{stream}{own}");
        }
        // Without a prefix of the stream it takes another way.
        let header = HEADER.replace(" xmlns:x", " xml:lang='de' xmlns:x");
        let plain = adopted("<iq type='get' id='1'><q xmlns='urn:q'/></iq>", &header);
        assert_eq!(plain.id_raw(), Some("1"));
        assert!(plain.text().contains(" id='1' xml:lang='de'><q"), "{}", plain.text());
        assert_eq!(plain.payload().map(|child| child.text), Some("<q xmlns='urn:q'/>"));
    }

    #[test]
    fn addresses_are_spliced_and_the_index_follows() {
        let one = stanza("<presence id='p'><show>away</show><c xmlns='urn:c'/></presence>");
        let (to, from) = (Jid::parse("a@b").unwrap(), Jid::parse("c@d/e'f").unwrap());
        let two = one.between(&from, &to);
        assert_eq!(
            two.text(),
            "<presence to='a@b' from='c@d/e&apos;f' id='p'><show>away</show><c xmlns='urn:c'/>\
             </presence>"
        );
        assert_eq!(two.child("c", "urn:c").unwrap().text, "<c xmlns='urn:c'/>");
        let three = two.with_to(&Jid::parse("longer@example.org").unwrap());
        assert_eq!(three.child("show", ns::CLIENT).unwrap().text, "<show>away</show>");
        assert_eq!(three.id_raw(), Some("p"));
        let mut out = Vec::new();
        one.write_to(&to, &mut out);
        assert!(out.starts_with(b"<presence to='a@b' id='p'>"));
    }

    #[test]
    fn children_are_added_and_dropped() {
        let one = stanza("<message to='a@b'><body>1</body><x xmlns='urn:x'/></message>");
        let two = one.with_child("<y xmlns='urn:y'/>");
        assert_eq!(
            two.text(),
            "<message to='a@b'><body>1</body><x xmlns='urn:x'/><y xmlns='urn:y'/></message>"
        );
        let three = two.without(|child| child.ns == "urn:x");
        assert_eq!(three.text(), "<message to='a@b'><body>1</body><y xmlns='urn:y'/></message>");
        assert_eq!(stanza("<message/>").with_child("<a/>").text(), "<message><a/></message>");
        assert_eq!(stanza("<message><a/></message>").without(|_| true).text(), "<message/>");
    }

    #[test]
    fn answers_go_back_and_answers_get_none() {
        let iq = stanza("<iq type='get' id='&lt;1' to='capulet.lit' from='a@b/c'><q/></iq>");
        let result = iq.result("<q xmlns='urn:q'>1</q>");
        assert_eq!(
            result.text(),
            "<iq to='a@b/c' from='capulet.lit' id='&lt;1' type='result'>\
             <q xmlns='urn:q'>1</q></iq>"
        );
        assert_eq!(result.payload().unwrap().ns, "urn:q");
        let error = StanzaError::new(crate::error::Condition::ItemNotFound);
        assert!(result.error_answer(&error).is_none());
        assert!(iq.error_answer(&error).unwrap().text().contains("item-not-found"));
    }

    #[test]
    fn a_recipient_that_is_no_jid_is_told_apart_from_none() {
        let bad = stanza("<message to='@x'/>");
        assert!(bad.to_malformed() && bad.to().is_none());
        assert!(!stanza("<message/>").to_malformed());
    }

    #[test]
    fn written_result_is_the_result() {
        for request in [
            "<iq from='a@b/c&apos;d' to='b' id='&quot;1' type='get'><q xmlns='urn:q'/></iq>",
            "<iq from='a@b/c' id=\"it's\" type='set'><q xmlns='urn:q'/></iq>",
            "<iq from='a@b/c' to='@' id='1' type='get'><q xmlns='urn:q'/></iq>",
        ] {
            let iq = stanza(request);
            for payload in ["", "<q xmlns='urn:q'>1</q>"] {
                let mut out = Vec::new();
                iq.write_result(payload, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), iq.result(payload).text());
            }
        }
    }
}
