//! Data forms (XEP-0004): the ones that others filled in, and the ones we write.
//!
//! [`Filled`] reads one field by name and type, straight from the tree; what is wrong in it comes
//! back as the error to answer with. [`Form`] and [`Field`] build what is to be written.

mod field;
mod filled;
mod write;

pub use field::{FORM_TYPE, FieldType, FormType};
pub use filled::{Filled, FilledField};
pub use write::{Field, Form, Validation};
