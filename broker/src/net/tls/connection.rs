//! TLS of one connection as bytes in and bytes out, without a socket and without room for records that may come.
//!
//! The library works on the bytes of its caller ([`rustls::unbuffered`]); with buffers of its own it would keep 4 KiB
//! for each idle connection. What that interface asks of a caller is done here: each state is answered, as many bytes
//! are consumed as it says, and bytes that it needs once more are shown to it once more.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustls::server::{ServerConfig, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, InvalidMessage};

/// Maximum bytes of the client that wait for more: more than any record, and all records with a message of a
/// handshake.
const MOST_WAITING: usize = 64 * 1024;

/// Bytes before the payload of a record, of which the last two are its length (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;

/// A record of another type than application data, which is never allowed after a handshake.
const FORBIDDEN_RECORD: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// TLS of one connection, from the first byte of the handshake on.
pub(crate) struct TlsConnection {
    library: UnbufferedServerConnection,
    /// Plaintext of the last record, for which there was no room.
    rest: Bytes,
    /// A copy of the bytes of the client that wait for more, if the library has looked into them: it has to find as many
    /// when something is encrypted.
    held: Vec<u8>,
    /// The client has said that it sends nothing more.
    is_closed: bool,
    /// In a box, because it is rare.
    failure: Option<Box<Error>>,
}

/// What a look at the bytes of the client has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsRead {
    /// Plaintext, of which the buffer has as much as it has room for.
    Bytes,
    /// A part of a record or of a handshake: more bytes are needed.
    More,
    /// The client has said that it sends nothing more.
    Closed,
}

impl TlsConnection {
    /// The broker's side of a new connection.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            library: UnbufferedServerConnection::new(config)?,
            rest: Bytes::new(),
            held: Vec::new(),
            is_closed: false,
            failure: None,
        })
    }

    /// What the handshake has brought so far.
    pub(super) fn common(&self) -> &CommonState {
        &self.library
    }

    /// Looks at `incoming`, which is all of the client that has not been consumed. Decrypts into the free capacity of
    /// `plaintext` until that is used up, and adds to `records` what TLS itself has to say, also with an error. Returns
    /// the number of bytes that are consumed by it.
    pub(super) fn process(
        &mut self,
        incoming: &mut [u8],
        plaintext: &mut Vec<u8>,
        records: &mut Vec<u8>,
    ) -> (usize, Result<TlsRead, Error>) {
        if let Some(failure) = &self.failure {
            return (0, Err((**failure).clone()));
        }
        self.held = Vec::new();
        let (mut consumed, before) = (0, plaintext.len());
        let processed = loop {
            self.take_rest(plaintext);
            if !self.rest.is_empty() || self.is_closed {
                break Ok(());
            }
            let UnbufferedStatus { mut discard, state } =
                self.library.process_tls_records(&mut incoming[consumed..]);
            let mut waits = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    // One at a time: the library stops at each.
                    if let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let len = record
                            .payload
                            .len()
                            .min(plaintext.capacity() - plaintext.len());
                        plaintext.extend_from_slice(&record.payload[..len]);
                        self.rest = Bytes::copy_from_slice(&record.payload[len..]);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, records),
                // It is sent with all that `records` has.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => self.is_closed = true,
                // `WriteTraffic`, or `BlockedHandshake`: it needs more bytes to go on.
                Ok(_) => waits = true,
                Err(why) => {
                    consumed += discard;
                    break Err(why);
                }
            }
            consumed += discard;
            if waits {
                break self.hold(&incoming[consumed..]);
            }
        };
        let read = processed.map(
            |()| match plaintext.len() > before || !self.rest.is_empty() {
                true => TlsRead::Bytes,
                false if self.is_closed => TlsRead::Closed,
                false => TlsRead::More,
            },
        );
        if let Err(why) = &read {
            self.failure = Some(Box::new(why.clone()));
        }
        self.collect(records);
        (consumed, read)
    }

    /// Encrypts these bytes, as one record if they fit into one, and adds it to `records`, behind what TLS itself has
    /// to say. With an error nothing of them is encrypted.
    pub(super) fn encrypt(
        &mut self,
        plaintext: &[IoSlice<'_>],
        records: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut gathered = Vec::new();
        let plaintext = match plaintext {
            [only] => only,
            several => {
                several
                    .iter()
                    .for_each(|part| gathered.extend_from_slice(part));
                &gathered[..]
            }
        };
        self.write(records, |traffic, room| traffic.encrypt(plaintext, room))
    }

    /// Adds the announcement that nothing more follows (RFC 8446 §6.1).
    pub(super) fn close(&mut self, records: &mut Vec<u8>) {
        // After a failure an alert has ended TLS.
        let _ = self.write(records, |traffic, room| traffic.queue_close_notify(room));
    }

    /// Ends TLS and adds an alert that says `unexpected_message`, because the client does what it may not.
    pub(super) fn refuse(&mut self, records: &mut Vec<u8>) {
        // The library sends no alert on demand, but for this record.
        let mut incoming = mem::take(&mut self.held);
        incoming.extend_from_slice(&FORBIDDEN_RECORD);
        self.rest = Bytes::new();
        let _ = self.process(&mut incoming, &mut Vec::new(), records);
    }

    fn take_rest(&mut self, plaintext: &mut Vec<u8>) {
        let room = plaintext.capacity() - plaintext.len();
        let len = self.rest.len().min(room);
        plaintext.extend_from_slice(&self.rest[..len]);
        self.rest.advance(len);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
    }

    /// Keeps a copy of what waits for more, if the library has begun with it.
    fn hold(&mut self, waiting: &[u8]) -> Result<(), Error> {
        if waiting.len() >= MOST_WAITING {
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        // A whole record waits only if it has a part of a message of a handshake; else it is as if it had not come.
        if begins_with_record(waiting) {
            self.held = waiting.to_vec();
        }
        Ok(())
    }

    /// Has the library write.
    fn write(
        &mut self,
        records: &mut Vec<u8>,
        mut put: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        if let Some(failure) = &self.failure {
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure.clone()));
        }
        loop {
            let UnbufferedStatus { state, .. } = self.library.process_tls_records(&mut self.held);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let missing = |why: &EncryptError| match why {
                        EncryptError::InsufficientSize(size) => Some(size.required_size),
                        EncryptError::EncryptExhausted => None,
                    };
                    let written = append(records, missing, |room| put(&mut traffic, room));
                    // A connection of TLS 1.2 cannot change its keys: the library has closed it.
                    self.collect(records);
                    return written.map_err(|_| keys_used_up());
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, records),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_closed = true,
                // `Closed`, by both sides; the library ends its own when keys are used up.
                Ok(_) => return Err(keys_used_up()),
                Err(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            }
        }
    }

    /// Adds what TLS itself has to say. That comes before all else, so the library needs no bytes for it.
    fn collect(&mut self, records: &mut Vec<u8>) {
        while self.library.wants_write() {
            let UnbufferedStatus { state, .. } = self.library.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(data)) = state else {
                return;
            };
            encode(data, records);
        }
    }
}

/// Whether a whole record is the first of these bytes.
fn begins_with_record(bytes: &[u8]) -> bool {
    bytes.split_first_chunk().is_some_and(|(header, payload)| {
        let [_, _, _, high, low]: [u8; HEADER_BYTES] = *header;
        payload.len() >= usize::from(u16::from_be_bytes([high, low]))
    })
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, records: &mut Vec<u8>) {
    let missing = |why: &EncodeError| match why {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    };
    // With enough room it does not fail.
    let _ = append(records, missing, |room| data.encode(room));
}

/// Adds what `put` puts into the room that it is given. Without enough of it puts nothing, and `missing` says how much
/// it needs.
fn append<E>(
    records: &mut Vec<u8>,
    missing: impl Fn(&E) -> Option<usize>,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let end = records.len();
    let mut written = put(&mut []);
    if let Some(size) = written.as_ref().err().and_then(missing) {
        records.resize(end + size, 0);
        written = put(&mut records[end..]);
    }
    records.truncate(end + written.as_ref().copied().unwrap_or(0));
    written.map(drop)
}

fn keys_used_up() -> io::Error {
    io::Error::other("the keys of this TLS connection are used up")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};

    use rustls::crypto::CryptoProvider;
    use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
    use rustls::crypto::ring::{self, cipher_suite};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{
        AlertDescription, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType,
        ProtocolVersion, RootCertStore, SupportedCipherSuite,
    };

    use super::*;

    const SUITES: [SupportedCipherSuite; 2] = [
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];

    /// Both ends of a new connection with this suite.
    fn ends(suite: SupportedCipherSuite) -> (ClientConnection, TlsConnection) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let own = own.expect("a certificate");
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            ..ring::default_provider()
        });
        let versions = &[suite.version()];
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("suites")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key);
        let server = TlsConnection::new(Arc::new(server.expect("they fit")));
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).expect("a certificate");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(client), name);
        (
            client.expect("a configuration"),
            server.expect("a configuration"),
        )
    }

    /// Both ends after the handshake.
    pub(in crate::net::tls) fn connected(
        suite: SupportedCipherSuite,
    ) -> (ClientConnection, TlsConnection) {
        let (mut client, server) = ends(suite);
        let mut wire = Wire::new(server, 1 << 20);
        while client.is_handshaking() || wire.server.common().is_handshaking() {
            let said = said(&mut client);
            wire.pass(&said).expect("a handshake");
            wire.answer(&mut client);
        }
        (client, wire.server)
    }

    /// The broker's end, with what has come and is not consumed, and what it says.
    struct Wire {
        server: TlsConnection,
        incoming: Vec<u8>,
        plaintext: Vec<u8>,
        records: Vec<u8>,
        /// Room for plaintext at a time.
        room: usize,
    }

    impl Wire {
        fn new(server: TlsConnection, room: usize) -> Self {
            Self {
                server,
                incoming: Vec::new(),
                plaintext: Vec::new(),
                records: Vec::new(),
                room,
            }
        }

        /// Has these bytes come from the client.
        fn pass(&mut self, bytes: &[u8]) -> Result<TlsRead, Error> {
            self.incoming.extend_from_slice(bytes);
            loop {
                let mut plaintext = Vec::with_capacity(self.room);
                let (consumed, read) =
                    self.server
                        .process(&mut self.incoming, &mut plaintext, &mut self.records);
                self.incoming.drain(..consumed);
                self.plaintext.append(&mut plaintext);
                if read != Ok(TlsRead::Bytes) || self.room == 0 {
                    return read;
                }
            }
        }

        fn encrypt(&mut self, plaintext: &[u8]) {
            let plaintext = [IoSlice::new(plaintext)];
            let encrypted = self.server.encrypt(&plaintext, &mut self.records);
            encrypted.expect("keys");
        }

        /// Has the client read what was said. Returns what it has read in the end.
        fn answer(&mut self, client: &mut ClientConnection) -> Vec<u8> {
            let mut records = &self.records[..];
            while !records.is_empty() {
                client.read_tls(&mut records).expect("memory");
                client.process_new_packets().expect("records");
            }
            self.records.clear();
            let mut read = Vec::new();
            let _ = client.reader().read_to_end(&mut read);
            read
        }
    }

    fn said(client: &mut ClientConnection) -> Vec<u8> {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory");
        }
        said
    }

    fn say(client: &mut ClientConnection, plaintext: &[u8]) -> Vec<u8> {
        client.writer().write_all(plaintext).expect("memory");
        said(client)
    }

    /// The types of records, where they are not encrypted.
    fn types(mut records: &[u8]) -> Vec<u8> {
        let mut types = Vec::new();
        while begins_with_record(records) {
            types.push(records[0]);
            let len = u16::from_be_bytes([records[3], records[4]]);
            records = &records[HEADER_BYTES + usize::from(len)..];
        }
        assert!(records.is_empty(), "a part of a record");
        types
    }

    /// A client that puts what it likes into records, in TLS 1.3 after its handshake.
    struct Forger {
        encrypter: Box<dyn MessageEncrypter>,
        sequence: u64,
    }

    impl Forger {
        fn new(client: ClientConnection) -> Self {
            let secrets = client.dangerous_extract_secrets().expect("it is connected");
            let (sequence, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets.tx
            else {
                panic!("another suite");
            };
            let suite = SUITES[0].tls13().expect("of TLS 1.3");
            Self {
                encrypter: suite.aead_alg.encrypter(key, iv),
                sequence,
            }
        }

        fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
            let message = OutboundPlainMessage {
                typ,
                version: ProtocolVersion::TLSv1_3,
                payload: payload.into(),
            };
            self.sequence += 1;
            let record = self.encrypter.encrypt(message, self.sequence - 1);
            record.expect("a key").encode()
        }
    }

    /// A message of a handshake by which the client renews its key, and wants the same of the broker (RFC 8446 §4.6.3).
    const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];

    #[test]
    fn what_comes_in_single_bytes_is_understood_with_any_room_for_it() {
        for suite in SUITES {
            for room in [0, 1, 2, 100] {
                let (mut client, server) = ends(suite);
                let mut wire = Wire::new(server, 0);
                let mut to_say = &b"first"[..];
                while wire.server.common().is_handshaking() || !to_say.is_empty() {
                    let mut said = said(&mut client);
                    if !client.is_handshaking() {
                        // In TLS 1.3 right behind the last of the handshake.
                        said.extend(say(&mut client, mem::take(&mut to_say)));
                    }
                    for byte in said {
                        wire.pass(&[byte]).expect("records");
                    }
                    wire.answer(&mut client);
                }
                assert_eq!(wire.plaintext, b"");
                wire.room = room;
                client.writer().write_all(b"second").expect("memory");
                client.send_close_notify();
                for byte in said(&mut client) {
                    let read = wire.pass(&[byte]).expect("records");
                    assert_eq!(read == TlsRead::Bytes, room == 0, "{read:?}");
                }
                wire.room = 100;
                assert_eq!(wire.pass(b"behind the end"), Ok(TlsRead::Closed));
                assert_eq!(wire.plaintext, b"firstsecond", "{room}");
                // The other direction stays open.
                wire.encrypt(b"third");
                assert_eq!(wire.answer(&mut client), b"third");
                wire.server.close(&mut wire.records);
                assert_eq!(types(&wire.records).len(), 1);
            }
        }
    }

    #[test]
    fn tickets_are_behind_the_handshake_and_a_renewal_of_keys_is_answered_before_the_next_record() {
        let (mut client, server) = connected(SUITES[0]);
        assert_eq!(client.tls13_tickets_received(), 2);
        let mut wire = Wire::new(server, 100);
        for number in 0..50 {
            client.refresh_traffic_keys().expect("TLS 1.3");
            let said = say(&mut client, &[number]);
            assert_eq!(wire.pass(&said), Ok(TlsRead::More));
            wire.encrypt(&[number]);
            assert_eq!(types(&wire.records).len(), 2);
            assert_eq!(wire.answer(&mut client), [number]);
        }
        assert_eq!(wire.plaintext, Vec::from_iter(0..50));
    }

    #[test]
    fn a_message_of_a_handshake_in_pieces_does_not_disturb_what_is_sent_meanwhile() {
        let (client, server) = connected(SUITES[0]);
        let mut forger = Forger::new(client);
        let mut wire = Wire::new(server, 100);
        for (number, piece) in KEY_UPDATE.chunks(2).enumerate() {
            assert_eq!(wire.server.held.len(), wire.incoming.len());
            assert_eq!(wire.server.held.is_empty(), number == 0);
            let record = forger.record(ContentType::Handshake, piece);
            let (early, late) = record.split_at(10);
            assert_eq!(wire.pass(early), Ok(TlsRead::More));
            wire.encrypt(b"meanwhile");
            assert_eq!(wire.pass(late), Ok(TlsRead::More));
        }
        assert_eq!(types(&wire.records).len(), 3);
        assert_eq!((&wire.server.held, &wire.incoming), (&vec![], &vec![]));
        wire.encrypt(b"afterwards");
        assert_eq!(types(&wire.records).len(), 5, "with an answer");
    }

    #[test]
    fn pieces_of_a_message_that_does_not_end_are_given_up() {
        let (client, server) = connected(SUITES[0]);
        let mut forger = Forger::new(client);
        let mut wire = Wire::new(server, 100);
        let mut came = 0;
        let why = loop {
            let piece: &[u8] = if came == 0 { &[24, 0, 255, 0] } else { &[0] };
            let record = forger.record(ContentType::Handshake, piece);
            came += record.len();
            match wire.pass(&record) {
                Ok(read) => assert_eq!(read, TlsRead::More),
                Err(why) => break why,
            }
            assert!(came <= MOST_WAITING + 100);
        };
        assert!(came > MOST_WAITING - 100, "{why}");
        let sent = wire
            .server
            .encrypt(&[IoSlice::new(b"x")], &mut wire.records);
        assert!(sent.is_err());
    }

    #[test]
    fn what_is_no_record_is_told_with_an_alert_and_ends_both_directions() {
        for suite in SUITES {
            let (mut client, server) = connected(suite);
            let mut wire = Wire::new(server, 100);
            let mut said = say(&mut client, b"whole");
            said.extend(say(&mut client, b"changed"));
            *said.last_mut().expect("a byte") ^= 1;
            assert_eq!(wire.pass(&said), Err(Error::DecryptError));
            assert_eq!(wire.plaintext, b"whole");
            assert_eq!(types(&wire.records).len(), 1);
            assert_eq!(wire.pass(b""), Err(Error::DecryptError), "it is told again");
            let sent = wire
                .server
                .encrypt(&[IoSlice::new(b"x")], &mut wire.records);
            assert_eq!(
                sent.map_err(|err| err.kind()),
                Err(io::ErrorKind::InvalidData)
            );
            wire.server.close(&mut wire.records);
            wire.server.refuse(&mut wire.records);
            let mut records = &wire.records[..];
            client.read_tls(&mut records).expect("memory");
            let alert = client.process_new_packets().map(drop);
            assert_eq!(
                alert,
                Err(Error::AlertReceived(AlertDescription::BadRecordMac))
            );
            assert!(records.is_empty(), "one alert");
        }
    }

    #[test]
    fn a_client_that_does_what_it_may_not_is_told_so_whatever_waits_of_it() {
        for suite in SUITES {
            for waiting in [&b""[..], b"plaintext without room"] {
                let (mut client, server) = connected(suite);
                let mut wire = Wire::new(server, 0);
                let said = say(&mut client, waiting);
                wire.pass(&said).expect("records");
                wire.server.refuse(&mut wire.records);
                let mut records = &wire.records[..];
                client.read_tls(&mut records).expect("memory");
                let alert = client.process_new_packets().map(drop);
                let told = AlertDescription::UnexpectedMessage;
                assert_eq!(alert, Err(Error::AlertReceived(told)));
            }
        }
    }
}
