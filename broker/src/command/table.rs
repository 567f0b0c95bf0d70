//! Rows of text in columns.

/// The rows below their heading, each column as wide as its widest field, with two spaces between.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut rows = rows;
    rows.insert(0, heading.map(str::to_owned));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let fields = row
            .iter()
            .zip(widths)
            .map(|(field, width)| format!("{field:width$}"));
        let line = fields.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        let rows = vec![
            ["é".to_owned(), "1".to_owned()],
            ["anna".to_owned(), String::new()],
        ];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\né     1\nanna\n");
    }
}
