//! The program `client` as its user meets it, against a broker that does as the test says.

mod bench;
mod config;
mod ending;
mod inquiries;
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
