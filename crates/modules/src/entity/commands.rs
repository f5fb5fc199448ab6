//! XEP-0050: Ad-Hoc Commands. Carries the commands that modules offer to those who may give them.
//!
//! A command has one stage, or two: a form, and what comes of it. The second stands for itself, so
//! nothing is remembered between them and no session can expire.

use std::sync::Arc;

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Outcome, Reply, Request, Spec,
    Target,
};
use verona_core::token;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::form::Form;
use verona_xmpp::ns::{COMMANDS as NS, FORM};

/// The module.
pub struct Commands;

impl Module for Commands {
    const MANIFEST: Manifest = Manifest {
        name: "commands",
        specs: &[Spec("XEP-0050", "1.3.0")],
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_set(Target::Host, NS, "command", Self::execute);
    }
}

impl Commands {
    /// §2.4, §4.4
    async fn execute(self: Arc<Self>, request: Request) -> IqResult {
        let tree = request.tree()?;
        let command = tree.root();
        let node = command.attr("node").filter(|node| !node.is_empty());
        let node = node.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        let registry = Arc::clone(&request.host.registry());
        if !registry.has_command(node) {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        let session = session(command)?;
        let cancels = cancels(command)?;
        let execution = registry.execute(node, request);
        let execution = execution.ok_or_else(|| StanzaError::new(Condition::Forbidden))?;
        if cancels {
            // §2.4.3: the work has not begun, since nothing has polled for it.
            return Ok(Reply::with(|writer| write(writer, node, (&session, "canceled"), None)));
        }
        let outcome = execution.await?;
        Ok(Reply::with(|writer| match &outcome {
            Outcome::Asks(form) => write(writer, node, (&session, "executing"), Some(form)),
            Outcome::Completed(form) => write(writer, node, (&session, "completed"), Some(form)),
        }))
    }
}

/// The session: a new one, or the one that goes on (§4.1).
fn session(command: Element<'_>) -> Result<String, StanzaError> {
    match command.attr("sessionid") {
        Some("") => Err(refused("bad-sessionid")),
        Some(session) => Ok(session.to_owned()),
        // What is filled in belongs to a session that was begun.
        None if command.child("x", FORM).is_some() => Err(refused("bad-sessionid")),
        None => Ok(token::random()),
    }
}

/// Whether the command is to be cancelled; the other actions go on, and there is none before.
fn cancels(command: Element<'_>) -> Result<bool, StanzaError> {
    match command.attr("action") {
        None | Some("execute" | "next" | "complete") => Ok(false),
        Some("cancel") => Ok(true),
        Some("prev") => Err(refused("bad-action")),
        Some(_) => Err(refused("malformed-action")),
    }
}

/// §4.4
fn refused(condition: &'static str) -> StanzaError {
    StanzaError::new(Condition::BadRequest).application(condition, NS)
}

fn write(writer: &mut Writer, node: &str, (session, status): (&str, &str), form: Option<&Form>) {
    writer.start("command", NS).attr("node", node);
    writer.attr("sessionid", session).attr("status", status);
    if status == "executing" {
        // §4.2: nothing is before or behind the one form.
        writer.start("actions", NS).attr("execute", "complete").empty("complete", NS).end();
    }
    if let Some(form) = form {
        form.write(writer);
    }
    writer.end();
}
