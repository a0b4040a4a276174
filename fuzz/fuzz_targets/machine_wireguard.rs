#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::machine::wireguard::wireguard);
