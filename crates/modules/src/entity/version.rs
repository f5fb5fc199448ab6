//! XEP-0092: Software Version. The host tells its name and version; the operating system only where
//! the operator wants it told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Key, Manifest, Module, Reply, Request, Settings,
    Spec, Target,
};
use verona_core::own;

const NS: &str = "jabber:iq:version";

/// The module.
pub struct Version {
    config: Config,
}

/// What an operator may set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the operating system is told (§5).
    pub os: bool,
}

impl Settings for Config {
    const KEYS: &'static [Key] =
        &[Key { name: "os", doc: "Whether everybody is told the operating system." }];
}

impl Module for Version {
    const MANIFEST: Manifest = Manifest {
        name: "version",
        specs: &[Spec("XEP-0092", "1.1")],
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Host, NS, "query", Self::tell);
    }
}

impl Version {
    /// XEP-0092 §2.
    async fn tell(self: Arc<Self>, _: Request) -> IqResult {
        Ok(Reply::with(|writer| {
            writer.start("query", NS);
            writer.start("name", NS).text(own::NAME).end();
            writer.start("version", NS).text(own::VERSION).end();
            if self.config.os {
                writer.start("os", NS).text(std::env::consts::OS).end();
            }
            writer.end();
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::play;

    #[test]
    fn operating_system_is_told_only_where_the_operator_wants_it() {
        let answer = |os: &str| {
            format!(
                "
                juliet sends
                    <iq type='get' to='capulet.lit' id='v1'><query xmlns='jabber:iq:version'/></iq>
                juliet receives
                    <iq type='result' from='capulet.lit' id='v1'>
                        <query xmlns='jabber:iq:version'>
                            <name>Verona</name>
                            <version>{{any}}</version>
                            {os}
                        </query>
                    </iq>
                "
            )
        };
        play(&answer(""));
        let wanted = "
                config
                    [modules.version]
                    os = true
            ";
        play(&[wanted, &answer("<os>{any}</os>")].concat());
    }
}
