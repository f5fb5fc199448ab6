//! RFC 6120 §8.2.3: requests that the server itself has sent and whose answers are awaited.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::limits::QUESTIONS_MAX;
use crate::token;

/// The questions that are open, by their ids.
#[derive(Debug, Default)]
pub struct Questions {
    open: Mutex<HashMap<Box<str>, Open, ahash::RandomState>>,
}

#[derive(Debug)]
struct Open {
    asker: Jid,
    asked: Jid,
    answer: oneshot::Sender<Stanza>,
}

/// An open question; dropping it closes it.
#[derive(Debug)]
pub struct Question {
    questions: Arc<Questions>,
    /// The id of the request.
    pub id: Box<str>,
    answer: oneshot::Receiver<Stanza>,
}

impl Questions {
    /// Opens a question; None when too many are open.
    pub fn open(self: &Arc<Self>, asker: &Jid, asked: &Jid) -> Option<Question> {
        let id: Box<str> = token::random().into();
        let (sender, answer) = oneshot::channel();
        let mut open = self.open.lock();
        if open.len() >= QUESTIONS_MAX {
            return None;
        }
        let (asker, asked) = (asker.clone(), asked.clone());
        open.insert(id.clone(), Open { asker, asked, answer: sender });
        Some(Question { questions: self.clone(), id, answer })
    }

    /// Takes an IQ for an answer: true when it answers an open question, and comes from who was
    /// asked to who asked.
    pub fn answer(&self, iq: &Stanza) -> bool {
        let Some(IqType::Result | IqType::Error) = iq.iq_type() else { return false };
        let Some(id) = iq.id_raw() else { return false };
        let mut open = self.open.lock();
        let fits = |open: &Open| iq.from() == Some(&open.asked) && iq.to() == Some(&open.asker);
        if !open.get(id).is_some_and(fits) {
            return false;
        }
        let Some(question) = open.remove(id) else { return false };
        drop(open);
        // Who asked may have stopped waiting just now.
        question.answer.send(iq.clone()).is_ok()
    }
}

impl Question {
    /// Waits for the answer, a result or an error; the caller limits the time.
    pub async fn answer(&mut self) -> Option<Stanza> {
        std::future::poll_fn(|context| self.poll_answer(context)).await
    }

    /// The same for who waits for other things, too; not to be asked again once it was ready.
    pub fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Stanza>> {
        Pin::new(&mut self.answer).poll(context).map(Result::ok)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn iq(kind: &str, from: &str, to: &str, id: &str) -> Stanza {
        let text = format!("<iq type='{kind}' from='{from}' to='{to}' id='{id}'/>");
        Stanza::parse(&text).unwrap()
    }

    #[tokio::test]
    async fn only_who_was_asked_answers_and_only_once() {
        let questions = Arc::new(Questions::default());
        let (asker, asked) = ("juliet@capulet.lit", "juliet@capulet.lit/balcony");
        let mut question = questions.open(&jid(asker), &jid(asked)).unwrap();
        let id = question.id.clone();
        for wrong in [
            iq("result", "romeo@montague.lit/orchard", asker, &id),
            iq("result", asked, "capulet.lit", &id),
            iq("result", asked, asker, "another"),
            iq("get", asked, asker, &id),
        ] {
            assert!(!questions.answer(&wrong), "{}", wrong.text());
        }
        let right = iq("result", asked, asker, &id);
        assert!(questions.answer(&right));
        assert!(!questions.answer(&right));
        assert_eq!(question.answer().await.unwrap().text(), right.text());
    }

    #[test]
    fn questions_are_bounded_and_end_when_nobody_waits() {
        let questions = Arc::new(Questions::default());
        let who = jid("capulet.lit");
        let open: Vec<_> = (0..QUESTIONS_MAX).filter_map(|_| questions.open(&who, &who)).collect();
        assert_eq!(open.len(), QUESTIONS_MAX);
        assert!(questions.open(&who, &who).is_none());
        drop(open);
        assert!(questions.open(&who, &who).is_some());
    }
}
