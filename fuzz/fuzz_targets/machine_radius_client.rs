#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::machine::radius_client::radius_client);
