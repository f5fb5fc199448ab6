//! Coming to a host: accounts made in-band (XEP-0077), and invitations to make one (XEP-0401,
//! XEP-0445) or to become a contact (XEP-0379).

pub mod in_band;
pub mod invitation;
pub mod invitations;
mod networks;
pub mod preauth;
mod redeem;
