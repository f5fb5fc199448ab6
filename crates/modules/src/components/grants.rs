//! What the operator lets privileged components do (XEP-0356), as it stands in the config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use verona_core::hooks::{Key, Settings};

/// Which requests may be made (XEP-0356 §4.1, §6.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Requests {
    /// None.
    #[default]
    None,
    /// Those that ask.
    Get,
    /// Those that change.
    Set,
    /// All.
    Both,
}

/// Which messages may be sent (XEP-0356 §5.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Messages {
    /// None.
    #[default]
    None,
    /// Those in the name of the host and its accounts.
    Outgoing,
}

/// Which presence is shown (XEP-0356 §7.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// None.
    #[default]
    None,
    /// That of the accounts.
    ManagedEntity,
    /// That of the accounts and of their contacts.
    Roster,
}

impl Requests {
    /// Whether those that change (`set`), or those that ask, may be made.
    pub fn allows(self, set: bool) -> bool {
        match self {
            Self::None => false,
            Self::Get => !set,
            Self::Set => set,
            Self::Both => true,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Get => "get",
            Self::Set => "set",
            Self::Both => "both",
        }
    }
}

/// What one component may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The component's domain.
    pub component: String,
    /// The hosts for which it holds; empty for all.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Rosters.
    #[serde(default)]
    pub roster: Requests,
    /// Whether changes of rosters are told; by default when they may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    /// Messages.
    #[serde(default)]
    pub message: Messages,
    /// Presence.
    #[serde(default)]
    pub presence: Shown,
    /// Requests by their namespace.
    #[serde(default)]
    pub iq: BTreeMap<String, Requests>,
}

impl Grant {
    /// Whether changes of rosters are told. XEP-0356 §4.1: only who may read is told of changes.
    pub fn pushes(&self) -> bool {
        self.roster.allows(false) && self.push.unwrap_or(true)
    }
}

/// What the operator may set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What each component may do.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[Key {
        name: "grants",
        doc: "What components may do for accounts, a section `[[modules.privilege.grants]]` each: \
              `component`, its domain; `hosts`, for which it holds, all when it is left out; `roster` \
              and, by namespace, `iq` are `none`, `get`, `set` or `both`; `push = false` spares a \
              component the changes of rosters that it may read; `message` is `none` or `outgoing`; \
              `presence` is `none`, `managed_entity` or, for who may read rosters, `roster`.",
    }];
}
