//! Why something outside refused, sorted by what the caller can do about it.

/// The cause below an error, whatever it was.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call to the outside failed.
///
/// Every port speaks this one type, so that callers decide by kind and people read one sentence. A source is
/// kept for the printer, which walks the chain.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Somebody else changed it in between: load and decide again.
    #[error("{what} was changed by somebody else")]
    Conflict {
        /// What was to be changed.
        what: String,
    },
    /// The credentials do not allow it; trying again does not help.
    #[error("access denied while trying to {doing}")]
    Denied {
        /// What was tried.
        doing: String,
        /// The answer.
        #[source]
        source: BoxError,
    },
    /// It was understood and refused; trying again does not help.
    #[error("could not {doing}")]
    Refused {
        /// What was tried.
        doing: String,
        /// The answer.
        #[source]
        source: BoxError,
    },
    /// No answer, or one that asks for patience; the retries of the client are used up.
    #[error("no answer while trying to {doing}")]
    Unavailable {
        /// What was tried.
        doing: String,
        /// The last failure.
        #[source]
        source: BoxError,
    },
}

impl Failure {
    /// Returns the same failure once more; its causes become one text.
    #[must_use]
    pub fn copy(&self) -> Self {
        let text = |source: &BoxError| chain(source.as_ref()).into();
        match self {
            Self::NotFound { what } => Self::NotFound { what: what.clone() },
            Self::Conflict { what } => Self::Conflict { what: what.clone() },
            Self::Denied { doing, source } => Self::Denied { doing: doing.clone(), source: text(source) },
            Self::Refused { doing, source } => Self::Refused { doing: doing.clone(), source: text(source) },
            Self::Unavailable { doing, source } => Self::Unavailable { doing: doing.clone(), source: text(source) },
        }
    }

    /// Makes a refusal from a text.
    pub fn refused(doing: impl Into<String>, cause: impl Into<BoxError>) -> Self {
        Self::Refused { doing: doing.into(), source: cause.into() }
    }

    /// Makes an unavailability from a text or an error.
    pub fn unavailable(doing: impl Into<String>, cause: impl Into<BoxError>) -> Self {
        Self::Unavailable { doing: doing.into(), source: cause.into() }
    }

    /// Tells whether waiting and trying again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }

    /// Tells whether credentials are at fault.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }
}

/// Writes an error and its causes on one line, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
