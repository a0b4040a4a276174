use super::*;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_proto::crypto::Rng;
use ipnet::Ipv4Net;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn user(name: &str) -> Identity {
    Identity::new(name.as_bytes()).unwrap()
}

fn config(networks: &[&str], exclude: &[&str], sticky: u64) -> Result<PoolConfig, PoolConfigError> {
    let networks: Vec<_> = networks.iter().map(|text| net(text)).collect();
    let gateway = PoolConfig::first_usable(networks[0]);
    let exclude: Vec<_> = exclude.iter().map(|text| net(text)).collect();
    PoolConfig::new(
        "users",
        &networks,
        &exclude,
        gateway,
        Duration::from_secs(sticky),
    )
}

/// A pool whose clock stands still until it is moved.
fn pool(networks: &[&str], exclude: &[&str], sticky: u64) -> (Arc<AddressPool>, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || start + Duration::from_secs(seconds.load(Ordering::Relaxed))
    };
    let pool = AddressPool::with_clock(config(networks, exclude, sticky).unwrap(), clock);
    (Arc::new(pool), seconds)
}

#[test]
fn gives_neither_the_network_nor_the_broadcast_nor_the_gateway_address() {
    let (pool, _) = pool(&["10.99.0.0/29"], &["10.99.0.4/32"], 0);
    let alice = user("alice");
    let leases: Vec<_> = std::iter::from_fn(|| pool.lease(&alice, None, None).ok()).collect();
    let addresses: Vec<_> = leases.iter().map(Lease::address).collect();
    assert_eq!(
        addresses,
        ["10.99.0.2", "10.99.0.3", "10.99.0.5", "10.99.0.6"].map(ip)
    );
    assert_eq!(leases[0].gateway(), ip("10.99.0.1"));
    assert_eq!(
        pool.lease(&alice, None, None).err(),
        Some(LeaseError::Exhausted)
    );
    for address in [
        "10.99.0.0",
        "10.99.0.1",
        "10.99.0.4",
        "10.99.0.7",
        "127.0.0.1",
        "224.0.0.1",
    ] {
        assert_eq!(
            pool.lease(&alice, None, Some(ip(address))).err(),
            Some(LeaseError::Unusable(ip(address)))
        );
    }
}

#[test]
fn a_freed_address_is_usable_at_once() {
    let (pool, _) = pool(&["10.99.0.0/30"], &[], 3600);
    let lease = pool.lease(&user("alice"), None, None).unwrap();
    assert!(pool.lease(&user("bob"), None, None).is_err());
    drop(lease);
    let usage = PoolUsage {
        used: 0,
        free: 0,
        reserved: 1,
    };
    assert_eq!(pool.usage(), usage);
    assert_eq!(
        pool.lease(&user("bob"), None, None).unwrap().address(),
        ip("10.99.0.2")
    );
}

#[test]
fn the_same_user_and_device_gets_the_same_address_until_it_is_forgotten() {
    let (pool, clock) = pool(&["10.99.0.0/24"], &[], 100);
    let lease = |name: &str, device| pool.lease(&user(name), device, None).unwrap();
    let phone = lease("alice", Some("phone"));
    let laptop = lease("alice", Some("laptop"));
    let (at_phone, at_laptop) = (phone.address(), laptop.address());
    assert_ne!(at_phone, at_laptop);
    drop((phone, laptop));

    clock.store(99, Ordering::Relaxed);
    let bob = lease("bob", None);
    assert!(bob.address() != at_phone && bob.address() != at_laptop);
    assert_eq!(lease("ALICE", Some("laptop")).address(), at_laptop);
    assert_eq!(lease("alice", Some("phone")).address(), at_phone);
    assert_eq!(pool.usage().reserved, 2);

    clock.store(99 + 100, Ordering::Relaxed);
    assert_eq!(pool.usage().reserved, 0);
    assert_ne!(lease("alice", Some("phone")).address(), at_phone);
}

#[test]
fn a_second_session_of_the_same_client_gets_another_address_and_leaves_the_memory() {
    let (pool, _) = pool(&["10.99.0.0/24"], &[], 100);
    let first = pool.lease(&user("alice"), None, None).unwrap();
    let second = pool.lease(&user("alice"), None, None).unwrap();
    let address = first.address();
    assert_ne!(second.address(), address);
    drop(first);
    drop(second);
    assert_eq!(pool.usage().reserved, 1);
    assert_eq!(
        pool.lease(&user("alice"), None, None).unwrap().address(),
        address
    );
}

#[test]
fn a_fixed_address_is_refused_while_another_holds_it() {
    let (pool, _) = pool(&["10.99.0.0/24"], &[], 100);
    for address in [ip("10.99.0.2"), ip("10.50.0.9")] {
        let held = pool.lease(&user("alice"), None, Some(address)).unwrap();
        assert_eq!(held.address(), address);
        assert_eq!(
            pool.lease(&user("bob"), None, Some(address)).err(),
            Some(LeaseError::Taken(address))
        );
        assert_ne!(
            pool.lease(&user("bob"), None, None).unwrap().address(),
            address
        );
        drop(held);
        assert!(pool.lease(&user("bob"), None, Some(address)).is_ok());
    }
}

#[test]
fn strangers_get_the_address_that_rested_longest() {
    let (pool, _) = pool(&["10.99.0.0/29"], &[], 0);
    let mut leases: Vec<_> = (0..5)
        .map(|i| pool.lease(&user(&format!("u{i}")), None, None).unwrap())
        .collect();
    let third = leases.remove(2);
    let first = leases.remove(0);
    let (third_address, first_address) = (third.address(), first.address());
    drop(third);
    drop(first);
    let next = pool.lease(&user("x"), None, None).unwrap();
    assert_eq!(next.address(), third_address);
    let next_but_one = pool.lease(&user("y"), None, None).unwrap();
    assert_eq!(next_but_one.address(), first_address);
}

#[test]
fn wrong_settings_are_told_apart() {
    assert!(matches!(
        config(&["10.0.0.0/8", "10.1.0.0/16"], &[], 0),
        Err(PoolConfigError::Overlap { .. })
    ));
    for network in [
        "127.0.0.0/24",
        "0.0.0.0/0",
        "224.0.0.0/8",
        "169.254.1.0/24",
        "240.0.0.0/24",
    ] {
        assert!(matches!(
            config(&[network], &[], 0),
            Err(PoolConfigError::NotForClients { .. })
        ));
    }
    assert!(matches!(
        config(&["10.0.0.0/30"], &["10.0.0.2/32"], 0),
        Err(PoolConfigError::Empty { .. })
    ));
    assert!(config(&["10.0.0.0/8"], &[], 0).is_ok());
}

#[test]
fn the_sizes_are_right() {
    assert_eq!(config(&["10.0.0.0/22"], &[], 0).unwrap().size(), 1021);
    assert_eq!(config(&["10.0.0.0/31"], &[], 0).unwrap().size(), 1);
    let two = config(&["10.0.0.0/24", "10.2.0.0/24"], &["10.2.0.0/25"], 0).unwrap();
    assert_eq!(two.size(), 253 + 127);
}

/// 100,000 random steps on a pool that is nearly always full, against a model that is a plain map.
#[test]
fn random_steps_neither_double_nor_leak_an_address() {
    for seed in 0..4_u8 {
        let mut rng = Rng::from_seed(&[seed; 32]);
        let sticky = [0, 50][usize::from(seed % 2)];
        let (pool, clock) = pool(&["10.1.0.0/26", "10.3.0.0/28"], &["10.1.0.8/29"], sticky);
        let size = pool.config().size();
        let mut held: HashMap<Ipv4Addr, Lease> = HashMap::new();
        let mut outside = 0;
        for step in 0..100_000_u32 {
            let name = user(&format!("u{}", rng.u8() % 60));
            let device = [None, Some("a"), Some("b")][usize::from(rng.u8() % 3)];
            match rng.u8() % 8 {
                0..=3 => {
                    let fixed = (rng.u8().is_multiple_of(8)).then(|| {
                        Ipv4Addr::from(u32::from(ip("10.1.0.0")) + u32::from(rng.u8() % 80))
                    });
                    match pool.lease(&name, device, fixed) {
                        Ok(lease) => {
                            let address = lease.address();
                            outside +=
                                u64::from(address >= ip("10.1.0.64") && address < ip("10.3.0.0"));
                            let before = held.insert(address, lease);
                            assert!(
                                before.is_none(),
                                "{address} twice (seed {seed}, step {step})"
                            );
                        }
                        Err(LeaseError::Taken(address)) => assert!(held.contains_key(&address)),
                        Err(LeaseError::Exhausted) => {
                            assert_eq!(
                                held.len() as u64 - outside,
                                size,
                                "seed {seed}, step {step}"
                            );
                        }
                        Err(LeaseError::Unusable(_)) => assert!(fixed.is_some()),
                        Err(
                            LeaseError::UnknownPool
                            | LeaseError::Outside(_)
                            | LeaseError::FramedOnly,
                        ) => unreachable!(),
                    }
                }
                4..=6 => {
                    let nth = rng.u32() as usize % held.len().max(1);
                    if let Some(address) = held.keys().nth(nth).copied() {
                        outside -=
                            u64::from(address >= ip("10.1.0.64") && address < ip("10.3.0.0"));
                        held.remove(&address);
                    }
                }
                _ => {
                    clock.fetch_add(u64::from(rng.u8() % 10), Ordering::Relaxed);
                }
            }
            let usage = pool.usage();
            assert_eq!(usage.used, held.len() as u64);
            assert_eq!(usage.used - outside + usage.free + usage.reserved, size);
        }
        held.clear();
        clock.fetch_add(1000, Ordering::Relaxed);
        let usage = PoolUsage {
            used: 0,
            free: size,
            reserved: 0,
        };
        assert_eq!(pool.usage(), usage, "seed {seed}");
        let all: Vec<_> = std::iter::from_fn(|| pool.lease(&user("z"), None, None).ok()).collect();
        assert_eq!(all.len() as u64, size, "seed {seed}");
    }
}

#[test]
fn a_pinned_address_is_its_devices_alone_with_a_session_or_without() {
    let (pool, clock) = pool(&["10.99.0.0/29"], &[], 0);
    let (alice, bob) = (user("alice"), user("bob"));
    let usage = |used, free, reserved| PoolUsage {
        used,
        free,
        reserved,
    };
    let pin = pool.pin(&alice, "laptop", None).unwrap();
    let address = pin.address();
    assert_eq!(pool.usage(), usage(0, 4, 1));
    clock.fetch_add(1_000_000, Ordering::Relaxed);
    let others: Vec<_> = std::iter::from_fn(|| pool.lease(&bob, None, None).ok()).collect();
    assert_eq!(others.len(), 4);
    assert!(others.iter().all(|lease| lease.address() != address));
    let taken = Some(LeaseError::Taken(address));
    assert_eq!(pool.lease(&bob, None, Some(address)).err(), taken);
    assert_eq!(pool.pin(&alice, "phone", Some(address)).err(), taken);

    let session = pin.lease().unwrap();
    assert_eq!((session.address(), session.pool()), (address, "users"));
    assert_eq!(pin.lease().err(), taken);
    assert_eq!(pool.usage(), usage(5, 0, 0));
    drop(session);
    assert_eq!(pool.usage(), usage(4, 0, 1));
    drop(pin);
    assert_eq!(pool.usage(), usage(4, 1, 0));
}

#[test]
fn a_session_keeps_its_address_when_the_pin_goes_first() {
    let (pool, _) = pool(&["10.99.0.0/29"], &[], 0);
    let alice = user("alice");
    let pin = pool.pin(&alice, "laptop", Some(ip("10.99.0.5"))).unwrap();
    let session = pin.lease().unwrap();
    pin.release();
    let again = pool.lease(&alice, None, Some(ip("10.99.0.5"))).err();
    assert_eq!(again, Some(LeaseError::Taken(ip("10.99.0.5"))));
    drop(session);
    assert_eq!(pool.usage().free, 5);
    let other = pool.pin(&user("bob"), "phone", Some(ip("10.99.0.5")));
    // What was released gives nothing back a second time.
    assert!(pin.lease().is_err());
    drop(pin);
    assert!(other.unwrap().lease().is_ok());
}

#[test]
fn users_have_their_own_address_while_their_device_is_away() {
    let (pool, _) = pool(&["10.99.0.0/29"], &[], 0);
    let alice = user("alice");
    let pin = pool.pin(&alice, "laptop", Some(ip("10.99.0.5"))).unwrap();
    let lease = pool.lease(&user("Alice"), None, Some(ip("10.99.0.5")));
    assert_eq!(lease.as_ref().map(Lease::address), Ok(ip("10.99.0.5")));
    assert_eq!(pin.lease().err(), Some(LeaseError::Taken(ip("10.99.0.5"))));
    drop(lease);
    assert!(pin.lease().is_ok());
}
