//! The values of flags: sizes, times, addresses, lists, as one types them.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use nix::unistd::{Group, User};
use protocol::{AckLevel, Filter, Topic};

use super::LogFormat;
use crate::engine::history::rules::{KeepLimits, KeepRule};

/// The addresses of a host.
#[derive(Clone, Debug)]
pub(super) struct Host(pub(super) Vec<IpAddr>);

/// A room as typed.
#[derive(Clone, Debug)]
pub(super) struct RoomFlag {
    pub(super) place: ListeningPlace,
    pub(super) topic: String,
}

/// The numbers of a user and of a group.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(super) enum ListeningPlace {
    /// On the hosts of `--host`.
    Port(u16),
    At(Vec<SocketAddr>),
}

impl ListeningPlace {
    pub(super) fn addresses(self, hosts: &[IpAddr]) -> Vec<SocketAddr> {
        match self {
            Self::Port(port) => hosts.iter().map(|&host| (host, port).into()).collect(),
            Self::At(addresses) => addresses,
        }
    }
}

/// A value with commas in it.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// Parses rules of what is kept.
pub(super) fn keep_rules(text: &str) -> Result<List<KeepRule>, String> {
    // A topic has no spaces on the wire.
    let rules: Result<Vec<_>, _> = text.split_whitespace().map(keep_rule).collect();
    rules.map(List)
}

/// Parses one of them.
pub(super) fn keep_rule(text: &str) -> Result<KeepRule, String> {
    let (filter, limits) = filter_and_limits(text)?;
    match Filter::parse(filter) {
        Ok(parsed) if parsed.group().is_none() => {}
        Ok(_) => return Err(format!("{filter}: what is kept is shared by all")),
        Err(why) => return Err(format!("{filter}: {why}")),
    }
    let filter = filter.to_owned();
    if limits == "off" {
        return Ok(KeepRule {
            filter,
            keeps: None,
        });
    }
    let mut keeps = KeepLimits::default();
    for limit in limits.split(',').filter(|limit| *limit != "all") {
        let is_set = if let Ok(count) = limit.parse() {
            keeps.count.replace(count).is_some()
        } else if let Some(level) = limit.strip_prefix("ack=") {
            keeps.ack.replace(ack_level(level)?).is_some()
        } else if let Some(bytes) = limit.strip_prefix("total=") {
            keeps.total.replace(limit_bytes(bytes, limit)?).is_some()
        } else if limit.ends_with(['B', 'b']) {
            keeps.bytes.replace(limit_bytes(limit, limit)?).is_some()
        } else {
            let age = humantime::parse_duration(limit).map_err(|_| bad_limit(limit))?;
            keeps.age.replace(age).is_some()
        };
        if is_set {
            return Err(format!("{limits} has two limits of one kind"));
        }
    }
    let keeps = Some(keeps);
    Ok(KeepRule { filter, keeps })
}

/// The filter of a rule and its limits. Some limits have a `=` of their own, and a filter may have one, too.
fn filter_and_limits(text: &str) -> Result<(&str, &str), String> {
    let mut end = text.len();
    while let Some(at) = text[..end].rfind('=') {
        let name = text[..at].rfind([',', '=']).map(|before| before + 1);
        match name.map(|name| (name, &text[name..at])) {
            Some((name, "ack" | "total")) if text.as_bytes()[name - 1] == b'=' => {
                return Ok((&text[..name - 1], &text[name..]));
            }
            Some((name, "ack" | "total")) => end = name,
            _ => return Ok((&text[..at], &text[at + 1..])),
        }
    }
    Err(format!("{text} is no rule, such as chat/#=1000,7d,64MiB"))
}

fn limit_bytes(bytes: &str, limit: &str) -> Result<u64, String> {
    let bytes: Option<ByteSize> = bytes.parse().ok();
    bytes
        .map(|bytes| bytes.as_u64())
        .ok_or_else(|| bad_limit(limit))
}

fn bad_limit(limit: &str) -> String {
    format!(
        "{limit:?} is no limit: write a number of messages, an age as 7d, bytes as 64MiB, total=10GiB, ack=disk, or all"
    )
}

/// Parses the level of what is kept. It is written to the system in any case.
pub(super) fn ack_level(text: &str) -> Result<AckLevel, String> {
    match AckLevel::parse(text.trim().as_bytes()) {
        Ok(level @ (AckLevel::Os | AckLevel::Disk)) => Ok(level),
        Ok(AckLevel::Mem) | Err(_) => Err("it is os or disk".to_owned()),
    }
}

/// Parses a time that may be without end.
pub(super) fn time_or_never(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "never" => Ok(Duration::MAX),
        time => humantime::parse_duration(time)
            .map_err(|err| format!("{err}; a time is such as 30d, or never")),
    }
}

/// The elements of a list with commas, without the spaces around them. Empty ones are left out.
fn elements(text: &str) -> Result<Vec<&str>, String> {
    let elements = text.split(',').map(str::trim);
    let elements: Vec<&str> = elements.filter(|element| !element.is_empty()).collect();
    match elements[..] {
        [] => Err("it is empty".to_owned()),
        _ => Ok(elements),
    }
}

pub(super) fn words(text: &str) -> Result<List<String>, String> {
    let elements = elements(text)?;
    Ok(List(elements.into_iter().map(str::to_owned).collect()))
}

pub(super) fn paths(text: &str) -> Result<List<PathBuf>, String> {
    let elements = elements(text)?;
    Ok(List(elements.into_iter().map(PathBuf::from).collect()))
}

/// Parses the form of the log.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is text or json".to_owned()),
    }
}

/// Parses permissions of a file.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim(), 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are such as 660, from 000 to 777".to_owned())
}

/// Parses `USER`, `USER:GROUP` or `:GROUP`; each is a name or a number.
pub(super) fn owner(text: &str) -> Result<Owner, String> {
    let (user, group) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
    let number = |name: &str, found: Option<u32>, kind: &str| match (name, name.parse()) {
        ("", _) => Ok(None),
        (_, Ok(number)) => Ok(Some(number)),
        _ => found
            .map(Some)
            .ok_or_else(|| format!("there is no {kind} {name:?} on this machine")),
    };
    let found_user = User::from_name(user).ok().flatten();
    let found_group = Group::from_name(group).ok().flatten();
    if user.is_empty() && group.is_empty() {
        return Err("an owner is such as dallal, dallal:staff or :staff".to_owned());
    }
    Ok(Owner {
        user: number(user, found_user.map(|it| it.uid.as_raw()), "user")?,
        group: number(group, found_group.map(|it| it.gid.as_raw()), "group")?,
    })
}

/// Parses hosts with ports.
pub(super) fn addresses(text: &str) -> Result<List<Vec<SocketAddr>>, String> {
    parsed(text, |place| {
        found_once(place.to_socket_addrs()).map_err(|why| format!("{place}: {why}"))
    })
}

/// Parses rooms.
pub(super) fn rooms(text: &str) -> Result<List<RoomFlag>, String> {
    parsed(text, |room| {
        let (place, topic) = room
            .split_once('=')
            .ok_or_else(|| format!("{room} is no room, such as 12345=lobby"))?;
        Topic::parse(topic).map_err(|why| format!("{room}: {why}"))?;
        Ok(RoomFlag {
            place: place_of(place)?,
            topic: topic.to_owned(),
        })
    })
}

/// Parses several `[HOST:]PORT`.
pub(super) fn places(text: &str) -> Result<List<ListeningPlace>, String> {
    parsed(text, place_of)
}

/// Parses `[HOST:]PORT`.
fn place_of(text: &str) -> Result<ListeningPlace, String> {
    match text.parse() {
        Ok(port) => Ok(ListeningPlace::Port(port)),
        Err(_) => match found_once(text.to_socket_addrs()) {
            Ok(addresses) => Ok(ListeningPlace::At(addresses)),
            Err(why) => Err(format!("{text}: {why}")),
        },
    }
}

/// Parses addresses and ranges of them.
pub(super) fn address_ranges(text: &str) -> Result<List<IpNet>, String> {
    parsed(text, address_range)
}

fn parsed<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<List<T>, String> {
    let elements = elements(text)?.into_iter();
    elements.map(parse).collect::<Result<_, _>>().map(List)
}

pub(super) fn flattened<T>(lists: Vec<List<T>>) -> Vec<T> {
    lists.into_iter().flat_map(|list| list.0).collect()
}

/// Parses an address, with or without brackets, or resolves a name.
pub(super) fn host(text: &str) -> Result<Host, String> {
    let inside = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let found = found_once((inside.unwrap_or(text), 0).to_socket_addrs())?;
    let is_scoped =
        |address: &SocketAddr| matches!(address, SocketAddr::V6(it) if it.scope_id() > 0);
    if let Some(scoped) = found.iter().find(|address| is_scoped(address)) {
        let place = scoped.to_string();
        let place = place.strip_suffix("0").unwrap_or(&place);
        return Err(format!(
            "it holds on one interface only; give --listen '{place}PORT'"
        ));
    }
    Ok(Host(found.iter().map(SocketAddr::ip).collect()))
}

/// Parses an address, or a range such as `10.0.0.0/8`.
fn address_range(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpAddr>().map(IpNet::from);
    range
        .or_else(|_| text.parse::<IpNet>())
        .map(|range| range.trunc())
        .map_err(|_| {
            format!("{text} is no address, such as 10.0.0.7, and no range, such as 10.0.0.0/8")
        })
}

/// Each address of a name once: a name may be found in several sources.
fn found_once(
    found: io::Result<impl Iterator<Item = SocketAddr>>,
) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map_err(|err| err.to_string())? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses[..] {
        [] => Err("the name has no address".to_owned()),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_filter_and_limits_in_any_order() {
        let all = KeepLimits::default();
        let limits = |limits: &KeepLimits| KeepLimits {
            count: Some(10),
            total: Some(1024),
            ack: Some(AckLevel::Disk),
            ..*limits
        };
        for (text, filter, keeps) in [
            ("a=all", "a", Some(all)),
            ("a=off", "a", None),
            (
                "a=b,c=10",
                "a=b,c",
                Some(KeepLimits {
                    count: Some(10),
                    ..all
                }),
            ),
            ("a/#=total=1KiB,10,ack=disk", "a/#", Some(limits(&all))),
            ("a/#=10,ack=disk,total=1024B", "a/#", Some(limits(&all))),
            ("a=b=ack=disk,total=1024,10", "a=b", Some(limits(&all))),
        ] {
            let rule = KeepRule {
                filter: filter.to_owned(),
                keeps,
            };
            assert_eq!(keep_rule(text), Ok(rule.clone()), "{text}");
            assert_eq!(keep_rule(&rule.to_string()), Ok(rule), "{text}");
        }
        for (text, why) in [
            ("a", "is no rule"),
            ("a,total=1KiB", "is no rule"),
            ("a=total=much", "\"total=much\" is no limit"),
            ("a=total=1B,total=2B", "two limits of one kind"),
            ("a=10,ack=tape", "it is os or disk"),
            ("a=off,ack=disk", "\"off\" is no limit"),
            ("$share/g/a=10", "is shared by all"),
        ] {
            let refused = keep_rule(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn an_address_of_a_name_is_taken_once() {
        let [one, two] = ["[::1]:1", "127.0.0.1:1"].map(|it| it.parse().expect("an address"));
        let found = found_once(Ok([one, two, one].into_iter()));
        assert_eq!(found, Ok(vec![one, two]));
        assert!(found_once(Ok([].into_iter())).is_err());
    }
}
