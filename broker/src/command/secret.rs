//! Where a password comes from: a question at a terminal, standard input, or a file. Never an argument.

use std::fs::File;
use std::io::{self, IsTerminal, Read};

use broker::SecretPlace;
use broker::auth::identity::{IdentityName, Secret};
use zeroize::Zeroizing;

use super::failure::{Failures, one};

/// Asks for the password of a user, twice, or reads it.
pub(super) fn password(name: &IdentityName, place: &SecretPlace) -> Result<Secret, Failures> {
    if let Some(path) = &place.secret_file {
        let shown = path.display();
        let file =
            File::open(path).map_err(|why| one(&format!("{shown} cannot be read: {why}")))?;
        return first_line(file, &shown.to_string());
    }
    if io::stdin().is_terminal() {
        return ask(name);
    }
    first_line(io::stdin(), "standard input")
}

fn ask(name: &IdentityName) -> Result<Secret, Failures> {
    let question = |prompt: String| {
        let typed =
            rpassword::prompt_password(prompt).map(|typed| Zeroizing::new(typed.into_bytes()));
        typed.map_err(|why| {
            one(&format!(
                "the terminal cannot be asked: {why}; try --secret-file FILE"
            ))
        })
    };
    let first = question(format!("Password for {name}: "))?;
    let second = question("Again: ".to_owned())?;
    if first != second {
        return Err(one("the two passwords differ; nothing has changed"));
    }
    secret(first.to_vec())
}

/// The first line, without its end. `from` is what it is read from.
fn first_line(from: impl Read, shown: &str) -> Result<Secret, Failures> {
    // Room for a line end beyond the longest secret, so that no copy is left behind by growth.
    let most = Secret::MOST_BYTES + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let read = from.take(most as u64).read_to_end(&mut bytes);
    read.map_err(|why| one(&format!("{shown} cannot be read: {why}")))?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    secret(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn secret(bytes: Vec<u8>) -> Result<Secret, Failures> {
    Secret::new(bytes).map_err(|why| one(&format!("{why}; nothing has changed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret() {
        let longest = "x".repeat(Secret::MOST_BYTES);
        for (input, secret) in [
            ("right\nwrong\n", "right"),
            ("right\r\n", "right"),
            (" right ", " right "),
            (&*format!("{longest}\r\nmore"), &*longest),
        ] {
            let read = first_line(input.as_bytes(), "a test").expect("a secret");
            assert_eq!(read.expose(), secret.as_bytes());
        }
        for input in ["", "\n", "\r\nx", &format!("{longest}x\n")] {
            assert!(first_line(input.as_bytes(), "a test").is_err(), "{input:?}");
        }
    }
}
