//! Subscribing by `GET`: the response continues until the client leaves, has the requested number of
//! messages, or the time has passed.

use std::time::{Duration, Instant};

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};
use protocol::{
    Attributes, BadPast, EACH, Filter, Incomplete, LAST, OverflowPolicy, PastQuery, PastStart,
    Position, SINCE, UNTIL, escape_spaces,
};

use super::request::{RequestHead, RequestRefusal, decoded};
use super::response::encode_head;
use super::stream::{Form, LAST_CHUNK};
use super::{HttpConversation, Next};
use crate::engine::client::{
    Answering, DENIED_FILTER, FollowAnswers, PastError, PastStep, SubscribeError,
};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::end::End;
use crate::wire::source::{Arrival, Source};

/// Set by `EventSource` when it reconnects.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Interval at which a quiet stream sends a sign of life, which also finds out whether the client is
/// there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Maximum bytes read at a time from a client with a stream; they are discarded.
const UNUSED_BYTES: usize = 16 * 1024;

/// The parameters of a subscription.
struct Wanted {
    filter: String,
    form: Form,
    /// Its messages are chunks, which HTTP/1.0 does not have.
    is_chunked: bool,
    count: Option<u64>,
    timeout: Option<Duration>,
    /// The overflow policy while the client is slow.
    slow: Option<OverflowPolicy>,
    /// What of the past is asked for.
    past: Option<PastQuery>,
    /// The last event that a client has received which connects again, unless `past` goes on from there.
    last_event: Option<String>,
}

impl HttpConversation<'_, '_> {
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn stream(
        &mut self,
        head: &RequestHead,
        filter: &str,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Next {
        let wanted = match Wanted::new(head, filter, self.client.limits().past_messages) {
            Ok(wanted) => wanted,
            Err(refused) => return self.refuse(Some(head), &refused),
        };
        if head.method == Method::HEAD {
            let bytes = self.stream_head(head, &wanted);
            self.client.answer(&bytes);
            return Next::Break(End::Answered);
        }
        let begun = match wanted.past {
            Some(query) if query.until_now => {
                return match self.send_past(head, &wanted, query.start) {
                    Ok(()) => Next::Break(End::Answered),
                    Err(refused) => self.refuse(Some(head), &refused),
                };
            }
            Some(query) => self.begin_to_follow(head, &wanted, query.start),
            None => self.begin_stream(head, &wanted),
        };
        let deadline = wanted.timeout.map(|timeout| Instant::now() + timeout);
        if let Err(refused) = begun {
            return self.refuse(Some(head), &refused);
        }
        let end = self.wait_in_stream(&wanted, deadline, source, buffer);
        if matches!(end, End::Answered) {
            self.client.forget_filters();
            self.client.goodbye();
        }
        Next::Break(end)
    }

    /// Answers with what there is of the past.
    fn send_past(
        &mut self,
        head: &RequestHead,
        wanted: &Wanted,
        start: PastStart,
    ) -> Result<(), RequestRefusal> {
        let filter = Filter::parse(&wanted.filter).expect("it was parsed before");
        let encoder = wanted.form.encoder(wanted.is_chunked, None);
        let encode = encoder.and_then(|encoder| encoder.encode);
        let encode = encode.expect("it was checked before");
        let beginning = self.stream_head(head, wanted);
        self.client.begin();
        let read = self
            .client
            .read_past(filter, start, |guard, step| match step {
                PastStep::Begin(incomplete) => {
                    guard.answer(&beginning);
                    if let Some(Incomplete { oldest }) = incomplete {
                        guard.answer(&wanted.form.incomplete(wanted.is_chunked, oldest));
                    }
                }
                PastStep::Lines(lines) => guard.answer(&encode(lines)),
                PastStep::End { .. } if wanted.is_chunked => guard.answer(LAST_CHUNK),
                PastStep::End { .. } => {}
            });
        self.client.settle();
        read.map_err(not_read)
    }

    /// Subscribes so that the past comes first and nothing is missed that is kept.
    fn begin_to_follow(
        &mut self,
        head: &RequestHead,
        wanted: &Wanted,
        start: PastStart,
    ) -> Result<(), RequestRefusal> {
        let filter = Filter::parse(&wanted.filter).expect("it was parsed before");
        let mut beginning = self.stream_head(head, wanted);
        let last = wanted.last_event.as_deref();
        beginning.extend_from_slice(&wanted.form.greeting(wanted.is_chunked, last));
        let encoder = wanted.form.follower_encoder(wanted.is_chunked);
        self.client.begin();
        self.client
            .set_encoder(encoder.expect("it was checked before"));
        let answers = StreamAnswers { wanted, beginning };
        let followed = self.client.follow(filter, start, &answers);
        self.client.settle();
        followed.map_err(not_read)
    }

    /// Subscribes; the head of the response precedes the first message.
    fn begin_stream(&mut self, head: &RequestHead, wanted: &Wanted) -> Result<(), RequestRefusal> {
        let filter = Filter::parse(&wanted.filter).expect("it was parsed before");
        if wanted.slow == Some(OverflowPolicy::Block) {
            let asked = self.client.check_block();
            asked.map_err(|denied| RequestRefusal::denied(&denied))?;
        }
        let mut beginning = self.stream_head(head, wanted);
        let last = wanted.last_event.as_deref();
        beginning.extend_from_slice(&wanted.form.greeting(wanted.is_chunked, last));
        self.client.begin();
        let encoder = wanted.form.encoder(wanted.is_chunked, wanted.slow);
        self.client
            .set_encoder(encoder.expect("it was checked before"));
        let filters = [((), Ok(filter))];
        let mut refused = None;
        self.client
            .subscribe(filters, None, |answering, (), subscribed| {
                if let Err(why) = subscribed {
                    refused = Some(why);
                    return;
                }
                if let Some(slow) = wanted.slow {
                    answering.choose_for_all(slow);
                }
                if let Some(count) = wanted.count {
                    answering.set_quota(count);
                }
                answering.answers.extend_from_slice(&beginning);
            });
        self.client.settle();
        refused.map_or(Ok(()), |why| Err(not_subscribed(why)))
    }

    /// Returns when the stream has ended.
    fn wait_in_stream(
        &self,
        wanted: &Wanted,
        deadline: Option<Instant>,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> End {
        let mut unused = 0;
        loop {
            let heartbeat = Instant::now() + HEARTBEAT;
            let until = deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat));
            buffer.consume(buffer.unread().len());
            match source.fill_by(buffer, UNUSED_BYTES, until) {
                Arrival::Bytes if unused < UNUSED_BYTES => unused += buffer.unread().len(),
                Arrival::Bytes | Arrival::NoMemory => return End::Left,
                Arrival::Pause => {}
                Arrival::Silence if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return End::Answered;
                }
                Arrival::Silence => {
                    let bytes = wanted.form.heartbeat(wanted.is_chunked);
                    // Queued messages show well enough that the stream is alive.
                    if !bytes.is_empty() && !self.client.seems_blocked() {
                        self.client.answer(&bytes);
                    }
                }
                Arrival::End => return self.ended(),
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// Either the client has left, or it has all it asked for and the outbox has sent its final answer.
    fn ended(&self) -> End {
        match self.client.is_ending() {
            true => End::Answered,
            false => End::Left,
        }
    }

    fn stream_head(&self, head: &RequestHead, wanted: &Wanted) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        if wanted.is_chunked {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        for (name, value) in [
            (CONTENT_TYPE, wanted.form.content_type()),
            (CACHE_CONTROL, "no-store"),
            (CONNECTION, "close"),
            (HeaderName::from_static("x-content-type-options"), "nosniff"),
            // Asks proxies not to buffer the response.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        self.open_to(head, &mut headers);
        encode_head(StatusCode::OK, &headers)
    }
}

impl Wanted {
    fn new(head: &RequestHead, filter: &str, most_past: u64) -> Result<Self, RequestRefusal> {
        let bad = |text: String| RequestRefusal::new(StatusCode::BAD_REQUEST, text);
        let filter = wildcards(filter)?;
        Filter::parse(&filter).map_err(|why| bad(why.to_string()))?;
        let mut wanted = Self {
            filter,
            form: Form::Events,
            is_chunked: head.is_current,
            count: None,
            timeout: None,
            slow: None,
            past: None,
            last_event: head.header(LAST_EVENT_ID).map(str::to_owned),
        };
        let mut asked = Attributes::default();
        let mut has_form = false;
        for (name, value) in &head.query {
            match name.as_str() {
                LAST | EACH | SINCE => {
                    let pushed = asked.push(name, value.as_bytes());
                    pushed.expect("these keys are valid");
                }
                "poll" if value == "1" => {
                    asked.push(UNTIL, b"now").expect("the key is valid");
                }
                "poll" => return Err(bad("poll is 1".to_owned())),
                "format" => {
                    has_form = true;
                    wanted.form = value
                        .parse()
                        .map_err(|()| bad("format is sse, json or raw".to_owned()))?;
                }
                "count" => {
                    let count = value.parse().ok().filter(|&count| count > 0);
                    let why = || bad("count is a number of messages, 1 or more".to_owned());
                    wanted.count = Some(count.ok_or_else(why)?);
                }
                "timeout" => {
                    let timeout = humantime::parse_duration(value).ok();
                    let timeout =
                        timeout.filter(|&timeout| timeout <= Duration::from_secs(1 << 32));
                    let why = || bad("timeout is a time such as 30s or 5m".to_owned());
                    wanted.timeout = Some(timeout.ok_or_else(why)?);
                }
                "slow" => {
                    let slow = OverflowPolicy::parse(value.as_bytes());
                    wanted.slow = Some(slow.map_err(|why| bad(why.to_string()))?);
                }
                name => {
                    return Err(bad(format!(
                        "there is no parameter {name:?}; there is format, count, timeout, slow, last, each, since, poll"
                    )));
                }
            }
        }
        wanted.past = wanted.past(&asked, most_past).map_err(bad)?;
        if wanted.past.is_some() && wanted.slow.is_some() {
            let text = "nothing is dropped for a client that asks for the past; leave out slow";
            return Err(bad(text.to_owned()));
        }
        if wanted.past.is_some_and(|query| query.until_now) && !has_form {
            wanted.form = Form::Json;
        }
        wanted.check_form()?;
        Ok(wanted)
    }
}

impl Wanted {
    /// Refuses raw payloads where they would not be told apart.
    fn check_form(&self) -> Result<(), RequestRefusal> {
        let is_one_topic = Filter::parse(&self.filter).is_ok_and(|filter| filter.is_exact());
        if self.form == Form::Raw && self.slow == Some(OverflowPolicy::Latest) && !is_one_topic {
            let text =
                "raw payloads do not name their topics; ask for one topic, or for another format";
            return Err(RequestRefusal::new(StatusCode::BAD_REQUEST, text));
        }
        if self.form.encoder(self.is_chunked, self.slow).is_none() {
            let text = "a stream of raw payloads needs HTTP/1.1, because only a chunk tells where a payload \
                        ends; ask for format=json or sse, or set the proxy in between to HTTP/1.1";
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Err(RequestRefusal::new(status, text));
        }
        Ok(())
    }

    /// What of the past is asked for. A client that connects again goes on from the last position that it has received.
    fn past(&mut self, asked: &Attributes<'_>, most: u64) -> Result<Option<PastQuery>, String> {
        let query = PastQuery::of(asked, most).map_err(|why| match why {
            BadPast::NoStart => "poll comes with last, each or since".to_owned(),
            why => why.to_string(),
        })?;
        let is_live = query.is_none_or(|query| !query.until_now);
        let last = self.last_event.as_deref();
        let last: Option<Position> = last
            .filter(|_| is_live)
            .and_then(|last| Position::parse(last.as_bytes()).ok());
        let Some(position) = last else {
            return Ok(query);
        };
        self.last_event = None;
        Ok(Some(PastQuery {
            start: PastStart::After(position),
            until_now: false,
        }))
    }
}

/// Answers a follower: the head of the response, and the notices before and behind the past.
struct StreamAnswers<'w> {
    wanted: &'w Wanted,
    beginning: Vec<u8>,
}

impl FollowAnswers for StreamAnswers<'_> {
    fn begin(&self, answering: &mut Answering<'_, '_>, incomplete: Option<Incomplete>) {
        let Wanted {
            form, is_chunked, ..
        } = *self.wanted;
        if let Some(count) = self.wanted.count {
            answering.set_quota(count);
        }
        answering.answers.extend_from_slice(&self.beginning);
        if let Some(Incomplete { oldest }) = incomplete {
            let notice = form.incomplete(is_chunked, oldest);
            answering.answers.extend_from_slice(&notice);
        }
    }

    fn current(&self, position: Option<Position>) -> Vec<u8> {
        self.wanted.form.current(self.wanted.is_chunked, position)
    }
}

/// Why the past is not read.
fn not_read(why: PastError) -> RequestRefusal {
    match why {
        PastError::Refused(why) => not_subscribed(why),
        PastError::Shared => RequestRefusal::new(
            StatusCode::BAD_REQUEST,
            "a shared filter has no past; leave out its group",
        ),
        PastError::NotReadable => RequestRefusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the disk of the broker cannot be read; tell its operator",
        ),
    }
}

/// Why a subscription is refused.
fn not_subscribed(why: SubscribeError) -> RequestRefusal {
    match why {
        SubscribeError::Private => RequestRefusal::new(StatusCode::FORBIDDEN, DENIED_FILTER),
        SubscribeError::Denied(denied) => RequestRefusal::denied(&denied),
        SubscribeError::OverLimit(over) => RequestRefusal::over_limit(&over),
        SubscribeError::NoMemory => RequestRefusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no memory for another subscription now; try again later",
        ),
        SubscribeError::BadFilter(_)
        | SubscribeError::TooManySubscriptions(_)
        | SubscribeError::NotKept(_)
        | SubscribeError::TooManyPolicies => RequestRefusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this broker takes no subscriptions; ask its operator for a higher limit",
        ),
    }
}

/// A filter from a path: a level `*` means `+`, and `**` means `#`, which has another meaning in URLs.
fn wildcards(path: &str) -> Result<String, RequestRefusal> {
    let levels: Result<Vec<String>, RequestRefusal> = path
        .split('/')
        .map(|level| match level {
            "*" => Ok("+".to_owned()),
            "**" => Ok("#".to_owned()),
            level => decoded(level),
        })
        .collect();
    Ok(escape_spaces(&levels?.join("/")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_may_be_written_as_stars_or_encoded() {
        for (path, filter) in [
            ("a/*/b/**", "a/+/b/#"),
            ("a/%2B/%23", "a/+/#"),
            ("a/+/b", "a/+/b"),
            ("%2A/a*", "*/a*"),
            ("a%2Fb/%C3%A9", "a/b/é"),
            ("a%20b/*", r"a\sb/+"),
            ("a%5Csb", r"a\sb"),
        ] {
            assert_eq!(wildcards(path).as_deref(), Ok(filter));
        }
    }
}
