//! What an answer says about the backend that gave it.

/// What an answer says about its backend. What one caller asks for is never held against a backend that others need, so how
/// to read an answer is the user's to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does its work.
    Well,
    /// It does not.
    Ill,
    /// Nothing: the caller had no more time, or left.
    Silent,
}

impl Outcome {
    /// Whether it speaks against the backend.
    #[inline]
    pub const fn is_ill(self) -> bool {
        matches!(self, Self::Ill)
    }
}
