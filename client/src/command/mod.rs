//! The commands, each in a file or folder of its own.

mod audit;
mod bench;
mod chat;
mod completions;
mod config;
mod drain;
mod kick;
mod list;
mod man;
mod may;
mod ping;
mod play;
mod publish;
mod record;
mod reload;
mod reply;
mod request;
mod restart;
mod retained;
mod selftest;
mod sessions;
mod subscribe;
mod top;
mod why;

use clap::{CommandFactory, Parser, Subcommand};
use client::inquiry::{Filters, KeptTopics, Topics, Who};

use crate::exit::{self, Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  client subscribe 'sensors/#'            print what is published below sensors
  client publish sensors/attic 21.5       publish one message
`client COMMAND --help` describes a command. Options may precede the command.
";

/// Without a list of the options that every program has, so that the help fits a screen.
const TEMPLATE: &str = "\
{about-with-newline}{usage-heading} {usage}

Commands:
{subcommands}{after-help}";

/// Publishes to a dallal broker and subscribes to it
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    help_template = TEMPLATE,
    after_help = [EXAMPLES, exit::HELP].join("\n"),
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a message, a file, or standard input
    #[command(visible_alias = "pub")]
    Publish(publish::Arguments),
    /// Print messages as they arrive, until interrupted
    #[command(visible_alias = "sub")]
    Subscribe(subscribe::Arguments),
    /// Send a request to a topic, and print the answer
    Request(request::Arguments),
    /// Answer requests with a text, or with the output of a command
    Reply(reply::Arguments),
    /// Record messages to a file, with their times
    Record(record::Arguments),
    /// Publish a recording again, at its pace or another
    Play(play::Arguments),
    /// Talk to others in a room
    Chat(chat::Arguments),
    /// Show whether every message is accounted for
    Audit(audit::Arguments),
    /// List the connections
    Who(list::Arguments<Who>),
    /// List the sessions that wait for their clients, or end one
    Sessions(sessions::Arguments),
    /// Explain who gets the messages of a topic, or why no client does
    Why(why::Arguments),
    /// Say whether an identity may do something, and by which rule
    May(may::Arguments),
    /// List the topics
    Topics(list::Arguments<Topics>),
    /// List the filters
    Filters(list::Arguments<Filters>),
    /// Watch connections and topics in full screen
    Top(top::Arguments),
    /// List or clear retained messages
    Retained(retained::Arguments),
    /// List the topics that keep messages
    Kept(list::Arguments<KeptTopics>),
    /// Have the broker read its configuration again
    Reload(reload::Arguments),
    /// Have the broker end once its clients have left
    Drain(drain::Arguments),
    /// Have another process of the broker take over
    Restart(restart::Arguments),
    /// Close the connections of a client
    Kick(kick::Arguments),
    /// Measure the round trip to the broker
    Ping(ping::Arguments),
    /// Measure throughput and latency, and check for lost messages
    Bench(bench::Arguments),
    /// Check an MQTT server against the statements of the standard
    Selftest(selftest::Arguments),
    /// Show the configuration file, which gives names to servers
    Config(config::Arguments),
    /// Print what a shell needs to complete this program's arguments
    Completions(completions::Arguments),
    /// Print the manual, or write its pages to a folder
    Man(man::Arguments),
}

/// Runs the command that was given.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Publish(arguments) => publish::run(arguments),
        Command::Subscribe(arguments) => subscribe::run(arguments),
        Command::Request(arguments) => request::run(arguments),
        Command::Reply(arguments) => reply::run(arguments),
        Command::Record(arguments) => record::run(arguments),
        Command::Play(arguments) => play::run(arguments),
        Command::Chat(arguments) => chat::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Who(arguments) => list::run(arguments),
        Command::Sessions(arguments) => sessions::run(arguments),
        Command::Why(arguments) => why::run(arguments),
        Command::May(arguments) => may::run(arguments),
        Command::Topics(arguments) => list::run(arguments),
        Command::Filters(arguments) => list::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::Retained(arguments) => retained::run(arguments),
        Command::Kept(arguments) => list::run(arguments),
        Command::Reload(arguments) => reload::run(arguments),
        Command::Drain(arguments) => drain::run(arguments),
        Command::Restart(arguments) => restart::run(arguments),
        Command::Kick(arguments) => kick::run(arguments),
        Command::Ping(arguments) => ping::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Selftest(arguments) => selftest::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Completions(arguments) => completions::run(arguments, Arguments::command()),
        Command::Man(arguments) => man::run(arguments, Arguments::command()),
    }
}
