//! What a push service is told (§7).

use serde::{Deserialize, Serialize};
use verona_core::hooks::ConfigError;
use verona_xml::Writer;
use verona_xmpp::form::{Field, Form, FormType};
use verona_xmpp::ns;

use crate::devices::push::service::Service;

/// The namespace of push notifications.
pub const NS: &str = "urn:xmpp:push:0";

const NS_SUMMARY: &str = "urn:xmpp:push:summary";

/// What a service is told of the messages.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// How many its client has not got.
    pub count: bool,
    /// How many requests for a subscription wait for an answer.
    pub requests: bool,
    /// Who sent the last.
    pub sender: bool,
    /// What the last says.
    pub body: bool,
}

impl Summary {
    /// The fields that a config names (§11.3.1).
    pub fn named(names: &[String]) -> Result<Self, ConfigError> {
        let mut summary = Self::default();
        for name in names {
            let field = match name.as_str() {
                "message-count" => &mut summary.count,
                "pending-subscription-count" => &mut summary.requests,
                "last-message-sender" => &mut summary.sender,
                "last-message-body" => &mut summary.body,
                _ => {
                    let message = format!(
                        "\"{name}\" is none of message-count, pending-subscription-count, \
                         last-message-sender, last-message-body"
                    );
                    return Err(ConfigError::of("summary", message));
                }
            };
            *field = true;
        }
        Ok(summary)
    }

    /// Writes the form; none where nothing is to be told.
    fn write(self, service: &Service, requests: usize, writer: &mut Writer) {
        if self == Self::default() {
            return;
        }
        let mut form = Form::new(FormType::Submit, NS_SUMMARY);
        if self.count {
            // After a restart it is known only that there was one.
            form = form.field(Field::number("message-count", service.missed.max(1).into()));
        }
        if self.requests {
            let requests = u64::try_from(requests).unwrap_or(u64::MAX);
            form = form.field(Field::number("pending-subscription-count", requests));
        }
        let latest = service.latest.clone().unwrap_or_default();
        if let Some(sender) = latest.sender.filter(|_| self.sender) {
            form = form.field(Field::text("last-message-sender", sender));
        }
        if let Some(words) = latest.words.filter(|_| self.body) {
            form = form.field(Field::text("last-message-body", words));
        }
        form.write(writer);
    }
}

/// The request that publishes a notification.
pub fn publish(service: &Service, summary: Summary, requests: usize) -> String {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("pubsub", ns::PUBSUB).start("publish", ns::PUBSUB);
    if let Some(node) = &service.enabled.node {
        writer.attr("node", node);
    }
    writer.start("item", ns::PUBSUB).start("notification", NS);
    summary.write(service, requests, &mut writer);
    writer.end().end().end();
    if let Some(options) = &service.enabled.options {
        writer.start("publish-options", ns::PUBSUB).raw_element(options, ns::CLIENT).end();
    }
    writer.end();
    writer.finish()
}
