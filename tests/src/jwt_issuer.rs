//! An authorization server as a test has it: keys, the file of their public halves, and tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a key signs with; its name is the key's, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// With a secret.
    Hs256,
    /// P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// Keys, and the file that the broker reads.
pub struct JwtIssuer {
    folder: TempDir,
    keys: Vec<(Alg, EncodingKey, Value)>,
}

const SECRET: &[u8] = b"canary-9b1c-0123456789abcdef-0123456789";

impl JwtIssuer {
    /// One with a key for each algorithm.
    #[track_caller]
    pub fn new() -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bytes");
        let (x, y) = p256.der_bytes()[1..].split_at(32);
        let ed = KeyPair::generate_for(&PKCS_ED25519).expect("random bytes");
        let keys = vec![
            (
                Alg::Hs256,
                EncodingKey::from_secret(SECRET),
                json!({"kty": "oct", "kid": "Hs256", "k": text(SECRET)}),
            ),
            (
                Alg::Es256,
                EncodingKey::from_ec_der(&p256.serialize_der()),
                json!({"kty": "EC", "crv": "P-256", "kid": "Es256", "x": text(x), "y": text(y), "use": "sig"}),
            ),
            (
                Alg::EdDsa,
                EncodingKey::from_ed_der(&ed.serialize_der()),
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "EdDsa", "x": text(ed.der_bytes())}),
            ),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = Self { folder, keys };
        issuer.publish(&[Alg::Hs256, Alg::Es256, Alg::EdDsa]);
        issuer
    }

    /// The path of the file of its keys.
    pub fn path(&self) -> String {
        let path = self.folder.path().join("keys.json");
        path.into_os_string().into_string().expect("text")
    }

    /// Puts these keys in the file, which takes the place of the old one.
    #[track_caller]
    pub fn publish(&self, algorithms: &[Alg]) {
        let keys = self.keys.iter().filter(|key| algorithms.contains(&key.0));
        let keys: Vec<&Value> = keys.map(|(_, _, key)| key).collect();
        self.publish_text(&json!({ "keys": keys }).to_string());
    }

    /// The same for any text.
    #[track_caller]
    pub fn publish_text(&self, text: &str) {
        let beside: PathBuf = self.folder.path().join("beside");
        fs::write(&beside, text).expect("room");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::rename(&beside, self.path()).expect("it is ours");
    }

    /// A token with these claims.
    #[track_caller]
    pub fn token(&self, algorithm: Alg, claims: &Value) -> String {
        let (_, key, _) = self
            .keys
            .iter()
            .find(|key| key.0 == algorithm)
            .expect("one for each");
        let mut header = Header::new(match algorithm {
            Alg::Hs256 => Algorithm::HS256,
            Alg::Es256 => Algorithm::ES256,
            Alg::EdDsa => Algorithm::EdDSA,
        });
        header.kid = Some(format!("{algorithm:?}"));
        encode(&header, claims, key).expect("it is signed")
    }

    /// A token of this name that lasts an hour.
    #[track_caller]
    pub fn token_of(&self, algorithm: Alg, name: &str) -> String {
        self.token(algorithm, &json!({"sub": name, "exp": in_seconds(3600)}))
    }
}

impl Default for JwtIssuer {
    fn default() -> Self {
        Self::new()
    }
}

/// A time so far from now, in seconds since 1970.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("before the end of time") + seconds
}
