//! How long a reload of many users and rules takes, and what a pair notices of it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tests::{TestBroker, folder};

use crate::latency::Summary;
use crate::logins::{beside, users};
use crate::rounds::median;
use crate::stdout::say;

const ROUNDS: usize = 20;

/// Each round, the rule of one user and the users file are others, so that both are read and taken.
pub(crate) fn measure(count: usize) -> io::Result<bool> {
    let users = users(count)?;
    let text = fs::read_to_string(users.path())?;
    let folder = folder();
    let path = |name: &str| {
        let path = folder.path().join(name).into_os_string().into_string();
        path.map_err(|_| io::Error::other("the folder's name is no text"))
    };
    let (access, socket) = (path("access")?, path("socket")?);
    fs::write(&access, rules(count, 0))?;
    let broker = TestBroker::with_args(&[
        "--users",
        users.path(),
        "--access",
        &access,
        "--unix",
        &socket,
    ]);
    let alone = beside(&broker, || Ok(()))?;
    say(format_args!("a pair, alone:              {alone}"));
    let mut took = Vec::new();
    let pair = beside(&broker, || {
        for round in 1..=ROUNDS {
            fs::write(&access, rules(count, round))?;
            fs::write(users.path(), format!("{text}# {round}\n"))?;
            let began = Instant::now();
            reload(&socket)?;
            took.push(began.elapsed());
        }
        Ok(())
    })?;
    tell(count, took, pair);
    Ok(true)
}

fn reload(socket: &str) -> io::Result<()> {
    let mut operator = UnixStream::connect(socket)?;
    operator.write_all(b"POST /api/reload HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    operator.read_to_string(&mut answer)?;
    match answer.contains("\"applied\":true") {
        true => Ok(()),
        false => Err(io::Error::other(answer)),
    }
}

fn tell(count: usize, took: Vec<Duration>, pair: Summary) {
    let millis: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    let longest = millis.iter().copied().fold(0.0, f64::max);
    let middle = median(millis);
    say(format_args!(
        "a pair, while {count} users and {count} rules are read {ROUNDS} times: {pair}"
    ));
    say(format_args!(
        "a reload takes {middle:.0} ms, at most {longest:.0} ms"
    ));
}

/// One rule for each user, of which the first is another in each round, and those of the pair.
fn rules(count: usize, round: usize) -> String {
    let each = (1..count).map(|n| format!("allow u{n} publish house/{n}/#\n"));
    let first = format!("allow u0 publish house/round-{round}/#\n");
    let others =
        "allow pair publish subscribe pair\nallow @admin admin\nallow @admin subscribe $reply/#\n";
    first + others + &each.collect::<String>()
}
