//! EXTERNAL (RFC 4422 appendix A): the identity that a certificate proved (XEP-0178).

use std::str;

use super::context::{Context, Peer};
use super::error::{Refusal, SaslError};
use super::prep::TEXT_BYTES_MAX;

const NONE: Refusal = Refusal::unauthorized("the certificate proves no address here");

/// Whom the certificate lets the peer be, given the authorization identity that it sent, if any.
pub(super) fn identity(context: &Context, data: &[u8]) -> Result<String, Refusal> {
    let text = str::from_utf8(data)
        .ok()
        .filter(|text| text.len() <= TEXT_BYTES_MAX && !text.contains('\0'))
        .ok_or(Refusal::malformed("the authorization identity is no text"))?;
    let proven = proven(context);
    if proven.is_empty() {
        return Err(NONE);
    }
    let authzid = Some(text).filter(|text| !text.is_empty());
    let identity = match authzid {
        Some(authzid) => named(context, &proven, authzid)?,
        None => implied(context, &proven)?,
    };
    context.authorize(identity, authzid)?;
    Ok(identity.to_owned())
}

/// The addresses of the certificate that can log in here: accounts of this domain, or servers.
fn proven(context: &Context) -> Vec<&str> {
    let fits = |address: &&str| match (context.peer, address.split_once('@')) {
        (Peer::Client, Some((_, domain))) => domain == context.domain,
        (Peer::Server, None) => true,
        _ => false,
    };
    context.certificate.iter().map(String::as_str).filter(fits).collect()
}

/// XEP-0178 §2 (11.2): an address that the peer names must be in the certificate.
fn named<'a>(context: &Context, proven: &[&'a str], authzid: &str) -> Result<&'a str, Refusal> {
    let wanted = (context.normalize)(authzid);
    proven.iter().copied().find(|one| wanted.as_deref() == Some(one)).ok_or(Refusal::new(
        SaslError::InvalidAuthzid,
        "the certificate does not prove the authorization identity",
    ))
}

/// Without a name it is the only address of a client (XEP-0178 §2, 11.1 and 11.2), and what the
/// stream of a server came from (§3, 11.1).
fn implied<'a>(context: &Context, proven: &[&'a str]) -> Result<&'a str, Refusal> {
    match (context.peer, &context.from, proven) {
        (Peer::Server, Some(from), _) => proven.iter().copied().find(|one| one == from).ok_or(NONE),
        (_, _, [only]) => Ok(only),
        _ => Err(Refusal::new(
            SaslError::InvalidAuthzid,
            "the certificate proves several addresses and none was chosen",
        )),
    }
}
