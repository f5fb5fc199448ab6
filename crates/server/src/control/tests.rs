//! Both ends of the socket against each other.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::{JoinHandle, spawn_blocking};

use super::client::{ControlClient, ControlError};
use super::listener::{Control, ControlSocket};
use super::protocol::{Answer, REQUEST_BYTES_MAX, Request, Status};
use crate::accounts::request::{AccountReply, AccountRequest, Password};
use crate::scratch::Scratch;

/// Answers as little as there is to see.
struct Porter;

impl Control for Porter {
    fn answer(&self, request: Request) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match request {
                Request::Status => {
                    Answer::Status { status: Status { sessions: 7, ..Status::default() } }
                }
                Request::Account { request: AccountRequest::Add { jid, password } } => {
                    assert_eq!(password.reveal(), "Wherefore art thou?");
                    Answer::Account { reply: AccountReply::Done { jid } }
                }
                _ => Answer::Refused { message: "not today".to_owned() },
            }
        })
    }
}

fn open(scratch: &Scratch) -> (PathBuf, JoinHandle<()>) {
    let path = scratch.path().join("control.sock");
    let socket = Arc::new(ControlSocket::bind(&path).expect("bound"));
    let task = tokio::spawn(socket.serve(Arc::new(Porter)));
    (path, task)
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let scratch = Scratch::new();
    let (path, _task) = open(&scratch);
    let asking = spawn_blocking(move || {
        let mut client = ControlClient::connect(&path).expect("running");
        let status = client.ask(&Request::Status).expect("answered");
        let password = Password::new("Wherefore art thou?".to_owned());
        let jid = "juliet@capulet.lit".to_owned();
        let request = Request::Account { request: AccountRequest::Add { jid, password } };
        let added = client.ask(&request).expect("answered");
        (status, added, client.ask(&Request::Stop))
    });
    let (status, added, refused) = asking.await.expect("no panic");
    assert!(matches!(status, Answer::Status { status } if status.sessions == 7));
    assert!(matches!(
        added,
        Answer::Account { reply: AccountReply::Done { jid } } if jid == "juliet@capulet.lit"
    ));
    assert!(matches!(refused, Err(ControlError::Refused(message)) if message == "not today"));
}

#[tokio::test]
async fn only_its_own_user_reaches_the_socket() {
    let scratch = Scratch::new();
    let (path, _task) = open(&scratch);
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_server_is_refused_and_a_stale_socket_replaced() {
    let scratch = Scratch::new();
    let (path, task) = open(&scratch);
    let error = ControlSocket::bind(&path).expect_err("somebody answers");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    task.abort();
    assert!(task.await.is_err());
    // As a crash leaves it: the file is there, nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the first one is gone"));
    assert!(matches!(ControlClient::connect(&path), Err(ControlError::NotRunning(_))));
    ControlSocket::bind(&path).expect("replaced");
    assert!(!path.exists(), "dropped, it is removed");
}

#[test]
fn without_a_server_that_is_said() {
    let scratch = Scratch::new();
    let path = scratch.path().join("control.sock");
    let error = ControlClient::connect(&path).expect_err("nobody is there").to_string();
    assert!(error.starts_with("no server is running with this config"), "{error}");
}

#[tokio::test]
async fn rubbish_and_endless_lines_are_refused() {
    let scratch = Scratch::new();
    let (path, _task) = open(&scratch);
    let long = vec![b'x'; REQUEST_BYTES_MAX + 100];
    for rubbish in [&b"{}\n"[..], b"\xff\n", &long] {
        let (path, rubbish) = (path.clone(), rubbish.to_vec());
        let told = spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).expect("running");
            // The server may close before it has read all.
            let _ = stream.write_all(&rubbish);
            let mut told = String::new();
            let _ = stream.read_to_string(&mut told);
            told
        });
        let told = told.await.expect("no panic");
        assert!(told.starts_with("{\"answer\":\"refused\""), "{told}");
    }
}
