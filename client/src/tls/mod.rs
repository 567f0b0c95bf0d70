//! TLS for connections to a broker: whose certificate is taken, and what this client shows of itself.

mod error;
mod fingerprint;
mod setup;
mod stream;
mod verifier;

pub use error::{Distrust, TlsError, TlsFailure};
pub use fingerprint::Fingerprint;
pub use setup::{Tls, TlsOptions, TlsSetupError};
pub(crate) use stream::TlsStream;
