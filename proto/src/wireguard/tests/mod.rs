mod boringtun;
mod flood;
mod handshake;
mod keys;
mod network;
mod side;
mod timing;
