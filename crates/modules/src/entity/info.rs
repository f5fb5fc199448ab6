//! What an entity tells of itself (XEP-0030 §3.1), and the string that verifies it (XEP-0115 §5).
//! Service discovery answers with it, capabilities announce and check it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use verona_core::hooks::{Manifest, Nested, Registry, Target};
use verona_core::own;
use verona_xml::{Element, Tree, Writer};
use verona_xmpp::ns::{CAPS, CLIENT, DISCO_INFO, FORM, XML};

/// Names the software in capabilities (XEP-0115 §4): a URI of its own.
const NODE: &str = "urn:uuid:68ae6fc2-a94b-46e7-be56-3a4940eb6812";

const FORM_TYPE: &str = "FORM_TYPE";

/// What an entity tells of itself.
#[derive(Debug)]
pub struct Info {
    /// Identities, features and forms, as they stand in the answer.
    content: String,
    ver: String,
}

/// What an entity tells of itself, made anew when others tell something else in its place.
#[derive(Debug, Default)]
pub struct Known {
    last: Mutex<Option<(u64, Arc<Info>)>>,
}

impl Known {
    /// As it is now.
    pub fn get(&self, registry: &Registry, make: fn(&Registry) -> Info) -> Arc<Info> {
        // Asked before it is made: what changes meanwhile is told the next time.
        let version = registry.nested_version();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, info)) if *of == version => info.clone(),
            _ => {
                let info = Arc::new(make(registry));
                *last = Some((version, info.clone()));
                info
            }
        }
    }
}

impl Info {
    /// What a host tells.
    pub fn of_host(registry: &Registry) -> Self {
        let identity = ("server", "im", Some(own::NAME));
        Self::new(identity, registry, Target::Host, |manifest| manifest.features)
    }

    /// What an account tells (§3.1).
    pub fn of_account(registry: &Registry) -> Self {
        let identity = ("account", "registered", None);
        Self::new(identity, registry, Target::Own, |manifest| manifest.account_features)
    }

    fn new(
        (category, kind, name): (&str, &str, Option<&str>),
        registry: &Registry,
        target: Target,
        features: fn(&Manifest) -> &'static [&'static str],
    ) -> Self {
        let mut writer = Writer::new(DISCO_INFO);
        writer.start("identity", DISCO_INFO).attr("category", category).attr("type", kind);
        if let Some(name) = name {
            writer.attr("name", name);
        }
        writer.end();
        let nested = registry.nested(target);
        // Identities come first, whoever adds them.
        let added = added(registry, target, &nested);
        let children = || added.iter().flat_map(|tree| tree.root().children());
        let is_identity = |child: &Element<'_>| child.is("identity", DISCO_INFO);
        children().filter(is_identity).for_each(|child| child.write(&mut writer));
        let manifests = std::iter::once(&own::MANIFEST).chain(&registry.manifests);
        let mut features: Vec<&str> = manifests.flat_map(features).copied().collect();
        // XEP-0355 §7.2.1: what is told of a delegated namespace is not our own to tell.
        features.retain(|feature| !nested.iter().any(|nested| belongs(feature, &nested.ns)));
        let is_feature = |child: &Element<'_>| child.is("feature", DISCO_INFO);
        features.extend(children().filter(is_feature).filter_map(|child| child.attr("var")));
        features.sort_unstable();
        features.dedup();
        for feature in features {
            writer.start("feature", DISCO_INFO).attr("var", feature).end();
        }
        let rest = children().filter(|child| !is_identity(child) && !is_feature(child));
        rest.for_each(|child| child.write(&mut writer));
        let mut info = Self { content: writer.finish(), ver: String::new() };
        let whole = Tree::parse(&info.query(None), CLIENT, verona_xml::Limits::NONE);
        info.ver = whole.ok().and_then(|tree| verification(tree.root())).unwrap_or_default();
        info
    }

    /// The answer; it mirrors the node that was asked for (XEP-0030 §3.2).
    pub fn query(&self, node: Option<&str>) -> String {
        let mut writer = Writer::new(CLIENT);
        writer.start("query", DISCO_INFO);
        if let Some(node) = node {
            writer.attr("node", node);
        }
        writer.raw(&self.content).end();
        writer.finish()
    }

    /// Whether the node is the one that capabilities name (XEP-0115 §6.2).
    pub fn is_caps_node(&self, node: &str) -> bool {
        node.strip_prefix(NODE).and_then(|rest| rest.strip_prefix('#')) == Some(self.ver.as_str())
    }

    /// Writes the announcement of capabilities (XEP-0115 §4).
    pub fn announce(&self, writer: &mut Writer) {
        writer.start("c", CAPS).attr("hash", "sha-1");
        writer.attr("node", NODE).attr("ver", &self.ver).end();
    }
}

/// Whether a feature is one of a namespace: it, or something within it.
fn belongs(feature: &str, ns: &str) -> bool {
    feature
        .strip_prefix(ns)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['#', ':', '/']))
}

/// What modules add: identities and forms (XEP-0128 §2), and what others tell.
fn added(registry: &Registry, target: Target, nested: &[Nested]) -> Option<Tree> {
    let mut writer = Writer::new(CLIENT);
    writer.start("query", DISCO_INFO);
    registry.describe(target, &mut writer);
    for nested in nested {
        writer.raw(&nested.content);
    }
    writer.end();
    Tree::parse(&writer.finish(), CLIENT, verona_xml::Limits::NONE).ok()
}

/// XEP-0115 §5.1: the string that verifies an answer to disco#info, with SHA-1; None when the answer
/// is ill-formed by the rules of §5.4.
pub fn verification(query: Element<'_>) -> Option<String> {
    let mut text = String::new();
    identities(query, &mut text)?;
    features(query, &mut text)?;
    forms(query, &mut text)?;
    Some(STANDARD.encode(Sha1::digest(text.as_bytes())))
}

/// §5.1 steps 2 and 3.
fn identities(query: Element<'_>, out: &mut String) -> Option<()> {
    let mut identities = Vec::new();
    for identity in query.children().filter(|child| child.is("identity", DISCO_INFO)) {
        let lang = identity.attr_ns(XML, "lang").unwrap_or_default();
        let name = identity.attr("name").unwrap_or_default();
        identities.push([identity.attr("category")?, identity.attr("type")?, lang, name]);
    }
    identities.sort_unstable();
    // §5.4 step 3.3.
    if has_repeated(&identities) {
        return None;
    }
    for identity in identities {
        push(&identity.join("/"), out);
    }
    Some(())
}

/// §5.1 steps 4 and 5.
fn features(query: Element<'_>, out: &mut String) -> Option<()> {
    let mut features = Vec::new();
    for feature in query.children().filter(|child| child.is("feature", DISCO_INFO)) {
        features.push(feature.attr("var")?);
    }
    features.sort_unstable();
    // §5.4 step 3.4.
    if has_repeated(&features) {
        return None;
    }
    features.iter().for_each(|feature| push(feature, out));
    Some(())
}

/// §5.1 steps 6 and 7.
fn forms(query: Element<'_>, out: &mut String) -> Option<()> {
    let mut forms = Vec::new();
    for form in query.children().filter(|child| child.is("x", FORM)) {
        let about = fields(form).find(|field| field.attr("var") == Some(FORM_TYPE));
        // §5.4 step 3.6: a form without a hidden type does not count.
        let Some(about) = about.filter(|field| field.attr("type") == Some("hidden")) else {
            continue;
        };
        let abouts = values(about);
        let first = abouts.first()?.clone();
        // §5.4 step 3.5.
        if abouts.iter().any(|about| *about != first) {
            return None;
        }
        forms.push((first, form));
    }
    forms.sort_unstable_by(|(one, _), (other, _)| Ord::cmp(one, other));
    if forms.windows(2).any(|two| matches!(two, [(one, _), (other, _)] if one == other)) {
        return None;
    }
    for (about, form) in forms {
        push(&about, out);
        let mut fields: Vec<_> = fields(form)
            .map(|field| (field.attr("var").unwrap_or_default(), field))
            .filter(|(var, _)| *var != FORM_TYPE)
            .collect();
        fields.sort_by(|(one, _), (other, _)| Ord::cmp(one, other));
        for (var, field) in fields {
            push(var, out);
            values(field).iter().for_each(|value| push(value, out));
        }
    }
    Some(())
}

fn fields(form: Element<'_>) -> impl Iterator<Item = Element<'_>> {
    form.children().filter(|child| child.is("field", FORM))
}

/// The values of a field, in order.
fn values(field: Element<'_>) -> Vec<Cow<'_, str>> {
    let values = field.children().filter(|child| child.is("value", FORM));
    let mut values: Vec<_> = values.map(Element::text).collect();
    values.sort_unstable();
    values
}

fn has_repeated<T: PartialEq>(sorted: &[T]) -> bool {
    sorted.windows(2).any(|two| matches!(two, [one, other] if one == other))
}

/// §5.1: a `<` within a factor stays written as `&lt;`, so that it cannot pass for the end of one.
fn push(factor: &str, out: &mut String) {
    out.push_str(&factor.replace('<', "&lt;"));
    out.push('<');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &str) -> Option<String> {
        let text = format!("<query xmlns='{DISCO_INFO}'>{content}</query>");
        verification(Tree::parse(&text, "", verona_xml::Limits::NONE).unwrap().root())
    }

    const FEATURES: &str = "<feature var='http://jabber.org/protocol/disco#items'/>\
        <feature var='http://jabber.org/protocol/caps'/>\
        <feature var='http://jabber.org/protocol/muc'/>\
        <feature var='http://jabber.org/protocol/disco#info'/>";

    fn field(attrs: &str, values: &[&str]) -> String {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        format!("<field {attrs}>{values}</field>")
    }

    fn form(fields: &[String]) -> String {
        format!("<x xmlns='{FORM}' type='result'>{}</x>", fields.concat())
    }

    #[test]
    fn examples_of_xep_0115_come_out() {
        // §5.2
        let identity = "<identity category='client' type='pc' name='Exodus 0.9.1'/>";
        let simple = of(&[identity, FEATURES].concat());
        assert_eq!(simple.as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
        // §5.3, with everything in another order
        let identities = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>";
        let form = form(&[
            field("var='software_version'", &["0.11"]),
            field("var='os'", &["Mac"]),
            field("var='ip_version'", &["ipv6", "ipv4"]),
            field("var='FORM_TYPE' type='hidden'", &["urn:xmpp:dataforms:softwareinfo"]),
            field("var='os_version'", &["10.5.1"]),
            field("var='software'", &["Psi"]),
        ]);
        let complex = of(&[&form, FEATURES, identities].concat());
        assert_eq!(complex.as_deref(), Some("q07IKJEyjvHSyhy//CH0CxmKi8w="));
    }

    #[test]
    fn what_says_something_twice_is_ill_formed() {
        let identity = "<identity category='client' type='pc' name='a'/>";
        assert!(of(&[identity, &identity.replace("'a'", "'b'")].concat()).is_some());
        assert_eq!(of(&[identity, identity].concat()), None);
        assert_eq!(of("<feature var='a'/><feature var='b'/><feature var='a'/>"), None);
        let about = |values: &[&str]| form(&[field("var='FORM_TYPE' type='hidden'", values)]);
        assert!(of(&[about(&["a"]), about(&["b", "b"])].concat()).is_some());
        assert_eq!(of(&[about(&["a"]), about(&["a"])].concat()), None);
        assert_eq!(of(&about(&["a", "b"])), None);
        for lacking in ["<identity category='client'/>", "<identity type='pc'/>", "<feature/>"] {
            assert_eq!(of(lacking), None, "{lacking}");
        }
    }

    #[test]
    fn form_without_a_hidden_type_does_not_count() {
        let without = of(FEATURES);
        let open = form(&[field("var='FORM_TYPE'", &["a"]), field("var='b'", &["c"])]);
        let plain = form(&[field("var='b'", &["c"])]);
        assert_eq!(of(&[FEATURES, &open, &plain].concat()), without);
        let hidden = open.replace("<field var='FORM_TYPE'", "<field type='hidden' var='FORM_TYPE'");
        assert_ne!(of(&[FEATURES, &hidden].concat()), without);
    }

    #[test]
    fn one_feature_cannot_pass_for_two() {
        assert_ne!(of("<feature var='a&lt;b'/>"), of("<feature var='a'/><feature var='b'/>"));
    }

    #[test]
    fn identities_are_sorted_part_by_part() {
        // `-` comes before `/`: as whole words they would stand the other way round.
        let (one, other) =
            ("<identity category='a' type='z'/>", "<identity category='a-b' type='a'/>");
        assert_eq!(of(&[other, one].concat()), of(&[one, other].concat()));
        let expected = STANDARD.encode(Sha1::digest(b"a/z//<a-b/a//<"));
        assert_eq!(of(&[other, one].concat()), Some(expected));
    }
}
