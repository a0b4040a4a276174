//! The published vectors ([MS-SSTP] §4.7: V1, V2; sstp-client's unit test: V3), our own (D1 to D4), and what must fail.

use super::*;
use crate::sstp::message::Message;

const V1_HLAK: &str = "2A1BB40D55AB0F5EF32F06F2B3CC73C48FD3FAC41D7A1315A19228D9024CA164";
const V1_NONCE: &str = "412B489AEBD7ECC7D08966F26BE7CD72B231A0E9210D7C91B308862B0344C435";
const V1_CERT: &str = "7993EF314C493DACE9F02D60E7E61C84B6690AAFE9D7AEEA92CBBE8AD599422D";
const V2_HLAK: &str = "4B3128F43925D9006EEFB1C4E86515A1D88E56BAB3CA2BDF0373B7F5A8A13B19";
const V2_NONCE: &str = "0F1A2D58D4A3E3000FAD3CE4906E07B707AA9E441CCEAC5CBD7B2CC1C9D86CDF";
const V2_CERT: &str = "5826B629BDA59B8E6FD8DCD2622FD34C534805A5";
const V3_RECV: &str = "bb2c17edbaa643b3d511eb9848792b7cab5f5d709fe9bdf89b5deaf5a8c17db7";
const V3_NONCE: &str = "388a1ecbf302ba02f9f372ce37488ec36b71a28b5e1b19fbe44d5465a631c463";
const V3_CERT: &str = "7ff150176fa8e38a1f402d11ff89ff11b66505ad7f9ae81205277ba4a6b9ef9d";
/// RFC 2759 §9.2 carried on to RFC 3079 §3: the server's keys for "User" and "clientPass".
const D3_RECV: &str = "d5f0e9521e3ea9589645e86051c82226";
const D3_SEND: &str = "8b7cdc149b993a1ba118cb153f56dccb";

struct Vector {
    name: &'static str,
    hash: HashProtocol,
    nonce: &'static str,
    certificate: &'static str,
    /// Receive and send key; empty strings for none.
    keys: (&'static str, &'static str),
    mac: &'static str,
}

const VECTORS: [Vector; 7] = [
    Vector {
        name: "V1",
        hash: HashProtocol::Sha256,
        nonce: V1_NONCE,
        certificate: V1_CERT,
        keys: (V1_HLAK, ""),
        mac: "52A68EFD8CFFBF52770B8F0FE8EC73716583AF6D611EB6D179B3B20840985449",
    },
    Vector {
        name: "V2",
        hash: HashProtocol::Sha1,
        nonce: V2_NONCE,
        certificate: V2_CERT,
        keys: (V2_HLAK, ""),
        mac: "69915DD583D8062FEF16F61DB2F03290EC27CB6C",
    },
    Vector {
        name: "V3",
        hash: HashProtocol::Sha256,
        nonce: V3_NONCE,
        certificate: V3_CERT,
        keys: (V3_RECV, "ffffffff"),
        mac: "fe6473c7d183914e483fea1b12a6e760a4da16b62fab12a0a1e54e0ec325b24e",
    },
    Vector {
        name: "D1",
        hash: HashProtocol::Sha256,
        nonce: V1_NONCE,
        certificate: V1_CERT,
        keys: ("", ""),
        mac: "37350a9168e4697495f2f535721af42be80a185d6dc4c4dc929f8f87e304a616",
    },
    Vector {
        name: "D2",
        hash: HashProtocol::Sha1,
        nonce: V2_NONCE,
        certificate: V2_CERT,
        keys: ("", ""),
        mac: "9a111c756b84d95002c9372556c181e0e5360da7",
    },
    Vector {
        name: "D3",
        hash: HashProtocol::Sha256,
        nonce: V1_NONCE,
        certificate: V1_CERT,
        keys: (D3_RECV, D3_SEND),
        mac: "fc0f8e272dd23c80526c2a271158a12195eb2df59780b17e6ef641ba0fe699d0",
    },
    Vector {
        name: "D4",
        hash: HashProtocol::Sha1,
        nonce: V2_NONCE,
        certificate: V2_CERT,
        keys: (D3_RECV, D3_SEND),
        mac: "ff9d1b065cbac8e7a71ad85cad75eee5b14890c9",
    },
];

#[test]
fn the_vectors_are_right() {
    for vector in &VECTORS {
        let packet = vector.packet();
        let keys = vector.inner_keys();
        assert_eq!(
            compound_mac(vector.hash, &Hlak::from_keys(keys.as_ref()), &packet),
            field(vector.mac),
            "{}",
            vector.name
        );
        assert_eq!(verify_mac(vector.hash, &packet, keys.as_ref()), Ok(()));
        assert_eq!(
            vector.expected().check(&vector.binding()),
            Ok(vector.hash),
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_compound_mac_keys_are_right() {
    let cmk =
        |hash, hlak| compound_mac_key(hash, &Hlak::from_keys(keys(hlak, "").as_ref())).to_vec();
    assert_eq!(
        cmk(HashProtocol::Sha256, V1_HLAK),
        hex("ecf59ac9fe155cf0a9e7d66adc1b363c1ad7ba91a9217f0cec2a534298828df6")
    );
    assert_eq!(
        cmk(HashProtocol::Sha1, V2_HLAK),
        hex("a98b862a38cc7e224b42cd128586acb22f0bd1e9")
    );
}

#[test]
fn every_changed_bit_of_the_packet_changes_the_verdict() {
    for vector in &VECTORS {
        let keys = vector.inner_keys();
        for bit in 0..CONNECTED_LEN * 8 {
            let mut packet = vector.packet();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify_mac(vector.hash, &packet, keys.as_ref()).is_err(),
                "{} bit {bit}",
                vector.name
            );
        }
    }
}

#[test]
fn every_wrong_field_has_its_own_name() {
    for vector in &VECTORS {
        let expected = vector.expected();
        let right = vector.binding();
        for octet in 0..32 {
            let mut binding = right;
            binding.nonce[octet] ^= 0x80;
            assert_eq!(expected.check(&binding), Err(Mismatch::Nonce));
            let mut binding = right;
            binding.certificate_hash[octet] ^= 1;
            assert_eq!(expected.check(&binding), Err(Mismatch::Certificate));
        }
        for hash in (0..=u8::MAX).filter(|bits| *bits != vector.hash.bit()) {
            let binding = CryptoBinding { hash, ..right };
            // The other hash is offered too, but the certificate's hash is then another one.
            let mismatch = match HashProtocol::from_bit(hash) {
                Some(_) => Mismatch::Certificate,
                None => Mismatch::HashProtocol,
            };
            assert_eq!(expected.check(&binding), Err(mismatch));
        }
    }
}

#[test]
fn a_hash_that_was_not_offered_is_refused() {
    for vector in &VECTORS {
        let mut expected = vector.expected();
        expected.hashes.retain(|hash| *hash != vector.hash);
        assert_eq!(
            expected.check(&vector.binding()),
            Err(Mismatch::HashProtocol)
        );
    }
}

#[test]
fn sha1_values_must_be_padded_with_zeros() {
    let vector = &VECTORS[1];
    for octet in 20..32 {
        let mut binding = vector.binding();
        binding.certificate_hash[octet] = 1;
        assert_eq!(
            vector.expected().check(&binding),
            Err(Mismatch::Certificate)
        );
        let mut packet = vector.packet();
        packet[CONNECTED_LEN - MAC_LEN + octet] = 1;
        let keys = vector.inner_keys();
        assert!(verify_mac(vector.hash, &packet, keys.as_ref()).is_err());
    }
}

#[test]
fn a_wrong_mac_is_explained_but_never_accepted() {
    let d3 = keys(D3_RECV, D3_SEND).unwrap();
    let swapped = keys(D3_SEND, D3_RECV).unwrap();
    let long = keys(V3_RECV, V1_HLAK).unwrap();
    let other = keys(V1_HLAK, "").unwrap();
    let receive = keys(D3_RECV, "").unwrap();
    let rows = [
        (None, Some(&d3), Some(Guess::Zeros)),
        (Some(&swapped), Some(&d3), Some(Guess::Swapped)),
        (Some(&receive), Some(&d3), Some(Guess::ReceiveOnly)),
        (Some(&other), Some(&d3), None),
        (Some(&other), Some(&long), Some(Guess::Swapped)),
        (Some(&d3), None, None),
    ];
    for (client, server, guess) in rows {
        let mut packet = VECTORS[0].packet();
        let mac = compound_mac(HashProtocol::Sha256, &Hlak::from_keys(client), &packet);
        packet[CONNECTED_LEN - MAC_LEN..].copy_from_slice(&mac);
        assert_eq!(
            verify_mac(HashProtocol::Sha256, &packet, server),
            Err(Mismatch::Mac(guess))
        );
    }
}

#[test]
fn a_client_that_keeps_half_of_each_long_key_is_bound_as_well() {
    let server = keys(V3_RECV, V1_HLAK).unwrap();
    let halves = |recv: &str, send: &str| keys(&recv[..32], &send[..32]).unwrap();
    let verify = |client: &InnerKeys, server: &InnerKeys| {
        let mut packet = VECTORS[0].packet();
        let hlak = Hlak::from_keys(Some(client));
        let mac = compound_mac(HashProtocol::Sha256, &hlak, &packet);
        packet[CONNECTED_LEN - MAC_LEN..].copy_from_slice(&mac);
        verify_mac(HashProtocol::Sha256, &packet, Some(server))
    };
    assert_eq!(verify(&halves(V3_RECV, V1_HLAK), &server), Ok(()));
    // The other way round, or of somebody else's keys: no.
    assert!(verify(&halves(V1_HLAK, V3_RECV), &server).is_err());
    assert!(verify(&halves(V3_RECV, V2_HLAK), &server).is_err());
    // Short keys have one form.
    assert!(Hlak::from_halves(&keys(D3_RECV, D3_SEND).unwrap()).is_none());
    assert!(Hlak::from_halves(&keys(V3_RECV, D3_SEND).unwrap()).is_none());
    assert!(Hlak::from_halves(&keys(V3_RECV, "").unwrap()).is_none());
}

#[test]
fn keys_follow_one_rule() {
    let hlak = |recv: &str, send: &str| hlak_of(keys(recv, send).as_ref());
    assert_eq!(hlak_of(None), vec![0; 32]);
    assert_eq!(hlak(D3_RECV, D3_SEND), hex(&format!("{D3_RECV}{D3_SEND}")));
    assert_eq!(hlak(V3_RECV, V1_HLAK), hex(V3_RECV));
    let long = format!("{V3_RECV}{V1_HLAK}");
    assert_eq!(hlak(&long, ""), hex(V3_RECV));
    // Short ones are padded, long ones cut.
    let short = hlak("aabb", "cc");
    assert_eq!(short[..4], [0xaa, 0xbb, 0xcc, 0]);
    assert_eq!(hlak(D3_RECV, V1_HLAK).len(), 32);
}

#[test]
fn a_key_is_never_shown() {
    let shown = format!("{:?}", Hlak::from_keys(keys(V1_HLAK, "").as_ref()));
    assert_eq!(shown, "Hlak(..)");
}

impl Vector {
    fn binding(&self) -> CryptoBinding {
        CryptoBinding {
            hash: self.hash.bit(),
            nonce: field(self.nonce),
            certificate_hash: field(self.certificate),
            mac: field(self.mac),
        }
    }

    fn packet(&self) -> [u8; CONNECTED_LEN] {
        let bytes = Message::Connected(self.binding()).to_bytes();
        bytes.try_into().unwrap()
    }

    fn inner_keys(&self) -> Option<InnerKeys> {
        keys(self.keys.0, self.keys.1)
    }

    fn expected(&self) -> Expected {
        let mut certificate = CertificateHashes {
            sha1: [0xee; 20],
            sha256: [0xee; 32],
        };
        let bytes = hex(self.certificate);
        match self.hash {
            HashProtocol::Sha1 => certificate.sha1 = bytes.try_into().unwrap(),
            HashProtocol::Sha256 => certificate.sha256 = bytes.try_into().unwrap(),
        }
        Expected {
            hashes: HashProtocol::ALL.to_vec(),
            nonce: field(self.nonce),
            certificate,
        }
    }
}

fn hlak_of(keys: Option<&InnerKeys>) -> Vec<u8> {
    Hlak::from_keys(keys).0.to_vec()
}

fn keys(recv: &str, send: &str) -> Option<InnerKeys> {
    (!recv.is_empty()).then(|| InnerKeys {
        recv: SecretBytes::new(hex(recv)),
        send: SecretBytes::new(hex(send)),
    })
}

fn field(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let bytes = hex(text);
    out[..bytes.len()].copy_from_slice(&bytes);
    out
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
