//! Everything that is wrong with a request, told at once.

use std::fmt;

use shop_fault::{Fault, FieldError};

use crate::Id;

/// What is wrong with the fields of a request, noted while they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// The value, or none, and what is wrong with it is noted.
    pub fn keep<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|wrong| self.0.push(wrong)).ok()
    }

    /// The id that `text` spells, or none, and that is noted.
    pub fn id<T: Id>(&mut self, field: &str, text: &str) -> Option<T> {
        self.keep(crate::read(field, text))
    }

    /// Notes what is wrong with `field`.
    pub fn refuse(&mut self, field: impl Into<String>, code: &str, message: impl Into<String>) {
        self.0.push(FieldError::new(field, code, message));
    }

    /// The value, or none, and takes over what is wrong with its parts.
    pub fn merge<T>(&mut self, read: Result<T, Self>) -> Option<T> {
        read.map_err(|more| self.0.extend(more.0)).ok()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong, in the order in which it was found.
    pub fn errors(&self) -> &[FieldError] {
        &self.0
    }
}

impl From<FieldError> for Fields {
    fn from(wrong: FieldError) -> Self {
        Self(vec![wrong])
    }
}

impl From<Fields> for Fault {
    fn from(fields: Fields) -> Self {
        Self::invalid(fields.0)
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{}: {}", only.field, only.message),
            many => write!(f, "{} fields are not valid", many.len()),
        }
    }
}

impl std::error::Error for Fields {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserId;

    #[test]
    fn everything_wrong_is_noted_in_its_order() {
        let mut fields = Fields::default();
        assert_eq!(fields.id::<i64>("product_id", "7"), Some(7));
        assert!(fields.is_empty());
        assert_eq!(fields.id::<UserId>("user_id", "a b"), None);
        fields.refuse("quantity", "out_of_range", "must be 1 or more");
        let part = FieldError::new("price", "required", "must be given");
        assert_eq!(fields.merge::<()>(Err(part.into())), None);
        assert_eq!(fields.to_string(), "3 fields are not valid");
        let fault = Fault::from(fields);
        let named: Vec<_> = fault.fields().iter().map(|wrong| (wrong.field.as_str(), wrong.code.as_str())).collect();
        assert_eq!(named, [("user_id", "invalid"), ("quantity", "out_of_range"), ("price", "required")]);
        assert_eq!((fault.code(), fault.kind().status()), ("validation_failed", 422));
    }
}
