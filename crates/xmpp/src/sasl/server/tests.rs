//! Handshakes from the first message to the last, right and wrong.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use super::super::binding::{ChannelBinding, Offer};
use super::super::client::{Binding, Client, ClientError, Login, Offered};
use super::super::credentials::{ITERATIONS_DEFAULT, client_key};
use super::super::decoy::Decoy;
use super::*;

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
fn exchange_is_that_of_the_example_of_xep_0474() {
    // §6.3: user "user", password "pencil".
    let salt = [0x41, 0x25, 0xc2, 0x47, 0xe4, 0x3a, 0xb1, 0xe9, 0x3c, 0x6d, 0xff, 0x76];
    let salted = Hash::Sha1.stretch(b"pencil", &salt, NonZeroU32::new(4096).unwrap());
    let keys = Keys::from_salted_password(Hash::Sha1, (&salt, 4096), salted.as_ref()).unwrap();
    let context = Arc::new(Context {
        offer: Offer::new(
            [Mechanism::ScramSha1, Mechanism::ScramSha1Plus],
            vec![
                ChannelBinding::TlsServerEndPoint(vec![2; 32]),
                ChannelBinding::TlsExporter(b"THIS IS FAKE CB DATA".to_vec()),
            ],
        ),
        domain: "example.org".to_owned(),
        ..context()
    });
    let first = b"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6";
    let Step::Lookup(lookup) = start(&context, "SCRAM-SHA-1-PLUS", Some(first)) else {
        panic!("no look-up");
    };
    assert_eq!(lookup.account(), "user@example.org");
    let found = Found::Active(Credentials::default().with(keys));
    let nonce = "a09117a6-ac50-4f2f-93f1-93799c2bddf6";
    let (challenge, awaiting) = challenged(lookup.found_with_nonce(found, nonce));
    assert_eq!(
        challenge,
        "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,\
         s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08="
    );
    let step = awaiting.respond(
        b"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,\
          r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,\
          x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4=",
    );
    let Step::Success(success) = step else {
        panic!("not a success: {step:?}");
    };
    assert_eq!(success.identity, account("user@example.org"));
    assert_eq!(success.data.as_deref(), Some(&b"v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c="[..]));
}

#[test]
fn unknown_account_is_challenged_like_a_known_one() {
    let challenge = |mechanism: Mechanism, name: &str| {
        let first = format!("n,,n={name},r=abc");
        let (challenge, _) = challenged(begin(unbound(), mechanism.name(), first.as_bytes()));
        let parts: Vec<_> = challenge.split(',').map(str::to_owned).collect();
        let (nonce, salt) = (parts[0].clone(), parts[1].clone());
        let form: Vec<_> = parts.iter().map(|part| (part[..2].to_owned(), part.len())).collect();
        (nonce, salt, parts[2..].to_vec(), form)
    };
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let known = challenge(mechanism, "juliet");
        let unknown = challenge(mechanism, "rosaline");
        // Attributes, their order and lengths, iterations and hash agree.
        assert_eq!(known.3, unknown.3);
        assert_eq!(known.2, unknown.2);
        // The salt of either stays, that of others differs; the nonce never comes again.
        assert_eq!(unknown.1, challenge(mechanism, "Rosaline").1);
        assert_eq!(known.1, challenge(mechanism, "juliet").1);
        assert_ne!(unknown.1, challenge(mechanism, "benvolio").1);
        assert_ne!(unknown.0, challenge(mechanism, "rosaline").0);
    }
}

#[test]
fn nonce_is_long_printable_and_continues_that_of_the_client() {
    let (challenge, _) = challenged(begin(unbound(), "SCRAM-SHA-1", b"n,,n=juliet,r=abc"));
    let nonce = challenge.split(',').next().unwrap();
    let ours = nonce.strip_prefix("r=abc").unwrap();
    assert!(ours.len() >= 22, "128 bits in base64");
    assert!(ours.bytes().all(|byte| (b'!'..=b'~').contains(&byte)));
}

/// What comes of a first message, up to the challenge.
fn first_of(context: Context, mechanism: &str, message: &str) -> Result<(), SaslError> {
    match begin(context, mechanism, message.as_bytes()) {
        Step::Challenge(..) => Ok(()),
        step => Err(error(step)),
    }
}

#[test]
fn flag_of_channel_binding_must_suit_mechanism_and_offer() {
    use SaslError::{MalformedRequest, NotAuthorized};
    for hash in ["SHA-1", "SHA-256", "SHA-512"] {
        for (plus, offered, flag, expected) in [
            (false, true, "n", Ok(())),
            (false, false, "n", Ok(())),
            // The client could and we can, but it did not see it: a downgrade.
            (false, true, "y", Err(NotAuthorized)),
            (false, false, "y", Ok(())),
            (false, true, "p=tls-exporter", Err(MalformedRequest)),
            (true, true, "n", Err(MalformedRequest)),
            (true, true, "y", Err(MalformedRequest)),
            (true, true, "p=tls-exporter", Ok(())),
            (true, true, "p=tls-server-end-point", Ok(())),
            (true, true, "p=tls-unique", Err(NotAuthorized)),
            (true, true, "p=TLS-EXPORTER", Err(NotAuthorized)),
        ] {
            let context = if offered { context() } else { unbound() };
            let mechanism = format!("SCRAM-{hash}{}", if plus { "-PLUS" } else { "" });
            let message = format!("{flag},,n=juliet,r=abc");
            let came = first_of(context, &mechanism, &message);
            assert_eq!(came, expected, "{mechanism} {flag}");
        }
    }
}

#[test]
fn every_binding_of_both_sides_logs_in_and_no_other() {
    for binding in bindings() {
        let mine = Login { binding: Binding::Bound(binding), ..login("juliet", PASSWORD) };
        let step = shake(context(), Mechanism::ScramSha256Plus, mine);
        assert_eq!(identity(step), account("juliet@capulet.lit"));
    }
    // Somebody in the middle: the client sees another channel than we do.
    for binding in [
        ChannelBinding::TlsExporter(vec![9; 32]),
        ChannelBinding::TlsServerEndPoint(vec![1; 32]),
        ChannelBinding::TlsExporter(Vec::new()),
    ] {
        let theirs = Login { binding: Binding::Bound(binding), ..login("juliet", PASSWORD) };
        let step = shake(context(), Mechanism::ScramSha256Plus, theirs);
        assert_eq!(error(step), SaslError::NotAuthorized);
    }
}

#[test]
fn client_that_could_bind_logs_in_where_nobody_offers_it() {
    let could = Login { binding: Binding::NotOffered, ..login("juliet", PASSWORD) };
    let step = shake(unbound(), Mechanism::ScramSha256, could);
    assert_eq!(identity(step), account("juliet@capulet.lit"));
}

/// A handshake whose last message was tampered with: the right proof of a changed message.
fn last_with(change: impl Fn(&str, &str) -> String) -> SaslError {
    let login = login("juliet", PASSWORD);
    let mut client = Client::new(Mechanism::ScramSha256, login).unwrap();
    let first = begin(context(), "SCRAM-SHA-256", &client.initial());
    let (challenge, awaiting) = challenged(first);
    let last = client.respond(challenge.as_bytes()).unwrap();
    let last = String::from_utf8(last.to_vec()).unwrap();
    let (without_proof, proof) = last.rsplit_once(",p=").unwrap();
    error(awaiting.respond(change(without_proof, proof).as_bytes()))
}

#[test]
fn last_message_is_verified_in_every_part() {
    use SaslError::{MalformedRequest, NotAuthorized};
    type Change = fn(&str, &str) -> String;
    let changes: [(Change, SaslError); 11] = [
        (|rest, _| format!("{rest}x,p={}", encode(&[0; 32])), NotAuthorized),
        (|rest, proof| format!("{rest}x,p={proof}"), NotAuthorized),
        (|rest, _| format!("{rest},p={}", encode(&[0; 32])), NotAuthorized),
        (|rest, _| format!("{rest},p={}", encode(&[0; 20])), NotAuthorized),
        (|rest, _| format!("{rest},p="), NotAuthorized),
        (|rest, _| format!("{rest},p=????"), MalformedRequest),
        (|rest, _| rest.to_owned(), MalformedRequest),
        // Signed by the proof, hence an extension that was added on the way is noticed.
        (|rest, proof| format!("{rest},x=y,p={proof}"), NotAuthorized),
        (|rest, proof| format!("{rest},m=y,p={proof}"), NotAuthorized),
        // "biws" is "n,,", "eSws" is "y,,".
        (|rest, proof| format!("{},p={proof}", rest.replacen("biws", "eSws", 1)), NotAuthorized),
        (|rest, proof| format!("{},p={proof}", rest.replacen("biws", "biws=", 1)), NotAuthorized),
    ];
    for (number, (change, expected)) in changes.into_iter().enumerate() {
        assert_eq!(last_with(change), expected, "change {number}");
    }
}

/// What Juliet answers to a challenge if she wants that nonce in it; the proof is right.
fn prove(challenge: &str, nonce: &str) -> String {
    let Found::Active(credentials) = find("juliet@capulet.lit") else {
        panic!("she is there");
    };
    let keys = credentials.keys(Hash::Sha1).unwrap();
    let rounds = NonZeroU32::new(keys.iterations()).unwrap();
    let salted = Hash::Sha1.stretch(PASSWORD.as_bytes(), keys.salt(), rounds);
    let without_proof = format!("c=biws,{nonce}");
    let message = format!("n=juliet,r=abc,{challenge},{without_proof}");
    let signature = Hash::Sha1.hmac(keys.stored_key(), &[message.as_bytes()]);
    let proof = client_key(Hash::Sha1, &salted).xor(&signature);
    format!("{without_proof},p={}", encode(proof.as_ref()))
}

#[test]
fn right_proof_over_a_foreign_nonce_is_refused() {
    let begin = || challenged(begin(context(), "SCRAM-SHA-1", b"n,,n=juliet,r=abc"));
    let (challenge, awaiting) = begin();
    let nonce = challenge.split(',').next().unwrap();
    let step = awaiting.respond(prove(&challenge, nonce).as_bytes());
    assert_eq!(identity(step), account("juliet@capulet.lit"));
    let longer = format!("{nonce}x");
    for foreign in ["r=abc", &nonce[..nonce.len() - 1], &longer] {
        let (challenge, awaiting) = begin();
        let step = awaiting.respond(prove(&challenge, foreign).as_bytes());
        assert_eq!(error(step), SaslError::NotAuthorized);
    }
}

#[test]
fn proof_of_one_handshake_is_of_no_use_in_another() {
    let mut client = Client::new(Mechanism::ScramSha1, login("juliet", PASSWORD)).unwrap();
    let initial = client.initial();
    let (challenge, awaiting) = challenged(begin(context(), "SCRAM-SHA-1", &initial));
    let proof = client.respond(challenge.as_bytes()).unwrap();
    let (_, replayed) = challenged(begin(context(), "SCRAM-SHA-1", &initial));
    assert_eq!(error(replayed.respond(&proof)), SaslError::NotAuthorized);
    assert_eq!(identity(awaiting.respond(&proof)), account("juliet@capulet.lit"));
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

#[test]
fn client_notices_what_was_changed_on_the_way() {
    let offered = |mechanisms: &[Mechanism], bindings: &[&str]| Offered {
        mechanisms: mechanisms.iter().map(ToString::to_string).collect(),
        bindings: bindings.iter().map(ToString::to_string).collect(),
    };
    let respond = |binding: Binding, offered: Offered| {
        let login = Login { binding, offered: Some(offered), ..login("juliet", PASSWORD) };
        let mut client = Client::new(Mechanism::ScramSha256, login).unwrap();
        let first = begin(context(), "SCRAM-SHA-256", &client.initial());
        client.respond(challenged(first).0.as_bytes()).map(|_| ())
    };
    let both = ["tls-server-end-point", "tls-exporter"];
    let whole = offered(&Mechanism::ALL, &both);
    assert_eq!(respond(Binding::Unable, whole.clone()), Ok(()));
    // XEP-0474 §7: other types than ours, and that is the truth.
    assert_eq!(respond(Binding::Unshared, whole), Ok(()));
    for stripped in [
        offered(&Mechanism::ALL[1..], &both),
        offered(&Mechanism::ALL, &both[1..]),
        offered(&Mechanism::ALL, &[]),
        offered(&Mechanism::ALL, &["tls-foo", "tls-exporter"]),
    ] {
        let came = respond(Binding::Unable, stripped);
        assert_eq!(came, Err(ClientError::Downgraded));
    }
}

/// Random numbers that are the same at each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    /// The message with some bytes changed, dropped, doubled or put in.
    fn spoil(&mut self, message: &[u8]) -> Vec<u8> {
        const BYTES: &[u8] = b",=\0npyarmcsiv2CD3\xff\xc3a\n/@";
        let mut spoilt = message.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(spoilt.len());
            let byte = BYTES[self.roll(BYTES.len())];
            match self.roll(4) {
                0 if at < spoilt.len() => spoilt[at] = byte,
                1 if at < spoilt.len() => drop(spoilt.remove(at)),
                2 => spoilt.truncate(at),
                _ => spoilt.insert(at, byte),
            }
        }
        spoilt
    }
}

#[test]
fn spoilt_messages_neither_log_in_nor_panic() {
    let mut dice = Dice(0x5eed_cafe_f00d_1597);
    let context = Arc::new(context());
    // Nobody exists here, so that only an error of the machine could log somebody in.
    let firsts: [(&str, &[u8]); 5] = [
        ("SCRAM-SHA-256", b"n,a=juliet@capulet.lit,n=jul=2Ciet,r=abc,x=y"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=juliet,r=abc"),
        ("PLAIN", b"juliet@capulet.lit\0juliet\0pencil"),
        ("EXTERNAL", b"juliet@capulet.lit"),
        ("ANONYMOUS", b"sirhc"),
    ];
    let (mut failed, mut challenges) = (0, 0);
    for round in 0..20_000 {
        let (mechanism, message) = firsts[round % firsts.len()];
        let step = start(&context, mechanism, Some(&dice.spoil(message)));
        let step = match step {
            Step::Lookup(lookup) => match lookup.found(Found::Unknown) {
                // Its cost is known; the comparison itself is tested elsewhere.
                Step::Check(_) => continue,
                step => step,
            },
            step => step,
        };
        let step = match step {
            Step::Challenge(challenge, awaiting) => {
                challenges += 1;
                let challenge = String::from_utf8(challenge).unwrap();
                let nonce = challenge.split(',').next().unwrap();
                let last = format!("c=biws,{nonce},p={}", encode(&[0; 32]));
                awaiting.respond(&dice.spoil(last.as_bytes()))
            }
            step => step,
        };
        match step {
            Step::Failure(_) => failed += 1,
            Step::Success(success) => {
                assert!(matches!(success.identity, Identity::Anonymous(_)));
            }
            step => panic!("left at {step:?}"),
        }
    }
    assert!(failed > 10_000 && challenges > 100, "{failed} {challenges}");
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
