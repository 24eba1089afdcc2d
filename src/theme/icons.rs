//! Small drawings beside the words. They say nothing that the words do not, so readers skip them.

use maud::{Markup, PreEscaped};

/// A drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// On to somewhere.
    Arrow,
    /// Done, good.
    Check,
    /// Later.
    Clock,
    /// Refused.
    Cross,
    /// Secret.
    Lock,
    /// Signing.
    Pen,
    /// An SMS.
    Phone,
    /// Not found.
    Search,
    /// Wait.
    Turning,
    /// Something is wrong.
    Warning,
}

impl Icon {
    /// Its markup: our constants only.
    pub fn draw(self) -> Markup {
        let path = match self {
            Self::Arrow => "<path d=\"M5 12h14M13 6l6 6-6 6\"/>",
            Self::Check => "<path d=\"M5 12.5l4.5 4.5L19 7.5\"/>",
            Self::Clock => "<circle cx=\"12\" cy=\"12\" r=\"9\"/><path d=\"M12 7v5l3.5 2\"/>",
            Self::Cross => "<path d=\"M6 6l12 12M18 6L6 18\"/>",
            Self::Lock => {
                "<rect x=\"5\" y=\"11\" width=\"14\" height=\"9\" rx=\"2\"/><path d=\"M8 11V8a4 4 0 0 1 8 0v3\"/>"
            }
            Self::Pen => "<path d=\"M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8 18.5z\"/><path d=\"M13 20h7\"/>",
            Self::Phone => {
                "<rect x=\"7\" y=\"3\" width=\"10\" height=\"18\" rx=\"2\"/><path d=\"M11 17.5h2\"/>"
            }
            Self::Search => "<circle cx=\"11\" cy=\"11\" r=\"6.5\"/><path d=\"M16 16l4.5 4.5\"/>",
            Self::Turning => "<path d=\"M20 12a8 8 0 1 1-2.5-5.8\"/><path d=\"M20 3v4.5h-4.5\"/>",
            Self::Warning => "<path d=\"M12 4L2.8 19.5h18.4z\"/><path d=\"M12 10v4.5M12 17v.01\"/>",
        };
        PreEscaped(format!(
            "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" focusable=\"false\">{path}</svg>"
        ))
    }
}
