#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::machine::ppp_link::ppp_link);
