//! XEP-0198 on a server stream that runs: the peer's commands and, when this server opened the
//! stream, its answers.

use std::sync::Arc;
use std::task::{Context, Poll};

use verona_xmpp::error::{Condition, StreamCondition, StreamError};

use crate::federation::session::{End, Session};
use crate::federation::streams::Leave;
use crate::stream::resume::failed;
use crate::stream::server::managing::Command;
use crate::stream::server::resumable;
use crate::stream::server::side::Role;

impl Session {
    /// XEP-0198 §3 to §6 between servers.
    pub(super) fn manage(&mut self, command: Command) -> Result<(), End> {
        let receiving = self.place.peer.role == Role::Receiving;
        match (command, &mut self.managed) {
            (Command::Request, Some(_)) => self.tell(true),
            (Command::Answer(Some(h)), Some(managed)) => {
                managed.acknowledged(h).map_err(End::Error)?;
                self.times.asked = None;
                self.has_taken = true;
                self.settle();
                self.ask();
            }
            (Command::Enable(secs), None) if receiving => self.enable(secs),
            (Command::Resume(Some((id, h))), None) if receiving => self.resume(id, h),
            (Command::Enabled { id, secs }, Some(managed)) if !receiving => {
                self.times.hold = None;
                if let Some(id) = id {
                    managed.id = id;
                    managed.resume_secs = secs;
                }
            }
            (Command::Failed(_), Some(_)) if !receiving => {
                self.times.hold = None;
                if let Some(managed) = self.managed.take() {
                    self.unproven.adopt(*managed);
                    self.ping();
                }
            }
            (Command::Enable(_) | Command::Resume(_), _) => {
                self.output.say(failed(Condition::UnexpectedRequest, None).as_bytes());
            }
            (Command::Answer(None), Some(_)) => {
                let error = StreamError::new(StreamCondition::UndefinedCondition);
                return Err(End::Error(error.text("an acknowledgement needs a count")));
            }
            // What crossed with the end of the counting.
            (Command::Request | Command::Answer(_) | Command::Failed(_), _) => {}
            _ => return Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        }
        Ok(())
    }

    pub(super) fn enable(&mut self, wish_secs: u32) {
        let Some(first) = self.dialbacks.pairs.iter().next() else { return };
        let secs = wish_secs.min(self.server.policy().limits.resume_secs_max);
        let yields = self.yields();
        let (managed, answer) = self.server.streams.resumable.enable(&first.pair, secs, yields);
        self.output.say(answer.as_bytes());
        self.managed = Some(Box::new(managed));
        self.reclaim();
    }

    /// The peer begins anew: what an older stream of it had sent waits for this one.
    pub(super) fn reclaim(&mut self) {
        self.times.hold = None;
        for route in &self.routes {
            self.server.reclaim(route);
        }
    }

    pub(super) fn resume(&mut self, id: Box<str>, h: u32) {
        let Some(first) = self.dialbacks.pairs.iter().next() else { return };
        let (pair, yields) = (first.pair.clone(), self.yields());
        let resumable = self.server.streams.resumable.clone();
        self.resuming =
            Some(Box::pin(async move { resumable.resume(&pair, &id, h, yields).await }));
    }

    pub(super) fn yields(&self) -> resumable::Yield {
        let peer = self.place.peer.clone();
        Arc::new(move || peer.order(Leave::Yield))
    }

    pub(super) fn poll_resuming(&mut self, context: &mut Context<'_>) -> Option<End> {
        let Poll::Ready(outcome) = self.resuming.as_mut()?.as_mut().poll(context) else {
            return None;
        };
        self.resuming = None;
        match outcome {
            Ok(Ok(managed)) => {
                self.output.say(resumable::resumed(&managed).as_bytes());
                self.managed = Some(Box::new(managed));
                self.has_taken = true;
                self.times.hold = None;
                self.routes.iter().for_each(|route| drop(route.take_lost()));
                self.settle();
                self.resend();
                None
            }
            Ok(Err(handled)) => {
                self.output.say(failed(Condition::ItemNotFound, handled).as_bytes());
                None
            }
            Err(error) => Some(End::Error(error)),
        }
    }
}
