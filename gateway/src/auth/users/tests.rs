use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use causeway_proto::mschapv2::nt_response;

use super::*;

fn identity(name: &str) -> Identity {
    Identity::new(name.as_bytes()).unwrap()
}

fn pap_of(name: &str, password: &[u8]) -> Credentials {
    Credentials::Pap {
        user: identity(name),
        password: password.into(),
    }
}

fn ms_chap_of(name: &str, password: &str) -> Credentials {
    let (challenge, peer_challenge) = ([1; 16], [2; 16]);
    let user = user_without_domain(name.as_bytes());
    Credentials::MsChapV2 {
        user: identity(name),
        response: MsChapV2Response {
            identifier: 1,
            challenge,
            peer_challenge,
            nt_response: nt_response(
                &challenge,
                &peer_challenge,
                user,
                &nt_password_hash(password),
            ),
            flags: 0,
        },
    }
}

fn accepted(outcome: Outcome) -> Authorization {
    match outcome.verdict {
        Some(Verdict::Accept(authorization)) => *authorization,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_methods_let_the_right_password_in() {
    let users = UserFile::dev();
    let a = accepted(users.authenticate(&pap_of("alice", b"wonderland")));
    assert_eq!((a.proof, a.keys), (Proof::Message(String::new()), None));
    let credentials = ms_chap_of("CORP\\bob", "builder");
    let a = accepted(users.authenticate(&credentials));
    assert_eq!(a.user, identity("bob"));
    let Credentials::MsChapV2 { response, .. } = credentials else {
        unreachable!();
    };
    let hash = nt_password_hash("builder");
    assert_eq!(a.keys, Some(server_keys(&hash, &response.nt_response)));
    assert!(matches!(a.proof, Proof::MsChapV2(proof) if proof.starts_with("S=")));
}

#[test]
fn an_unknown_user_and_a_wrong_password_sound_the_same() {
    let users = UserFile::dev();
    let told = |credentials: &Credentials| {
        let mut outcome = users.authenticate(credentials);
        outcome.elapsed = Duration::ZERO;
        if let Some(Verdict::Reject(rejection)) = &mut outcome.verdict
            && let Some(error) = &mut rejection.ms_chap_error
        {
            assert_eq!(&error[..12], "E=691 R=0 C=");
            error.replace_range(12..44, "");
            assert_eq!(&error[12..], " V=3 M=Authentication failed");
        }
        outcome
    };
    let wrong = told(&pap_of("alice", b"Wonderland"));
    assert_eq!(wrong.refusal, Some(RefuseReason::Rejected));
    for other in [
        pap_of("eve", b"wonderland"),
        pap_of("alice", b""),
        pap_of("alice", b"\xff"),
        pap_of("ALICE\\", b"wonderland"),
    ] {
        assert_eq!(told(&other), wrong);
    }
    assert_eq!(
        told(&ms_chap_of("alice", "builder")),
        told(&ms_chap_of("eve", "wonderland"))
    );
}

#[test]
fn what_the_file_cannot_check_is_neither_offered_nor_accepted() {
    let users = UserFile::dev();
    let eap = Credentials::Eap {
        user: identity("alice"),
        message: vec![2, 1, 0, 10, 1, b'a', b'l', b'i', b'c', b'e'],
        state: None,
    };
    assert_eq!(
        users.authenticate(&eap).refusal,
        Some(RefuseReason::Rejected)
    );
    let supported: Vec<_> = AuthMethod::ALL
        .into_iter()
        .filter(|method| UserFile::supports(*method))
        .collect();
    assert_eq!(supported, [AuthMethod::Pap, AuthMethod::MsChapV2]);
}

/// Writes a user file with a mode.
fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

const CAROL: &str = r#"# our users
[[user]]
name = "carol"
nt_hash = "44ebba8d5312b8d611474411f56989ae" # clientPass
pool = "staff"
address = "10.99.0.9"
filter = "narrow"
"#;

#[test]
fn an_entry_says_what_its_user_gets() {
    let (_folder, path) = file(CAROL, 0o600);
    let users = UserFile::load(&path).unwrap();
    let a = accepted(users.authenticate(&ms_chap_of("carol", "clientPass")));
    assert_eq!(a.address, FramedAddress::Fixed([10, 99, 0, 9].into()));
    assert_eq!(a.pool.as_deref(), Some("staff"));
    assert_eq!(a.filter.as_deref(), Some("narrow"));
    assert!(!format!("{users:?}").contains("44ebba"));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o660, 0o700, 0o4600] {
        let (_folder, path) = file(CAROL, mode);
        let error = UserFile::load(&path).unwrap_err();
        assert!(
            matches!(error, UserFileError::Mode { .. }),
            "{mode:o}: {error}"
        );
        assert!(UserFile::add(&path, "dave", "secret").is_err());
    }
    let (_folder, path) = file(CAROL, 0o400);
    assert!(UserFile::load(&path).is_ok());
    let folder = tempfile::tempdir().unwrap();
    assert!(UserFile::load(folder.path()).is_err());
}

#[test]
fn a_bad_file_is_refused_and_its_hashes_stay_unseen() {
    let hash = "nt_hash = \"44ebba8d5312b8d611474411f56989ae\"\n";
    let rows = [
        ("[[user]]\nname = \"a\"\n".to_owned(), "nt_hash"),
        (format!("[[user]]\nname = \"a\"\nx = 1\n{hash}"), "x"),
        (format!("[[user]]\nname = \"\"\n{hash}"), "name"),
        (format!("[[user]]\nname = \"a\\n\"\n{hash}"), "name"),
        (
            "[[user]]\nname = \"a\"\nnt_hash = \"+4ebba8d5312b8d611474411f56989ae\"".into(),
            "32",
        ),
        (
            format!("[[user]]\nname = \"a\"\n{hash}[[user]]\nname = \"a\"\n{hash}"),
            "twice",
        ),
        (hash.repeat(2), ""),
    ];
    for (text, word) in rows {
        let (_folder, path) = file(&text, 0o600);
        let error = UserFile::load(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{text} → {error}");
        assert!(!error.contains("ebba8d"), "{error}");
    }
}

#[test]
fn octets_that_are_no_text_are_no_empty_password() {
    let empty = "[[user]]\nname = \"a\"\nnt_hash = \"31d6cfe0d16ae931b73c59d7e0c089c0\"\n";
    let (_folder, path) = file(empty, 0o600);
    let users = UserFile::load(&path).unwrap();
    let outcome = users.authenticate(&pap_of("a", b"\xff"));
    assert_eq!(outcome.refusal, Some(RefuseReason::Rejected));
}

#[test]
fn adding_keeps_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    assert_eq!(
        UserFile::add(&path, "dave \"the\" brave", "secret").unwrap(),
        Change::Added
    );
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let users = UserFile::load(&path).unwrap();
    accepted(users.authenticate(&pap_of("dave \"the\" brave", b"secret")));

    let (_folder, path) = file(CAROL, 0o600);
    assert_eq!(UserFile::add(&path, "dave", "x").unwrap(), Change::Added);
    assert!(fs::read_to_string(&path).unwrap().starts_with(CAROL));
    assert_eq!(
        UserFile::add(&path, "carol", "new").unwrap(),
        Change::Replaced
    );
    let users = UserFile::load(&path).unwrap();
    assert_eq!(users.len(), 2);
    let a = accepted(users.authenticate(&pap_of("carol", b"new")));
    assert_eq!(a.pool.as_deref(), Some("staff"));
    accepted(users.authenticate(&pap_of("dave", b"x")));
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_name_that_no_client_can_send_is_not_added() {
    let (_folder, path) = file(CAROL, 0o600);
    assert!(UserFile::add(&path, "", "x").is_err());
    assert!(UserFile::add(&path, "dave", "").is_err());
    assert!(UserFile::add(&path, &"x".repeat(254), "x").is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), CAROL);
}
