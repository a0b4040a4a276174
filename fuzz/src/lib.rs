//! One plain function for each fuzz target; the targets are thin wrappers, and so is the replay on stable.
//!
//! A function takes any bytes and panics when something that must hold does not. What is checked beyond "no panic":
//! what was decoded survives encoding, machines keep their promises, and packets come out of the packet path as they
//! went in.

pub mod decode;
pub mod machine;
mod program;

pub use program::Program;

/// A target: its name, which is that of its corpus folder, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("decode_http", decode::http::http),
    ("decode_sstp", decode::sstp::sstp),
    ("decode_ppp", decode::ppp::ppp),
    ("decode_eap", decode::eap::eap),
    ("decode_radius", decode::radius::radius),
    ("decode_radius_accounting", decode::accounting::accounting),
    ("decode_radius_dynauth", decode::dynauth::dynauth),
    ("decode_ip", decode::ip::ip),
    ("decode_filter", decode::filter::filter),
    ("decode_vnet", decode::vnet::vnet),
    ("decode_wireguard", decode::wireguard::wireguard),
    ("machine_coalesce", machine::coalesce::coalesce),
    (
        "machine_radius_client",
        machine::radius_client::radius_client,
    ),
    ("machine_chap", machine::chap::chap),
    ("machine_ppp_link", machine::ppp_link::ppp_link),
    ("machine_sstp_session", machine::sstp_session::sstp_session),
    ("machine_wireguard", machine::wireguard::wireguard),
];

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// Makes a fuzz target of a function: with libFuzzer when fuzzing, otherwise a program that runs the files it is given.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $function(bytes));

        #[cfg(not(fuzzing))]
        fn main() {
            for file in std::env::args().skip(1) {
                $function(&std::fs::read(&file).expect("an input file"));
                println!("{file}: ok");
            }
        }
    };
}
