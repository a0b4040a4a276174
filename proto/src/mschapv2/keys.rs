//! The keys that both sides have after MS-CHAPv2 (RFC 3079 §3).

use zeroize::Zeroizing;

use super::NtHash;
use crate::aaa::InnerKeys;
use crate::crypto::SecretBytes;
use crate::crypto::digest::sha1_of;
use crate::crypto::legacy::md4;

/// Returns the start keys of 128 bits as the **server** sees them (RFC 3079 §3.3).
///
/// `recv` is what the client sends with and `send` what it receives with. SSTP's higher-layer key is `recv` and then
/// `send` on both ends, so the client calls this too.
#[must_use]
pub fn server_keys(hash: &NtHash, nt_response: &[u8; 24]) -> InnerKeys {
    let hash_hash = Zeroizing::new(md4(hash.expose()));
    let master = Zeroizing::new(sha1_of(&[hash_hash.as_slice(), nt_response, MAGIC_1]));
    let master = master.get(..16).unwrap_or_default();
    let start_key = |magic: &[u8]| {
        let digest = Zeroizing::new(sha1_of(&[master, &[0; 40], magic, &[0xf2; 40]]));
        SecretBytes::from(digest.get(..16).unwrap_or_default())
    };
    InnerKeys {
        recv: start_key(MAGIC_2),
        send: start_key(MAGIC_3),
    }
}

const MAGIC_1: &[u8] = b"This is the MPPE Master Key";
/// The client's sending direction, which is the server's receiving one.
const MAGIC_2: &[u8] =
    b"On the client side, this is the send key; on the server side, it is the receive key.";
const MAGIC_3: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";
