//! Bytes to XML elements and back, knowing nothing of XMPP.
