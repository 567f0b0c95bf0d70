//! The context of a case: the server, unique names, and what has to be cleaned up.

use std::cell::RefCell;
use std::time::Duration;

use client::mqtt::{self, Session, Settings};
use client::{Error, Options, Secret, Tls, Transport};

use super::connect_packet::ConnectPacket;
use super::finding::{Checked, Finding, holds};
use super::packet::{Connack, Packet, TestMessage};
use super::property::{Properties, PropertyName};
use super::test_client::{Received, TestClient, shown};
use super::version::MqttVersion;

/// The server under test.
#[derive(Clone, Debug)]
pub(crate) struct TestServer {
    pub(crate) address: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// How long to wait for a packet.
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<Tls>,
}

impl TestServer {
    /// A connection to it.
    pub(crate) fn dial(&self, timeout: Duration) -> Result<Transport, Error> {
        client::dial(&self.address, timeout, self.tls.as_ref())
    }

    /// A connection as the client library makes it, whose error says why the server refuses it.
    pub(crate) fn introduce(&self, version: MqttVersion) -> Result<(), Error> {
        let settings = Settings {
            version: match version {
                MqttVersion::V3 => mqtt::Version::V3,
                MqttVersion::V5 => mqtt::Version::V5,
            },
            user: self.user.clone(),
            password: self.password.clone(),
            ..Settings::default()
        };
        let options = Options {
            connect_timeout: self.timeout,
            answer_timeout: self.timeout,
            tls: self.tls.clone(),
            ..Options::default()
        };
        Session::connect(&*self.address, &settings, &options).map(Session::close)
    }
}

/// The context of one case.
#[derive(Debug)]
pub(crate) struct TestContext<'a> {
    target: &'a TestServer,
    pub(crate) version: MqttVersion,
    /// The properties of the server's CONNACK; none in 3.1.1.
    pub(crate) server_properties: &'a Properties,
    /// The prefix of all names of this case.
    prefix: String,
    kept_topics: RefCell<Vec<String>>,
    lasting_ids: RefCell<Vec<String>>,
}

impl<'a> TestContext<'a> {
    pub(crate) fn new(
        target: &'a TestServer,
        version: MqttVersion,
        server_properties: &'a Properties,
    ) -> Self {
        Self {
            target,
            version,
            server_properties,
            prefix: format!("st{:08x}", fastrand::u32(..)),
            kept_topics: RefCell::default(),
            lasting_ids: RefCell::default(),
        }
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.version == MqttVersion::V5
    }

    /// A topic or filter that only this case uses.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// A topic whose retained message is cleared at the end of the case.
    pub(crate) fn kept_topic(&self, name: &str) -> String {
        let topic = self.topic(name);
        self.kept_topics.borrow_mut().push(topic.clone());
        topic
    }

    /// A client id that only this case uses, of letters and digits.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A CONNECT that every server accepts.
    pub(crate) fn connect_packet(&self, name: &str) -> ConnectPacket {
        let mut connect = ConnectPacket::new(self.version, &self.id(name));
        let target = self.target;
        connect.user = target.user.as_ref().map(|user| user.as_bytes().to_vec());
        let password = target.password.as_ref();
        connect.password = password.map(|password| password.as_bytes().to_vec());
        connect
    }

    /// The same with a session that outlives the connection and is ended with the case.
    pub(crate) fn lasting(&self, name: &str) -> ConnectPacket {
        self.lasting_ids.borrow_mut().push(name.to_owned());
        self.connect_packet(name).lasting()
    }

    /// A connection without a CONNECT.
    pub(crate) fn dial(&self) -> Checked<TestClient> {
        let timeout = self.target.timeout;
        let dialed = self.target.dial(timeout);
        let dialed = dialed.map_err(|error| Finding::differs("a connection", error))?;
        TestClient::new(dialed, self.version, timeout)
            .map_err(|error| Finding::differs("a connection", error))
    }

    /// A connection on which this CONNECT was sent.
    pub(crate) fn send_connect(&self, connect: &ConnectPacket) -> Checked<TestClient> {
        let mut peer = self.dial()?;
        peer.send(&connect.encode());
        Ok(peer)
    }

    /// An accepted connection, and its CONNACK.
    pub(crate) fn open(&self, connect: &ConnectPacket) -> Checked<(TestClient, Connack)> {
        let mut peer = self.send_connect(connect)?;
        let connack = peer.connack()?;
        holds(
            connack.code == 0,
            "the CONNECT to be accepted",
            format_args!("CONNACK 0x{:02x}", connack.code),
        )?;
        Ok((peer, connack))
    }

    /// An accepted connection with this client id.
    pub(crate) fn connect(&self, name: &str) -> Checked<TestClient> {
        Ok(self.open(&self.connect_packet(name))?.0)
    }

    /// A subscriber and a publisher.
    pub(crate) fn pair(&self, filter: &str, options: u8) -> Checked<(TestClient, TestClient)> {
        let mut subscriber = self.connect("sub")?;
        subscriber.must_subscribe(&[(filter, options)])?;
        Ok((subscriber, self.connect("pub")?))
    }

    /// Checks that `subscriber` has received all messages of `publisher`: the next one is a message
    /// that is published now.
    pub(crate) fn nothing_more(
        &self,
        publisher: &mut TestClient,
        subscriber: &mut TestClient,
    ) -> Checked {
        let fence = self.topic("fence");
        subscriber.must_subscribe(&[(&fence, 0)])?;
        publisher.publish(&TestMessage::new(&fence, "fence"))?;
        let received = subscriber.receive()?;
        match &received {
            Received::Packet(Packet::Publish(message)) if message.topic == fence => Ok(()),
            received => Err(Finding::differs("no more messages", shown(received))),
        }
    }

    /// Checks that the server refuses a malformed or forbidden CONNECT and closes the connection.
    /// In MQTT 5 it may send a CONNACK with the reason.
    pub(crate) fn expect_refused(&self, bytes: &[u8]) -> Checked {
        self.refused(bytes).map_err(|finding| finding.after(bytes))
    }

    fn refused(&self, bytes: &[u8]) -> Checked {
        let mut peer = self.dial()?;
        peer.send(bytes);
        let expected = match self.version {
            MqttVersion::V3 => "the connection to be closed without a CONNACK",
            MqttVersion::V5 => {
                "the connection to be closed, at most after a CONNACK of 0x80 or more"
            }
        };
        let received = peer.receive()?;
        match &received {
            Received::Closed => Ok(()),
            Received::Packet(Packet::Connack(connack)) if self.is_v5() && connack.code != 0 => {
                peer.expect_end()
            }
            received => Err(Finding::differs(expected, shown(received))),
        }
    }

    /// Checks that these bytes end a connection.
    pub(crate) fn expect_fatal(&self, bytes: &[u8]) -> Checked {
        let mut peer = self.connect("rogue")?;
        peer.send(bytes);
        let closed = peer.expect_close();
        closed.map(drop).map_err(|finding| finding.after(bytes))
    }

    /// The retained messages that a new subscriber of a filter receives.
    pub(crate) fn retained(&self, filter: &str, qos: u8) -> Checked<Vec<TestMessage>> {
        let mut reader = self.connect("reader")?;
        reader.must_subscribe(&[(filter, qos)])?;
        let mut found = Vec::new();
        // A server may send them at any time after the SUBACK. What has not arrived before a
        // further subscription and a message through the server are answered is not sent.
        let fence = self.topic("retained-fence");
        reader.must_subscribe(&[(&fence, 0)])?;
        reader.publish(&TestMessage::new(&fence, "fence"))?;
        loop {
            let message = reader.message()?;
            if message.topic == fence {
                break;
            }
            reader.acknowledge(&message)?;
            found.push(message);
        }
        reader.leave()?;
        Ok(found)
    }

    /// Whether the server has announced that it lacks a feature of MQTT 5.
    fn lacks(&self, name: PropertyName) -> bool {
        self.server_properties.number(name) == Some(0)
    }

    pub(crate) fn needs_retained(&self) -> Checked {
        self.needs(PropertyName::RetainAvailable, "retained messages")
    }

    pub(crate) fn needs_wildcards(&self) -> Checked {
        self.needs(PropertyName::WildcardAvailable, "wildcards in filters")
    }

    pub(crate) fn needs_subscription_ids(&self) -> Checked {
        self.needs(
            PropertyName::SubscriptionIdAvailable,
            "subscription identifiers",
        )
    }

    pub(crate) fn needs_shared(&self) -> Checked {
        self.needs(PropertyName::SharedAvailable, "shared subscriptions")
    }

    fn needs(&self, name: PropertyName, what: &str) -> Checked {
        if self.lacks(name) {
            return Finding::unsupported(format_args!("it says it has no {what}"));
        }
        Ok(())
    }

    /// Requires that messages with this QoS can be published.
    pub(crate) fn needs_qos(&self, qos: u8) -> Checked {
        match self.server_properties.number(PropertyName::MaximumQos) {
            Some(max) if max < u32::from(qos) => {
                Finding::unsupported(format_args!("it says its maximum QoS is {max}"))
            }
            _ => Ok(()),
        }
    }

    /// Requires topic aliases; returns how many a client may use.
    pub(crate) fn needs_aliases(&self) -> Checked<u16> {
        match self
            .server_properties
            .number(PropertyName::TopicAliasMaximum)
        {
            Some(max) if max > 0 => Ok(max as u16),
            _ => Finding::unsupported("it says it takes no topic aliases"),
        }
    }

    /// Removes what the case has left at the server. Errors are ignored, because they are not
    /// findings of this case.
    pub(crate) fn clean_up(&self) {
        let topics = self.kept_topics.take();
        let _ = self.clear(&topics);
        for name in self.lasting_ids.take() {
            let _ = self.connect(&name).and_then(TestClient::leave);
        }
    }

    fn clear(&self, topics: &[String]) -> Checked {
        if topics.is_empty() {
            return Ok(());
        }
        let mut cleaner = self.connect("cleaner")?;
        for topic in topics {
            cleaner.publish(&TestMessage::new(topic, "").retain())?;
        }
        cleaner.expect_silence()?;
        cleaner.leave()
    }
}
