//! XEP-0157: Contact Addresses for XMPP Services. Whom to write to about the host, as a form in its
//! answer to disco#info.

use serde::{Deserialize, Serialize};
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, Key, Manifest, Module, Settings, Spec, Target,
};
use verona_xml::Writer;
use verona_xmpp::form::{Field, FieldType, Form, FormType};
use verona_xmpp::jid::Jid;

/// What the form is about (§3).
const ABOUT: &str = "http://jabber.org/network/serverinfo";

/// The module.
pub struct Contact {
    form: Option<Form>,
}

/// What an operator may set: addresses, each a URI such as `mailto:abuse@example.org`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For reports of abuse.
    pub abuse: Vec<String>,
    /// For the administrators; by default those of the host.
    pub admin: Vec<String>,
    /// For feedback.
    pub feedback: Vec<String>,
    /// For sales.
    pub sales: Vec<String>,
    /// For what concerns security.
    pub security: Vec<String>,
    /// Where the state of the service is shown.
    pub status: Vec<String>,
    /// For help.
    pub support: Vec<String>,
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[
        Key { name: "abuse", doc: "Addresses for reports of abuse, as URIs: `mailto:`, `xmpp:`." },
        Key { name: "admin", doc: "Addresses of the administrators; else `admins` of the host." },
        Key { name: "feedback", doc: "Addresses for feedback." },
        Key { name: "sales", doc: "Addresses for sales." },
        Key { name: "security", doc: "Addresses for what concerns security." },
        Key { name: "status", doc: "Pages that show the state of the service." },
        Key { name: "support", doc: "Addresses for help." },
    ];
}

impl Module for Contact {
    const MANIFEST: Manifest =
        Manifest { name: "contact", specs: &[Spec("XEP-0157", "1.1.1")], ..Manifest::EMPTY };

    type Config = Config;

    fn new(config: Config, host: &HostSettings) -> Result<Self, ConfigError> {
        let mut config = config;
        if config.admin.is_empty() {
            // Whether there is a mailbox of the same name, nobody has said (§4).
            config.admin = host.admins.iter().map(uri).collect();
        }
        // In the order of the registry (§7.1).
        let lists = [
            ("abuse", config.abuse),
            ("admin", config.admin),
            ("feedback", config.feedback),
            ("sales", config.sales),
            ("security", config.security),
            ("status", config.status),
            ("support", config.support),
        ];
        let mut fields = Vec::new();
        for (key, addresses) in lists.into_iter().filter(|(_, addresses)| !addresses.is_empty()) {
            if let Some(wrong) = addresses.iter().find(|address| !is_uri(address)) {
                let message =
                    format!("{wrong:?} is no URI, write mailto:{wrong}, xmpp:{wrong} or https://");
                return Err(ConfigError::of(key, message));
            }
            let field = Field::new(FieldType::ListMulti, format!("{key}-addresses"));
            fields.push(addresses.into_iter().fold(field, Field::value));
        }
        let form = (!fields.is_empty()).then(|| Form::new(FormType::Result, ABOUT).fields(fields));
        Ok(Self { form })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.describe(Target::Host, Self::describe);
    }
}

impl Contact {
    /// XEP-0157 §3.
    fn describe(&self, writer: &mut Writer) {
        if let Some(form) = &self.form {
            form.write(writer);
        }
    }
}

/// RFC 3986 §3.1: a scheme, and something behind it; no white space or control characters anywhere.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(fits)
        && !rest.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// RFC 5122 §2.2: a JID as a URI, with all that needs it written by its octets.
fn uri(jid: &Jid) -> String {
    let mut text = "xmpp:".to_owned();
    for byte in jid.as_str().bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$()*+,;=@:[]".contains(&byte);
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{play, settings};

    const ASKED: &str = "
        juliet sends
            <iq type='get' to='capulet.lit' id='i1'>
                <query xmlns='http://jabber.org/protocol/disco#info'/>
            </iq>
    ";

    #[test]
    fn addresses_stand_in_what_the_host_tells_of_itself() {
        let config = "
        config
            [modules.contact]
            support = ['https://capulet.lit/help', 'xmpp:help@capulet.lit']
            abuse = ['mailto:abuse@capulet.lit']
        ";
        let answer = "
        juliet receives
            <iq type='result' from='capulet.lit' id='i1'>
                <query xmlns='http://jabber.org/protocol/disco#info'>
                    <x xmlns='jabber:x:data' type='result'>
                        <field var='FORM_TYPE' type='hidden'>
                            <value>http://jabber.org/network/serverinfo</value>
                        </field>
                        <field var='abuse-addresses' type='list-multi'>
                            <value>mailto:abuse@capulet.lit</value>
                        </field>
                        <field var='support-addresses' type='list-multi'>
                            <value>https://capulet.lit/help</value>
                            <value>xmpp:help@capulet.lit</value>
                        </field>
                    </x>
                    {and more}
                </query>
            </iq>
        ";
        play(&[config, ASKED, answer].concat());
    }

    fn written(config: Config, admins: &[&str]) -> String {
        let mut host = settings("capulet.lit");
        host.admins = admins.iter().map(|admin| Jid::parse(admin).unwrap()).collect();
        let mut writer = Writer::new("");
        Contact::new(config, &host).unwrap().describe(&mut writer);
        writer.finish()
    }

    #[test]
    fn administrators_of_the_host_are_the_default() {
        let text = written(Config::default(), &["juliet@capulet.lit", "o#neill?ω@capulet.lit"]);
        assert!(text.contains("'admin-addresses'"), "{text}");
        assert!(text.contains("<value>xmpp:juliet@capulet.lit</value>"), "{text}");
        assert!(text.contains("<value>xmpp:o%23neill%3F%CF%89@capulet.lit</value>"), "{text}");
        let own = Config { admin: vec!["mailto:a@b".to_owned()], ..Config::default() };
        assert!(!written(own, &["juliet@capulet.lit"]).contains("xmpp:"));
        assert_eq!(written(Config::default(), &[]), "");
    }

    #[test]
    fn address_that_is_no_uri_is_refused_with_its_key() {
        for wrong in ["abuse@capulet.lit", "mailto:", "1a:b", "mailto:a b", ":a", ""] {
            let config = Config { abuse: vec![wrong.to_owned()], ..Config::default() };
            let error = Contact::new(config, &settings("capulet.lit")).err().unwrap();
            assert_eq!(error.key.as_deref(), Some("abuse"), "{wrong}");
        }
    }
}
