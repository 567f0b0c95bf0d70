//! What a case works with: the server, names of its own, and what has to be cleaned up behind it.

use std::cell::RefCell;
use std::time::Duration;

use crate::server;

use super::connect_packet::ConnectPacket;
use super::finding::{Checked, Finding, holds};
use super::packet::{Connack, Packet, TestMessage};
use super::property::{Properties, PropertyName};
use super::test_client::{Received, TestClient, shown};
use super::version::MqttVersion;

/// The server that is tested.
#[derive(Clone, Debug)]
pub(crate) struct TestServer {
    pub(crate) address: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// How long a packet may take.
    pub(crate) timeout: Duration,
}

/// One case's place at the server.
#[derive(Debug)]
pub(crate) struct TestContext<'a> {
    target: &'a TestServer,
    pub(crate) version: MqttVersion,
    /// What the server says of itself in its CONNACK; nothing in 3.1.1.
    pub(crate) server_properties: &'a Properties,
    /// Stands before all names of this case.
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

    /// A topic or filter of this case alone.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// A topic on which something will be retained, until the end of the case.
    pub(crate) fn kept_topic(&self, name: &str) -> String {
        let topic = self.topic(name);
        self.kept_topics.borrow_mut().push(topic.clone());
        topic
    }

    /// A client id of this case alone, of letters and digits.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A CONNECT that every server takes.
    pub(crate) fn connect_packet(&self, name: &str) -> ConnectPacket {
        let mut connect = ConnectPacket::new(self.version, &self.id(name));
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_owned());
        connect.user = bytes(&self.target.user);
        connect.password = bytes(&self.target.password);
        connect
    }

    /// The same for a session that outlives its connection, until the end of the case.
    pub(crate) fn lasting(&self, name: &str) -> ConnectPacket {
        self.lasting_ids.borrow_mut().push(name.to_owned());
        self.connect_packet(name).lasting()
    }

    /// A connection on which nothing has been said.
    pub(crate) fn dial(&self) -> Checked<TestClient> {
        let timeout = self.target.timeout;
        let dialed = server::dial(&self.target.address, timeout)
            .and_then(|stream| TestClient::new(stream, self.version, timeout));
        dialed.map_err(|error| Finding::differs("a connection", error))
    }

    /// A connection on which this was said first.
    pub(crate) fn send_connect(&self, connect: &ConnectPacket) -> Checked<TestClient> {
        let mut peer = self.dial()?;
        peer.send(&connect.encode());
        Ok(peer)
    }

    /// An accepted connection, and how it was accepted.
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

    /// An accepted connection with this name.
    pub(crate) fn connect(&self, name: &str) -> Checked<TestClient> {
        Ok(self.open(&self.connect_packet(name))?.0)
    }

    /// One that subscribes, and one that publishes.
    pub(crate) fn pair(&self, filter: &str, options: u8) -> Checked<(TestClient, TestClient)> {
        let mut subscriber = self.connect("sub")?;
        subscriber.must_subscribe(&[(filter, options)])?;
        Ok((subscriber, self.connect("pub")?))
    }

    /// All that `publisher` has published so far, `subscriber` has been given: the next that comes
    /// is a message that is published now.
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

    /// A malformed or forbidden CONNECT: the server closes the connection and accepts nothing. In
    /// MQTT 5 it may say why in a CONNACK.
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

    /// A new connection sends bytes that end it.
    pub(crate) fn expect_fatal(&self, bytes: &[u8]) -> Checked {
        let mut peer = self.connect("rogue")?;
        peer.send(bytes);
        let closed = peer.expect_close();
        closed.map(drop).map_err(|finding| finding.after(bytes))
    }

    /// Retained messages that match a filter, as a new subscriber gets them.
    pub(crate) fn retained(&self, filter: &str, qos: u8) -> Checked<Vec<TestMessage>> {
        let mut reader = self.connect("reader")?;
        reader.must_subscribe(&[(filter, qos)])?;
        let mut found = Vec::new();
        // A server may send them at any time after the SUBACK: what it has not sent before another
        // message has come by way of it and two questions have been answered, it does not mean to.
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

    /// Whether the server says that it lacks a feature of MQTT 5.
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

    /// Messages with this QoS can be published.
    pub(crate) fn needs_qos(&self, qos: u8) -> Checked {
        match self.server_properties.number(PropertyName::MaximumQos) {
            Some(max) if max < u32::from(qos) => {
                Finding::unsupported(format_args!("it says its maximum QoS is {max}"))
            }
            _ => Ok(()),
        }
    }

    /// So many topic aliases can be used by a client.
    pub(crate) fn needs_aliases(&self) -> Checked<u16> {
        match self
            .server_properties
            .number(PropertyName::TopicAliasMaximum)
        {
            Some(max) if max > 0 => Ok(max as u16),
            _ => Finding::unsupported("it says it takes no topic aliases"),
        }
    }

    /// Takes back what the case has left at the server. What cannot be taken back is not its fault.
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
