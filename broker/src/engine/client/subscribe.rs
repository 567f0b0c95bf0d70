//! What a client subscribes to, and the retained messages that it gets for it.

use std::mem;

use bytes::Bytes;
use memchr::memmem;
use protocol::{Filter, Framer, Reply, Slow, TTL};

use super::Client;
use super::publish::message;
use crate::clock::Moment;
use crate::engine::outbox::OutboxGuard;
use crate::engine::outbox::queue::policies::TooManyPolicies;
use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::retained::Entry;

/// So many bytes of retained messages are delivered at a time.
const GATHERED_BYTES: usize = 64 * 1024;

/// The client has as many as it may have.
pub(crate) enum TooMany {
    Subscriptions(usize),
    /// Filters with wildcards and a choice of their own.
    OverflowPolicies,
}

impl Client<'_> {
    pub(crate) fn has_subscriptions(&self) -> bool {
        self.record.filter_count() > 0
    }

    /// From now on the client gets what `filter` matches. `held` is its own outbox, in which its
    /// choice for messages of this filter is noted.
    pub(crate) fn subscribe(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'_>,
        slow: Option<Slow>,
    ) -> Result<(), TooMany> {
        let is_known = self.record.has_filter(filter.as_str());
        let subscriptions = self.record.filter_count();
        if !is_known && subscriptions >= self.most_subscriptions {
            return Err(TooMany::Subscriptions(subscriptions));
        }
        guard
            .choose(filter, slow)
            .map_err(|TooManyPolicies| TooMany::OverflowPolicies)?;
        if is_known {
            return Ok(());
        }
        self.record.add_filter(filter.as_str());
        self.engine.router.subscribe(filter, &self.outbox);
        Ok(())
    }

    /// Delivers retained messages to the client itself, many at a time.
    pub(crate) fn deliver_retained(&mut self, guard: &mut OutboxGuard<'_>, messages: &[Entry]) {
        let mut deliver = |run: Run<'_>, qos| {
            let run = run.by(0, PublishOptions { qos, retain: true });
            match run.messages() {
                0 => 0,
                messages if guard.deliver(&[&run]) => messages,
                _ => 0,
            }
        };
        let (mut gathered, mut waiting, mut qos) = (Vec::new(), 0, 0);
        let now = Moment::now();
        for entry in messages {
            let Some(line) = fresh(entry, now) else {
                continue;
            };
            let (line, next) = (&line, &entry.qos);
            let is_long = line.len() > GATHERED_BYTES;
            if is_long || *next != qos || gathered.len() + line.len() > GATHERED_BYTES {
                let run = Run::borrowed(&gathered, mem::take(&mut waiting));
                self.account.retained += deliver(run, qos);
                gathered.clear();
                qos = *next;
            }
            if is_long {
                self.account.retained += deliver(Run::shared(line, 1, line.len()), qos);
            } else {
                gathered.extend_from_slice(line);
                waiting += 1;
            }
        }
        self.account.retained += deliver(Run::borrowed(&gathered, waiting), qos);
    }

    /// From now on it does not, on the strength of this filter.
    pub(crate) fn unsubscribe(&mut self, filter: Filter<'_>) {
        if self.record.remove_filter(filter.as_str()) {
            self.engine.router.unsubscribe(filter, &self.outbox);
            // To take a choice back never fails.
            let _ = self.outbox.lock().choose(filter, None);
        }
    }
}

/// The line of a retained message, with the seconds that are left of its time; none if none are.
fn fresh(entry: &Entry, now: Moment) -> Option<Bytes> {
    let line = &entry.message;
    if line[0] != b'@' || memmem::find(line, b"ttl=").is_none() {
        return Some(line.clone());
    }
    let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
    let Ok(Reply::Message {
        topic,
        payload,
        attributes,
    }) = Reply::decode(content)
    else {
        return Some(line.clone());
    };
    let seconds = attributes.get(TTL)?;
    let Some(seconds) = str::from_utf8(&seconds)
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
    else {
        return Some(line.clone());
    };
    let waited = now.ms_since(entry.kept.since);
    if waited > u64::from(seconds) * 1000 {
        return None;
    }
    let mut left = attributes.without(&[TTL]);
    let seconds = u64::from(seconds) - waited / 1000;
    left.push(TTL, seconds.to_string().as_bytes()).ok()?;
    let mut line = Vec::new();
    message(topic, &payload, left).encode(&mut line);
    Some(line.into())
}
