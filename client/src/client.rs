//! The client: one blocking call for each request to the broker.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use protocol::{Attributes, Filter, Filters, ID, Name, PastQuery, PastStart, Topic, Verb};

use crate::answers::Answers;
use crate::clock;
use crate::conversation::Conversation;
use crate::error::{Error, Refusal};
use crate::exchange::Exchange;
use crate::inbox::Inbox;
use crate::inquiry::{Answer, LIMIT, parsed};
use crate::link::Woken;
use crate::message::{Delivery, Message};
use crate::messages::Messages;
use crate::options::Options;
use crate::publisher::Publisher;

/// A client of a broker.
///
/// A call that fails leaves the client usable, unless [`Error::is_disconnect`] says that the
/// connection is gone. Dropping a client closes its connection; [`close`](Self::close) sends BYE
/// first.
///
/// ```
/// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
/// # let address = broker.local_addr();
/// # std::thread::spawn(move || broker.run());
/// let mut client = client::Client::connect(address)?;
/// client.subscribe("news/#")?;
/// assert_eq!(client.publish("news/today", "hello")?, 1);
///
/// let message = client.messages().next().expect("an open connection")?;
/// assert_eq!(message.topic, "news/today");
/// assert_eq!(message.payload, b"hello");
/// client.close()?;
/// # Ok::<(), client::Error>(())
/// ```
#[derive(Debug)]
pub struct Client {
    exchange: Exchange,
}

/// What a connection has published so far, and what the broker has said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many messages were published.
    pub published: u64,
    /// How many of them, counted from the first, have a receipt or a refusal.
    pub answered: u64,
    /// How many copies for subscribers the receipts report.
    pub copies: u64,
}

impl Account {
    /// Number of messages without an answer.
    pub fn outstanding(&self) -> u64 {
        self.published - self.answered
    }
}

impl Client {
    /// Connects with the default [`Options`] to `HOST:PORT`, or to the socket at a path of this
    /// machine, `unix:PATH`.
    ///
    /// ```no_run
    /// let mut client = client::Client::connect("unix:/run/dallal/broker.sock")?;
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn connect(server: impl ToSocketAddrs + Display) -> Result<Self, Error> {
        Self::connect_with(server, &Options::default())
    }

    /// Connects to the first address of the name that answers, or to the socket at a path.
    pub fn connect_with(
        server: impl ToSocketAddrs + Display,
        options: &Options,
    ) -> Result<Self, Error> {
        Ok(Self {
            exchange: Exchange::open(server, options)?,
        })
    }

    /// Publishes and waits for the receipt; returns how many subscribers get a copy.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut client = client::Client::connect(address)?;
    /// let copies = client.publish("news", "is this thing on?")?;
    /// assert_eq!(copies, 0);
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.publish_with(topic, payload, &Attributes::default())
    }

    /// Publishes with attributes, such as [`RETAIN`](crate::RETAIN), and waits for the receipt.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut attributes = client::Attributes::default();
    /// attributes.push_flag(client::RETAIN).expect("a key");
    /// attributes.push("unit", b"C").expect("a key");
    ///
    /// let mut client = client::Client::connect(address)?;
    /// client.publish_with("attic", "21.5", &attributes)?;
    /// client.subscribe("attic")?;
    /// let message = client.next_message(None)?.expect("there is no timeout");
    /// assert!(message.is_retained());
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn publish_with(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        attributes: &Attributes<'_>,
    ) -> Result<u64, Error> {
        // The receipt is to be for this message alone.
        self.exchange.settle()?;
        let mut publisher = self.publisher();
        publisher.publish_with(topic, payload, attributes)?;
        let receipt = publisher.finish()?;
        receipt
            .first_refusal
            .map_or(Ok(receipt.copies), |refusal| Err(Error::Refused(refusal)))
    }

    /// Publishes without waiting; returns the number of the message on this connection, counted
    /// from 1. The message is sent with the next call that waits or takes.
    /// [`account`](Self::account) and [`take_refusal`](Self::take_refusal) report its receipt or
    /// refusal. This is for callers that poll several inputs; [`publisher`](Self::publisher) bounds
    /// the number of unanswered messages.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::{Attributes, Client};
    /// use std::ops::ControlFlow;
    ///
    /// let mut client = Client::connect(address)?;
    /// let number = client.post("news", "hello", &Attributes::default())?;
    /// while client.account().answered < number {
    ///     client.wait(None)?;
    ///     client.take_ready(|_| ControlFlow::Continue(()))?;
    /// }
    /// assert!(client.take_refusal().is_none());
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn post(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        attributes: &Attributes<'_>,
    ) -> Result<u64, Error> {
        let topic = Topic::parse(topic).map_err(Error::BadTopic)?;
        let conversation = &mut self.exchange.conversation;
        conversation.publish(topic, payload.as_ref(), attributes.clone());
        Ok(conversation.ledger.published())
    }

    /// What was published on this connection, and the answers so far.
    pub fn account(&self) -> Account {
        let ledger = &self.exchange.conversation.ledger;
        Account {
            published: ledger.published(),
            answered: ledger.answered(),
            copies: ledger.copies(),
        }
    }

    /// The first refusal since the last call of this function, or of one that returns refusals
    /// itself.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.exchange.conversation.ledger.take_refusal()
    }

    /// Publishes without waiting for each receipt. See [`Publisher`].
    pub fn publisher(&mut self) -> Publisher<'_> {
        Publisher::new(&mut self.exchange)
    }

    /// Sends a request to the subscribers of a topic and waits for the first answer, at most
    /// `timeout`. Fails at once if the topic has no subscribers. See `docs/protocol.md`, "Requests
    /// and answers".
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// # use std::time::Duration;
    /// let mut teacher = client::Client::connect(address)?;
    /// teacher.subscribe("double")?;
    /// std::thread::spawn(move || -> Result<(), client::Error> {
    ///     while let Some(question) = teacher.next_message(None)? {
    ///         let answer = question.payload.repeat(2);
    ///         teacher.answer(&question, answer)?;
    ///     }
    ///     Ok(())
    /// });
    ///
    /// let mut client = client::Client::connect(address)?;
    /// let answer = client.request("double", "ha", Duration::from_secs(10))?;
    /// assert_eq!(answer.payload, b"haha");
    ///
    /// let unanswered = client.request("half", "haha", Duration::from_secs(10));
    /// assert!(matches!(unanswered, Err(client::Error::NobodyListens)));
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn request(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let mut answers = self.request_with(topic, payload, &Attributes::default())?;
        if answers.copies() == 0 && !answers.is_quiet() {
            return Err(Error::NobodyListens);
        }
        let answer = answers.next(Some(timeout))?;
        answer.ok_or(Error::NobodyAnswered { within: timeout })
    }

    /// Sends a request to the subscribers of a topic; returns the answers one by one. The
    /// attributes `reply` and `id` are added.
    pub fn request_with(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        attributes: &Attributes<'_>,
    ) -> Result<Answers<'_>, Error> {
        Topic::parse(topic).map_err(Error::BadTopic)?;
        if self.exchange.inbox.is_none() {
            let inbox = Inbox::new();
            self.subscribe(inbox.topic())?;
            self.exchange.inbox = Some(inbox);
        }
        let inbox = self.exchange.inbox.as_mut().expect("it was made above");
        let attributes = inbox.open(attributes);
        let published = self.publish_with(topic, payload, &attributes);
        // Created before the result is checked: dropping it closes the inbox.
        let answers = Answers::new(&mut self.exchange, *published.as_ref().unwrap_or(&0));
        published.map(|_| answers)
    }

    /// Asks the broker about itself; the type of the answer selects the inquiry. The argument is a
    /// filter or a topic, for inquiries that take one, or empty. A list has at most `limit` rows,
    /// 1000 by default, and the total number of rows.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::inquiry::{Audit, Who};
    ///
    /// let mut client = client::Client::connect(address)?;
    /// client.subscribe("news/#")?;
    /// let who: Who = client.inquire("news/today", None)?;
    /// assert_eq!((who.total, &*who.connections[0].filters[1]), (1, "news/#"));
    ///
    /// let audit: Audit = client.inquire("", None)?;
    /// assert!(audit.is_balanced());
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn inquire<A: Answer>(&mut self, argument: &str, limit: Option<u64>) -> Result<A, Error> {
        let what = A::WHAT;
        let mut attributes = Attributes::default();
        if let Some(limit) = limit {
            let pushed = attributes.push(LIMIT, limit.to_string().as_bytes());
            pushed.expect("it is a key");
        }
        let within = self.exchange.answer_timeout;
        let asked = self.request_with(&A::topic(), argument, &attributes);
        let mut answers = asked.map_err(|error| match error {
            Error::Refused(refusal) if refusal.is_denied() => {
                Error::NotInquirable { what, refusal }
            }
            other => other,
        })?;
        let bad = |why| Error::BadAnswer { what, why };
        // The broker sends the answer before the receipt.
        if answers.copies() == 0 && !answers.is_quiet() {
            let why = "found no room in this client's outbox; ask for fewer rows";
            return Err(bad(why.to_owned()));
        }
        let answer = answers.next(Some(within))?;
        let answer = answer.ok_or(Error::NobodyAnswered { within })?;
        parsed(what, &answer.payload)
    }

    /// How long to wait for an answer.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.exchange.answer_timeout
    }

    /// Publishes the answer to a request and waits for the receipt; returns how many subscribers
    /// get a copy. Zero also if the message was not a request.
    pub fn answer(&mut self, request: &Message, payload: impl AsRef<[u8]>) -> Result<u64, Error> {
        let Some(topic) = request.reply_topic() else {
            return Ok(0);
        };
        let mut attributes = Attributes::default();
        if let Some(id) = request.attributes.get(ID) {
            attributes.push(ID, &id).expect("it is a key");
        }
        self.publish_with(&topic, payload, &attributes)
    }

    /// Subscribes and waits for the answer. From then on every matching message is delivered.
    pub fn subscribe(&mut self, filter: &str) -> Result<(), Error> {
        self.subscribe_all(&[filter])
    }

    /// Subscribes to several filters and waits for all answers. The error is the first refusal;
    /// filters that were not refused are subscribed nevertheless.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut client = client::Client::connect(address)?;
    /// client.subscribe_all(&["news", "weather/+"])?;
    /// client.unsubscribe("news")?;
    /// assert_eq!(client.publish("news", "unsubscribed")?, 0);
    /// assert_eq!(client.publish("weather/here", "rain")?, 1);
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn subscribe_all(&mut self, filters: &[impl AsRef<str>]) -> Result<(), Error> {
        self.subscribe_with(filters, &Attributes::default())
    }

    /// Subscribes to several filters with attributes, such as [`SLOW`](crate::SLOW), the overflow
    /// policy for a slow client. See `docs/protocol.md`, "Slow subscribers".
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut attributes = client::Attributes::default();
    /// attributes.push(client::SLOW, b"latest").expect("a key");
    ///
    /// let mut client = client::Client::connect(address)?;
    /// client.subscribe_with(&["weather/+"], &attributes)?;
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn subscribe_with(
        &mut self,
        filters: &[impl AsRef<str>],
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        self.ask(Verb::Subscribe, filters, |conversation, filters| {
            conversation.subscribe(filters, attributes.clone());
        })
    }

    /// The same, but returns the refusals of filters, whose [`Refusal::subject`] names them.
    pub fn subscribe_each(
        &mut self,
        filters: &[impl AsRef<str>],
        attributes: &Attributes<'_>,
    ) -> Result<Vec<Refusal>, Error> {
        let words = checked(filters)?;
        let Some(filters) = Filters::from_words(words.as_bytes()) else {
            return Ok(Vec::new());
        };
        self.exchange
            .ask_each(|conversation| conversation.subscribe(filters, attributes.clone()))
    }

    /// Subscribes, and gets first what the broker keeps of the past, from `start` on: see `docs/protocol.md`, "The
    /// past". Messages of the past come first for each filter ([`Message::is_past`]), then [`Delivery::Current`], and
    /// then those that are new. Where topics keep messages, none is left out and each has a
    /// [position](Message::position), from which a later connection can go on; [`Following`](crate::Following) does that.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::{Client, PastStart};
    ///
    /// let mut client = Client::connect(address)?;
    /// client.follow(&["chat/#"], PastStart::Last(20))?;
    /// client.publish("chat/lobby", "hello")?;
    /// let message = client.next_message(None)?.expect("there is no timeout");
    /// // This broker keeps nothing.
    /// assert!(!message.is_past() && message.position().is_none());
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn follow(&mut self, filters: &[impl AsRef<str>], start: PastStart) -> Result<(), Error> {
        let until_now = false;
        self.subscribe_with(filters, &PastQuery { start, until_now }.attributes())
    }

    /// Asks for what the broker keeps of the past, from `start` on, and not for what is new: [`Delivery::End`] comes
    /// behind it. It is one filter, because what comes before its answer takes memory.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::{Client, Delivery, PastStart};
    /// use std::ops::ControlFlow;
    ///
    /// let mut client = Client::connect(address)?;
    /// client.past("chat/#", PastStart::All)?;
    /// let mut is_at_end = false;
    /// while !is_at_end {
    ///     let taken = client.take_ready(|delivery| {
    ///         is_at_end |= matches!(delivery, Delivery::End { .. });
    ///         ControlFlow::Continue(())
    ///     })?;
    ///     if taken == 0 {
    ///         client.wait(None)?;
    ///     }
    /// }
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn past(&mut self, filter: &str, start: PastStart) -> Result<(), Error> {
        let until_now = true;
        self.subscribe_with(&[filter], &PastQuery { start, until_now }.attributes())
    }

    /// Unsubscribes and waits for the answer. No further message for the subscription is delivered,
    /// apart from those that have arrived already.
    pub fn unsubscribe(&mut self, filter: &str) -> Result<(), Error> {
        self.ask(Verb::Unsubscribe, &[filter], Conversation::unsubscribe)
    }

    fn ask(
        &mut self,
        verb: Verb,
        filters: &[impl AsRef<str>],
        request: impl FnOnce(&mut Conversation, Filters<'_>),
    ) -> Result<(), Error> {
        let words = checked(filters)?;
        let Some(filters) = Filters::from_words(words.as_bytes()) else {
            return Ok(());
        };
        self.exchange
            .ask(verb, |conversation| request(conversation, filters))
    }

    /// Sets the will, which the broker publishes if this connection ends without
    /// [`close`](Self::close), and waits for the answer. Attributes such as
    /// [`RETAIN`](crate::RETAIN) are allowed. A second call replaces the will.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::{Attributes, Client};
    ///
    /// let mut bob = Client::connect(address)?;
    /// bob.subscribe("gone/+")?;
    ///
    /// let mut ann = Client::connect(address)?;
    /// ann.set_will("gone/ann", "without a word", &Attributes::default())?;
    /// drop(ann);
    /// let message = bob.next_message(None)?.expect("there is no timeout");
    /// assert_eq!(message.payload, b"without a word");
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn set_will(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        let topic = Topic::parse(topic).map_err(Error::BadTopic)?;
        self.exchange.ask(Verb::Will, |conversation| {
            conversation.will(topic, payload.as_ref(), attributes.clone());
        })
    }

    /// Sets the name of this client in the broker's lists and log, and waits for the answer. The
    /// name is a label and not authenticated.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut client = client::Client::connect(address)?;
    /// client.set_name("the lamp in the kitchen")?;
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn set_name(&mut self, name: &str) -> Result<(), Error> {
        let name = Name::parse(name).map_err(Error::BadName)?;
        self.exchange
            .ask(Verb::Name, |conversation| conversation.name(name))
    }

    /// Turns receipts off for the rest of this connection, and waits for the answer: for a program that
    /// publishes and never reads. Refusals still arrive. From then on a call that waits for receipts waits
    /// until the broker has handled the messages, and numbers of copies are 0, because they are not known.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut client = client::Client::connect(address)?;
    /// client.quiet()?;
    /// assert_eq!(client.publish("news", "handled when this returns")?, 0);
    /// client.close()?;
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn quiet(&mut self) -> Result<(), Error> {
        self.exchange.settle()?;
        self.exchange.ask(Verb::Quiet, Conversation::quiet)?;
        self.exchange.conversation.ledger.be_quiet();
        Ok(())
    }

    /// Waits until the broker has handled everything sent before; returns how long that took.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// let mut client = client::Client::connect(address)?;
    /// println!("there and back in {:?}", client.ping()?);
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.exchange.ping()?;
        Ok(start.elapsed())
    }

    /// An iterator over the messages as they arrive. It ends after the error that ends the
    /// connection.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages::new(&mut self.exchange)
    }

    /// The next message; `None` if none arrives in time. Without a timeout it waits until a message
    /// arrives or the connection ends.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// # use std::time::Duration;
    /// let mut client = client::Client::connect(address)?;
    /// client.subscribe("news")?;
    /// let message = client.next_message(Some(Duration::from_millis(10)))?;
    /// assert!(message.is_none());
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn next_message(&mut self, timeout: Option<Duration>) -> Result<Option<Message>, Error> {
        self.exchange.next_message(timeout.map(clock::after))
    }

    /// Passes everything that has arrived to `each`, without waiting and without copying, until
    /// `each` breaks. Returns how many deliveries; if none, [`wait`](Self::wait) for more.
    ///
    /// [`Error::Refused`] if the broker has ended a subscription; the others go on.
    ///
    /// This is the fast path for millions of messages per second; [`messages`](Self::messages) is
    /// the convenient one.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::Delivery;
    /// use std::ops::ControlFlow;
    ///
    /// let mut client = client::Client::connect(address)?;
    /// client.subscribe("numbers")?;
    /// (1..=3).try_for_each(|n| client.publish("numbers", n.to_string()).map(drop))?;
    ///
    /// let mut bytes = 0;
    /// while bytes < 3 {
    ///     let taken = client.take_ready(|delivery| {
    ///         match delivery {
    ///             Delivery::Message { payload, .. } => bytes += payload.unescape().len(),
    ///             Delivery::Gap { count } => eprintln!("{count} messages were dropped"),
    ///             _ => {}
    ///         }
    ///         ControlFlow::Continue(())
    ///     })?;
    ///     if taken == 0 {
    ///         client.wait(None)?;
    ///     }
    /// }
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn take_ready(
        &mut self,
        each: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        self.exchange.take_ready(each)
    }

    /// Waits until bytes arrive; `false` if none do within `timeout`. Call it after
    /// [`take_ready`](Self::take_ready) has returned 0: what is buffered already does not end the
    /// wait.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let woken = self.exchange.wait(timeout.map(clock::after), None)?;
        Ok(woken != Woken::Deadline)
    }

    /// Waits like [`wait`](Self::wait), and for another `input` at the same time: for a thread that
    /// also reads a terminal or a second connection.
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::Woken;
    /// use std::io::Write;
    /// use std::os::fd::AsFd;
    ///
    /// let mut client = client::Client::connect(address)?;
    /// let (input, mut writer) = std::io::pipe().expect("a pipe");
    /// writer.write_all(b"typed").expect("a reader");
    /// assert_eq!(client.wait_with(Some(input.as_fd()), None)?, Woken::Input);
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn wait_with(
        &mut self,
        input: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> Result<Woken, Error> {
        self.exchange.wait(timeout.map(clock::after), input)
    }

    /// Only answers the broker's PINGs for `time`.
    pub fn rest(&mut self, time: Duration) -> Result<(), Error> {
        self.exchange.serve(Some(clock::after(time)), None)
    }

    /// Sends BYE, waits for the broker's BYE, and closes. Messages that arrive until then are
    /// dropped.
    pub fn close(mut self) -> Result<(), Error> {
        self.exchange.conversation.bye();
        let is_done = |conversation: &Conversation| conversation.ledger.has_left();
        match self.exchange.wait_for(Verb::Bye, is_done) {
            Err(Error::Closed | Error::ClosedUnanswered) => Ok(()),
            other => other,
        }
    }
}

/// Filters as a line has them; empty without any.
fn checked(filters: &[impl AsRef<str>]) -> Result<String, Error> {
    let filters: Vec<&str> = filters.iter().map(AsRef::as_ref).collect();
    for filter in &filters {
        Filter::parse(filter).map_err(Error::BadFilter)?;
    }
    Ok(filters.join(" "))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;
    use crate::scripted::{Peer, ScriptedBroker};

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    /// A client, and a broker on another thread that plays `script` with it.
    fn play(
        options: &Options,
        script: impl FnOnce(Peer) + Send + 'static,
    ) -> (Client, thread::JoinHandle<()>) {
        let broker = ScriptedBroker::start();
        let client = Client::connect_with(broker.address(), options).expect("a connection");
        (client, thread::spawn(move || script(broker.accept())))
    }

    fn check(script: fn(&mut Peer), client: impl FnOnce(&mut Client)) {
        let (mut one, broker) = play(&Options::default(), move |mut peer| script(&mut peer));
        client(&mut one);
        drop(one);
        broker.join().expect("the script was played");
    }

    #[test]
    fn a_receipt_tells_how_many_copies_were_made_of_one_message() {
        check(
            |peer| {
                peer.expect("PUBLISH a x y").say("PUBACK 1 3");
                peer.expect("@retain;k=v PUBLISH b").say("PUBACK 2 0");
            },
            |client| {
                assert_eq!(client.publish("a", "x y").expect("a receipt"), 3);
                let mut attributes = Attributes::default();
                attributes.push_flag(crate::RETAIN).expect("a key");
                attributes.push("k", b"v").expect("a key");
                let copies = client.publish_with("b", "", &attributes);
                assert_eq!(copies.expect("a receipt"), 0);
            },
        );
    }

    #[test]
    fn a_refused_message_is_an_error_and_the_next_one_is_not() {
        check(
            |peer| {
                peer.expect("PUBLISH a x").say("ERROR denied publish:1 no");
                peer.say("PUBACK 1 0");
                peer.expect("PUBLISH b x").say("PUBACK 2 1");
            },
            |client| {
                let refused = client.publish("a", "x");
                assert!(matches!(refused, Err(Error::Refused(why)) if why.is_denied()));
                assert_eq!(client.publish("b", "x").expect("a receipt"), 1);
            },
        );
    }

    #[test]
    fn a_quiet_client_waits_for_a_pong_instead_of_receipts() {
        check(
            |peer| {
                peer.expect("PUBLISH a 1").say("PUBACK 1 3");
                peer.expect("QUIET").say("QUIETACK");
                peer.expect("PING 1").say("PONG 1");
                peer.expect("PUBLISH b 2").expect("PING 2");
                peer.say("ERROR denied publish:2 no").say("PONG 2");
                peer.expect("PING 3").say("PONG 3");
                peer.expect("PUBLISH c 3").expect("PING 4").say("PONG 4");
            },
            |client| {
                client
                    .publisher()
                    .publish("a", "1")
                    .expect("an open connection");
                client.quiet().expect("an answer");
                assert_eq!((client.account().answered, client.account().copies), (1, 3));
                let refused = client.publish("b", "2");
                assert!(matches!(refused, Err(Error::Refused(why)) if why.is_denied()));
                assert_eq!(client.publish("c", "3").expect("a pong"), 0);
            },
        );
    }

    #[test]
    fn an_invalid_topic_or_filter_is_never_sent() {
        check(
            |peer| peer.expect_end(),
            |client| {
                let refused = client.publish("a b", "x");
                assert!(matches!(refused, Err(Error::BadTopic(_))));
                let refused = client.subscribe_all(&["a", "b#"]);
                assert!(matches!(refused, Err(Error::BadFilter(_))));
            },
        );
    }

    #[test]
    fn every_filter_has_its_answer_and_the_first_refusal_is_told() {
        check(
            |peer| {
                peer.expect("SUBSCRIBE a b c").say("SUBACK a");
                peer.say("ERROR denied subscribe:b no").say("SUBACK c");
                peer.expect("UNSUBSCRIBE a").say("UNSUBACK a");
            },
            |client| {
                let refused = client.subscribe_all(&["a", "b", "c"]);
                assert!(
                    matches!(refused, Err(Error::Refused(why)) if why.subject == "subscribe:b")
                );
                client.unsubscribe("a").expect("an answer");
            },
        );
    }

    #[test]
    fn a_subscription_may_have_attributes() {
        check(
            |peer| {
                peer.expect("@slow=latest SUBSCRIBE a b").say("SUBACK a");
                peer.say("SUBACK b");
            },
            |client| {
                let mut attributes = Attributes::default();
                attributes.push(crate::SLOW, b"latest").expect("a key");
                let answered = client.subscribe_with(&["a", "b"], &attributes);
                answered.expect("two answers");
            },
        );
    }

    #[test]
    fn messages_that_come_before_an_answer_are_kept_in_order() {
        check(
            |peer| {
                peer.expect("SUBSCRIBE #").say("MESSAGE a 1").say("GAP 2");
                peer.say("@retained;k=v MESSAGE b 2").say("SUBACK #");
                peer.say("MESSAGE c 3").say("BYE");
            },
            |client| {
                client.subscribe("#").expect("an answer");
                let mut messages = client.messages();
                let mut next = || messages.next().expect("not the end").expect("a message");
                let (first, second, third) = (next(), next(), next());
                assert_eq!((&*first.topic, &*first.payload), ("a", &b"1"[..]));
                assert_eq!((&*second.topic, second.missed), ("b", 2));
                assert!(second.is_retained() && !first.is_retained());
                assert_eq!((&*third.topic, third.missed), ("c", 0));
                assert!(matches!(messages.next(), Some(Err(Error::Stopping))));
                assert!(messages.next().is_none());
            },
        );
    }

    #[test]
    fn a_will_and_a_name_are_answered_or_refused() {
        check(
            |peer| {
                peer.expect("@retain WILL who/ann").say("WILLACK who/ann");
                peer.expect("NAME Ann Lee").say("NAMEACK Ann Lee");
                peer.expect("WILL $SYS/x y").say("ERROR denied line no");
                peer.expect("WILL a b").say("WILLACK a");
            },
            |client| {
                let mut retain = Attributes::default();
                retain.push_flag(crate::RETAIN).expect("a key");
                client.set_will("who/ann", "", &retain).expect("an answer");
                client.set_name("Ann Lee").expect("an answer");
                let none = Attributes::default();
                let refused = client.set_will("$SYS/x", "y", &none);
                assert!(matches!(refused, Err(Error::Refused(why)) if why.is_denied()));
                client.set_will("a", "b", &none).expect("an answer");
                let refused = client.set_name("\x1b");
                assert!(matches!(refused, Err(Error::BadName(_))));
            },
        );
    }

    #[test]
    fn post_returns_at_once_and_the_account_counts_it() {
        check(
            |peer| {
                peer.expect("PUBLISH a 1").expect("PUBLISH a 2");
                peer.say("ERROR denied publish:2 no").say("PUBACK 2 3");
                peer.expect("PING 1").say("PONG 1");
            },
            |client| {
                let none = Attributes::default();
                assert_eq!(client.post("a", "1", &none).expect("a topic"), 1);
                assert_eq!(client.post("a", "2", &none).expect("a topic"), 2);
                assert_eq!(client.account().outstanding(), 2);
                client.ping().expect("an answer");
                let account = Account {
                    published: 2,
                    answered: 2,
                    copies: 3,
                };
                assert_eq!(client.account(), account);
                let refusal = client.take_refusal().expect("a refusal");
                assert_eq!(refusal.subject, "publish:2");
            },
        );
    }

    // An answer that came in one piece with messages stayed in the buffer when only the first
    // message was taken, and the next call waited for what it already had.
    #[test]
    fn an_answer_behind_a_message_that_was_not_taken_yet_is_seen() {
        check(
            |peer| {
                peer.expect("PUBLISH a 1");
                peer.send(b"MESSAGE a 1\nMESSAGE a 2\nPUBACK 1 1\n");
                peer.expect("PUBLISH a 3").say("PUBACK 2 1");
            },
            |client| {
                let mut publisher = client.publisher();
                publisher.publish("a", "1").expect("room");
                publisher.flush().expect("room");
                let mut next = || client.next_message(None).expect("a connection");
                assert_eq!(next().expect("a message").payload, b"1");
                assert_eq!(client.publish("a", "3").expect("a receipt"), 1);
                let next = client.next_message(None).expect("a connection");
                assert_eq!(next.expect("a message").payload, b"2");
            },
        );
    }

    #[test]
    fn pings_of_the_broker_are_answered_inside_any_call() {
        check(
            |peer| {
                peer.expect("PING 1").say("PING a b").say("PONG 1");
                peer.expect("PONG a b").say("PING");
                peer.expect("PONG").say("MESSAGE t x");
            },
            |client| {
                client.ping().expect("an answer");
                let message = client.next_message(None).expect("a connection");
                assert_eq!(message.expect("a message").topic, "t");
            },
        );
    }

    #[test]
    fn words_of_a_newer_broker_are_ignored() {
        check(
            |peer| {
                peer.say("WELCOME x").say("@New NOVELTY").say("HELP x");
                peer.expect("PING 1").say("PONG other").say("PONG 1");
            },
            |client| assert!(client.ping().is_ok()),
        );
    }

    #[test]
    fn no_answer_is_an_error_and_a_late_one_does_no_harm() {
        let options = Options {
            answer_timeout: SHORT,
            ..Options::default()
        };
        let (mut client, broker) = play(&options, |mut peer| {
            peer.expect("SUBSCRIBE a").expect("SUBSCRIBE b");
            peer.say("SUBACK a").say("SUBACK b").expect_end();
        });
        let late = client.subscribe("a");
        assert!(matches!(
            late,
            Err(Error::NoAnswer {
                to: Verb::Subscribe,
                ..
            })
        ));
        client.exchange.answer_timeout = LONG;
        client.subscribe("b").expect("both answers");
        drop(client);
        broker.join().expect("the script was played");
    }

    #[test]
    fn a_silent_broker_is_asked_and_then_given_up() {
        let options = Options {
            answer_timeout: Duration::from_secs(1),
            silence: SHORT,
            ..Options::default()
        };
        let (mut client, broker) = play(&options, |mut peer| {
            peer.expect("PING alive").say("PONG alive");
            peer.expect("PING alive").expect_end();
        });
        assert!(matches!(client.next_message(None), Err(Error::Silent(_))));
        drop(client);
        broker.join().expect("the script was played");
    }

    #[test]
    fn a_full_broker_says_so_whatever_was_asked() {
        check(
            |peer| {
                peer.expect("PING 1").say("ERROR busy line come back later");
            },
            |client| assert!(matches!(client.ping(), Err(Error::Busy(_)))),
        );
    }

    #[test]
    fn a_broker_that_closes_is_gone() {
        check(
            |peer| {
                peer.expect("PUBLISH a x");
            },
            |client| {
                let gone = client.publish("a", "x").expect_err("no receipt");
                assert!(gone.is_disconnect(), "{gone:?}");
                assert!(client.publish("a", "x").is_err());
            },
        );
    }

    #[test]
    fn closing_waits_for_the_goodbye() {
        let (client, broker) = play(&Options::default(), |mut peer| {
            peer.expect("BYE").say("MESSAGE a late").say("BYE");
            peer.expect_end();
        });
        client.close().expect("a goodbye");
        broker.join().expect("the script was played");
    }

    /// The topic that a client asks for answers on, from the word before its PUBLISH.
    fn reply_topic(peer: &mut Peer) -> String {
        let line = String::from_utf8(peer.line()).expect("text");
        let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
        peer.say(&format!("SUBACK {topic}"));
        topic.to_owned()
    }

    #[test]
    fn a_request_has_its_answer_and_all_else_stays_in_order() {
        check(
            |peer| {
                let topic = reply_topic(peer);
                peer.expect(&format!("@reply={topic};id=1 PUBLISH time now?"));
                peer.say("MESSAGE news 1")
                    .say(&format!("@id=1 MESSAGE {topic} noon"));
                peer.say("PUBACK 1 1").say("MESSAGE news 2");
                peer.expect(&format!("@reply={topic};id=2 PUBLISH time"));
                // An answer too late, one from a second clock, and the one that is wanted.
                peer.say("PUBACK 2 1");
                peer.say(&format!("@id=1 MESSAGE {topic} later"));
                peer.say(&format!("@error=7;id=2 MESSAGE {topic} broken"));
                peer.say("MESSAGE news 3");
            },
            |client| {
                let answer = client.request("time", "now?", LONG).expect("an answer");
                assert_eq!((&*answer.payload, answer.error()), (&b"noon"[..], None));
                let answer = client.request("time", "", LONG).expect("an answer");
                assert_eq!(answer.error().as_deref(), Some("7"));
                for expected in [b"1", b"2", b"3"] {
                    let message = client.next_message(None).expect("a connection");
                    assert_eq!(message.expect("a message").payload, expected);
                }
            },
        );
    }

    #[test]
    fn a_request_without_listeners_or_answers_says_so() {
        check(
            |peer| {
                let topic = reply_topic(peer);
                peer.expect(&format!("@reply={topic};id=1 PUBLISH a"))
                    .say("PUBACK 1 0");
                peer.expect(&format!("@reply={topic};id=2 PUBLISH a"))
                    .say("PUBACK 2 1");
                peer.expect_end();
            },
            |client| {
                let unanswered = client.request("a", "", LONG);
                assert!(matches!(unanswered, Err(Error::NobodyListens)));
                let unanswered = client.request("a", "", SHORT);
                assert!(matches!(
                    unanswered,
                    Err(Error::NobodyAnswered { within: SHORT })
                ));
            },
        );
    }

    #[test]
    fn several_answers_come_one_by_one() {
        check(
            |peer| {
                let topic = reply_topic(peer);
                peer.line();
                peer.say(&format!("@id=1 MESSAGE {topic} a"));
                peer.say("PUBACK 1 2");
                peer.say(&format!("@id=1 MESSAGE {topic} b"));
                peer.expect_end();
            },
            |client| {
                let asked = client.request_with("who", "", &Attributes::default());
                let mut answers = asked.expect("a receipt");
                assert_eq!(answers.copies(), 2);
                for expected in [b"a", b"b"] {
                    let answer = answers.next(Some(LONG)).expect("a connection");
                    assert_eq!(answer.expect("an answer").payload, expected);
                }
                assert_eq!(answers.next(Some(SHORT)).expect("a connection"), None);
            },
        );
    }

    #[test]
    fn an_answer_goes_where_its_request_wants_it() {
        check(
            |peer| {
                peer.say("@reply=there;id=x\\sy MESSAGE a 1");
                peer.expect("@id=x\\sy PUBLISH there one").say("PUBACK 1 1");
                peer.say("MESSAGE a 2").say("@reply=a+ MESSAGE a 3");
                peer.expect_end();
            },
            |client| {
                for (answer, copies) in [("one", 1), ("two", 0), ("three", 0)] {
                    let request = client.next_message(None).expect("a connection");
                    let answered = client.answer(&request.expect("a message"), answer);
                    assert_eq!(answered.expect("a receipt"), copies);
                }
            },
        );
    }

    #[test]
    fn another_input_ends_a_wait() {
        let (input, mut other) = std::io::pipe().expect("a pipe");
        std::io::Write::write_all(&mut other, b"!").expect("room");
        check(
            |peer| peer.expect_end(),
            |client| {
                let woken = client.wait_with(Some(input.as_fd()), None);
                assert_eq!(woken.expect("a connection"), Woken::Input);
                let (silent, _writer) = std::io::pipe().expect("a pipe");
                let woken = client.wait_with(Some(silent.as_fd()), Some(SHORT));
                assert_eq!(woken.expect("a connection"), Woken::Deadline);
            },
        );
    }

    #[test]
    fn an_interrupt_ends_a_wait_without_end() {
        let interrupt = crate::Interrupt::new().expect("a pipe");
        let options = Options {
            interrupt: Some(interrupt.clone()),
            ..Options::default()
        };
        let (mut client, broker) = play(&options, move |mut peer| {
            peer.say("MESSAGE a x");
            peer.expect("PING 1");
            interrupt.raise();
            peer.expect_end();
        });
        assert!(matches!(client.ping(), Err(Error::Interrupted)));
        drop(client);
        broker.join().expect("the script was played");
    }

    #[test]
    fn resting_answers_pings_and_keeps_messages() {
        check(
            |peer| {
                peer.say("PING x").say("MESSAGE a 1").expect("PONG x");
                peer.expect_end();
            },
            |client| {
                client.rest(SHORT).expect("a connection");
                let mut came = 0;
                while came == 0 {
                    let take = |_: Delivery<'_>| ControlFlow::Continue(());
                    came += client.take_ready(take).expect("a connection");
                }
            },
        );
    }
}
