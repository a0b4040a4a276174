use super::*;

/// RFC 2759 §9.2.
const USER: &[u8] = b"User";
const AUTHENTICATOR: [u8; 16] = hex("5b5d7c7d7b3f2f3e3c2c602132262628");
const PEER: [u8; 16] = hex("21402324255e262a28295f2b3a337c7e");
const NT_RESPONSE: [u8; 24] = hex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df");

/// Reads hexadecimal digits at compile time.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(text.len() == 2 * N);
    let mut out = [0; N];
    let mut at = 0;
    while at < N {
        out[at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
        at += 1;
    }
    out
}

const fn digit(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        b'a'..=b'f' => c - b'a' + 10,
        _ => panic!("no hexadecimal digit"),
    }
}

#[test]
fn every_step_matches_rfc_2759() {
    let hash = nt_password_hash("clientPass");
    assert_eq!(*hash.expose(), hex("44ebba8d5312b8d611474411f56989ae"));
    assert_eq!(
        challenge_hash(&PEER, &AUTHENTICATOR, USER),
        hex::<8>("d02e4386bce91226")
    );
    assert_eq!(nt_response(&AUTHENTICATOR, &PEER, USER, &hash), NT_RESPONSE);
    assert_eq!(
        authenticator_response(&hash, &NT_RESPONSE, &PEER, &AUTHENTICATOR, USER),
        "S=407A5589115FD0D6209F510FE9C04566932CDA56"
    );
}

#[test]
fn the_servers_keys_match_rfc_3079() {
    let keys = server_keys(&nt_password_hash("clientPass"), &NT_RESPONSE);
    // RFC 3079 §3.5.3 prints the server's send key; the other one fixes the order of the two.
    assert_eq!(
        keys.send.expose(),
        hex::<16>("8b7cdc149b993a1ba118cb153f56dccb")
    );
    assert_eq!(
        keys.recv.expose(),
        hex::<16>("d5f0e9521e3ea9589645e86051c82226")
    );
}

#[test]
fn a_proof_holds_for_one_password_only() {
    let right = nt_password_hash("clientPass");
    let wrong = nt_password_hash("clientpass");
    assert!(verify_nt_response(
        &NT_RESPONSE,
        &AUTHENTICATOR,
        &PEER,
        USER,
        &right
    ));
    assert!(!verify_nt_response(
        &NT_RESPONSE,
        &AUTHENTICATOR,
        &PEER,
        USER,
        &wrong
    ));
    assert_ne!(right, wrong);
}

#[test]
fn the_authenticators_answer_is_checked_by_its_first_42_octets() {
    let hash = nt_password_hash("clientPass");
    let check = |message: &str| {
        verify_authenticator_response(
            message.as_bytes(),
            &hash,
            &NT_RESPONSE,
            (&PEER, &AUTHENTICATOR),
            USER,
        )
    };
    assert!(check("S=407A5589115FD0D6209F510FE9C04566932CDA56"));
    assert!(check("S=407A5589115FD0D6209F510FE9C04566932CDA56 M=hello"));
    assert!(check("S=407A5589115FD0D6209F510FE9C04566932CDA56M=hello"));
    assert!(!check("S=407A5589115FD0D6209F510FE9C04566932CDA57"));
    assert!(!check("S=407A5589115FD0D6209F510FE9C04566932CDA5"));
    assert!(!check(""));
}

#[test]
fn only_the_part_behind_the_domain_is_hashed() {
    assert_eq!(user_without_domain(b"CORP\\alice"), b"alice");
    assert_eq!(user_without_domain(b"alice@corp"), b"alice@corp");
    assert_eq!(user_without_domain(b"CORP\\"), b"");
    assert_eq!(user_without_domain(b"a\\b\\c"), b"b\\c");
}

#[test]
fn a_password_outside_the_basic_plane_is_hashed_as_surrogates() {
    assert_eq!(
        nt_password_hash("\u{1f600}").expose(),
        &crate::crypto::legacy::md4(&[0x3d, 0xd8, 0x00, 0xde])
    );
    assert_eq!(format!("{:?}", nt_password_hash("x")), "NtHash(..)");
}
