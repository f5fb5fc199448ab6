//! XEP-0388 §2.3: what a client tells of itself as it logs in. It is for the account's owner alone.

use serde::{Deserialize, Serialize};
use verona_xml::Element;
use verona_xmpp::ns;

use crate::limits::USER_AGENT_CHARS_MAX;

/// A client as it calls itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserAgent {
    /// The id of the installation, a UUID in lower case. Without one it is nobody in particular.
    pub id: Option<Box<str>>,
    /// The name of the software.
    pub software: Option<Box<str>>,
    /// The name of the device.
    pub device: Option<Box<str>>,
}

impl UserAgent {
    /// Reads it from a request to log in. An id that is no UUID is no id.
    pub fn read(request: Element<'_>) -> Option<Self> {
        let agent = request.child("user-agent", ns::SASL2)?;
        let name = |name| -> Option<Box<str>> {
            let text = agent.child(name, ns::SASL2)?.text();
            let text: String = text.trim().chars().take(USER_AGENT_CHARS_MAX).collect();
            (!text.is_empty()).then(|| text.into())
        };
        let id = agent.attr("id").filter(|id| is_uuid(id));
        let id = id.map(|id| id.to_ascii_lowercase().into());
        Some(Self { id, software: name("software"), device: name("device") })
    }
}

/// XEP-0388 §8: groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(hex)
}

#[cfg(test)]
mod tests {
    use verona_xml::{Limits, Tree};

    use super::*;

    fn read(agent: &str) -> Option<UserAgent> {
        let text = ["<authenticate>", agent, "</authenticate>"].concat();
        UserAgent::read(Tree::parse(&text, ns::SASL2, Limits::NONE).unwrap().root())
    }

    #[test]
    fn a_client_is_known_by_its_uuid_in_whatever_case() {
        let agent = read(
            "<user-agent id='D4565FA7-4d72-4749-b3d3-740edbf87770'><software> Balcony </software>\
             <device/></user-agent>",
        )
        .unwrap();
        assert_eq!(agent.id.as_deref(), Some("d4565fa7-4d72-4749-b3d3-740edbf87770"));
        assert_eq!(agent.software.as_deref(), Some("Balcony"));
        assert_eq!(agent.device, None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn what_is_no_uuid_is_no_id() {
        for id in [
            "",
            "juliet",
            "d4565fa7-4d72-4749-b3d3-740edbf8777",
            "d4565fa7-4d72-4749-b3d3-740edbf87770-",
            "d4565fa74d724749b3d3740edbf87770",
            "g4565fa7-4d72-4749-b3d3-740edbf87770",
        ] {
            assert_eq!(read(&format!("<user-agent id='{id}'/>")), Some(UserAgent::default()));
        }
    }

    #[test]
    fn long_names_are_cut() {
        let long = "x".repeat(USER_AGENT_CHARS_MAX + 1);
        let agent = read(&format!("<user-agent><software>{long}</software></user-agent>"));
        assert_eq!(agent.unwrap().software.unwrap().len(), USER_AGENT_CHARS_MAX);
    }
}
