//! The handshake (whitepaper §5.4.2, §5.4.3, §5.4.5): `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, both halves.
//!
//! ```text
//!  initiator                                         responder
//!  initiate ── Initiation { e, s, timestamp } ──▶    Opened::new, Opened::accept
//!  Initiating::finish ◀── Response { e, nothing } ── Responding::respond
//!  Keys                                              Keys
//! ```
//!
//! The names of the whitepaper: `C` is [`Symmetric::chain`], `H` is [`Symmetric::hash`]. A point of low order anywhere
//! ends the handshake, as a seal that does not open does.

use zeroize::Zeroizing;

use super::key::{PresharedKey, PrivateKey, PublicKey};
use super::message::{Initiation, Response};
use super::tai64n::Tai64n;
use crate::crypto::Rng;
use crate::crypto::blake2s::{blake2s, hmac_blake2s};
use crate::crypto::chacha::{ChaChaKey, Forged};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Our identity.
#[derive(Debug)]
pub(super) struct Local {
    private: PrivateKey,
    pub(super) public: PublicKey,
}

impl Local {
    pub(super) fn new(private: PrivateKey) -> Self {
        let public = private.public();
        Self { private, public }
    }

    /// Returns the secret that we share with `peer` for ever; nothing when its key is of low order.
    pub(super) fn agree(&self, peer: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        self.private.agree(peer.as_bytes())
    }
}

/// What a handshake makes: a key for each direction.
pub(super) struct Keys {
    pub(super) sending: Zeroizing<[u8; 32]>,
    pub(super) receiving: Zeroizing<[u8; 32]>,
}

/// The running state of both halves.
#[derive(Clone)]
struct Symmetric {
    chain: Zeroizing<[u8; 32]>,
    hash: [u8; 32],
}

impl Symmetric {
    /// Begins a handshake with the owner of `responder`.
    fn new(responder: &PublicKey) -> Self {
        let chain = blake2s(&[CONSTRUCTION]);
        let mut state = Self {
            chain: Zeroizing::new(chain),
            hash: blake2s(&[&chain, IDENTIFIER]),
        };
        state.mix_hash(responder.as_bytes());
        state
    }

    fn mix_hash(&mut self, octets: &[u8]) {
        self.hash = blake2s(&[&self.hash, octets]);
    }

    /// `C := KDF1(C, input)`.
    fn mix(&mut self, input: &[u8]) {
        let first = hmac_blake2s(self.chain.as_slice(), &[input]);
        self.chain = hmac_blake2s(first.as_slice(), &[&[1]]);
    }

    /// `(C, k) := KDF2(C, input)`.
    fn mix_key(&mut self, input: &[u8]) -> Zeroizing<[u8; 32]> {
        let first = hmac_blake2s(self.chain.as_slice(), &[input]);
        self.chain = hmac_blake2s(first.as_slice(), &[&[1]]);
        hmac_blake2s(first.as_slice(), &[self.chain.as_slice(), &[2]])
    }

    /// `(C, t, k) := KDF3(C, Q); H := HASH(H, t)`.
    fn mix_preshared(&mut self, key: &PresharedKey) -> Zeroizing<[u8; 32]> {
        let first = hmac_blake2s(self.chain.as_slice(), &[key.expose()]);
        self.chain = hmac_blake2s(first.as_slice(), &[&[1]]);
        let second = hmac_blake2s(first.as_slice(), &[self.chain.as_slice(), &[2]]);
        self.mix_hash(second.as_slice());
        hmac_blake2s(first.as_slice(), &[second.as_slice(), &[3]])
    }

    /// An ephemeral key of either side: `C := KDF1(C, e); H := HASH(H, e)`.
    fn mix_ephemeral(&mut self, key: &[u8; 32]) {
        self.mix(key);
        self.mix_hash(key);
    }

    /// Seals `text` into `N` octets, which are 16 more.
    fn seal<const N: usize>(
        &mut self,
        key: Zeroizing<[u8; 32]>,
        text: &[u8],
    ) -> Result<[u8; N], Forged> {
        let mut out = [0; N];
        let (body, tag) = out
            .split_last_chunk_mut::<{ ChaChaKey::TAG }>()
            .ok_or(Forged)?;
        if body.len() != text.len() {
            return Err(Forged);
        }
        body.copy_from_slice(text);
        *tag = ChaChaKey::new(key).seal(0, &self.hash, body)?;
        self.mix_hash(&out);
        Ok(out)
    }

    /// Opens `sealed` into `M` octets, which are 16 fewer.
    fn open<const M: usize>(
        &mut self,
        key: Zeroizing<[u8; 32]>,
        sealed: &[u8],
    ) -> Result<[u8; M], Forged> {
        let mut buffer = sealed.to_vec();
        let opened = ChaChaKey::new(key).open(0, &self.hash, &mut buffer)?;
        let text = <[u8; M]>::try_from(&*opened).map_err(|_| Forged)?;
        self.mix_hash(sealed);
        Ok(text)
    }

    /// Returns the first and the second key (§5.4.5).
    fn split(&self) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
        let zero = hmac_blake2s(self.chain.as_slice(), &[]);
        let first = hmac_blake2s(zero.as_slice(), &[&[1]]);
        let second = hmac_blake2s(zero.as_slice(), &[first.as_slice(), &[2]]);
        (first, second)
    }
}

/// An initiation that waits for its response.
pub(super) struct Initiating {
    state: Symmetric,
    ephemeral: PrivateKey,
}

impl Initiating {
    /// Makes an initiation without macs. `shared` is what both static keys agree on.
    pub(super) fn new(
        local: &Local,
        peer: &PublicKey,
        shared: &Zeroizing<[u8; 32]>,
        sender: u32,
        timestamp: Tai64n,
        rng: &mut Rng,
    ) -> Result<(Self, Initiation), Forged> {
        let mut state = Symmetric::new(peer);
        let ephemeral = PrivateKey::generate(rng);
        let public = *ephemeral.public().as_bytes();
        state.mix_ephemeral(&public);
        let key = state.mix_key(agree(&ephemeral, peer.as_bytes())?.as_slice());
        let static_key = state.seal(key, local.public.as_bytes())?;
        let key = state.mix_key(shared.as_slice());
        let timestamp = state.seal(key, &timestamp.0)?;
        let initiation = Initiation {
            sender,
            ephemeral: public,
            static_key,
            timestamp,
            mac1: [0; 16],
            mac2: [0; 16],
        };
        Ok((Self { state, ephemeral }, initiation))
    }

    /// Returns the keys; a response that is not the true one changes nothing.
    pub(super) fn finish(
        &self,
        local: &Local,
        preshared: &PresharedKey,
        response: &Response,
    ) -> Result<Keys, Forged> {
        let mut state = self.state.clone();
        state.mix_ephemeral(&response.ephemeral);
        state.mix(agree(&self.ephemeral, &response.ephemeral)?.as_slice());
        state.mix(agree(&local.private, &response.ephemeral)?.as_slice());
        let key = state.mix_preshared(preshared);
        let [] = state.open(key, &response.nothing)?;
        let (sending, receiving) = state.split();
        Ok(Keys { sending, receiving })
    }
}

/// An initiation whose sender is claimed, but not proved.
pub(super) struct Opened {
    state: Symmetric,
    /// Who it is said to be from.
    pub(super) peer: PublicKey,
}

impl Opened {
    /// Opens the sender's key.
    pub(super) fn new(local: &Local, initiation: &Initiation) -> Result<Self, Forged> {
        let mut state = Symmetric::new(&local.public);
        state.mix_ephemeral(&initiation.ephemeral);
        let key = state.mix_key(agree(&local.private, &initiation.ephemeral)?.as_slice());
        let peer = PublicKey::from_bytes(state.open(key, &initiation.static_key)?);
        Ok(Self { state, peer })
    }

    /// Opens the timestamp, which proves the sender. `shared` is what both static keys agree on.
    pub(super) fn accept(
        mut self,
        shared: &Zeroizing<[u8; 32]>,
        initiation: &Initiation,
    ) -> Result<(Responding, Tai64n), Forged> {
        let key = self.state.mix_key(shared.as_slice());
        let timestamp = Tai64n(self.state.open(key, &initiation.timestamp)?);
        let responding = Responding {
            state: self.state,
            ephemeral: initiation.ephemeral,
            receiver: initiation.sender,
        };
        Ok((responding, timestamp))
    }
}

/// An authentic initiation that can be answered.
pub(super) struct Responding {
    state: Symmetric,
    ephemeral: [u8; 32],
    /// The index that the initiator chose.
    pub(super) receiver: u32,
}

impl Responding {
    /// Makes the response, without macs, and the keys.
    pub(super) fn respond(
        mut self,
        peer: &PublicKey,
        preshared: &PresharedKey,
        sender: u32,
        rng: &mut Rng,
    ) -> Result<(Response, Keys), Forged> {
        let ephemeral = PrivateKey::generate(rng);
        let public = *ephemeral.public().as_bytes();
        self.state.mix_ephemeral(&public);
        self.state
            .mix(agree(&ephemeral, &self.ephemeral)?.as_slice());
        self.state
            .mix(agree(&ephemeral, peer.as_bytes())?.as_slice());
        let key = self.state.mix_preshared(preshared);
        let nothing = self.state.seal(key, &[])?;
        let (receiving, sending) = self.state.split();
        let response = Response {
            sender,
            receiver: self.receiver,
            ephemeral: public,
            nothing,
            mac1: [0; 16],
            mac2: [0; 16],
        };
        Ok((response, Keys { sending, receiving }))
    }
}

fn agree(private: &PrivateKey, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Forged> {
    private.agree(public).ok_or(Forged)
}
