//! `verona invite`: a link with which somebody makes an account, also as a code for cameras.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use crate::command::args::Invite;
use crate::command::desk::{Desk, MISFIT};
use crate::command::failure::{Failure, print};
use crate::command::qr;
use crate::config::load::Config;
use crate::invitations::request::{InviteLine, InviteReply, InviteRequest};

/// Does what the command says.
pub fn run(config: &Config, args: Invite) -> Result<(), Failure> {
    if args.list {
        return list(config, args);
    }
    match args.revoke.clone() {
        Some(named) => revoke(config, args.host, named),
        None => make(config, args),
    }
}

fn make(config: &Config, args: Invite) -> Result<(), Failure> {
    let secs = args.expires.as_deref().map(seconds).transpose()?;
    let Invite { host, name, contact, qr, json, .. } = args;
    let request = InviteRequest::Make { host, name, contact, secs };
    let InviteReply::Made { line, link } = Desk::open(config)?.invite(request)? else {
        return Err(Failure::new(MISFIT));
    };
    if json {
        let mut made = serde_json::to_value(&line).map_err(Failure::new)?;
        if let Some(made) = made.as_object_mut() {
            made.insert("link".to_owned(), link.into());
        }
        return print(&format!("{made:#}\n"));
    }
    let mut text = format!("{link}\n");
    if qr || io::stdout().is_terminal() {
        text.push_str(&qr::drawing(&link)?);
    }
    let _ = writeln!(
        text,
        "good for one account until {}; to take it back: verona invite --revoke {}",
        line.expires, line.id
    );
    print(&text)
}

fn list(config: &Config, args: Invite) -> Result<(), Failure> {
    let mut desk = Desk::open(config)?;
    let mut all: Vec<InviteLine> = Vec::new();
    let mut after = None;
    loop {
        let request = InviteRequest::List { host: args.host.clone(), after };
        let InviteReply::Page { invitations, next } = desk.invite(request)? else {
            return Err(Failure::new(MISFIT));
        };
        all.extend(invitations);
        after = next;
        if after.is_none() {
            break;
        }
    }
    all.sort_by(|one, other| one.made.cmp(&other.made));
    if args.json {
        let text = serde_json::to_string_pretty(&all).map_err(Failure::new)?;
        return print(&format!("{text}\n"));
    }
    print(&all.iter().map(told).collect::<String>())
}

fn revoke(config: &Config, host: Option<String>, named: String) -> Result<(), Failure> {
    let request = InviteRequest::Revoke { host, named };
    match Desk::open(config)?.invite(request)? {
        InviteReply::Revoked { line } => print(&format!("{}: taken back\n", line.id)),
        _ => Err(Failure::new(MISFIT)),
    }
}

fn told(line: &InviteLine) -> String {
    let mut text = format!("{}  until {}  ", line.id, line.expires);
    text.push_str(match (line.account, &line.name) {
        (false, _) => "a contact",
        (true, None) => "an account",
        (true, Some(_)) => "the account ",
    });
    if let Some(name) = &line.name {
        let _ = write!(text, "{name}@{}", line.host);
    }
    if let Some(contact) = &line.contact {
        let _ = write!(text, " with {contact}");
    }
    text.push('\n');
    text
}

/// A time such as `90m`, `12h` or `5d`.
fn seconds(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::usage(format!("{text:?} is no time, write it as 90m, 12h or 5d"));
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u64>().ok().filter(|_| digits);
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        let read = |text| seconds(text).ok();
        let right = [("30s", 30), ("90m", 5_400), ("12h", 43_200), ("5d", 432_000)];
        right.iter().for_each(|(text, secs)| assert_eq!(read(text), Some(*secs), "{text}"));
        for wrong in ["", "5", "d", "-5d", "+5d", "5 d", "5w", "5é", "99999999999999999999d"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("{}d", u64::MAX)), None);
    }

    #[test]
    fn a_line_tells_what_it_opens() {
        let line = |name: Option<&str>, contact: Option<&str>, account| InviteLine {
            id: "0123456789".to_owned(),
            host: "montague.lit".to_owned(),
            account,
            name: name.map(str::to_owned),
            contact: contact.map(str::to_owned),
            made: "2026-11-20T12:00:00Z".to_owned(),
            expires: "2026-11-25T12:00:00Z".to_owned(),
        };
        let until = "0123456789  until 2026-11-25T12:00:00Z";
        assert_eq!(told(&line(None, None, true)), format!("{until}  an account\n"));
        assert_eq!(
            told(&line(Some("romeo"), Some("benvolio@montague.lit"), true)),
            format!("{until}  the account romeo@montague.lit with benvolio@montague.lit\n")
        );
        assert_eq!(
            told(&line(None, Some("benvolio@montague.lit"), false)),
            format!("{until}  a contact with benvolio@montague.lit\n")
        );
    }
}
