//! The rules in force: one table that is replaced as a whole, and the number of its changes.

use std::sync::Arc;

use crate::auth::access::{AccessTable, IdentityLimits, Limit, Permissions, Subject};
use crate::auth::identity::{ClaimedRights, ClientIdentity};
use crate::sync::{AtomicU64, Ordering, RwLock};

/// The rules of all clients. Each keeps what concerns it, and compares the version at the beginning of a batch.
pub(crate) struct SharedAccess {
    /// Incremented after each change of the rules, or of what is known about an identity.
    version: AtomicU64,
    current: RwLock<CurrentAccess>,
}

struct CurrentAccess {
    table: Arc<AccessTable>,
    /// Those of clients that have shown no identity. One value, because they may be many.
    anonymous: Permissions,
    anonymous_limits: Option<Arc<IdentityLimits>>,
}

impl SharedAccess {
    pub(crate) fn new(table: AccessTable) -> Self {
        Self {
            version: AtomicU64::new(0),
            current: RwLock::new(CurrentAccess::of(Arc::new(table))),
        }
    }

    /// Replaces all rules. Clients see them at the beginning of their next batch.
    pub(crate) fn replace(&self, table: Arc<AccessTable>) {
        *self.current.write() = CurrentAccess::of(table);
        self.note_change();
    }

    /// Makes all clients ask again, because identities have changed.
    pub(crate) fn note_change(&self) {
        // Release pairs with the Acquire in `version`, and comes after the change: a client that sees this
        // version finds what has changed.
        self.version.fetch_add(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        // Acquire pairs with the Release in `note_change`.
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn table(&self) -> Arc<AccessTable> {
        self.current.read().table.clone()
    }

    /// What a client may do.
    pub(crate) fn permissions(
        &self,
        identity: &Arc<ClientIdentity>,
        client_id: Option<&str>,
    ) -> Permissions {
        let current = self.current.read();
        if client_id.is_none()
            && !identity.is_shown()
            && **identity == *current.anonymous.identity().as_ref()
        {
            return current.anonymous.clone();
        }
        permissions_by(&current.table, identity, client_id)
    }

    /// What a client may do that has shown no identity, and how much it may have.
    pub(crate) fn anonymous(&self) -> (Permissions, Option<Arc<IdentityLimits>>) {
        let current = self.current.read();
        (current.anonymous.clone(), current.anonymous_limits.clone())
    }

    /// How much an identity may have, if that is limited.
    pub(crate) fn limits_of(&self, identity: &ClientIdentity) -> Option<Arc<IdentityLimits>> {
        self.current.read().table.limits_of(identity)
    }

    /// Maximum connections of an address.
    pub(crate) fn address_connections(&self) -> Option<Limit> {
        self.current
            .read()
            .table
            .address_limits()
            .connections
            .clone()
    }

    /// Maximum credentials of an address in a minute that are wrong.
    pub(crate) fn address_attempts(&self) -> Option<Limit> {
        self.current.read().table.address_limits().attempts.clone()
    }
}

/// What a client may do by the rules of a table, as far as its token leaves it.
pub(crate) fn permissions_by(
    table: &Arc<AccessTable>,
    identity: &Arc<ClientIdentity>,
    client_id: Option<&str>,
) -> Permissions {
    let permissions = table.permissions(Subject {
        identity,
        client_id,
    });
    match identity.claimed_rights() {
        Some(rights) => permissions.narrowed_by(&narrowing(rights)),
        None => permissions,
    }
}

/// What a token leaves of the rights of its client. It was checked; if it were wrong, it would leave none.
fn narrowing(rights: &ClaimedRights) -> Arc<AccessTable> {
    let table = AccessTable::of_token(rights.iter());
    let none = || AccessTable::of_token([]).expect("it has no mistake");
    Arc::new(table.unwrap_or_else(|_| none()))
}

impl CurrentAccess {
    fn of(table: Arc<AccessTable>) -> Self {
        let identity = Arc::new(ClientIdentity::anonymous());
        let anonymous = table.permissions(Subject {
            identity: &identity,
            client_id: None,
        });
        let anonymous_limits = table.limits_of(&identity);
        Self {
            table,
            anonymous,
            anonymous_limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;
    use protocol::{Filter, Topic};

    use crate::auth::access::SubscriptionDecision;
    use crate::auth::identity::jwt::examples;
    use crate::auth::identity::{Credential, JwtSettings, Secret, Verifier, VerifierSettings};

    use super::*;

    /// A verifier of tokens by the secret of the examples.
    fn verifier(folder: &tempfile::TempDir) -> Verifier {
        let keys = folder.path().join("keys");
        fs::write(&keys, examples::set(&[&examples::secret_key()])).expect("room");
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let jwt = JwtSettings {
            keys,
            issuer: None,
            audience: None,
            check_rights: |rights| AccessTable::of_token(rights.iter()).map(drop),
        };
        let settings = VerifierSettings {
            users: None,
            jwt: Some(jwt),
        };
        Verifier::start(settings, || {}).expect("it starts")
    }

    /// What a token of m1 with this claim may do by these rules.
    fn permissions(
        verifier: &Verifier,
        rules: &str,
        claim: Option<&serde_json::Value>,
    ) -> Permissions {
        let claim = claim.map_or(String::new(), |claim| format!(r#","dallal":{claim}"#));
        let token = format!(r#"{{"sub":"m1","exp":4102444800,"groups":["g"]{claim}}}"#);
        let secret = Secret::shown(examples::signed(&token).into()).expect("it is short");
        let shown = Credential {
            user: "",
            secret: &secret,
        };
        let identity = verifier.verify(shown, Ipv4Addr::LOCALHOST.into());
        let table = AccessTable::parse("f", rules).expect("it is right");
        let identity = Arc::new(identity.expect("it is right"));
        SharedAccess::new(table).permissions(&identity, Some("c1"))
    }

    fn rank(decision: &SubscriptionDecision) -> u8 {
        match decision {
            SubscriptionDecision::Denied(_) => 0,
            SubscriptionDecision::Sieved(_) => 1,
            SubscriptionDecision::Granted => 2,
        }
    }

    /// The rules without a claim are the most that there is, and a claim that allows all leaves them as they are.
    #[test]
    fn a_jwt_never_widens_what_the_rules_allow() {
        let folder = tempfile::tempdir().expect("a folder");
        let verifier = verifier(&folder);
        let rights = select(vec![
            "publish",
            "retain",
            "subscribe",
            "history",
            "will",
            "all",
        ]);
        let filters = select(vec!["#", "a/#", "a/+", "a/b", "%u/#", "+/b", "$SYS/#"]);
        let rule = (
            select(vec!["allow", "deny"]),
            select(vec!["m1", "@g", "known", "ann"]),
            rights.clone(),
            filters.clone(),
        );
        let rules = vec(rule, 0..6);
        let claims = btree_map(rights.prop_map(str::to_owned), vec(filters, 0..3), 0..4);
        let topics = ["a", "a/b", "a/c", "m1/b", "x/b", "$SYS/a", "$reply/x"];
        proptest!(ProptestConfig::with_cases(300), |(rules in rules, claims in claims)| {
            let text: String = rules.iter().map(|(effect, who, right, filter)| format!("{effect} {who} {right} \"{filter}\"\n")).collect();
            let whole = permissions(&verifier, &text, None);
            let narrowed = permissions(&verifier, &text, Some(&serde_json::json!(claims)));
            for text in topics {
                let topic = Topic::parse(text).expect("a topic");
                prop_assert!(whole.may_publish(topic).is_ok() || narrowed.may_publish(topic).is_err(), "{}", text);
                prop_assert!(whole.may_retain(topic).is_ok() || narrowed.may_retain(topic).is_err(), "{}", text);
                prop_assert!(whole.may_see(topic) || !narrowed.may_see(topic), "{}", text);
                prop_assert!(whole.may_set_will(topic, false).is_ok() || narrowed.may_set_will(topic, false).is_err());
            }
            for text in ["#", "a/#", "a/b", "+/b"] {
                let filter = Filter::parse(text).expect("a filter");
                prop_assert!(rank(&narrowed.subscription(filter)) <= rank(&whole.subscription(filter)), "{}", text);
            }
            prop_assert!(!narrowed.is_admin() && (whole.may_block().is_ok() || narrowed.may_block().is_err()));
        });
    }

    #[test]
    fn a_claim_leaves_what_it_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let verifier = verifier(&folder);
        let rules = "allow m1 publish subscribe #\n";
        let claim = serde_json::json!({"publish": ["a/#"]});
        let narrowed = permissions(&verifier, rules, Some(&claim));
        let may = |topic| {
            narrowed
                .may_publish(Topic::parse(topic).expect("a topic"))
                .is_ok()
        };
        assert!(may("a/b") && !may("b"));
        assert!(!narrowed.may_see(Topic::parse("a/b").expect("a topic")));
        let none = permissions(&verifier, rules, Some(&serde_json::json!({})));
        assert!(
            none.may_publish(Topic::parse("a/b").expect("a topic"))
                .is_err()
        );
    }
}
