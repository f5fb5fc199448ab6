//! The bounds within which an element is read. They hold while its bytes arrive.

/// Limits bound what one element may cost its reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest element in bytes, from its first `<` to its last `>`. A start tag of the root
    /// and an XML declaration are held to it as well.
    pub element_bytes_max: usize,
    /// How deep elements may nest; the element itself is level one.
    pub depth_max: u16,
    /// How many attributes a start tag may carry, namespace declarations included.
    pub attributes_max: u16,
    /// How many prefixes may be bound at one place inside an element. Default namespaces do not
    /// count: each costs nothing but its own bytes.
    pub namespaces_max: u16,
    /// How many elements an element may hold, itself included.
    pub elements_max: u32,
}

impl Limits {
    /// No limit but that of the offsets, for text which was scanned before.
    pub const NONE: Self = Self {
        element_bytes_max: u32::MAX as usize - 1,
        depth_max: u16::MAX,
        attributes_max: u16::MAX,
        namespaces_max: u16::MAX,
        elements_max: u32::MAX,
    };

    /// The longest element, also within what the offsets of an index can say.
    pub(crate) fn bytes(&self) -> usize {
        self.element_bytes_max.min(Self::NONE.element_bytes_max)
    }
}
