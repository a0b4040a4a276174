#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::machine::sstp_session::sstp_session);
