//! EXTERNAL and ANONYMOUS: who comes without a password.

use super::*;

#[test]
fn anonymous_is_let_in_with_a_trace_or_without() {
    let context = Arc::new(context());
    let none = start(&context, "ANONYMOUS", None);
    assert_eq!(identity(none), Identity::Anonymous(None));
    let empty = start(&context, "ANONYMOUS", Some(b""));
    assert_eq!(identity(empty), Identity::Anonymous(None));
    let traced = start(&context, "ANONYMOUS", Some(b"sirhc"));
    assert_eq!(identity(traced), Identity::Anonymous(Some("sirhc".to_owned())));
    for wrong in [&b"a\nb"[..], b"\xff", &[b'x'; 256]] {
        let step = start(&context, "ANONYMOUS", Some(wrong));
        assert_eq!(error(step), SaslError::MalformedRequest);
    }
}

fn external(peer: Peer, certificate: &[&str], from: Option<&str>, authzid: &str) -> Step {
    let context = Context {
        peer,
        certificate: certificate.iter().map(ToString::to_string).collect(),
        from: from.map(str::to_owned),
        ..context()
    };
    begin(context, "EXTERNAL", authzid.as_bytes())
}

#[test]
fn client_logs_in_as_whom_its_certificate_names() {
    use SaslError::{AccountDisabled, InvalidAuthzid, MalformedRequest, NotAuthorized};
    const JULIET: &str = "juliet@capulet.lit";
    const NURSE: &str = "nurse@capulet.lit";
    let ask = |certificate: &[&str], from: Option<&str>, authzid: &str| match external(
        Peer::Client,
        certificate,
        from,
        authzid,
    ) {
        Step::Success(success) => Ok(success.identity),
        step => Err(error(step)),
    };
    let juliet = Ok(account(JULIET));
    // XEP-0178 §2: one address, named or not.
    assert_eq!(ask(&[JULIET], None, ""), juliet);
    assert_eq!(ask(&[JULIET], None, JULIET), juliet);
    assert_eq!(ask(&[JULIET], Some(JULIET), "Juliet@capulet.lit"), juliet);
    // An account without a password, and one whose password expired, have a certificate still.
    assert_eq!(ask(&[NURSE], None, ""), Ok(account(NURSE)));
    let paris = "paris@capulet.lit";
    assert_eq!(ask(&[paris], None, ""), Ok(account(paris)));
    // Several: it must say which; those of other domains do not count.
    assert_eq!(ask(&[JULIET, NURSE], None, ""), Err(InvalidAuthzid));
    assert_eq!(ask(&[JULIET, NURSE], None, JULIET), juliet);
    assert_eq!(ask(&["juliet@montague.lit", JULIET], None, ""), juliet);
    // Nobody else.
    assert_eq!(ask(&[JULIET], None, NURSE), Err(InvalidAuthzid));
    assert_eq!(ask(&[JULIET], None, "juliet@capulet.lit/x"), Err(InvalidAuthzid));
    assert_eq!(ask(&[JULIET], Some(NURSE), ""), Err(InvalidAuthzid));
    let romeo = "romeo@montague.lit";
    assert_eq!(ask(&[romeo], None, romeo), Err(NotAuthorized));
    assert_eq!(ask(&["capulet.lit"], None, ""), Err(NotAuthorized));
    assert_eq!(ask(&[], None, ""), Err(NotAuthorized));
    assert_eq!(ask(&[], None, JULIET), Err(NotAuthorized));
    // And only into accounts that are there.
    assert_eq!(ask(&["rosaline@capulet.lit"], None, ""), Err(NotAuthorized));
    assert_eq!(ask(&["tybalt@capulet.lit"], None, ""), Err(AccountDisabled));
    assert_eq!(ask(&[JULIET], None, "a\0b"), Err(MalformedRequest));
}

#[test]
fn server_is_the_domain_its_stream_came_from_if_the_certificate_covers_it() {
    use SaslError::{InvalidAuthzid, NotAuthorized};
    const HOME: &str = "montague.lit";
    const ROOMS: &str = "conference.montague.lit";
    let ask = |certificate: &[&str], from: Option<&str>, authzid: &str| match external(
        Peer::Server,
        certificate,
        from,
        authzid,
    ) {
        Step::Success(success) => Ok(success.identity),
        step => Err(error(step)),
    };
    let domain = |name: &str| Ok(Identity::Domain(name.to_owned()));
    // XEP-0178 §3: "=" is whom the stream came from.
    assert_eq!(ask(&[HOME, ROOMS], Some(ROOMS), ""), domain(ROOMS));
    assert_eq!(ask(&[HOME, ROOMS], Some(HOME), HOME), domain(HOME));
    assert_eq!(ask(&[HOME], None, ""), domain(HOME));
    assert_eq!(ask(&[HOME, ROOMS], None, ROOMS), domain(ROOMS));
    assert_eq!(ask(&[HOME], Some(ROOMS), ""), Err(NotAuthorized));
    assert_eq!(ask(&[], Some(HOME), HOME), Err(NotAuthorized));
    assert_eq!(ask(&["romeo@montague.lit"], None, ""), Err(NotAuthorized));
    assert_eq!(ask(&[HOME, ROOMS], None, ""), Err(InvalidAuthzid));
    assert_eq!(ask(&[HOME, ROOMS], Some(HOME), ROOMS), Err(InvalidAuthzid));
    assert_eq!(ask(&[HOME], Some(HOME), "capulet.lit"), Err(InvalidAuthzid));
}
