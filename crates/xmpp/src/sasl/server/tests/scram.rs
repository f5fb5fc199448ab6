//! SCRAM: the challenge, channel bindings, and last messages that were tampered with.

use super::*;

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
