//! Aligned columns of text.

/// What stands where there is nothing to say.
pub(super) const ABSENT: &str = "-";

/// A column of a [`Grid`].
pub(super) struct Column {
    title: String,
    right: bool,
}

impl Column {
    pub fn left(title: &str) -> Self {
        Self {
            title: title.to_string(),
            right: false,
        }
    }

    pub fn right(title: &str) -> Self {
        Self {
            title: title.to_string(),
            right: true,
        }
    }
}

/// Aligned columns of text.
pub(super) struct Grid {
    columns: Vec<Column>,
    /// Cells, and whether the row begins a case.
    rows: Vec<(Vec<String>, bool)>,
}

impl Grid {
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, cells: Vec<String>, begins: bool) {
        self.rows.push((cells, begins));
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |text: &str| text.chars().count();
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.clone()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().map(|(cells, _)| width(&cells[i]));
                cells.fold(width(&titles[i]), usize::max)
            })
            .collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(self.columns.iter().zip(&widths))
                .map(|(cell, (column, width))| {
                    if column.right {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                })
                .collect();
            padded.join("  ").trim_end().to_string()
        };
        writeln!(f, "{}", line(&titles))?;
        let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        writeln!(f, "{}", "-".repeat(total))?;
        // One-row cases need no blank lines between them.
        let blocks = self.rows.iter().any(|(_, begins)| !begins);
        for (index, (cells, begins)) in self.rows.iter().enumerate() {
            if blocks && *begins && index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}", line(cells))?;
        }
        Ok(())
    }
}
