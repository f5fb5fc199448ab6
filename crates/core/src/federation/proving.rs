//! XEP-0199 on a server stream that is not managed: pings whose answers prove what was sent before
//! them. The answer may come on another stream, if the peer may not send on this one.

use std::task::Context;
use std::time::Instant;

use verona_xml::Writer;
use verona_xmpp::ns;

use crate::federation::session::Session;

const NS_PING: &str = "urn:xmpp:ping";

impl Session {
    /// Sends a ping behind what was sent, now or as soon as it is time.
    pub(super) fn ping(&mut self) {
        let wait = self.unproven.ping_wait(Instant::now());
        let Some(wait) = wait.filter(|_| !self.is_leaving) else { return };
        if !wait.is_zero() {
            let due = tokio::time::Instant::now() + wait;
            if due < self.tick.deadline() {
                self.tick.as_mut().reset(due);
            }
            return;
        }
        let Some(pair) = self.routes.first().map(|route| &route.pair) else { return };
        let Some(question) = self.server.questions.open(&pair.local, &pair.remote) else { return };
        let mut writer = Writer::new(ns::SERVER);
        writer.start("iq", ns::SERVER).attr("type", "get").attr("id", &question.id);
        writer.attr("from", pair.local.as_str()).attr("to", pair.remote.as_str());
        writer.empty("ping", NS_PING).end();
        self.output.say(writer.finish().as_bytes());
        self.unproven.pinged(question);
        // Who has answered before and does so no longer is not there.
        if self.unproven.is_certain() {
            self.times.asked.get_or_insert_with(Instant::now);
        }
    }

    /// Waits for the answer; true when it has come, and more may be sent.
    pub(super) fn poll_proof(&mut self, context: &mut Context<'_>) -> bool {
        let proven = self.unproven.poll_answer(context).is_ready();
        if proven {
            self.times.asked = None;
            self.has_taken = true;
            self.settle();
            self.ping();
        }
        proven
    }
}
