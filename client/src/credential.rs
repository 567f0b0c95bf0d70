//! What a client shows to say who it is.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use protocol::Escaped;
use zeroize::Zeroizing;

/// A password or a token. It is overwritten in memory at its end, and [`Debug`](fmt::Debug) leaves it
/// out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A user with its password, or a token.
///
/// ```no_run
/// use client::{Client, Credential, Options};
///
/// let options = Options {
///     credential: Some(Credential::password("ann", "a password")),
///     ..Options::default()
/// };
/// let client = Client::connect_with("localhost:1373", &options)?;
/// # Ok::<(), client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    user: Option<String>,
    secret: Secret,
}

impl Credential {
    /// The name of a user, and its password, or a token of it.
    pub fn password(user: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self {
            user: Some(user.into()),
            secret: secret.into(),
        }
    }

    /// A token, which names its owner itself.
    pub fn token(secret: impl Into<Secret>) -> Self {
        Self {
            user: None,
            secret: secret.into(),
        }
    }

    /// The user, if it is not the owner of the token.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, or the token.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How the line protocol shows it; the error says why a line cannot.
    pub(crate) fn on_line(&self) -> Result<protocol::Credential<'_>, &'static str> {
        let is_word = |bytes: &[u8]| {
            let is_other = |byte: &u8| *byte == b' ' || byte.is_ascii_control();
            !bytes.is_empty() && !bytes.iter().any(is_other)
        };
        match &self.user {
            Some(user) if !is_word(user.as_bytes()) => {
                return Err("a user name has no spaces and no control characters");
            }
            None if !is_word(self.secret.as_bytes()) => {
                return Err("a token has no spaces and no control characters");
            }
            _ => {}
        }
        Ok(protocol::Credential {
            user: self.user.as_ref().map(|user| user.as_bytes()),
            secret: Escaped::escape(self.secret.as_bytes()),
        })
    }

    /// Appends the line that shows it; the error says why none can.
    pub fn write_line(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let credential = Some(self.on_line()?);
        protocol::Request::Auth { credential }.encode(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(credential: &Credential) -> Option<String> {
        let mut out = Vec::new();
        credential.write_line(&mut out).ok()?;
        Some(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_secret_is_the_rest_of_its_line_and_no_name_begins_another() {
        let ann = |secret: &str| line(&Credential::password("ann", secret));
        assert_eq!(ann(" a\nb\\").as_deref(), Some("AUTH ann  a\\nb\\\\\n"));
        let token = line(&Credential::token("dlt_k3f9_x"));
        assert_eq!(token.as_deref(), Some("AUTH dlt_k3f9_x\n"));
        for user in ["", "a b", "a\nPUBLISH", "a\r"] {
            assert_eq!(line(&Credential::password(user, "x")), None, "{user:?}");
        }
        for token in ["", "a b", "a\nb"] {
            assert_eq!(line(&Credential::token(token)), None, "{token:?}");
        }
    }

    #[test]
    fn a_secret_is_in_no_output_for_debugging() {
        let shown = format!("{:?}", Credential::password("ann", "hunter2"));
        assert!(
            shown.contains("ann") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
