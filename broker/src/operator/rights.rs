//! Other rules: whom they concern, and what clients are told whose subscriptions end.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{Code, Reply, Subject};

use crate::auth::access::AccessTable;
use crate::auth::identity::{ClientIdentity, IdentityName, Users};
use crate::engine::Engine;
use crate::engine::access::permissions_by;
use crate::engine::client::{Restriction, restrictions};
use crate::engine::enforcement::{self, Withdrawn};
use crate::engine::orders::Change;
use crate::net::listener::Listener;
use crate::net::socket::Dismissal;

/// Maximum identities that a report names, and subscriptions of them.
const MOST_NAMED: usize = 20;

/// A subscription that ends.
struct LostSubscription {
    connection: u64,
    filter: Box<str>,
}

/// Puts the current rules in force, as [`enforcement::enforce`] says, and tells the clients whose subscriptions end. One
/// whose protocol has no words for that is sent away, so that it sees what it gets when it comes back.
pub(crate) fn enforce(engine: &Engine, listener: &Listener) {
    let mut dismissed = Vec::new();
    enforcement::enforce(engine, |withdrawn| {
        let Withdrawn {
            record,
            identity,
            filter,
            denial,
        } = withdrawn;
        let name = identity.name.as_str();
        log::info!(
            "connection {}: a subscription ends: {}",
            record.id(),
            denial.text(name, filter)
        );
        let told = Reply::Error {
            code: Code::Denied.as_str().into(),
            subject: Subject::Subscribe(filter.as_bytes()),
            text: denial.text_for_client(name, filter, false).into(),
        };
        let mut line = Vec::new();
        told.encode(&mut line);
        if record.is_connected() && !record.outbox().lock().say_withdrawn(&line) {
            dismissed.push(record.id());
        }
    });
    dismissed.dedup();
    listener.dismiss(&dismissed, Dismissal::Kicked);
}

/// What is different in the rules, and what they and other users change for the clients that are there.
pub(crate) fn changes(
    engine: &Engine,
    next: &Arc<AccessTable>,
    users: Option<&Users>,
) -> Vec<Change> {
    let table = engine.access.table();
    let mut lost: BTreeMap<IdentityName, Vec<LostSubscription>> = BTreeMap::new();
    let mut present: BTreeMap<IdentityName, (Arc<ClientIdentity>, Arc<ClientIdentity>, usize)> =
        BTreeMap::new();
    for record in engine.clients.present() {
        let identity = record.identity();
        let renewed = renewed(&identity, users);
        let session = record.session();
        let permissions = permissions_by(next, &renewed, session.client_id());
        let ended = restrictions(&permissions, session).into_iter();
        let ended = ended.filter_map(|(filter, by)| {
            by.filter(|by| matches!(by, Restriction::Denied(_)))?;
            let connection = record.id();
            Some(LostSubscription { connection, filter })
        });
        let ended: Vec<LostSubscription> = ended.collect();
        if !ended.is_empty() {
            lost.entry(identity.name.clone()).or_default().extend(ended);
        }
        let entry = present
            .entry(identity.name.clone())
            .or_insert((identity, renewed, 0));
        entry.2 += 1;
    }
    let mut changes = Vec::new();
    let mut more = 0;
    for (name, (identity, renewed, connections)) in present {
        let before = permissions_by(&table, &identity, None);
        let mut difference = before.difference(&permissions_by(next, &renewed, None));
        let limits = [table.limits_of(&identity), next.limits_of(&renewed)];
        difference.add_limits(limits[0].as_deref(), limits[1].as_deref());
        let lost = lost.remove(&name).unwrap_or_default();
        if difference.gains.is_empty() && difference.loses.is_empty() && lost.is_empty() {
            continue;
        }
        if changes.len() == MOST_NAMED {
            more += 1;
            continue;
        }
        changes.push(Change {
            key: "access",
            from: format!("{name} loses {}", listed(&difference.loses)),
            to: format!("{name} gains {}", listed(&difference.gains)),
            concerns: concerned(connections, &lost),
        });
    }
    if let (Some(last), 1..) = (changes.last_mut(), more) {
        last.concerns
            .push_str(&format!("; and {more} identities more"));
    }
    let lines = table.line_difference(next);
    if !lines.is_empty() {
        // First, because it is also about those that are not there.
        let of_lines = Change {
            key: "access",
            from: format!("the rules lose {}", listed(&lines.removed)),
            to: format!("the rules gain {}", listed(&lines.added)),
            concerns: "also clients that are not connected".to_owned(),
        };
        changes.insert(0, of_lines);
    }
    changes
}

/// The identity as other users would have it.
fn renewed(identity: &Arc<ClientIdentity>, users: Option<&Users>) -> Arc<ClientIdentity> {
    let user = users.filter(|_| identity.is_shown());
    match user.and_then(|users| users.users.get(&identity.name)) {
        Some(user) if user.groups != identity.groups => Arc::new(ClientIdentity {
            groups: user.groups.clone(),
            ..(**identity).clone()
        }),
        _ => identity.clone(),
    }
}

fn listed(rules: &[String]) -> String {
    match rules {
        [] => "nothing".to_owned(),
        rules => {
            let more = rules.len().saturating_sub(MOST_NAMED);
            let named = rules[..rules.len() - more].join(", ");
            match more {
                0 => named,
                more => format!("{named} and {more} more"),
            }
        }
    }
}

fn concerned(connections: usize, lost: &[LostSubscription]) -> String {
    let connections = match connections {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    };
    if lost.is_empty() {
        return format!("{connections}, from the next batch");
    }
    let filters = lost
        .iter()
        .map(|each| format!("{} of connection {}", each.filter, each.connection));
    let filters: Vec<String> = filters.collect();
    let number = match lost.len() {
        1 => "1 subscription".to_owned(),
        number => format!("{number} subscriptions"),
    };
    format!(
        "{connections}, from the next batch; {number} end: {}",
        listed(&filters)
    )
}
