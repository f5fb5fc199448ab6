//! XEP-0313 §4.2: results as they are written to the asking session, and what closes them.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::hooks::Reply;
use verona_core::link::Link;
use verona_core::mailbox::Put;
use verona_core::router::wait_for_reader;
use verona_core::server::Server;
use verona_core::store::shape::Record;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns::{CLIENT, DELAY, FORWARD, MAM as NS};
use verona_xmpp::rsm::Response;

use crate::archive::find::Found;
use crate::archive::query::Query;

/// Writes the messages of a page, no faster than the session reads them. The result of the IQ comes
/// behind them, since it goes to the same mailbox.
pub async fn write_results(
    (server, account): (&Server, &Account),
    link: &Arc<Link>,
    query: &Query,
    found: &Found,
) -> Result<(), StanzaError> {
    let count = found.records.len();
    for place in 0..count {
        // §4.3.4: a flipped page holds the same messages.
        let place = if query.flip { count.saturating_sub(place).saturating_sub(1) } else { place };
        let Some(record) = found.records.get(place) else { continue };
        let text = result(server, account, (link, query), record);
        match link.mailbox.put(|out| out.extend_from_slice(text.as_bytes())) {
            Put::Taken => {}
            Put::Crowded => wait_for_reader(server, link).await,
            // The session is gone, or sleeps and holds no more: it may ask again.
            Put::Refused | Put::Overslept => {
                return Err(StanzaError::new(Condition::ResourceConstraint));
            }
        }
    }
    Ok(())
}

fn result(
    server: &Server,
    account: &Account,
    (link, query): (&Link, &Query),
    record: &Record,
) -> String {
    let stanza = std::str::from_utf8(&record.stanza).unwrap_or_default();
    let buffer = String::with_capacity(stanza.len().saturating_add(400));
    let mut writer = Writer::append_to(buffer, CLIENT);
    writer.start("message", CLIENT);
    writer.attr("to", link.jid.as_str()).attr("from", account.jid.as_str());
    writer.start("result", NS).attr("id", &server.ids.of(record.epoch, record.seq));
    if let Some(queryid) = &query.queryid {
        writer.attr("queryid", queryid);
    }
    writer.start("forwarded", FORWARD);
    writer.start("delay", DELAY).attr("stamp", &time(record)).end();
    writer.raw_element(stanza, CLIENT);
    writer.finish()
}

/// What closes a page: whether it was the last, and its ends (§4.3.1, §4.3.2).
pub fn fin(server: &Server, found: &Found) -> Reply {
    let id = |record: &Record| server.ids.of(record.epoch, record.seq);
    let ends = found.records.first().zip(found.records.last());
    let response = Response {
        ends: ends.map(|(first, last)| (id(first).into(), id(last).into())),
        index: found.index,
        count: found.count,
    };
    Reply::with(|writer| {
        writer.start("fin", NS);
        if found.complete {
            writer.attr("complete", "true");
        }
        response.write(writer);
        writer.end();
    })
}

/// What is known of the archive as a whole (§5).
pub fn metadata(server: &Server, ends: Option<(Record, Record)>) -> Reply {
    Reply::with(|writer| {
        writer.start("metadata", NS);
        if let Some((first, last)) = &ends {
            for (name, record) in [("start", first), ("end", last)] {
                writer.start(name, NS).attr("id", &server.ids.of(record.epoch, record.seq));
                writer.attr("timestamp", &time(record)).end();
            }
        }
        writer.end();
    })
}

/// When a message was sent or received.
fn time(record: &Record) -> String {
    date::write(i64::try_from(record.seq).unwrap_or(i64::MAX))
}
