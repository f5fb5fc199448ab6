//! Data forms (XEP-0004): the ones that others filled in, and the ones we write.
//!
//! [`Filled`] reads one field by name and type, straight from the tree; what is wrong in it comes
//! back as the error to answer with. [`Form`] and [`Field`] build what is to be written.

mod field;
mod filled;
mod write;

pub use field::{FieldType, FormType};
pub use filled::{Filled, FilledField};
pub use write::{Field, Form, Validation};

/// The field that says what a form is about (XEP-0068 §3.1).
pub const FORM_TYPE: &str = "FORM_TYPE";
