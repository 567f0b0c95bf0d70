//! A client of MQTT that knows no more than bytes: it sends what a test gives it and reads whole
//! packets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use crate::PATIENCE;

/// Which MQTT, by its number in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mqtt {
    /// 3.1.1.
    V3 = 4,
    /// 5.0.
    V5 = 5,
}

/// Both.
pub const BOTH: [Mqtt; 2] = [Mqtt::V3, Mqtt::V5];

/// One connection, read with patience: what does not come within [`PATIENCE`] fails the test.
#[derive(Debug)]
pub struct MqttClient {
    stream: TcpStream,
    /// What it speaks.
    pub version: Mqtt,
}

/// A PUBLISH that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The low four bits of its first byte: DUP, QoS, RETAIN.
    pub flags: u8,
    /// Its topic.
    pub topic: String,
    /// Its packet identifier; zero at QoS 0.
    pub id: u16,
    /// The bytes of its properties, without their length.
    pub properties: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What a CONNECT asks for.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The client identifier.
    pub id: String,
    /// Clean session, or clean start.
    pub clean: bool,
    /// In seconds.
    pub keep_alive: u16,
    /// The bytes of its properties, for 5.0.
    pub properties: Vec<u8>,
    /// Topic and payload of a will at QoS 0.
    pub will: Option<(String, String)>,
    /// The user name.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

impl Hello {
    /// A clean session of this client.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// A session that outlives its connection, and may go on with an earlier one.
    pub fn lasting(id: &str) -> Self {
        Self {
            clean: false,
            // Session expiry interval: an hour.
            properties: vec![0x11, 0, 0, 0x0e, 0x10],
            ..Self::new(id)
        }
    }

    /// The packet.
    pub fn encode(&self, version: Mqtt) -> Vec<u8> {
        let flags = u8::from(self.clean) << 1
            | u8::from(self.will.is_some()) << 2
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user.is_some()) << 7;
        let mut body = text("MQTT");
        body.extend([version as u8, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if version == Mqtt::V5 {
            body.extend(with_length(&self.properties));
        }
        body.extend(text(&self.id));
        if let Some((topic, payload)) = &self.will {
            if version == Mqtt::V5 {
                body.push(0);
            }
            body.extend(text(topic));
            body.extend(text(payload));
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        packet(0x10, &body)
    }
}

/// A packet: its first byte, its length, and this.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &with_length(body)].concat()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut left = bytes.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        all.push(byte | u8::from(left > 0) << 7);
        if left == 0 {
            break;
        }
    }
    all.extend(bytes);
    all
}

/// A string with its length before it.
pub fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("a string of MQTT");
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A user property.
pub fn user_property(key: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &text(key), &text(value)].concat()
}

impl MqttClient {
    /// A new connection on which nothing has been said.
    #[track_caller]
    pub fn dial(address: SocketAddr, version: Mqtt) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|err| panic!("no connection to {address}: {err}"));
        stream.set_nodelay(true).expect("a connected socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a connected socket");
        Self { stream, version }
    }

    /// A new connection that has been let in; whether its session was there before.
    #[track_caller]
    pub fn enter(address: SocketAddr, version: Mqtt, hello: &Hello) -> (Self, bool) {
        let mut client = Self::dial(address, version);
        client.send(&hello.encode(version));
        let connack = client.packet();
        assert_eq!((connack[0], connack[2 + 1]), (0x20, 0), "{connack:02x?}");
        (client, connack[2] == 1)
    }

    /// The same for a clean session.
    #[track_caller]
    pub fn connect(address: SocketAddr, version: Mqtt, id: &str) -> Self {
        Self::enter(address, version, &Hello::new(id)).0
    }

    /// Sends bytes as they are. That the broker has closed shows when something is read.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.stream.write_all(bytes);
        self
    }

    /// Publishes at a QoS, with these flags besides.
    pub fn publish_as(&mut self, first: u8, topic: &str, id: u16, payload: &[u8]) -> &mut Self {
        self.publish_with(first, topic, id, &[], payload)
    }

    /// The same with properties, which 3.1.1 does not have.
    pub fn publish_with(
        &mut self,
        first: u8,
        topic: &str,
        id: u16,
        properties: &[u8],
        payload: &[u8],
    ) -> &mut Self {
        let mut body = text(topic);
        if first & 0x06 != 0 {
            body.extend(id.to_be_bytes());
        }
        if self.version == Mqtt::V5 {
            body.extend(with_length(properties));
        }
        body.extend(payload);
        self.send(&packet(first, &body))
    }

    /// Publishes at QoS 0.
    pub fn publish(&mut self, topic: &str, payload: &str) -> &mut Self {
        self.publish_as(0x30, topic, 0, payload.as_bytes())
    }

    /// Subscribes with these options and takes the answer, which has to grant them.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) -> &mut Self {
        let code = self.ask_to_subscribe(filter, options, &[]);
        assert_eq!(code, options & 3, "{filter}");
        self
    }

    /// The same; returns the code of the answer.
    #[track_caller]
    pub fn ask_to_subscribe(&mut self, filter: &str, options: u8, properties: &[u8]) -> u8 {
        let mut body = vec![0, 9];
        if self.version == Mqtt::V5 {
            body.extend(with_length(properties));
        }
        body.extend(text(filter));
        body.push(options);
        self.send(&packet(0x82, &body));
        let suback = self.packet();
        assert_eq!(suback[0], 0x90, "{suback:02x?}");
        suback[suback.len() - 1]
    }

    /// The next packet.
    #[track_caller]
    pub fn packet(&mut self) -> Vec<u8> {
        self.read_packet()
            .unwrap_or_else(|err| panic!("no packet came: {err}"))
    }

    /// The next packet, which has to be this.
    #[track_caller]
    pub fn expect(&mut self, packet: &[u8]) -> &mut Self {
        let came = self.packet();
        assert!(
            came == packet,
            "expected {packet:02x?}, came {came:02x?} {:?}",
            String::from_utf8_lossy(&came)
        );
        self
    }

    /// The next packet, which has to be a PUBLISH.
    #[track_caller]
    pub fn message(&mut self) -> Published {
        let bytes = self.packet();
        assert_eq!(bytes[0] >> 4, 3, "no PUBLISH: {bytes:02x?}");
        self.read_publish(&bytes)
    }

    /// The next packet, which has to be a PUBLISH of this with these flags.
    #[track_caller]
    pub fn expect_message(&mut self, flags: u8, topic: &str, payload: &str) -> &mut Self {
        let came = self.message();
        assert_eq!(
            (came.flags, &*came.topic, &*came.payload),
            (flags, topic, payload.as_bytes())
        );
        self
    }

    /// Takes a PUBLISH apart.
    pub fn read_publish(&self, bytes: &[u8]) -> Published {
        let head = 1 + bytes[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let body = &bytes[head..];
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(len);
        let mut id = 0;
        if bytes[0] & 0x06 != 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = &[][..];
        if self.version == Mqtt::V5 {
            assert!(rest[0] < 0x80, "tests have few properties");
            (properties, rest) = rest[1..].split_at(usize::from(rest[0]));
        }
        Published {
            flags: bytes[0] & 0x0f,
            topic: String::from_utf8(topic.to_vec()).expect("a topic is UTF-8"),
            id,
            properties: properties.to_vec(),
            payload: rest.to_vec(),
        }
    }

    /// Nothing has come but what was taken: silence, without sleeping.
    #[track_caller]
    pub fn expect_silence(&mut self) -> &mut Self {
        self.send(&[0xc0, 0]).expect(&[0xd0, 0])
    }

    /// The broker has closed the connection and sent nothing more.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.read_packet() {
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) => {}
            other => panic!("expected the end, came {other:02x?}"),
        }
    }

    /// The broker closes, after a DISCONNECT with this code if it can send one.
    #[track_caller]
    pub fn expect_dismissal(&mut self, code: u8) {
        if self.version == Mqtt::V5 {
            let disconnect = self.packet();
            assert_eq!(
                (disconnect[0], disconnect[2]),
                (0xe0, code),
                "{disconnect:02x?}"
            );
        }
        self.expect_closed();
    }

    /// Says goodbye and closes.
    pub fn leave(mut self) {
        self.send(&[0xe0, 0]);
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Makes the end of the connection a reset, as if the machine had lost its power.
    pub fn vanish(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("an open connection");
    }

    /// The next packet, or why there is none.
    pub fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 2];
        self.stream.read_exact(&mut bytes)?;
        let mut len = usize::from(bytes[1] & 0x7f);
        let mut shift = 7;
        while bytes[bytes.len() - 1] >= 0x80 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            bytes.push(byte[0]);
        }
        let head = bytes.len();
        bytes.resize(head + len, 0);
        self.stream.read_exact(&mut bytes[head..])?;
        Ok(bytes)
    }
}
