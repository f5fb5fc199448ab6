//! A tiny peer in memory, with which the player itself is tested.
//!
//! It logs everybody in, answers pings, hands messages to the full JID they are for, says `twice` twice,
//! answers `<sm/>` with acks and closes the stream at `<bad/>`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc::{Sender, channel};

use crate::address::Address;
use crate::node::{NS_CLIENT, NS_STREAM, Node};
use crate::place::{Link, Place};
use crate::reader::{Item, Reader};

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const QUEUE: usize = 64;

/// The peer.
#[derive(Clone, Default)]
pub struct Fake {
    sessions: Arc<Mutex<BTreeMap<String, Sender<String>>>>,
    /// The bare JIDs of the accounts that were made.
    pub accounts: Arc<Mutex<Vec<String>>>,
}

impl Place for Fake {
    async fn account(&self, address: &Address, _password: &str) -> Result<(), String> {
        self.accounts.lock().unwrap().push(address.bare());
        Ok(())
    }

    async fn connect(&self, address: &Address) -> io::Result<Link> {
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(serve(self.clone(), far, address.clone()));
        Ok(Link::plain(near))
    }
}

async fn serve(fake: Fake, mut pipe: DuplexStream, address: Address) {
    let (sender, mut waiting) = channel::<String>(QUEUE);
    let mut reader = Reader::new();
    let mut authenticated = false;
    let mut buffer = [0; 512];
    loop {
        let count = tokio::select! {
            text = waiting.recv() => {
                let _ = pipe.write_all(text.unwrap_or_default().as_bytes()).await;
                continue;
            }
            count = pipe.read(&mut buffer) => count.unwrap_or(0),
        };
        if count == 0 || reader.push(&buffer[..count]).is_err() {
            break;
        }
        let mut restart = false;
        while let Some(item) = reader.pop() {
            let node = match item {
                Item::Open(_) => {
                    let _ = pipe.write_all(header(authenticated).as_bytes()).await;
                    continue;
                }
                Item::Element(node) => node,
                Item::Close => {
                    let _ = pipe.write_all(b"</stream:stream>").await;
                    return leave(&fake, &address);
                }
            };
            restart = node.name == "auth";
            authenticated |= restart;
            if node.child("bind", "urn:ietf:params:xml:ns:xmpp-bind").is_some() {
                fake.sessions.lock().unwrap().insert(address.full(), sender.clone());
            }
            let answer = answer(&fake, &address, &node);
            let _ = pipe.write_all(answer.as_bytes()).await;
            if node.name == "bad" {
                return leave(&fake, &address);
            }
        }
        if restart {
            reader = Reader::new();
        }
    }
    leave(&fake, &address);
}

fn leave(fake: &Fake, address: &Address) {
    fake.sessions.lock().unwrap().remove(&address.full());
}

fn header(authenticated: bool) -> String {
    let features = match authenticated {
        true => "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sub xmlns='s'/>".to_owned(),
        false => {
            format!("<mechanisms xmlns='{NS_SASL}'><mechanism>PLAIN</mechanism></mechanisms>")
        }
    };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{NS_CLIENT}' xmlns:stream='{NS_STREAM}' \
         id='1' version='1.0'><stream:features>{features}</stream:features>"
    )
}

fn answer(fake: &Fake, address: &Address, node: &Node) -> String {
    let id = node.attr("id").unwrap_or_default();
    match node.name.as_str() {
        "auth" => format!("<success xmlns='{NS_SASL}'/>"),
        "iq" if id == "bind" => format!(
            "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>{address}</jid></bind></iq>"
        ),
        "iq" => format!("<iq type='result' id='{id}' from='{}'/>", address.domain),
        "sm" => "<r xmlns='urn:xmpp:sm:3'/><done/><a xmlns='urn:xmpp:sm:3' h='1'/>".to_owned(),
        "presence" => format!("<presence from='{address}'/>"),
        "message" => {
            let body = node.child("body", NS_CLIENT).map(Node::text).unwrap_or_default();
            let text = format!("<message from='{address}' id='{id}'><body>{body}</body></message>");
            let to = node.attr("to").unwrap_or_default();
            if let Some(session) = fake.sessions.lock().unwrap().get(to) {
                for _ in 0..if body == "twice" { 2 } else { 1 } {
                    let _ = session.try_send(text.clone());
                }
            }
            String::new()
        }
        _ => "<stream:error><bad-format xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
              </stream:error></stream:stream>"
            .to_owned(),
    }
}

mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Failure;
    use crate::play::{perform, play};
    use crate::raw::Raw;
    use crate::script::Script;
    use crate::wire::Trouble;

    async fn outcome(script: &str) -> Result<(), Failure> {
        let script = Script::parse(script).unwrap();
        perform(&script, &Fake::default(), Duration::from_millis(300)).await
    }

    async fn reason(script: &str) -> (usize, String) {
        let failure = outcome(script).await.unwrap_err();
        (failure.line, failure.to_string())
    }

    const SPEAK: &str = "
        juliet comes online
        romeo sends
            <message to='juliet@capulet.lit/balcony' id='m1'><body>hark</body></message>
    ";

    #[tokio::test]
    async fn a_conversation_that_goes_as_written_passes() {
        let script = format!(
            "{SPEAK}
        juliet receives
            <message from='romeo@montague.lit/orchard' id='{{id=any}}'><body>hark</body></message>
        juliet sends
            <message to='romeo@montague.lit/orchard' id='{{id}}'><body>{{id}}?</body></message>
        juliet receives nothing
        romeo receives
            <message from='juliet@capulet.lit/balcony' id='m1'><body>m1?</body></message>
        romeo sees feature <sub xmlns='s'/>
        romeo sees no feature <sub xmlns='t'/>
        romeo logs out
        juliet disconnects
        "
        );
        let fake = Fake::default();
        play(&script, &fake).await.unwrap();
        assert_eq!(*fake.accounts.lock().unwrap(), ["juliet@capulet.lit", "romeo@montague.lit"]);
    }

    #[tokio::test]
    async fn what_nobody_receives_fails() {
        let (_, text) = reason(SPEAK).await;
        assert!(text.contains("at the end") && text.contains("juliet received"), "{text}");
        let (line, text) = reason(&format!("{SPEAK}\n        juliet receives nothing")).await;
        assert_eq!(line, 6);
        assert!(text.contains("<body>hark</body>"), "{text}");
        let left = format!("{SPEAK}\n        juliet logs out\n        romeo receives nothing");
        assert!(reason(&left).await.1.contains("juliet received"), "{left}");
    }

    #[tokio::test]
    async fn what_comes_twice_fails() {
        let script = "
        juliet comes online
        romeo sends
            <message to='juliet@capulet.lit/balcony'><body>twice</body></message>
        juliet receives
            <message from='romeo@montague.lit/orchard'><body>twice</body></message>
        ";
        assert!(reason(script).await.1.contains("at the end"));
    }

    #[tokio::test]
    async fn what_does_not_come_fails_in_time() {
        let (line, text) = reason("juliet receives\n  <message/>").await;
        assert_eq!(line, 1);
        assert!(text.contains("<message/>") && text.contains("did not come in time"), "{text}");
    }

    #[tokio::test]
    async fn what_differs_is_shown_from_both_sides() {
        let script = format!(
            "{SPEAK}
        juliet receives
            <message from='romeo@montague.lit/orchard'><body>lark</body></message>
        "
        );
        let (line, text) = reason(&script).await;
        assert_eq!(line, 6);
        for part in ["line 7", "lark", "hark", "at message/body", "romeo sends"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[tokio::test]
    async fn order_may_be_free() {
        let two = "
        juliet comes online
        romeo sends
            <message to='juliet@capulet.lit/balcony' id='1'/>
            <message to='juliet@capulet.lit/balcony' id='2'/>
        juliet receives in any order
            <message from='{any}' id='2'><body/></message>
            <message from='{any}' id='{any}'><body/></message>
        ";
        assert!(outcome(two).await.is_ok());
        let (_, text) = reason(&two.replace("id='2'>", "id='3'>")).await;
        assert!(text.contains("expected in any order"), "{text}");
        let (_, text) = reason(&two.replace(" in any order", "")).await;
        assert!(text.contains("attribute id"), "{text}");
    }

    #[tokio::test]
    async fn a_resource_can_be_bound_by_hand() {
        let script = "
        juliet authenticates
        juliet sends
            <iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>
        juliet receives
            <iq type='result' id='bind'>
                <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>
                    <jid>juliet@capulet.lit/balcony</jid>
                </bind>
            </iq>
        juliet receives nothing
        ";
        outcome(script).await.unwrap();
        let early = "juliet authenticates\njuliet receives nothing";
        assert!(reason(early).await.1.contains("only who is logged in"));
    }

    #[tokio::test]
    async fn acks_come_when_they_like() {
        let script = "
        juliet sends
            <sm/>
        juliet receives
            <done/>
        ";
        outcome(script).await.unwrap();
        let asked = script.replace("<done/>", "<r xmlns='urn:xmpp:sm:3'/>\n            <done/>");
        outcome(&asked).await.unwrap();
    }

    #[tokio::test]
    async fn stream_errors_are_seen() {
        let script = "juliet sends raw\n  <bad/>\njuliet sees stream error <bad-format/>";
        outcome(script).await.unwrap();
        let other = script.replace("<bad-format/>", "<conflict/>");
        assert!(reason(&other).await.1.contains("expected <conflict/>"));
        let nobody = reason("juliet sends raw\n  <bad/>\nromeo comes online").await.1;
        assert!(nobody.contains("<stream:error>"), "{nobody}");
    }

    #[tokio::test]
    async fn logins_that_succeed_against_the_script_fail() {
        assert!(reason("juliet cannot log in").await.1.contains("the login succeeded"));
        assert_eq!(reason("juliet connects\njuliet sees feature <sub xmlns='s'/>").await.0, 2);
        assert_eq!(reason("juliet logs in\njuliet sees no feature <sub xmlns='s'/>").await.0, 2);
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_configured_says_so() {
        let (line, text) = reason("registration closed\njuliet logs in").await;
        assert_eq!(line, 0);
        assert!(text.contains("cannot be configured"), "{text}");
    }

    #[tokio::test]
    async fn raw_connections_see_errors_and_ends() {
        let juliet = Address::parse("juliet@capulet.lit/balcony").unwrap();
        let fake = Fake::default();
        let mut raw = Raw::connect(&fake, &juliet).await.unwrap();
        raw.open().await.unwrap();
        raw.send(b"<bad/>").await.unwrap();
        raw.expect_stream_error("bad-format").await.unwrap();

        let mut raw = Raw::connect(&fake, &juliet).await.unwrap();
        raw.send(b"<stream><bad/>").await.unwrap();
        let trouble = raw.expect_stream_error("conflict").await.unwrap_err();
        assert!(matches!(trouble, Trouble::Unexpected(..)), "{trouble}");

        let mut raw = Raw::connect(&fake, &juliet).await.unwrap();
        raw.send(b"<<").await.unwrap();
        raw.expect_closed().await.unwrap();
    }
}
