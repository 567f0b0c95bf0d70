//! HTTP: requests in, engine calls and responses out, for programs and pages that speak no other
//! protocol.
//!
//! Requests are read, served and answered one after another. A request publishes its body as one
//! message, or as one for each line; a subscription has a response without an end. [`Site`] decides
//! which pages may do so. A connection that began as HTTP is never read as lines.

mod api;
mod authorization;
mod body;
mod health;
mod identity;
mod login;
mod logins;
mod page;
mod publish;
mod request;
mod response;
mod site;
mod stream;
mod subscribe;
mod upgrade;

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderValue, ORIGIN, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, UPGRADE, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode};

use crate::admin::{metrics, orders};
use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::end::End;
use crate::wire::protocols::Subprotocol;
use crate::wire::source::{Arrival, Source, take_limits};

use body::BodyError;
use logins::{LOGIN, LOGOUT};
use request::{RequestHead, RequestRefusal};
use response::{IDLE_TIME, Response, TEXT};

pub(crate) use request::HEAD_BYTES;
pub(crate) use response::{busy, not_here};
pub(crate) use site::{CHAT_PATH, Site, SiteSettings};
pub(crate) use stream::ANSWERS as ENCODER;

/// Maximum time for a complete head.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Maximum characters of a reason in the log, which may quote the client.
const REASON_CHARS: usize = 300;

/// The methods that are known (RFC 9110 §9.3, RFC 5789); any other is not implemented.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The methods of topics, and of the broker as a whole.
const METHODS_OF_TOPICS: &str = "GET, HEAD, POST, PUT, OPTIONS";

/// What precedes a topic or a filter in a path.
const TOPICS: &str = "/topics/";

/// The list of paths, for a client that asks for another one.
const MAP: &str = "there is the page at /, /topics/<topic> to POST to, /topics/<filter> to GET, /ws, /mqtt, /login, \
                   /healthz, /readyz, /metrics, and /api/clients, sessions, topics, filters, why, retained, kept, audit, broker";

/// One client's conversation.
pub(crate) struct HttpConversation<'a, 'b> {
    client: &'a mut Client<'b>,
    site: &'a Site,
    /// Maximum bytes of a line, and so of a message.
    line_bytes: usize,
    /// The protocol inside WebSocket, once the client has switched.
    switched: Option<Subprotocol>,
    /// Whether every request so far has asked for the health of the broker.
    only_health: bool,
}

/// The continuation after a request.
type Next = ControlFlow<End>;

impl<'a, 'b> HttpConversation<'a, 'b> {
    pub(crate) fn new(client: &'a mut Client<'b>, site: &'a Site) -> Self {
        let line_bytes = client.line_bytes();
        Self {
            client,
            site,
            line_bytes,
            switched: None,
            only_health: true,
        }
    }

    /// Serves requests until the client leaves, has its final answer, or switches to WebSocket.
    /// `buffer` contains bytes that were read already.
    pub(crate) fn read_loop(
        &mut self,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> ControlFlow<End, Subprotocol> {
        loop {
            let next = match self.read_head(source, buffer) {
                Ok(head) => {
                    source.note_first_request();
                    take_limits(self.client, source);
                    self.serve(&head, source, buffer)
                }
                Err(BodyError::Refused(refused)) => self.refuse(None, &refused),
                Err(BodyError::End(end)) => ControlFlow::Break(end),
            };
            match (next, self.switched) {
                // A proxy may send the next request for another client.
                (ControlFlow::Continue(()), _) => self.client.assume(None),
                (ControlFlow::Break(_), Some(inside)) => return ControlFlow::Continue(inside),
                (ControlFlow::Break(end), None) => return ControlFlow::Break(end),
            }
        }
    }

    /// Reads to the end of the next head.
    fn read_head(
        &mut self,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Result<RequestHead, BodyError> {
        let mut deadline = Instant::now() + IDLE_TIME;
        let mut begun = None;
        loop {
            // RFC 9112 §2.2: empty lines may precede a request.
            while buffer.unread().starts_with(b"\r\n") {
                buffer.consume(2);
            }
            if let Some((head, len)) =
                request::parse(buffer.unread()).map_err(BodyError::Refused)?
            {
                buffer.consume(len);
                return Ok(head);
            }
            if begun.is_none() && !buffer.unread().is_empty() {
                begun = Some(self.site.begin().map_err(BodyError::Refused)?);
                deadline = Instant::now() + HEAD_TIME;
            }
            let time_out = || match begun {
                Some(_) => BodyError::Refused(RequestRefusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the rest of the head did not come in time",
                )),
                None => BodyError::End(End::Left),
            };
            if Instant::now() >= deadline {
                return Err(time_out());
            }
            let before = buffer.unread().len();
            match source.fill_by(buffer, HEAD_BYTES, deadline) {
                Arrival::Bytes => self.client.note_heard(buffer.unread().len() - before),
                Arrival::Pause => self.client.pause(),
                Arrival::Silence => return Err(time_out()),
                Arrival::NoMemory => {
                    return Err(BodyError::Refused(RequestRefusal::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "there is no memory for this request now; try again later",
                    )));
                }
                Arrival::End => return Err(BodyError::End(End::Left)),
                Arrival::Stopping => return Err(BodyError::End(End::Stopping)),
                Arrival::Failed(err) => return Err(BodyError::End(err.into())),
            }
        }
    }

    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    fn serve(
        &mut self,
        head: &RequestHead,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Next {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let health = health::check(self.client, head);
        self.only_health &= health.is_some();
        self.client.record().set_health_check(self.only_health);
        if let Some(response) = health {
            return match reads {
                true => self.answer(head, response),
                false => self.refuse(Some(head), &RequestRefusal::not_allowed("GET, HEAD")),
            };
        }
        if self.client.record().is_for_health() {
            return self.refuse(Some(head), &health::no_place(self.client));
        }
        let settings = self.site.settings();
        let is_upgrade =
            upgrade::is_asked(head) || upgrade::is_path(&head.path, &settings.chat_path);
        // The page holds no secret, and tells more than a refusal if a proxy names another host.
        let part = page::part(&head.path).filter(|_| reads && !is_upgrade);
        if !upgrade::is_of_program(head)
            && part.is_none()
            && let Err(refused) = settings.check(head)
        {
            return match is_upgrade {
                true => self.refuse_upgrade(head, &refused),
                false => self.refuse(Some(head), &refused),
            };
        }
        if !METHODS.contains(&head.method) {
            return self.refuse(Some(head), &no_such_method());
        }
        if is_upgrade {
            return self.switch(head, &settings);
        }
        match (part, &*head.path, &head.method) {
            (Some(part), ..) => self.answer(head, page::response(part, head)),
            (None, _, &Method::OPTIONS) => self.answer(head, options()),
            (None, LOGIN, &Method::POST) => self.log_in(head, &settings, source, buffer),
            (None, LOGOUT, &Method::POST) => self.log_out(head, &settings),
            (None, LOGOUT, _) => self.refuse(Some(head), &RequestRefusal::not_allowed("POST")),
            (None, ..) => match self.identify(head, &settings).and_then(|()| self.enter()) {
                Ok(()) => self.serve_identified(head, source, buffer),
                Err(refused) => self.answer_or_refuse(head, Err(refused)),
            },
        }
    }

    /// Serves a request whose identity is known.
    #[inline(never)]
    fn serve_identified(
        &mut self,
        head: &RequestHead,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Next {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        if head.path == LOGIN {
            return match reads {
                true => self.answer(head, self.who()),
                false => self.refuse(Some(head), &RequestRefusal::not_allowed("GET, HEAD, POST")),
            };
        }
        if let Err(refused) = self.check_identified() {
            return self.answer_or_refuse(head, Err(refused));
        }
        let writes = matches!(head.method, Method::POST | Method::PUT);
        let order = head.path.strip_prefix("/api/");
        if let Some(order) = order.filter(|word| writes && orders::is_order(word)) {
            let response = self.order(head, order);
            return self.answer_or_refuse(head, response);
        }
        let path = match &*head.path {
            "/topics" => TOPICS,
            path => path,
        };
        match path.strip_prefix(TOPICS) {
            Some("") => {
                let text = "the topic is missing; write /topics/<topic>";
                self.refuse(
                    Some(head),
                    &RequestRefusal::new(StatusCode::BAD_REQUEST, text),
                )
            }
            Some(topic) if writes => self.publish(head, topic, source, buffer),
            Some(filter) if reads => self.stream(head, filter, source, buffer),
            Some(_) => self.refuse(Some(head), &RequestRefusal::not_allowed(METHODS_OF_TOPICS)),
            None if reads => {
                let response = self.look_up(head);
                self.answer_or_refuse(head, response)
            }
            None if writes && !has_resource(&head.path) => {
                self.refuse(Some(head), &not_a_topic(&head.path))
            }
            None => self.refuse(
                Some(head),
                &RequestRefusal::not_allowed("GET, HEAD, OPTIONS"),
            ),
        }
    }

    /// Answers a request; after a refusal the next one is read as well.
    fn answer_or_refuse(
        &mut self,
        head: &RequestHead,
        response: Result<Response, RequestRefusal>,
    ) -> Next {
        let response = response.unwrap_or_else(|refused| {
            self.note_refusal(&refused);
            Response::refusal(&refused)
        });
        self.answer(head, response)
    }

    #[inline(never)]
    fn switch(&mut self, head: &RequestHead, settings: &SiteSettings) -> Next {
        let accepted = self.identify(head, settings);
        let accepted = accepted.and_then(|()| upgrade::accept(head, &settings.chat_path));
        let accepted = accepted.and_then(|accepted| match accepted.0 {
            // Inside it a client can still say who it is.
            Subprotocol::Line | Subprotocol::Mqtt => Ok(accepted),
            Subprotocol::Talking => {
                self.check_identified()?;
                self.enter().map(|()| accepted)
            }
        });
        match accepted {
            Ok((inside, answer)) => {
                self.client.answer(&answer);
                self.switched = Some(inside);
                ControlFlow::Break(End::Answered)
            }
            Err(refused) => self.refuse_upgrade(head, &refused),
        }
    }

    /// The log has the reason: a page is not told why its WebSocket does not open.
    #[inline(never)]
    fn refuse_upgrade(&mut self, head: &RequestHead, refused: &RequestRefusal) -> Next {
        let _ = self.refuse(Some(head), refused);
        let reason = refused.to_string().chars().take(REASON_CHARS).collect();
        ControlFlow::Break(End::Refused(Cow::Owned(reason)))
    }

    /// Resources that are read and end.
    fn look_up(&mut self, head: &RequestHead) -> Result<Response, RequestRefusal> {
        match head.path.as_str() {
            "/metrics" => {
                let asked = self.client.check_inquiry("broker");
                asked.map_err(|denied| RequestRefusal::denied(&denied))?;
                let text = metrics::text(self.client);
                Ok(Response::new(StatusCode::OK, metrics::CONTENT_TYPE, text))
            }
            path => match path.strip_prefix("/api/") {
                Some(question) => self.ask(head, question),
                None => {
                    let chat = &self.site.settings().chat_path;
                    let map = format!("{MAP}; the web chat is at {chat}");
                    let text = match topic_path(path) {
                        Some(topic) => {
                            format!("there is no {path:?}; messages are at {topic:?}; {map}")
                        }
                        None => format!("there is no {path:?}; {map}"),
                    };
                    Err(RequestRefusal::new(StatusCode::NOT_FOUND, text))
                }
            },
        }
    }

    /// Answers a request. Unread bytes of its body end the connection.
    fn answer(&mut self, head: &RequestHead, mut response: Response) -> Next {
        response.keeps_alive &= head.keeps_alive && !head.has_body();
        self.send(Some(head), response)
    }

    /// The same when the body has been read.
    fn conclude(&mut self, head: &RequestHead, mut response: Response) -> Next {
        response.keeps_alive &= head.keeps_alive;
        self.send(Some(head), response)
    }

    /// Answers a request that is refused; it is the last one.
    #[inline(never)]
    fn refuse(&mut self, head: Option<&RequestHead>, refused: &RequestRefusal) -> Next {
        self.note_refusal(refused);
        self.send(head, Response::refusal(refused).last())
    }

    fn note_refusal(&mut self, refused: &RequestRefusal) {
        self.client.note_refused(1);
        if refused.status == StatusCode::PAYLOAD_TOO_LARGE {
            self.client.note_too_long();
        }
        self.client.settle();
        log::debug!("connection {}: refused, {refused}", self.client.id());
    }

    fn send(&mut self, head: Option<&RequestHead>, mut response: Response) -> Next {
        if let Some(head) = head {
            self.open_to(head, &mut response.headers);
        }
        match response.status {
            StatusCode::UPGRADE_REQUIRED => {
                let websocket = HeaderValue::from_static("websocket");
                response.headers.insert(UPGRADE, websocket);
                let version = HeaderValue::from_static("13");
                response.headers.insert(SEC_WEBSOCKET_VERSION, version);
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                let identity = HeaderValue::from_static("identity");
                response.headers.insert(ACCEPT_ENCODING, identity);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = HeaderValue::from_static("1");
                response.headers.insert(RETRY_AFTER, seconds);
            }
            StatusCode::UNAUTHORIZED => {
                for challenge in authorization::challenges(head, &response) {
                    response.headers.append(WWW_AUTHENTICATE, challenge);
                }
            }
            _ => {}
        }
        // Before the answer: a client that has it may begin its next request on another connection.
        self.client.pay();
        self.client.depart();
        self.client.answer(&response.encode(head));
        if response.keeps_alive {
            self.client.wait_between_batches();
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(End::Answered)
        }
    }

    /// Allows a permitted page to read the answer.
    fn open_to(&self, head: &RequestHead, headers: &mut HeaderMap) {
        if let Some(origin) = head.headers.get(ORIGIN)
            && origin.to_str().is_ok_and(|origin| self.site.allows(origin))
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// The answer to a browser's preflight request; the permission was checked before.
fn options() -> Response {
    Response::new(StatusCode::NO_CONTENT, TEXT, "")
        .with(ALLOW, METHODS_OF_TOPICS)
        .with(ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT")
        .with(
            ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, last-event-id",
        )
        .with(ACCESS_CONTROL_MAX_AGE, "600")
}

/// Checks a path for the web chat, and returns it as requests are compared with it; or says why it cannot
/// be there.
pub(crate) fn chat_path(path: &str) -> Result<&str, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if !path.starts_with('/') {
        return Err("a path begins with /, such as /talking");
    }
    if !path.bytes().all(is_plain) {
        return Err("it has a character besides letters and digits of ASCII and - . _ ~ /");
    }
    let path = path.trim_end_matches('/');
    let is_below = |folder: &&str| {
        let within = path.strip_prefix(*folder);
        within.is_some_and(|within| within.is_empty() || within.starts_with('/'))
    };
    let is_taken = path.is_empty()
        || health::is_path(path)
        || [LOGIN, LOGOUT].contains(&path)
        || upgrade::is_path(path, "")
        || has_resource(path)
        || ["/topics", "/api", "/www"].iter().any(is_below);
    match is_taken {
        true => Err("something else of the broker is at this path; choose another"),
        false => Ok(path),
    }
}

/// Whether there is something to read at this path.
fn has_resource(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/api/") || page::part(path).is_some()
}

/// The path of the topic that a client may have meant, if it forgot `/topics`.
fn topic_path(path: &str) -> Option<String> {
    let topic = path.strip_prefix('/').filter(|topic| !topic.is_empty())?;
    (!topic.starts_with("api/")).then(|| format!("{TOPICS}{topic}"))
}

/// A message for a path that is no topic.
fn not_a_topic(path: &str) -> RequestRefusal {
    let topic = topic_path(path);
    let topic = topic.as_deref().unwrap_or("/topics/<topic>");
    let mut refused = RequestRefusal::not_allowed("GET, HEAD, OPTIONS");
    refused.text = format!(
        "nothing can be published at {path:?}; POST to {topic:?}, with /topics before the topic; {}",
        refused.text
    );
    refused
}

fn no_such_method() -> RequestRefusal {
    RequestRefusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "the methods here are GET, HEAD, POST, PUT and OPTIONS, in capitals",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::limits::Limits;
    use crate::engine::outbox::tests::{TestSink, outbox};
    use crate::engine::session::clients::ClientRecord;

    /// A client that sends these pieces and then nothing more.
    struct Silent {
        pieces: VecDeque<Vec<u8>>,
        /// The last timeout that was requested.
        patience: Duration,
    }

    impl Source for Silent {
        fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
            match self.pieces.pop_front() {
                Some(piece) => {
                    let room = buffer.fill(most).expect("there is memory");
                    room.extend_from_slice(&piece);
                    Arrival::Bytes
                }
                None => Arrival::Silence,
            }
        }

        fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival {
            self.patience = deadline.saturating_duration_since(Instant::now());
            self.fill(buffer, most)
        }

        fn wait_for_end(&mut self) -> Arrival {
            Arrival::End
        }

        fn set_interval(&mut self, _interval: Duration) {}
    }

    /// The timeout for the rest, the end after it, and the bytes sent to the client.
    fn wait_for_rest(pieces: &[&str]) -> (u64, End, String) {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
        let mut client = Client::new(&engine, &record);
        let site = Site::new(SiteSettings::default(), &engine.limits);
        let mut source = Silent {
            pieces: pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect(),
            patience: Duration::ZERO,
        };
        let mut buffer = ReadBuffer::new(&engine.memory);
        let mut conversation = HttpConversation::new(&mut client, &site);
        let ControlFlow::Break(end) = conversation.read_loop(&mut source, &mut buffer) else {
            panic!("it does not switch");
        };
        // Some time has passed since the request for the timeout.
        let seconds = source.patience.as_millis().div_ceil(1000) as u64;
        (seconds, end, said(&sink))
    }

    fn said(sink: &TestSink) -> String {
        String::from_utf8_lossy(&sink.0.lock().taken).into_owned()
    }

    #[test]
    fn the_rest_of_a_request_is_waited_for_as_long_as_the_manual_says() {
        let post = "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
        for (pieces, seconds, status) in [
            (&["GET / HT"][..], 10, "408"),
            (&[post, "some"], 30, "408"),
            (&[post], 30, "408"),
        ] {
            let (waited, end, said) = wait_for_rest(pieces);
            assert_eq!(waited, seconds, "{pieces:?}");
            assert!(matches!(end, End::Answered), "{end:?}");
            let last = said.rsplit_once("HTTP/1.1 ").expect("an answer").1;
            assert!(last.starts_with(status), "{said}");
        }
        // No request has begun, so there is nothing to answer.
        let (waited, end, said) = wait_for_rest(&[]);
        assert_eq!((waited, &*said), (75, ""));
        assert!(matches!(end, End::Left), "{end:?}");
        let whole = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (waited, end, said) = wait_for_rest(&[whole]);
        assert_eq!(waited, 75);
        assert!(matches!(end, End::Left), "{end:?}");
        assert!(said.ends_with("ok\n"), "{said}");
        assert!(said.contains("\r\nkeep-alive: timeout=75\r\n"), "{said}");
    }
}
