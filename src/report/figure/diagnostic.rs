//! Reads a case's diagnostics, which a result file carries unchecked.

use serde::de::DeserializeOwned;

use super::FigureError;
use crate::report::result::CaseResult;

/// Numbers beyond this are refused: their differences would not be numbers.
pub(super) const LARGEST: f64 = 1e200;

/// One diagnostic, by its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Diagnostic(pub &'static str);

impl Diagnostic {
    /// What the case holds; `None` when it holds none.
    pub fn read<T: DeserializeOwned>(self, case: &CaseResult) -> Result<Option<T>, FigureError> {
        case.diagnostics
            .get(self.0)
            .map(|value| T::deserialize(value).map_err(|e| self.malformed(e.to_string())))
            .transpose()
    }

    pub fn malformed(self, message: String) -> FigureError {
        FigureError::Malformed {
            part: format!("diagnostic '{}'", self.0),
            message,
        }
    }

    /// Checks that there are `length` numbers that can be drawn.
    pub fn numbers(self, name: &str, values: &[f64], length: usize) -> Result<(), FigureError> {
        if values.len() != length {
            let message = format!("{name} has {} values, not {length}", values.len());
            return Err(self.malformed(message));
        }
        match values.iter().find(|v| !v.is_finite() || v.abs() > LARGEST) {
            Some(v) => Err(self.malformed(format!(
                "{name} has the value {v:e}, which is no number to draw"
            ))),
            None => Ok(()),
        }
    }

    /// Checks that these are at least two times, each below the one before.
    pub fn times(self, name: &str, times: &[f64]) -> Result<(), FigureError> {
        self.numbers(name, times, times.len())?;
        if times.len() < 2 || times.windows(2).any(|t| t[1] >= t[0]) {
            return Err(self.malformed(format!("{name} do not decrease over two or more values")));
        }
        Ok(())
    }
}
