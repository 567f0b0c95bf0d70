//! `client ping`: measures the round-trip time to the broker, like ping(8).

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use client::Error;

use crate::address::Server;
use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::stderr::say;
use crate::wire::{LoginArguments, Wire};

const EXAMPLES: &str = "\
Examples:
  client ping                    once a second, until interrupted
  client ping -C 1000 -i 0       a thousand times without a pause
  client ping -s mqtt://localhost    a broker of MQTT
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// End after N round trips
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The time between two round trips
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    interval: Duration,
    #[command(flatten)]
    server: LoginArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    interruption.watch_output()?;
    let target = &arguments.server.0;
    let server = target.server.clone();
    let interrupt = interruption.interrupt();
    let connected = target.first(interrupt, None, || target.connect(interrupt));
    let connected = connected.map(|wire| wire.expect("there is no deadline"));
    let mut trips = RoundTrips::default();
    let ended = connected.map_err(Stop::from).and_then(|mut client| {
        let ended = ping(arguments, &server, &mut client, &mut trips);
        client.close();
        tell(&server, &trips)?;
        ended
    });
    match ended {
        Ok(()) if trips.lost > 0 => Ok(Exit::Failed),
        Ok(()) => Ok(Exit::Done),
        Err(stop) => interruption.end(stop, "client"),
    }
}

fn ping(
    arguments: &Arguments,
    server: &Server,
    client: &mut Wire,
    trips: &mut RoundTrips,
) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    writeln!(out, "PING {server}")?;
    for number in 1..=arguments.count.unwrap_or(u64::MAX) {
        let start = Instant::now();
        match client.ping() {
            Ok(time) => {
                trips.add(time);
                let millis = millis(time);
                writeln!(
                    out,
                    "answer from {server}: seq={number} time={millis:.3} ms"
                )?;
            }
            Err(error @ Error::NoAnswer { .. }) => {
                trips.lost += 1;
                say(format_args!("client: {error} (seq={number})"));
            }
            Err(error) => return Err(error.into()),
        }
        if Some(number) != arguments.count {
            client.rest(arguments.interval.saturating_sub(start.elapsed()))?;
        }
    }
    Ok(())
}

fn tell(server: &Server, trips: &RoundTrips) -> io::Result<()> {
    writeln!(
        io::stdout().lock(),
        "--- {server} ping statistics ---\n{trips}"
    )
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Running statistics by Welford's method, in milliseconds.
#[derive(Debug, Default)]
struct RoundTrips {
    answered: u64,
    lost: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// The sum of squared deviations from the mean.
    squares: f64,
}

impl RoundTrips {
    fn add(&mut self, time: Duration) {
        let time = millis(time);
        self.min = if self.answered == 0 {
            time
        } else {
            self.min.min(time)
        };
        self.max = self.max.max(time);
        self.answered += 1;
        let distance = time - self.mean;
        self.mean += distance / self.answered as f64;
        self.squares += distance * (time - self.mean);
    }

    fn deviation(&self) -> f64 {
        (self.squares / self.answered as f64).sqrt()
    }
}

impl fmt::Display for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            lost,
            min,
            max,
            mean,
            ..
        } = self;
        write!(f, "{} sent, {answered} answered", answered + lost)?;
        if *answered > 0 {
            let deviation = self.deviation();
            write!(
                f,
                "\nround trip min/avg/max/stddev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_shortest_the_mean_the_longest_and_the_deviation() {
        let mut trips = RoundTrips::default();
        for millis in [2, 4, 4, 4, 5, 5, 7, 9] {
            trips.add(Duration::from_millis(millis));
        }
        trips.lost = 1;
        assert_eq!(
            trips.to_string(),
            "9 sent, 8 answered\n\
             round trip min/avg/max/stddev = 2.000/5.000/9.000/2.000 ms"
        );
    }

    #[test]
    fn without_an_answer_there_is_no_time_to_tell() {
        let trips = RoundTrips::default();
        assert_eq!(trips.to_string(), "0 sent, 0 answered");
    }
}
