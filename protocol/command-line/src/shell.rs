//! Words of a command that a message suggests.

use std::path::Path;

/// A path as one types it in a shell: in quotes where it needs them.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let word = path.to_string_lossy();
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_change_it() {
        for (path, word) in [
            ("/etc/dallal/users", "/etc/dallal/users"),
            ("my users", "'my users'"),
            ("ann's", r"'ann'\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
