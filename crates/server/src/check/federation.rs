//! A trial: can this server federate with a named domain, and if not, at which step does it end?

use crate::check::finding::Finding;
use crate::config::load::Config;
use crate::config::names::Domain;
use crate::control::client::{ControlClient, ControlError};
use crate::control::protocol::{Answer, Request, Trial};

/// Lets the running server try it.
pub fn look(config: &Config, domain: &str, host: Option<&str>) -> Vec<Finding> {
    let subject = format!("federation with {domain}");
    let domain = match Domain::parse(domain) {
        Ok(domain) => domain.to_string(),
        Err(message) => {
            let cure = "write a domain such as example.org";
            return vec![Finding::error(subject, format!("{domain:?} {message}"), cure)];
        }
    };
    let request = Request::Federate { domain, host: host.map(str::to_owned) };
    let answer = ControlClient::connect(&config.control_socket())
        .and_then(|mut client| client.ask(&request));
    match answer {
        Ok(Answer::Federated { trial }) => told(&subject, trial),
        Ok(other) => {
            let text = format!("the server gave an answer that does not fit: {other:?}");
            vec![Finding::error(subject, text, "run the `verona` that the server was started with")]
        }
        Err(error) => vec![Finding::error(subject, error.to_string(), cure_of(&error))],
    }
}

fn cure_of(error: &ControlError) -> &'static str {
    match error {
        ControlError::NotRunning(_) => "start it with `verona serve`: it is the one that tries",
        ControlError::Forbidden(_) => "use sudo or su",
        ControlError::Refused(_) => "name a domain of this server, and one of another",
        ControlError::Io(_) => "look into its log",
    }
}

fn told(subject: &str, trial: Trial) -> Vec<Finding> {
    let Trial { host, steps, failure } = trial;
    let mut findings: Vec<Finding> =
        steps.into_iter().map(|step| Finding::ok(subject, step)).collect();
    if let Some(failure) = failure {
        // The last step is told as the failure that it is.
        findings.pop_if(|last| last.text == failure.cause);
        let is_reached = findings.iter().any(|step| step.text.ends_with(": connected"));
        let cure = cure(&failure.condition, is_reached);
        findings.push(Finding::error(subject, failure.cause, cure));
    } else {
        findings.push(Finding::ok(subject, format!("{host} can send to it")));
    }
    findings
}

/// By what senders are told: the steps say what it was, this says where to look.
fn cure(condition: &str, is_reached: bool) -> &'static str {
    match condition {
        "remote-server-not-found" => {
            "is it spelled right? Its DNS names no server: only its operator can mend that"
        }
        "remote-server-timeout" if !is_reached => {
            "try again later; if others reach it, look whether a firewall keeps this machine from \
             its port, and whether this machine's DNS works"
        }
        "not-allowed" => "look at who may federate with whom in [s2s] and [[host]]",
        _ => {
            "it was reached: `verona check` says whether others find this server and trust its \
             certificate; if it is about theirs, tell their operator"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;
    use crate::control::protocol::TrialFailure;

    #[test]
    fn the_step_that_failed_is_told_once_and_with_its_cure() {
        let steps =
            ["DNS: one record", "x at 192.0.2.1:5269: no answer"].map(str::to_owned).to_vec();
        let failure =
            TrialFailure { cause: steps[1].clone(), condition: "remote-server-timeout".to_owned() };
        let trial = Trial { host: "capulet.lit".to_owned(), steps, failure: Some(failure) };
        let findings = told("federation with montague.lit", trial);
        let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Error]);
        assert!(findings[1].cure.as_deref().is_some_and(|cure| cure.contains("firewall")));
    }

    #[test]
    fn who_was_reached_is_behind_no_firewall() {
        let cause = "montague.lit cannot verify capulet.lit: remote-server-not-found".to_owned();
        let steps = ["DNS: one record", "192.0.2.1:5269: connected", &cause].map(str::to_owned);
        let failure = TrialFailure { cause, condition: "remote-server-timeout".to_owned() };
        let host = "capulet.lit".to_owned();
        let trial = Trial { host, steps: steps.to_vec(), failure: Some(failure) };
        let findings = told("federation with montague.lit", trial);
        let cure = findings.last().and_then(|finding| finding.cure.as_deref());
        assert!(cure.is_some_and(|cure| cure.contains("find this server")), "{cure:?}");
    }

    #[test]
    fn success_is_told_with_all_steps() {
        let steps = vec!["DNS: one record".to_owned()];
        let trial = Trial { host: "capulet.lit".to_owned(), steps, failure: None };
        let findings = told("federation with montague.lit", trial);
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[1].text, "capulet.lit can send to it");
    }
}
