#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::machine::coalesce::coalesce);
