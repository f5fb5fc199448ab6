//! XEP-0478: Stream Limits Advertisement. Clients learn how large a stanza may be and after how much
//! silence they are looked after, as it is enforced.

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, Manifest, Module, Offering, Spec, Stage,
};

const NS: &str = "urn:xmpp:stream-limits:0";

/// The module.
pub struct StreamLimits;

impl Module for StreamLimits {
    const MANIFEST: Manifest =
        Manifest { name: "stream_limits", specs: &[Spec("XEP-0478", "0.2.0")], ..Manifest::EMPTY };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.advertise(Stage::BeforeLogin, Self::before_login);
        on.advertise(Stage::BeforeBind, Self::before_bind);
    }
}

impl StreamLimits {
    /// XEP-0478 §3.1. Silence has no limit of its own here: the whole login has.
    fn before_login(&self, offering: &mut Offering<'_>) {
        write(offering, offering.limits.login_element_bytes_max, None);
    }

    /// XEP-0478 §4: the limits change with the login.
    fn before_bind(&self, offering: &mut Offering<'_>) {
        let limits = offering.limits;
        write(offering, limits.stanza_bytes_max, Some(limits.idle_probe_secs));
    }
}

fn write(offering: &mut Offering<'_>, bytes_max: usize, idle_secs: Option<u32>) {
    let writer = &mut *offering.writer;
    writer.start("limits", NS);
    writer.start("max-bytes", NS).text(&bytes_max.to_string()).end();
    if let Some(secs) = idle_secs {
        writer.start("idle-seconds", NS).text(&secs.to_string()).end();
    }
    writer.end();
}

#[cfg(test)]
mod tests {
    use verona_testkit::address::Address;
    use verona_testkit::raw::Raw;

    use super::*;
    use crate::testing::memory;

    #[tokio::test]
    async fn what_is_announced_before_the_login_is_what_is_enforced() {
        let place = memory("");
        let juliet = Address::parse("juliet@capulet.lit/balcony").unwrap();
        let open = async || {
            let mut raw = Raw::connect(&place, &juliet).await.unwrap();
            let features = raw.open().await.unwrap();
            let limits = features.child("limits", NS).unwrap();
            (raw, limits.child("max-bytes", NS).unwrap().text().parse::<usize>().unwrap())
        };
        let (frame, (mut raw, bytes_max)) = ("<x></x>", open().await);
        let element = |bytes: usize| {
            let padding = "x".repeat(bytes - frame.len());
            frame.replace("><", &[">", &padding, "<"].concat())
        };
        // It is read, and is nothing that can be done before a login.
        raw.send(element(bytes_max).as_bytes()).await.unwrap();
        raw.expect_stream_error("not-authorized").await.unwrap();
        let (mut raw, _) = open().await;
        raw.send(element(bytes_max + 1).as_bytes()).await.unwrap();
        raw.expect_stream_error("policy-violation").await.unwrap();
    }
}
