//! JSON Web Tokens (RFC 7519) of an authorization server: their keys from a file, and what a token says of a client.
//!
//! A token is checked from the outside in: its form, its signature by a key of the file, its claims. Signatures are
//! the library's business. Nothing here obtains tokens or keys, or follows an address in a token.

mod claims;
#[cfg(test)]
pub(crate) mod examples;
mod grant;
mod json;
mod keys;
mod token;
mod verifier;

pub use grant::{ClaimedRights, JwtGrant};
pub use keys::{JwtKeys, read_jwt_keys};
pub use token::JwtRefusal;
pub use verifier::JwtSettings;

pub(super) use token::Refused;
#[cfg(fuzzing)]
pub(crate) use token::shows;
pub(super) use verifier::{JwtVerifier, ShownJwt};
