//! Keys and tokens for tests: those of OpenSSL, and tokens by a secret that a test signs itself.

use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The secret of the key `k1`.
pub(crate) const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// RS256, ES256 and EdDSA, as keys and as tokens of ann that end in 2100.
pub(super) const RSA: &str = r#"{"kty":"RSA","kid":"rsa","e":"AQAB","n":"yllhjCvBq8LYgxCl736kg_EjyzsZWBCDJ5cfdFBER4iP-SH0bG_we6ZgK6o_QdCJZPQB-4YtXLYdL3-AT_pa1Bp_UQhHTbX68G81i8LAgmiZ4Gjy7-DUJYPfsseRD978tBsFmjzFNQp6rrqgOHzmH3UnERAT2bGSNvkc7-4Q6uWscKyZTF04JQY-xm7dRadb3W5dGrjE79kycv6OXPrKQOzsWrZIiA4iMA4JIbXJe1QslZsPR4IyaDpw-9wLTfJifZRYROsizbPpLNeMv-D3ZRE4cQO87O5V-pMoVcW0kNJi07JhTN04xvugaldcA8B9Rco5X-pAf8QsPvWmvS-8dQ"}"#;
pub(super) const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.MVbf5IVsWzjggx58n0cEWT4nQDQ_mdUr_ibY5wPE3IMe-E07clpvCYi2CegwntnDGMaGl-qcWV0yPR8HW_XLSimucpJYbLitRE4Ca71HUDBM2__P6ZSABSQ1oy5X3masWdVfXZ53YCGHHEz5yUO10J33K22FoJ8xoQvN2S-CoJF0MyiRx48IdGbY3MtHQNFfS4FjRmY8RF1tUtIirZ4qpJOg71MmlaDMLTXoz9415gGQA2vVgLR3W-IBvdePYgNO6uc7q1aAVwlO2E-OIySySqB-4RlPsMar_kvGZeG9JEqDKU8ymNTaAqxzyp_fEYvslU7hbeZxRFwIh-gnnqeNbA";
pub(super) const EC: &str = r#"{"kty":"EC","kid":"ec","crv":"P-256","x":"UDMfWN-ufPpp8Hc1aNzxN26yNIlo2ahbrAoAfemrfp0","y":"r6A7AGQ8E0Cw-AFHGZj3GXpSdErHRZ6envLhxkW9ZQs"}"#;
pub(super) const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.IpAjmcQber6v6M0wsee-nYyz7RSGssJK4xFZNGxGxT9G1IdX00vsYAWlh-EIlSqvI1vjlcpUNr80xr9I0hKZgA";
pub(super) const ED: &str =
    r#"{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"V59NVA3ovhlSdEEWUJny1a_UFdyOKf7s0YIQifZo5Pg"}"#;
pub(super) const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.AqmBEXf2V23ilPJwiF4nl_WrHiEcunQNlUrfIBN73trJPBYDVhDbdjtKtvEZA53sU3y27QJHSSbopsfNXmTBAQ";

/// A modulus of 1024 bits.
pub(super) const SMALL_MODULUS: &str = "sMqL3kCzIsKBuCXo4w5UmNpdHQ6zbTwW26eWxL6oL-tQ74mxXNygYiCydJY37iEeHAQSFFWDr0XKlU4o71sNl_pOMrf2elsgy3CHGbEPstYKkj6-VtOdSKejAZQuRGVTYqs7FLCKT8zkGogCNVUKYQ7g6RaSY6NwwFdcXdrZlhs";

/// The key `k1` as a member of a set.
pub(crate) fn secret_key() -> String {
    let k = URL_SAFE_NO_PAD.encode(SECRET);
    format!(r#"{{"kty":"oct","kid":"k1","k":"{k}"}}"#)
}

/// A set of these keys.
pub(crate) fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// A token with these parts, signed with this secret by HS256.
pub(super) fn signed_by(secret: &[u8], header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = EncodingKey::from_secret(secret);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{message}.{signature}")
}

/// A token with these claims by the key `k1`.
pub(crate) fn signed(claims: &str) -> String {
    signed_by(SECRET, r#"{"alg":"HS256","kid":"k1"}"#, claims)
}
