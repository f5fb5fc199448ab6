//! The control socket: garbage, floods and silence on it, and who may open it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use verona_testkit::fortress::Fortress;

cases![
    only_the_own_user_may_open_the_control_socket,
    garbage_on_the_control_socket_is_refused,
    a_request_without_end_is_refused,
];

fn open(fortress: &Fortress) -> UnixStream {
    let stream = UnixStream::connect(fortress.control_socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

async fn only_the_own_user_may_open_the_control_socket(fortress: Arc<Fortress>) {
    let mode = std::fs::metadata(fortress.control_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    // What lies beside it holds keys and passwords.
    for name in ["verona.db", "certs"] {
        let path = fortress.dir().join("data").join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

/// What comes back for some bytes, up to the end of the connection.
fn reaction(fortress: &Fortress, bytes: &[u8]) -> String {
    let mut stream = open(fortress);
    // The server may close before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

async fn garbage_on_the_control_socket_is_refused(fortress: Arc<Fortress>) {
    let deep = "[".repeat(60_000);
    for bytes in [
        b"\n".as_slice(),
        b"{}\n",
        b"null\n",
        b"[]\n",
        b"{\"ask\":\"nothing\"}\n",
        b"{\"ask\":\"status\"\n",
        b"{\"ask\":\"account\",\"request\":{\"account\":\"add\",\"jid\":1,\"password\":2}}\n",
        b"<stream:stream>\n",
        b"\xff\xfe\0\n",
        b"\0\0\0\0\n",
        format!("{deep}\n").as_bytes(),
        format!("{{\"ask\":{deep}\n").as_bytes(),
    ] {
        let fortress = fortress.clone();
        let sent = bytes.to_vec();
        let answer = tokio::task::spawn_blocking(move || reaction(&fortress, &sent)).await.unwrap();
        let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
        assert!(answer.contains("\"refused\""), "{shown}: {answer}");
    }
}

async fn a_request_without_end_is_refused(fortress: Arc<Fortress>) {
    let before = fortress.memory();
    let answer = tokio::task::spawn_blocking({
        let fortress = fortress.clone();
        move || reaction(&fortress, &b"x".repeat(5 << 20))
    });
    let answer = answer.await.unwrap();
    assert!(answer.is_empty() || answer.contains("\"refused\""), "{answer}");
    assert!(fortress.memory() < before + (64 << 20));
}
