//! Handshakes from the first message to the last, right and wrong.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use super::super::binding::{ChannelBinding, Offer};
use super::super::client::{Binding, Client, ClientError, Login, Offered};
use super::super::credentials::{ITERATIONS_DEFAULT, client_key};
use super::super::decoy::Decoy;
use super::*;

mod external;
mod scram;
mod spoilt;

const PASSWORD: &str = "R0m30Myr0m30";

/// The store: Juliet, Tybalt who is disabled, Paris whose password expired, and Peter who came
/// from elsewhere with keys for SHA-1 alone; all with one password, since hashing takes a while.
fn find(account: &str) -> Found {
    static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();
    let credentials =
        CREDENTIALS.get_or_init(|| Credentials::new(PASSWORD, ITERATIONS_DEFAULT).unwrap());
    match account {
        "juliet@capulet.lit" => Found::Active(credentials.clone()),
        "tybalt@capulet.lit" => Found::Disabled(credentials.clone()),
        "paris@capulet.lit" => Found::Expired(credentials.clone()),
        "peter@capulet.lit" => {
            let keys = credentials.keys(Hash::Sha1).unwrap().clone();
            Found::Active(Credentials::default().with(keys))
        }
        "nurse@capulet.lit" => Found::Active(Credentials::default()),
        "sampson@capulet.lit" => Found::Unavailable,
        _ => Found::Unknown,
    }
}

/// Stands in for RFC 7622: small letters, at most one @, no resource.
fn normalize(text: &str) -> Option<String> {
    let fits = text.matches('@').count() <= 1
        && !text.contains(['/', ' ', '"', '&', '\''])
        && !text.starts_with('@')
        && !text.ends_with('@');
    fits.then(|| text.to_lowercase())
}

fn bindings() -> Vec<ChannelBinding> {
    vec![ChannelBinding::TlsExporter(vec![1; 32]), ChannelBinding::TlsServerEndPoint(vec![2; 32])]
}

fn context() -> Context {
    Context {
        offer: Offer::new(Mechanism::ALL, bindings()),
        domain: "capulet.lit".to_owned(),
        peer: Peer::Client,
        secure: true,
        from: None,
        certificate: Vec::new(),
        normalize,
        decoy: Arc::new(Decoy::new(&[7; 32], ITERATIONS_DEFAULT).unwrap()),
    }
}

fn unbound() -> Context {
    Context { offer: Offer::new(Mechanism::ALL, Vec::new()), ..context() }
}

/// Carries out look-ups and checks until something goes over the wire or the handshake ends.
fn settle(mut step: Step) -> Step {
    loop {
        step = match step {
            Step::Lookup(lookup) => {
                let found = find(lookup.account());
                lookup.found(found)
            }
            Step::Check(check) => check.run(),
            step => return step,
        }
    }
}

fn begin(context: Context, mechanism: &str, initial: &[u8]) -> Step {
    settle(start(&Arc::new(context), mechanism, Some(initial)))
}

fn error(step: Step) -> SaslError {
    match step {
        Step::Failure(failure) => failure.error,
        step => panic!("not a failure: {step:?}"),
    }
}

fn identity(step: Step) -> Identity {
    match step {
        Step::Success(success) => success.identity,
        step => panic!("not a success: {step:?}"),
    }
}

fn account(name: &str) -> Identity {
    Identity::Account(name.to_owned())
}

fn challenged(step: Step) -> (String, Awaiting) {
    match step {
        Step::Challenge(data, awaiting) => (String::from_utf8(data).unwrap(), awaiting),
        step => panic!("not a challenge: {step:?}"),
    }
}

fn login(username: &str, password: &str) -> Login {
    Login {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_owned()),
        ..Login::default()
    }
}

/// A whole handshake of our client with our server; the client verifies the server too.
fn shake(context: Context, mechanism: Mechanism, login: Login) -> Step {
    let mut client = Client::new(mechanism, login).unwrap();
    let mut step = begin(context, mechanism.name(), &client.initial());
    while let Step::Challenge(data, awaiting) = step {
        step = settle(awaiting.respond(&client.respond(&data).unwrap()));
    }
    if let Step::Success(success) = &step {
        assert_eq!(success.mechanism, mechanism);
        client.finish(success.data.as_deref()).unwrap();
    }
    step
}

/// What a client does about channel binding that suits the mechanism, with the first we offer.
fn suitable(mechanism: Mechanism) -> Binding {
    match mechanism.needs_binding() {
        true => Binding::Bound(bindings().remove(0)),
        false => Binding::Unable,
    }
}

fn passwords() -> impl Iterator<Item = Mechanism> {
    Mechanism::ALL.into_iter().filter(|one| one.is_password())
}

#[test]
fn right_password_logs_in_by_every_mechanism() {
    for mechanism in passwords() {
        let login = Login { binding: suitable(mechanism), ..login("Juliet", PASSWORD) };
        let step = shake(context(), mechanism, login);
        assert_eq!(identity(step), account("juliet@capulet.lit"), "{mechanism}");
    }
}

#[test]
fn wrong_password_and_unknown_account_are_not_authorized() {
    for mechanism in passwords() {
        for (name, password) in [("juliet", "Capulet!"), ("rosaline", PASSWORD), ("nurse", "x")] {
            let login = Login { binding: suitable(mechanism), ..login(name, password) };
            let step = shake(context(), mechanism, login);
            assert_eq!(error(step), SaslError::NotAuthorized, "{mechanism} {name}");
        }
    }
}

#[test]
fn disabled_and_expired_are_told_to_who_knows_the_password_only() {
    for mechanism in passwords() {
        for (name, told) in
            [("tybalt", SaslError::AccountDisabled), ("paris", SaslError::CredentialsExpired)]
        {
            for (password, expected) in [(PASSWORD, told), ("x", SaslError::NotAuthorized)] {
                let login = Login { binding: suitable(mechanism), ..login(name, password) };
                assert_eq!(error(shake(context(), mechanism, login)), expected);
            }
        }
    }
}

#[test]
fn failing_store_is_a_temporary_failure() {
    for mechanism in passwords() {
        let login = Login { binding: suitable(mechanism), ..login("sampson", PASSWORD) };
        let step = shake(context(), mechanism, login);
        assert_eq!(error(step), SaslError::TemporaryAuthFailure);
    }
}

#[test]
fn failure_names_cause_and_account_for_the_log() {
    let cause = |name: &str, password: &str| match shake(
        context(),
        Mechanism::ScramSha256,
        login(name, password),
    ) {
        Step::Failure(failure) => (failure.cause, failure.account.unwrap()),
        step => panic!("not a failure: {step:?}"),
    };
    assert_eq!(cause("juliet", "x"), ("wrong password", "juliet@capulet.lit".to_owned()));
    assert_eq!(cause("rosaline", "x").0, "no such account");
    assert_eq!(cause("peter", PASSWORD).0, "the account has no password for this mechanism");
}

#[test]
fn account_from_elsewhere_logs_in_by_what_it_has_and_is_completed_by_plain() {
    let step = shake(context(), Mechanism::ScramSha1, login("peter", PASSWORD));
    assert_eq!(identity(step), account("peter@capulet.lit"));
    let step = shake(context(), Mechanism::ScramSha256, login("peter", PASSWORD));
    assert_eq!(error(step), SaslError::NotAuthorized);

    let renewed = |name: &str| match shake(context(), Mechanism::Plain, login(name, PASSWORD)) {
        Step::Success(success) => success.renewed,
        step => panic!("not a success: {step:?}"),
    };
    let credentials = renewed("peter").unwrap();
    assert!(credentials.is_current(ITERATIONS_DEFAULT));
    assert!(credentials.check_plain(PASSWORD));
    assert!(renewed("juliet").is_none(), "hers are as good as new");
}

#[test]
fn broken_or_impossible_names_fail_before_any_look_up() {
    use SaslError::{MalformedRequest, NotAuthorized};
    for (message, expected) in [
        ("n,,n=,r=abc", MalformedRequest),
        ("n,,n=ju=liet,r=abc", MalformedRequest),
        ("n,,m=x,n=juliet,r=abc", NotAuthorized),
        ("n,,n=juliet\u{7},r=abc", NotAuthorized),
        ("n,,n=\u{ad},r=abc", NotAuthorized),
        ("n,,n=juliet@capulet.lit,r=abc", NotAuthorized),
        ("n,,n=capulet.lit/juliet,r=abc", NotAuthorized),
        ("n,,n=romeo@montague.lit/x,r=abc", NotAuthorized),
        ("n,,n=ju liet,r=abc", NotAuthorized),
    ] {
        match start(&Arc::new(context()), "SCRAM-SHA-1", Some(message.as_bytes())) {
            Step::Failure(failure) => assert_eq!(failure.error, expected, "{message}"),
            step => panic!("{message} led to {step:?}"),
        }
    }
}

#[test]
fn names_are_prepared_before_they_are_looked_up() {
    for name in ["juliet", "JULIET", "ju\u{ad}liet", "\u{ff4a}uliet"] {
        let message = format!("n,,n={name},r=abc");
        match start(&Arc::new(context()), "SCRAM-SHA-1", Some(message.as_bytes())) {
            Step::Lookup(lookup) => assert_eq!(lookup.account(), "juliet@capulet.lit"),
            step => panic!("{name} led to {step:?}"),
        }
    }
}

#[test]
fn nobody_acts_as_somebody_else() {
    for mechanism in passwords() {
        for (authzid, allowed) in [
            ("juliet@capulet.lit", true),
            ("JULIET@capulet.lit", true),
            ("romeo@montague.lit", false),
            ("nurse@capulet.lit", false),
            ("juliet@montague.lit", false),
            ("juliet@capulet.lit/balcony", false),
            ("capulet.lit", false),
            ("juliet", false),
            ("a,b=c", false),
        ] {
            let login = Login {
                binding: suitable(mechanism),
                authzid: Some(authzid.to_owned()),
                ..login("juliet", PASSWORD)
            };
            let step = shake(context(), mechanism, login);
            match allowed {
                true => assert_eq!(identity(step), account("juliet@capulet.lit")),
                false => {
                    assert_eq!(error(step), SaslError::InvalidAuthzid, "{mechanism} {authzid}")
                }
            }
        }
    }
}

#[test]
fn stream_from_somebody_else_is_refused() {
    for mechanism in passwords() {
        for (from, allowed) in [("juliet@capulet.lit", true), ("nurse@capulet.lit", false)] {
            let context = Context { from: Some(from.to_owned()), ..context() };
            let login = Login { binding: suitable(mechanism), ..login("juliet", PASSWORD) };
            let step = shake(context, mechanism, login);
            match allowed {
                true => assert_eq!(identity(step), account("juliet@capulet.lit")),
                false => assert_eq!(error(step), SaslError::InvalidAuthzid),
            }
        }
    }
}

#[test]
fn mechanism_that_is_not_offered_is_refused_by_the_right_name() {
    use SaslError::{EncryptionRequired, InvalidMechanism, MechanismTooWeak};
    let ask = |secure: bool, offered: &[Mechanism], name: &str| {
        let offer = Offer::new(offered.iter().copied(), bindings());
        let context = Context { secure, offer, ..context() };
        error(begin(context, name, b""))
    };
    let scram = [Mechanism::ScramSha256, Mechanism::ScramSha512Plus];
    assert_eq!(ask(true, &scram, "DIGEST-MD5"), InvalidMechanism);
    assert_eq!(ask(true, &scram, ""), InvalidMechanism);
    assert_eq!(ask(true, &scram, "scram-sha-256"), InvalidMechanism);
    assert_eq!(ask(true, &scram, "EXTERNAL"), InvalidMechanism);
    assert_eq!(ask(true, &scram, "ANONYMOUS"), InvalidMechanism);
    assert_eq!(ask(true, &scram, "SCRAM-SHA-512"), InvalidMechanism);
    assert_eq!(ask(true, &scram, "PLAIN"), MechanismTooWeak);
    assert_eq!(ask(true, &scram, "SCRAM-SHA-1"), MechanismTooWeak);
    assert_eq!(ask(true, &[], "PLAIN"), InvalidMechanism);
    assert_eq!(ask(true, &[Mechanism::External], "PLAIN"), InvalidMechanism);
    assert_eq!(ask(false, &[], "PLAIN"), EncryptionRequired);
    assert_eq!(ask(false, &scram, "PLAIN"), EncryptionRequired);
    assert_eq!(ask(false, &[], "DIGEST-MD5"), InvalidMechanism);
}

#[test]
fn without_initial_response_the_client_is_asked_for_it() {
    for mechanism in passwords() {
        let context = Arc::new(context());
        let (challenge, awaiting) = challenged(start(&context, mechanism.name(), None));
        assert_eq!(challenge, "");
        let login = Login { binding: suitable(mechanism), ..login("juliet", PASSWORD) };
        let mut client = Client::new(mechanism, login).unwrap();
        let mut step = settle(awaiting.respond(&client.respond(b"").unwrap()));
        while let Step::Challenge(data, awaiting) = step {
            step = settle(awaiting.respond(&client.respond(&data).unwrap()));
        }
        assert_eq!(identity(step), account("juliet@capulet.lit"));
    }
}

#[test]
fn empty_initial_response_is_malformed_where_something_is_needed() {
    for mechanism in passwords() {
        let step = begin(context(), mechanism.name(), b"");
        assert_eq!(error(step), SaslError::MalformedRequest);
    }
}

#[test]
fn peer_may_abort() {
    let context = Arc::new(context());
    let (_, awaiting) = challenged(start(&context, "PLAIN", None));
    assert_eq!(awaiting.abort().error, SaslError::Aborted);
    let step = settle(start(&context, "SCRAM-SHA-1", Some(b"n,,n=juliet,r=abc")));
    let failure = challenged(step).1.abort();
    assert_eq!(failure.error, SaslError::Aborted);
    assert_eq!(failure.account.as_deref(), Some("juliet@capulet.lit"));
}

#[test]
fn steps_print_no_secret() {
    let step = start(&Arc::new(context()), "PLAIN", Some(b"\0juliet\0R0m30Myr0m30"));
    let Step::Lookup(lookup) = step else {
        panic!("no look-up");
    };
    let step = lookup.found(find("juliet@capulet.lit"));
    let printed = format!("{step:?}");
    assert_eq!(printed, "Check(\"juliet@capulet.lit\")");
}
