#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::decode::accounting::accounting);
