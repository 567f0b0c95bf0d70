//! Questions that the broker answers about itself, as values that serialise, and the figures that it
//! publishes by itself.
//!
//! A client that asks is read from again when it has its answer; no other client waits for that. Locks
//! that publishers need are held for one connection or one part of a list at a time, lists are bounded,
//! and one inquiry runs at a time. The wires parse the question and encode the answer.

mod bad_argument;
mod connections;
mod figures;
mod kept;
pub(crate) mod load;
mod may;
pub(crate) mod metrics;
pub(crate) mod orders;
pub(crate) mod request;
mod retained;
mod rows;
mod sessions;
mod sight;
mod store;
mod suggestions;
pub(crate) mod sys_topics;
mod topics;
pub(crate) mod unanswered;
mod values;
mod what;
mod why;

use protocol::Filter;
use serde::Serialize;

use crate::engine::client::Client;
use crate::engine::orders::Done;
use rows::halve;
use sight::Sight;

pub(crate) use bad_argument::BadArgument;
pub(crate) use connections::ConnectionsAnswer;
pub(crate) use figures::{AuditAnswer, BrokerAnswer};
pub(crate) use kept::KeptAnswer;
pub(crate) use may::MayAnswer;
pub(crate) use retained::RetainedAnswer;
pub(crate) use rows::{MOST_ROWS, ROWS};
pub(crate) use sessions::SessionsAnswer;
pub(crate) use topics::{FiltersAnswer, TopicsAnswer};
pub(crate) use values::{totals, values};
pub(crate) use what::What;
pub(crate) use why::WhyAnswer;

/// The answer to a question.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Audit(AuditAnswer),
    Who(ConnectionsAnswer),
    Sessions(SessionsAnswer),
    Topics(TopicsAnswer),
    Filters(FiltersAnswer),
    Why(WhyAnswer),
    May(MayAnswer),
    Retained(RetainedAnswer),
    Kept(KeptAnswer),
    Broker(BrokerAnswer),
    /// To an order.
    Done(Done),
}

/// Computes the answer. `argument` is empty for none. A thread that handles a batch must call
/// [`ClientRecord::settle`](crate::engine::session::clients::ClientRecord::settle) first, because an
/// audit waits for batches.
pub(crate) fn answer(
    client: &Client<'_>,
    what: What,
    argument: &[u8],
    limit: usize,
) -> Result<Answer, BadArgument> {
    let filter = match argument {
        [] => None,
        _ if matches!(what, What::Audit | What::Why | What::May | What::Broker) => None,
        _ => Some(Filter::parse(argument)?),
    };
    let every = Filter::parse("#")?;
    let sight = &Sight::of(client, what).map_err(BadArgument::Denied)?;
    // An inquiry may look at every filter of every client, so two at a time would take two processors
    // from publishers. This lock is taken before all others, and no publisher takes it.
    let engine = client.engine();
    let _one_at_a_time = engine.asking.lock();
    Ok(match what {
        What::Audit => Answer::Audit(AuditAnswer::of(engine)),
        What::Who => Answer::Who(ConnectionsAnswer::of(engine, filter, limit, sight)),
        What::Sessions => Answer::Sessions(SessionsAnswer::of(engine, filter, limit, sight)),
        What::Topics => Answer::Topics(TopicsAnswer::of(
            engine,
            filter.unwrap_or(every),
            limit,
            sight,
        )),
        What::Filters => Answer::Filters(FiltersAnswer::of(engine, filter, limit, sight)),
        What::Why => Answer::Why(WhyAnswer::asked(client, argument, limit, sight)?),
        What::May => Answer::May(MayAnswer::of(client, argument)?),
        What::Retained => Answer::Retained(RetainedAnswer::of(
            engine,
            filter.unwrap_or(every),
            limit,
            sight,
        )),
        What::Kept => Answer::Kept(KeptAnswer::of(
            engine,
            filter.unwrap_or(every),
            limit,
            sight,
        )),
        What::Broker => Answer::Broker(BrokerAnswer::of(engine)),
    })
}

impl Answer {
    /// Serialises to JSON that `fits` accepts. Rows are left out until it does; `total` still counts
    /// them.
    pub(crate) fn into_json(mut self, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            let json = serde_json::to_vec(&self).expect("all map keys are strings");
            if fits(&json) || !self.halve() {
                return json;
            }
        }
    }

    /// Drops half of the rows; returns false if there are none.
    fn halve(&mut self) -> bool {
        match self {
            Self::Audit(_) | Self::May(_) | Self::Broker(_) | Self::Done(_) => false,
            Self::Who(list) => halve(&mut list.connections),
            Self::Sessions(list) => halve(&mut list.sessions),
            Self::Topics(list) => halve(&mut list.topics),
            Self::Filters(list) => halve(&mut list.filters),
            Self::Why(why) => why.halve(),
            Self::Retained(list) => halve(&mut list.retained),
            Self::Kept(list) => halve(&mut list.kept),
        }
    }
}
