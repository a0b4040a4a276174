//! The program that chooses the socket of a group: classic BPF on the datagram's first octets.
//!
//! ```text
//! length >= 32 and octet 0 == 4  →  socket (octet 4 modulo shards)
//! anything else                  →  the last socket
//! ```
//!
//! Octet 4 is the lowest one of a receiver index, where the shard stands. The length comes first, because a load
//! behind the end of the datagram ends the program and chooses the first socket.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};

use super::Socket;

/// The type octet of data, and its shortest datagram.
const DATA: u32 = 4;
const SHORTEST: u32 = 32;

const LOAD_LENGTH: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
const LOAD_OCTET: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const JUMP_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const RETURN_RESULT: u32 = libc::BPF_RET | libc::BPF_A;

/// Gives the program to the group of `socket`, which has or will have `shards` sockets and one more.
pub(super) fn attach(socket: &Socket, shards: u8) -> io::Result<()> {
    let mut program = program(u32::from(shards));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_mut_ptr(),
    };
    // The kernel copies the program during the call.
    Ok(setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?)
}

const fn program(shards: u32) -> [libc::sock_filter; 8] {
    [
        step(LOAD_LENGTH, 0, 0),
        step(JUMP_GREATER_OR_EQUAL, SHORTEST, 5),
        step(LOAD_OCTET, 0, 0),
        step(JUMP_EQUAL, DATA, 3),
        step(LOAD_OCTET, 4, 0),
        step(MODULO, shards, 0),
        step(RETURN_RESULT, 0, 0),
        step(RETURN, shards, 0),
    ]
}

/// One instruction; a jump that is not taken goes on `otherwise` instructions later.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the codes of classic BPF have 16 bits"
)]
const fn step(code: u32, k: u32, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: otherwise,
        k,
    }
}
