//! ANONYMOUS (RFC 4505): no proof at all, and perhaps a trace for the log.

use std::str;

use super::error::Refusal;
use super::prep::is_trace;

/// Reads the trace (RFC 4505 §2); what breaks its syntax is malformed (RFC 6120 §6.5.8).
pub(super) fn trace(data: &[u8]) -> Result<Option<String>, Refusal> {
    str::from_utf8(data)
        .ok()
        .filter(|trace| is_trace(trace))
        .map(|trace| (!trace.is_empty()).then(|| trace.to_owned()))
        .ok_or(Refusal::malformed("not a trace of ANONYMOUS"))
}
