//! Dialback on a server stream that runs (XEP-0220 §2.6): more pairs of domains may come to share it.

use std::task::{Context, Poll};

use verona_xml::Element;

use crate::federation::session::{End, Session};
use crate::stream::server::dialback::{Change, Heard};

impl Session {
    pub(super) fn dialback(&mut self, element: Element<'_>) -> Result<(), End> {
        let heard = self.dialbacks.hear(element).map_err(End::Error)?;
        self.heard(heard).map_or(Ok(()), Err)
    }

    pub(super) fn poll_dialback(&mut self, context: &mut Context<'_>) -> Option<End> {
        while self.dialbacks.is_checking() {
            let Poll::Ready(heard) = self.dialbacks.poll(context) else { return None };
            if let Some(end) = self.heard(heard) {
                return Some(end);
            }
        }
        None
    }

    pub(super) fn heard(&mut self, heard: Heard) -> Option<End> {
        self.output.say(heard.say.as_bytes());
        if let Some(Change::MayReceive(_) | Change::MaySend(_)) = heard.change {
            self.note_pairs();
        }
        heard.ends.then_some(End::Closed)
    }
}
