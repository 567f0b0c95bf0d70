//! The rules in force: one table that is replaced as a whole, and the number of its changes.

use std::sync::Arc;

use crate::auth::access::{AccessTable, Permissions, Subject};
use crate::auth::identity::ClientIdentity;
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
        let subject = Subject {
            identity,
            client_id,
        };
        current.table.permissions(subject)
    }

    /// What a client may do that has shown no identity.
    pub(crate) fn anonymous(&self) -> Permissions {
        self.current.read().anonymous.clone()
    }
}

impl CurrentAccess {
    fn of(table: Arc<AccessTable>) -> Self {
        let identity = Arc::new(ClientIdentity::anonymous());
        let anonymous = table.permissions(Subject {
            identity: &identity,
            client_id: None,
        });
        Self { table, anonymous }
    }
}
