//! What we call the upstream for, and how such a call can end: the closed sets behind metrics.

/// Who goes first when there is not enough for everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Envelopes that do not exist yet.
    NewWork,
    /// Finding out what became of something.
    Check,
    /// A person is at it, or about to be.
    Signer,
}

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// What the upstream is called for.
    Operation {
        /// Read an account's settings.
        AccountSettings = "account_settings",
        /// Correct a recipient.
        Correct = "recipient_correct",
        /// Create an envelope.
        CreateEnvelope = "envelope_create",
        /// Mint a recipient view.
        CreateView = "recipient_view",
        /// Download a document.
        Document = "document",
        /// Read one envelope.
        Envelope = "envelope_read",
        /// Look up what a lost answer made (rule E2).
        Find = "envelope_find",
        /// A call passed through for a caller.
        Forward = "forward",
        /// List identity verification workflows.
        IdentityWorkflows = "identity_workflows",
        /// List envelopes that changed.
        ListChanges = "envelope_list",
        /// Destroy an envelope's documents.
        Purge = "envelope_purge",
        /// Read an envelope's recipients.
        Recipients = "recipients_read",
        /// Read a template.
        Template = "template_read",
        /// Void an envelope.
        Void = "envelope_void",
    }
}

words! {
    /// How a call ended.
    Outcome {
        /// An answer that cannot be used.
        BadAnswer = "bad_answer",
        /// The upstream refused it for a limit.
        Limited = "limited",
        /// It was surely not sent.
        NotSent = "not_sent",
        /// It did what it was to do.
        Ok = "ok",
        /// The upstream refused it.
        Rejected = "rejected",
        /// We refused it, to spare a limit or a deadline.
        Shed = "shed",
        /// The token was refused.
        Unauthorized = "unauthorized",
        /// The upstream is there and cannot answer.
        Unavailable = "unavailable",
        /// No answer came; it may have been acted on.
        Unknown = "unknown",
    }
}

impl Operation {
    /// How urgent it is by itself.
    pub const fn priority(self) -> Priority {
        match self {
            Self::AccountSettings
            | Self::CreateEnvelope
            | Self::Forward
            | Self::IdentityWorkflows
            | Self::Purge
            | Self::Template => Priority::NewWork,
            Self::Document | Self::Envelope | Self::Find | Self::ListChanges | Self::Void => Priority::Check,
            Self::Correct | Self::CreateView | Self::Recipients => Priority::Signer,
        }
    }
}
