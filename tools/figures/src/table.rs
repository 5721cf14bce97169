//! Tables of results.

/// A table; a row that is too short is filled with nothing.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the table shows; may be empty.
    pub caption: String,
    /// Names of the columns, with units.
    pub columns: Vec<String>,
    /// The cells. A column of figures is set flush right.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Says what the table shows.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// Adds a row at the end.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Whether all cells of a column begin like a figure.
    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .peekable();
        cells.peek().is_some()
            && cells.all(|cell| {
                let cell = cell.trim_start_matches(['-', '\u{2212}', '+', '<', '>', '≥', '≤', ' ']);
                cell.is_empty()
                    || cell.starts_with(|c: char| c.is_ascii_digit() || "–—∞".contains(c))
            })
    }
}
