//! What a module says of itself, in one constant.

use crate::store::shape::Table;

/// A specification and the version of it that the module implements.
#[derive(Clone, Copy, Debug)]
pub struct Spec(pub &'static str, pub &'static str);

/// What a module offers. Disco, the tables of the store and `SPECS.md` are derived from it.
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// The name of its section in the config, `[modules.NAME]`.
    pub name: &'static str,
    /// The specifications it implements.
    pub specs: &'static [Spec],
    /// Features that the host announces (XEP-0030 §3.1).
    pub features: &'static [&'static str],
    /// Features that each account announces.
    pub account_features: &'static [&'static str],
    /// Tables whose entries are loaded with the account.
    pub loaded: &'static [Table],
    /// Tables that are read when they are asked for.
    pub tables: &'static [Table],
}

impl Manifest {
    /// A manifest that offers nothing, to be completed.
    pub const EMPTY: Self = Self {
        name: "",
        specs: &[],
        features: &[],
        account_features: &[],
        loaded: &[],
        tables: &[],
    };
}
