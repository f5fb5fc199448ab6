//! Where a password comes from: a prompt, the standard input or a file, never the command line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::accounts::request::Password;
use crate::command::args::WithPassword;
use crate::command::failure::Failure;

/// Bytes of a password, at most; the rest of the file is not read.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Gets the password for an account.
pub fn get(args: &WithPassword) -> Result<Password, Failure> {
    if args.password.is_some() || !args.rest.is_empty() {
        return Err(Failure::usage(
            "a password on the command line can be read by everybody on this machine, and stays in \
             the history of the shell. Leave it out and type it when asked, or use \
             --password-stdin or --password-file FILE. If this one is in use, change it.",
        ));
    }
    if args.password_stdin {
        return first_line(io::stdin().lock(), "the standard input");
    }
    match &args.password_file {
        Some(file) => from_file(file),
        None => ask(&args.jid),
    }
}

fn from_file(path: &Path) -> Result<Password, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::new(format!("{name}: {error}")))?;
    first_line(BufReader::new(file), &name)
}

fn first_line(reader: impl BufRead, name: &str) -> Result<Password, Failure> {
    let mut line = Zeroizing::new(Vec::new());
    let read = reader.take(PASSWORD_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::new(format!("{name}: {error}")))?;
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok("") => Err(Failure::new(format!("{name} holds no password in its first line"))),
        Ok(text) => Ok(Password::new(text.to_owned())),
        Err(_) => Err(Failure::new(format!("the password in {name} is not UTF-8 text"))),
    }
}

fn ask(jid: &str) -> Result<Password, Failure> {
    let prompt = |text: String| {
        rpassword::prompt_password(text).map(Password::new).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::Interrupted => Failure::new("given up"),
            _ => Failure::new(
                "there is no terminal to ask for the password; use --password-stdin or \
                 --password-file FILE",
            ),
        })
    };
    let first = prompt(format!("Password for {jid}: "))?;
    if first.reveal().is_empty() {
        return Err(Failure::new("a password cannot be empty"));
    }
    match prompt("Again: ".to_owned())? == first {
        true => Ok(first),
        false => Err(Failure::new("the two passwords differ; nothing was changed")),
    }
}

/// Asks for a yes, when there is somebody to ask.
pub fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("there is no terminal to ask; say --yes if it is meant"));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(16)
        .read_line(&mut answer)
        .map_err(|error| Failure::new(error.to_string()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<String, String> {
        let read = first_line(text, "the file");
        read.map(|password| password.reveal().to_owned()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_the_first_line_counts() {
        for text in ["secret", "secret\n", "secret\r\n", "secret\nother"] {
            assert_eq!(read(text.as_bytes()), Ok("secret".to_owned()), "{text:?}");
        }
        // Spaces belong to it.
        assert_eq!(read(b" a b \n"), Ok(" a b ".to_owned()));
    }

    #[test]
    fn an_empty_file_is_no_password() {
        for text in ["", "\n", "\nsecret"] {
            assert_eq!(
                read(text.as_bytes()),
                Err("the file holds no password in its first line".to_owned())
            );
        }
        assert!(read(b"\xff\n").is_err());
    }

    #[test]
    fn a_password_in_the_arguments_is_refused_without_repeating_it() {
        let args = |password: Option<&str>, rest: &[&str]| WithPassword {
            jid: "juliet@capulet.lit".to_owned(),
            password_stdin: true,
            password_file: None,
            password: password.map(Into::into),
            rest: rest.iter().map(Into::into).collect(),
        };
        for args in [args(Some("hunter2"), &[]), args(None, &["hunter2"])] {
            let failure = get(&args).expect_err("refused");
            assert_eq!(failure.code, 2);
            assert!(failure.to_string().contains("--password-stdin"));
            assert!(!failure.to_string().contains("hunter2"));
        }
    }
}
