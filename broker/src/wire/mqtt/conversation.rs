//! One connection of an MQTT client.
//!
//! A batch is what one read brought. Its messages are delivered at its end, and only then are its
//! answers sent, so that an acknowledgement never runs ahead of what it promises.

use std::borrow::Cow;
use std::collections::HashSet;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mqtt_protocol_core::mqtt::packet::{Property, PropertyId, RetainHandling, SubEntry};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{BadFilter, BadTopic, Code, Escaped, Filter, Topic};

use super::connect::{self, ALIASES, Accepted, RECEIVE_MAXIMUM, Turned};
use super::message;
use super::packet::{self, Connect, Fault, Header, Packet, Publish, kind};
use super::property;
use super::reply::{self, Words};
use super::shelf::{Acked, Options, Shelf};
use super::{Limits, Version, Wordings};
use crate::block::Block;
use crate::run::Manner;
use crate::wire::desk::Desk;
use crate::wire::question::Unanswered;
use crate::wire::{Arrival, End, Source};

/// With more answers than this in hand the batch is ended early.
const ANSWER_BYTES: usize = 32 * 1024;

/// So long may a CONNECT take that has begun.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// So long is waited for a client to take the last that it is told.
const LAST_WORDS: Duration = match cfg!(fuzzing) {
    // Nobody takes anything there, and each second is worth hundreds of inputs.
    true => Duration::ZERO,
    false => Duration::from_secs(1),
};

/// So many filters are entered under one hold of the outbox.
const FILTERS_PER_HOLD: usize = 64;

/// The code of PUBACK and PUBREC when nobody listens.
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// The code for a number that no message has.
const IDENTIFIER_NOT_FOUND: u8 = 0x92;

/// What ends a conversation.
type Broken = Fault;

/// One client's conversation.
pub(crate) struct Conversation<'a, 'b> {
    desk: &'a mut Desk<'b>,
    limits: Limits,
    wordings: Wordings,
    version: Version,
    words: Words,
    keep_alive: Duration,
    /// When the last packet came.
    heard: Instant,
    /// The session expiry interval that the client asked for.
    expiry: u32,
    /// Answers to be sent after the batch has been delivered.
    answers: Vec<u8>,
    /// The last message of the batch, if the next may simply be added to it.
    last: Option<Last>,
    /// Something has been acknowledged, so that more may be sent.
    acknowledged: bool,
    /// What the client has sent at QoS 2 and not released.
    received: HashSet<u16, RandomState>,
    aliases: Vec<Option<Box<str>>>,
}

struct Last {
    topic: Range<usize>,
    end: usize,
    manner: Manner,
}

impl<'a, 'b> Conversation<'a, 'b> {
    pub(crate) fn new(desk: &'a mut Desk<'b>, limits: Limits, wordings: Wordings) -> Self {
        Self {
            desk,
            limits,
            wordings,
            version: Version::V3,
            words: Words::ANY,
            keep_alive: CONNECT_TIME,
            heard: Instant::now(),
            expiry: 0,
            answers: Vec::new(),
            last: None,
            acknowledged: false,
            received: HashSet::default(),
            aliases: Vec::new(),
        }
    }

    /// Serves the client until it leaves, breaks a rule whose breach ends the connection, or is
    /// silent for too long. `block` holds what has been read already.
    pub(crate) fn read_loop(&mut self, source: &mut impl Source, block: &mut Block) -> End {
        let end = match self.wait_for_connect(source, block) {
            ControlFlow::Continue(()) => self.serve(source, block),
            ControlFlow::Break(end) => end,
        };
        self.leave();
        if matches!(end, End::Refused(_)) {
            self.desk.settle();
            self.desk.outbox.drain(Some(Instant::now() + LAST_WORDS));
            self.desk.begin();
        }
        end
    }

    fn serve(&mut self, source: &mut impl Source, block: &mut Block) -> End {
        loop {
            match self.handle(block) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(end)) => return end,
                Err(fault) => return self.refuse(block, fault),
            }
            if let ControlFlow::Break(end) = self.wait(source, block) {
                return end;
            }
        }
    }

    /// What QoS 2 is owed stays with the session.
    fn leave(&mut self) {
        let received = mem::take(&mut self.received);
        if let Some(shelf) = self.desk.outbox.hold().adapter::<Shelf>() {
            shelf.received = received;
        }
    }

    #[inline(never)]
    fn wait_for_connect(
        &mut self,
        source: &mut impl Source,
        block: &mut Block,
    ) -> ControlFlow<End> {
        loop {
            let unread = block.unread();
            if unread
                .first()
                .is_some_and(|first| first >> 4 != kind::CONNECT)
            {
                let why = "an MQTT connection begins with CONNECT, and this one does not";
                return ControlFlow::Break(End::Refused(why.into()));
            }
            let header = match Header::read(unread, self.limits.packet_bytes) {
                Ok(header) => header.filter(|header| header.size() <= unread.len()),
                Err(fault) => return ControlFlow::Break(End::Refused(fault.why)),
            };
            if let Some(header) = header {
                self.desk.begin();
                let accepted = self.connect(header, &unread[header.bytes..header.size()]);
                block.consume(header.size());
                return match accepted {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(Turned { why, answer }) => {
                        if !answer.is_empty() {
                            self.desk.outbox.hold().farewell(&answer);
                        }
                        // Who has not been let in has no last will.
                        self.desk.forget_will();
                        ControlFlow::Break(End::Refused(why.why))
                    }
                };
            }
            self.wait(source, block)?;
        }
    }

    fn connect(&mut self, header: Header, body: &[u8]) -> Result<(), Turned> {
        let connect = Connect::read(header, body).map_err(Turned::bad)?;
        let Accepted {
            version,
            keep_alive,
            words,
            expiry,
        } = connect::accept(self.desk, self.limits, self.wordings, &connect)?;
        (self.version, self.keep_alive) = (version, keep_alive);
        (self.words, self.expiry) = (words, expiry);
        self.heard = Instant::now();
        if let Some(shelf) = self.desk.outbox.hold().adapter::<Shelf>() {
            self.received = mem::take(&mut shelf.received);
        }
        Ok(())
    }

    /// Waits for more bytes, or for the time when there should have been some.
    fn wait(&mut self, source: &mut impl Source, block: &mut Block) -> ControlFlow<End> {
        if self.keep_alive.is_zero() {
            source.set_interval(Duration::ZERO);
        } else {
            let left = self.keep_alive.saturating_sub(self.heard.elapsed());
            if left.is_zero() {
                let why = "no packet came in one and a half times the keep alive";
                let fault = Fault::new(MqttError::KeepAliveTimeout, why);
                return ControlFlow::Break(self.refuse(block, fault));
            }
            source.set_interval(left.max(Duration::from_millis(1)));
        }
        let before = block.unread().len();
        match source.fill(block, self.limits.packet_bytes) {
            Arrival::Bytes => {
                self.desk.note_heard(block.unread().len() - before);
                ControlFlow::Continue(())
            }
            Arrival::Silence => ControlFlow::Continue(()),
            Arrival::Pause => {
                self.pause();
                ControlFlow::Continue(())
            }
            Arrival::NoMemory => {
                let why = "there is no memory for a packet of this length now; try again later";
                let fault = Fault::new(MqttError::QuotaExceeded, why);
                ControlFlow::Break(self.refuse(block, fault))
            }
            Arrival::End if self.desk.outbox.hold().is_ending() => ControlFlow::Break(
                End::Refused("its client identifier has connected again".into()),
            ),
            Arrival::End => ControlFlow::Break(End::Left),
            Arrival::Stopping => ControlFlow::Break(End::Stopping),
            Arrival::Failed(err) => ControlFlow::Break(err.into()),
        }
    }

    /// The client has been quiet for a moment.
    fn pause(&mut self) {
        self.desk.pause();
        self.answers.shrink_to_fit();
        self.received.shrink_to_fit();
    }

    /// Handles all whole packets.
    fn handle(&mut self, block: &mut Block) -> Result<ControlFlow<End>, Broken> {
        self.desk.begin();
        let before = block.start();
        loop {
            let unread = block.unread();
            let header = match Header::read(unread, self.limits.packet_bytes)? {
                Some(header) if header.size() <= unread.len() => header,
                _ => break,
            };
            let start = block.start();
            block.consume(header.size());
            if self.version == Version::V5 && header.is_padded() {
                return Err(packet::padded());
            }
            let body = &block.bytes()[start + header.bytes..start + header.size()];
            if header.kind() == kind::PUBLISH {
                let publish = Publish::read(header.first, body, self.version)?;
                self.publish(block.bytes(), publish)?;
            } else {
                let packet = Packet::read(header, body, self.version)?;
                if let ControlFlow::Break(end) = self.answer(block.bytes(), packet)? {
                    self.finish_part(block.bytes());
                    return Ok(ControlFlow::Break(end));
                }
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(block.bytes());
                self.desk.wait_for_room();
            }
        }
        if block.start() != before {
            self.heard = Instant::now();
        }
        self.desk.dispatch.deliver_last(block);
        self.send_answers();
        self.desk.rest();
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the batch before its time: all that was asked so far is done and answered.
    fn finish_part(&mut self, block: &[u8]) {
        self.desk.dispatch.deliver(block);
        self.send_answers();
    }

    /// Sends the answers. What they promise has been done.
    fn send_answers(&mut self) {
        self.last = None;
        let acknowledged = mem::take(&mut self.acknowledged);
        if self.answers.is_empty() && !acknowledged {
            return;
        }
        let mut held = self.desk.outbox.hold();
        if !self.answers.is_empty() {
            held.answer(&self.answers);
            self.answers.clear();
        }
        if acknowledged {
            held.pump();
        }
    }

    /// Ends the conversation as the standard says, after what was asked before.
    #[inline(never)]
    fn refuse(&mut self, block: &Block, fault: Fault) -> End {
        self.finish_part(block.bytes());
        self.desk.account.refused += 1;
        log::debug!(
            "connection {}: refused, {:?}: {}",
            self.desk.member.outbox.id(),
            fault.code,
            fault.why
        );
        let farewell = match self.version {
            Version::V3 => Vec::new(),
            Version::V5 => self.words.fitting(reply::disconnect(&fault, self.words)),
        };
        self.desk.outbox.hold().farewell(&farewell);
        End::Refused(fault.why)
    }

    /// Handles a PUBLISH.
    fn publish(&mut self, block: &[u8], publish: Publish<'_>) -> Result<(), Broken> {
        let topic = match publish.properties.is_empty() {
            true => Cow::Borrowed(publish.topic),
            false => self.resolve(&publish)?,
        };
        if topic.is_empty() {
            let code = MqttError::ProtocolError;
            return Err(Fault::new(code, "a PUBLISH has no topic and no alias"));
        }
        if publish.qos == 2 {
            if self.received.contains(&publish.id) {
                reply::ack(&mut self.answers, kind::PUBREC, publish.id, 0);
                return Ok(());
            }
            if self.received.len() >= usize::from(RECEIVE_MAXIMUM) {
                return Err(Fault::new(
                    MqttError::ReceiveMaximumExceeded,
                    "more messages at QoS 2 than the receive maximum are not released",
                ));
            }
        }
        let name = message::name_on_line(&topic);
        let simple = publish.properties.is_empty() && !publish.retain;
        let mut copies = if simple {
            self.publish_simply(&name, publish.payload, publish.qos)
        } else {
            self.publish_fully(block, &name, &publish)
        };
        if let Err(Refused::BrokersOwn) = copies {
            copies = self.inquire(block, &name, &publish);
        }
        self.acknowledge(&publish, copies)
    }

    /// The short way for what nearly every message is.
    #[inline]
    fn publish_simply(&mut self, name: &str, payload: &[u8], qos: u8) -> Result<u64, Refused> {
        let manner = Manner { qos, retain: false };
        let beside = self.desk.dispatch.beside();
        let start = beside.len();
        let topic = message::write_line(beside, name, payload);
        let end = beside.len();
        if let Some(last) = &mut self.last
            && last.end == start
            && last.manner == manner
            && beside[last.topic.clone()] == *name.as_bytes()
        {
            last.end = end;
            let copies = self.desk.dispatch.repeat(end);
            self.desk.account.accept(copies);
            return Ok(copies);
        }
        let dispatch = &mut self.desk.dispatch;
        let added = match dispatch.add_known_beside(topic.clone(), start..end, manner) {
            Some(added) => added,
            None => {
                let name = checked(name).inspect_err(|_| dispatch.beside().truncate(start))?;
                let place = crate::dispatch::Place::Beside;
                dispatch.add_in(name, place, topic.clone(), start..end, manner)
            }
        };
        self.desk.account.accept(added.copies);
        self.last = added.repeatable.then_some(Last { topic, end, manner });
        Ok(added.copies)
    }

    #[inline(never)]
    fn publish_fully(
        &mut self,
        block: &[u8],
        name: &str,
        publish: &Publish<'_>,
    ) -> Result<u64, Refused> {
        let topic = checked(name)?;
        let attributes = message::attributes(&publish.properties);
        let payload = Escaped::escape(publish.payload);
        self.last = None;
        if !publish.retain {
            let manner = Manner {
                qos: publish.qos,
                retain: false,
            };
            let added = self
                .desk
                .add_beside_in(topic, &payload, &attributes, manner);
            return Ok(added.copies);
        }
        self.finish_part(block);
        let published =
            self.desk
                .publish_retained_at(block, topic, &payload, &attributes, publish.qos);
        match published {
            Ok(added) => Ok(added.copies),
            Err(full) => {
                let fault = Fault::new(MqttError::QuotaExceeded, full.to_string());
                Err(Refused::Policy(fault))
            }
        }
    }

    /// A message on a topic of the broker's own: a question to it, if there is a way to answer.
    #[inline(never)]
    fn inquire(&mut self, block: &[u8], name: &str, publish: &Publish<'_>) -> Result<u64, Refused> {
        let refused = |code, why: String| Refused::Policy(Fault::new(code, why));
        if self.version == Version::V3 {
            let why = "only the broker publishes under $SYS/";
            return Err(refused(MqttError::NotAuthorized, why.into()));
        }
        let topic = Topic::parse(name)
            .map_err(|why| refused(MqttError::TopicNameInvalid, why.to_string()))?;
        self.finish_part(block);
        let attributes = message::attributes(&publish.properties);
        // The argument is a topic or a filter, if there is one.
        let argument = str::from_utf8(publish.payload).map(message::name_on_line);
        let payload = match &argument {
            Ok(name) => Escaped::escape(name.as_bytes()),
            Err(_) => Escaped::escape(publish.payload),
        };
        let most_bytes = self.limits.packet_bytes.min(self.words.most as usize);
        let answered = self.desk.inquire(topic, &payload, &attributes, most_bytes);
        answered
            .map(|added| added.copies)
            .map_err(|Unanswered { code, text }| {
                let code = match code {
                    Code::Denied => MqttError::NotAuthorized,
                    Code::TooMany => MqttError::QuotaExceeded,
                    _ => MqttError::ImplementationSpecificError,
                };
                refused(code, text)
            })
    }

    /// Answers a PUBLISH.
    fn acknowledge(
        &mut self,
        publish: &Publish<'_>,
        copies: Result<u64, Refused>,
    ) -> Result<(), Broken> {
        let kind = match publish.qos {
            0 | 1 => kind::PUBACK,
            _ => kind::PUBREC,
        };
        match copies {
            Ok(copies) => {
                if publish.qos == 0 {
                    return Ok(());
                }
                let nobody = copies == 0 && self.version == Version::V5;
                let code = if nobody { NO_MATCHING_SUBSCRIBERS } else { 0 };
                reply::ack(&mut self.answers, kind, publish.id, code);
            }
            Err(refused) => match (refused, self.version, publish.qos) {
                // That was put to the broker, which has taken it or said why not.
                (Refused::BrokersOwn, ..) => return Ok(()),
                (Refused::Forbidden(fault), ..)
                | (Refused::Name(fault), _, 0)
                | (Refused::Name(fault), Version::V3, _) => return Err(fault),
                (Refused::Policy(fault), _, 0) => {
                    // There is no way to tell.
                    self.note_refused(&fault);
                    return Ok(());
                }
                (Refused::Policy(fault), Version::V3, _) => {
                    self.note_refused(&fault);
                    reply::ack(&mut self.answers, kind, publish.id, 0);
                }
                (Refused::Name(fault) | Refused::Policy(fault), Version::V5, _) => {
                    self.note_refused(&fault);
                    let answers = &mut self.answers;
                    reply::refuse_publish(answers, kind, publish.id, &fault, self.words);
                    return Ok(());
                }
            },
        }
        if publish.qos == 2 {
            self.received.insert(publish.id);
        }
        Ok(())
    }

    #[inline(never)]
    fn note_refused(&mut self, fault: &Fault) {
        self.desk.account.refused += 1;
        log::debug!(
            "connection {}: a PUBLISH is refused: {}",
            self.desk.member.outbox.id(),
            fault.why
        );
    }

    /// The topic of a PUBLISH with properties, for which an alias may stand.
    #[inline(never)]
    fn resolve<'p>(&mut self, publish: &Publish<'p>) -> Result<Cow<'p, str>, Broken> {
        for property in &publish.properties {
            if let Property::ResponseTopic(topic) = property
                && (topic.val().is_empty() || topic.val().contains(['+', '#']))
            {
                let code = MqttError::ProtocolError;
                return Err(Fault::new(
                    code,
                    "a response topic is empty or has wildcards",
                ));
            }
        }
        let Some(alias) = property::number(&publish.properties, PropertyId::TopicAlias) else {
            return Ok(Cow::Borrowed(publish.topic));
        };
        if alias == 0 || alias > ALIASES.into() {
            return Err(Fault::new(
                MqttError::TopicAliasInvalid,
                "a topic alias is zero or above the maximum",
            ));
        }
        let at = alias as usize - 1;
        if publish.topic.is_empty() {
            let known = self.aliases.get(at).and_then(Option::as_deref);
            let known = known.ok_or_else(|| {
                let code = MqttError::ProtocolError;
                Fault::new(code, "a topic alias stands for no topic yet")
            })?;
            return Ok(Cow::Owned(known.to_owned()));
        }
        // What is no topic here needs no number.
        if publish.topic.len() <= protocol::limits::TOPIC_BYTES {
            if self.aliases.len() <= at {
                self.aliases.resize_with(at + 1, || None);
            }
            self.aliases[at] = Some(publish.topic.into());
        }
        Ok(Cow::Borrowed(publish.topic))
    }

    /// Handles any other packet.
    fn answer(&mut self, block: &[u8], packet: Packet) -> Result<ControlFlow<End>, Broken> {
        match packet {
            Packet::Ack { kind, id, failed } => self.acked(kind, id, failed)?,
            Packet::Subscribe {
                id,
                identifier,
                entries,
            } => {
                self.finish_part(block);
                self.subscribe(id, identifier, &entries)?;
            }
            Packet::Unsubscribe { id, filters } => {
                self.finish_part(block);
                self.unsubscribe(id, &filters)?;
            }
            Packet::Ping => self.answers.extend(reply::PINGRESP),
            Packet::Disconnect { with_will, expiry } => {
                return self.disconnect(with_will, expiry).map(ControlFlow::Break);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The client has acknowledged something, or releases it.
    fn acked(&mut self, kind: u8, id: u16, failed: bool) -> Result<(), Broken> {
        let not_found = match self.version {
            Version::V3 => 0,
            Version::V5 => IDENTIFIER_NOT_FOUND,
        };
        if kind == kind::PUBREL {
            let code = if self.received.remove(&id) {
                0
            } else {
                not_found
            };
            reply::ack(&mut self.answers, kind::PUBCOMP, id, code);
            return Ok(());
        }
        let mut held = self.desk.outbox.hold();
        let Some(shelf) = held.adapter::<Shelf>() else {
            return Ok(());
        };
        let acked = match kind {
            kind::PUBACK => shelf.acknowledge(id),
            kind::PUBREC => shelf.receive(id, failed),
            _ => shelf.complete(id),
        };
        let release = match acked {
            Acked::Arrived => {
                held.note_acknowledged(1);
                None
            }
            Acked::Release => {
                held.note_acknowledged(1);
                Some(0)
            }
            Acked::ReleaseAgain => Some(0),
            Acked::Completed => None,
            Acked::Unknown if kind == kind::PUBREC && !failed => Some(not_found),
            Acked::Unknown => None,
            Acked::OutOfTurn => {
                return Err(Fault::protocol(
                    "an acknowledgement is not of the kind that the QoS of its message asks for next",
                ));
            }
        };
        if let Some(code) = release {
            reply::ack(&mut self.answers, kind::PUBREL, id, code);
        }
        self.acknowledged = true;
        Ok(())
    }

    #[inline(never)]
    fn subscribe(
        &mut self,
        id: u16,
        identifier: Option<u32>,
        entries: &[SubEntry],
    ) -> Result<(), Broken> {
        // A packet that ends the connection does nothing at all.
        for entry in entries {
            self.check_filter(entry.topic_filter())?;
        }
        self.check_answer(entries.len())?;
        let mut codes = Vec::with_capacity(entries.len());
        // Filters whose retained messages are wanted.
        let mut greeted = Vec::new();
        for part in entries.chunks(FILTERS_PER_HOLD) {
            for entry in part {
                let name = message::name_on_line(entry.topic_filter());
                codes.push(match Filter::parse(&*name) {
                    Err(_) => byte(MqttError::TopicFilterInvalid),
                    Ok(filter) => self.add_filter(filter, identifier, entry, &mut greeted),
                });
            }
            self.desk.wait_for_room();
        }
        let refused = codes.iter().filter(|&&code| code >= 0x80).count();
        self.desk.account.refused += refused as u64;
        let mut suback = Vec::new();
        reply::suback(&mut suback, self.version, id, &codes);
        let retained = self.desk.engine.retained.read();
        let outbox = self.desk.outbox.clone();
        let mut held = outbox.hold();
        held.answer(&suback);
        for name in greeted {
            let Ok(filter) = Filter::parse(&*name) else {
                continue;
            };
            let found: Vec<_> = retained.matching(filter).cloned().collect();
            if found.is_empty() {
                continue;
            }
            focus(&mut held, Some(&name));
            self.desk.deliver_retained(&mut held, &found);
            focus(&mut held, None);
        }
        Ok(())
    }

    /// Filters that the standard does not allow end the connection. Others may still be refused.
    fn check_filter(&self, name: &str) -> Result<(), Broken> {
        let forbidden = |why: BadFilter| match why {
            BadFilter::HashNotLast | BadFilter::WildcardInLevel => true,
            // In 3.1.1 these are filters like others, but not here.
            BadFilter::Share => self.version == Version::V5 && name.starts_with("$share/"),
            BadFilter::Name(_) => false,
        };
        match Filter::parse(&*message::name_on_line(name)) {
            Err(why) if forbidden(why) => {
                Err(Fault::new(MqttError::TopicFilterInvalid, why.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A SUBACK or an UNSUBACK with so many codes must not be longer than the client takes.
    fn check_answer(&self, codes: usize) -> Result<(), Broken> {
        let head = 5 + 2 + 1;
        if head + codes <= self.words.most as usize {
            return Ok(());
        }
        Err(Fault::new(
            MqttError::PacketTooLarge,
            "the answer would be longer than the maximum packet size that the client gave; name \
             fewer filters at a time",
        ))
    }

    /// Enters a filter; returns the code of its answer.
    fn add_filter(
        &mut self,
        filter: Filter<'_>,
        identifier: Option<u32>,
        entry: &SubEntry,
        greeted: &mut Vec<Box<str>>,
    ) -> u8 {
        let options = entry.sub_opts();
        let qos = options.qos() as u8;
        let wanted = Options {
            qos,
            no_local: options.nl(),
            as_published: options.rap(),
            identifier,
        };
        let outbox = self.desk.outbox.clone();
        let mut held = outbox.hold();
        let Some(shelf) = held.adapter::<Shelf>() else {
            return byte(MqttError::UnspecifiedError);
        };
        if !shelf.has(filter.as_str()) && shelf.subscriptions() >= self.desk.most_subscriptions {
            return byte(MqttError::QuotaExceeded);
        }
        let known = shelf.subscribe(filter, wanted);
        self.desk.subscribe_session(filter);
        drop(held);
        let greets = match options.rh() {
            RetainHandling::SendRetained => true,
            RetainHandling::SendRetainedIfNotExists => !known,
            RetainHandling::DoNotSendRetained => false,
        };
        if greets && filter.group().is_none() {
            greeted.push(filter.as_str().into());
        }
        qos
    }

    #[inline(never)]
    fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), Broken> {
        for filter in filters {
            self.check_filter(filter)?;
        }
        self.check_answer(filters.len())?;
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let name = message::name_on_line(filter);
            let Ok(filter) = Filter::parse(&*name) else {
                codes.push(byte(MqttError::TopicFilterInvalid));
                continue;
            };
            let mut held = self.desk.outbox.hold();
            let shelf = held.adapter::<Shelf>();
            let known = shelf.is_some_and(|shelf| shelf.unsubscribe(filter.as_str()));
            drop(held);
            if known {
                self.desk.unsubscribe_session(filter);
            }
            // The code for a filter that there was not.
            codes.push(if known { 0 } else { 0x11 });
        }
        reply::unsuback(&mut self.answers, self.version, id, &codes);
        Ok(())
    }

    #[inline(never)]
    fn disconnect(&mut self, with_will: bool, expiry: Option<u32>) -> Result<End, Broken> {
        if let Some(expiry) = expiry {
            if self.expiry == 0 && expiry > 0 {
                return Err(Fault::new(
                    MqttError::ProtocolError,
                    "a session that was to end with its connection cannot be kept; say so in CONNECT",
                ));
            }
            let granted = connect::granted(expiry, self.limits);
            if let Some(seat) = self.desk.seat() {
                seat.expiry = connect::seconds(granted);
            }
            if let Some(shelf) = self.desk.outbox.hold().adapter::<Shelf>() {
                shelf.set_lasting(granted > 0);
            }
        }
        if with_will {
            return Ok(End::Left);
        }
        self.desk.forget_will();
        Ok(End::SaidBye)
    }
}

/// Why a message is not published.
enum Refused {
    /// The standard allows no such topic.
    Forbidden(Fault),
    /// What it is published to is no topic.
    Name(Fault),
    /// It is not allowed, or there is no room.
    Policy(Fault),
    /// Only the broker publishes there; but it can be asked.
    BrokersOwn,
}

fn checked(name: &str) -> Result<Topic<'_>, Refused> {
    let topic = Topic::parse(name).map_err(|why| {
        let fault = Fault::new(MqttError::TopicNameInvalid, why.to_string());
        match why {
            BadTopic::Wildcard(_) => Refused::Forbidden(fault),
            _ => Refused::Name(fault),
        }
    })?;
    match topic.is_brokers_own() {
        true => Err(Refused::BrokersOwn),
        false => Ok(topic),
    }
}

fn focus(held: &mut crate::outbox::Held<'_>, filter: Option<&str>) {
    if let Some(shelf) = held.adapter::<Shelf>() {
        shelf.focus(filter);
    }
}

/// A code of MQTT 5 as its byte.
fn byte(code: MqttError) -> u8 {
    u8::try_from(code as u16).unwrap_or(MqttError::UnspecifiedError as u16 as u8)
}
