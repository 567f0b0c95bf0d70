//! Users and tokens: their names, their secrets, and the file that has them.
//!
//! Nothing here asks at a terminal, listens or starts a thread. What is read from a file is checked as a
//! whole, and what is written keeps all that it does not concern.

mod document;
mod file;
mod mistake;
mod name;
mod password;
mod secret;
mod token;
mod users;
mod words;

pub use document::UsersDocument;
pub use file::{edit_users, read_users};
pub use mistake::UsersMistake;
pub use name::{BadIdentityName, IdentityName};
pub use password::StoredPassword;
pub use secret::{BadSecret, Secret};
pub use token::{BadTokenId, NewToken, TokenDigest, TokenId, TokenNote};
pub use users::{Token, User, Users};
