use super::*;

const STAFF: &str = r#"
[filters.staff]
allow = ["10.0.0.0/8", "tcp/443 10.1.0.5/32", "udp/53 10.0.0.10/32", "icmp any"]
deny = ["10.0.66.0/24"]
"#;

#[test]
fn the_filters_of_the_manual_are_read() {
    let etc = etc();
    let loaded = etc.load(&format!("{BASE}{STAFF}{SERVER}"));
    let loaded = loaded.unwrap_or_else(|drawn| panic!("{drawn}"));
    let rule = |text: &str| text.parse().unwrap();
    let deny = [rule("10.0.66.0/24")];
    let allow = [
        "10.0.0.0/8",
        "tcp/443 10.1.0.5/32",
        "udp/53 10.0.0.10/32",
        "icmp any",
    ]
    .map(rule);
    assert_eq!(
        *loaded.config.filters["staff"],
        Filter::new("staff", &deny, &allow)
    );
    assert!(loaded.report.findings().is_empty());
    let empty = etc.load(&format!("{BASE}[filters.none]\ndeny = [\"any\"]\n{SERVER}"));
    let report = empty.unwrap_or_else(|drawn| panic!("{drawn}")).report;
    let [finding] = report.findings() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (finding.code(), finding.severity()),
        ("E0215", Severity::Warning)
    );
}

#[test]
fn a_rule_that_is_none_is_shown_with_its_remedy() {
    let etc = etc();
    for (rule, said, help) in [
        (
            "sctp 10.0.0.0/8",
            "unknown protocol",
            "write `tcp`, `udp` or `icmp`",
        ),
        (
            "tcp/70000 any",
            "no port from 1 to 65535",
            "write one port or a range",
        ),
        ("udp/90-80 any", "runs backwards", "write `80-90`"),
        ("icmp/8 any", "icmp has no ports", "without a port"),
        ("10.0.0.0/40", "no IPv4 network", "clients have no IPv6"),
        ("10.0.0.5/8", "bits behind the prefix", "write `10.0.0.0/8`"),
        ("allow all of it", "neither a network", "one in each string"),
    ] {
        let text = format!(
            "{BASE}[filters.x]\nallow = [\"any\"]\ndeny = [\"any\",\n\"{rule}\"]\n{SERVER}"
        );
        let drawn = etc.fault(&text);
        for expected in ["error[E0214]", said, help, &format!("| \"{rule}\"]")] {
            assert!(drawn.contains(expected), "{expected}:\n{drawn}");
        }
    }
    let many = vec!["\"10.0.0.0/8\""; 257].join(",");
    let drawn = etc.fault(&format!("{BASE}[filters.x]\nallow = [{many}]\n{SERVER}"));
    assert!(drawn.contains("257 rules; 256 at most"), "{drawn}");
}

#[test]
fn pools_and_filters_of_users_are_looked_for() {
    let etc = etc();
    let user = |name: &str, rest: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\nnt_hash = \"{}\"\n{rest}\n",
            "0".repeat(32)
        )
    };
    let users = user("bob", "filter = \"staf\"")
        + &user("ann", "filter = \"staf\"\npool = \"users\"")
        + &user("carol", "filter = \"staff\"\npool = \"visitors\"");
    etc.write("users.toml", &users, 0o600);
    let text = format!(
        "{BASE}auth = [\"mschapv2\"]\n{STAFF}[users]\nfile = \"/etc/causeway/users.toml\"\n"
    );
    let loaded = etc.load(&text).unwrap_or_else(|drawn| panic!("{drawn}"));
    let drawn = etc.plain(&loaded.report);
    assert_eq!(loaded.report.findings().len(), 2, "{drawn}");
    for expected in [
        "warning[E0406]",
        "filter \"staf\" of ann, bob",
        "pool \"visitors\" of carol",
        "add `[filters.staf]`",
    ] {
        assert!(drawn.contains(expected), "{expected}:\n{drawn}");
    }
    etc.write("users.toml", "[[user]]\nname = 7\n", 0o600);
    assert!(etc.fault(&text).contains("error[E0405]"));
}
