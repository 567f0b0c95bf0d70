//! A table in Markdown.

#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Cells that are missing at the end are left empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn write(&self) -> String {
        let ruler = "|---".repeat(self.head.len());
        let mut out = format!("{}{ruler}|\n", line(&self.head));
        out.extend(self.rows.iter().map(|row| line(row)));
        out
    }
}

fn line(cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| format!(" {} |", one_line(cell)));
    let cells: String = cells.collect();
    format!("|{cells}\n")
}

/// Neither a bar nor a line end may end a cell early.
fn one_line(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_a_ruler_and_rows() {
        let mut table = Table::new(&["a", "b"]);
        assert!(table.is_empty());
        table.row(["1".to_owned(), "x|y\nz".to_owned()]);
        table.row(["2".to_owned()]);
        let expected = "| a | b |\n|---|---|\n| 1 | x\\|y z |\n| 2 |  |\n";
        assert_eq!(table.write(), expected);
    }
}
