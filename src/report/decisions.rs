//! The name under which the times of decision stand in a result.

/// Diagnostic with the speciation and collapse times ([`crate::problem::Decisions`]).
pub const DECISIONS: &str = "decisions";
