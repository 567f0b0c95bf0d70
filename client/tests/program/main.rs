//! The program `client` from the outside, against a scripted broker.

mod bench;
mod config;
mod ending;
mod inquiries;
mod orders;
mod ping;
mod publish;
mod reply;
mod request;
mod run;
#[path = "../../src/scripted.rs"]
mod scripted;
mod server;
mod subscribe;
mod terminal;
