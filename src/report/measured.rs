//! A number that was measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value with its standard error: over models, draws, or clouds of starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub value: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<f64>,
}
