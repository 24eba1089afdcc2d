//! A value that may be used but not shown (rule S1).

use std::fmt;

/// Holds something personal or secret; `Debug` never shows it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that sends, seals or shows it to its owner.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Gives the value away.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Private<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Private::new("ada@example.com"))), "Some([private])");
    }
}
