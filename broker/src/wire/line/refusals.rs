//! The answers of the line protocol that say why something was not done.

use protocol::{Code, Reply, Subject};

use crate::auth::identity::AuthRefusal;
use crate::engine::client::{DENIED_FILTER, Denied, NotAuthenticated, PastError, SubscribeError};
use crate::engine::outbox::queue::policies::MOST_WILD;
use crate::storage::NotKept;

/// The error for a filter that was not subscribed to.
#[inline(never)]
pub(super) fn not_subscribed(why: SubscribeError) -> (Code, String) {
    match why {
        SubscribeError::BadFilter(why) => (Code::BadFilter, why.to_string()),
        SubscribeError::Private => (Code::Denied, DENIED_FILTER.to_owned()),
        SubscribeError::Denied(denied) => denial(&denied),
        SubscribeError::OverLimit(over) => (Code::TooMany, over.to_string()),
        SubscribeError::NotKept(why) => (not_kept(why), why.to_string()),
        SubscribeError::NoMemory => {
            let text = "there is no memory for another subscription now; try again later";
            (Code::TooMany, text.to_owned())
        }
        SubscribeError::TooManyPolicies => {
            let text = format!(
                "{MOST_WILD} filters with wildcards of this connection come with `slow` and no \
                 more can; leave it out or UNSUBSCRIBE from some"
            );
            (Code::TooMany, text)
        }
        SubscribeError::TooManySubscriptions(subscriptions) => {
            let text = format!(
                "this connection has {subscriptions} subscriptions and gets no more; UNSUBSCRIBE \
                 from some or use a wildcard"
            );
            (Code::TooMany, text)
        }
    }
}

/// The error for a past that was not read.
#[inline(never)]
pub(super) fn not_read(why: PastError) -> (Code, String) {
    match why {
        PastError::Refused(why) => not_subscribed(why),
        PastError::Shared => {
            let text = "a shared filter has no past; leave out its group";
            (Code::BadAttribute, text.to_owned())
        }
        PastError::NotReadable => {
            let text = "the disk of the broker cannot be read; tell its operator";
            (Code::StoreFailed, text.to_owned())
        }
    }
}

/// The error for what a client may not do.
#[inline(never)]
pub(super) fn denial(denied: &Denied) -> (Code, String) {
    match denied.needs_auth {
        true => (
            Code::Auth,
            format!("{denied}; say AUTH <user> <password> first"),
        ),
        false => (Code::Denied, denied.to_string()),
    }
}

/// The code for what the store cannot keep.
pub(super) fn not_kept(why: NotKept) -> Code {
    match why {
        NotKept::NoRoom => Code::NoRoom,
        NotKept::TooManyTopics => Code::TooMany,
        NotKept::Failed => Code::StoreFailed,
    }
}

/// The code for a client that has not become who it says.
pub(super) fn not_authenticated(why: &NotAuthenticated) -> Code {
    match why {
        NotAuthenticated::Refused(AuthRefusal::TooMany | AuthRefusal::TooManyAttempts)
        | NotAuthenticated::OverLimit(_) => Code::TooMany,
        NotAuthenticated::Refused(_) | NotAuthenticated::NotChecked => Code::Auth,
        NotAuthenticated::Other(_) => Code::Denied,
    }
}

/// The answer to a client that cannot be served because the broker is full.
pub(crate) fn busy(why: &str) -> Vec<u8> {
    let text = format!("{why}; try again later");
    let mut answer = Vec::new();
    refusal(&mut answer, Code::Busy, Subject::Line, &text);
    answer
}

/// The answer to a client that must use TLS and does not.
pub(crate) fn not_secured(why: &str) -> Vec<u8> {
    encoded(&Reply::Error {
        code: "auth".into(),
        subject: Subject::Line,
        text: why.into(),
    })
}

#[inline(never)]
pub(super) fn refusal(answers: &mut Vec<u8>, code: Code, subject: Subject<'_>, text: &str) {
    Reply::Error {
        code: code.as_str().into(),
        subject,
        text: text.into(),
    }
    .encode(answers);
}

pub(super) fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    bytes
}
