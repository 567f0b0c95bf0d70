//! A blocking client of the dallal broker.
//!
//! [`Client`] is one connection, used by one thread. It publishes with a receipt for each message
//! or, as a [`Publisher`], with few receipts for many; it subscribes and returns [`Messages`]; it
//! sends requests to other clients and returns their [`Answers`]; it asks the broker about itself,
//! see [`inquiry`], and gives it an operator's orders, see [`orders`]. It starts no thread and needs no runtime. `docs/protocol.md` has the
//! guarantees behind each call.
//!
//! ```
//! use client::Client;
//!
//! # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
//! # let address = broker.local_addr();
//! # std::thread::spawn(move || broker.run());
//! let mut ann = Client::connect(address)?;
//! ann.subscribe("news")?;
//!
//! let mut bob = Client::connect(address)?;
//! let copies = bob.publish("news", "hello")?;
//! assert_eq!(copies, 1);
//!
//! for message in ann.messages() {
//!     let message = message?;
//!     println!("{}: {}", message.topic, message.payload.escape_ascii());
//! #   break;
//! }
//! # Ok::<(), client::Error>(())
//! ```

mod answers;
mod backlog;
mod client;
mod clock;
mod connection;
mod conversation;
mod credential;
mod error;
mod exchange;
mod following;
mod foreign;
mod inbox;
pub mod inquiry;
mod interrupt;
mod ledger;
mod levels;
mod link;
mod liveness;
mod message;
mod messages;
pub mod mqtt;
mod options;
pub mod orders;
mod poll;
mod printable;
mod publisher;
#[cfg(test)]
mod scripted;
mod socket;
mod stream;
mod tls;
mod transport;

pub use answers::Answers;
pub use client::{Account, Client};
pub use credential::{Credential, Secret};
pub use error::{Error, Refusal};
pub use following::Following;
pub use interrupt::Interrupt;
pub use link::Woken;
pub use message::{Delivery, Message};
pub use messages::Messages;
pub use options::Options;
pub use printable::reason;
pub use publisher::{Publisher, Receipt};
pub use socket::dial;
pub use tls::{Distrust, Fingerprint, Tls, TlsError, TlsFailure, TlsOptions, TlsSetupError};
pub use transport::Transport;

pub use protocol::{
    ACK, AckLevel, Attributes, BadAckLevel, BadAttribute, BadFilter, BadName, BadPast, BadPosition,
    BadTopic, Code, DecodeError, ERROR, Escaped, Filter, ID, PAST, POSITION, PastQuery, PastStart,
    Position, REPLY, RETAIN, RETAINED, Reached, SLOW, StoreId, Topic, Verb, decode_spaces,
    decode_spaces_bytes, encode_spaces, escape_spaces, is_harmless,
};
