//! Who may do what: rules from files, and the decisions by them.
//!
//! An [`AccessTable`] is what the files say, as one value that never changes; another one takes its place as a
//! whole. [`Permissions`] is what of it concerns one client; each connection keeps its own and gets new ones with
//! a new table. A decision looks up the filter tree of the table, so its result is worth remembering.
//!
//! A deny wins, else an allow allows, else it is denied: the order of the lines means nothing. Nothing here knows
//! of wires and connections, or tells a client anything.

mod denial;
mod difference;
mod effect;
mod explanation;
mod limit;
mod limit_parser;
mod line_difference;
mod parser;
mod pattern;
mod permissions;
mod reader;
mod right;
mod rule;
mod subscription;
mod table;
mod tree;

pub use denial::Denial;
pub use difference::AccessDifference;
pub use explanation::Explanation;
pub use limit::{AddressLimits, IdentityLimits, Limit, LimitKind};
pub use line_difference::LineDifference;
pub use permissions::{Permissions, Subject};
pub use right::AskedRight;
pub use rule::AccessRule;
pub use subscription::{Sieve, SubscriptionDecision};
pub use table::AccessTable;

#[cfg(test)]
mod examples {
    //! What tests ask with.

    use std::sync::Arc;

    use protocol::{Filter, Topic};

    use crate::auth::identity::{ClientIdentity, IdentityKind, IdentityName};

    use super::*;

    /// Also one that the broker gives.
    pub(super) fn any_name(text: &str) -> IdentityName {
        IdentityName::try_from(Box::<str>::from(text)).expect("a name")
    }

    pub(super) fn client(table: &Arc<AccessTable>, name: &str, groups: &[&str]) -> Permissions {
        with_id(table, name, groups, None)
    }

    pub(super) fn with_id(
        table: &Arc<AccessTable>,
        name: &str,
        groups: &[&str],
        client_id: Option<&str>,
    ) -> Permissions {
        let identity = Arc::new(ClientIdentity {
            name: any_name(name),
            groups: groups.iter().map(|group| any_name(group)).collect(),
            kind: IdentityKind::Password,
        });
        table.permissions(Subject {
            identity: &identity,
            client_id,
        })
    }

    pub(super) fn topic(text: &str) -> Topic<'_> {
        Topic::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    pub(super) fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    /// What comes of a filter: `granted`, `sieved`, or why not.
    pub(super) fn subscribed(permissions: &Permissions, text: &str) -> String {
        match permissions.subscription(filter(text)) {
            SubscriptionDecision::Granted => "granted".to_owned(),
            SubscriptionDecision::Sieved(_) => "sieved".to_owned(),
            SubscriptionDecision::Denied(denial) => denial.text("X", text),
        }
    }

    pub(super) fn table(text: &str) -> Arc<AccessTable> {
        Arc::new(AccessTable::parse("home.access", text).unwrap_or_else(|why| panic!("{why:?}")))
    }

    #[track_caller]
    pub(super) fn publishes(permissions: &Permissions, text: &str, expected: bool) {
        let result = permissions.may_publish(topic(text));
        assert_eq!(result.is_ok(), expected, "{text}: {result:?}");
    }

    pub(super) const HOUSE: &str = "\
group   sensors   meter-1 meter-2
allow   everyone            subscribe                public/#
allow   @sensors            publish retain           home/%u/+  home/%u/status   # their own
allow   @family             publish subscribe retain home/#
allow   ann bob             inquire:who inquire:why
deny    everyone -@admin    publish subscribe        secret/#  $gateway/#
allow   @admin              all
allow   @dash               subscribe:narrow         home/#
allow   @workers            share:workers            jobs/#
allow   @sensors            client                   meter-%u*
allow   known               nick                     %u
";
}
