use super::*;

#[test]
fn a_pool_of_named_addresses_is_routed_and_never_the_default() {
    let etc = etc();
    let pools = "[pools.a]\nipv4 = [\"10.50.0.0/24\"]\nframed_only = true\n\
        [pools.b]\nipv4 = [\"10.60.0.0/24\"]\n[pools.users]\nipv4 = [\"10.70.0.0/24\"]\n";
    let load = |pools: &str| {
        let loaded = etc.load(&format!("{BASE}{pools}{SERVER}"));
        loaded.unwrap_or_else(|drawn| panic!("{drawn}")).config
    };
    let config = load(pools);
    assert_eq!(config.pools.default.name(), "users");
    let framed: Vec<_> = config
        .pools
        .all()
        .filter(|pool| pool.is_framed_only())
        .collect();
    assert_eq!(
        framed.iter().map(|pool| pool.name()).collect::<Vec<_>>(),
        ["a"]
    );
    let routes = config.addressing().unwrap().routes;
    assert!(routes.contains(&"10.50.0.0/24".parse().unwrap()));

    let config = load(&format!("{pools}framed_only = true\n"));
    assert_eq!(config.pools.default.name(), "b");
    assert_eq!(
        config.pools.gateway,
        "10.60.0.1".parse::<std::net::Ipv4Addr>().unwrap()
    );

    let none = "[pools.users]\nipv4 = [\"10.50.0.0/24\"]\nframed_only = true\n";
    let drawn = etc.fault(&format!("{BASE}{none}{SERVER}"));
    assert!(drawn.contains("error[E0207]"), "{drawn}");
    assert!(drawn.contains("without `framed_only`"), "{drawn}");
}
