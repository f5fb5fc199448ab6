//! Accounts as the core makes and removes them.

use std::sync::Arc;

use verona_core::account::admin::{self, Refusal};
use verona_core::account::credentials;
use verona_core::hooks::HostSettings;
use verona_core::host::Registration;
use verona_core::identity;
use verona_core::server::{Policy, Server};
use verona_core::store::Store;
use verona_stores::memory::Memory;
use verona_xmpp::jid::Jid;
use zeroize::Zeroizing;

fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("a JID")
}

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

async fn server() -> Arc<Server> {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let identity = identity::begin(&store, 10_000).await.expect("an identity");
    let settings = HostSettings {
        domain: jid("capulet.lit"),
        admins: Vec::new(),
        registration: Registration::Open,
        password_iterations: 10_000,
        resume_at: None,
    };
    let host = verona_modules::install::host(settings).expect("a host");
    Server::new(store, vec![host], Policy::default(), identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_make_one_account_exactly_one_succeeds() {
    let server = server().await;
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let server = server.clone();
            let password = password(&format!("wherefore {number}"));
            tokio::spawn(async move {
                admin::create(&server, &jid("juliet@capulet.lit"), password).await
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(()) => made += 1,
            Err(refusal) => assert!(matches!(refusal, Refusal::Exists), "{refusal}"),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn what_is_held_of_a_removed_account_is_gone_and_its_name_is_free() {
    let server = server().await;
    let juliet = jid("juliet@capulet.lit");
    admin::create(&server, &juliet, password("wherefore")).await.expect("made");
    let account = server.account(&juliet).await.expect("read").expect("there");
    let mut told = false;
    admin::remove(&server, &juliet, || told = true).await.expect("removed");
    assert!(told && account.turn().gone);
    assert!(server.account(&juliet).await.expect("read").is_none());
    let again = admin::remove(&server, &juliet, || ()).await;
    assert!(matches!(again, Err(Refusal::Absent)));
    admin::create(&server, &juliet, password("again")).await.expect("made anew");
    let anew = server.account(&juliet).await.expect("read").expect("there");
    assert!(!anew.turn().gone && !Arc::ptr_eq(&account, &anew));
}

#[tokio::test]
async fn names_passwords_and_domains_that_will_not_do_are_refused() {
    let server = server().await;
    let make = |name: &str, text: &str| {
        let (server, jid, password) = (server.clone(), jid(name), password(text));
        async move { admin::create(&server, &jid, password).await.expect_err("refused") }
    };
    assert!(matches!(make("capulet.lit", "x").await, Refusal::Name));
    assert!(matches!(make("straße@capulet.lit", "x").await, Refusal::Name));
    assert!(matches!(make("romeo@montague.lit", "x").await, Refusal::Domain));
    assert!(matches!(make("peter@capulet.lit", "bell\u{7}").await, Refusal::Password(_)));
    assert!(matches!(make("peter@capulet.lit", "").await, Refusal::Password(_)));
}

#[tokio::test]
async fn a_disabled_account_keeps_its_password_and_is_known_as_such() {
    let server = server().await;
    let juliet = jid("juliet@capulet.lit");
    admin::create(&server, &juliet, password("wherefore")).await.expect("made");
    admin::set_disabled(&server, &juliet, true).await.expect("disabled");
    assert!(server.account(&juliet).await.expect("read").expect("there").turn().disabled);
    admin::set_password(&server, &juliet, password("deny thy father")).await.expect("changed");
    let record = credentials::read(&*server.store, &juliet).await.expect("read").expect("there");
    assert!(record.disabled && record.credentials.check_plain("deny thy father"));
    server.directory.forget(juliet.as_str());
    assert!(server.account(&juliet).await.expect("read").expect("there").turn().disabled);
}
