//! The log: lines for people, or JSON for collectors, to the standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::sections::Log;
use crate::config::value::LogFormat;

/// The environment variable that goes before the filter of the config.
const VARIABLE: &str = "VERONA_LOG";

/// Begins to log. Fails when the filter in the environment makes no sense.
pub fn start(log: &Log) -> Result<(), String> {
    let filter = std::env::var(VARIABLE).unwrap_or_else(|_| log.filter.as_str().to_owned());
    let filter = parse(&with_quiet_resolver(&filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// The resolver warns of each odd answer with the whole of it. What matters of that is told by those
/// who asked; the rest only who asks for it by name wants to see.
fn with_quiet_resolver(filter: &str) -> String {
    const PARTS: [&str; 3] = ["hickory_net", "hickory_proto", "hickory_resolver"];
    if filter.contains("hickory") {
        return filter.to_owned();
    }
    let quiet = PARTS.map(|part| format!(",{part}=off"));
    format!("{filter}{}", quiet.concat())
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| {
        format!("the log filter {filter:?} makes no sense ({error}); write `info`, or `debug`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_understood_or_refused() {
        assert!(parse("info,verona_core=debug").is_ok());
        assert!(parse(&with_quiet_resolver("info")).is_ok());
        assert_eq!(with_quiet_resolver("hickory_net=warn"), "hickory_net=warn");
        assert!(parse("info,=x=").is_err_and(|message| message.contains("write `info`")));
    }
}
