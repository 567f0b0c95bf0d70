//! Clients that show credentials, in each wire's words for them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::{for_each_client_until, handshake, wires};
use crate::auth::access::AccessTable;
use crate::auth::identity::{JwtSettings, Secret, StoredPassword, Verifier, VerifierSettings};
use crate::engine::Engine;
use crate::engine::session::clients::ClientRecord;

/// The password of ann.
const PASSWORD: &[u8] = b"fuzz-q7w";

/// The token of meter, whose bits are zero.
const TOKEN: &[u8] = b"dlt_fuzz_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const TOKEN_LINE: &str = "token fuzz owner=meter sha256=66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925\n";

/// The public half of the key that has signed a JWT of ann, which the corpus has.
const KEYS: &str = r#"{"keys":[{"kty":"EC","kid":"ec","crv":"P-256","x":"UDMfWN-ufPpp8Hc1aNzxN26yNIlo2ahbrAoAfemrfp0","y":"r6A7AGQ8E0Cw-AFHGZj3GXpSdErHRZ6envLhxkW9ZQs"}]}"#;

/// A broker that knows who clients are.
pub struct CredentialScene {
    verifier: Arc<Verifier>,
    _folder: TempDir,
}

impl CredentialScene {
    /// Clients that show credentials. The first byte of an input selects as for the other wires; that of each client
    /// selects the words around what it shows, whose parts are lines. A client is another one than `anonymous` only if
    /// it has shown a secret that counts.
    pub fn play(&self, input: &[u8]) {
        let open = |engine: &Engine| {
            *engine.verifier.write() = Some(self.verifier.clone());
            engine.access.replace(Arc::new(AccessTable::known()));
            wires(engine)
        };
        for_each_client_until(input, open, |_, part| said(part), check);
    }
}

/// What a client says.
fn said(part: &[u8]) -> Vec<u8> {
    let Some((&words, rest)) = part.split_first() else {
        return Vec::new();
    };
    let mut fields = rest.splitn(3, |byte| *byte == b'\n');
    let [first, second, third] = [(); 3].map(|()| fields.next().unwrap_or_default());
    match words % 7 {
        0 => [b"AUTH ", rest].concat(),
        version @ 1..=2 => {
            let fields = [text(b"a"), text(first), text(second)].concat();
            [connect(version, 0xc2, &[], &fields), third.to_vec()].concat()
        }
        3 => {
            let hello = connect(2, 0x02, &shown(first), &text(b"a"));
            let again = shown(second);
            let again = [&[0x19, again.len() as u8][..], &again].concat();
            [hello, packet(0xf0, &again), third.to_vec()].concat()
        }
        4 => [
            b"GET /login HTTP/1.1\r\nHost: localhost\r\nAuthorization: ",
            first,
            b"\r\nCookie: ",
            second,
            b"\r\n\r\n",
            third,
        ]
        .concat(),
        5 => {
            let body = [second, b"\n", third].concat();
            let head = format!("\r\nContent-Length: {}\r\n\r\n", body.len());
            let first = [
                b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: ",
                first,
            ];
            [first.concat(), head.into_bytes(), body].concat()
        }
        _ => {
            let inside = String::from_utf8_lossy(first).into_owned();
            [handshake("/ws", &inside), [second, b"\n", third].concat()].concat()
        }
    }
}

/// A client with an identity has shown the secret of it, where what it shows is in clear.
fn check(record: &ClientRecord, part: &[u8]) {
    let identity = record.identity();
    let has = |secret: &[u8]| part.windows(secret.len()).any(|it| it == secret);
    let is_in_clear = part.first().is_some_and(|words| words % 7 <= 3);
    let is_shown = match identity.name.as_str() {
        "anonymous" => true,
        "ann" => has(PASSWORD) || has(b"eyJ"),
        "meter" => has(&TOKEN[..9]) || has(b"eyJ"),
        other => panic!("{other:?} is no user that may come"),
    };
    assert!(is_shown || !is_in_clear, "{}", identity.name);
}

impl Default for CredentialScene {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let password = Secret::new(PASSWORD.to_vec()).expect("a secret");
        let hash = StoredPassword::of(&password).expect("random bytes");
        let hash = hash.as_str();
        let users = format!(
            "user ann hash={hash}\nuser bob disabled hash={hash}\nuser meter\n{TOKEN_LINE}"
        );
        let [users, keys] = [("users", &*users), ("keys", KEYS)].map(|(name, text)| {
            let path = folder.path().join(name);
            write(&path, text);
            path
        });
        let settings = VerifierSettings {
            users: Some(users),
            jwt: Some(JwtSettings {
                keys,
                issuer: None,
                audience: None,
                check_rights: |_| Ok(()),
            }),
        };
        let verifier = Verifier::start(settings, || {}).expect("the files are right");
        Self {
            verifier: Arc::new(verifier),
            _folder: folder,
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("room");
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
}

/// A CONNECT of version 3.1.1 (1) or 5.0 (2).
fn connect(version: u8, flags: u8, properties: &[u8], fields: &[u8]) -> Vec<u8> {
    let mut body = [&text(b"MQTT")[..], &[version + 3, flags, 0, 0]].concat();
    if version == 2 {
        body.extend(with_length(properties));
    }
    body.extend_from_slice(fields);
    packet(0x10, &body)
}

/// The properties that show something by the method of JWTs.
fn shown(data: &[u8]) -> Vec<u8> {
    [&[0x15][..], &text(b"JWT"), &[0x16], &text(data)].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &with_length(body)].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A length of MQTT, and what has it.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let (mut all, mut left) = (Vec::new(), bytes.len());
    loop {
        let (byte, rest) = ((left % 128) as u8, left / 128);
        left = rest;
        all.push(byte | u8::from(left > 0) << 7);
        if left == 0 {
            break;
        }
    }
    all.extend_from_slice(bytes);
    all
}
