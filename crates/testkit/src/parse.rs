//! Reads the notation of scripts.
//!
//! A script is made of statements, each on a line of its own, some with an indented block below:
//!
//! ```text
//! # A comment.
//! registration closed                 what the server must be like: closed, invite or open
//! admin juliet@capulet.lit            who administers the host
//! config                              more of it: lines of its configuration file
//!     [modules.mam]
//!     retention_days = 1
//! nurse is nurse@capulet.lit/hall     a character who is not of the usual cast
//! peter has no account
//! irc is component irc.capulet.lit    one with a connection of its own (XEP-0114); `*.irc.capulet.lit`
//!                                     has all domains below, two names with one domain two connections
//! romeo is subscribed to juliet       romeo receives her presence before it begins
//!
//! juliet connects                     a stream without a login
//! juliet sees feature <sub xmlns='urn:xmpp:features:pre-approval'/>
//! juliet sees no feature <register xmlns='http://jabber.org/features/iq-register'/>
//! juliet authenticates                and binds nothing yet
//! juliet logs in                      and binds her resource, without presence
//! juliet logs in at once              with SASL2; what stands below is asked for along with it
//!     <bind xmlns='urn:xmpp:bind:0'/>
//! romeo comes online                  logs in and sends presence
//! romeo comes online with priority -1
//! romeo has password wherefore        from now on
//! romeo cannot log in <not-authorized/>
//! juliet logs in at once by token {t} with one that she was given before
//! juliet sends
//!     <presence/>
//! juliet sends raw
//!     <not <xml
//! romeo receives
//!     <presence from='juliet@capulet.lit/balcony'/>
//! romeo receives in any order
//!     <iq type='result' id='1'/>
//!     <iq type='set' id='{id=any}'><query xmlns='jabber:iq:roster'>{and more}</query></iq>
//! romeo receives nothing
//! juliet sees stream error <conflict/>
//! juliet logs out
//! juliet disconnects                  without a word
//! ```
//!
//! `juliet/chamber` is a further resource of Juliet's account. Those whose first statement is not
//! about how they come are online from the beginning. The holes are those of [`crate::template`].

use std::collections::BTreeSet;
use std::fmt;

use crate::address::Address;
use crate::node::{Content, NS_CLIENT, Node};
use crate::place::HOSTS;
use crate::reader::parse_elements;
use crate::script::{Act, Character, Script, Step};
use crate::template::{AND_MORE, ANY_ORDER, MAYBE, Template};

/// The namespaces in which the short forms of conditions are written.
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// Ids that begin so are those of the round trips between statements.
pub const ROUND_TRIP: &str = "round-trip-";

const AT_ONCE: &str = "logs in at once";

/// The characters of the RFCs, so that scripts need not introduce them.
const CAST: [(&str, &str); 6] = [
    ("benvolio", "benvolio@montague.lit/garden"),
    ("juliet", "juliet@capulet.lit/balcony"),
    ("mercutio", "mercutio@montague.lit/square"),
    ("nurse", "nurse@capulet.lit/hall"),
    ("romeo", "romeo@montague.lit/orchard"),
    ("tybalt", "tybalt@capulet.lit/alley"),
];

/// A script that cannot be played: where and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut parser = Parser::default();
        for statement in statements(text)? {
            let line = statement.line;
            parser.statement(&statement).map_err(|what| what.at(line))?;
        }
        parser.finish()
    }
}

/// What is wrong, and where if that is not the line of the statement itself.
struct Wrong {
    line: Option<usize>,
    what: String,
}

impl Wrong {
    fn at(self, line: usize) -> ScriptError {
        ScriptError { line: self.line.unwrap_or(line), what: self.what }
    }
}

impl<T: Into<String>> From<T> for Wrong {
    fn from(what: T) -> Self {
        Self { line: None, what: what.into() }
    }
}

/// A line at the left margin and the block below it.
struct Statement<'a> {
    line: usize,
    text: &'a str,
    /// The lines of the block without their common indentation, comments blanked.
    block: Vec<String>,
}

/// Splits a script into statements; the first line sets the left margin.
fn statements(text: &str) -> Result<Vec<Statement<'_>>, ScriptError> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut margin = None;
    let mut found: Vec<Statement<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let comment = line.trim_start().starts_with('#');
        if line.trim().is_empty() || comment {
            // Kept in blocks so that lines can be counted; `sends raw` drops nothing but these.
            if let Some(statement) = found.last_mut() {
                statement.block.push(String::new());
            }
            continue;
        }
        let margin = *margin.get_or_insert(indent(line));
        if indent(line) == margin {
            found.push(Statement { line: number, text: line.trim(), block: Vec::new() });
            continue;
        }
        match found.last_mut() {
            Some(statement) if indent(line) > margin => statement.block.push(line.to_owned()),
            _ => {
                let what = "further left than the line that began the script".to_owned();
                return Err(ScriptError { line: number, what });
            }
        }
    }
    for statement in &mut found {
        let lines = statement.block.iter().filter(|line| !line.is_empty());
        let common = lines.map(|line| indent(line)).min().unwrap_or(0);
        for line in &mut statement.block {
            *line = line.get(common..).unwrap_or("").to_owned();
        }
        while statement.block.last().is_some_and(String::is_empty) {
            statement.block.pop();
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Parser {
    script: Script,
    /// Characters whose first act has been seen.
    acted: BTreeSet<usize>,
    /// The names of values that are remembered by now.
    known: BTreeSet<String>,
}

impl Parser {
    fn statement(&mut self, statement: &Statement<'_>) -> Result<(), Wrong> {
        let (name, phrase) = statement.text.split_once(' ').unwrap_or((statement.text, ""));
        let phrase = phrase.trim();
        let has_block =
            matches!(name, "config") || phrase.starts_with("sends") || is_receiving(phrase);
        let may_have_block = phrase.starts_with(AT_ONCE);
        match (has_block, statement.block.is_empty()) {
            _ if may_have_block => {}
            (true, true) => return Err(format!("`{}` needs a block below", statement.text).into()),
            (false, false) => {
                return Err(Wrong {
                    line: Some(statement.line + 1),
                    what: format!("nothing belongs below `{}`", statement.text),
                });
            }
            _ => {}
        }
        match name {
            "config" => self.script.setup.config.push_str(&(statement.block.join("\n") + "\n")),
            "registration" => self.registration(phrase)?,
            "admin" => self.admin(phrase)?,
            _ => self.about(name, phrase, statement)?,
        }
        Ok(())
    }

    fn admin(&mut self, jid: &str) -> Result<(), Wrong> {
        match jid.split_once('@') {
            Some((local, domain)) if !local.is_empty() && HOSTS.contains(&domain) => {
                self.script.setup.admins.push(jid.to_owned());
                Ok(())
            }
            _ => Err(format!("admin is a bare JID at one of {}", HOSTS.join(", ")).into()),
        }
    }

    fn registration(&mut self, word: &str) -> Result<(), Wrong> {
        match word {
            "closed" | "invite" | "open" => {
                self.script.setup.registration = Some(word.to_owned());
                Ok(())
            }
            _ => Err("registration is one of closed, invite, open".into()),
        }
    }

    /// A statement that begins with the name of a character.
    fn about(&mut self, name: &str, phrase: &str, at: &Statement<'_>) -> Result<(), Wrong> {
        if let Some(other) = phrase.strip_prefix("is subscribed to ") {
            let pair = (self.character(name)?, self.character(other.trim())?);
            self.script.subscriptions.push(pair);
            return Ok(());
        }
        if let Some(domain) = phrase.strip_prefix("is component ") {
            return self.introduce_component(name, domain.trim());
        }
        if let Some(jid) = phrase.strip_prefix("is ") {
            let address = Address::parse(jid.trim());
            let address = address.ok_or_else(|| format!("`{jid}` is not a full JID"))?;
            return self.introduce(name, address);
        }
        let who = self.character(name)?;
        if phrase == "has no account" {
            return self.take_account(who);
        }
        let act = self.act(phrase, at)?;
        let enters =
            matches!(act, Act::Connect | Act::LogIn | Act::ComeOnline { .. } | Act::CannotLogIn(_))
                || matches!(act, Act::LogInAtOnce { .. });
        if !matches!(act, Act::Password(_)) && self.acted.insert(who) {
            self.script.cast[who].is_present = !enters;
        }
        self.script.steps.push(Step { line: at.line, who, act });
        Ok(())
    }

    fn act(&mut self, phrase: &str, at: &Statement<'_>) -> Result<Act, Wrong> {
        let inline = |start: &str, ns: &str| match phrase.strip_prefix(start) {
            Some(xml) if !xml.trim().is_empty() => one_element(xml.trim(), ns).map(Some),
            _ => Ok(None),
        };
        Ok(match phrase {
            "connects" => Act::Connect,
            "authenticates" => Act::Authenticate,
            "logs in" => Act::LogIn,
            _ if phrase.starts_with(AT_ONCE) => {
                let token = phrase.strip_prefix(AT_ONCE).unwrap_or_default().trim();
                let token = match (token, token.strip_prefix("by token ")) {
                    ("", _) => None,
                    (_, Some(token)) => Some(token.to_owned()),
                    _ => return Err(format!("`{phrase}` is not understood").into()),
                };
                let wishes = if at.block.is_empty() { String::new() } else { self.sent(at)? };
                Act::LogInAtOnce { token, wishes }
            }
            "logs out" => Act::LogOut,
            "disconnects" => Act::Disconnect,
            "comes online" => Act::ComeOnline { priority: None },
            "sends" => Act::Send(self.sent(at)?),
            "sends raw" => Act::SendRaw(at.block.join("\n")),
            "receives" => Act::Receive { elements: self.received(at)?, any_order: false },
            "receives in any order" => {
                Act::Receive { elements: self.received(at)?, any_order: true }
            }
            "receives nothing" => Act::ReceiveNothing,
            _ if phrase.starts_with("comes online with priority ") => {
                let number = phrase.rsplit(' ').next().and_then(|word| word.parse().ok());
                let priority = number.ok_or("a priority is a number from -128 to 127")?;
                Act::ComeOnline { priority: Some(priority) }
            }
            _ if phrase.starts_with("has password ") => {
                Act::Password(phrase.trim_start_matches("has password ").to_owned())
            }
            _ if phrase.starts_with("cannot log in") => {
                Act::CannotLogIn(inline("cannot log in", NS_SASL)?)
            }
            _ if phrase.starts_with("sees stream error") => {
                let condition = inline("sees stream error", NS_STREAMS)?;
                Act::SeeStreamError(condition.ok_or("which stream error?")?)
            }
            _ if phrase.starts_with("sees feature") => {
                let feature = inline("sees feature", NS_CLIENT)?;
                Act::SeeFeature { feature: feature.ok_or("which feature?")?, there: true }
            }
            _ if phrase.starts_with("sees no feature") => {
                let feature = inline("sees no feature", NS_CLIENT)?;
                Act::SeeFeature { feature: feature.ok_or("which feature?")?, there: false }
            }
            _ => return Err(format!("`{phrase}` is not understood").into()),
        })
    }

    /// The block of `sends`: elements in which only known values stand.
    fn sent(&mut self, at: &Statement<'_>) -> Result<String, Wrong> {
        let text = at.block.join("\n");
        elements(at)?;
        let template = Template::parse(&text)?;
        if template.has_holes() {
            return Err("what is sent cannot have a hole; name a value that came before".into());
        }
        self.check_known(&template)?;
        Ok(text)
    }

    /// The block of `receives`: elements with holes.
    fn received(&mut self, at: &Statement<'_>) -> Result<Vec<(usize, Node)>, Wrong> {
        let elements = elements(at)?;
        for (line, node) in &elements {
            self.check_holes(node).map_err(|what| Wrong { line: Some(*line), what })?;
        }
        Ok(elements)
    }

    fn check_holes(&mut self, node: &Node) -> Result<(), String> {
        if node.attr("id").is_some_and(|id| id.starts_with(ROUND_TRIP)) {
            return Err(format!("ids that begin with `{ROUND_TRIP}` are reserved"));
        }
        for attr in node.attrs.iter().filter(|attr| attr.value != MAYBE) {
            self.check_text(&attr.value)?;
        }
        for content in &node.content {
            match content {
                Content::Text(text) if [ANY_ORDER, AND_MORE].contains(&text.trim()) => {}
                Content::Text(text) => self.check_text(text)?,
                Content::Element(child) => self.check_holes(child)?,
            }
        }
        Ok(())
    }

    fn check_text(&mut self, text: &str) -> Result<(), String> {
        let template = Template::parse(text)?;
        self.check_known(&template)?;
        for name in template.captures() {
            if !self.known.insert(name.to_owned()) {
                return Err(format!("`{name}` is taken by a value that came before"));
            }
        }
        Ok(())
    }

    fn check_known(&self, template: &Template) -> Result<(), String> {
        match template.uses().find(|name| !self.known.contains(*name)) {
            Some(name) => Err(format!("nothing was remembered as `{name}` before this")),
            None => Ok(()),
        }
    }

    fn introduce(&mut self, name: &str, address: Address) -> Result<(), Wrong> {
        check_name(name)?;
        if self.script.cast.iter().any(|character| character.name == name) {
            return Err(format!("{name} is known already").into());
        }
        let name = name.to_owned();
        let has_account = !address.is_component();
        let character = Character { name, address, has_account, is_present: false };
        self.script.cast.push(character);
        Ok(())
    }

    fn introduce_component(&mut self, name: &str, domain: &str) -> Result<(), Wrong> {
        let known = self.script.setup.components.iter_mut().find(|(known, _)| known == domain);
        match known {
            Some((_, connections)) => *connections += 1,
            None => self.script.setup.components.push((domain.to_owned(), 1)),
        }
        let domain = domain.strip_prefix("*.").unwrap_or(domain);
        self.introduce(name, Address::of_component(domain))
    }

    fn take_account(&mut self, who: usize) -> Result<(), Wrong> {
        let bare = self.script.cast[who].address.bare();
        for character in &mut self.script.cast {
            if character.address.bare() == bare {
                character.has_account = false;
            }
        }
        Ok(())
    }

    /// Finds a character, or calls one of the usual cast onto the stage.
    fn character(&mut self, name: &str) -> Result<usize, Wrong> {
        let known = self.script.cast.iter().position(|character| character.name == name);
        if let Some(index) = known {
            return Ok(index);
        }
        let (person, resource) = name.split_once('/').map_or((name, None), |(p, r)| (p, Some(r)));
        let introduced = self.script.cast.iter().find(|character| character.name == person);
        let usual = CAST.iter().find(|(usual, _)| *usual == person);
        let mut address = introduced
            .map(|character| character.address.clone())
            .or_else(|| usual.and_then(|(_, jid)| Address::parse(jid)))
            .ok_or_else(|| format!("who is {person}? (`{person} is {person}@capulet.lit/hall`)"))?;
        if let Some(resource) = resource {
            address.resource = resource.to_owned();
        }
        let has_account = introduced.is_none_or(|character| character.has_account);
        let name = name.to_owned();
        self.script.cast.push(Character { name, address, has_account, is_present: false });
        Ok(self.script.cast.len() - 1)
    }

    fn finish(self) -> Result<Script, ScriptError> {
        let named = self.script.steps.iter().find(|step| match &step.act {
            Act::Send(text) | Act::SendRaw(text) => text.contains(ROUND_TRIP),
            _ => false,
        });
        match named {
            Some(step) => Err(ScriptError {
                line: step.line,
                what: format!("ids that begin with `{ROUND_TRIP}` are reserved"),
            }),
            None => Ok(self.script),
        }
    }
}

fn is_receiving(phrase: &str) -> bool {
    phrase.starts_with("receives") && phrase != "receives nothing"
}

fn check_name(name: &str) -> Result<(), Wrong> {
    let (person, resource) = name.split_once('/').unwrap_or((name, "x"));
    let lower = person.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match lower && person.starts_with(|c: char| c.is_ascii_lowercase()) && !resource.is_empty() {
        true => Ok(()),
        false => Err(format!("`{name}` is not a name: lower case letters, digits and -").into()),
    }
}

/// The elements of a block, each with its line.
fn elements(at: &Statement<'_>) -> Result<Vec<(usize, Node)>, Wrong> {
    let text = at.block.join("\n");
    let elements = parse_elements(&text, NS_CLIENT).map_err(|error| error.0)?;
    if elements.is_empty() {
        return Err("no element in this block".into());
    }
    let line_of = |offset: usize| at.line + 1 + text[..offset].matches('\n').count();
    Ok(elements.into_iter().map(|(offset, node)| (line_of(offset), node)).collect())
}

/// The one element that stands on the line of a statement.
fn one_element(xml: &str, ns: &str) -> Result<Node, Wrong> {
    let mut elements = parse_elements(xml, ns).map_err(|error| error.0)?;
    match (elements.pop(), elements.is_empty()) {
        (Some((_, node)), true) => Ok(node),
        _ => Err(format!("`{xml}` is not one element").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_as_it_is_written() {
        let script = Script::parse(
            "
            # Somebody who is not of the usual cast.
            paris is paris@verona.lit/church
            romeo is subscribed to juliet
            romeo comes online with priority -1

            paris sends
                # Within a block, too.
                <message to='juliet@capulet.lit' id='1'/>
            juliet/chamber receives
                <message id='{id=any}'/>

                <presence/>
            romeo sends
                <message id='{id}'/>
            juliet/chamber sees stream error <conflict/>
            ",
        )
        .unwrap();
        let names: Vec<&str> = script.cast.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["paris", "romeo", "juliet", "juliet/chamber"]);
        assert_eq!(script.cast[3].address.full(), "juliet@capulet.lit/chamber");
        let present: Vec<bool> = script.cast.iter().map(|c| c.is_present).collect();
        assert_eq!(present, [true, false, false, true]);
        assert_eq!(script.subscriptions, [(1, 2)]);
        let lines: Vec<usize> = script.steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [5, 7, 10, 14, 16]);
        assert!(matches!(script.steps[0].act, Act::ComeOnline { priority: Some(-1) }));
        let Act::Receive { elements, any_order: false } = &script.steps[2].act else {
            panic!("not a receive");
        };
        let lines: Vec<usize> = elements.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [11, 13]);
        let Act::SeeStreamError(condition) = &script.steps[4].act else { panic!("no error") };
        assert!(condition.is("conflict", NS_STREAMS));
    }

    #[test]
    fn the_setup_is_for_the_server() {
        let script =
            Script::parse("registration closed\nconfig\n    [limits]\n    x = 1\n").unwrap();
        let admins = Script::parse("admin juliet@capulet.lit").unwrap().setup;
        assert!(!admins.is_plain());
        assert_eq!(admins.admins_of("capulet.lit").collect::<Vec<_>>(), ["juliet@capulet.lit"]);
        assert_eq!(admins.admins_of("montague.lit").count(), 0);
        assert_eq!(script.setup.registration.as_deref(), Some("closed"));
        assert_eq!(script.setup.config, "[limits]\nx = 1\n");
        assert!(!script.setup.is_plain());
    }

    #[test]
    fn who_has_no_account_gets_none() {
        let script = Script::parse("romeo has no account\nromeo/hall connects").unwrap();
        assert!(script.cast.iter().all(|character| !character.has_account));
    }

    #[test]
    fn raw_text_may_be_anything() {
        let script = Script::parse("romeo sends raw\n    <a>{{<b\n      c").unwrap();
        assert!(matches!(&script.steps[0].act, Act::SendRaw(text) if text == "<a>{{<b\n  c"));
    }

    #[test]
    fn mistakes_name_their_line() {
        let wrong = [
            ("hamlet sends\n  <a/>", 1, "who is hamlet?"),
            ("romeo sings", 1, "not understood"),
            ("romeo sends", 1, "needs a block"),
            ("romeo receives", 1, "needs a block"),
            ("romeo logs in\n  <a/>", 2, "nothing belongs below"),
            ("  romeo logs in\njuliet logs in", 2, "further left"),
            ("romeo sends\n  <a>", 1, "<a> is not closed"),
            ("romeo sends\n  <a id='{any}'/>", 1, "cannot have a hole"),
            ("romeo sends\n  <a id='{id}'/>", 1, "nothing was remembered as `id`"),
            ("romeo receives\n  <a/>\n  <b id='{id}'/>", 3, "nothing was remembered"),
            ("romeo receives\n  <a i='{x=any}' j='{x=any}'/>", 2, "`x` is taken"),
            ("romeo receives\n  <a id='round-trip-1'/>", 2, "reserved"),
            ("romeo sends\n  <a id='round-trip-1'/>", 1, "reserved"),
            ("romeo is romeo@montague.lit", 1, "not a full JID"),
            ("romeo sees stream error", 1, "which stream error?"),
            ("romeo comes online with priority 200", 1, "-128 to 127"),
            ("registration perhaps", 1, "one of closed"),
            ("admin juliet", 1, "admin is a bare JID"),
            ("admin juliet@verona.lit", 1, "admin is a bare JID at one of capulet.lit"),
            ("romeo logs in\nromeo is romeo@capulet.lit/x", 2, "known already"),
        ];
        for (text, line, what) in wrong {
            let error = Script::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.what.contains(what), "{text}: {error}");
        }
    }
}
