//! The kinds of questions, and their words.

/// The kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The ledger of all messages.
    Audit,
    /// Connections and sessions.
    Who,
    /// Sessions that outlast connections.
    Sessions,
    /// Statistics of each topic.
    Topics,
    /// Filters that have subscribers.
    Filters,
    /// Which subscriptions match a topic, and why others do not.
    Why,
    /// Which rule lets an identity do something, or not.
    May,
    /// Retained messages.
    Retained,
    /// Topics that keep messages.
    Kept,
    /// An overview of the broker.
    Broker,
}

impl What {
    pub(crate) const ALL: [Self; 10] = [
        Self::Audit,
        Self::Who,
        Self::Sessions,
        Self::Topics,
        Self::Filters,
        Self::Why,
        Self::May,
        Self::Retained,
        Self::Kept,
        Self::Broker,
    ];

    /// Parses the word of a question.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.word() == word)
    }

    /// The word of this question.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Who => "who",
            Self::Sessions => "sessions",
            Self::Topics => "topics",
            Self::Filters => "filters",
            Self::Why => "why",
            Self::May => "may",
            Self::Retained => "retained",
            Self::Kept => "kept",
            Self::Broker => "broker",
        }
    }
}
