//! XEP-0480: an account that came with keys for SCRAM-SHA-1 alone gets others from a client that knows
//! the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verona_core::account::admin;
use verona_core::account::credentials::{ACCOUNTS, Record};
use verona_core::hooks::Registry;
use verona_core::server::Host;
use verona_core::store::batch::Batch;
use verona_core::stream::token_store::TOKENS;
use verona_testkit::address::Address;
use verona_testkit::client::Client;
use verona_testkit::memory::{Memory, settings};
use verona_testkit::node::Node;
use verona_testkit::place::Place;
use verona_testkit::wire::PATIENCE;
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::{Credentials, ITERATIONS_MIN};
use verona_xmpp::sasl::hash::Hash;

const NS_SASL2: &str = "urn:xmpp:sasl:2";
const NS_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";
const NS_SCRAM: &str = "urn:xmpp:scram-upgrade:0";
const NS_FAST: &str = "urn:xmpp:fast:0";
const PASSWORD: &str = "wherefore";
const AGENT: &str =
    "<user-agent xmlns='urn:xmpp:sasl:2' id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>";

fn juliet() -> Address {
    Address::parse("juliet@capulet.lit/balcony").unwrap()
}

/// A server with Juliet, of whose password there are keys for SHA-1 and nothing else.
async fn place() -> Memory {
    let place = Memory::new(vec![Host::new(settings("capulet.lit"), Registry::default())]).unwrap();
    let all = Credentials::new(PASSWORD, ITERATIONS_MIN).unwrap();
    let credentials = Credentials::default().with(all.keys(Hash::Sha1).unwrap().clone());
    let record = Record { disabled: false, created_micros: 1, credentials };
    let mut batch = Batch::new();
    batch.put(ACCOUNTS, &juliet().bare().as_str().into(), "", record.encode());
    place.server.store.submit(batch).await.unwrap();
    place
}

async fn keys(place: &Memory) -> Vec<Hash> {
    let owner = juliet().bare().as_str().into();
    let record = place.server.store.entry(ACCOUNTS, &owner, "").await.unwrap().unwrap();
    let record = Record::decode(&record).unwrap();
    record.credentials.all().iter().map(|keys| keys.hash()).collect()
}

async fn connect(place: &Memory) -> Client {
    let link = place.connect(&juliet()).await.unwrap();
    Client::connect(link, &juliet(), PATIENCE).await.unwrap()
}

fn wishes(tasks: &[&str]) -> String {
    let tasks = tasks.iter().map(|task| format!("<upgrade xmlns='{NS_UPGRADE}'>{task}</upgrade>"));
    tasks.collect::<String>() + AGENT
}

/// Logs in with SCRAM-SHA-1, or a token, and gives what comes of it.
async fn log_in(place: &Memory, token: Option<&str>, wishes: &str) -> (Client, Node) {
    let mut client = connect(place).await;
    client.log_in_at_once((PASSWORD, token), wishes).await.unwrap();
    let outcome = client.element("the outcome").await.unwrap();
    (client, outcome)
}

/// The one task of a `<continue/>`.
fn task(node: &Node) -> String {
    assert!(node.is("continue", NS_SASL2), "{node}");
    let tasks: Vec<String> =
        node.child("tasks", NS_SASL2).unwrap().children().map(Node::text).collect();
    assert_eq!(tasks.len(), 1, "{node}");
    tasks.into_iter().next().unwrap()
}

/// Begins a task, and gives the salt and the iterations.
async fn begin(client: &mut Client, task: &str) -> (Vec<u8>, u32) {
    client.send(&format!("<next xmlns='{NS_SASL2}' task='{task}'/>")).await.unwrap();
    let data = client.element("the salt").await.unwrap();
    assert!(data.is("task-data", NS_SASL2), "{data}");
    let salt = data.child("salt", NS_SCRAM).unwrap();
    let iterations = salt.attr("iterations").unwrap().parse().unwrap();
    (STANDARD.decode(salt.text()).unwrap(), iterations)
}

fn hash_element(salted: &[u8]) -> String {
    let data = STANDARD.encode(salted);
    format!("<task-data xmlns='{NS_SASL2}'><hash xmlns='{NS_SCRAM}'>{data}</hash></task-data>")
}

async fn next(client: &mut Client) -> Node {
    client.element("what follows").await.unwrap()
}

#[tokio::test]
async fn tasks_follow_one_another_and_their_mechanisms_work_from_then_on() {
    let place = place().await;
    let offered = connect(&place).await.features().child("authentication", NS_SASL2).cloned();
    let offered = offered.unwrap();
    let offered: Vec<String> =
        offered.children().filter(|of| of.is("upgrade", NS_UPGRADE)).map(Node::text).collect();
    assert_eq!(offered, ["UPGR-SCRAM-SHA-256", "UPGR-SCRAM-SHA-512"]);

    // A token that was given out before goes on.
    let ask = format!("{AGENT}<request-token xmlns='{NS_FAST}' mechanism='HT-SHA-256-NONE'/>");
    let (_, success) = log_in(&place, None, &ask).await;
    let token = success.child("token", NS_FAST).unwrap().attr("token").unwrap().to_owned();

    let both = wishes(&["UPGR-SCRAM-SHA-512", "UPGR-UNHEARD-OF", "UPGR-SCRAM-SHA-256"]);
    let (mut client, node) = log_in(&place, None, &both).await;
    assert_eq!(task(&node), "UPGR-SCRAM-SHA-256");
    let (salt, iterations) = begin(&mut client, "UPGR-SCRAM-SHA-256").await;
    assert!(iterations >= ITERATIONS_MIN);
    let salted =
        pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(PASSWORD.as_bytes(), &salt, iterations);
    client.send(&hash_element(&salted)).await.unwrap();
    let node = next(&mut client).await;
    assert_eq!(task(&node), "UPGR-SCRAM-SHA-512");
    let (salt, iterations) = begin(&mut client, "UPGR-SCRAM-SHA-512").await;
    let salted =
        pbkdf2::pbkdf2_hmac_array::<sha2::Sha512, 64>(PASSWORD.as_bytes(), &salt, iterations);
    client.send(&hash_element(&salted)).await.unwrap();
    let success = next(&mut client).await;
    assert!(success.is("success", NS_SASL2), "{success}");
    assert!(success.child("additional-data", NS_SASL2).is_none(), "it came before");

    assert_eq!(keys(&place).await, [Hash::Sha1, Hash::Sha256, Hash::Sha512]);
    let jid = Jid::parse("juliet@capulet.lit").unwrap();
    let record = place.server.account_record(&jid).await.unwrap().unwrap();
    let credentials = record.credentials;
    // Compared by SHA-256.
    assert!(credentials.check_plain(PASSWORD) && !credentials.check_plain("another"));

    // Nothing is left to be done, and the token is as good as before.
    let (_, success) = log_in(&place, None, &both).await;
    assert!(success.is("success", NS_SASL2), "{success}");
    let with_token = format!("{AGENT}<fast xmlns='{NS_FAST}'/>");
    let (_, success) = log_in(&place, Some(&token), &with_token).await;
    assert!(success.is("success", NS_SASL2), "{success}");
}

#[tokio::test]
async fn what_is_no_answer_to_a_task_fails_the_login_and_leaves_nothing() {
    let place = place().await;
    let wish = wishes(&["UPGR-SCRAM-SHA-256"]);
    let next_task = format!("<next xmlns='{NS_SASL2}' task='UPGR-SCRAM-SHA-256'/>");
    let other_task = format!("<next xmlns='{NS_SASL2}' task='UPGR-SCRAM-SHA-512'/>");
    let abort = format!("<abort xmlns='{NS_SASL2}'/>");
    let no_base64 =
        format!("<task-data xmlns='{NS_SASL2}'><hash xmlns='{NS_SCRAM}'>*</hash></task-data>");
    let empty = format!("<task-data xmlns='{NS_SASL2}'/>");
    for (answers, condition) in [
        (vec![abort.clone()], "aborted"),
        (vec![other_task], "malformed-request"),
        (vec![next_task.clone(), abort], "aborted"),
        (vec![next_task.clone(), hash_element(&[7; 31])], "malformed-request"),
        (vec![next_task.clone(), no_base64], "incorrect-encoding"),
        (vec![next_task.clone(), empty], "malformed-request"),
    ] {
        let (mut client, node) = log_in(&place, None, &wish).await;
        task(&node);
        let count = answers.len();
        for (n, answer) in answers.iter().enumerate() {
            client.send(answer).await.unwrap();
            if n + 1 < count {
                assert!(next(&mut client).await.is("task-data", NS_SASL2));
            }
        }
        let failure = next(&mut client).await;
        assert!(failure.is("failure", NS_SASL2), "{failure}");
        assert_eq!(failure.children().next().unwrap().name, condition);
    }
    assert_eq!(keys(&place).await, [Hash::Sha1]);
}

#[tokio::test]
async fn who_has_a_token_alone_sets_no_keys() {
    let place = place().await;
    let ask = format!("{AGENT}<request-token xmlns='{NS_FAST}' mechanism='HT-SHA-256-NONE'/>");
    let (_, success) = log_in(&place, None, &ask).await;
    let token = success.child("token", NS_FAST).unwrap().attr("token").unwrap().to_owned();
    let wish = wishes(&["UPGR-SCRAM-SHA-256"]) + &format!("<fast xmlns='{NS_FAST}'/>");
    let (_, success) = log_in(&place, Some(&token), &wish).await;
    assert!(success.is("success", NS_SASL2), "{success}");
    assert_eq!(keys(&place).await, [Hash::Sha1]);
}

/// XEP-0484 §5.1: a login that waits in a task while the password changes ends without a token, which
/// would open the account to who knows the former password for as long as it is renewed.
#[tokio::test]
async fn a_login_that_outlasts_its_password_gets_no_token() {
    for is_made_anew in [false, true] {
        let place = place().await;
        let wish = wishes(&["UPGR-SCRAM-SHA-256"])
            + &format!("<request-token xmlns='{NS_FAST}' mechanism='HT-SHA-256-NONE'/>");
        let (mut client, node) = log_in(&place, None, &wish).await;
        let (salt, iterations) = begin(&mut client, &task(&node)).await;
        let jid = Jid::parse("juliet@capulet.lit").unwrap();
        let other = "banished".to_owned().into();
        if is_made_anew {
            admin::remove(&place.server, &jid, || ()).await.unwrap();
            admin::create(&place.server, &jid, other).await.unwrap();
        } else {
            admin::set_password(&place.server, &jid, other).await.unwrap();
        }
        let salted =
            pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(PASSWORD.as_bytes(), &salt, iterations);
        client.send(&hash_element(&salted)).await.unwrap();
        let told = next(&mut client).await;
        assert!(told.child("token", NS_FAST).is_none(), "{is_made_anew}: {told}");
        // Its session, when the account is the same one; none on an account of somebody else.
        let bind = "<iq id='b' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        client.send(bind).await.unwrap();
        let told = loop {
            let told = next(&mut client).await;
            if told.attr("id") == Some("b") {
                break told;
            }
        };
        let expected = if is_made_anew { "error" } else { "result" };
        assert_eq!(told.attr("type"), Some(expected), "{told}");
        let kept = place.server.store.entries(&jid.as_str().into(), &[TOKENS]).await.unwrap();
        assert!(kept.is_empty(), "{is_made_anew}: {kept:?}");
    }
}
