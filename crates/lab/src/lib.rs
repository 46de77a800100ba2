//! The far end of every transport: clients, a load driver, the bare server that shows what the machine
//! itself can do, and what measures servers against each other.
//! Never sees the server's code.

pub mod bench;
pub mod ceiling;
pub mod client;
pub mod load;
pub mod restart;
pub mod server;
