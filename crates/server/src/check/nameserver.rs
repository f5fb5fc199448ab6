//! A name server for tests: it knows a few records, and says of all else that there is nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// A record: its name, and what it holds.
#[derive(Clone)]
pub(crate) enum Known {
    /// An address.
    A(&'static str, Ipv4Addr),
    /// A service: its port and its host.
    Srv(&'static str, u16, &'static str),
}

const A: u16 = 1;
const SRV: u16 = 33;

/// Answers in a thread for as long as the process lives.
pub(crate) fn start(records: Vec<Known>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            let answer = answer(&records, &bytes[..length]);
            let _ = socket.send_to(&answer, peer);
        }
    });
    address
}

/// RFC 1035 §4.1: the question comes back, with the records that fit it.
fn answer(records: &[Known], question: &[u8]) -> Vec<u8> {
    let (name, end) = name_in(question);
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let found: Vec<Vec<u8>> = records.iter().filter_map(|known| data(known, &name, kind)).collect();
    let is_known = records.iter().any(|known| match known {
        Known::A(own, _) | Known::Srv(own, ..) => *own == name,
    });
    let code = if is_known { 0 } else { 3 };
    let count = u8::try_from(found.len()).expect("few");
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&question[12..end + 4]);
    for data in found {
        // The name is that of the question; class IN; a minute.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        answer.extend(data);
    }
    answer
}

fn name_in(question: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn data(known: &Known, name: &str, kind: u16) -> Option<Vec<u8>> {
    match known {
        Known::A(own, address) if *own == name && kind == A => Some(address.octets().to_vec()),
        Known::Srv(own, port, host) if *own == name && kind == SRV => {
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            for label in host.split('.').filter(|label| !label.is_empty()) {
                data.push(u8::try_from(label.len()).expect("short"));
                data.extend(label.as_bytes());
            }
            data.push(0);
            Some(data)
        }
        _ => None,
    }
}
