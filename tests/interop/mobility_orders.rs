//! What FreeRADIUS is told of a device's sessions, and what `radclient` orders.

use std::collections::HashMap;
use std::fs::{self, File};

use harness::lab::{
    BEHIND, Device, Files, FreeRadius, GATEWAY, Gateway, Lab, Settings, eventually, is_long, lacks,
    rootless,
};

use super::{Key, log_in};

/// Sends one packet to port 3799 and returns what `radclient` says of the answer.
fn radclient(lab: &Lab, command: &str, attributes: &str) -> String {
    let input = lab.path("order.txt");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let more = format!("{attributes}\nEvent-Timestamp = {now}\nMessage-Authenticator = 0x00\n");
    fs::write(&input, more).unwrap();
    let mut program = lab.command("radclient");
    program.args(["-x", "-r", "1", "-t", "5"]);
    program.args([&format!("{GATEWAY}:3799"), command, "orders"]);
    let output = program.stdin(File::open(&input).unwrap()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

type Record = HashMap<String, String>;

fn of_kind(radius: &FreeRadius<'_>, kind: &str) -> Vec<Record> {
    let is = |record: &Record| record["Acct-Status-Type"] == kind;
    radius.records().into_iter().filter(is).collect()
}

/// Waits until there are so many records of a kind, and no more, and returns the last one.
fn last(radius: &FreeRadius<'_>, kind: &str, count: usize) -> Record {
    assert!(
        eventually(15, || of_kind(radius, kind).len() >= count),
        "{kind} {count}: {:?}",
        radius.records()
    );
    let mut found = of_kind(radius, kind);
    assert_eq!(found.len(), count, "{found:?}");
    found.pop().unwrap()
}

fn number(record: &Record, name: &str) -> u64 {
    record
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {record:?}"))
        .parse()
        .unwrap()
}

#[test]
#[ignore = "needs root, wireguard-go, wireguard-tools, FreeRADIUS, radclient, curl"]
fn freeradius_hears_of_a_devices_sessions_and_radclient_changes_and_ends_them() {
    need!(
        rootless(),
        lacks("wireguard-go"),
        lacks("wg"),
        lacks("freeradius"),
        lacks("radclient"),
        lacks("curl")
    );
    let lab = Lab::new();
    let _files = Files::start(&lab);
    let radius = FreeRadius::start(&lab);
    let settings = Settings::radius(&["pap"], FreeRadius::PORT);
    let gateway = Gateway::start(&lab, &settings.mobility("").accounted());
    let key = Key::new();
    let enter = || {
        let accepted = log_in(&lab, "fixed", "fixedpw", &key);
        assert_eq!(accepted["state"], "accepted", "{accepted}");
        assert_eq!(accepted["address"], "10.97.0.77", "{accepted}");
        accepted["profile"].as_str().unwrap().to_owned()
    };
    let profile = enter().replace("PASTE-YOUR-PRIVATE-KEY-HERE", &key.private);
    // Being enrolled is no session.
    assert_eq!(of_kind(&radius, "Start"), Vec::<Record>::new());
    let device = Device::start(&lab, &profile);
    assert!(device.reaches(BEHIND, 5), "{profile}");

    let start = last(&radius, "Start", 1);
    for (name, value) in [
        ("User-Name", "fixed"),
        ("Framed-IP-Address", "10.97.0.77"),
        ("Class", "0x636c617373"),
        ("Calling-Station-Id", "10.99.0.50"),
        ("Acct-Authentic", "RADIUS"),
        ("NAS-Port-Type", "Virtual"),
    ] {
        assert_eq!(
            start.get(name).map(String::as_str),
            Some(value),
            "{start:?}"
        );
    }
    let digest = Files::digest(5);
    let said = device.shell(&Files::exchange_over(device.interface(), 5));
    assert!(said.contains(&format!("stored_sha256={digest}")), "{said}");
    if is_long() {
        // Its Acct-Interim-Interval is a minute.
        assert!(
            eventually(75, || of_kind(&radius, "Interim-Update").len() == 1),
            "{:?}",
            radius.records()
        );
    }

    // A filter, and another one.
    let id = format!("Acct-Session-Id = \"{}\"", start["Acct-Session-Id"]);
    let filter = |name: &str| radclient(&lab, "coa", &format!("{id}\nFilter-Id = \"{name}\""));
    assert!(filter("nothing").contains("CoA-ACK"));
    assert!(!device.reaches(BEHIND, 2));
    assert!(filter("unknown").contains("CoA-NAK"));
    assert!(filter("staff").contains("CoA-ACK"));
    assert!(device.reaches(BEHIND, 3), "{}", gateway.log());

    // Less time: the session ends, and the device has to be logged in again.
    let usage = gateway.json(&["sessions"])["sessions"][0].clone();
    let coa = radclient(&lab, "coa", "User-Name = \"fixed\"\nSession-Timeout = 3");
    assert!(coa.contains("CoA-ACK"), "{coa}");
    let stop = last(&radius, "Stop", 1);
    assert_eq!(stop["Acct-Session-Id"], start["Acct-Session-Id"]);
    assert_eq!(stop["Class"], "0x636c617373");
    assert_eq!(stop["Acct-Terminate-Cause"], "Session-Timeout", "{stop:?}");
    assert!(number(&stop, "Acct-Session-Time") >= 3);
    for (name, counted) in [
        ("Acct-Input-Octets", "rx_bytes"),
        ("Acct-Output-Octets", "tx_bytes"),
    ] {
        // The files and little else.
        let octets = number(&stop, name);
        assert!((5_000_000..6_500_000).contains(&octets), "{name}: {stop:?}");
        let shown = usage[counted].as_u64();
        assert!(
            shown.is_some_and(|shown| octets >= shown && octets < shown + 10_000),
            "{usage}"
        );
    }
    assert!(!device.reaches(BEHIND, 2), "after its time");
    enter();
    assert!(device.reaches(BEHIND, 15), "{}", gateway.log());

    // Ended by each of the three names; only a log-in brings it back.
    let session = |start: &Record| format!("Acct-Session-Id = \"{}\"", start["Acct-Session-Id"]);
    for (round, name) in (2..).zip([
        "User-Name = \"fixed\"",
        "Framed-IP-Address = 10.97.0.77",
        "",
    ]) {
        let start = last(&radius, "Start", round);
        let name = match name {
            "" => session(&start),
            name => name.to_owned(),
        };
        let wrong = lab
            .command("sh")
            .args([
                "-c",
                &format!("echo '{name}' | radclient -r 1 -t 1 {GATEWAY}:3799 disconnect guess"),
            ])
            .output()
            .unwrap();
        assert!(
            !String::from_utf8_lossy(&wrong.stdout).contains("ACK"),
            "{wrong:?}"
        );
        let ack = radclient(&lab, "disconnect", &name);
        assert!(ack.contains("Disconnect-ACK"), "{name}: {ack}");
        let stop = last(&radius, "Stop", round);
        assert_eq!(stop["Acct-Session-Id"], start["Acct-Session-Id"]);
        assert_eq!(stop["Acct-Terminate-Cause"], "Admin-Reset", "{stop:?}");
        assert!(!device.reaches(BEHIND, 2), "after {name}");
        let nak = radclient(&lab, "disconnect", &name);
        assert!(nak.contains("Disconnect-NAK"), "{nak}");
        enter();
        assert!(device.reaches(BEHIND, 15), "{}", gateway.log());
    }
    // Idle-Timeout, of user data alone: the tunnel's own packets do not count.
    let coa = radclient(&lab, "coa", "User-Name = \"fixed\"\nIdle-Timeout = 4");
    assert!(coa.contains("CoA-ACK"), "{coa}");
    let stop = last(&radius, "Stop", 5);
    assert_eq!(stop["Acct-Terminate-Cause"], "Idle-Timeout", "{stop:?}");
}
