//! JIDs, the addresses of XMPP (RFC 7622): one normal form at every door.
//!
//! # Which rules, and why
//!
//! RFC 7622 prepares localparts and resourceparts with PRECIS (RFC 8264, RFC 8265); most deployed
//! servers still use its forerunner, the stringprep profiles of RFC 6122. For ASCII, which is
//! nearly all there is, both say the same. Beyond ASCII our normal form is that of PRECIS, since
//! stringprep stops at Unicode 3.2 and so refuses every emoji and every script added since 2002.
//! From stringprep we keep what RFC 7622 §4 calls to be liberal:
//!
//! - What RFC 3454 table B.1 maps to nothing (soft hyphen, variation selectors, zero width space
//!   and joiners) is mapped to nothing here too, where PRECIS alone would refuse the address.
//!   Phones put a variation selector behind many an emoji. A joiner stays where RFC 5892
//!   appendix A finds that the script needs it.
//! - A resourcepart is opaque and often a nickname that another server has already admitted; to
//!   refuse it would silence that occupant. So the code points for which RFC 5892 §2.6 makes an
//!   exception (the middle dot, Arabic digits, the tatweel) are free in a resourcepart. They are
//!   judged in localparts and domainparts, which people compare by eye.
//! - A space may begin a resourcepart, as the rules of OpaqueString have it and deployed servers
//!   do, although example 18 of RFC 7622 §3.5 lists such a string among the violations.
//!
//! What stringprep maps and PRECIS keeps or refuses is not taken over: `ß` stays itself (nodeprep
//! says `ss`), compatibility characters such as `Ⅳ` are refused in localparts (nodeprep says
//! `iv`) and kept in resourceparts (resourceprep says `IV`). That leaves one danger: a peer that
//! uses stringprep would deliver to `strasse` what was meant for `straße`. Hence
//! [`same_for_stringprep`], which registration asks before it gives a localpart away.

mod address;
mod class;
mod part;

pub use address::{Jid, Parts, is_normal, split};
pub use part::{
    Fault, JidError, PART_BYTES_MAX, Part, normal_domain, normal_local, normal_resource,
    same_for_stringprep,
};
