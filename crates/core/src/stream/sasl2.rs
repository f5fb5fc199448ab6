//! XEP-0388: the login that tells the server at once what the stream is to become. The stream goes on
//! behind it without a restart.

use verona_xml::{Element, Tree, Writer};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::error::SaslError;
use verona_xmpp::sasl::server as machine;
use zeroize::Zeroizing;

use crate::server::Host;
use crate::stream::features::{self, Offers};
use crate::stream::login::{self, Profile, Proven};
use crate::stream::open::{End, Open};

/// Carries out one login that began with `authenticate`; None after a failure that the client was
/// told, so that it may try again.
pub async fn authenticate(
    open: &mut Open,
    request: &Tree,
    offers: &Offers,
    host: &Host,
) -> Result<Option<Jid>, End> {
    let root = request.root();
    let mechanism = root.attr("mechanism").unwrap_or_default();
    let step = match initial_response(root) {
        Ok(initial) => {
            let initial = initial.as_ref().map(|initial| initial.as_slice());
            machine::start(&offers.sasl2, mechanism, initial)
        }
        Err(error) => login::failure(error),
    };
    let Some(proven) = login::handshake(open, step, Profile::Sasl2).await? else { return Ok(None) };
    let mut text = success(&proven, &proven.account, &[]);
    // §2.6.1: the features follow at once.
    text.push_str(&features::before_bind(open, host));
    open.send(&text).await?;
    Ok(Some(proven.account))
}

/// §2.2: an element without text is empty data, and no element is none.
fn initial_response(request: Element<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, SaslError> {
    let element = request.child("initial-response", ns::SASL2);
    element.map(|element| login::decode(&element.text())).transpose()
}

/// §2.6.1: who is logged in, and what became of what was asked for along with it.
fn success(proven: &Proven, who: &Jid, results: &[String]) -> String {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("success", ns::SASL2);
    if let Some(data) = &proven.data {
        writer.start("additional-data", ns::SASL2).text(&encoding::encode(data)).end();
    }
    writer.start("authorization-identifier", ns::SASL2).text(who.as_str()).end();
    for result in results {
        writer.raw_element(result, ns::CLIENT);
    }
    writer.end();
    writer.finish()
}
