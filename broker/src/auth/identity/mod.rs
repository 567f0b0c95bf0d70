//! Users and tokens: their names, their secrets, and the file that has them; the keys and tokens of authorization
//! servers; and the [`Verifier`], which says which identity a client has.
//!
//! Nothing here asks at a terminal or listens. What is read from a file is checked as a whole, and what is
//! written keeps all that it does not concern. Only a verifier has threads.

mod client;
pub(super) mod document;
mod failures;
pub(super) mod file;
mod file_state;
mod hashing;
pub(crate) mod jwt;
pub(super) mod mistake;
mod name;
mod password;
mod recent;
mod remembered;
mod secret;
mod token;
mod users;
mod verifier;
mod watched;
pub(super) mod words;

pub use client::{ClientIdentity, IdentityKind};
pub use document::UsersDocument;
pub use file::{edit_users, read_users};
pub(crate) use file::{read_file, read_secret_file};
pub(crate) use file_state::FileState;
pub use jwt::{ClaimedRights, JwtGrant, JwtKeys, JwtRefusal, JwtSettings, read_jwt_keys};
pub use mistake::FileMistake;
pub use name::{BadIdentityName, IdentityName};
pub use password::StoredPassword;
pub use secret::{BadSecret, Secret};
pub use token::{BadTokenId, NewToken, TokenDigest, TokenId, TokenNote};
pub use users::{Token, User, Users, UsersChange};
pub use verifier::{AuthRefusal, Credential, IdentityFiles, Verifier, VerifierSettings};
